"""What metrics are read from: spans that are recorded anyway, and a look at queue and store. See metric_names."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from app import logs, tenants
from app.observe.metric_names import CONNECTORS, Reading
from rules.event import instant, iso
from rules.ports import Inbox, Meter, Span, Store, Tracer, Unavailable

MANY = 1_000  # dead deliveries and connections that are counted


_STATES = {"sleeping": "waiting", "parked": "parked", "needs_person": "needs_person"}


# ---- from what is recorded anyway -----------------------------------------------------------------------------------
class MeteredTracer:
    """A tracer that also counts: decisions, their lag, and tries of actions are spans already."""

    def __init__(self, tracer: Tracer, meter: Meter) -> None:
        self._tracer = tracer
        self._meter = meter

    def export(self, spans: Sequence[Span]) -> None:
        self._tracer.export(spans)
        received = {span.span_id: span.end for span in spans if span.kind == "server"}
        for span in spans:
            if span.kind == "consumer":
                self._meter.record("signalbox.decision.duration", (span.end - span.start) / 1e9)
                if span.parent in received:
                    self._meter.record("signalbox.event.lag", max(span.start - received[span.parent], 0) / 1e9)
            elif span.kind == "client" and "outcome" in span.attributes:
                outcome = str(span.attributes["outcome"])
                self._meter.add("signalbox.commands", outcome=outcome, connector=connector_of(span.name))


def connector_of(action: str) -> str:
    """The technology of an action: `stripe` of `stripe.change_plan`."""
    name = action.partition(".")[0]
    return name if name in CONNECTORS else "other"


def outcome_of(status: int) -> str:
    """What the answer to a webhook came to."""
    return "accepted" if status == 200 else "refused" if status < 500 else "unavailable"


# ---- what is now ----------------------------------------------------------------------------------------------------
def readings(store: Store, inbox: Inbox, now: datetime) -> list[Reading]:
    """Every gauge, over all tenants. What cannot be read now is left out."""
    found: list[Reading] = []
    try:
        found += _queue(inbox, now)
        found += _kept(store, now)
    except Unavailable as error:
        logs.line("metrics.not_read", logging.WARNING, error=str(error))
    return found


def _queue(inbox: Inbox, now: datetime) -> Iterator[Reading]:
    oldest = inbox.oldest()
    yield "signalbox.events.oldest_unacked", (now - oldest).total_seconds() if oldest else 0.0, {}
    yield "signalbox.dead_letters", float(len(inbox.dead(MANY))), {"sort": "events"}


def _kept(store: Store, now: datetime) -> Iterator[Reading]:
    sums: dict[str, float] = dict.fromkeys((*_STATES, "dead", "failing"), 0.0)
    late = 0.0
    for tenant in tenants.every(store):
        for name, state in _STATES.items():
            sums[name] += store.count(tenant, "run", [("state", "==", state)])
        sums["dead"] += store.count(tenant, "command", [("state", "==", "dead")])
        sums["failing"] += _failing(store, tenant)
        late = max(late, _late(store, tenant, now))
    for name in _STATES:
        yield f"signalbox.runs.{name}", sums[name], {}
    yield "signalbox.dead_letters", sums["dead"], {"sort": "actions"}
    yield "signalbox.connections.failing", sums["failing"], {}
    yield "signalbox.actions.oldest_due", late, {}


def _failing(store: Store, tenant: str) -> int:
    found = store.find(tenant, "connection", order="created_at", limit=MANY).items
    return sum(1 for one in found if one.body.get("state") == "failing")


def _late(store: Store, tenant: str, now: datetime) -> float:
    found: Any = store.find(tenant, "command", [("due_at", "<=", iso(now))], order="due_at", limit=1).items
    return (now - instant(found[0].body["due_at"])).total_seconds() if found else 0.0
