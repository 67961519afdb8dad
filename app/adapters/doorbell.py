"""A doorbell between processes: the receiver rings, the worker wakes at once. Best effort: the worker also polls."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path


class Doorbell:
    """The ringing side."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def ring(self) -> None:
        with contextlib.suppress(OSError):  # nobody listens, or the bell has rung already
            self._socket.sendto(b"!", self._path)

    def close(self) -> None:
        self._socket.close()


class Bell:
    """The listening side: one for each path. Where a unix socket cannot be bound, waiting is all it does."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._never = threading.Event()
        self._socket: socket.socket | None = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            path.unlink(missing_ok=True)
            self._socket.bind(str(path))
            path.chmod(0o600)
        except OSError:  # the path is over 107 bytes, or the file system has no sockets
            self._socket.close()
            self._socket = None

    def wait(self, seconds: float) -> bool:
        """Wait for a ring, at most so long; whether it rang. Rings that came together count once."""
        if self._socket is None:
            return self._never.wait(seconds)
        self._socket.settimeout(max(seconds, 0.001))
        try:
            self._socket.recv(1)
            self._socket.setblocking(False)
            while self._socket.recv(1):
                pass
        except TimeoutError:
            return False
        except BlockingIOError:
            return True
        return True

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._path.unlink(missing_ok=True)
