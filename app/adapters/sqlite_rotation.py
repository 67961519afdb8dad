"""Another key for a data folder: each value and secret sealed anew while everything goes on, then the old key dropped.

Every step may be interrupted and repeated. The old key goes only when nothing is sealed with it, and nothing can be any
more: the vault then names it retired, and what still waits to be written with it is sealed anew on its way (see
sqlite_values.Appender); a secret is sealed inside the transaction that writes it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from app.adapters import sqlite_values
from app.adapters.keys import LiveKeys
from app.adapters.sqlite import connect, transaction, unavailable
from app.adapters.sqlite_bus import BUSY
from app.adapters.sqlite_vault import SqliteSecrets, SqliteVault


class SqliteRotation:
    """See app.personal.rotating.Rotation. point: called between any two steps; tests end it there."""

    grace = timedelta(0)

    def __init__(
        self,
        folder: Path,
        keys: LiveKeys,
        vault: SqliteVault,
        secrets: SqliteSecrets,
        point: Callable[[str], None] = lambda name: None,
    ) -> None:
        self._path = folder / "inbox.db"
        self._keys, self._vault, self._secrets, self._point = keys, vault, secrets, point

    def keys(self) -> tuple[str, tuple[str, ...]]:
        ring = self._keys.stored()
        return ring.current, tuple(sorted(ring.old))

    def begin(self) -> None:
        self._keys.refresh()
        ring = self._keys.stored()
        if not ring.old:
            self._point("before the new key is kept")
            self._keys.save(ring.rotated())
            self._point("after the new key is kept")

    def reseal(self, after: str | None, most: int) -> tuple[int, str | None]:
        self._keys.refresh()
        with unavailable("sealing values anew"):
            connection = connect(self._path, busy=BUSY)
            try:
                with transaction(connection):
                    current, start = self._keys.ring.current, int(after or 0)
                    count, last = sqlite_values.reseal(connection, current, self._vault.resealed, start, most)
                    self._point("before values are sealed anew")
                self._point("after values are sealed anew")
            finally:
                connection.close()
        return count, None if last is None else str(last)

    def finish(self) -> bool:
        ring = self._keys.stored()
        if not ring.old:
            return True
        self._vault.flush()
        self._secrets.reseal()
        self._point("after the secrets are sealed anew")
        with unavailable("retiring a key"):
            connection = connect(self._path, busy=BUSY)
            try:
                with transaction(connection):
                    retired = sqlite_values.retire(connection, ring.old)
                self._point("after the old key is retired")
            finally:
                connection.close()
        with self._secrets.standing_still() as sealing:
            if not retired or sealing & ring.old:
                return False
            self._point("before the old key is dropped")
            self._keys.save(ring.without_old())
        self._point("after the old key is dropped")
        return True
