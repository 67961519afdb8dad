"""The Vault and the Secrets on SQLite: values sealed with AES-256-GCM, found by token or by name.

New values of the vault travel with the next commit of the queue, so a token is never durable before its value. They
are sealed there, by the writing thread, all of a commit at once.
"""

from __future__ import annotations

import threading
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from sqlite3 import Connection

from app.adapters import sqlite_values
from app.adapters.keys import Keyring, LiveKeys, WrongKeys, live
from app.adapters.sealed import Ear, Known, Looked, check_look, context_of, known_as
from app.adapters.sqlite import Readers, connect, transaction, unavailable
from app.adapters.sqlite_bus import BUSY, SqliteBus, prepare_inbox
from app.adapters.sqlite_values import Heard, ValueRow
from rules.personal_sorts import sort_of_value


class SqliteVault:
    """Vault in the data folder's inbox.db.

    bus: whose next commit takes new values along. looked: called before a value is shown, to record who looked and
    why; when it raises, nothing is shown. ear: tells the day, and when to look for what other processes did.
    """

    def __init__(
        self, folder: Path, keys: Keyring | LiveKeys, bus: SqliteBus, looked: Looked, ear: Ear | None = None
    ) -> None:
        path = folder / "inbox.db"
        prepare_inbox(path)
        self._keys = live(keys)
        check_keys(path, self._keys)
        self._path = path
        self._bus = bus
        self._bus.values.sealing = self
        self._looked = looked
        self._readers = Readers(path)
        self._known = Known()
        self._ear = ear or Ear()
        self._heard: int | None = None  # the count of erasures that this process knows of
        self._barred: frozenset[tuple[str, str]] = frozenset()

    def tokenise(self, tenant: str, subject: str, values: Sequence[str], sorts: Sequence[str] = ()) -> list[str]:
        if self._ear.is_time():
            self._listen()
        tokens = self._keys.ring.tokens_for(tenant, values)
        known, of_subject = self._known, known_as(tenant, subject, "")
        new: dict[str, Heard] = {}
        for at, token in enumerate(tokens):
            name = of_subject + token
            if name not in known and name not in new:
                sort = sorts[at] if sorts else sort_of_value(subject, values[at])
                new[name] = (tenant, token, subject, values[at], sort, self._ear.day)
        if new and (tenant, subject) not in self._barred:
            self._bus.hear(new.values())
            known.add(new)
        return tokens

    def flush(self) -> None:
        """Return when all values tokenised so far are durable; for work that publishes nothing, such as an import."""
        self._bus.flush()

    def reveal(self, tenant: str, token: str, actor: str, reason: str, on: str = "", subject: str = "") -> str | None:
        check_look(actor, reason)
        self.flush()
        self._looked(tenant, token, actor, reason, on)
        with unavailable("reading the vault"):
            connection = self._readers.connection()
            if subject and sqlite_values.is_barred(connection, tenant, subject):
                return None
            row = sqlite_values.sealed(connection, tenant, token)
        return self._keys.open(row[0], context_of(tenant, token), row[1]) if row else None

    # ---- letting go -------------------------------------------------------------------------------------------------
    def erase(self, tenant: str, subject: str) -> int:
        """Remove what is kept of a subject, and overwrite its pages; how many values went."""
        self.flush()
        self._known.clear()
        with self._erasing() as connection:
            return sqlite_values.erase(connection, tenant, subject)

    def kept(self, tenant: str, subject: str) -> tuple[int, int]:
        self.flush()
        with unavailable("reading the vault"):
            return sqlite_values.kept(self._readers.connection(), tenant, subject)

    def bar(self, tenant: str, subjects: Sequence[str], barred: bool = True) -> None:
        with self._erasing() as connection:
            sqlite_values.bar(connection, tenant, subjects, barred)
        self._listen()

    def is_barred(self, tenant: str, subject: str) -> bool:
        with unavailable("reading the vault"):
            return sqlite_values.is_barred(self._readers.connection(), tenant, subject)

    def expiring(self, tenant: str, before: Mapping[str, int]) -> dict[str, int]:
        with unavailable("reading the vault"):
            return sqlite_values.expiring(self._readers.connection(), tenant, before)

    def expire(
        self, tenant: str, before: Mapping[str, int], after: str | None, most: int
    ) -> tuple[dict[str, int], str | None]:
        self._known.clear()
        with self._erasing() as connection:
            gone, last = sqlite_values.expire(connection, tenant, before, int(after or 0), most)
        return gone, None if last is None else str(last)

    # ---- moving and sealing anew ------------------------------------------------------------------------------------
    def rows(self) -> Iterator[ValueRow]:
        """Every value as it is kept, sealed; for moving it."""
        self.flush()
        with unavailable("reading the vault"):
            yield from sqlite_values.rows(self._readers.connection())

    def take(self, rows: Sequence[ValueRow]) -> None:
        """Keep values that another vault with the same keys has sealed. One that is known already is kept once."""
        self._bus.keep(list(rows))
        self.flush()

    def every_barred(self) -> Iterator[tuple[str, str]]:
        """Tenant and subject of all of whom nothing is kept."""
        with unavailable("reading the vault"):
            yield from sqlite_values.news(self._readers.connection(), None)[1] or ()

    def sealed(self, heard: Sequence[Heard], retired: Container[str]) -> list[ValueRow]:
        """Values as they are kept, under a key that is not retired."""
        if self._keys.ring.current in retired:
            self._keys.refresh()
        key, sealed = self._keys.ring.seal_all([(context_of(row[0], row[1]), row[3]) for row in heard])
        return [(*row[:3], key, value, *row[4:]) for row, value in zip(heard, sealed, strict=True)]

    def resealed(self, row: ValueRow) -> ValueRow:
        """The same value under the current key."""
        tenant, token, subject, key, sealed, sort, heard = row
        self._keys.refresh()
        context = context_of(tenant, token)
        return (tenant, token, subject, *self._keys.seal(context, self._keys.open(key, context, sealed)), sort, heard)

    def close(self) -> None:
        self._readers.close()

    @contextmanager
    def _erasing(self) -> Iterator[Connection]:
        """One transaction after which nothing of what was removed is left in the file or its log."""
        with unavailable("erasing from the vault"):
            connection = connect(self._path, busy=BUSY)
            try:
                connection.execute("PRAGMA secure_delete=ON")
                with transaction(connection):
                    yield connection
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                connection.close()

    def _listen(self) -> None:
        """Whether something was erased, a key made, or a day begun, since this process last looked."""
        self._keys.refresh()
        with unavailable("reading the vault"):
            heard, barred = sqlite_values.news(self._readers.connection(), self._heard)
        if self._ear.new_day() or heard != self._heard:
            self._known.clear()
        if barred is not None:
            self._barred = barred
        self._heard = heard


def check_keys(path: Path, keys: LiveKeys) -> None:
    """The first keys used are a folder's own; others would give known values new tokens without a word."""
    with unavailable(f"opening {path}"):
        connection = connect(path, busy=BUSY)
        try:
            with transaction(connection):
                connection.execute("INSERT INTO meta VALUES ('keys', ?) ON CONFLICT DO NOTHING", (keys.fingerprint,))
            known = connection.execute("SELECT value FROM meta WHERE name = 'keys'").fetchone()[0]
        finally:
            connection.close()
    if known != keys.fingerprint:
        raise WrongKeys(f"the keys at hand are not those that {path} was written with: restore its keys.json")


class SqliteSecrets:
    """Secrets in the data folder's secrets.db. given: values from the environment, which go before the file's."""

    def __init__(self, folder: Path, keys: Keyring | LiveKeys, given: Mapping[str, str] | None = None) -> None:
        path = folder / "secrets.db"
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._keys = live(keys)
        self._given = dict(given or {})
        with unavailable(f"opening {path}"):
            self._writer = connect(path)
            self._writer.execute(
                "CREATE TABLE IF NOT EXISTS secret (name TEXT PRIMARY KEY, key_id TEXT NOT NULL, value BLOB NOT NULL)"
                " WITHOUT ROWID"
            )
        self._readers = Readers(path)
        self._lock = threading.Lock()

    def get(self, name: str) -> str | None:
        if name in self._given:
            return self._given[name]
        with unavailable("reading the secrets"):
            found = self._readers.connection().execute("SELECT key_id, value FROM secret WHERE name = ?", (name,))
            row = found.fetchone()
        return self._keys.open(row[0], f"secret\n{name}", row[1]) if row else None

    def put(self, name: str, value: str) -> None:
        with self._lock, unavailable("writing the secrets"), transaction(self._writer):
            self._keys.refresh()  # inside the transaction: no key is retired while one is open
            self._put(name, value)

    def names(self) -> Iterable[str]:
        with unavailable("reading the secrets"):
            return [name for (name,) in self._readers.connection().execute("SELECT name FROM secret ORDER BY name")]

    def reseal(self) -> None:
        """Seal with the current key what is sealed with another."""
        with self._lock, unavailable("sealing the secrets"), transaction(self._writer):
            for name, key, value in self._writer.execute("SELECT name, key_id, value FROM secret").fetchall():
                if key != self._keys.ring.current:
                    self._put(name, self._keys.open(key, f"secret\n{name}", value))

    @contextmanager
    def standing_still(self) -> Iterator[frozenset[str]]:
        """Nobody writes a secret meanwhile; the keys that seal them."""
        with self._lock, unavailable("reading the secrets"), transaction(self._writer):
            yield frozenset(key for (key,) in self._writer.execute("SELECT DISTINCT key_id FROM secret").fetchall())

    def _put(self, name: str, value: str) -> None:
        """Inside a transaction."""
        self._writer.execute(
            "INSERT INTO secret VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET"
            " key_id = excluded.key_id, value = excluded.value",
            (name, *self._keys.seal(f"secret\n{name}", value)),
        )

    def close(self) -> None:
        with self._lock:
            self._writer.close()
            self._readers.close()
