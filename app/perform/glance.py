"""What actions that begin in the same moment look at alike, read once for all of them: switches, rules, connections."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from rules.ports import Document, Store

MOMENT = 0.01  # seconds; less than a thread may need from its last look to the call


class Reads(Protocol):
    def get(self, tenant: str, kind: str, id: str) -> Document | None: ...


class Glance:
    """Documents as they were a moment ago at most."""

    def __init__(self, store: Store, elapsed: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._elapsed = elapsed
        self._began = float("-inf")
        self._known: dict[tuple[str, str, str], Document | None] = {}

    def get(self, tenant: str, kind: str, id: str) -> Document | None:
        if self._elapsed() - self._began > MOMENT:
            self.forget()
        name = tenant, kind, id
        if name in self._known:
            return self._known[name]
        found = self._store.get(tenant, kind, id)
        if found is None or not found.body.get("breaker"):  # who probes a connection changes it
            self._known[name] = found
        return found

    def forget(self) -> None:
        """Something was written."""
        self._known.clear()
        self._began = self._elapsed()
