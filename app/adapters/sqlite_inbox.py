"""The Inbox on two SQLite files: it reads inbox.db, which the receiver writes, and keeps its own notes in consumer.db.

The notes need no fsync of their own: what a power cut takes from them is delivered again, which everything downstream
copes with. What was in flight when a worker died is handed over alone afterwards, so one that kills dies alone.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from app.adapters.delivery import MAX_ATTEMPTS, Handler, given_up, next_try, settle
from app.adapters.doorbell import Doorbell
from app.adapters.sqlite import Readers, check_format, connect, transaction, unavailable
from app.adapters.sqlite_bus import prepare_inbox
from app.adapters.sqlite_schema import marks
from rules.event import Event, instant, iso
from rules.ports import DeadDelivery, Delivery, Disposition, Unavailable

FORMAT = 1
_TABLES = (
    "CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID",
    # what is not settled at or below the cursor. dead: the reason, else NULL. alone: handed over by itself
    "CREATE TABLE IF NOT EXISTS delivery (seq INTEGER PRIMARY KEY, attempts INTEGER NOT NULL, due TEXT NOT NULL,"
    " alone INTEGER NOT NULL DEFAULT 0, dead TEXT, died TEXT)",
    "CREATE INDEX IF NOT EXISTS delivery_due ON delivery (due) WHERE dead IS NULL",
    "INSERT INTO meta VALUES ('cursor', 0), ('flight', '[]'), ('inbox', '') ON CONFLICT DO NOTHING",
)
_LATER = (
    "INSERT INTO delivery (seq, attempts, due, dead, died) VALUES (?, ?, ?, ?, ?) ON CONFLICT (seq) DO UPDATE SET"
    " attempts = excluded.attempts, due = excluded.due, dead = excluded.dead, died = excluded.died, alone = 0"
)
_ALONE = (
    "INSERT INTO delivery (seq, attempts, due, alone) VALUES (?, 1, '', 1)"
    " ON CONFLICT (seq) DO UPDATE SET attempts = attempts + 1, due = '', alone = 1"
)
_KILLERS = (
    "UPDATE delivery SET dead = 'the worker died each time it handled this', died = ?"
    " WHERE dead IS NULL AND alone AND attempts >= ?"
)
_UNREADABLE = Disposition("dead", "this is no event that this version can read")


class AlreadyRunning(RuntimeError):
    """Another worker works on this data folder."""


@dataclass(frozen=True, slots=True)
class _Taken:
    """A row on its way to the handler. noted: it was tried before, so there is a note to settle. delivery: None when
    it cannot be read."""

    seq: int
    noted: bool
    attempts: int
    delivery: Delivery | None


class SqliteInbox:
    """Inbox of a data folder. Any process may look, and replay what is dead; one at a time may drain."""

    def __init__(self, folder: Path) -> None:
        prepare_inbox(folder / "inbox.db")
        path = folder / "consumer.db"
        with unavailable(f"opening {path}"):
            self._notes = connect(path, durable=False)
            check_format(self._notes, path, FORMAT)
            with transaction(self._notes):
                for sql in _TABLES:
                    self._notes.execute(sql)
                self._notes.execute(f"PRAGMA user_version = {FORMAT}")
        self._reader = Readers(path)
        self._inbox = Readers(folder / "inbox.db")
        self._bell = Doorbell(folder / "worker.sock")
        self._lock_path = folder / "worker.lock"
        self._held: int | None = None
        self._draining = threading.Lock()
        self._lock = threading.Lock()  # around the notes' connection, never while the handler works

    def hold(self, now: datetime) -> None:
        """Become the one worker of this data folder; raises AlreadyRunning. `drain` does it by itself."""
        if self._held is not None:
            return
        held = os.open(self._lock_path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            other = os.read(held, 20).decode() or "unknown"
            os.close(held)
            raise AlreadyRunning(
                f"another worker (process {other}) works on {self._lock_path.parent}: stop it, or set SIGNALBOX_DATA"
            ) from None
        try:
            os.ftruncate(held, 0)
            os.write(held, str(os.getpid()).encode())
            self._recover(now)
        except BaseException:
            os.close(held)
            raise
        self._held = held

    def close(self) -> None:
        with self._draining, self._lock:
            if self._held is not None:
                os.close(self._held)
                self._held = None
            self._notes.close()
            self._reader.close()
            self._inbox.close()
            self._bell.close()

    def drain(
        self, handler: Callable[[Sequence[Delivery]], Sequence[Disposition]], now: datetime, limit: int = 256
    ) -> int:
        with self._draining:
            self.hold(now)
            with self._lock, unavailable("reading the queue"):
                taken = self._take(now, limit)
                if not taken:
                    return 0
                self._set("flight", orjson.dumps([row.seq for row in taken]).decode())
            dispositions = self._hand_over(handler, taken)
            with self._lock, unavailable("noting what is settled"):
                self._settle(taken, dispositions, now)
            return len(taken)

    def oldest(self) -> datetime | None:
        with unavailable("reading the queue"):
            notes = self._reader.connection()
            waiting = [row[0] for row in notes.execute("SELECT seq FROM delivery WHERE dead IS NULL").fetchall()]
            cursor = notes.execute("SELECT value FROM meta WHERE name = 'cursor'").fetchone()
            fresh = self._read("SELECT published FROM inbox WHERE seq > ? ORDER BY seq LIMIT 1", cursor)
            late = self._rows(waiting, "published")
            return min((instant(row[0]) for row in (*late, *fresh)), default=None)

    def dead(self, limit: int = 100) -> list[DeadDelivery]:
        with unavailable("reading the dead letters"):
            sql = "SELECT seq, attempts, dead, died FROM delivery WHERE dead IS NOT NULL ORDER BY seq LIMIT ?"
            notes = self._reader.connection().execute(sql, (limit,)).fetchall()
            rows = {row[0]: row for row in self._rows([note[0] for note in notes], "seq, tenant, id, payload")}
        return [_dead_delivery(note, rows[note[0]]) for note in notes if note[0] in rows]

    def replay(self, ids: Sequence[str], now: datetime) -> int:
        seqs = [(iso(now), int(id)) for id in ids if id.isdecimal()]
        with self._lock, unavailable("replaying dead letters"), transaction(self._notes):
            cursor = self._notes.executemany(
                "UPDATE delivery SET dead = NULL, died = NULL, attempts = 0, due = ?"
                " WHERE seq = ? AND dead IS NOT NULL",
                seqs,
            )
        self._bell.ring()
        return max(cursor.rowcount, 0)

    def discard(self, ids: Sequence[str]) -> int:
        seqs = [(int(id),) for id in ids if id.isdecimal()]
        with self._lock, unavailable("discarding dead letters"), transaction(self._notes):
            sql = "DELETE FROM delivery WHERE seq = ? AND dead IS NOT NULL"
            cursor = self._notes.executemany(sql, seqs)
        return max(cursor.rowcount, 0)

    # ---- taking -----------------------------------------------------------------------------------------------------
    def _take(self, now: datetime, limit: int) -> list[_Taken]:
        """Due retries first, in at most half of the batch, then fresh rows; one that must be alone is alone."""
        due = self._notes.execute(
            "SELECT seq, attempts, alone FROM delivery WHERE dead IS NULL AND due <= ? ORDER BY alone DESC, due, seq"
            " LIMIT ?",
            (iso(now), limit),
        ).fetchall()
        if due and due[0][2]:
            return self._retries(due[:1])
        fresh = self._read("SELECT seq, payload FROM inbox WHERE seq > ? ORDER BY seq LIMIT ?", [self._cursor(), limit])
        retries = self._retries(due[: max(limit - len(fresh), limit // 2, 1)])
        return retries + [_taken(seq, payload) for seq, payload in fresh[: limit - len(retries)]]

    def _retries(self, due: Sequence[tuple[int, int, int]]) -> list[_Taken]:
        attempts = {seq: count for seq, count, _ in due}
        rows = dict(self._rows(list(attempts), "seq, payload"))
        lost = [(seq,) for seq in attempts if seq not in rows]
        if lost:  # settled and trimmed before a power cut took the note of it
            with transaction(self._notes):
                self._notes.executemany("DELETE FROM delivery WHERE seq = ?", lost)
        return [_taken(seq, rows[seq], count) for seq, count in attempts.items() if seq in rows]

    def _hand_over(self, handler: Handler, taken: Sequence[_Taken]) -> list[Disposition]:
        readable = [row.delivery for row in taken if row.delivery is not None]
        try:
            said = iter(settle(handler, readable))
        except Unavailable:  # nobody's fault in the queue: nothing is settled, no attempt counted
            with self._lock, unavailable("noting what is in flight"):
                self._set("flight", "[]")
            raise
        return [_UNREADABLE if row.delivery is None else next(said) for row in taken]

    def _settle(self, taken: Sequence[_Taken], dispositions: Sequence[Disposition], now: datetime) -> None:
        pairs = list(zip(taken, dispositions, strict=True))
        done = [(row.seq,) for row, disposition in pairs if disposition.kind == "done" and row.noted]
        later = [_later(row, disposition, now) for row, disposition in pairs if disposition.kind != "done"]
        with transaction(self._notes):
            self._notes.executemany("DELETE FROM delivery WHERE seq = ?", done)
            self._notes.executemany(_LATER, later)
            self._pass_over([row.seq for row in taken])

    def _pass_over(self, seqs: Sequence[int]) -> None:
        """Move the cursor; nothing is in flight any more."""
        sql = "UPDATE meta SET value = max(value, ?) WHERE name = 'cursor'"
        self._notes.execute(sql, (max(seqs, default=0),))
        self._set("flight", "[]")

    def _recover(self, now: datetime) -> None:
        """After a start: begin anew on a replaced inbox.db, and hand over alone what the last worker died with."""
        with self._lock, unavailable("reading the queue"), transaction(self._notes):
            self._follow_inbox()
            flight = orjson.loads(self._get("flight"))
            self._notes.executemany(_ALONE, [(seq,) for seq in flight])
            self._notes.execute(_KILLERS, (iso(now), MAX_ATTEMPTS))
            self._pass_over(flight)

    def _follow_inbox(self) -> None:
        """A new or restored inbox.db counts from lower numbers: read all of it, for done twice is harmless."""
        name = self._read("SELECT value FROM meta WHERE name = 'name'", [])[0][0]
        last = self._read("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'inbox'", [])[0][0]
        if name == self._get("inbox") and last >= self._cursor():
            return
        self._notes.execute("DELETE FROM delivery")
        for key, value in (("cursor", 0), ("flight", "[]"), ("inbox", name)):
            self._set(key, value)

    # ---- the files --------------------------------------------------------------------------------------------------
    def _cursor(self) -> int:
        return int(self._get("cursor"))

    def _get(self, name: str) -> Any:
        return self._notes.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()[0]

    def _set(self, name: str, value: Any) -> None:
        self._notes.execute("UPDATE meta SET value = ? WHERE name = ?", (value, name))

    def _read(self, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        return self._inbox.connection().execute(sql, parameters).fetchall()

    def _rows(self, seqs: Sequence[int], columns: str) -> Iterator[tuple[Any, ...]]:
        for start in range(0, len(seqs), 500):
            some = seqs[start : start + 500]
            yield from self._read(f"SELECT {columns} FROM inbox WHERE seq IN ({marks(len(some))})", some)


def _taken(seq: int, payload: bytes, attempts: int | None = None) -> _Taken:
    tried = attempts or 0
    try:
        event = Event.from_cloudevent(orjson.loads(payload))
    except (ValueError, KeyError, TypeError):
        return _Taken(seq, attempts is not None, tried, None)
    return _Taken(seq, attempts is not None, tried, Delivery(str(seq), event, tried + 1))


def _later(row: _Taken, disposition: Disposition, now: datetime) -> tuple[Any, ...]:
    attempts = row.attempts + 1
    dead = given_up(disposition, attempts)
    died = (disposition.reason, iso(now)) if dead else (None, None)
    return (row.seq, attempts, iso(next_try(attempts, now)), *died)


def _dead_delivery(note: tuple[Any, ...], row: tuple[Any, ...]) -> DeadDelivery:
    seq, attempts, reason, died = note
    _, tenant, id, payload = row
    try:
        type = str(orjson.loads(payload)["type"])
    except (ValueError, KeyError, TypeError):
        type = ""
    return DeadDelivery(str(seq), tenant, id, type, reason, attempts, instant(died))
