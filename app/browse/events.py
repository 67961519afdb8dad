"""The event log, and one event whole: what it carried, what every rule decided about it, and where it led."""

from __future__ import annotations

from datetime import datetime

from app.browse.decision import verdicts
from app.browse.rows import Row, command_row, event_row, gather, listing, run_row
from rules.event import trace_id
from rules.ports import Document, Page, Store, Where

NEIGHBOURS = 50  # other events of the transaction that one event's page lists
_PREFIX = {"py": "ch"}  # ids whose prefix differs from their subject key's


def subject_key(text: str) -> str:
    """The subject key a person means: `cus_1` is `cus:cus_1`, `card:...` stays as it is."""
    if ":" in text:
        return text
    prefix = text.split("_", 1)[0]
    return f"{_PREFIX.get(prefix, prefix)}:{text}"


def events(
    store: Store,
    tenant: str,
    *,
    type: str | None = None,
    key: str | None = None,
    fired: bool | None = None,
    before: datetime | None = None,
    after: str | None = None,
    limit: int = 50,
) -> Row:
    """The log, newest first by Stripe's time. key: a subject key or a bare id (`cus_1`). before: at or before then.
    A filter that has no index of its own looks through five pages at a time, so a page may come up short."""
    where = _indexed(type, key, fired)
    if before is not None:
        where.append(("created", "<=", int(before.timestamp())))
    rest = fired is not None and bool(type or key)

    def read(cursor: str | None) -> Page:
        return store.find(tenant, "event", where, order="-created", after=cursor, limit=limit)

    def keep(document: Document) -> bool:
        return not rest or bool(document.body.get("fired")) == fired

    return listing(gather(read, keep, after, limit if rest else 1), event_row)


def _indexed(type: str | None, key: str | None, fired: bool | None) -> list[Where]:
    where: list[Where] = []
    if key:
        where.append(("keys", "has", subject_key(key)))
    if type:
        where.append(("type", "==", type))
    if fired is not None and not where:
        where.append(("fired", "==", fired))
    return where


def event(store: Store, tenant: str, id: str) -> Row:
    """One event with its payload, every rule's verdict, its runs, and the rest of its transaction. LookupError."""
    document = store.get(tenant, "event", id)
    if document is None:
        raise LookupError(f"There is no event {id!r}. It may be of another tenant, or not handled yet.")
    body = document.body
    same: list[Where] = [("correlation", "==", body["correlation"])]
    runs = store.find(tenant, "run", [("trigger", "==", id)], order="created_at").items
    others = store.find(tenant, "event", same, order="created", limit=NEIGHBOURS)
    return {
        **event_row(body),
        "trace": trace_id(tenant, body["correlation"]),
        "payload": body["event"]["data"],
        "spans": list(body.get("spans") or ()),
        "verdicts": verdicts(body.get("decision"), [run.body for run in runs]),
        "runs": [run_row(run.body) for run in runs],
        "commands": _commands(store, tenant, id, same),
        "transaction": [event_row(other.body) for other in others.items if other.id != id],
        "more": others.next is not None,
    }


def _commands(store: Store, tenant: str, id: str, same: list[Where]) -> list[Row]:
    found = store.find(tenant, "command", same, order="created_at").items
    return [command_row(command.body) for command in found if command.body.get("trigger") == id]
