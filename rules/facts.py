"""Facts: what is known beyond an event's payload, each with its name, its type, what it is folded from and its fold.

The truth is the log: a fact is a pure function of the recorded events of one subject with `created` up to the second
that is asked for (rules.folds), read through the questions of rules.memory (rules.knowing), and nothing is stored.

Counts, sums and lists are 0 or empty when nothing is known; everything else is absent then. Money is counted in the
event's currency, and where the event has none in the customer's own; other currencies are left out, never converted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, Final, Literal

from rules import folds
from rules import payment_folds as paying
from rules.declines import CLASSES
from rules.folds import DAY, Fold

FactType = Literal["number", "amount", "text", "id", "enum", "time", "boolean", "list"]
Path = tuple[str, ...]

_CUSTOMER: Final = ("customer.created", "customer.deleted", "customer.updated")
_SUBSCRIPTION: Final = tuple(
    f"customer.subscription.{name}"
    for name in (
        "created",
        "deleted",
        "paused",
        "pending_update_applied",
        "pending_update_expired",
        "resumed",
        "trial_will_end",
        "updated",
    )
)
_INVOICE: Final = tuple(
    f"invoice.{name}"
    for name in (
        "deleted",
        "finalized",
        "marked_uncollectible",
        "overdue",
        "paid",
        "payment_action_required",
        "payment_failed",
        "payment_succeeded",
        "sent",
        "updated",
        "voided",
    )
)
_CARD: Final = (
    "charge.failed",
    "charge.succeeded",
    "customer.source.created",
    "customer.source.updated",
    "payment_method.attached",
    "payment_method.automatically_updated",
    "payment_method.updated",
)
CHARGE: Final = tuple(
    f"charge.{name}" for name in ("captured", "expired", "failed", "pending", "refunded", "succeeded", "updated")
)
INTENT: Final = tuple(
    f"payment_intent.{name}"
    for name in ("canceled", "created", "payment_failed", "processing", "requires_action", "succeeded")
)
FAILED: Final = ("charge.failed", "payment_intent.payment_failed")
LINKS: Final = ("invoice_payment.paid", *FAILED)  # events that may name an invoice and its payment
_PAYMENT: Final = (*FAILED, "payment_intent.requires_action")
STATUSES: Final = (
    "active",
    "canceled",
    "incomplete",
    "incomplete_expired",
    "past_due",
    "paused",
    "trialing",
    "unpaid",
)
LISTS: Final = ("fact", "customer", "lists")


@dataclass(frozen=True, slots=True)
class Fact:
    """name: as rules write it. title: in plain words, without an article. says: one sentence on what it is. sources:
    the event types that it is folded from; key: the subject that these are read by, a prefix of rules.subjects.
    empty: what it is when nothing is known. span: it looks back so many seconds, None as far as the log goes.
    sample: a value for the editor."""

    name: str
    title: str
    type: FactType
    says: str
    sources: tuple[str, ...]
    key: str
    fold: Fold
    sample: Any
    empty: Any = None
    enum: tuple[str, ...] = ()
    span: int | None = None

    @property
    def path(self) -> Path:
        return tuple(self.name.split("."))


def _of(subject: str, key: str, *rows: tuple[Any, ...], **more: Mapping[str, Any]) -> list[Fact]:
    """Facts of one subject: (name, title, type, fold, sources, sample, says); more: further fields by name."""
    return [
        Fact(
            f"fact.{subject}.{name}", title, type, says, tuple(sorted(sources)), key, fold, sample, **more.get(name, {})
        )
        for name, title, type, fold, sources, sample, says in rows
    ]


_NONE: Final = {"empty": 0}
_TABLE: Final[tuple[Fact, ...]] = (
    *_of(
        "customer",
        "cus",
        ("plan", "customer’s plan", "id", folds.plan("id"), _SUBSCRIPTION, "price_pro_monthly",
         "The price id of the current subscription’s first item."),
        ("plan_key", "customer’s plan key", "text", folds.plan("lookup_key"), _SUBSCRIPTION, "pro_monthly",
         "The lookup key of that price, which is easier to know than its id."),
        ("product", "customer’s product", "id", folds.plan("product"), _SUBSCRIPTION, "prod_pro",
         "The product id of the current subscription’s first item."),
        ("prices", "customer’s prices", "list", folds.prices, _SUBSCRIPTION, ["price_pro_monthly", "pro_monthly"],
         "Ids and lookup keys of every price in a subscription that has not ended."),
        ("status", "customer’s subscription status", "enum", folds.status, _SUBSCRIPTION, "past_due",
         "Of the current subscription: the one in the surest state, of several the newest; else the last that ended."),
        ("ending", "customer’s cancellation being set", "boolean", folds.ending, _SUBSCRIPTION, False,
         "Whether the current subscription is set to end."),
        ("subscriptions", "customer’s number of subscriptions", "number", folds.count_subscriptions, _SUBSCRIPTION, 1,
         "How many subscriptions have not ended."),
        ("mrr", "customer’s monthly revenue", "amount", folds.mrr, (*_SUBSCRIPTION, *_CUSTOMER), 4900,
         "Price × quantity of active and past due subscriptions, by the month (a year / 12, a week × 52 / 12, a day × "
         "365 / 12), before discounts and taxes; metered and tiered prices are not in it."),
        ("currency", "customer’s currency", "text", folds.currency, (*_CUSTOMER, *_SUBSCRIPTION), "usd",
         "Of the customer, else of the newest subscription."),
        ("email", "customer’s e-mail address", "text", folds.email, (*_CUSTOMER, *_INVOICE), "tok_1@example.com",
         "Its token, as the customer or the newest invoice has it: for the To of an e-mail."),
        ("since", "customer’s first day", "time", folds.since, (*_CUSTOMER, *_SUBSCRIPTION), 1_700_000_000,
         "When the customer was made at Stripe; else the first subscription."),
        ("tenure_days", "customer’s tenure in days", "number", folds.tenure_days, (*_CUSTOMER, *_SUBSCRIPTION), 400,
         "Whole days since the customer was made at Stripe."),
        ("open_amount", "customer’s open amount", "amount", paying.open_amount, (*_INVOICE, *_CUSTOMER), 9800,
         "What remains to be paid on open invoices."),
        ("open_invoices", "customer’s number of open invoices", "number", paying.count_open, _INVOICE, 2,
         "How many invoices are open, in any currency."),
        ("newest_open_invoice", "customer’s newest open invoice", "id", paying.newest_open_invoice, _INVOICE, "in_1",
         "The id of the open invoice that was made last."),
        ("days_overdue", "customer’s days overdue", "number", paying.days_overdue, _INVOICE, 12,
         "Whole days since the oldest open invoice was due; without a due date, since it was finalized, once "
         "collecting it was tried."),
        ("failures_30_days", "customer’s number of failed invoice payments in 30 days", "number", paying.failures,
         ("invoice.payment_failed",), 2, "How often the payment of an invoice failed, this event included."),
        ("lifetime_paid", "customer’s lifetime paid", "amount", paying.lifetime_paid, (*_INVOICE, *_CUSTOMER), 120000,
         "What was paid on invoices, before refunds."),
        ("default_payment_method", "customer’s default payment method", "id", folds.default_payment_method,
         (*_SUBSCRIPTION, *_CUSTOMER), "pm_1",
         "What the next payment is taken from: the current subscription’s own, else the customer’s."),
        ("card_expires", "customer’s card expiry", "time", folds.card_expires, (*_CARD, *_SUBSCRIPTION, *_CUSTOMER),
         1_800_000_000, "The first moment in which the card of the default payment method is no longer good (UTC)."),
        ("lists", "customer’s lists", "list", lambda about, events: folds.NOTHING, (), ["contract-customers"],
         "The lists, of those that the rule names, which hold the customer, by an id or the token of an e-mail."),
        status={"enum": STATUSES},
        subscriptions=_NONE,
        mrr=_NONE,
        prices={"empty": []},
        lists={"empty": []},
        open_amount=_NONE,
        open_invoices=_NONE,
        days_overdue=_NONE,
        failures_30_days={"empty": 0, "span": 30 * DAY},
        lifetime_paid=_NONE,
    ),
    *_of(
        "subscription",
        "sub",
        ("status", "subscription’s known status", "enum", folds.status, _SUBSCRIPTION, "active",
         "Of the event’s subscription, as it stands."),
        ("plan", "subscription’s known plan", "id", folds.plan("id"), _SUBSCRIPTION, "price_pro_monthly",
         "The price id of its first item."),
        ("plan_key", "subscription’s known plan key", "text", folds.plan("lookup_key"), _SUBSCRIPTION, "pro_monthly",
         "The lookup key of that price."),
        ("product", "subscription’s known product", "id", folds.plan("product"), _SUBSCRIPTION, "prod_pro",
         "The product id of its first item."),
        ("mrr_before", "subscription’s monthly revenue before its latest change", "amount", folds.mrr_before,
         _SUBSCRIPTION, 4900, "What it brought in a month before the update that is known last; else what it brings."),
        ("mrr", "subscription’s known monthly revenue", "amount", folds.own_mrr, _SUBSCRIPTION, 4900,
         "As for the customer, of this subscription alone, in its own currency."),
        ("ending", "subscription’s cancellation being set", "boolean", folds.ending, _SUBSCRIPTION, False,
         "Whether it is set to end."),
        status={"enum": STATUSES},
    ),
    *_of(
        "invoice",
        "in",
        ("status", "invoice’s known status", "enum", paying.of_latest("invoice", "status"), _INVOICE, "open",
         "Of the event’s invoice, as it stands."),
        ("amount_remaining", "invoice’s known amount remaining", "amount",
         paying.money_of_latest("invoice", "amount_remaining"), _INVOICE, 4900,
         "What remains to be paid on it, in its own currency."),
        status={"enum": ("draft", "open", "paid", "uncollectible", "void")},
    ),
    *_of(
        "charge",
        "ch",
        ("customer", "charge’s customer", "id", paying.linked("customer"), CHARGE, "cus_1",
         "The customer of the event’s charge: disputes and early fraud warnings name none."),
        ("amount", "charge’s known amount", "amount", paying.money_of_latest("charge", "amount"), CHARGE, 4900,
         "Of the event’s charge, in its own currency."),
        ("amount_refunded", "charge’s known amount refunded", "amount",
         paying.money_of_latest("charge", "amount_refunded"), CHARGE, 0, "What of it was given back."),
    ),
    *_of(
        "payment",
        "pi",
        ("decline_code", "payment’s decline code", "text", paying.decline_code, _PAYMENT, "insufficient_funds",
         "Why the latest attempt of the event’s payment failed; an invoice’s payment is found through its invoice "
         "payment, else among the customer’s failed payments of the same hour, of the same amount first."),
        ("advice_code", "payment’s advice code", "text", paying.advice_code, _PAYMENT, "try_again_later",
         "What the network advises after that attempt."),
        ("decline_class", "payment’s decline class", "enum", paying.decline, _PAYMENT, "soft",
         "hard: the same card will not pay. soft: it may pay later. authentication: the customer has to confirm."),
        advice_code={"enum": ("confirm_card_data", "do_not_try_again", "try_again_later")},
        decline_class={"enum": CLASSES},
    ),
)  # fmt: skip

FACTS: Final[Mapping[str, Fact]] = MappingProxyType({fact.name: fact for fact in _TABLE})
SOURCES: Final = frozenset(type for fact in _TABLE for type in fact.sources)
# what an event has to be about for the facts of a subject to be known: one of these
CARRIES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "customer": ("customer", "charge", "payment_intent"),
        "subscription": ("subscription",),
        "invoice": ("invoice",),
        "charge": ("charge",),
        "payment": ("payment_intent", "charge", "invoice"),
    }
)


def fact_at(path: Path) -> Fact | None:
    """The fact that this path names."""
    return FACTS.get(".".join(path)) if path[:1] == ("fact",) else None


def nearest_fact(name: str) -> str | None:
    """The fact that was probably meant: by its last word, one like it, or a word of what people call it."""
    by_last: dict[str, str] = {}
    for known in FACTS:
        by_last.setdefault(known.rpartition(".")[2], known)
    last = name.rpartition(".")[2].lower()
    near = get_close_matches(last, by_last, n=1, cutoff=0.6)
    if near:
        same = f"{name.rpartition('.')[0]}.{near[0]}"
        return same if same in FACTS else by_last[near[0]]
    return next((known for known, fact in FACTS.items() if last in fact.title.split()), None)
