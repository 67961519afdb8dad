"""Forget acknowledged rows of inbox.db: done by the one process that writes it, told by what the worker has settled."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from app.adapters.sqlite import connect, transaction

AT_ONCE = 1_000  # rows; a short hold of the file


class Trimmer:
    """consumer: the worker's file, read only. A row goes when the worker's cursor is past it and it neither waits for
    another try nor lies dead."""

    def __init__(self, consumer: Path) -> None:
        self._consumer = consumer
        self._after = 0  # goes round, so that rows settled late are found too

    def trim(self, inbox: sqlite3.Connection) -> int:
        """Delete up to AT_ONCE settled rows; how many."""
        if not self._consumer.exists():
            return 0
        reader = connect(self._consumer)
        try:
            reader.execute("PRAGMA query_only=ON")
            return self._trim(inbox, reader)
        finally:
            reader.close()

    def _trim(self, inbox: sqlite3.Connection, reader: sqlite3.Connection) -> int:
        reader.execute("BEGIN")  # cursor and deliveries from one moment
        if not reader.execute("SELECT 1 FROM sqlite_master WHERE name = 'delivery'").fetchone():
            return 0
        found = dict(reader.execute("SELECT name, value FROM meta WHERE name IN ('cursor', 'inbox')").fetchall())
        name = inbox.execute("SELECT value FROM meta WHERE name = 'name'").fetchone()[0]
        if found.get("inbox") != name:
            return 0  # the worker has not seen this file yet
        seqs = [
            row[0]
            for row in inbox.execute(
                "SELECT seq FROM inbox WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?",
                (self._after, found["cursor"], AT_ONCE),
            )
        ]
        self._after = seqs[-1] if len(seqs) == AT_ONCE else 0
        if not seqs:
            return 0
        between = "SELECT seq FROM delivery WHERE seq BETWEEN ? AND ?"
        kept = {row[0] for row in reader.execute(between, (seqs[0], seqs[-1]))}
        gone = [(seq,) for seq in seqs if seq not in kept]
        if gone:
            with transaction(inbox):
                inbox.executemany("DELETE FROM inbox WHERE seq = ?", gone)
        return len(gone)
