"""What actions do to the world, as far as rules can collide over it: opposite effects, and the events they cause."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

from rules.model import All, Condition, Do, If, Not, Rule, Step
from rules.texts import condition_paths


@dataclass(frozen=True, slots=True)
class Effect:
    """topic: what is acted upon. side: which way; effects on one topic may be opposite. words: after "one rule"."""

    topic: str
    side: str
    words: str


_SIMPLE: Final[Mapping[str, Effect]] = {
    "stripe.cancel_subscription": Effect("subscription", "cancel", "cancels the subscription"),
    "stripe.pause_collection": Effect("subscription", "pause", "pauses collection"),
    "stripe.resume_collection": Effect("subscription", "resume", "resumes collection"),
    "access.suspend": Effect("access", "suspend", "suspends access"),
    "access.resume": Effect("access", "let in", "resumes access"),
    "stripe.pause_subscription": Effect("subscription", "pause", "pauses the subscription"),
    "stripe.resume_subscription": Effect("subscription", "resume", "resumes the subscription"),
    "stripe.keep_subscription": Effect("subscription", "resume", "keeps the subscription"),
    "stripe.pay_invoice": Effect("invoice", "pay", "tries the payment again"),
    "stripe.send_invoice": Effect("invoice", "send", "sends the invoice"),
    "stripe.void_invoice": Effect("invoice", "void", "voids the invoice"),
    "stripe.mark_uncollectible": Effect("invoice", "uncollectible", "writes the invoice off"),
    "stripe.refund": Effect("invoice", "refund", "refunds the payment"),
}
_OPPOSITE: Final = frozenset(
    frozenset(pair)
    for pair in (
        ("cancel", "pause"),
        ("cancel", "resume"),
        ("cancel", "plan"),
        ("pause", "resume"),
        ("suspend", "let in"),
        ("pay", "void"),
        ("pay", "uncollectible"),
        ("pay", "refund"),
        ("send", "void"),
        ("send", "uncollectible"),
        ("send", "refund"),
    )
)
_CAUSES: Final[Mapping[str, tuple[str, ...]]] = {
    "stripe.change_plan": ("customer.subscription.updated",),
    "stripe.cancel_subscription": ("customer.subscription.deleted",),
    "stripe.pause_collection": ("customer.subscription.updated", "customer.subscription.paused"),
    "stripe.resume_collection": ("customer.subscription.updated", "customer.subscription.resumed"),
    "stripe.pause_subscription": ("customer.subscription.paused", "customer.subscription.updated"),
    "stripe.resume_subscription": ("customer.subscription.resumed", "customer.subscription.updated"),
    "stripe.keep_subscription": ("customer.subscription.updated",),
    "stripe.credit_note": ("credit_note.created", "invoice.updated"),
    "stripe.void_credit_note": ("credit_note.voided", "invoice.updated"),
    "stripe.add_invoice_item": ("invoiceitem.created",),
    "stripe.remove_invoice_item": ("invoiceitem.deleted",),
    "stripe.pay_invoice": ("invoice.paid", "invoice.payment_succeeded", "invoice.payment_failed", "invoice.updated"),
    "stripe.send_invoice": ("invoice.sent", "invoice.updated"),
    "stripe.void_invoice": ("invoice.voided", "invoice.updated"),
    "stripe.mark_uncollectible": ("invoice.marked_uncollectible", "invoice.updated"),
    "stripe.update_customer_metadata": ("customer.updated",),
    "stripe.refund": ("charge.refunded", "refund.created"),
}


def effects(step: Do) -> Iterator[Effect]:
    """What a step does, as far as another may undo it."""
    if step.action in _SIMPLE:
        yield _SIMPLE[step.action]
    elif step.action == "stripe.change_plan":
        price = str(step.params.get("price"))
        yield Effect("subscription", f"plan {price}", f"changes the plan to {price}")
    elif step.action == "stripe.update_customer_metadata":
        yield from _metadata(step.params)


def _metadata(params: Mapping[str, Any]) -> Iterator[Effect]:
    """Access and other marks that a product reads from the customer; values that an event fills in are not known."""
    key, value = str(params.get("key")), str(params.get("value") or "")
    if "{{" not in value:
        yield Effect(f"metadata {key}", value, f"sets {key} to {value}" if value else f"removes {key}")


def opposite(left: Effect, right: Effect) -> bool:
    """Whether one undoes, or rules out, the other."""
    if left.topic != right.topic or left.side == right.side:
        return False
    kinds = _kind(left), _kind(right)
    return kinds[0] == kinds[1] or frozenset(kinds) in _OPPOSITE


def _kind(effect: Effect) -> str:
    """The side without what it is set to."""
    return "metadata" if effect.topic.startswith("metadata ") else effect.side.split(" ")[0]


def causes(step: Do) -> tuple[str, ...]:
    """The event types that Stripe sends because of a step."""
    return _CAUSES.get(step.action, ())


# ---- the actions of rules --------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Act:
    """An action of a rule: where it stands, under which condition it is reached, and what it does."""

    path: str
    step: Do
    reached: Condition
    effects: tuple[Effect, ...]


Clash = tuple[Act, Act, Effect, Effect]


def acts(rule: Rule) -> list[Act]:
    """The rule's actions, those in branches with the conditions that lead there."""
    return list(_acts(rule.steps, "steps", All(())))


def _acts(steps: tuple[Step, ...], path: str, reached: Condition) -> Iterator[Act]:
    for index, step in enumerate(steps):
        place = f"{path}[{index}]"
        if isinstance(step, Do):
            yield Act(place, step, reached, tuple(effects(step)))
        elif isinstance(step, If):
            known = all(one[0] == "data" for one in condition_paths(step.condition))
            condition = step.condition if known else All(())
            yield from _acts(step.then, f"{place}.then", All((reached, condition)))
            yield from _acts(step.otherwise, f"{place}.else", All((reached, Not(condition) if known else All(()))))


def clashes(mine: Sequence[Act], theirs: Sequence[Act]) -> Iterator[Clash]:
    """Every two actions of two rules that are opposite."""
    for left, right in product(mine, theirs):
        for one, other in product(left.effects, right.effects):
            if opposite(one, other):
                yield left, right, one, other


def alike(left: Rule, right: Rule) -> bool:
    """Whether both wait for the same and do the same."""
    return left.when == right.when and [_bare(step) for step in left.steps] == [_bare(step) for step in right.steps]


def _bare(step: Step) -> object:
    return (step.action, repr(step.params)) if isinstance(step, Do) else repr(step)
