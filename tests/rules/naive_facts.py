"""Facts worked out slowly, one question at a time, from what rules/README.md says of them and not from the code."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rules.event import Event

ENDED = ("canceled", "incomplete_expired")
SUREST = ("active", "trialing", "past_due", "unpaid", "paused", "incomplete")


def fact(name: str, events: Iterable[Event], at: Event, tenant: str) -> Any:
    """The fact of the event's customer as of the event; None for absent."""
    customer = next((key for key in at.keys if key.startswith("cus:")), None)
    if customer is None:
        return None
    once: dict[str, Event] = {}
    for event in events:
        if event.tenant == tenant and customer in event.keys and event.created <= at.created:
            once[event.id] = event
    known = list(once.values())
    currency = at.data["data"]["object"].get("currency")
    return FACTS[name](known, at.created, currency)


def final(events: list[Event], start: str) -> list[tuple[dict[str, Any], str]]:
    """Each object of these events in its last state, with the type of the event that said so."""
    found: dict[str, Event] = {}
    for event in events:
        if not event.type.startswith(start) or event.type == "invoice.created":
            continue
        thing = event.data["data"]["object"]
        if start == "customer." and thing["object"] != "customer":
            continue
        last = found.get(thing["id"])
        if last is None or rank(last) < rank(event):
            found[thing["id"]] = event
    return [(event.data["data"]["object"], event.type) for event in found.values()]


def rank(event: Event) -> tuple[Any, ...]:
    status = event.data["data"]["object"].get("status")
    if event.type.startswith("invoice."):
        stage = ["draft", "open", "uncollectible"].index(status) if status in ("draft", "open", "uncollectible") else 3
    else:
        stage = 0 if event.type.endswith("created") else 2 if event.type.endswith("deleted") else 1
    return event.created, stage, event.id


def status_of(thing: dict[str, Any], type: str) -> str:
    return "canceled" if type == "customer.subscription.deleted" else str(thing["status"])


def subscriptions(events: list[Event]) -> list[tuple[dict[str, Any], str]]:
    return [(thing, status_of(thing, type)) for thing, type in final(events, "customer.subscription.")]


def status(events: list[Event], at: int, currency: str | None) -> Any:
    known = subscriptions(events)
    for wanted in SUREST:
        if any(found == wanted for _, found in known):
            return wanted
    return (known and max(known, key=lambda row: row[0]["created"])[1]) or None


def count(events: list[Event], at: int, currency: str | None) -> Any:
    return len([1 for _, found in subscriptions(events) if found not in ENDED])


def mrr(events: list[Event], at: int, currency: str | None) -> Any:
    twelfths = 0
    for thing, found in subscriptions(events):
        if found not in ("active", "past_due") or thing["currency"] != currency:
            continue
        for item in thing["items"]["data"]:
            recurring = item["price"]["recurring"]
            times = {"month": 12, "year": 1, "week": 52, "day": 365}[recurring["interval"]]
            twelfths += item["price"]["unit_amount"] * item["quantity"] * times
    return (twelfths * 2 + 12) // 24  # to the nearest, a half up


def invoices(events: list[Event]) -> list[dict[str, Any]]:
    return [thing for thing, type in final(events, "invoice.") if type != "invoice.deleted"]


def open_amount(events: list[Event], at: int, currency: str | None) -> Any:
    mine = [one for one in invoices(events) if one["status"] == "open" and one["currency"] == currency]
    return sum(one["amount_remaining"] for one in mine)


def open_invoices(events: list[Event], at: int, currency: str | None) -> Any:
    return len([one for one in invoices(events) if one["status"] == "open"])


def lifetime_paid(events: list[Event], at: int, currency: str | None) -> Any:
    mine = [one for one, _ in final(events, "invoice.") if one["currency"] == currency]
    return sum(one["amount_paid"] for one in mine)


def days_overdue(events: list[Event], at: int, currency: str | None) -> Any:
    due = []
    for one in invoices(events):
        first = one["due_date"] or (one["status_transitions"]["finalized_at"] if one["attempted"] else None)
        if one["status"] == "open" and first is not None and first <= at:
            due.append(first)
    return (at - min(due)) // 86400 if due else 0


def failures(events: list[Event], at: int, currency: str | None) -> Any:
    return len([1 for one in events if one.type == "invoice.payment_failed" and at - one.created <= 30 * 86400])


FACTS = {
    "fact.customer.status": status,
    "fact.customer.subscriptions": count,
    "fact.customer.mrr": mrr,
    "fact.customer.open_amount": open_amount,
    "fact.customer.open_invoices": open_invoices,
    "fact.customer.lifetime_paid": lifetime_paid,
    "fact.customer.days_overdue": days_overdue,
    "fact.customer.failures_30_days": failures,
}
