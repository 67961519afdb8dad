"""Lint of one rule by itself: that it can never fire, that a condition changes nothing, that a stop can never come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from rules import paths
from rules.looking import Finding, Look, parts_of, place, whole
from rules.model import JSON, All, Any_, Condition, Not, Rule, Stop, Test
from rules.satisfy import CREATED
from rules.witness import in_time, leading, needed_at, triggers_of

_LAST: Final = {  # events after which nothing more of these kinds comes for the same subject
    ("customer.subscription.deleted", "subscription"): ("customer.subscription.",),
    ("invoice.voided", "invoice"): ("invoice.paid", "invoice.payment_", "invoice.marked_uncollectible"),
    ("invoice.paid", "invoice"): ("invoice.voided", "invoice.marked_uncollectible", "invoice.payment_failed"),
    ("customer.deleted", "customer"): ("customer.updated", "customer.created"),
}
_CLASS: Final = {"subscription": "customer.subscription", "customer": "customer", "invoice": "invoice",
                 "charge": "charge", "payment_intent": "payment_intent"}  # fmt: skip


def alone(look: Look, rule: Rule) -> Iterator[Finding]:
    """What is odd about one rule by itself."""
    never = next(_never(look, rule), None)
    if never:
        yield never
    else:
        yield from _idle(look, rule)
        yield from _idle_inside(look, rule)
    yield from _stops(look, rule)


# ---- never ----------------------------------------------------------------------------------------------------------
def _never(look: Look, rule: Rule) -> Iterator[Finding]:
    answers = [look.satisfy(rule.only_if, event_type) for event_type in rule.when.types]
    if answers and all(answer.impossible for answer in answers):
        yield from _contradiction(look, rule)
        return
    made = next(((kind, one.event) for kind, one in zip(rule.when.types, answers, strict=True) if one.event), None)
    if made:
        event = whole(made[1], made[0])
        yield from _window(look, rule, event)
        yield from _aggregate(look, rule, event)


def _contradiction(look: Look, rule: Rule) -> Iterator[Finding]:
    """The first part that rules out what stands before it, and the fewest of those that it rules out."""
    parts, kind = parts_of(rule.only_if), rule.when.types[0]
    count = next(n for n in range(1, len(parts) + 1) if look.never_true(parts[:n], kind))
    last, before = parts[count - 1], list(range(count - 1))
    for index in list(before):
        rest = [parts[one] for one in before if one != index]
        if look.never_true([*rest, last], kind):
            before.remove(index)
    kept = [parts[index] for index in before]
    event = look.satisfy(All(tuple(kept)), kind).event
    if event is None or look.holds(last, event):
        return
    spots = [place(rule.only_if, index) for index in (*before, count - 1)]
    words = [f"“{look.words(rule, part)}”" for part in (*kept, last)]
    sentence = f"It can never fire: {' and '.join(words)} are never true of one event."
    if not kept:
        sentence = f"It can never fire: {words[0]} is never true of such an event."
    witness = (whole(event, kind),)
    finding = Finding("never fires", (rule.id,), spots[-1], sentence, witness, tuple(spots[:-1]))
    yield from look.shown(finding, look.trial.silent(rule, witness))


def _window(look: Look, rule: Rule, event: JSON) -> Iterator[Finding]:
    """A count that no events reach, shown on as many as it asks for, a second apart."""
    when = rule.when
    resets = sorted(set(when.types) & set(when.start_again_after))
    one_value = when.counting != "events" and _is_fixed(rule.only_if, paths.split(when.counting))
    if not when.at_least or not (len(resets) == len(set(when.types)) or one_value):
        return
    path = "when.start_again_after"
    happens = look.event(event["type"])
    sentence = f"It can never fire: when {happens}, the count starts again, so it never gets to {when.at_least}."
    if one_value:
        path = "when.counting"
        sentence = f"It can never fire: only one value of {when.counting} passes the conditions, so no "\
                   f"{when.at_least} different ones are ever counted."  # fmt: skip
    history = in_time([event] * min(when.at_least, 100))
    finding = Finding("never fires", (rule.id,), path, sentence, history, ("when.at_least",))
    yield from look.shown(finding, look.trial.silent(rule, history))


def _aggregate(look: Look, rule: Rule, event: JSON) -> Iterator[Finding]:
    """A bound that no single counted value reaches, where reaching it takes one."""
    wanted = rule.when.aggregate
    if wanted is None or not _needs_one(wanted.of, wanted.operator):
        return
    test = Test(wanted.field, wanted.path, wanted.operator, wanted.value)
    answers = [look.satisfy(All((rule.only_if, test)), kind) for kind in rule.when.types]
    if not all(answer.impossible for answer in answers):
        return
    sentence = f"It can never fire: no event that passes the conditions has {wanted.field} {wanted.operator} "\
               f"{wanted.value}, so its {wanted.of} never has."  # fmt: skip
    finding = Finding("never fires", (rule.id,), "when.aggregate.value", sentence, (event,), ("only_if",))
    yield from look.shown(finding, look.trial.silent(rule, (event,)))


def _is_fixed(condition: Condition, path: tuple[str, ...]) -> bool:
    """Whether a top-level part allows one value at this path only."""
    return any(
        isinstance(part, Test) and part.path == path and part.operator == "equal to" and part.other is None
        for part in parts_of(condition)
    )


def _needs_one(of: str, operator: str) -> bool:
    """Whether reaching the bound takes one value that reaches it by itself."""
    return (of == "max" and operator.startswith("greater")) or (of == "min" and operator.startswith("less")) or (
        of == "average" and operator.startswith(("greater", "less"))
    )  # fmt: skip


# ---- idle conditions ------------------------------------------------------------------------------------------------
def _idle(look: Look, rule: Rule) -> Iterator[Finding]:
    """Parts that are true whenever the others are; of two that say the same, the later one."""
    parts, kept = parts_of(rule.only_if), dict(enumerate(parts_of(rule.only_if)))
    for index in reversed(range(len(parts))):
        rest = [part for spot, part in kept.items() if spot != index]
        if not all(look.never_true([*rest, Not(parts[index])], kind) for kind in rule.when.types):
            continue
        event = look.example(rule, rule.when.types[0])
        if event is not None:
            del kept[index]
            without = replace(rule, only_if=All(tuple(kept[spot] for spot in sorted(kept))))
            yield from _changing_nothing(look, rule, without, _said_already(look, rule, parts, index))


def _said_already(look: Look, rule: Rule, parts: Sequence[Condition], index: int) -> Finding:
    part, kind = parts[index], rule.when.types[0]
    by = [n for n, one in enumerate(parts) if n != index and look.never_true([one, Not(part)], kind)]
    because = "the other conditions say so already"
    if look.never_true([Not(part)], kind):
        because = "it is true of every such event"
    elif by:
        because = f"“{look.words(rule, parts[by[0]])}” says so already"
    sentence = f"“{look.words(rule, part)}” changes nothing: {because}."
    others = tuple(place(rule.only_if, n) for n in by[:1])
    return Finding("changes nothing", (rule.id,), place(rule.only_if, index), sentence, (), others)


def _idle_inside(look: Look, rule: Rule) -> Iterator[Finding]:
    """Parts of nested groups without which the whole condition is true of the same events."""
    for path, part, without, others in _dropped(rule.only_if, "only_if", top=True):
        if not all(look.the_same(rule.only_if, without, kind) for kind in rule.when.types):
            continue
        if look.example(rule, rule.when.types[0]) is None:
            continue
        inside = [one for one, _ in others]
        covers = [words for one, words in others if look.never_true([part, Not(words)], rule.when.types[0])]
        because = "the conditions are true of the same events without it"
        if covers and path.rpartition(".")[2].startswith("any"):
            because = f"whenever it is true, “{look.words(rule, covers[0])}” is true as well"
        sentence = f"“{look.words(rule, part)}” changes nothing: {because}."
        finding = Finding("changes nothing", (rule.id,), path, sentence, (), tuple(inside[:1]))
        found = list(_changing_nothing(look, rule, replace(rule, only_if=without), finding))
        yield from found
        if found:
            return  # with it gone, others may no longer be idle


def _dropped(
    condition: Condition, path: str, top: bool = False
) -> Iterator[tuple[str, Condition, Condition, list[tuple[str, Condition]]]]:
    """Every part of a nested group with others beside it: its place, itself, the condition without it, the others."""
    match condition:
        case Not(part):
            for spot, gone, rest, others in _dropped(part, f"{path}.not"):
                yield spot, gone, Not(rest), others
        case All(parts) | Any_(parts):
            group, name = type(condition), "all" if isinstance(condition, All) else "any"
            spots = [f"{path}.{name}[{index}]" for index in range(len(parts))]
            for index, part in enumerate(parts):
                before, after = parts[:index], parts[index + 1 :]
                if len(parts) > 1 and not (top and group is All):
                    others = [(spots[n], one) for n, one in enumerate(parts) if n != index]
                    yield spots[index], part, group((*before, *after)), others
                for spot, gone, rest, others in _dropped(part, spots[index]):
                    yield spot, gone, group((*before, rest, *after)), others


def _changing_nothing(look: Look, rule: Rule, without: Rule, finding: Finding) -> Iterator[Finding]:
    """Shown on a history at which the rule fires with the part and without it."""
    history = firing(look, rule)
    if history is None:
        look.unshown += 1
        return
    alike = look.trial.fires(rule, history) and look.trial.fires(without, history)
    yield from look.shown(replace(finding, witness=history), alike)


def firing(look: Look, rule: Rule) -> tuple[JSON, ...] | None:
    """A history at which the rule fires, where one can be made."""
    kind = triggers_of(rule.when)[0]
    trigger = look.satisfy(needed_at(rule), kind).event
    first = leading(rule, whole(trigger, kind), look.frame(rule.when.types[0])) if trigger is not None else None
    return None if first is None or trigger is None else in_time([*first, whole(trigger, kind)])


# ---- stops ----------------------------------------------------------------------------------------------------------
def _stops(look: Look, rule: Rule) -> Iterator[Finding]:
    """Stops that Stripe sends only before the trigger, if at all."""
    for index, stop in enumerate(rule.stop_when):
        for event_type in stop.types:
            if all(_too_late(trigger, stop.same, event_type) for trigger in rule.when.types):
                yield from _late_stop(look, rule, index, stop, event_type)


def _late_stop(look: Look, rule: Rule, index: int, stop: Stop, event_type: str) -> Iterator[Finding]:
    history = firing(look, rule)
    if history is None:
        return
    came = {"id": "evt_witness_0", "type": event_type, "created": CREATED - 3600}
    order = (came, *history) if event_type.endswith(".created") else history
    same = stop.same.replace("_", " ")
    sentence = f"This stop can never come: after {look.event(rule.when.types[0])}, it does not happen for the same "\
               f"{same} that {look.event(event_type)} ({event_type})."  # fmt: skip
    finding = Finding("stop never comes", (rule.id,), f"stop_when[{index}].event", sentence, order)
    rows = look.trial.rows([rule], order)
    yield from look.shown(finding, bool(rows) and not any(row["stopped"] for row in rows))


def _too_late(trigger: str, same: str, event_type: str) -> bool:
    if event_type == trigger:
        return False
    if event_type == f"{_CLASS.get(same)}.created":
        return trigger.startswith(f"{_CLASS.get(same)}.")
    return any(event_type.startswith(kind) for kind in _LAST.get((trigger, same), ()))
