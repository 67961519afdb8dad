"""Stripe-shaped events for tests of facts: subscriptions, invoices, customers, cards and payments of one customer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rules.event import Event, seconds
from rules.model import Test
from rules.paths import split
from rules.subjects import correlation_of, keys_of, partition_of
from tests.rules.world import START, TENANT

Thing = dict[str, Any]


def happened(id: str, type: str, at: int, thing: Thing, tenant: str = TENANT, previous: Thing | None = None) -> Event:
    """An event about an object, with the keys that receiving gives it. at: seconds after START."""
    data: Thing = {"object": thing, **({"previous_attributes": previous} if previous else {})}
    envelope = {"id": id, "object": "event", "type": type, "created": START + at, "data": data}
    keys = keys_of(envelope, tenant.partition("/")[0])
    return Event(
        id=id,
        type=type,
        tenant=tenant,
        created=START + at,
        recorded=seconds(START + at),
        data=envelope,
        correlation=correlation_of(envelope),
        partition=partition_of(keys),
        keys=keys,
    )


def price(
    id: str = "price_pro", amount: int | None = 4900, interval: str = "month", count: int = 1, **more: Any
) -> Thing:
    recurring = {"interval": interval, "interval_count": count, "usage_type": "licensed"}
    return {
        "id": id,
        "object": "price",
        "lookup_key": id.removeprefix("price_"),
        "product": "prod_1",
        "unit_amount": amount,
        "recurring": recurring,
        **more,
    }


def subscription(id: str = "sub_1", *items: Thing, status: str = "active", **more: Any) -> Thing:
    rows = [
        {"object": "subscription_item", "price": one, "quantity": 1} if "recurring" in one else one for one in items
    ]
    return {
        "id": id,
        "object": "subscription",
        "customer": "cus_1",
        "currency": "usd",
        "status": status,
        "created": START,
        "cancel_at": None,
        "cancel_at_period_end": False,
        "default_payment_method": None,
        "items": {"object": "list", "data": rows or [{"price": price(), "quantity": 1}]},
        **more,
    }


def invoice(id: str = "in_1", status: str = "open", amount: int = 4900, **more: Any) -> Thing:
    return {
        "id": id,
        "object": "invoice",
        "customer": "cus_1",
        "currency": "usd",
        "status": status,
        "created": START,
        "amount_due": amount,
        "amount_remaining": 0 if status in ("paid", "void") else amount,
        "amount_paid": amount if status == "paid" else 0,
        "attempted": True,
        "due_date": None,
        "parent": {"type": "subscription_details", "subscription_details": {"subscription": "sub_1"}},
        "status_transitions": {"finalized_at": START, "paid_at": None},
        **more,
    }


def customer(id: str = "cus_1", **more: Any) -> Thing:
    settings = {"default_payment_method": None}
    return {"id": id, "object": "customer", "created": START, "currency": "usd", "invoice_settings": settings, **more}


def intent(id: str = "pi_1", amount: int = 4900, decline_code: str | None = None, **more: Any) -> Thing:
    error = {"code": "card_declined", "decline_code": decline_code, "charge": "ch_1"} if decline_code else None
    about = {"id": id, "object": "payment_intent", "customer": "cus_1", "currency": "usd", "amount": amount}
    return {**about, "last_payment_error": error, **more}


def failed(id: str, at: int, about: str = "in_1", amount: int = 4900, **more: Any) -> Event:
    return happened(id, "invoice.payment_failed", at, invoice(about, "open", amount, **more))


def later(event: Event, by: int) -> Event:
    """The same event, heard so much later."""
    return replace(event, recorded=seconds(event.created + by))


def asks(field: str, operator: str, value: Any = None) -> Test:
    return Test(field, split(field), operator, tuple(value) if isinstance(value, list) else value)
