"""One process at a time: a lock file in the data folder, which the system lets go of when its holder dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class AlreadyHeld(RuntimeError):
    """Another process holds the lock; the message says which and what to do."""


class FolderLock:
    """Held from `hold` to `close`. what: what only one process may do here, for the message."""

    def __init__(self, path: Path, what: str) -> None:
        self._path = path
        self._what = what
        self._held: int | None = None

    def hold(self) -> FolderLock:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        held = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            other = os.read(held, 20).decode(errors="replace").strip() or "unknown"
            os.close(held)
            raise AlreadyHeld(
                f"Another process ({other}) {self._what} {self._path.parent}. Stop it, or set SIGNALBOX_DATA."
            ) from None
        os.ftruncate(held, 0)
        os.write(held, str(os.getpid()).encode())
        self._held = held
        return self

    def close(self) -> None:
        if self._held is not None:
            os.close(self._held)
            self._held = None
