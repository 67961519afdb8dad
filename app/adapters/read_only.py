"""A store that only reads: what the command line works on while Signalbox is read-only."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timedelta
from typing import NoReturn

from rules.event import Event
from rules.ports import Document, Page, Put, Refused, Store, Where, Write

SAYS = "Signalbox is read-only (SIGNALBOX_READ_ONLY=1): nothing was changed."


class ReadOnlyStore:
    """Every write raises Refused with one sentence; reads go to the store behind."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, tenant: str, kind: str, id: str) -> Document | None:
        return self._store.get(tenant, kind, id)

    def find(
        self,
        tenant: str,
        kind: str,
        where: Sequence[Where] = (),
        order: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> Page:
        return self._store.find(tenant, kind, where, order, after, limit)

    def count(self, tenant: str, kind: str, where: Sequence[Where] = (), most: int | None = None) -> int:
        return self._store.count(tenant, kind, where, most)

    def window(self, tenant: str, key: str, types: Sequence[str], since: int, until: int) -> list[Event]:
        return self._store.window(tenant, key, types, since, until)

    def commit(self, tenant: str, event: Put | None, writes: Sequence[Write]) -> NoReturn:
        raise Refused(SAYS)

    def claim(self, kind: str, now: datetime, lease: timedelta, limit: int) -> NoReturn:
        raise Refused(SAYS)

    def share(self) -> float:
        return self._store.share()

    def batch(self) -> AbstractContextManager[None]:
        return nullcontext()

    def wipe(self, tenant: str) -> NoReturn:
        raise Refused(SAYS)
