"""The audit log, searched: who did what, when, from what to what, and why. It is only ever read here."""

from __future__ import annotations

from app.browse.rows import Row, gather
from rules.ports import Document, Page, Store, Where

PAGES = 20  # that are read for one answer, where several filters are set and only one has an index
_BY = ("about", "actor", "verb")  # the first of these that is asked for is looked up, the others are compared


def audit(
    store: Store,
    tenant: str,
    *,
    about: str | None = None,
    actor: str | None = None,
    verb: str | None = None,
    since: str | None = None,
    until: str | None = None,
    after: str | None = None,
    limit: int = 50,
) -> Row:
    """Newest first, `{"items": [{"id", "at", "actor", "verb", "about", "from", "to", "why", ...}], "next"}`.
    since, until: instants as `iso` writes them."""
    asked = {name: value for name, value in (("about", about), ("actor", actor), ("verb", verb)) if value}
    first = next((name for name in _BY if name in asked), None)
    where: list[Where] = [(first, "==", asked.pop(first))] if first else []
    where += [("at", ">=", since)] if since else []
    where += [("at", "<=", until)] if until else []

    def read(cursor: str | None) -> Page:
        return store.find(tenant, "audit", where, order="-at", after=cursor, limit=limit)

    def keep(found: Document) -> bool:
        return all(found.body[name] == value for name, value in asked.items())

    page = gather(read, keep, after, limit, PAGES) if asked else read(after)
    return {"items": [{"id": one.id, **one.body} for one in page.items], "next": page.next}
