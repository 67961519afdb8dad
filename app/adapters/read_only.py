"""Ports that only read: what the command line works on while Signalbox is read-only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timedelta
from typing import Any, NoReturn, TypeVar

from app.adapters.instead import instead
from rules.event import Event
from rules.ports import (
    ActionExecutor,
    Bus,
    Document,
    Inbox,
    Page,
    Put,
    Refused,
    Secrets,
    Store,
    Vault,
    Where,
    Write,
)

T = TypeVar("T")
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


# ---- the other ports ------------------------------------------------------------------------------------------------
def vault(port: Vault) -> Vault:
    """Tokens of new values would have to be kept, and a look at a value recorded."""
    return _refusing(port, "flush", "reveal", "erase", "bar", "expire", tokenise=_tokenise)


def secrets(port: Secrets) -> Secrets:
    return _refusing(port, "put")


def bus(port: Bus) -> Bus:
    return _refusing(port, "publish")


def inbox(port: Inbox) -> Inbox:
    return _refusing(port, "drain", "replay", "discard")


def actions(port: Mapping[str, ActionExecutor]) -> Mapping[str, ActionExecutor]:
    """They are shown and previewed; none is done."""
    return {name: _refusing(action, "execute") for name, action in port.items()}


def rotation(port: Any) -> Any:
    return _refusing(port, "begin", "reseal", "finish")


def _tokenise(tenant: str, subject: str, values: Sequence[str], sorts: Sequence[str] = ()) -> list[str]:
    return _refuse() if values else []


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise Refused(SAYS)


def _refusing(port: T, *names: str, **methods: Callable[..., Any]) -> T:
    """The port behind, but for these of its methods."""
    return instead(port, dict.fromkeys(names, _refuse) | methods)
