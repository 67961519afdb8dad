"""Lint of rules together: opposite effects on one subject, one rule doing what another does, rules that go in circles.

Rules are compared where one event, or events that Stripe sends for one occurrence, start both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, product
from typing import Final

from rules import patience
from rules.effects import Act, Clash, acts, alike, causes, clashes
from rules.looking import Finding, Look, whole
from rules.model import JSON, All, Condition, Not, Rule
from rules.satisfy import apart, ranges
from rules.witness import did, in_time, leading, needed_at, triggers_of
from rules.words import span_text

MOST_PAIRS: Final = 20_000  # that are compared in one go
# what Stripe sends for one occurrence: a failed payment is a failed charge, a failed intent, and a failed invoice
_TWINS: Final = (
    ("invoice.payment_failed", "charge.failed", "payment_intent.payment_failed"),
    ("invoice.paid", "invoice.payment_succeeded", "invoice_payment.paid", "charge.succeeded",
     "payment_intent.succeeded"),
    ("charge.refunded", "refund.created", "charge.refund.updated", "refund.updated"),
    ("charge.dispute.created", "charge.dispute.funds_withdrawn"),
    ("checkout.session.completed", "customer.subscription.created"),
)  # fmt: skip
_FAMILY: Final = {kind: family[0] for family in _TWINS for kind in family}


def family(event_type: str) -> str:
    """The occurrence that events of this type tell of."""
    return _FAMILY.get(event_type, event_type)


# ---- pairs ----------------------------------------------------------------------------------------------------------
def pairs(look: Look, rules: Sequence[Rule], about: str | None) -> Iterator[Finding]:
    """What is odd about two rules together; about: only of this rule's pairs."""
    acting = {rule.id: acts(rule) for rule in rules}
    known = {rule.id: {} if rule.when.then else ranges(rule.only_if) for rule in rules}
    for left, right in patience.each(sharing(rules, about)):
        if _exclusive(left, right):
            continue
        one_event = set(triggers_of(left.when)) & set(triggers_of(right.when))
        if _one_object(look, left, right) and apart(known[left.id], known[right.id]):
            continue
        found = (
            one for clash in clashes(acting[left.id], acting[right.id]) for one in _collision(look, left, right, clash)
        )
        first = next(found, None)
        if first is None and one_event and alike(left, right):
            first = next(_shadow(look, left, right, sorted(one_event)[0]), None)
        if first:
            yield first


def sharing(rules: Sequence[Rule], about: str | None) -> Iterator[tuple[Rule, Rule]]:
    """Pairs of rules that one occurrence starts, the rule in question first."""
    by_family: dict[str, list[Rule]] = {}
    for rule in rules:
        for name in dict.fromkeys(map(family, triggers_of(rule.when))):
            by_family.setdefault(name, []).append(rule)
    seen: set[tuple[str, str]] = set()
    for found in by_family.values():
        for left, right in combinations(found, 2):
            if (left.id, right.id) not in seen and about in (None, left.id, right.id):
                seen.add((left.id, right.id))
                yield (right, left) if right.id == about else (left, right)


def _one_object(look: Look, left: Rule, right: Rule) -> bool:
    """Whether what starts them is about one object, so that both conditions are asked of the same values."""
    kinds = {*triggers_of(left.when), *triggers_of(right.when)}
    return len({_class(look, kind) for kind in kinds}) == 1


def _class(look: Look, event_type: str) -> str:
    found = look.catalogue.event_type(event_type)
    return found.object if found and len(found.objects) == 1 else event_type


def _exclusive(left: Rule, right: Rule) -> bool:
    """Whether one starts on the first event ever and the other not before the second."""
    return any(a.when.first and (b.when.at_least or 1) > 1 for a, b in ((left, right), (right, left)))


def _collision(look: Look, left: Rule, right: Rule, clash: Clash) -> Iterator[Finding]:
    if look.compared >= MOST_PAIRS:
        look.unshown += 1
        return
    look.compared += 1
    mine, theirs, one, other = clash
    for kinds in product(triggers_of(left.when), triggers_of(right.when)):
        if family(kinds[0]) != family(kinds[1]):
            continue
        history = _both(look, (left, mine, kinds[0]), (right, theirs, kinds[1]))
        if history is None:
            continue
        topic = one.topic.split()[0]
        sentence = f"It collides with “{right.name}”: on the same {topic}, this rule {one.words} and "\
                   f"that one {other.words}."  # fmt: skip
        finding = Finding("collision", (left.id, right.id), mine.path, sentence, history, (theirs.path,))
        rows = look.trial.rows([left, right], history)
        both = did(rows, left.id, mine.step.name) and did(rows, right.id, theirs.step.name)
        yield from look.shown(finding, both)
        return


def _both(look: Look, mine: tuple[Rule, Act, str], theirs: tuple[Rule, Act, str]) -> tuple[JSON, ...] | None:
    """A history at whose end both rules come to their actions: on one event, or on two of one occurrence."""
    (left, first, kind), (right, second, other) = mine, theirs
    if _class(look, kind) == _class(look, other):
        conditions: list[Condition] = [needed_at(left), first.reached, needed_at(right), second.reached]
        event = look.satisfy(All(tuple(conditions)), kind).event
        made = [event, event]
    else:
        made = [look.satisfy(All((needed_at(rule), act.reached)), name).event for rule, act, name in (mine, theirs)]
    if made[0] is None or made[1] is None:
        return None
    triggers = [whole(made[0], kind)] if kind == other else [whole(made[0], kind), whole(made[1], other)]
    before = [leading(left, triggers[0], look.frame(left.when.types[0])),
              leading(right, triggers[-1], look.frame(right.when.types[0]))]  # fmt: skip
    if before[0] is None or before[1] is None:
        return None
    shared = kind == other and _counts_alike(left, right)
    longer = max(before[0], before[1], key=len) if shared else [*before[0], *before[1]]
    return in_time([*longer, *triggers])


def _counts_alike(left: Rule, right: Rule) -> bool:
    """Whether what leads up to the one serves the other: copies of the trigger that both count."""
    return not any(rule.when.then or rule.when.counting != "events" for rule in (left, right))


def _shadow(look: Look, left: Rule, right: Rule, event_type: str) -> Iterator[Finding]:
    """The narrower of two rules that do the same: whatever starts it starts the other as well."""
    for inner, outer in ((left, right), (right, left)):
        event = look.example(inner, event_type)
        if event is None or not look.holds(outer.only_if, event):
            continue
        look.compared += 1
        if look.never_true([inner.only_if, Not(outer.only_if)], event_type):
            sentence = f"Whatever starts this rule starts “{outer.name}” too, and both do the same: it is done twice."
            trigger = whole(event, event_type)
            first = leading(inner, trigger, look.frame(inner.when.types[0]))
            if first is None:
                continue
            history = in_time([*first, trigger])
            finding = Finding("shadowed", (inner.id, outer.id), "when", sentence, history, ("when",))
            rows = look.trial.rows([inner, outer], history)
            yield from look.shown(finding, {inner.id, outer.id} <= {row["rule"] for row in rows})
            return


# ---- loops ----------------------------------------------------------------------------------------------------------
def loops(look: Look, rules: Sequence[Rule], about: str | None) -> Iterator[Finding]:
    """Rules that count what their own actions cause (`ignore_own` is off) and so start one another."""
    open_ = [rule for rule in rules if not rule.when.ignore_own]
    caused = {rule.id: {kind: act for act in acts(rule) for kind in causes(act.step)} for rule in open_}
    for left in open_:
        for right in open_:
            if left.id > right.id or about not in (None, left.id, right.id):
                continue
            there = next((kind for kind in right.when.types if kind in caused[left.id]), None)
            back = next((kind for kind in left.when.types if kind in caused[right.id]), None)
            if there and back:
                look.compared += 1
                yield from _loop(look, left, right, there, back, (caused[left.id][there], caused[right.id][back]))


def _loop(look: Look, left: Rule, right: Rule, there: str, back: str, actions: tuple[Act, Act]) -> Iterator[Finding]:
    first, second = look.satisfy(needed_at(left), back).event, look.satisfy(needed_at(right), there).event
    if first is None or second is None:
        return
    pause = left.again.after
    slow = f" It goes round at most once in {span_text(pause)}." if pause else ""
    what = f"because of that one {look.event(back)}, which starts this rule again"
    sentence = f"A loop: because of this rule {look.event(there)}, which starts “{right.name}”; {what}.{slow}"
    if left is right:
        sentence = f"A loop: because of this rule's own action {look.event(back)}, which starts it again.{slow}"
    ids = (left.id,) if left is right else (left.id, right.id)
    events = _led(look, [(left, whole(first, back)), (right, whole(second, there))])
    if events is None:
        return
    finding = Finding("loop", ids, actions[0].path, sentence, events)
    rows = look.trial.rows([left] if left is right else [left, right], events)
    came = did(rows, left.id, actions[0].step.name) and did(rows, right.id, actions[1].step.name)
    yield from look.shown(finding, came)


def _led(look: Look, parts: list[tuple[Rule, JSON]]) -> tuple[JSON, ...] | None:
    """Each trigger with what must come before it, one after the other."""
    found: list[JSON] = []
    for rule, trigger in parts:
        first = leading(rule, trigger, look.frame(rule.when.types[0]))
        if first is None:
            return None
        found += [*first, trigger]
    return in_time(found)
