"""Folds over invoices, charges and payments: what is open, what was paid, and why a payment failed (rules.folds)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from rules.declines import decline_class
from rules.event import Event
from rules.folds import (
    DAY,
    NOTHING,
    About,
    Fold,
    Said,
    id_of,
    latest,
    money_currency,
    newest,
    order,
    said,
    text_of,
    value,
    whole,
)

NEAR: Final = 3600  # seconds between an invoice's failure and the failed payment that belongs to it, at most


# ---- invoices -------------------------------------------------------------------------------------------------------
def open_invoices(events: Iterable[Event]) -> list[Event]:
    """The invoices whose latest state is open."""
    known = [event for event in latest(events, "invoice") if event.type != "invoice.deleted"]
    return [event for event in known if value(event, "status") == "open"]


def count_open(about: About, events: Sequence[Event]) -> Said:
    """How many invoices are open."""
    mine = open_invoices(events)
    last = newest(mine)
    return Said(len(mine), last.id if last else None, "data.object.status" if last else "")


def open_amount(about: About, events: Sequence[Event]) -> Said:
    return _summed(about, events, open_invoices(events), "amount_remaining")


def lifetime_paid(about: About, events: Sequence[Event]) -> Said:
    return _summed(about, events, latest(events, "invoice"), "amount_paid")


def _summed(about: About, events: Sequence[Event], invoices: Sequence[Event], name: str) -> Said:
    money = money_currency(about, events, invoices)
    mine = [event for event in invoices if value(event, "currency") == money and whole(value(event, name))]
    total = sum(value(event, name) for event in mine)
    last = newest(event for event in mine if value(event, name))
    return Said(total, last.id if last else None, f"data.object.{name}" if last else "", money)


def newest_open_invoice(about: About, events: Sequence[Event]) -> Said:
    """When the newest open invoice was made."""
    mine = [event for event in open_invoices(events) if whole(value(event, "created"))]
    last = max(mine, key=lambda event: (value(event, "created"), str(value(event, "id"))), default=None)
    return said(last, "id")


def days_overdue(about: About, events: Sequence[Event]) -> Said:
    """Whole days since the oldest open invoice was due; one that is collected automatically is due when it was
    finalized, and overdue once collecting it was tried."""
    due = [found for event in open_invoices(events) if (found := _due(event)) and found[0] <= about.at]
    if not due:
        return Said(0)
    at, path, event = min(due, key=lambda found: (found[0], order(found[2])))
    return Said((about.at - at) // DAY, event.id, path)


def _due(event: Event) -> tuple[int, str, Event] | None:
    places: list[tuple[str, ...]] = [("due_date",)]
    if value(event, "attempted") is True:
        places += [("status_transitions", "finalized_at"), ("created",)]
    for place in places:
        found = value(event, *place)
        if whole(found):
            return found, ".".join(("data", "object", *place)), event
    return None


def failures(about: About, events: Sequence[Event]) -> Said:
    """Failed payments of invoices in the 30 days that end at the second asked for, both ends inclusive."""
    mine = {event.id: event for event in events if about.at - 30 * DAY <= event.created <= about.at}
    last = newest(mine.values())
    return Said(len(mine), last.id if last else None, "type" if last else "")


# ---- one invoice, one charge, one payment ---------------------------------------------------------------------------
def of_latest(kind: str, *path: str) -> Fold:
    """A field of the object as it stood last."""
    return lambda about, events: said(newest(latest(events, kind)), *path)


def money_of_latest(kind: str, *path: str) -> Fold:
    """An amount of the object as it stood last, in its own currency."""

    def fold(about: About, events: Sequence[Event]) -> Said:
        event = newest(latest(events, kind))
        found = value(event, *path) if event else None
        if event is None or not whole(found):
            return NOTHING
        return Said(found, event.id, ".".join(("data", "object", *path)), text_of(value(event, "currency")))

    return fold


def linked(name: str) -> Fold:
    """The id of another object that the object as it stood last names."""

    def fold(about: About, events: Sequence[Event]) -> Said:
        event = newest(events)
        return Said(id_of(value(event, name)), event.id, f"data.object.{name}") if event else NOTHING

    return fold


def belongs(about: About, failures: Iterable[Event]) -> Event | None:
    """Of the customer's failed payments around the trigger the one that belongs to it: of the same amount where there
    is one, the nearest in time, the furthest on."""
    near = [event for event in failures if abs(event.created - about.began) <= NEAR]
    same = [event for event in near if value(event, "amount") in about.amounts]
    return min(same or near, key=lambda event: (abs(event.created - about.began), event.id), default=None)


def decline_code(about: About, events: Sequence[Event]) -> Said:
    return _declined(events, *_codes())


def advice_code(about: About, events: Sequence[Event]) -> Said:
    return _declined(events, ("last_payment_error", "advice_code"), ("outcome", "advice_code"))


def decline(about: About, events: Sequence[Event]) -> Said:
    """hard, soft or authentication."""
    code, advice = decline_code(about, events), advice_code(about, events)
    asked = newest(event for event in events if event.type.endswith("requires_action"))
    found = decline_class(code.value, advice.value)
    if asked is not None and found is None:
        return Said("authentication", asked.id, "data.object.status")
    return Said(found, code.event or advice.event, code.path or advice.path) if found else NOTHING


def _codes() -> Iterator[tuple[str, ...]]:
    yield from (("last_payment_error", "decline_code"), ("outcome", "reason"))
    yield from (("last_payment_error", "code"), ("failure_code",))


def _declined(events: Sequence[Event], *places: tuple[str, ...]) -> Said:
    """What the latest failed attempt says at the first of these places that any of its events has."""
    failed = [event for event in events if event.type.endswith("failed")]
    last = max((event.created for event in failed), default=0)
    attempt = sorted((event for event in failed if event.created == last), key=order, reverse=True)
    for place in places:
        for event in attempt:
            found = value(event, *place)
            if isinstance(found, str) and found:
                return Said(found, event.id, ".".join(("data", "object", *place)))
    return NOTHING
