"""Subjects: which customer, subscription, invoice, payment or card an event is about, whatever its API version.

The keys are what windows, runs and stops are counted by; the correlation is the id of the whole journey. Where a fact
moved between API versions, `rules.fields.read` finds it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from rules import paths
from rules.aliases import may_have_moved, walk
from rules.event import JSON, Event
from rules.fields import MISSING, Catalogue, read

PREFIX: Mapping[str, str] = MappingProxyType(
    {
        "customer": "cus",
        "subscription": "sub",
        "invoice": "in",
        "payment_intent": "pi",
        "charge": "ch",
        "card": "card",
        "account": "acct",
    }
)

# where each subject's id may stand, beside the object itself; the first that is there wins
_PLACES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "customer": (("customer",),),
    "subscription": (("parent", "subscription_details", "subscription"), ("subscription",)),
    "invoice": (("invoice",),),
    "payment_intent": (("payment_intent",), ("payment", "payment_intent")),
    "charge": (("charge",), ("payment", "charge"), ("latest_charge",), ("last_payment_error", "charge")),
    "card": (
        ("payment_method_details", "card", "fingerprint"),
        ("card", "fingerprint"),
        ("last_payment_error", "payment_method", "card", "fingerprint"),
        ("last_setup_error", "payment_method", "card", "fingerprint"),
    ),
}


def keys_of(envelope: JSON, account: str) -> tuple[str, ...]:
    """Every subject key of an event, `("cus:cus_1", "sub:sub_1", ..., "acct:default")`.

    account: the tenant's account. Snapshot events of any API version and thin ones (`related_object`) alike.
    """
    thing = _thing(envelope)
    found = {f"{PREFIX[subject]}:{id}": None for subject in _PLACES for id in _ids(thing, subject)}
    if account:
        found[f"acct:{account}"] = None
    return tuple(found)


def correlation_of(envelope: JSON) -> str:
    """The id of the event's journey: its invoice's, else payment intent's, else subscription's, else object's id."""
    thing = _thing(envelope)
    for subject in ("invoice", "payment_intent", "subscription"):
        for id in _ids(thing, subject):
            return id
    return _id(thing.get("id")) or str(envelope.get("id", ""))


def partition_of(keys: tuple[str, ...]) -> str:
    """The ordering key: the customer where known, else the first key there is.

    >>> partition_of(("cus:cus_1", "sub:sub_1")), partition_of(())
    ('cus:cus_1', 'none')
    """
    return keys[0] if keys else "none"  # keys_of puts the customer first


def key_for(event: Event, same: str) -> str | None:
    """The event's key of this kind: `sub:sub_1` for `subscription`, `path:<path>=<value>` for a path; or None."""
    if same in PREFIX:
        return event.key(PREFIX[same])
    value = read(event.data, paths.split(same))
    if value is MISSING or value is None or isinstance(value, (dict, list)):
        return None
    return f"path:{same}={value}"


def _thing(envelope: JSON) -> JSON:
    """The event's object; of a thin event, what it is related to with the ids its data carries."""
    data = envelope.get("data")
    thing = data.get("object") if isinstance(data, dict) else None
    if isinstance(thing, dict):
        return thing
    related = envelope.get("related_object")
    if isinstance(related, dict):
        more = data if isinstance(data, dict) else {}
        return {**more, "object": related.get("type"), "id": related.get("id")}
    return data if isinstance(data, dict) else {}


def _ids(thing: JSON, subject: str) -> Iterator[str]:
    if thing.get("object") == subject:  # a card is known by its fingerprint: ids differ from customer to customer
        own = _id(thing.get("fingerprint" if subject == "card" else "id"))
        if own:
            yield own
    if subject in ("payment_intent", "charge"):
        yield from _paid_by(thing, subject)
    for place in _PLACES[subject]:
        found = _id(thing.get(place[0]) if len(place) == 1 else walk(thing, place))
        if not found and may_have_moved(place):
            found = _id(read({"data": {"object": thing}}, ("data", "object", *place)))
        if found:
            yield found
            return


def _paid_by(thing: JSON, subject: str) -> Iterator[str]:
    """The payments of an invoice that carries them (expanded, or an old one's own fields)."""
    payments = thing.get("payments")
    rows = payments.get("data") if isinstance(payments, dict) else None
    for row in rows if isinstance(rows, list) else ():
        payment = row.get("payment") if isinstance(row, dict) else None
        found = _id(payment.get(subject)) if isinstance(payment, dict) else None
        if found:
            yield found


def _id(value: Any) -> str | None:
    """An id, or the id of an expanded object."""
    if isinstance(value, dict):
        value = value.get("id")
    return value if isinstance(value, str) and value else None


# (object class, subject) that only API versions before 2025-03-31.basil name
LEGACY = frozenset({("charge", "invoice"), ("payment_intent", "invoice")})


def carried_by(catalogue: Catalogue, event_type: str) -> tuple[str, ...]:
    """The subjects that events of this type say they are about, `customer` before `account`."""
    found = catalogue.event_type(event_type)
    if found is None:
        return ("account",)
    return tuple(
        subject
        for subject in PREFIX
        if subject == "account"
        or subject in found.objects
        or any(catalogue.field(event_type, "data.object." + ".".join(place)) for place in _PLACES[subject])
    )
