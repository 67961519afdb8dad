"""The event log, and one event whole: what it carried, what every rule decided about it, and where it led."""

from __future__ import annotations

from datetime import datetime

from app.browse.causation import cause_of
from app.browse.decision import explained, touched, verdicts
from app.browse.rows import JSON, Row, command_row, event_row, gather, listing, run_row, subject_of
from rules.event import trace_id
from rules.ports import Document, Page, Store, Where

NEIGHBOURS = 50  # other events of the transaction that one event's page lists
EXPLAINED = 10  # verdicts that one page explains whole
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


def event(store: Store, tenant: str, id: str, rule: str | None = None) -> Row:
    """One event with its payload, every rule's verdict, its runs, and the rest of its transaction. The verdicts of
    what fired, and of `rule`, are explained condition by condition. LookupError."""
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
        "changes": changes(body["event"]["data"]),
        "spans": list(body.get("spans") or ()),
        "verdicts": _verdicts(store, tenant, body, rule),
        "touched": touched(body.get("decision")),
        "runs": [run_row(run.body) for run in runs],
        "commands": _commands(store, tenant, id, same),
        "cause": cause_of(store, tenant, body),
        "transaction": [event_row(other.body) for other in others.items if other.id != id],
        "more": others.next is not None,
    }


def changes(envelope: JSON) -> list[Row]:
    """What an update changed: `{"field", "before", "after"}`, by Stripe's `previous_attributes`."""
    data = envelope.get("data")
    before = data.get("previous_attributes") if isinstance(data, dict) else None
    thing = subject_of(envelope)
    return [{"field": name, "before": value, "after": thing.get(name)} for name, value in (before or {}).items()]


def _verdicts(store: Store, tenant: str, body: JSON, rule: str | None) -> list[Row]:
    decision = body.get("decision") or {}
    rows = verdicts(decision)
    wanted = {rule, *[row["rule_id"] for row in rows if row["fired"]][:EXPLAINED]}
    return [explained(store, tenant, row, body, decision["at"]) if row["rule_id"] in wanted else row for row in rows]


def _commands(store: Store, tenant: str, id: str, same: list[Where]) -> list[Row]:
    found = store.find(tenant, "command", same, order="created_at").items
    return [command_row(command.body) for command in found if command.body.get("trigger") == id]
