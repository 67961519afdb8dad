"""What to read again just before a run acts: the objects whose end is among its rule's stops.

An event that stops a run may be on its way while the run is about to act. So the state that such an event tells of is
read where it is kept: a rule that stops on `invoice.paid` for the same invoice must not act on a paid one. Pure: app
and its connectors read, and `judged` says what follows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rules.model import Rule
from rules.ports import Ask, Standing
from rules.subjects import PREFIX

# the event that stops a run: the object it is about, and the status that it leaves it in
ENDS: Mapping[str, tuple[str, str]] = {
    "invoice.paid": ("invoice", "paid"),
    "invoice.payment_succeeded": ("invoice", "paid"),
    "invoice.voided": ("invoice", "void"),
    "invoice.marked_uncollectible": ("invoice", "uncollectible"),
    "customer.subscription.deleted": ("subscription", "canceled"),
    "payment_intent.succeeded": ("payment_intent", "succeeded"),
    "payment_intent.canceled": ("payment_intent", "canceled"),
    "customer.deleted": ("customer", "deleted"),
}


def asks(rule: Rule, subjects: Mapping[str, str]) -> tuple[Ask, ...]:
    """The run's objects to read again; only what the rule's own stops name, and only the very same object: a stop on
    any payment of the same customer says nothing about this invoice."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for stop in rule.stop_when:
        for event_type in stop.types:
            kind, status = ENDS.get(event_type, ("", ""))
            id = subjects.get(PREFIX.get(kind, ""))
            if id and stop.same == kind:
                found.setdefault((kind, id), {})[status] = event_type
    return tuple(Ask(kind, id, ends) for (kind, id), ends in found.items())


def judged(asked: Sequence[Ask], statuses: Sequence[str]) -> Standing:
    """statuses: of each object as it was read; "" where nobody could say."""
    for ask, status in zip(asked, statuses, strict=True):
        if status in ask.ends:
            return Standing(stop=f"{_named(ask)} is {status}, read again at Stripe just before acting")
    pairs = list(zip(asked, statuses, strict=True))
    known = [f"{_named(ask)} is {status.replace('_', ' ')}" for ask, status in pairs if status]
    unknown = [_named(ask) for ask, status in pairs if not status]
    parts = [", ".join(known)] if known else []
    parts += [f"Stripe does not say how {' and '.join(unknown)} stands"] if unknown else []
    return Standing(says="; ".join(parts))


def _named(ask: Ask) -> str:
    return f"{ask.kind.replace('_', ' ')} {ask.id}"
