"""Paid anyway: what became of the money that a run was about, told from the history, in which no action was taken.

Three bounds, by the first payment after the trigger: before any action of the run would have been taken; after one;
never. None of them says that an action would have made somebody pay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from rules.event import iso, seconds
from rules.run import Run

JSON = Mapping[str, Any]
Outcome = Literal["without_action", "after_action", "never", "open"]
OUTCOMES: tuple[Outcome, ...] = ("without_action", "after_action", "never", "open")
WITHIN = 90 * 86400  # seconds after the trigger in which a payment is looked for
_INVOICES = ("invoice.paid", "invoice.payment_succeeded")
# by the class of the trigger's object: the subject whose payment counts, and the events that say so
_BY_CLASS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "invoice": ("in", _INVOICES),
    "payment_intent": ("pi", ("payment_intent.succeeded",)),
    "charge": ("ch", ("charge.succeeded",)),
    "subscription": ("sub", _INVOICES),
}
_OWED = ("failed", "overdue", "action_required", "upcoming", "finalized", "sent", "past_due", "updated", "created")


class Awaited(NamedTuple):
    """The payment that a run's money waits for: an event of these types that carries the key."""

    key: str
    types: tuple[str, ...]


class Payment(NamedTuple):
    created: int
    event: str


def payments_of(trigger_types: Sequence[str]) -> tuple[str, ...]:
    """The event types that may say that what a rule with these triggers is about was paid."""
    found = {type for trigger in trigger_types if (awaited := _BY_CLASS.get(class_of(trigger))) for type in awaited[1]}
    return tuple(sorted(found))


def class_of(trigger_type: str) -> str:
    """The object class of an event type, as far as payments go.

    >>> class_of("invoice.payment_failed"), class_of("customer.subscription.updated"), class_of("payout.paid")
    ('invoice', 'subscription', '')
    """
    name, _, what = trigger_type.rpartition(".")
    name = name.removeprefix("customer.")
    return name if name in _BY_CLASS and what.removeprefix("payment_") in _OWED else ""


def awaited(run: Run) -> Awaited | None:
    """What would say that the money of this run was paid; None for a run that is not about money that is owed."""
    name = class_of(str(run.facts.get("type", "")))
    if not name:
        return None
    prefix, types = _BY_CLASS[name]
    id = run.subjects.get(prefix)
    return Awaited(f"{prefix}:{id}", types) if id else None


def outcome_of(run: Run, payment: Payment | None, actions: Sequence[str], over: bool) -> Outcome:
    """actions: the names of the rule's actions. over: whether it can still go on, or be paid, in this history."""
    if payment is None:
        return "never" if over else "open"
    acted = acted_before(run, payment, actions)
    return "after_action" if acted else "without_action"


def acted_before(run: Run, payment: Payment, actions: Sequence[str]) -> str | None:
    """The last action that would have been taken before the payment; a payment wins its second."""
    paid = iso(seconds(payment.created))
    taken = [
        (record["at"], name)
        for name, record in run.steps.items()
        if name in actions and record.get("state") == "done" and record["at"] < paid
    ]
    return max(taken)[1] if taken else None
