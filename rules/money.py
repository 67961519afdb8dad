"""Money: which fields hold an amount of it, and in which currency an event is, so that currencies are never added up.

It is told by the field's own name, as Stripe names amounts: a published rule means the same under every SDK.
"""

from __future__ import annotations

import re

from rules.event import Event

_NOT = re.compile(r"(?<!dis)count|percent|bps|days|number|points|interval|rate")
_NAMED = re.compile(r"(^|_)(amount|total|subtotal|balance|fees?|net|tax|refunded|limit|cost)(_|$)")


def is_money(path: tuple[str, ...]) -> bool:
    """Whether the field holds minor units of the object's currency.

    >>> is_money(("data", "object", "amount_remaining")), is_money(("data", "object", "attempt_count"))
    (True, False)
    """
    name = path[-1] if path else ""
    return not _NOT.search(name) and bool(_NAMED.search(name))


def currency_of(event: Event) -> str | None:
    """The currency of the event's object, three letters; None where it has none."""
    thing = event.data.get("data", {}).get("object")
    currency = thing.get("currency") if isinstance(thing, dict) else None
    return currency if isinstance(currency, str) and len(currency) == 3 else None
