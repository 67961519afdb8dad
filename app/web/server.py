"""Granian, serving one WSGI application from threads of this very process.

Granian's own supervisor would fork a child, which outlives a killed parent and keeps the port; here the process that
is killed is the one that serves. Its thread server is meant for free-threaded Pythons, because several workers gain
nothing under the GIL; one worker is all this needs (one ingest process, group commit), so that check is left out.

Bodies that are kept back by their senders are app.web.gate.bodies' matter.
"""

from __future__ import annotations

import gc
import socket
import threading

from granian.constants import Interfaces
from granian.http import HTTP1Settings
from granian.server.mt import MTServer

from app.web.gate.bodies import Bodies, Silent, Wsgi, bounded

THREADS = 32  # each may wait for the group commit, so as many webhooks can share one
BODIES = THREADS - 8  # threads that may wait for bodies at one moment: pages and health checks have the rest
EACH = BODIES - 8  # of them for one address
HEADER_SECONDS = 10


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
        _settle()
        bodies, over = Bodies(BODIES, EACH), threading.Event()
        within = bounded(application, bodies)
        threading.Thread(target=bodies.watch, args=(over, Silent()), name="bodies", daemon=True).start()
        try:
            self.serve(target_loader=lambda *_: within)
        finally:
            over.set()

    def stop(self) -> None:
        """From any thread or signal handler."""
        self.signal_handler_interrupt()  # type: ignore[no-untyped-call]

    def _check_gil(self) -> None:
        """One worker with threads works with the GIL; see the module's docstring."""


def _settle() -> None:
    """Take what the application is made of out of the garbage collector's rounds, and make these fewer: each looked at
    all of it, in the middle of a storm of webhooks, and nearly doubled their p99."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 20, 50)


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
