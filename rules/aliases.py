"""Where Stripe keeps a fact depends on the event's API version; this table lets one path read every version since 2020.

The great move was `2025-03-31.basil` (subscriptions, prices and taxes of invoices), then `2025-09-30.clover` (coupons).
Rules are written in the newest names; a path in an old name reads new events too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from rules.event import JSON

Path = tuple[str, ...]


class Missing:
    """The type of MISSING: nothing stands at that path. Null is something else: None."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing()


def _moves(*pairs: tuple[str, str]) -> tuple[tuple[Path, Path], ...]:
    return tuple((tuple(new.split(".")), tuple(old.split("."))) for new, old in pairs)


# object class -> (path now, path in older versions); everything below a moved path moved with it
MOVED: Final[Mapping[str, tuple[tuple[Path, Path], ...]]] = {
    "invoice": _moves(
        ("parent.subscription_details.subscription", "subscription"),
        ("parent.subscription_details.metadata", "subscription_details.metadata"),
        ("total_taxes", "total_tax_amounts"),
    ),
    "line_item": _moves(
        ("parent.subscription_item_details.subscription", "subscription"),
        ("parent.subscription_item_details.subscription_item", "subscription_item"),
        ("parent.subscription_item_details.proration", "proration"),
        ("parent.invoice_item_details.invoice_item", "invoice_item"),
        ("pricing.price_details.price", "price.id"),
        ("pricing.price_details.price", "plan.id"),
        ("pricing.price_details.product", "price.product"),
        ("pricing.price_details.product", "plan.product"),
        ("pricing.unit_amount_decimal", "price.unit_amount_decimal"),
        ("taxes", "tax_amounts"),
    ),
    "invoiceitem": _moves(
        ("parent.subscription_details.subscription", "subscription"),
        ("parent.subscription_details.subscription_item", "subscription_item"),
        ("pricing.price_details.price", "price.id"),
        ("pricing.price_details.product", "price.product"),
        ("pricing.unit_amount_decimal", "unit_amount_decimal"),
    ),
    "discount": _moves(("source.coupon", "coupon.id")),
    "customer": _moves(("discount.source.coupon", "discount.coupon.id")),
    "promotion_code": _moves(("promotion.coupon", "coupon.id")),
    "credit_note": _moves(("total_taxes", "tax_amounts")),
}


def _invoice_parent(invoice: JSON, root: JSON) -> Any:
    if "subscription" not in invoice:
        return MISSING
    if invoice["subscription"]:
        return "subscription_details"
    return "quote_details" if invoice.get("quote") else None


def _line_parent(line: JSON, root: JSON) -> Any:
    kinds = {"subscription": "subscription_item_details", "invoiceitem": "invoice_item_details"}
    kind = line.get("type")
    return kinds.get(kind, MISSING) if isinstance(kind, str) else MISSING


def _discounts(thing: JSON, root: JSON) -> Any:
    if "discount" not in thing:
        return MISSING
    discount = thing["discount"]
    return [discount["id"]] if isinstance(discount, dict) and "id" in discount else []


def _refunds(note: JSON, root: JSON) -> Any:
    if "refund" not in note:
        return MISSING
    return [{"refund": note["refund"]}] if note["refund"] else []


def _of_subscription(key: str) -> Callable[[JSON, JSON], Any]:
    """The period stood on the subscription, and now on each of its items."""
    return lambda item, root: root.get(key, MISSING) if root.get("object") == "subscription" else MISSING


def _of_first_item(key: str) -> Callable[[JSON, JSON], Any]:
    def derive(subscription: JSON, root: JSON) -> Any:
        items = subscription.get("items")
        rows = items.get("data") if isinstance(items, dict) else None
        first = rows[0] if isinstance(rows, list) and rows else None
        return first.get(key, MISSING) if isinstance(first, dict) else MISSING

    return derive


# object class -> path -> what an event of another version has instead, from (the object, the event's whole object)
DERIVED: Final[Mapping[str, Mapping[Path, Callable[[JSON, JSON], Any]]]] = {
    "invoice": {("parent", "type"): _invoice_parent, ("discounts",): _discounts},
    "line_item": {("parent", "type"): _line_parent},
    "subscription": {
        ("discounts",): _discounts,
        ("current_period_start",): _of_first_item("current_period_start"),
        ("current_period_end",): _of_first_item("current_period_end"),
    },
    "subscription_item": {
        ("current_period_start",): _of_subscription("current_period_start"),
        ("current_period_end",): _of_subscription("current_period_end"),
    },
    "credit_note": {("refunds",): _refunds},
}

_STARTS: Final = frozenset(
    [path for pairs in MOVED.values() for pair in pairs for path in pair]
    + [path for table in DERIVED.values() for path in table]
)


@lru_cache(maxsize=4096)  # asked for every path that an event lacks; rules and subjects name few different ones
def may_have_moved(path: Path) -> bool:
    """Whether any object class keeps this path (inside the object) elsewhere in another version.

    >>> may_have_moved(("subscription",)), may_have_moved(("amount_due",))
    (True, False)
    """
    return any(path[:length] in _STARTS for length in range(1, len(path) + 1))


def elsewhere(kind: Any, thing: JSON, path: Path, root: JSON | None) -> tuple[Any, Path]:
    """What another version has for a path that is missing in `thing`: (value, the path it came from) or MISSING.

    kind: the object class. thing: the object or list item that the path starts in. root: the event's whole object,
    or None in `previous_attributes`, from which a derived fact cannot be told.
    """
    if not isinstance(kind, str):
        return MISSING, path
    for other in others(kind, path):
        value = walk(thing, other)
        if value is not MISSING:
            return value, other
    derive = DERIVED.get(kind, {}).get(path)
    return (derive(thing, root) if derive and root is not None else MISSING), path


def others(kind: str, path: Path) -> Iterator[Path]:
    """The names that this path has on that class in other versions."""
    for now, before in MOVED.get(kind, ()):
        for here, there in ((now, before), (before, now)):
            if path[: len(here)] == here:
                yield there + path[len(here) :]


def walk(value: Any, path: Path) -> Any:
    """What stands at the path, or MISSING."""
    for key in path:
        if not isinstance(value, dict) or key not in value:
            return MISSING
        value = value[key]
    return value
