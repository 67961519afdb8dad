"""Journeys: one transaction from the webhook to the CRM, as the spans that its events and actions recorded."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from app.browse.causation import cause_of
from app.browse.rows import JSON, Row, command_row, event_row, run_row
from app.browse.scale import scale
from rules.event import iso, trace_id
from rules.ports import Document, Store, Where

MOST = 200  # documents of each kind that one journey shows
_TRACE = re.compile(r"[0-9a-f]{32}")


def journeys(store: Store, tenant: str, *, after: str | None = None, limit: int = 100) -> Row:
    """The transactions that the newest events belong to, newest first, each once a page."""
    page = store.find(tenant, "event", order="-recorded", after=after, limit=limit)
    found: dict[str, Row] = {}
    for document in page.items:
        row = event_row(document.body)
        journey_ = found.setdefault(row["correlation"], _first_seen(tenant, row))
        journey_["events"].append(row["type"])
        journey_["customer"] = journey_["customer"] or row["customer"]
        journey_["fired"] = journey_["fired"] or row["fired"]
        journey_["since"] = min(journey_["since"], row["recorded"])
    return {"items": list(found.values()), "next": page.next}


def _first_seen(tenant: str, row: Row) -> Row:
    return {
        "correlation": row["correlation"],
        "trace": trace_id(tenant, row["correlation"]),
        "customer": None,
        "since": row["recorded"],
        "until": row["recorded"],
        "money": row["money"],
        "fired": False,
        "events": [],
    }


def correlation_of(store: Store, tenant: str, id: str) -> str:
    """The transaction that `id` names: a transaction id, or a W3C trace id of 32 hex digits. LookupError if none."""
    if _TRACE.fullmatch(id):
        found = store.find(tenant, "event", [("trace", "==", id)], order="created", limit=1).items
    else:
        found = store.find(tenant, "event", [("correlation", "==", id)], order="created", limit=1).items
    if not found:
        raise LookupError(f"no transaction {id!r}")
    return str(found[0].body["correlation"])


def journey(store: Store, tenant: str, id: str) -> Row:
    """Everything of one transaction: its events, runs, actions, notices, and the spans as rows of a waterfall.
    id: a transaction id or a trace id. Raises LookupError."""
    correlation = correlation_of(store, tenant, id)
    same: list[Where] = [("correlation", "==", correlation)]
    events = store.find(tenant, "event", same, order="created", limit=MOST)
    commands = store.find(tenant, "command", same, order="created_at", limit=MOST)
    runs = store.find(tenant, "run", same, order="created_at", limit=MOST)
    notices = store.find(tenant, "notice", same, order="received_at", limit=MOST)
    spans = _spans(events.items, commands.items)
    return {
        "correlation": correlation,
        "trace": trace_id(tenant, correlation),
        "customer": next((d.body["customer"] for d in events.items if d.body.get("customer")), None),
        "events": [
            {**event_row(document.body), "cause": cause_of(store, tenant, document.body, commands.items)}
            for document in events.items
        ],
        "runs": [run_row(document.body) for document in runs.items],
        "commands": [command_row(document.body) for document in commands.items],
        "notices": [dict(document.body) for document in notices.items],
        "more": any(page.next for page in (events, commands, runs)),
        **waterfall(spans),
    }


def waterfall(spans: Sequence[Row]) -> Row:
    """Spans as rows, each under its parent, with where its bar lies on a scale of 0..1000 whose idle gaps shrink."""
    ruler = scale((span["start"], span["end"]) for span in spans)
    return {
        "rows": [_drawn(span, depth) | ruler.bar(span["start"], span["end"]) for span, depth in _nested(spans)],
        "gaps": ruler.gaps(),
        "seconds": _elapsed(spans),
        "ok": all(span["ok"] for span in spans),
    }


def _spans(events: Sequence[Document], commands: Sequence[Document]) -> list[Row]:
    """Every recorded span once, with the page that tells more of it."""
    found: dict[str, Row] = {}
    for document in events:
        for span in document.body.get("spans") or ():
            found.setdefault(span["span_id"], {**span, "about": {"kind": "event", "id": document.id}})
    for document in commands:
        for attempt in document.body.get("attempts") or ():
            if span := attempt.get("span"):
                found.setdefault(span["span_id"], {**span, "about": {"kind": "command", "id": document.id}})
    return sorted(found.values(), key=lambda span: (span["start"], span["end"]))


def _nested(spans: Sequence[Row]) -> Iterator[tuple[Row, int]]:
    known = {span["span_id"] for span in spans}
    children: dict[str | None, list[Row]] = {}
    for span in spans:
        parent = span.get("parent")
        children.setdefault(parent if parent in known else None, []).append(span)
    waiting = [(span, 0) for span in reversed(children.get(None, []))]
    while waiting:
        span, depth = waiting.pop()
        yield span, depth
        waiting += [(child, depth + 1) for child in reversed(children.pop(span["span_id"], []))]


def _drawn(span: Row, depth: int) -> Row:
    return {
        "span_id": span["span_id"],
        "parent": span.get("parent"),
        "name": span["name"],
        "kind": span.get("kind", "internal"),
        "ok": bool(span.get("ok", True)),
        "at": iso(datetime.fromtimestamp(span["start"] / 1e9, UTC)),
        "seconds": (span["end"] - span["start"]) / 1e9,
        "attributes": dict(span.get("attributes") or {}),
        "about": span["about"],
        "depth": depth,
    }


def _elapsed(spans: Sequence[JSON]) -> float:
    if not spans:
        return 0.0
    return float(max(span["end"] for span in spans) - min(span["start"] for span in spans)) / 1e9
