"""Granian, serving one WSGI application from threads of this very process.

Granian's own supervisor would fork a child, which outlives a killed parent and keeps the port; here the process that
is killed is the one that serves. Its thread server is meant for free-threaded Pythons, because several workers gain
nothing under the GIL; one worker is all this needs (one ingest process, group commit), so that check is left out.

Granian waits for a body in the thread that reads it, for as long as its sender likes, and will not limit that
(https://github.com/emmett-framework/granian/issues/728). So bodies may hold most threads and never all: whoever sends
none to the end can hold up other senders, who are told to come again, but not the pages and the health checks.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore
from typing import Any

from granian.constants import Interfaces
from granian.http import HTTP1Settings
from granian.server.mt import MTServer

from rules.ports import Unavailable

THREADS = 32  # each may wait for the group commit, so as many webhooks can share one
BODIES = THREADS - 8  # threads that may wait for bodies at one moment; one that came with its head takes no time
TURN_SECONDS = 0.25  # that a reader waits for its turn
HEADER_SECONDS = 10

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Server(MTServer):
    """`serve_application` blocks until `stop` is called or SIGINT or SIGTERM arrives; requests in flight end first."""

    def __init__(self, host: str, port: int, threads: int = THREADS) -> None:
        super().__init__(
            target="signalbox",
            address=host,
            port=port,
            interface=Interfaces.WSGI,
            workers=1,
            blocking_threads=threads,
            backlog=1024,
            http1_settings=HTTP1Settings(header_read_timeout=HEADER_SECONDS * 1000),
            log_enabled=False,
            log_access=False,
        )

    def serve_application(self, application: Wsgi) -> None:
        bounded = with_bounded_bodies(application, BoundedSemaphore(BODIES))
        self.serve(target_loader=lambda *_: bounded)

    def stop(self) -> None:
        """From any thread or signal handler."""
        self.signal_handler_interrupt()  # type: ignore[no-untyped-call]

    def _check_gil(self) -> None:
        """One worker with threads works with the GIL; see the module's docstring."""


# ---- bodies ---------------------------------------------------------------------------------------------------------
def with_bounded_bodies(application: Wsgi, turns: BoundedSemaphore) -> Wsgi:
    """The application, whose requests take turns to read their bodies; Unavailable where there is none to be had."""

    def bounded(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        environ["wsgi.input"] = _Body(environ["wsgi.input"], turns)
        return application(environ, start_response)

    return bounded


class _Body:
    """The body of a request, as PEP 3333 has it."""

    def __init__(self, stream: Any, turns: BoundedSemaphore) -> None:
        self._stream, self._turns = stream, turns

    def read(self, *size: int) -> bytes:
        with self._turn():
            return bytes(self._stream.read(*size))

    def readline(self, *size: int) -> bytes:
        with self._turn():
            return bytes(self._stream.readline(*size))

    def readlines(self, *hint: int) -> list[bytes]:
        with self._turn():
            return list(self._stream.readlines(*hint))

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readlines())

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._turns.acquire(timeout=TURN_SECONDS):
            raise Unavailable("too many senders keep their bodies back")
        try:
            yield
        finally:
            self._turns.release()


# ---- ports ----------------------------------------------------------------------------------------------------------
def free_port(host: str) -> int:
    """A port that nothing listens on, for PORT=0."""
    with socket.create_server((host, 0)) as found:
        return int(found.getsockname()[1])


def is_taken(host: str, port: int) -> bool:
    """Whether something else listens there; Granian itself would share the port with it silently."""
    try:
        socket.create_server((host, port)).close()
    except OSError:
        return True
    return False
