"""Copy SQLite's log into its file beside the writer, on a thread and a connection of its own.

SQLite itself does it in the commit that passes the mark, and that commit waits for all of it: with a million documents
whose indexes lie far apart a third of a second, in which nothing is woken and no event is taken in.
"""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

from app.adapters.sqlite import connect

CHANGES = 2_000  # rows changed between two checkpoints: some 4,000 to 10,000 pages
LAST_RESORT = 32_000  # pages of the log at which a commit does it after all, when this thread cannot keep up


class Checkpoints:
    """For one writer. `after` is called behind each commit, by the thread that wrote; it never waits."""

    def __init__(self, path: Path, writer: sqlite3.Connection) -> None:
        self._path = path
        self._writer = writer
        self._done = writer.total_changes
        self._wanted = threading.Event()
        self._over = False
        self._thread: threading.Thread | None = None
        writer.execute(f"PRAGMA wal_autocheckpoint={LAST_RESORT}")

    def after(self) -> None:
        if self._writer.total_changes - self._done < CHANGES:
            return
        self._done = self._writer.total_changes
        self._wanted.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"checkpoints of {self._path.name}", daemon=True)
            self._thread.start()

    def close(self) -> None:
        self._over = True
        self._wanted.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        connection = connect(self._path)
        try:
            while self._wanted.wait() and not self._over:
                self._wanted.clear()
                _checkpoint(connection)
        finally:
            connection.close()


def _checkpoint(connection: sqlite3.Connection) -> None:
    """As far as no reader stands in the way. What fails here (a full disk) fails again, and is told, in a commit."""
    try:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    except sqlite3.DatabaseError:
        return
