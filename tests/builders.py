"""Builders: make what the test is about and default the rest."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from app.adapters.memory import ManualClock, MemoryBus, MemorySecrets, MemoryStore, MemoryTracer, MemoryVault
from app.services import Services
from app.settings import Settings
from rules.event import Event, iso
from rules.ports import Put

NOON = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
DAY = timedelta(days=1)
TENANT = "default/test"
WEBHOOK_SECRET = "whsec_made_up_for_tests"
ADMIN_TOKEN = "admin-token-made-up-for-tests"
API_VERSION = "2026-10-28.endive"
SHARED = Path(os.environ.get("SIGNALBOX_SHARED", Path(__file__).parents[1].parent / "shared"))


# ---- Stripe's side --------------------------------------------------------------------------------------------------
def invoice(
    id: str = "in_1", customer: str | None = "cus_1", subscription: str | None = "sub_1", **more: Any
) -> dict[str, Any]:
    """An invoice as Stripe writes it since 2025-03-31.basil; `more` overrides its fields."""
    details = {"subscription": subscription, "metadata": {}}
    parent = {"type": "subscription_details", "subscription_details": details, "quote_details": None}
    return {
        "id": id,
        "object": "invoice",
        "customer": customer,
        "customer_email": "ada@example.com",
        "customer_name": "Ada Example",
        "parent": parent if subscription else None,
        "billing_reason": "subscription_cycle",
        "collection_method": "charge_automatically",
        "status": "open",
        "currency": "usd",
        "amount_due": 4900,
        "amount_paid": 0,
        "amount_remaining": 4900,
        "attempt_count": 1,
        "attempted": True,
        "metadata": {},
        "livemode": False,
        **more,
    }


def envelope(
    id: str = "evt_1",
    type: str = "invoice.payment_failed",
    object: Mapping[str, Any] | None = None,
    time: datetime = NOON,
    previous: Mapping[str, Any] | None = None,
    idempotency_key: str | None = None,
    livemode: bool = False,
    **more: Any,
) -> dict[str, Any]:
    """A snapshot event as Stripe posts it; the object defaults to an invoice whose payment failed."""
    data: dict[str, Any] = {"object": dict(invoice() if object is None else object)}
    if previous is not None:
        data["previous_attributes"] = dict(previous)
    return {
        "id": id,
        "object": "event",
        "api_version": API_VERSION,
        "created": int(time.timestamp()),
        "data": data,
        "livemode": livemode,
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": idempotency_key},
        "type": type,
        **more,
    }


def thin(id: str = "evt_thin_1", type: str = "v1.customer.subscription.past_due", **more: Any) -> dict[str, Any]:
    """A thin event as Stripe posts it: no data, an ISO `created`."""
    return {
        "id": id,
        "object": "v2.core.event",
        "type": type,
        "created": "2026-11-23T12:00:00.000Z",
        "livemode": False,
        "context": None,
        "reason": None,
        "related_object": {"id": "sub_1", "type": "subscription", "url": "/v1/subscriptions/sub_1"},
        **more,
    }


def body_of(envelope: Mapping[str, Any]) -> bytes:
    """The raw bytes, two-space indented as Stripe sends them."""
    return json.dumps(envelope, indent=2).encode()


def signature(body: bytes, time: datetime = NOON, secret: str = WEBHOOK_SECRET) -> str:
    """The `Stripe-Signature` header of these bytes."""
    stamp = int(time.timestamp())
    digest = hmac.new(secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={stamp},v1={digest}"


def signed(body: bytes, time: datetime = NOON, secret: str = WEBHOOK_SECRET) -> dict[str, str]:
    """The headers of a webhook request with these bytes."""
    return {"Content-Type": "application/json; charset=utf-8", "Stripe-Signature": signature(body, time, secret)}


# ---- our side -------------------------------------------------------------------------------------------------------
def event(
    id: str = "evt_1",
    type: str = "invoice.payment_failed",
    object: Mapping[str, Any] | None = None,
    time: datetime = NOON,
    recorded: datetime | None = None,
    tenant: str = TENANT,
    source: str = "webhook",
    causation: str | None = None,
    **more: Any,
) -> Event:
    """An Event as receive would publish it, without the vault. recorded defaults to one second after `time`."""
    from rules.subjects import correlation_of, keys_of, partition_of

    data = envelope(id, type, object, time, **more)
    keys = keys_of(data, tenant.split("/")[0])
    return Event(
        id=id,
        type=type,
        tenant=tenant,
        created=data["created"],
        recorded=recorded or time + timedelta(seconds=1),
        data=data,
        correlation=correlation_of(data),
        partition=partition_of(keys),
        keys=keys,
        causation=causation,
        source=source,
    )


def services_in_memory(now: datetime = NOON, **settings: Any) -> Services:
    """Every port from the memory adapters, one tenant, a clock that the test sets (`services.clock.set(...)`)."""
    from app.adapters.stripe_verifier import StripeVerifier
    from app.rulesets import RuleSets
    from app.services import catalogue, every_action
    from rules.matcher import choose_matcher

    clock = ManualClock(now)
    bus = MemoryBus(clock.now)
    store = MemoryStore()
    store.commit("system", None, [Put("tenant", TENANT, {"id": TENANT, "created_at": iso(now)})])
    secrets = MemorySecrets()
    base = Settings(
        backend="memory",
        matcher="python",
        stripe_api_key="sk_test_made_up",
        stripe_webhook_secrets=(WEBHOOK_SECRET,),
        admin_token=ADMIN_TOKEN,
    )
    chosen = replace(base, **settings)
    vault = MemoryVault()
    rulesets = RuleSets(choose_matcher(chosen.matcher), chosen.dry_run)
    return Services(
        settings=chosen,
        clock=clock,
        store=store,
        bus=bus,
        inbox=bus,
        vault=vault,
        secrets=secrets,
        verifier=StripeVerifier(lambda: {"default": chosen.stripe_webhook_secrets}),
        tracer=MemoryTracer(),
        connectors=every_action(chosen, secrets, vault, store, rulesets),
        catalogue=catalogue(),
        rulesets=rulesets,
    )


def task(
    action: str = "crm.notify",
    params: Mapping[str, Any] | None = None,
    connection: Mapping[str, Any] | None = None,
    now: datetime = NOON,
    **more: Any,
) -> dict[str, Any]:
    """What a connector is given to execute: a command's body with what stands beside it (app.connectors)."""
    from rules.run import Command, Run

    run = Run(
        id="run_1", tenant=TENANT, rule_id="two-failed-payments", rule_name="Two failed payments", version=3,
        mode="live", state="acting", key="sub:sub_1", customer="cus_1", trigger="evt_2", triggered=0,
        correlation="in_1", created_at=iso(now), updated_at=iso(now), events=("evt_1", "evt_2"),
        story=({"at": iso(now), "text": "Second failed payment within 7 days."},), money={"usd": 4900},
    )  # fmt: skip
    command = Command(
        id="run_1/step", tenant=TENANT, run_id=run.id, step="step", rule_id=run.rule_id, version=3, action=action,
        connection="stripe" if action.startswith("stripe.") else "crm", params=dict(params or {}), state="due",
        customer="cus_1", correlation="in_1", created_at=iso(now), due_at=iso(now), trigger="evt_2",
        subjects={"sub": "sub_1", "cus": "cus_1", "in": "in_1"},
    )  # fmt: skip
    rule = {"id": run.rule_id, "name": run.rule_name, "number": 3, "why": "The mission's example"}
    return {
        **command.body(),
        "idempotency_key": command.idempotency_key,
        "attempt": 1,
        "traceparent": f"00-{'a' * 32}-{'b' * 16}-01",
        "connection_document": connection,
        "run": run.body(),
        "rule": rule,
        **more,
    }
