"""Folds: what the recorded events of one subject say about it as of a second, whatever order they were heard in.

Each fold takes the events that are known and answers one value with the event and the path that it came from. What is
newest wins, by Stripe's `created`; in one second by how far the object had come, then by id. Facts are declared and
named in rules.facts; which events are read for them is rules.knowing's business.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any, Final

from rules.aliases import MISSING
from rules.event import Event
from rules.fields import read

JSON = Mapping[str, Any]
DAY: Final = 86400
CURRENT: Final = ("active", "trialing", "past_due", "unpaid", "paused", "incomplete")  # the surest first
EARNING: Final = ("active", "past_due")
_DECIMAL: Final = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,30})?")
_MONTHS: Final = {"month": Fraction(1), "year": Fraction(1, 12), "week": Fraction(52, 12), "day": Fraction(365, 12)}
_LATER: Final = {"created": 0, "deleted": 9, "canceled": 9, "succeeded": 9, "detached": 9}
_INVOICE: Final = {"draft": 0, "open": 1, "uncollectible": 2, "paid": 3, "void": 3}


@dataclass(frozen=True, slots=True)
class About:
    """What facts are asked about. subjects: bare ids by prefix. at: as of this second. began: the trigger's second.
    currency: what money is counted in, None when the event has none. amounts: what the event is about in money, to tell
    its payment from others of the same moment. names: under which a list may hold it. events: known beside what is
    recorded. heard: what was heard later does not count."""

    subjects: Mapping[str, str]
    at: int
    began: int
    currency: str | None = None
    amounts: frozenset[int] = frozenset()
    names: frozenset[str] = frozenset()
    events: tuple[Event, ...] = ()
    heard: datetime | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """A value, and what said so: an event's id and the path in it; neither when nothing did. currency: of money. at,
    source: when a score was set (unix seconds) and by whom."""

    value: Any = None
    event: str | None = None
    path: str = ""
    currency: str | None = None
    at: int | None = None
    source: str = ""


Fold = Callable[[About, Sequence[Event]], Said]
NOTHING: Final = Said()


# ---- the latest state of objects ------------------------------------------------------------------------------------
def thing(event: Event) -> JSON:
    """The event's object; empty where there is none."""
    data = event.data.get("data")
    found = data.get("object") if isinstance(data, dict) else None
    return found if isinstance(found, dict) else {}


def value(event: Event, *path: str) -> Any:
    """What stands at a path of the event's object, in any API version; None for nothing."""
    found = read(event.data, ("data", "object", *path))
    return None if found is MISSING else found


def id_of(found: Any) -> str | None:
    """An id, or the id of an expanded object."""
    found = found.get("id") if isinstance(found, dict) else found
    return found if isinstance(found, str) and found else None


def order(event: Event) -> tuple[int, int, str]:
    """Later is greater; of events of one second the one in which the object had come further."""
    if event.type.startswith("invoice."):
        far = 9 if event.type == "invoice.deleted" else _INVOICE.get(str(thing(event).get("status")), 0)
    else:
        far = _LATER.get(event.type.rpartition(".")[2], 5)
    return event.created, far, event.id


def latest(events: Iterable[Event], kind: str) -> list[Event]:
    """The newest event of each object of this class, by the object's id."""
    found: dict[str, Event] = {}
    for event in events:
        one = thing(event)
        id = id_of(one) if one.get("object") == kind else None
        if id and ((known := found.get(id)) is None or _after(event, known)):
            found[id] = event
    return [found[id] for id in sorted(found)]


def _after(event: Event, known: Event) -> bool:
    return event.created > known.created or (event.created == known.created and order(known) < order(event))


def newest(events: Iterable[Event]) -> Event | None:
    return max(events, key=order, default=None)


def said(event: Event | None, *path: str) -> Said:
    return Said(value(event, *path), event.id, ".".join(("data", "object", *path))) if event else NOTHING


def money_currency(about: About, events: Sequence[Event], objects: Sequence[Event]) -> str | None:
    """The event's currency, else the customer's own, else that of the newest object."""
    customer = newest(latest(events, "customer"))
    own = value(customer, "currency") if customer else None
    if about.currency or own:
        return about.currency or str(own)
    found = newest(event for event in objects if isinstance(value(event, "currency"), str))
    return str(value(found, "currency")) if found else None


# ---- subscriptions --------------------------------------------------------------------------------------------------
def subscriptions(events: Iterable[Event]) -> list[Event]:
    """The latest state of each subscription that has not ended."""
    return [event for event in latest(events, "subscription") if _status(event) in CURRENT]


def current(events: Iterable[Event]) -> Event | None:
    """The customer's subscription: in the surest state, of several the one made last; else the last that ended."""
    known = latest(events, "subscription")
    return min(known, key=_standing, default=None)


def _standing(event: Event) -> tuple[int, int, str]:
    status, made = _status(event), value(event, "created")
    return CURRENT.index(status) if status in CURRENT else len(CURRENT), -(made if whole(made) else 0), event.id


def _status(event: Event) -> str:
    return "canceled" if event.type.endswith(".deleted") else str(value(event, "status"))


def _items(event: Event) -> list[JSON]:
    """Its items; of an event before items had prices, one made of the subscription's plan."""
    found = value(event, "items", "data")
    rows: list[JSON] = [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []
    plan = value(event, "plan")
    return rows or ([{"plan": plan, "quantity": value(event, "quantity")}] if isinstance(plan, dict) else [])


def _price(item: JSON) -> JSON:
    found = item.get("price") or item.get("plan")
    return found if isinstance(found, dict) else {}


def monthly(event: Event) -> Fraction:
    """What the subscription brings in a month, in minor units: each item's price times its quantity, by its interval;
    before discounts and taxes, and without what is metered or has no price for one."""
    return sum((_item_monthly(item) for item in _items(event)), Fraction(0))


def _item_monthly(item: JSON) -> Fraction:
    price = _price(item)
    recurring = price.get("recurring") if isinstance(price.get("recurring"), dict) else price
    assert isinstance(recurring, dict)
    each, months = _unit(price), _MONTHS.get(str(recurring.get("interval")))
    if each is None or months is None or recurring.get("usage_type") == "metered":
        return Fraction(0)
    return each * counted(item.get("quantity")) * months / (counted(recurring.get("interval_count")) or 1)


def _unit(price: JSON) -> Fraction | None:
    for name in ("unit_amount", "amount", "unit_amount_decimal", "amount_decimal"):
        found = price.get(name)
        if type(found) is int:
            return Fraction(found)
        if isinstance(found, str) and _DECIMAL.fullmatch(found):
            return Fraction(found)
    return None


def counted(found: Any) -> int:
    """A number of things; one where it is not said."""
    return found if type(found) is int else 1


def rounded(amount: Fraction) -> int:
    """The nearest whole minor unit; a half goes up."""
    return int((amount + Fraction(1, 2)) // 1)


def mrr(about: About, events: Sequence[Event]) -> Said:
    """Price times quantity by the month, minor units, over the subscriptions that earn in the currency asked about."""
    earning = [event for event in latest(events, "subscription") if _status(event) in EARNING]
    currency = money_currency(about, events, earning)
    mine = [event for event in earning if value(event, "currency") == currency]
    last = newest(mine)
    total = rounded(sum((monthly(event) for event in mine), Fraction(0)))
    return Said(total, last.id if last else None, "data.object.items.data" if last else "", currency)


def own_mrr(about: About, events: Sequence[Event]) -> Said:
    """Of one subscription, in its own currency."""
    event = newest(latest(events, "subscription"))
    if event is None:
        return NOTHING
    earns = rounded(monthly(event)) if _status(event) in EARNING else 0
    return Said(earns, event.id, "data.object.items.data", text_of(value(event, "currency")))


def mrr_before(about: About, events: Sequence[Event]) -> Said:
    """The same before the newest update: with what it changed put back."""
    event = newest(latest(events, "subscription"))
    if event is None:
        return NOTHING
    data = event.data["data"]
    former = replace(event, data={**event.data, "data": {"object": {**data["object"], **_previous(data)}}})
    earned = rounded(monthly(former)) if _status(former) in EARNING else 0
    where = "previous_attributes" if "items" in _previous(data) else "object"
    return Said(earned, event.id, f"data.{where}.items.data", text_of(value(event, "currency")))


def _previous(data: JSON) -> JSON:
    found = data.get("previous_attributes")
    return found if isinstance(found, dict) else {}


def status(about: About, events: Sequence[Event]) -> Said:
    """The state of the current subscription."""
    event = current(events)
    return Said(_status(event), event.id, "data.object.status") if event else NOTHING


def plan(*path: str) -> Fold:
    """Of the current subscription's first item: its price's id, or another field of it."""

    def fold(about: About, events: Sequence[Event]) -> Said:
        event = current(events)
        items = _items(event) if event else []
        if event is None or not items:
            return NOTHING
        name = "price" if items[0].get("price") else "plan"
        where = ".".join(("data.object.items.data[0]", name, *path))
        return Said(id_of(_price(items[0]).get(path[0])), event.id, where)

    return fold


def prices(about: About, events: Sequence[Event]) -> Said:
    """Ids and lookup keys of every price that is subscribed to now."""
    mine = subscriptions(events)
    found = {
        text
        for event in mine
        for item in _items(event)
        for name in ("id", "lookup_key")
        if (text := id_of(_price(item).get(name)))
    }
    last = newest(mine)
    return Said(sorted(found), last.id if last else None, "data.object.items.data" if last else "")


def count_subscriptions(about: About, events: Sequence[Event]) -> Said:
    """How many subscriptions the customer has, ended ones left out."""
    mine = subscriptions(events)
    last = newest(mine)
    return Said(len(mine), last.id if last else None, "data.object.status" if last else "")


def ending(about: About, events: Sequence[Event]) -> Said:
    """Whether an end is set that has not come."""
    event = current(events)
    if event is None:
        return NOTHING
    if value(event, "cancel_at") is not None and not value(event, "cancel_at_period_end"):
        return Said(True, event.id, "data.object.cancel_at")
    return Said(bool(value(event, "cancel_at_period_end")), event.id, "data.object.cancel_at_period_end")


# ---- customers ------------------------------------------------------------------------------------------------------
def since(about: About, events: Sequence[Event]) -> Said:
    """When the customer was made; where no event of the customer is known, when the first subscription was."""
    for kind in ("customer", "subscription"):
        made = [event for event in events if thing(event).get("object") == kind and whole(value(event, "created"))]
        if made:
            first = min(made, key=lambda event: (value(event, "created"), order(event)))
            return said(first, "created")
    return NOTHING


def tenure_days(about: About, events: Sequence[Event]) -> Said:
    """Whole days since the customer was first known."""
    found = since(about, events)
    return Said((about.at - found.value) // DAY, found.event, found.path) if found.event else NOTHING


def currency(about: About, events: Sequence[Event]) -> Said:
    """The customer's own currency, else that of the newest object that names one."""
    found = [event for event in events if thing(event).get("object") in ("customer", "subscription")]
    named = newest(event for event in latest(found, "customer") if value(event, "currency"))
    named = named or newest(event for event in latest(found, "subscription") if value(event, "currency"))
    return said(named, "currency")


def email(about: About, events: Sequence[Event]) -> Said:
    """The token of the customer's address, as it was heard of last."""
    mine = [event for event in events if text_of(value(event, _address(event)))]
    last = newest(mine)
    return said(last, _address(last)) if last else NOTHING


def _address(event: Event) -> str:
    return "email" if thing(event).get("object") == "customer" else "customer_email"


def default_payment_method(about: About, events: Sequence[Event]) -> Said:
    """What the next payment is taken from: the subscription's own, else the customer's."""
    subscription, customer = current(events), newest(latest(events, "customer"))
    places: list[tuple[Event | None, tuple[str, ...]]] = [
        (subscription, ("default_payment_method",)),
        (subscription, ("default_source",)),
        (customer, ("invoice_settings", "default_payment_method")),
        (customer, ("default_source",)),
    ]
    for event, path in places:
        found = id_of(value(event, *path)) if event else None
        if event and found:
            return Said(found, event.id, ".".join(("data", "object", *path)))
    return NOTHING


def card_expires(about: About, events: Sequence[Event]) -> Said:
    """The first second in which the default payment method's card is no longer good."""
    default = default_payment_method(about, events).value
    known = [found for event in events if default and (found := _expiry(event, default))]
    if not known:
        return NOTHING
    event, path, month, year = max(known, key=lambda found: order(found[0]))
    end = datetime(year + (month == 12), month % 12 + 1, 1, tzinfo=UTC)
    return Said(int(end.timestamp()), event.id, path)


def _expiry(event: Event, method: str) -> tuple[Event, str, int, int] | None:
    """What the event says about when this card expires."""
    found = thing(event)
    place: tuple[str, ...] = ()
    if found.get("id") == method:
        place = () if found.get("object") == "card" else ("card",)
    elif id_of(found.get("payment_method")) == method:
        place = ("payment_method_details", "card")
    else:
        return None
    month, year = value(event, *place, "exp_month"), value(event, *place, "exp_year")
    if not (whole(month) and whole(year) and 1 <= month <= 12 and 1970 <= year < 9999):
        return None
    return event, ".".join(("data", "object", *place, "exp_month")), month, year


def whole(found: Any) -> bool:
    return type(found) is int


def text_of(found: Any) -> str | None:
    return found if isinstance(found, str) else None
