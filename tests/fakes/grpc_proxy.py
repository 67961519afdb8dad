"""A gRPC proxy in front of one of Google's emulators: it passes every call on, records it, and fails as it is told.

What the client sees comes over the network, whole: a call that failed before it happened, one that happened and whose
answer was lost, a stream that broke. One upstream stream of a subscription outlives the client's, because the emulator
delivers nothing more once that has ended.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from google.pubsub_v1.types import StreamingPullRequest

_OWN = ("user-agent", "te", "content-type")


class Proxy(grpc.GenericRpcHandler):  # type: ignore[misc]
    """faults: what the next calls of a method come to, `("Publish", "UNAVAILABLE", "before" or "after" it happened)`.
    calls: (method, request) as they came."""

    def __init__(self, target: str) -> None:
        self._channel = grpc.insecure_channel(target)
        self._upstreams: dict[str, queue.SimpleQueue[bytes]] = {}
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._broken: list[str] = []
        self.faults: list[tuple[str, str, str]] = []
        self.calls: list[tuple[str, bytes]] = []
        self.streams = 0

    def break_stream(self, code: str = "UNAVAILABLE") -> None:
        """End the open stream with this status."""
        self._broken.append(code)

    def requests(self, method: str) -> list[bytes]:
        return [body for name, body in list(self.calls) if name == method]

    def service(self, details: Any) -> Any:
        method, name = details.method, details.method.rsplit("/", 1)[-1]
        answer = self._stream if name == "StreamingPull" else self._call
        return grpc.stream_stream_rpc_method_handler(lambda requests, context: answer(method, name, requests, context))

    def close(self) -> None:
        self._ending.set()
        self._channel.close()

    def _call(self, method: str, name: str, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        sent = list(requests)
        self.calls.append((name, sent[0] if sent else b""))
        self._fail(name, "before", context)
        call = self._channel.stream_stream(method)(iter(sent), timeout=30, metadata=_passed_on(context))
        try:
            answers = list(call)
        except grpc.RpcError as error:
            context.set_trailing_metadata(tuple(error.trailing_metadata() or ()))  # holds what is wrong with which id
            context.abort(error.code(), error.details())
        self._fail(name, "after", context)
        yield from answers

    def _fail(self, name: str, when: str, context: Any) -> None:
        with self._lock:
            planned = next((one for one in self.faults if one[0] == name), None)
            if planned is None or planned[2] != when:
                return
            self.faults.remove(planned)
        context.abort(grpc.StatusCode[planned[1]], "a fault of the test")

    def _stream(self, method: str, name: str, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        first = next(requests)
        self.calls.append((name, first))
        self.streams += 1
        came = self._upstream(method, first, context)
        while context.is_active() and not self._ending.is_set():
            if self._broken:
                context.abort(grpc.StatusCode[self._broken.pop(0)], "a fault of the test")
            try:
                yield came.get(timeout=0.02)
            except queue.Empty:
                continue

    def _upstream(self, method: str, first: bytes, context: Any) -> queue.SimpleQueue[bytes]:
        name = StreamingPullRequest.deserialize(first).subscription
        with self._lock:
            if name in self._upstreams:
                return self._upstreams[name]
            came = self._upstreams[name] = queue.SimpleQueue()
        call = self._channel.stream_stream(method)(self._once(first), metadata=_passed_on(context))
        threading.Thread(target=_pump, args=(call, came), daemon=True).start()
        return came

    def _once(self, first: bytes) -> Iterator[bytes]:
        yield first
        self._ending.wait()


def _pump(call: Any, came: queue.SimpleQueue[bytes]) -> None:
    try:
        for answer in call:
            came.put(answer)
    except grpc.RpcError:
        return  # the test is over


def _passed_on(context: Any) -> list[tuple[str, Any]]:
    return [(key, value) for key, value in context.invocation_metadata() if key not in _OWN and key[:5] != "grpc-"]


@contextmanager
def in_front_of(variable: str) -> Iterator[Proxy]:
    """A proxy in front of the emulator that `variable` names; inside, it names the proxy."""
    target = os.environ[variable]
    proxy = Proxy(target)
    server = grpc.server(ThreadPoolExecutor(24))
    server.add_generic_rpc_handlers([proxy])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    os.environ[variable] = f"127.0.0.1:{port}"
    try:
        yield proxy
    finally:
        os.environ[variable] = target
        proxy.close()
        server.stop(None)
