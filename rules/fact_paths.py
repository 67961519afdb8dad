"""Which fields of Stripe's objects each fact is folded from, by object class: what a new API version may take away."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_Fields = Mapping[str, tuple[str, ...]]


def _subscription(*fields: str) -> _Fields:
    return {"subscription": fields}


def _invoice(*fields: str) -> _Fields:
    return {"invoice": fields}


_PRICE: Final = "items.data[].price"
_MONTHLY: Final = (
    "status",
    "currency",
    f"{_PRICE}.unit_amount",
    f"{_PRICE}.recurring.interval",
    f"{_PRICE}.recurring.interval_count",
    f"{_PRICE}.recurring.usage_type",
    "items.data[].quantity",
)
_SINCE: Final[_Fields] = {"customer": ("created",), "subscription": ("created",)}
_ENDING: Final = _subscription("status", "cancel_at", "cancel_at_period_end")
_DEFAULT: Final[_Fields] = {
    "subscription": ("status", "default_payment_method", "default_source"),
    "customer": ("invoice_settings.default_payment_method", "default_source"),
}
_CODES: Final[_Fields] = {
    "charge": ("outcome.reason", "outcome.advice_code", "failure_code"),
    "payment_intent": (
        "last_payment_error.decline_code",
        "last_payment_error.advice_code",
        "last_payment_error.code",
    ),
}

FACT_PATHS: Final[Mapping[str, _Fields]] = MappingProxyType(
    {
        "fact.customer.plan": _subscription("status", f"{_PRICE}.id"),
        "fact.customer.plan_key": _subscription("status", f"{_PRICE}.lookup_key"),
        "fact.customer.product": _subscription("status", f"{_PRICE}.product"),
        "fact.customer.prices": _subscription("status", f"{_PRICE}.id", f"{_PRICE}.lookup_key"),
        "fact.customer.status": _subscription("status"),
        "fact.customer.ending": _ENDING,
        "fact.customer.subscriptions": _subscription("status"),
        "fact.customer.mrr": {**_subscription(*_MONTHLY), "customer": ("currency",)},
        "fact.customer.currency": {"customer": ("currency",), "subscription": ("currency",)},
        "fact.customer.email": {"customer": ("email",), "invoice": ("customer_email",)},
        "fact.customer.since": _SINCE,
        "fact.customer.tenure_days": _SINCE,
        "fact.customer.open_amount": {
            **_invoice("status", "currency", "amount_remaining"),
            "customer": ("currency",),
        },
        "fact.customer.open_invoices": _invoice("status"),
        "fact.customer.newest_open_invoice": _invoice("status", "created"),
        "fact.customer.days_overdue": _invoice("status", "due_date", "attempted", "status_transitions.finalized_at"),
        "fact.customer.failures_30_days": {},
        "fact.customer.lifetime_paid": {**_invoice("currency", "amount_paid"), "customer": ("currency",)},
        "fact.customer.default_payment_method": _DEFAULT,
        "fact.customer.card_expires": {
            **_DEFAULT,
            "charge": (
                "payment_method",
                "payment_method_details.card.exp_month",
                "payment_method_details.card.exp_year",
            ),
            "payment_method": ("card.exp_month", "card.exp_year"),
            "card": ("exp_month", "exp_year"),
        },
        "fact.customer.lists": {},
        "fact.subscription.status": _subscription("status"),
        "fact.subscription.plan": _subscription("status", f"{_PRICE}.id"),
        "fact.subscription.plan_key": _subscription("status", f"{_PRICE}.lookup_key"),
        "fact.subscription.product": _subscription("status", f"{_PRICE}.product"),
        "fact.subscription.mrr_before": _subscription(*_MONTHLY),
        "fact.subscription.mrr": _subscription(*_MONTHLY),
        "fact.subscription.ending": _ENDING,
        "fact.invoice.status": _invoice("status"),
        "fact.invoice.amount_remaining": _invoice("amount_remaining", "currency"),
        "fact.charge.customer": {"charge": ("customer",)},
        "fact.charge.amount": {"charge": ("amount", "currency")},
        "fact.charge.amount_refunded": {"charge": ("amount_refunded", "currency")},
        "fact.payment.decline_code": _CODES,
        "fact.payment.advice_code": _CODES,
        "fact.payment.decline_class": _CODES,
    }
)
