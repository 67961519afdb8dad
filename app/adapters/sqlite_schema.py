"""The tables of store.db, generated from rules.kinds: one a kind, its searched fields as columns, an index a query.

A list field has a table of its own beside the kind's, one row for each text in it, so that `has` and windows are
index scans. When rules.kinds gains a field or a query, the next start adds the column or index and fills it.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from app.adapters.documents import decode, searched_list
from app.adapters.sqlite import transaction
from rules.kinds import CLAIMABLE, KINDS, Kind

FORMAT = 1  # raise it when old code must not open new files


def quoted(name: str) -> str:
    return '"' + name + '"'


def names(columns: tuple[str, ...]) -> str:
    return ", ".join(map(quoted, columns))


@dataclass(frozen=True)
class ListTable:
    """The texts of one list field, in the order of the fields that its queries sort by; what else they ask for stands
    beside. One tree for all: a second one by type would cost every event 35 us of its 180 (measured)."""

    kind: str
    name: str
    orders: tuple[str, ...]
    beside: tuple[str, ...]

    @property
    def table(self) -> str:
        return f"{self.kind}_{self.name}"

    @cached_property
    def columns(self) -> tuple[str, ...]:
        return ("tenant", self.name, *self.beside, "id", "doc")

    @cached_property
    def insert(self) -> str:
        return f"INSERT INTO {quoted(self.table)} ({names(self.columns)}) VALUES ({marks(len(self.columns))})"

    @cached_property
    def create(self) -> str:
        key = ("tenant", self.name, self.orders[0], "id")  # the table itself serves the first order
        return f"CREATE TABLE {quoted(self.table)} ({names(self.columns)}, PRIMARY KEY ({names(key)})) WITHOUT ROWID"

    @cached_property
    def delete(self) -> str:
        return f"DELETE FROM {quoted(self.table)} WHERE tenant = ? AND {quoted(self.name)} = ? AND doc = ?"

    def indexes(self) -> dict[str, str]:
        table = quoted(self.table)
        return {
            f"ix_{self.table}__{order}": f"{table} ({names(('tenant', self.name, order, 'id', 'doc'))})"
            for order in self.orders[1:]
        }

    def rows(self, tenant: str, id: str, doc: int, body: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """The rows to insert for a document."""
        beside = [body[name] for name in self.beside]
        return [(tenant, text, *beside, id, doc) for text in searched_list(KINDS[self.kind], self.name, body)]


class Table:
    """One kind's table and the statements on it. seq is SQLite's row number; body comes last, on overflow pages."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.columns = ("tenant", "id", "version", *kind.fields, "body")
        self.claimable = kind.name in CLAIMABLE
        self.lists = tuple(self._list(name) for name in kind.lists)
        q = self.name = quoted(kind.name)
        self.insert = (
            f"INSERT INTO {q} ({names(self.columns)}) VALUES ({marks(len(self.columns))})"
            " ON CONFLICT (tenant, id) DO NOTHING"
        )
        self.delete = f"DELETE FROM {q} WHERE tenant = ? AND id = ?"
        self.standing = f"SELECT {names(('seq', 'version', *kind.fields))} FROM {q} WHERE tenant = ? AND id = ?"
        self.answer = ("id", "version", "body", *(("due_at",) if self.claimable else ()))
        self.get = f"SELECT {names(self.answer)} FROM {q} WHERE tenant = ? AND id = ?"
        self.row = f"SELECT seq, body FROM {q} WHERE tenant = ? AND id = ?"

    def update(self, fields: tuple[str, ...]) -> str:
        """The statement that changes these searched fields and no other: SQLite writes every index anew that has a
        column of the statement in it, whether its value changed or not."""
        sets = ", ".join(f"{quoted(name)} = ?" for name in ("version", *fields, "body"))
        return f"UPDATE {self.name} SET {sets} WHERE seq = ?"

    def _list(self, name: str) -> ListTable:
        queries = [query for query in self.kind.queries if name in query]
        orders = dict.fromkeys(query[-1] for query in queries)
        beside = dict.fromkeys(field for query in queries for field in query if field != name)
        return ListTable(self.kind.name, name, tuple(orders), tuple(beside))

    @cached_property
    def create(self) -> str:
        return (
            f"CREATE TABLE {self.name} (seq INTEGER PRIMARY KEY, tenant TEXT NOT NULL, id TEXT NOT NULL,"
            f" version INTEGER NOT NULL, {''.join(f'{quoted(f)}, ' for f in self.kind.fields)}body BLOB NOT NULL,"
            " UNIQUE (tenant, id))"
        )

    def indexes(self) -> dict[str, str]:
        wanted = {
            f"ix_{self.kind.name}__{'__'.join(query)}": f"{self.name} ({names(('tenant', *query, 'id'))})"
            for query in self.kind.queries
            if not set(query) & set(self.kind.lists)
        }
        if self.claimable:
            wanted[f"ix_{self.kind.name}__due"] = f"{self.name} (due_at, tenant, id) WHERE due_at IS NOT NULL"
        if expires := self.kind.expires:
            wanted[f"ix_{self.kind.name}__expires"] = f"{self.name} ({expires}) WHERE {expires} IS NOT NULL"
        for table in self.lists:
            wanted.update(table.indexes())
        return wanted

    def creates(self) -> dict[str, str]:
        return {self.kind.name: self.create, **{table.table: table.create for table in self.lists}}


def marks(count: int) -> str:
    return ", ".join("?" * count)


TABLES = {name: Table(kind) for name, kind in KINDS.items()}


def prepare(connection: sqlite3.Connection) -> None:
    """Make the file's tables and indexes those of rules.kinds; nothing to do when they are."""
    declared = _digest()
    if _declared(connection) == declared:
        return
    with transaction(connection):
        connection.execute("CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID")
        connection.execute("INSERT INTO meta VALUES ('sequence', 0) ON CONFLICT DO NOTHING")
        for table in TABLES.values():
            _grow(connection, table)
        _set_indexes(connection)
        connection.execute(f"PRAGMA user_version = {FORMAT}")
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('declared', ?)", (declared,))


def _digest() -> str:
    wanted = [sql for table in TABLES.values() for sql in (*table.creates().values(), *table.indexes().items())]
    return hashlib.sha256(repr(wanted).encode()).hexdigest()


def _declared(connection: sqlite3.Connection) -> str | None:
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
        return None
    found = connection.execute("SELECT value FROM meta WHERE name = 'declared'").fetchone()
    return found[0] if found else None


def _grow(connection: sqlite3.Connection, table: Table) -> None:
    """Add the tables and columns that a kind lacks, and fill them from the bodies that are there."""
    if not _columns(connection, table.kind.name):
        connection.execute(table.create)
    fields = [name for name in table.kind.fields if name not in _columns(connection, table.kind.name)]
    for name in fields:
        connection.execute(f"ALTER TABLE {table.name} ADD COLUMN {quoted(name)}")
    lists = [beside for beside in table.lists if not _columns(connection, beside.table)]
    for beside in lists:
        connection.execute(beside.create)
    if fields or lists:
        _fill(connection, table, fields, lists)


def _columns(connection: sqlite3.Connection, table: str) -> set[str]:
    return {row[1] for row in connection.execute(f"PRAGMA table_info({quoted(table)})")}


def _fill(connection: sqlite3.Connection, table: Table, fields: list[str], lists: list[ListTable]) -> None:
    assignments = ", ".join(f"{quoted(name)} = ?" for name in fields)
    for seq, tenant, id, stored in connection.execute(f"SELECT seq, tenant, id, body FROM {table.name} ORDER BY seq"):
        body = decode(stored)
        if fields:
            values = [body.get(name) for name in fields]
            connection.execute(f"UPDATE {table.name} SET {assignments} WHERE seq = ?", (*values, seq))
        for beside in lists:
            connection.executemany(beside.insert, beside.rows(tenant, id, seq, body))


def _set_indexes(connection: sqlite3.Connection) -> None:
    wanted = {name: on for table in TABLES.values() for name, on in table.indexes().items()}
    found = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE name GLOB 'ix_*'")}
    for name in found - set(wanted):
        connection.execute(f"DROP INDEX {quoted(name)}")
    for name in set(wanted) - found:
        connection.execute(f"CREATE INDEX {quoted(name)} ON {wanted[name]}")
