"""The Vault and the Secrets on SQLite: values sealed with AES-256-GCM, found by token or by name.

New values of the vault travel with the next commit of the queue, so a token is never durable before its value.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from app.adapters import sqlite_values
from app.adapters.keys import Keyring, WrongKeys
from app.adapters.sealed import Known, check_look, context_of
from app.adapters.sqlite import Readers, connect, transaction, unavailable
from app.adapters.sqlite_bus import BUSY, SqliteBus, prepare_inbox
from app.adapters.sqlite_values import ValueRow

Looked = Callable[[str, str, str, str], None]  # tenant, token, actor, reason


class SqliteVault:
    """Vault in the data folder's inbox.db.

    bus: whose next commit takes new values along. looked: called before a value is shown, to record who looked and
    why; when it raises, nothing is shown.
    """

    def __init__(self, folder: Path, keys: Keyring, bus: SqliteBus, looked: Looked) -> None:
        path = folder / "inbox.db"
        prepare_inbox(path)
        _check_keys(path, keys)
        self._path = path
        self._keys = keys
        self._bus = bus
        self._looked = looked
        self._readers = Readers(path)
        self._known = Known()

    def tokenise(self, tenant: str, subject: str, values: Sequence[str]) -> list[str]:
        new: list[ValueRow] = []
        tokens = [self._token(tenant, subject, value, new) for value in values]
        if new:
            self._bus.keep(new)
        return tokens

    def flush(self) -> None:
        """Return when all values tokenised so far are durable; for work that publishes nothing, such as an import."""
        self._bus.flush()

    def reveal(self, tenant: str, token: str, actor: str, reason: str) -> str | None:
        check_look(actor, reason)
        self.flush()
        self._looked(tenant, token, actor, reason)
        with unavailable("reading the vault"):
            row = sqlite_values.sealed(self._readers.connection(), tenant, token)
        return self._keys.open(row[0], context_of(tenant, token), row[1]) if row else None

    def erase(self, tenant: str, subject: str) -> int:
        """Remove what is kept of a subject, and overwrite its pages; how many values went."""
        self.flush()
        self._known.clear()
        with unavailable("erasing from the vault"):
            connection = connect(self._path, busy=BUSY)
            try:
                connection.execute("PRAGMA secure_delete=ON")
                with transaction(connection):
                    gone = sqlite_values.erase(connection, tenant, subject)
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                return gone
            finally:
                connection.close()

    def rows(self) -> Iterator[ValueRow]:
        """Every value as it is kept, sealed; for moving it."""
        self.flush()
        with unavailable("reading the vault"):
            yield from sqlite_values.rows(self._readers.connection())

    def take(self, rows: Sequence[ValueRow]) -> None:
        """Keep values that another vault with the same keys has sealed. One that is known already is kept once."""
        self._bus.keep(list(rows))
        self.flush()

    def close(self) -> None:
        self._readers.close()

    def _token(self, tenant: str, subject: str, value: str, new: list[ValueRow]) -> str:
        token = self._known.get((tenant, subject, value))
        if token is None:
            token = self._keys.token_for(tenant, value)
            new.append((tenant, token, subject, *self._keys.seal(context_of(tenant, token), value)))
            self._known.add((tenant, subject, value), token)
        return token


def _check_keys(path: Path, keys: Keyring) -> None:
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

    def __init__(self, folder: Path, keys: Keyring, given: Mapping[str, str] | None = None) -> None:
        path = folder / "secrets.db"
        path.parent.mkdir(parents=True, exist_ok=True)
        self._keys = keys
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
        sealed = self._keys.seal(f"secret\n{name}", value)
        with self._lock, unavailable("writing the secrets"), transaction(self._writer):
            self._writer.execute(
                "INSERT INTO secret VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET"
                " key_id = excluded.key_id, value = excluded.value",
                (name, *sealed),
            )

    def names(self) -> Iterable[str]:
        with unavailable("reading the secrets"):
            return [name for (name,) in self._readers.connection().execute("SELECT name FROM secret ORDER BY name")]

    def close(self) -> None:
        with self._lock:
            self._writer.close()
            self._readers.close()
