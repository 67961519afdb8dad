"""The vault's tables in inbox.db: sealed values in the order they came, and two small indexes that follow in bulk.

Writing an index in random order with every commit cost 34 us of CPU a value and most of the commit's pages; appending
costs 7. So a value is only appended with its event, and filed later, thousands at once and sorted, in 2 to 7 us each;
who looks for one reads the indexes and then the rows that are not filed yet.
"""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from app.adapters.sqlite import insert_rows, transaction

AT_ONCE = 20_000  # values filed in one commit at most; looking through so many takes 4 ms
FEWEST = 500
HOLD = 0.2  # seconds that one filing may hold up the events; with millions of values and a slow disk it takes fewer

ValueRow = tuple[str, str, str, str, bytes, str, int]  # tenant, token, subject, key id, sealed value, sort, day heard
Reseal = Callable[[ValueRow], ValueRow]
Heard = tuple[str, str, str, str, str, int]  # the same before it is sealed: no key id, and the value as it is
Kept = tuple[int, str, str]  # seq, token, subject

TABLES = (
    # AUTOINCREMENT: a number is never used again, so an erased value's cannot pass for one that is filed
    "CREATE TABLE IF NOT EXISTS vault (seq INTEGER PRIMARY KEY AUTOINCREMENT, tenant TEXT NOT NULL,"
    " token TEXT NOT NULL, subject TEXT NOT NULL, key_id TEXT NOT NULL, value BLOB NOT NULL,"
    " sort TEXT NOT NULL DEFAULT 'other', heard INTEGER NOT NULL DEFAULT 0)",
    "CREATE TABLE IF NOT EXISTS vault_barred (tenant TEXT, subject TEXT, PRIMARY KEY (tenant, subject)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS vault_by_token (part TEXT, seq INTEGER, PRIMARY KEY (part, seq)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS vault_by_subject (part TEXT, seq INTEGER, PRIMARY KEY (part, seq)) WITHOUT ROWID",
    # forgotten: counts erasures, so that every process notices one. retired: keys that may seal nothing any more
    "INSERT INTO meta VALUES ('filed', 0), ('forgotten', 0), ('retired', '') ON CONFLICT DO NOTHING",
)
# the indexes hold a part of the text only, which tells nearly all apart; the row itself says whether it is the one
_TOKEN_PART, _SUBJECT_PART = "substr({}, 5, 10)", "substr({}, -8)"
_RETIRED = "SELECT value FROM meta WHERE name = 'retired'"
_APPEND = "INSERT INTO vault (tenant, token, subject, key_id, value, sort, heard)"
_FILED = "(SELECT value FROM meta WHERE name = 'filed')"


def _looked_up(columns: str, index: str, part: str, where: str) -> str:
    """The rows of ?1 with ?2, filed or not."""
    filed = f"seq IN (SELECT seq FROM {index} WHERE part = {part.format('?2')})"
    return " UNION ALL ".join(
        f"SELECT {columns} FROM vault WHERE {place} AND tenant = ?1 AND {where} = ?2"
        for place in (filed, f"seq > {_FILED}")
    )


_BY_TOKEN = _looked_up("key_id, value", "vault_by_token", _TOKEN_PART, "token") + " LIMIT 1"
_BY_SUBJECT = _looked_up("seq, token, subject", "vault_by_subject", _SUBJECT_PART, "subject")
_OTHERS = _looked_up("seq", "vault_by_token", _TOKEN_PART, "token").replace(
    "AND tenant = ?1", "AND subject != ?3 AND tenant = ?1"
)
_TO_FILE = "WHERE seq > ? AND seq <= ?"
_DOUBLES = (  # the one heard last stays, with its day
    "SELECT DISTINCT known.seq, known.token, known.subject FROM vault AS later"
    f" JOIN vault_by_token AS i ON i.part = {_TOKEN_PART.format('later.token')} AND i.seq < later.seq"
    " JOIN vault AS known ON known.seq = i.seq AND known.token = later.token AND known.tenant = later.tenant"
    " AND known.subject = later.subject WHERE later.seq > ? AND later.seq <= ?"
)


class Sealing(Protocol):
    """The keys of the vault, for what waits to be written."""

    def sealed(self, heard: Sequence[Heard], retired: Container[str]) -> list[ValueRow]:
        """Under a key that is none of the retired."""
        ...

    def resealed(self, row: ValueRow) -> ValueRow:
        """The same value under the current key."""
        ...


class Appender:
    """Appends values inside the caller's transaction: none is sealed with a key that is retired, however long it has
    waited. Which keys those are is asked by the statement that inserts, because every statement more lets go of the
    interpreter, and getting it back among thirty busy threads takes longer than the statement."""

    def __init__(self) -> None:
        self.sealing: Sealing | None = None  # the vault's
        self._retired = ""  # as it was in the file last

    def append(self, connection: sqlite3.Connection, values: Sequence[ValueRow], heard: Sequence[Heard] = ()) -> None:
        if not (values or heard) or self._inserted(connection, values, heard):
            return
        self._retired = str(connection.execute(_RETIRED).fetchone()[0])
        self._inserted(connection, values, heard)

    def _inserted(self, connection: sqlite3.Connection, values: Sequence[ValueRow], heard: Sequence[Heard]) -> bool:
        """False, and nothing is done, when other keys are retired than was known."""
        rows = self._rows(values, heard)
        return insert_rows(connection, _APPEND, rows, when=(f"({_RETIRED}) = ?", self._retired))

    def _rows(self, values: Sequence[ValueRow], heard: Sequence[Heard]) -> Sequence[ValueRow]:
        retired, sealing = self._retired.split(), self.sealing
        if retired and sealing:
            values = [sealing.resealed(row) if row[3] in retired else row for row in values]
        if not heard:
            return values
        if sealing is None:
            raise ValueError("there is nobody to seal the values that wait")
        return [*values, *sealing.sealed(heard, retired)]


def sealed(connection: sqlite3.Connection, tenant: str, token: str) -> tuple[str, bytes] | None:
    """Key id and sealed value of a token."""
    found: tuple[str, bytes] | None = connection.execute(_BY_TOKEN, (tenant, token)).fetchone()
    return found


def rows(connection: sqlite3.Connection) -> Iterator[ValueRow]:
    """Every value; one that is not filed yet may be among them twice."""
    last = 0
    while found := connection.execute(
        "SELECT seq, tenant, token, subject, key_id, value, sort, heard FROM vault WHERE seq > ? ORDER BY seq"
        " LIMIT 1000",
        (last,),
    ).fetchall():
        yield from (row[1:] for row in found)
        last = found[-1][0]


def erase(connection: sqlite3.Connection, tenant: str, subject: str) -> int:
    """Remove what is kept of a subject, inside the caller's transaction; how many values that were."""
    kept = connection.execute(_BY_SUBJECT, (tenant, subject)).fetchall()
    _remove(connection, kept)
    if kept:
        forgotten(connection)
    return len({token for _, token, _ in kept})


def kept(connection: sqlite3.Connection, tenant: str, subject: str) -> tuple[int, int]:
    """How many values are kept of a subject, and how many of them of somebody else as well."""
    tokens = {token for _, token, _ in connection.execute(_BY_SUBJECT, (tenant, subject)).fetchall()}
    others = (connection.execute(_OTHERS, (tenant, token, subject)).fetchone() for token in tokens)
    return len(tokens), sum(found is not None for found in others)


def forgotten(connection: sqlite3.Connection) -> None:
    """Inside the caller's transaction: let every process know that something is not kept any more."""
    connection.execute("UPDATE meta SET value = value + 1 WHERE name = 'forgotten'")


def bar(connection: sqlite3.Connection, tenant: str, subjects: Sequence[str], barred: bool) -> None:
    """Inside the caller's transaction."""
    insert = "INSERT INTO vault_barred VALUES (?, ?) ON CONFLICT DO NOTHING"
    sql = insert if barred else "DELETE FROM vault_barred WHERE tenant = ? AND subject = ?"
    connection.executemany(sql, [(tenant, subject) for subject in subjects])
    forgotten(connection)


def is_barred(connection: sqlite3.Connection, tenant: str, subject: str) -> bool:
    sql = "SELECT 1 FROM vault_barred WHERE tenant = ? AND subject = ?"
    return connection.execute(sql, (tenant, subject)).fetchone() is not None


def news(connection: sqlite3.Connection, known: int | None) -> tuple[int, frozenset[tuple[str, str]] | None]:
    """The count of erasures, and whenever it is not the known one, who is barred."""
    count = int(connection.execute("SELECT value FROM meta WHERE name = 'forgotten'").fetchone()[0])
    if count == known:
        return count, None
    return count, frozenset(connection.execute("SELECT tenant, subject FROM vault_barred").fetchall())


def expiring(connection: sqlite3.Connection, tenant: str, before: Mapping[str, int]) -> dict[str, int]:
    where, given = _heard_before(before)
    sql = f"SELECT sort, count(DISTINCT token) FROM vault WHERE tenant = ? AND ({where}) GROUP BY sort"
    return dict(connection.execute(sql, (tenant, *given)).fetchall()) if before else {}


def expire(
    connection: sqlite3.Connection, tenant: str, before: Mapping[str, int], after: int, most: int
) -> tuple[dict[str, int], int | None]:
    """Inside the caller's transaction: remove what was not heard since, among the next so many values."""
    last = connection.execute(
        "SELECT max(seq) FROM (SELECT seq FROM vault WHERE seq > ? ORDER BY seq LIMIT ?)", (after, most)
    ).fetchone()[0]
    if last is None or not before:
        return {}, None
    where, given = _heard_before(before)
    sql = f"SELECT seq, token, subject, sort FROM vault WHERE seq > ? AND seq <= ? AND tenant = ? AND ({where})"
    rows = connection.execute(sql, (after, last, tenant, *given)).fetchall()
    _remove(connection, [row[:3] for row in rows])
    if rows:
        forgotten(connection)
    return dict(Counter(row[3] for row in rows)), last


def _heard_before(before: Mapping[str, int]) -> tuple[str, list[object]]:
    return " OR ".join(["(sort = ? AND heard < ?)"] * len(before)), [part for pair in before.items() for part in pair]


# ---- another key ----------------------------------------------------------------------------------------------------
def reseal(connection: sqlite3.Connection, current: str, anew: Reseal, after: int, most: int) -> tuple[int, int | None]:
    """Inside the caller's transaction: seal with the current key what is sealed with another among the next so many
    values; how many, and the number of the last (None: there were no more)."""
    sql = "SELECT seq, tenant, token, subject, key_id, value, sort, heard FROM vault WHERE seq > ? ORDER BY seq LIMIT ?"
    rows = connection.execute(sql, (after, most)).fetchall()
    old = [(row[0], anew(row[1:])) for row in rows if row[4] != current]
    connection.executemany(
        "UPDATE vault SET key_id = ?, value = ? WHERE seq = ?", [(row[3], row[4], seq) for seq, row in old]
    )
    return len(old), rows[-1][0] if rows else None


def retire(connection: sqlite3.Connection, keys: Iterable[str]) -> bool:
    """Inside the caller's transaction: let these keys seal nothing any more; False while something is sealed so."""
    names = sorted(keys)
    marks = ", ".join("?" * len(names))
    if connection.execute(f"SELECT 1 FROM vault WHERE key_id IN ({marks}) LIMIT 1", names).fetchone():
        return False
    known = connection.execute("SELECT value FROM meta WHERE name = 'retired'").fetchone()[0].split()
    connection.execute("UPDATE meta SET value = ? WHERE name = 'retired'", (" ".join(sorted({*known, *names})),))
    return True


class Filer:
    """Knows how much has come since the last filing, and how much may be filed at once."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self.most = AT_ONCE
        self.new = 0

    @property
    def is_due(self) -> bool:
        return self.new >= self.most

    def file(self, connection: sqlite3.Connection) -> None:
        started = self._monotonic()
        count = file(connection, self.most)
        took = self._monotonic() - started
        self.new = max(0, self.new - count)
        if took > HOLD or count == self.most:
            self.most = max(FEWEST, min(AT_ONCE, int(count * HOLD / max(took, 0.001))))


def file(connection: sqlite3.Connection, most: int = AT_ONCE) -> int:
    """File up to so many values; one that is known already goes. How many were looked at."""
    if not _unfiled(connection, most)[1]:
        return 0
    connection.execute("PRAGMA secure_delete=ON")  # of what goes nothing may stay behind for a later erasure to miss
    with transaction(connection):
        first, count = _unfiled(connection, most)  # again: another process may have filed meanwhile
        _file(connection, first, first + count)
    return count


def _unfiled(connection: sqlite3.Connection, most: int) -> tuple[int, int]:
    """The last number that is filed, and how many to file."""
    first, last = connection.execute(f"SELECT {_FILED}, (SELECT coalesce(max(seq), 0) FROM vault)").fetchone()
    return first, max(0, min(last - first, most))


def _file(connection: sqlite3.Connection, first: int, upto: int) -> None:
    for index, part in (
        ("vault_by_token", _TOKEN_PART.format("token")),
        ("vault_by_subject", _SUBJECT_PART.format("subject")),
    ):
        rows = f"SELECT {part}, seq FROM vault {_TO_FILE} ORDER BY 1, 2"
        connection.execute(f"INSERT INTO {index} {rows}", (first, upto))
    _remove(connection, connection.execute(_DOUBLES, (first, upto)).fetchall())
    connection.execute("UPDATE meta SET value = ? WHERE name = 'filed'", (upto,))


def _remove(connection: sqlite3.Connection, kept: Sequence[Kept]) -> None:
    connection.executemany("DELETE FROM vault WHERE seq = ?", [(seq,) for seq, _, _ in kept])
    for index, part, texts in (
        ("vault_by_token", _TOKEN_PART, [(token, seq) for seq, token, _ in kept]),
        ("vault_by_subject", _SUBJECT_PART, [(subject, seq) for seq, _, subject in kept]),
    ):
        connection.executemany(f"DELETE FROM {index} WHERE part = {part.format('?')} AND seq = ?", texts)


def move_from_format_2(connection: sqlite3.Connection) -> None:
    """Inside the caller's transaction: values that were kept without their day and sort are heard of today; of their
    sort nothing is known but for an address, whose token tells."""
    connection.execute("ALTER TABLE vault ADD COLUMN sort TEXT NOT NULL DEFAULT 'other'")
    connection.execute("ALTER TABLE vault ADD COLUMN heard INTEGER NOT NULL DEFAULT 0")
    _heard_today(connection)


def _heard_today(connection: sqlite3.Connection) -> None:
    connection.execute(
        "UPDATE vault SET heard = CAST(strftime('%s', 'now') AS INTEGER) / 86400,"
        " sort = CASE WHEN token LIKE '%@%' THEN 'email' ELSE 'other' END"
    )


def move_from_format_1(connection: sqlite3.Connection) -> None:
    """Inside the caller's transaction: bring over the values of a file whose one table was its own index."""
    connection.execute("ALTER TABLE vault RENAME TO vault_1")
    for sql in TABLES:
        connection.execute(sql)
    columns = "tenant, token, subject, key_id, value"
    connection.execute(f"INSERT INTO vault ({columns}) SELECT {columns} FROM vault_1")
    _heard_today(connection)
    _file(connection, 0, connection.execute("SELECT coalesce(max(seq), 0) FROM vault").fetchone()[0])
    connection.execute("DROP TABLE vault_1")
