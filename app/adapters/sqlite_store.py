"""The Store on one SQLite file: documents, event log and leases; many commits may share one fsync.

One connection writes, under a lock; each thread reads on its own. Other processes may write too: every transaction
takes SQLite's write lock first, so what it checks cannot change under it.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import inf
from pathlib import Path
from typing import Any

from app.adapters.documents import (
    Query,
    check_commit,
    check_id,
    check_query,
    cursor_after,
    decode,
    encode,
    expectation,
    read_cursor,
    searched,
    searched_list,
)
from app.adapters.sqlite import BUSY_SECONDS, Readers, check_format, connect, named, roll_back, unavailable
from app.adapters.sqlite_checkpoint import Checkpoints
from app.adapters.sqlite_events import EventsInHand
from app.adapters.sqlite_schema import FORMAT, TABLES, Table, marks, prepare, quoted
from rules.event import Event, iso
from rules.kinds import CLAIMABLE, EXPIRING
from rules.ports import ABSENT, ANY, AlreadyProcessed, Conflict, Document, Page, Put, Unavailable, Where, Write


@dataclass(slots=True)  # not frozen: that costs 2 us each, twice an event
class _Row:
    """A write, checked and encoded before any lock is taken. stored: None for a delete. standing: seq, version and
    searched fields of the document as it is, read under the lock."""

    table: Table
    id: str
    expect: str
    values: list[Any]
    stored: bytes | None
    body: Mapping[str, Any]
    standing: tuple[Any, ...] | None = None


class SqliteStore:
    """Store in `path`. Safe from any thread and from several processes. busy: seconds to wait for another process."""

    def __init__(self, path: Path, busy: float = BUSY_SECONDS) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with unavailable(f"opening {path}"):
            self._writer = connect(path, busy=busy)
            check_format(self._writer, path, FORMAT)
            prepare(self._writer)
            self._checkpoints = Checkpoints(path, self._writer)
        self._readers = Readers(path)
        self._lock = threading.Lock()
        self._owner: int | None = None  # the thread whose batch is open
        self._broken: Unavailable | None = None  # what ended the open batch before its time
        self._begun = False  # whether the open batch has SQLite's write lock
        self._events = EventsInHand()
        self._settled = 0  # the last version before the open transaction: what is newer may yet be undone
        self._sequence = 0  # the last version handed out; never reused, so what was deleted cannot come back as itself

    def close(self) -> None:
        with self._lock:
            self._checkpoints.close()
            self._readers.close()
            self._writer.close()

    # ---- reading ----------------------------------------------------------------------------------------------------
    def get(self, tenant: str, kind: str, id: str) -> Document | None:
        table = TABLES[kind]
        rows = self._read(table.get, (tenant, id))
        return _document(tenant, table, rows[0]) if rows else None

    def find(
        self,
        tenant: str,
        kind: str,
        where: Sequence[Where] = (),
        order: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> Page:
        query = check_query(kind, where, order)
        sql, parameters = _select(tenant, query, after)
        table = TABLES[kind]
        rows = self._read(sql, (*parameters, limit + 1))
        items = tuple(_document(tenant, table, row) for row in rows[:limit])
        if len(rows) <= limit or not items:
            return Page(items)
        last = items[-1]
        return Page(items, cursor_after(query, last.body[query.order] if query.order else None, last.id))

    def count(self, tenant: str, kind: str, where: Sequence[Where] = (), most: int | None = None) -> int:
        query = check_query(kind, where, None)
        source, conditions, parameters = _source(tenant, query)
        rows = f"FROM {source} WHERE {conditions}"
        if most is not None:
            rows, parameters = f"FROM (SELECT 1 {rows} LIMIT ?)", [*parameters, most]
        return int(self._read(f"SELECT count(*) {rows}", parameters)[0][0])

    def window(self, tenant: str, key: str, types: Sequence[str], since: int, until: int) -> list[Event]:
        if not types:
            return []
        rows = self._read(
            "SELECT event.version, k.type, k.created, event.body FROM event_keys AS k JOIN event ON event.seq = k.doc"
            f" WHERE k.tenant = ? AND k.keys = ? AND k.type IN ({marks(len(types))}) AND k.created BETWEEN ? AND ?"
            " ORDER BY k.created, k.id",
            (tenant, key, *types, since, until),
        )
        settled = self._settled if self._owner == threading.get_ident() and self._begun else inf
        known = self._events
        return [known.event(version, type, created, body, version <= settled) for version, type, created, body in rows]

    def _read(self, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        """All rows at once: a cursor left open would hold back the checkpoint."""
        try:
            connection = self._writer if self._owner == threading.get_ident() else self._readers.connection()
            return connection.execute(sql, parameters).fetchall()
        except sqlite3.DatabaseError as error:
            raise named("reading the store", error) from error

    # ---- writing ----------------------------------------------------------------------------------------------------
    def commit(self, tenant: str, event: Put | None, writes: Sequence[Write]) -> None:
        check_commit(event, writes)
        first = _row(event) if event is not None else None
        rows = [_row(write) for write in writes]
        if self._owner == threading.get_ident():
            return self._commit_in_batch(tenant, first, rows)
        with self._lock, self._transaction():
            self._apply(tenant, first, rows)
        return None

    @contextmanager
    def batch(self) -> Iterator[None]:
        """One transaction, one fsync; begun by the first claim or commit in it, so that a batch that only looks takes
        no write lock."""
        if self._owner == threading.get_ident():
            raise RuntimeError("a batch is not re-entrant")
        with self._lock, self._transaction(at_once=False):
            self._owner, self._broken = threading.get_ident(), None
            try:
                yield
                if self._broken:
                    raise self._broken
            finally:
                self._owner = None

    def claim(self, kind: str, now: datetime, lease: timedelta, limit: int) -> list[Document]:
        if kind not in CLAIMABLE:
            raise ValueError(f"{kind!r} is not claimable")
        table = TABLES[kind]
        if not self._read(f"SELECT 1 FROM {table.name} WHERE due_at <= ? LIMIT 1", (iso(now),)):
            return []  # the usual idle poll takes no write lock
        inside = self._owner == threading.get_ident()
        with nullcontext() if inside else self._lock, nullcontext() if inside else self._transaction():
            self._begin()
            return self._lease(table, iso(now), iso(now + lease), limit)

    def share(self) -> float:
        return 1.0  # one worker has the folder (adapters.lock)

    def release(self, kind: str, now: datetime, lease: timedelta) -> int:
        """Make due again what a worker that is gone had claimed; how many. Only for the one worker of a data folder,
        before it claims: what was claimed is known by a `due_at` that its own document does not have."""
        table = TABLES[kind]
        sql = f"SELECT seq, body, due_at FROM {table.name} WHERE due_at > ? AND due_at <= ?"
        with self._lock, self._transaction():
            rows = self._writer.execute(sql, (iso(now), iso(now + lease))).fetchall()
            known = [(decode(body)["due_at"], seq, due) for seq, body, due in rows]
            claimed = [(own, seq) for own, seq, due in known if own != due]
            self._sequence += 1
            set_due = f"UPDATE {table.name} SET due_at = ?, version = {self._sequence} WHERE seq = ?"
            self._writer.executemany(set_due, claimed)
            return len(claimed)

    def expire(self, now: datetime) -> int:
        """Let go of what is of no use any more (Kind.expires); how many. In Firestore policies of its own do it."""
        due = []
        for table in (TABLES[name] for name in EXPIRING):
            found = f"FROM {table.name} WHERE {quoted(table.kind.expires)} <= ?"
            if self._read(f"SELECT 1 {found} LIMIT 1", (iso(now),)):
                due.append(found)
        if not due:
            return 0  # the usual look takes no write lock
        with self._lock, self._transaction():
            return sum(self._writer.execute(f"DELETE {found}", (iso(now),)).rowcount for found in due)

    def wipe(self, tenant: str) -> None:
        with self._lock, self._transaction():
            for table in TABLES.values():
                for name in table.creates():
                    self._writer.execute(f"DELETE FROM {quoted(name)} WHERE tenant = ?", (tenant,))

    @contextmanager
    def _transaction(self, at_once: bool = True) -> Iterator[None]:
        """BEGIN IMMEDIATE .. COMMIT around the caller's writes; the caller holds the lock."""
        self._begun = False
        try:
            if at_once:
                self._begin()
            try:
                yield
            except sqlite3.DatabaseError as error:
                raise named("the store cannot be written", error) from error
            if self._begun:
                self._end()
        except BaseException:
            roll_back(self._writer)
            raise

    def _begin(self) -> None:
        """Take SQLite's write lock, unless the open batch has it already."""
        if self._begun:
            return  # never anew: after an error that SQLite answers by undoing all, the rest must not stand alone
        self._begun = True
        with unavailable("the store cannot be written"):
            self._writer.execute("BEGIN IMMEDIATE")
            (self._sequence,) = self._writer.execute("SELECT value FROM meta WHERE name = 'sequence'").fetchone()
        self._settled = self._sequence

    def _end(self) -> None:
        with unavailable("the store cannot be written"):
            if self._sequence != self._settled:
                self._writer.execute("UPDATE meta SET value = ? WHERE name = 'sequence'", (self._sequence,))
            self._writer.execute("COMMIT")
        self._checkpoints.after()

    def _commit_in_batch(self, tenant: str, event: _Row | None, rows: Sequence[_Row]) -> None:
        if self._broken:
            raise self._broken
        try:
            self._begin()
            self._apply(tenant, event, rows)
        except (AlreadyProcessed, Conflict):
            raise
        except Exception as error:
            # half of a commit may be there, or SQLite has undone all: nothing of this batch may count as done
            self._broken = Unavailable(f"the store cannot be written: {error}")
            raise self._broken from error

    def _apply(self, tenant: str, event: _Row | None, rows: Sequence[_Row]) -> None:
        """Check everything, then write everything: nothing can change between, for the write lock is ours.
        A savepoint would do the same for 40 us a commit, in which SQLite copies each page that is touched."""
        failed = next((row for row in rows if not self._as_expected(tenant, row)), None)
        if failed and not (event and self._standing(tenant, event)):
            raise Conflict(f"{failed.table.kind.name} {failed.id}")
        if event and (failed or not self._insert(tenant, event)):
            raise AlreadyProcessed(event.id)
        for row in rows:
            if row.stored is None:
                self._delete(tenant, row)
            elif not row.table.lists:
                self._put(tenant, row)
            else:
                self._delete(tenant, row)
                self._insert(tenant, row)

    def _as_expected(self, tenant: str, row: _Row) -> bool:
        row.standing = self._standing(tenant, row)
        return row.expect == ANY or row.expect == (str(row.standing[1]) if row.standing else ABSENT)

    def _standing(self, tenant: str, row: _Row) -> tuple[Any, ...] | None:
        found: tuple[Any, ...] | None = self._writer.execute(row.table.standing, (tenant, row.id)).fetchone()
        return found

    def _put(self, tenant: str, row: _Row) -> None:
        """Create the document, or change what differs."""
        if row.standing is None:
            self._insert(tenant, row)
            return
        self._sequence += 1
        seq, _, *before = row.standing
        fields = zip(row.table.kind.fields, row.values, before, strict=True)
        changed = {name: value for name, value, was in fields if value != was}
        values = (self._sequence, *changed.values(), row.stored, seq)
        self._writer.execute(row.table.update(tuple(changed)), values)

    def _insert(self, tenant: str, row: _Row) -> bool:
        """Create a document with the rows of its searched lists; false when it is there."""
        self._sequence += 1
        cursor = self._writer.execute(row.table.insert, (tenant, row.id, self._sequence, *row.values, row.stored))
        if not cursor.rowcount:
            return False
        for beside in row.table.lists:
            self._writer.executemany(beside.insert, beside.rows(tenant, row.id, cursor.lastrowid or 0, row.body))
        return True

    def _delete(self, tenant: str, row: _Row) -> None:
        """Remove a document; the rows of its searched lists are found by its body."""
        found = self._writer.execute(row.table.row, (tenant, row.id)).fetchone() if row.table.lists else None
        if found:
            seq, stored = found
            for beside in row.table.lists:
                texts = searched_list(row.table.kind, beside.name, decode(stored))
                self._writer.executemany(beside.delete, [(tenant, text, seq) for text in texts])
        self._writer.execute(row.table.delete, (tenant, row.id))

    def _lease(self, table: Table, now: str, until: str, limit: int) -> list[Document]:
        rows = self._writer.execute(
            f"SELECT seq, tenant, id, body FROM {table.name} WHERE due_at <= ? ORDER BY due_at, tenant, id LIMIT ?",
            (now, limit),
        ).fetchall()
        self._sequence += 1
        self._writer.executemany(
            f"UPDATE {table.name} SET due_at = ?, version = ? WHERE seq = ?",
            [(until, self._sequence, row[0]) for row in rows],
        )
        return [_document(tenant, table, (id, self._sequence, body, until)) for _, tenant, id, body in rows]


def _row(write: Write) -> _Row:
    check_id(write.kind, write.id)
    table = TABLES[write.kind]
    expect = expectation(write)
    if not isinstance(write, Put):
        return _Row(table, write.id, expect, [], None, {})
    body = write.body
    return _Row(table, write.id, expect, searched(table.kind, body), encode(body), body)


def _document(tenant: str, table: Table, row: Sequence[Any]) -> Document:
    body = decode(row[2])
    if table.claimable and (row[3] is not None or "due_at" in body):
        body["due_at"] = row[3]  # a claim moves the column only
    return Document(tenant, table.kind.name, row[0], body, str(row[1]))


def _select(tenant: str, query: Query, after: str | None) -> tuple[str, list[Any]]:
    """The SELECT of a page without its limit: by the order field and the id, from the cursor on."""
    source, conditions, parameters = _source(tenant, query)
    prefix = "k" if query.has else "d"
    keys = [f"{prefix}.{quoted(name)}" for name in ([query.order] if query.order else []) + ["id"]]
    if query.order:
        conditions += f" AND {keys[0]} IS NOT NULL"
    if after is not None:
        value, id = read_cursor(query, after)
        conditions += f" AND ({', '.join(keys)}) {'<' if query.descending else '>'} ({marks(len(keys))})"
        parameters += [value, id] if query.order else [id]
    down = " DESC" if query.descending else ""
    answer = ", ".join(f"d.{quoted(name)}" for name in TABLES[query.kind.name].answer)
    by = ", ".join(key + down for key in keys)
    return f"SELECT {answer} FROM {source} WHERE {conditions} ORDER BY {by} LIMIT ?", parameters


def _source(tenant: str, query: Query) -> tuple[str, str, list[Any]]:
    """FROM and WHERE of a query; `has` starts from the list's own table, which holds all that the query needs."""
    table = TABLES[query.kind.name]
    prefix, source = "d", f"{table.name} AS d"
    tests: list[tuple[str, str, Any]] = [("tenant", "=", tenant)]
    if query.has:
        beside = next(found for found in table.lists if found.name == query.has[0])
        prefix, source = "k", f"{quoted(beside.table)} AS k JOIN {table.name} AS d ON d.seq = k.doc"
        tests.append((query.has[0], "=", query.has[1]))
    tests += [(name, "=", value) for name, value in query.equal]
    tests += [(name, op, value) for name, op, value in query.ranges]
    conditions = " AND ".join(f"{prefix}.{quoted(name)} {op} ?" for name, op, _ in tests)
    return source, conditions, [value for _, _, value in tests]
