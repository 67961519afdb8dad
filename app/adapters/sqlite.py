"""SQLite connections as this project uses them: WAL, an honest fsync on each commit, errors named for the caller."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from app.adapters.folder import make
from rules import patience
from rules.ports import Unavailable

MOST_ROWS = 64  # of one INSERT
LOOK_EVERY = 200_000  # steps of SQLite's machine, some milliseconds, between two looks at whether anybody waits
BUSY_SECONDS = 10.0  # another process's batch or checkpoint holds the file this long at most


class NewerData(Exception):
    """The data folder was written by a newer Signalbox; the message says which file."""


def connect(path: Path, durable: bool = True, busy: float = BUSY_SECONDS) -> sqlite3.Connection:
    """A connection in autocommit mode, usable from any one thread at a time.
    durable: a commit survives a power cut (FULL), else only the death of the process (NORMAL)."""
    make(path)
    connection = sqlite3.connect(
        path, timeout=busy, isolation_level=None, check_same_thread=False, cached_statements=512
    )
    if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        with _alone_in(path.parent):
            connection.execute("PRAGMA journal_mode=WAL")
    connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
    connection.execute("PRAGMA fullfsync=ON")  # macOS: fsync alone does not reach the platter
    connection.execute("PRAGMA temp_store=MEMORY")
    connection.execute("PRAGMA journal_size_limit=67108864")
    return connection


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold the folder: two processes that start together may not both switch a new file to WAL, and SQLite's busy
    time-out does not cover it (6 of 40 starts of 4 processes failed)."""
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


@contextmanager
def unavailable(what: str) -> Iterator[None]:
    """Turn SQLite's operational errors (busy, full, read-only, I/O, damaged) into Unavailable."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise named(what, error) from error


def named(what: str, error: sqlite3.DatabaseError) -> Exception:
    """Unavailable for what the machine did to us, the error itself for what our own SQL did. Raises Overdue where a
    query was cut short because nobody waits for it any more."""
    patience.ask()
    ours = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.DataError, sqlite3.NotSupportedError)
    return error if isinstance(error, ours) else Unavailable(f"{what}: {error}")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """One write transaction: committed at the end, undone on any exception."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        roll_back(connection)
        raise


def roll_back(connection: sqlite3.Connection) -> None:
    """Undo what is open; SQLite may have done so by itself after a full disk or an I/O error."""
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def insert_rows(
    connection: sqlite3.Connection,
    insert: str,
    rows: Sequence[Sequence[Any]],
    after: str = "",
    when: tuple[str, Any] | None = None,
) -> bool:
    """INSERT all the rows, many with one statement. Python's `executemany` lets go of the interpreter at every row, and
    among thirty busy threads each return costs a wait: 60 of them in a batch of 20 events.
    when: a condition with one value, asked with the first statement; False, and nothing is inserted, if it is not
    true."""
    at, condition = 0, when
    while at < len(rows):
        some = rows[at : at + MOST_ROWS]  # so many sizes at most, and their statements are kept
        statement = _inserting(insert, len(some[0]), len(some), after, condition[0] if condition else "")
        given = [value for row in some for value in row]
        done = connection.execute(statement, [*given, condition[1]] if condition else given)
        if condition and done.rowcount == 0:
            return False
        at, condition = at + len(some), None
    return True


@cache
def _inserting(insert: str, width: int, count: int, after: str, condition: str = "") -> str:
    row = f"({', '.join('?' * width)})"
    values = f"VALUES {', '.join([row] * count)}"
    return f"{insert} SELECT * FROM ({values}) WHERE {condition}" if condition else f"{insert} {values} {after}"


def check_format(connection: sqlite3.Connection, path: Path, known: int) -> int:
    """The file's format (`user_version`), 0 of a new one. Raises NewerData when this code does not know it yet."""
    found = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if found > known:
        raise NewerData(f"{path} has format {found}; this Signalbox knows up to {known}: run the newer one")
    return found


class Readers:
    """One read connection for each thread, closed when its thread ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()

    def connection(self) -> sqlite3.Connection:
        holder: _Holder | None = getattr(self._local, "holder", None)
        if holder is None:
            holder = self._local.holder = _Holder(connect(self._path))
            holder.connection.execute("PRAGMA query_only=ON")
            holder.connection.set_progress_handler(patience.is_overdue, LOOK_EVERY)
        return holder.connection

    def close(self) -> None:
        """Close this thread's; the others' close with their threads or with this object."""
        self._local = threading.local()


class _Holder:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def __del__(self) -> None:
        self.connection.close()
