"""Tenants: account and mode, `default/test`; each one that was heard of has a document, so that pages can list them."""

from __future__ import annotations

from datetime import datetime

from app.connections import live_actions
from rules.event import iso
from rules.kinds import SYSTEM
from rules.ports import ABSENT, Conflict, Put, Store


def ensure(store: Store, tenant: str, now: datetime) -> None:
    """Make the tenant's document if it is not there."""
    if store.get(SYSTEM, "tenant", tenant) is not None:
        return
    live_actions.begin(store, tenant, now)
    try:
        store.commit(SYSTEM, None, [Put("tenant", tenant, {"id": tenant, "created_at": iso(now)}, expect=ABSENT)])
    except Conflict:
        return  # another process was first


def every(store: Store) -> list[str]:
    """The ids of all tenants, oldest first."""
    return [document.id for document in store.find(SYSTEM, "tenant", order="created_at", limit=1000).items]
