"""A receiver of HTTP requests that answers as told, misbehaves as told, and remembers every request."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Say:
    """One answer. how: whole; `reset` before it; `half` of the body; `hang` for `seconds`; `drip` a byte at a time."""

    status: int = 200
    body: bytes = b"ok"
    headers: Mapping[str, str] = field(default_factory=dict)
    how: Literal["whole", "reset", "half", "hang", "drip"] = "whole"
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Got:
    path: str
    headers: Mapping[str, str]  # names in lower case
    body: bytes
    connection: int  # which TCP connection brought it
    method: str = "POST"

    @property
    def id(self) -> str:
        return self.headers.get("webhook-id", "")


@dataclass
class Receiver:
    """answers: used one after the other; then `usual` for ever."""

    answers: list[Say] = field(default_factory=list)
    usual: Say = Say()
    got: list[Got] = field(default_factory=list)
    connections: int = 0

    def __post_init__(self) -> None:
        self._lock = threading.Condition()
        self.ending = threading.Event()

    @property
    def ids(self) -> list[str]:
        return [got.id for got in self.got]

    def take(self, got: Got) -> Say:
        with self._lock:
            self.got.append(got)
            self._lock.notify_all()
            return self.answers.pop(0) if self.answers else self.answer(got)

    def answer(self, got: Got) -> Say:
        """What is said when nothing else was told; a fake of a service says it by its state."""
        return self.usual

    def wait_for(self, count: int, seconds: float = 30.0) -> bool:
        """Wait until so many requests have come."""
        with self._lock:
            return self._lock.wait_for(lambda: len(self.got) >= count, seconds)

    def connected(self) -> int:
        with self._lock:
            self.connections += 1
            return self.connections

    @contextmanager
    def running(self, port: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[str]:
        """Serve in a thread; the base address."""
        server = _Server(self, port)
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
        finally:
            self.ending.set()
            server.shutdown()
            server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, receiver: Receiver, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.receiver = receiver

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is part of the game."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.number = self.server.receiver.connected()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _take(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self._answer(self.server.receiver.take(Got(self.path, headers, body, self.number, self.command)))

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _take

    def _answer(self, say: Say) -> None:
        if say.how == "hang":
            self.server.receiver.ending.wait(say.seconds)
        if say.how == "reset":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        for part in _parts(say):
            self.wfile.write(part)
            if say.how == "drip" and self.server.receiver.ending.wait(say.seconds):
                break
        self.close_connection = self.close_connection or say.how in ("half", "drip")

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


def _parts(say: Say) -> Sequence[bytes]:
    lines = [f"HTTP/1.1 {say.status} Told", f"Content-Length: {len(say.body)}"]
    lines += [f"{name}: {value}" for name, value in say.headers.items()]
    whole = ("\r\n".join(lines) + "\r\n\r\n").encode() + say.body
    if say.how == "drip":
        return [bytes([byte]) for byte in whole]
    return [whole[: len(whole) - len(say.body) // 2 - 1] if say.how == "half" else whole]
