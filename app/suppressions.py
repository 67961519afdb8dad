"""Who gets no e-mail: people who unsubscribed and addresses that bounced, by the token of the address. All audited.

Every e-mail asks here just before it is sent, whatever its rule says. A list that rules name under `never_for` keeps
runs from starting; this keeps only e-mail back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.audit import entry
from rules.event import iso
from rules.ports import ABSENT, Conflict, Delete, Put, Store

PAGE = 50
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class StoredSuppressions:
    """The port of app.connectors.mail over the store."""

    store: Store

    def has(self, tenant: str, token: str) -> bool:
        return is_suppressed(self.store, tenant, token)

    def add(self, tenant: str, token: str, why: str, now: datetime) -> None:
        suppress(self.store, tenant, token, why, "signalbox", now)


def is_suppressed(store: Store, tenant: str, token: str) -> bool:
    return store.get(tenant, "suppression", token) is not None


def suppress(store: Store, tenant: str, token: str, why: str, actor: str, now: datetime) -> bool:
    """Send this address no e-mail; whether that is new."""
    body = {"token": token, "why": why, "by": actor, "at": iso(now)}
    change = entry(now, actor, "suppress e-mail", token, None, body, why)
    try:
        store.commit(tenant, None, [Put("suppression", token, body, ABSENT), change])
    except Conflict:
        return False
    return True


def lift(store: Store, tenant: str, token: str, why: str, actor: str, now: datetime) -> None:
    """Send to the address again, because the person asked for it. LookupError."""
    found = store.get(tenant, "suppression", token)
    if found is None:
        raise LookupError(f"{token} is not kept from e-mail.")
    change = entry(now, actor, "allow e-mail", token, dict(found.body), None, why)
    store.commit(tenant, None, [Delete("suppression", token, found.version), change])


def suppressed(store: Store, tenant: str) -> tuple[int, Sequence[Row]]:
    """How many there are, and the latest."""
    found = store.find(tenant, "suppression", order="-at", limit=PAGE)
    return store.count(tenant, "suppression"), [dict(one.body) for one in found.items]
