"""The audit log: who changed what, when, from what to what, and why. It is only ever read here."""

from __future__ import annotations

from app.browse.rows import Row
from rules.ports import Store, Where


def audit(store: Store, tenant: str, *, about: str | None = None, after: str | None = None, limit: int = 50) -> Row:
    """Entries, newest first. about: the id of one rule, run, action or connection."""
    where: list[Where] = [("about", "==", about)] if about else []
    page = store.find(tenant, "audit", where, order="-at", after=after, limit=limit)
    return {"items": [{"id": document.id, **document.body} for document in page.items], "next": page.next}
