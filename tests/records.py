"""Documents as the stations leave them, for tests of what only reads: one event, one run, one action of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any

from rules.event import Event, iso
from rules.ports import Put, Span, Store
from rules.run import Command, Run, run_id
from tests.builders import NOON, TENANT, event

RULE = {
    "id": "two-failed",
    "name": "Two failed payments",
    "when": {"event": ["invoice.payment_failed"], "at_least": 2, "within": "P7D", "same": "subscription"},
    "steps": [
        {"name": "downgrade", "do": "stripe.change_plan", "with": {"price": "price_free"}},
        {"name": "pause", "wait": {"for": "PT48H"}},
        {"name": "tell-crm", "do": "crm.notify", "with": {"connection": "crm"}},
    ],
}


def nanoseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000) * 1_000_000


def span(one: Event, name: str, id: str, parent: str | None, start: datetime, took: float = 0.004) -> dict[str, Any]:
    begin = nanoseconds(start)
    return asdict(Span(one.trace_id, id, parent, name, begin, begin + int(took * 1e9), attributes={"event": one.id}))


def keep_event(store: Store, one: Event, decision: Mapping[str, Any] | None = None, fired: bool = False) -> Event:
    """The event as handled; its spans begin when it was recorded."""
    body = {
        "event": one.to_cloudevent(),
        "type": one.type,
        "created": one.created,
        "recorded": iso(one.recorded),
        "correlation": one.correlation,
        "trace": one.trace_id,
        "customer": next((key[4:] for key in one.keys if key.startswith("cus:")), None),
        "origin": one.source,
        "keys": list(one.keys),
        "fired": fired,
        "decision": decision,
        "spans": [
            span(one, "receive", f"r-{one.id}", None, one.recorded),
            span(one, "handle", f"h-{one.id}", f"r-{one.id}", one.recorded + timedelta(seconds=0.3)),
        ],
    }
    store.commit(one.tenant, Put("event", one.id, body), [])
    return one


def run(trigger: Event, **changes: Any) -> Run:
    """A run of RULE that acts on its first step."""
    key = f"sub:{next((k[4:] for k in trigger.keys if k.startswith('sub:')), 'sub_1')}"
    at = iso(trigger.recorded)
    made = Run(
        id=run_id(trigger.tenant, "two-failed", key, trigger.id),
        tenant=trigger.tenant,
        rule_id="two-failed",
        rule_name="Two failed payments",
        version=1,
        mode="live",
        state="acting",
        key=key,
        customer=next((k[4:] for k in trigger.keys if k.startswith("cus:")), None),
        trigger=trigger.id,
        triggered=trigger.created,
        correlation=trigger.correlation,
        created_at=at,
        updated_at=at,
        events=(trigger.id,),
        steps={"downgrade": {"state": "due", "at": at, "message": "stripe.change_plan"}},
        story=({"at": at, "text": "Second failure in 7 days. Run started on version 1."},),
        money={"usd": 4900},
    )
    return replace(made, **changes)


def command(of: Run, **changes: Any) -> Command:
    """The action of the run's first step, not tried yet."""
    made = Command(
        id=f"{of.id}/downgrade",
        tenant=of.tenant,
        run_id=of.id,
        step="downgrade",
        rule_id=of.rule_id,
        version=of.version,
        action="stripe.change_plan",
        connection="stripe",
        params={"price": "price_free"},
        state="due",
        customer=of.customer,
        correlation=of.correlation,
        created_at=of.created_at,
        due_at=of.created_at,
        trigger=of.trigger,
    )
    return replace(made, **changes)


def keep_run(store: Store, one: Run) -> Run:
    store.commit(one.tenant, None, [Put("run", one.id, one.body())])
    return one


def keep_command(store: Store, one: Command) -> Command:
    store.commit(one.tenant, None, [Put("command", one.id, one.body())])
    return one


def keep_rule(store: Store, state: str = "live", tenant: str = TENANT, document: Mapping[str, Any] = RULE) -> None:
    id = document["id"]
    at = iso(NOON)
    body = {"id": id, "name": document["name"], "state": state, "number": 1, "draft": None, "draft_by": "ada"}
    body |= {"problems": 0, "created_at": at, "updated_at": at, "live_from": at, "paused_from": None}
    version = {"rule_id": id, "number": 1, "document": dict(document), "mode": state, "published_at": iso(NOON)}
    store.commit(tenant, None, [Put("rule", id, body), Put("rule_version", f"{id}@1", version)])


def attempt(trigger: Event, at: datetime, outcome: str = "done", took: float = 0.2) -> dict[str, Any]:
    """One try of an action, with its span under the trigger's handling."""
    return {
        "at": iso(at),
        "ended_at": iso(at + timedelta(seconds=took)),
        "outcome": outcome,
        "message": "Stripe moved the subscription." if outcome == "done" else "Stripe answered 503.",
        "request": {"method": "POST", "path": "/v1/subscriptions/sub_1", "price": "price_free"},
        "response": {"status": 200 if outcome == "done" else 503, "request_id": "req_1"},
        "span": span(trigger, "perform", f"p-{trigger.id}-{iso(at)}", f"h-{trigger.id}", at, took),
    }


def story(store: Store, tenant: str = TENANT) -> tuple[Event, Run, Command]:
    """Two failures of one subscription, a run at the second, its first action done after one retry."""
    keep_rule(store, tenant=tenant)
    keep_event(store, event("evt_1", time=NOON - timedelta(days=3), tenant=tenant))
    trigger = keep_event(store, event("evt_2", tenant=tenant), fired=True)
    tries = (
        attempt(trigger, NOON + timedelta(seconds=2), "retry"),
        attempt(trigger, NOON + timedelta(minutes=5)),
    )
    waiting = {
        "downgrade": {"state": "done", "at": tries[1]["ended_at"], "message": "Stripe moved the subscription."},
        "pause": {
            "state": "waiting",
            "at": tries[1]["ended_at"],
            "until": iso(NOON + timedelta(hours=48)),
            "message": "Waiting",
        },
    }
    due = iso(NOON + timedelta(hours=48))
    made = keep_run(
        store,
        run(trigger, state="waiting", position=(1,), steps=waiting, events=("evt_1", "evt_2"), due_at=due),
    )
    acted = keep_command(store, command(made, state="done", attempts=tries, due_at=None))
    return trigger, made, acted
