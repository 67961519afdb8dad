"""Columns in a SQLite file of their own, beside the store that they are taken from: one clustered row a slim event.

They are filed in bulk, behind the log and never in an event's commit: filing 1,000 events takes about 40 ms, reading
1,000 back 2. Nothing here is the truth. When the store is not the one that was filed (it was wiped or restored, which
shows at the last event that was filed), a tenant's columns are made again. A power cut may cost the newest rows, and
their mark with them.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from app.adapters.sqlite import Readers, check_format, connect, insert_rows, transaction, unavailable
from app.adapters.sqlite_events import event_in
from app.adapters.sqlite_schema import marks
from rules.columns import Path as Field
from rules.columns import Slim, slim_of

FORMAT = 1
PAGE = 4_000  # slim events read at once: about a megabyte
_TABLES = (
    "CREATE TABLE IF NOT EXISTS slim (tenant TEXT, created INTEGER, id TEXT, type TEXT, row BLOB,"
    " PRIMARY KEY (tenant, created, id)) WITHOUT ROWID",
    # paths: what is taken out of the type's events. at: `[created, id]` of the last one while the type is being filed
    # for the first time, null once all of its events up to the tenant's mark are there
    "CREATE TABLE IF NOT EXISTS filed (tenant TEXT, type TEXT, paths TEXT, at TEXT, PRIMARY KEY (tenant, type))"
    " WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS mark (tenant TEXT PRIMARY KEY, seq INTEGER, event TEXT) WITHOUT ROWID",
)
_FIRST = (
    "SELECT id, type, created, body FROM event INDEXED BY ix_event__type__created WHERE tenant = ? AND type = ?"
    " AND (created, id) > (?, ?) AND seq <= ? ORDER BY created, id LIMIT ?"
)
_MORE = (
    "SELECT seq, id, type, created, CASE WHEN tenant = ? AND type IN ({}) THEN body END"
    " FROM event NOT INDEXED WHERE seq > ? ORDER BY seq LIMIT ?"
)
Wanted = Mapping[str, Sequence[Field]]
Row = tuple[str, str, int, bytes]  # id, type, created, the event's document


@dataclass(frozen=True, slots=True)
class _Filing:
    """What is known of one type. at: how far its first filing has come, None when that is over."""

    paths: tuple[Field, ...]
    at: tuple[int, str] | None


class SqliteColumns:
    """Columns in `path`, of the events in the store file `store`. Safe from any thread and from several processes."""

    whole = False

    def __init__(self, path: Path, store: Path) -> None:
        with unavailable(f"opening {path}"):
            self._writer = connect(path, durable=False)
            check_format(self._writer, path, FORMAT)
            for sql in (*_TABLES, f"PRAGMA user_version = {FORMAT}"):
                self._writer.execute(sql)
        self._readers = Readers(path)
        self._events = Readers(store)
        self._lock = threading.Lock()

    def close(self) -> None:
        with self._lock:
            self._readers.close()
            self._events.close()
            self._writer.close()

    # ---- reading ----------------------------------------------------------------------------------------------------
    def slims(
        self, tenant: str, types: Iterable[str], since: int | None, until: int | None, after: tuple[int, str] | None
    ) -> list[Slim]:
        wanted = sorted(types)
        start = after or (since if since is not None else -1, "")
        with unavailable("reading the columns"):
            rows = self._readers.connection().execute(
                "SELECT created, id, type, row FROM slim WHERE tenant = ? AND (created, id) > (?, ?) AND created <= ?"
                f" AND type IN ({marks(len(wanted))}) ORDER BY created, id LIMIT ?",
                (tenant, *start, until if until is not None else 1 << 62, *wanted, PAGE),
            )
            return [Slim(created, id, type, *orjson.loads(row)) for created, id, type, row in rows.fetchall()]

    # ---- filing -----------------------------------------------------------------------------------------------------
    def fill(self, tenant: str, paths: Wanted, limit: int) -> int:
        with self._lock, unavailable("filing the columns"), transaction(self._writer):
            mark = self._mark(tenant)
            known = self._known(tenant)
            for type, wanted in sorted(paths.items()):
                if type not in known or not set(wanted) <= set(known[type].paths):
                    before = known[type].paths if type in known else ()
                    known[type] = _Filing(tuple(sorted({*before, *wanted})), (-1, ""))
                    self._note(tenant, type, known[type])
            looked = 0
            for type, filing in known.items():
                if filing.at is not None and looked < limit:
                    looked += self._first(tenant, type, filing, mark, limit - looked)
            if looked < limit:  # so every type is filed up to the mark, which may move on only then
                complete = {type: filing.paths for type, filing in known.items()}
                looked += self._more(tenant, complete, mark, limit - looked)
            return looked

    def _mark(self, tenant: str) -> int:
        """The number of the last event that was filed or passed over; everything is dropped when it is another now."""
        found = self._writer.execute("SELECT seq, event FROM mark WHERE tenant = ?", (tenant,)).fetchone()
        if found and found[1] == self._event_at(found[0]):
            return int(found[0])
        for table in ("slim", "filed", "mark"):
            self._writer.execute(f"DELETE FROM {table} WHERE tenant = ?", (tenant,))
        newest = self._read("SELECT max(seq) FROM event", ())[0][0] or 0
        self._set_mark(tenant, newest)
        return int(newest)

    def _set_mark(self, tenant: str, seq: int) -> None:
        self._writer.execute("INSERT OR REPLACE INTO mark VALUES (?, ?, ?)", (tenant, seq, self._event_at(seq)))

    def _event_at(self, seq: int) -> str:
        found = self._read("SELECT id FROM event WHERE seq = ?", (seq,))
        return str(found[0][0]) if found else ""

    def _known(self, tenant: str) -> dict[str, _Filing]:
        rows = self._writer.execute("SELECT type, paths, at FROM filed WHERE tenant = ? ORDER BY type", (tenant,))
        return {
            type: _Filing(tuple(tuple(path) for path in json.loads(paths)), tuple(json.loads(at)) if at else None)
            for type, paths, at in rows.fetchall()
        }

    def _note(self, tenant: str, type: str, filing: _Filing) -> None:
        at = json.dumps(filing.at) if filing.at is not None else None
        row = (tenant, type, json.dumps(filing.paths), at)
        self._writer.execute("INSERT OR REPLACE INTO filed VALUES (?, ?, ?, ?)", row)

    def _first(self, tenant: str, type: str, filing: _Filing, mark: int, limit: int) -> int:
        """A page of the events of a type that were there before it was asked for."""
        rows: list[Row] = self._read(_FIRST, (tenant, type, *(filing.at or (-1, "")), mark, limit))
        self._file(tenant, rows, {type: filing.paths})
        last = (rows[-1][2], rows[-1][0]) if len(rows) == limit else None
        self._note(tenant, type, _Filing(filing.paths, last))
        return len(rows)

    def _more(self, tenant: str, complete: Wanted, mark: int, limit: int) -> int:
        """What was recorded since."""
        rows = self._read(_MORE.format(marks(len(complete))), (tenant, *complete, mark, limit))
        if rows:
            self._file(tenant, [row[1:] for row in rows if row[4] is not None], complete)
            self._set_mark(tenant, rows[-1][0])
        return len(rows)

    def _file(self, tenant: str, rows: Sequence[Row], paths: Wanted) -> None:
        made = [
            (tenant, created, id, type, _row(stored, type, created, paths[type])) for id, type, created, stored in rows
        ]
        insert_rows(self._writer, "INSERT OR REPLACE INTO slim", made)

    def _read(self, sql: str, parameters: Sequence[Any]) -> list[Any]:
        connection: sqlite3.Connection = self._events.connection()
        return connection.execute(sql, parameters).fetchall()


def _row(stored: bytes, type: str, created: int, paths: Sequence[Field]) -> bytes:
    slim = slim_of(event_in(stored, type, created), paths)
    return orjson.dumps([slim.keys, slim.partition, slim.causation, slim.data])
