"""What an account's own history tells of its settings at Stripe, which no API returns: when Stripe gives up on an
unpaid subscription, and how soon it tries a failed payment again.

    learned = learn(events)            # of TYPES, by time
    learned.given_up.day               # 21: by that day after the first failure Stripe had cancelled most of the unpaid
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from rules.fields import MISSING, read

FAILED: Final = "invoice.payment_failed"
PAID: Final = "invoice.paid"
DELETED: Final = "customer.subscription.deleted"
TYPES: Final = (FAILED, PAID, DELETED)
ENOUGH: Final = 3  # cases below which nothing is said
SOON: Final = 12 * 3600
_DAY: Final = 86400
_REASON: Final = ("data", "object", "cancellation_details", "reason")


class Heard(Protocol):
    """What is read of an event: an Event or a slim one."""

    @property
    def id(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def created(self) -> int: ...
    @property
    def causation(self) -> str | None: ...
    @property
    def data(self) -> Mapping[str, Any]: ...
    def key(self, prefix: str) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Spell:
    """A subscription from its first failed payment to the end of it. ended: when it was paid, or given up by Stripe;
    None while it is open. events: the first failure, and what ended it."""

    subscription: str
    customer: str | None
    began: int
    ended: int | None
    given_up: bool
    events: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GivenUp:
    """Stripe cancelled `count` of `unpaid` subscriptions by `day` after the first failed payment."""

    count: int
    unpaid: int
    day: int
    spells: tuple[Spell, ...]


@dataclass(frozen=True, slots=True)
class Retried:
    """Stripe tried `count` of `failed` payments again by itself within 12 hours. pairs: the failure and the next try,
    as (subject, customer, created, event ids)."""

    count: int
    failed: int
    pairs: tuple[tuple[str, str | None, int, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class Learned:
    given_up: GivenUp | None = None
    retried: Retried | None = None


def learn(events: Iterable[Heard]) -> Learned:
    """What these events tell; nothing where too few cases were seen."""
    watch = _Watch()
    for event in events:
        watch.take(event)
    return Learned(watch.given_up(), watch.retried())


@dataclass(slots=True)
class _Watch:
    open: dict[str, Spell] = field(default_factory=dict)
    spells: list[Spell] = field(default_factory=list)
    failures: dict[str, Heard] = field(default_factory=dict)  # by invoice, the failure that no later try has followed
    failed: int = 0
    again: list[tuple[str, str | None, int, tuple[str, ...]]] = field(default_factory=list)
    last: int = 0

    def take(self, event: Heard) -> None:
        self.last = max(self.last, event.created)
        subscription, invoice = event.key("sub"), event.key("in")
        if event.type in (FAILED, PAID) and invoice:
            self.tried(event, invoice)
        if subscription is None:
            return
        if event.type == FAILED and subscription not in self.open:
            began = Spell(subscription, event.key("cus"), event.created, None, False, (event.id,))
            self.open[subscription] = began
        elif event.type in (PAID, DELETED) and subscription in self.open:
            self.end(self.open.pop(subscription), event)

    def end(self, spell: Spell, event: Heard) -> None:
        reason = read(event.data, _REASON)
        given_up = event.type == DELETED and reason == "payment_failed"
        if event.type == DELETED and not given_up and reason is not MISSING and reason is not None:
            return  # somebody cancelled: that says nothing of Stripe's settings
        events = (*spell.events, event.id)
        ended = Spell(spell.subscription, spell.customer, spell.began, event.created, given_up, events)
        self.spells.append(ended)

    def tried(self, event: Heard, invoice: str) -> None:
        before = self.failures.pop(invoice, None)
        if before is not None and event.causation is None and event.created - before.created <= SOON:
            subject = before.key("sub") or invoice
            self.again.append((subject, before.key("cus"), before.created, (before.id, event.id)))
        if event.type == FAILED:
            self.failed += 1
            self.failures[invoice] = event

    def given_up(self) -> GivenUp | None:
        """By the day on which nine in ten of the given up were."""
        ends = sorted((spell for spell in self.spells if spell.given_up), key=_length)
        if len(ends) < ENOUGH:
            return None
        day = -(-_length(ends[(len(ends) * 9 - 1) // 10]) // _DAY)
        by_then = [spell for spell in ends if _length(spell) <= day * _DAY]
        still = sum(1 for spell in self.spells if not spell.given_up and _length(spell) > day * _DAY)
        still += sum(1 for spell in ends if _length(spell) > day * _DAY)
        still += sum(1 for spell in self.open.values() if self.last - spell.began > day * _DAY)
        return GivenUp(len(by_then), len(by_then) + still, day, tuple(ends))

    def retried(self) -> Retried | None:
        if self.failed < ENOUGH or len(self.again) * 2 < self.failed:
            return None
        return Retried(len(self.again), self.failed, tuple(self.again))


def _length(spell: Spell) -> int:
    return (spell.ended or spell.began) - spell.began
