"""Lint: what is odd about the rules in force together, each finding with a witness that was really evaluated.

A finding is a sentence, the places it is about, and events that show it. What cannot be shown is not said: every event
here is made by rules.satisfy and then put to the compiled condition, or to the rule's own window. Rules are compared
only where they share an event type and their actions are opposite; `compared` counts those pairs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import combinations
from typing import Any, Literal

from rules import paths
from rules.catalogue import Catalogue
from rules.effects import Clash, acts, alike, causes, clashes
from rules.event import Event
from rules.expr import compile_condition
from rules.matcher import Predicate, bound
from rules.model import JSON, All, Condition, Not, Problem, Rule, Stop, Test
from rules.satisfy import CREATED, Answer, Frame, apart, ranges, satisfy
from rules.window import Ledger
from rules.words import Words, span_text

Kind = Literal["never fires", "changes nothing", "collision", "shadowed", "loop", "stop never comes"]
MOST_PAIRS = 20_000  # that are compared in one go
_LAST = {  # events after which nothing more of these kinds comes for the same subject
    ("customer.subscription.deleted", "subscription"): ("customer.subscription.",),
    ("invoice.voided", "invoice"): ("invoice.paid", "invoice.payment_", "invoice.marked_uncollectible"),
    ("invoice.paid", "invoice"): ("invoice.voided", "invoice.marked_uncollectible", "invoice.payment_failed"),
    ("customer.deleted", "customer"): ("customer.updated", "customer.created"),
}
_CLASS = {"subscription": "customer.subscription", "customer": "customer", "invoice": "invoice",
          "charge": "charge", "payment_intent": "payment_intent"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finding:
    """rules: the ids it is about, the one to change first. path: the place in that rule. others: places in the same
    or the other rule. witness: the events, in order, that show it."""

    kind: Kind
    rules: tuple[str, ...]
    path: str
    sentence: str
    witness: tuple[JSON, ...]
    others: tuple[str, ...] = ()

    def body(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "severity": "advice",
            "rules": list(self.rules),
            "path": self.path,
            "others": list(self.others),
            "sentence": self.sentence,
            "witness": list(self.witness),
        }

    def problem(self) -> Problem:
        return Problem(self.path, self.sentence, severity="advice")


def lint(rules: Iterable[Rule], catalogue: Catalogue, about: str | None = None) -> list[Finding]:
    """Everything to say about these rules; with `about`, only what concerns the rule of that id."""
    return Lint(rules, catalogue).findings(about)


@dataclass
class Lint:
    """One look at a set of rules. compared: how many pairs of rules were put to the question."""

    rules: Iterable[Rule]
    catalogue: Catalogue
    compared: int = 0
    _frames: dict[str, Frame] = field(default_factory=dict)
    _examples: dict[tuple[str, str], JSON | None] = field(default_factory=dict)
    _compiled: dict[int, tuple[Condition, Predicate]] = field(default_factory=dict)

    def findings(self, about: str | None = None) -> list[Finding]:
        rules = sorted(self.rules, key=lambda rule: rule.id)
        alone = [rule for rule in rules if about in (None, rule.id)]
        found = [finding for rule in alone for finding in self.alone(rule)]
        odd = {finding.rules[0] for finding in found if finding.kind == "never fires"}
        sound = [rule for rule in rules if rule.id not in odd]
        return [*found, *self.pairs(sound, about), *self.loops(sound, about)]

    def alone(self, rule: Rule) -> Iterator[Finding]:
        never = next(self.never(rule), None)
        yield from [never] if never else self.idle(rule)
        yield from self.stops(rule)

    # ---- one rule ---------------------------------------------------------------------------------------------------
    def never(self, rule: Rule) -> Iterator[Finding]:
        answers = [self.satisfy(rule.only_if, event_type) for event_type in rule.when.types]
        if answers and all(answer.impossible for answer in answers):
            yield from self.contradiction(rule)
            return
        made = next(((kind, one.event) for kind, one in zip(rule.when.types, answers, strict=True) if one.event), None)
        if made:
            yield from self.window(rule, self.whole(made[1], made[0]))
            yield from self.aggregate(rule, self.whole(made[1], made[0]))

    def contradiction(self, rule: Rule) -> Iterator[Finding]:
        """The first part that rules out what stands before it, and the fewest of those that it rules out."""
        parts, kind = _parts(rule.only_if), rule.when.types[0]
        count = next(n for n in range(1, len(parts) + 1) if self.never_true(parts[:n], kind))
        last, before = parts[count - 1], list(range(count - 1))
        for index in list(before):
            rest = [parts[one] for one in before if one != index]
            if self.never_true([*rest, last], kind):
                before.remove(index)
        kept = [parts[index] for index in before]
        event = self.satisfy(All(tuple(kept)), kind).event
        if event is None or self.holds(last, event):
            return
        place = [_place(rule.only_if, index) for index in (*before, count - 1)]
        words = [f"“{self.words(rule, part)}”" for part in (*kept, last)]
        sentence = f"It can never fire: {' and '.join(words)} are never true of one event."
        if not kept:
            sentence = f"It can never fire: {words[0]} is never true of such an event."
        yield Finding("never fires", (rule.id,), place[-1], sentence, (self.whole(event, kind),), tuple(place[:-1]))

    def window(self, rule: Rule, event: JSON) -> Iterator[Finding]:
        """A count that no events reach, shown on as many as it asks for, one second apart."""
        when = rule.when
        resets = sorted(set(when.types) & set(when.start_again_after))
        one_value = when.counting != "events" and _is_fixed(rule.only_if, paths.split(when.counting))
        if not when.at_least or not (len(resets) == len(set(when.types)) or one_value):
            return
        history = tuple(self.copies(event, min(when.at_least, 100)))
        if self.reached(rule, history):
            return
        sentence = f"It can never fire: {event['type']} starts the count again, so it never gets to {when.at_least}."
        path = "when.start_again_after"
        if one_value:
            path = "when.counting"
            sentence = f"It can never fire: only one value of {when.counting} passes the conditions, so no "\
                       f"{when.at_least} different ones are ever counted."  # fmt: skip
        yield Finding("never fires", (rule.id,), path, sentence, history, ("when.at_least",))

    def aggregate(self, rule: Rule, event: JSON) -> Iterator[Finding]:
        """A bound that no single counted value reaches, where reaching it takes one."""
        wanted = rule.when.aggregate
        if wanted is None or not _needs_one(wanted.of, wanted.operator):
            return
        test = Test(wanted.field, wanted.path, wanted.operator, wanted.value)
        answers = [self.satisfy(All((rule.only_if, test)), kind) for kind in rule.when.types]
        if not all(answer.impossible for answer in answers) or self.reached(rule, (event,)):
            return
        sentence = f"It can never fire: no event that passes the conditions has {wanted.field} {wanted.operator} "\
                   f"{wanted.value}, so its {wanted.of} never has."  # fmt: skip
        yield Finding("never fires", (rule.id,), "when.aggregate.value", sentence, (event,), ("only_if",))

    def reached(self, rule: Rule, history: Sequence[JSON]) -> bool:
        """Whether the last of these events is a match, as the rule's own window counts."""
        events = [_event(one) for one in history]
        holds = compile_condition(rule.only_if)
        ledger = Ledger(rule.when, events, lambda event: holds(event.data))
        number, needed = ledger.number(events[-1]), bound(rule)
        return number is not None and needed is not None and needed.reached(number)

    def idle(self, rule: Rule) -> Iterator[Finding]:
        """Parts that are true whenever the others are; of two that say the same, the later one."""
        parts, kept = _parts(rule.only_if), dict(enumerate(_parts(rule.only_if)))
        for index in reversed(range(len(parts))):
            rest = [part for place, part in kept.items() if place != index]
            if not all(self.never_true([*rest, Not(parts[index])], kind) for kind in rule.when.types):
                continue
            event = self.example(rule, rule.when.types[0])
            if event is not None:
                del kept[index]
                yield self.said_already(rule, parts, index, event)

    def said_already(self, rule: Rule, parts: Sequence[Condition], index: int, event: JSON) -> Finding:
        part, kind = parts[index], rule.when.types[0]
        by = [n for n, one in enumerate(parts) if n != index and self.never_true([one, Not(part)], kind)]
        because = "the other conditions say so already"
        if self.never_true([Not(part)], kind):
            because = "it is true of every such event"
        elif by:
            because = f"“{self.words(rule, parts[by[0]])}” says so already"
        sentence = f"“{self.words(rule, part)}” changes nothing: {because}."
        others = tuple(_place(rule.only_if, n) for n in by[:1])
        witness = (self.whole(event, kind),)
        return Finding("changes nothing", (rule.id,), _place(rule.only_if, index), sentence, witness, others)

    def stops(self, rule: Rule) -> Iterator[Finding]:
        """Stops that Stripe sends only before the trigger, if at all."""
        for index, stop in enumerate(rule.stop_when):
            for event_type in stop.types:
                if not all(_too_late(trigger, stop.same, event_type) for trigger in rule.when.types):
                    continue
                event = self.example(rule, rule.when.types[0])
                if event is not None:
                    yield self.late_stop(rule, index, stop, event_type, event)

    def late_stop(self, rule: Rule, index: int, stop: Stop, event_type: str, event: JSON) -> Finding:
        trigger = self.whole(event, rule.when.types[0])
        came = self.whole({"created": CREATED - 60}, event_type)
        order = (came, trigger) if event_type.endswith(".created") else (trigger,)
        sentence = f"This stop can never come: after {rule.when.types[0]} Stripe sends no {event_type} for the same "\
                   f"{stop.same}."  # fmt: skip
        return Finding("stop never comes", (rule.id,), f"stop_when[{index}].event", sentence, order)

    # ---- two rules --------------------------------------------------------------------------------------------------
    def pairs(self, rules: Sequence[Rule], about: str | None) -> Iterator[Finding]:
        acting = {rule.id: acts(rule) for rule in rules}
        known = {rule.id: ranges(rule.only_if) for rule in rules}
        for left, right, event_type in _sharing(rules, about):
            if _exclusive(left, right) or apart(known[left.id], known[right.id]):
                continue
            found = (self.collision(left, right, event_type, one) for one in clashes(acting[left.id], acting[right.id]))
            first = next((finding for finding in found if finding), None)
            if first is None and alike(left, right):
                first = self.shadow(left, right, event_type)
            if first:
                yield first

    def collision(self, left: Rule, right: Rule, event_type: str, clash: Clash) -> Finding | None:
        if self.compared >= MOST_PAIRS:
            return None
        self.compared += 1
        mine, theirs, one, other = clash
        conditions = [left.only_if, mine.reached, right.only_if, theirs.reached]
        event = self.satisfy(All(tuple(conditions)), event_type).event
        if event is None or not all(self.holds(condition, event) for condition in conditions):
            return None
        sentence = f"It collides with “{right.name}”: on the same {one.topic.split()[0]}, this rule {one.words} and "\
                   f"that one {other.words}."  # fmt: skip
        needed = max(left.when.at_least or 1, right.when.at_least or 1)
        witness = tuple(self.copies(self.whole(event, event_type), min(needed, 100)))
        return Finding("collision", (left.id, right.id), mine.path, sentence, witness, (theirs.path,))

    def shadow(self, left: Rule, right: Rule, event_type: str) -> Finding | None:
        """The narrower of two rules that do the same: whatever starts it starts the other as well."""
        for inner, outer in ((left, right), (right, left)):
            event = self.example(inner, event_type)
            if event is None or not self.holds(outer.only_if, event):
                continue
            self.compared += 1
            if self.never_true([inner.only_if, Not(outer.only_if)], event_type):
                sentence = f"Whatever starts this rule starts “{outer.name}” too, and both do the same: it is done "\
                           "twice."  # fmt: skip
                witness = (self.whole(event, event_type),)
                return Finding("shadowed", (inner.id, outer.id), "when", sentence, witness, ("when",))
        return None

    def loops(self, rules: Sequence[Rule], about: str | None) -> Iterator[Finding]:
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
                    self.compared += 1
                    yield from self.loop(left, right, there, back, caused[left.id][there].path)

    def loop(self, left: Rule, right: Rule, there: str, back: str, path: str) -> Iterator[Finding]:
        first, second = self.satisfy(left.only_if, back).event, self.satisfy(right.only_if, there).event
        if first is None or second is None:
            return
        pause = left.again.after
        slow = f" It goes round at most once in {span_text(pause)}." if pause else ""
        what = f"what “{right.name}” does causes {back}, which starts this rule again"
        sentence = f"A loop: this rule's action causes {there}, which starts “{right.name}”; {what}.{slow}"
        if left is right:
            sentence = f"A loop: this rule's own action causes {back}, which starts it again.{slow}"
        ids = (left.id,) if left is right else (left.id, right.id)
        yield Finding("loop", ids, path, sentence, (self.whole(first, back), self.whole(second, there)))

    # ---- asking -----------------------------------------------------------------------------------------------------
    def frame(self, event_type: str) -> Frame:
        if event_type not in self._frames:
            found = self.catalogue.event_type(event_type)
            single = found.object if found and len(found.objects) == 1 else ""
            self._frames[event_type] = Frame.of(event_type, single)
        return self._frames[event_type]

    def satisfy(self, condition: Condition, event_type: str) -> Answer:
        return satisfy(condition, self.frame(event_type))

    def example(self, rule: Rule, event_type: str) -> JSON | None:
        """An event that passes the rule's conditions; made once."""
        key = rule.id, event_type
        if key not in self._examples:
            self._examples[key] = self.satisfy(rule.only_if, event_type).event
        return self._examples[key]

    def never_true(self, parts: Sequence[Condition], event_type: str) -> bool:
        return self.satisfy(All(tuple(parts)), event_type).impossible

    def holds(self, condition: Condition, event: JSON) -> bool:
        if id(condition) not in self._compiled:
            self._compiled[id(condition)] = (
                condition,
                compile_condition(condition),
            )  # kept, so that its id stays its own
        return self._compiled[id(condition)][1](event)

    def words(self, rule: Rule, condition: Condition) -> str:
        return Words(self.catalogue, rule.when.types).condition(condition)

    def whole(self, event: JSON, event_type: str) -> JSON:
        """The event with an id and its type; its conditions do not read them."""
        return {"id": "evt_witness_1", **event, "type": event_type}

    def copies(self, event: JSON, count: int) -> Iterator[JSON]:
        for number in range(count):
            yield {**event, "id": f"evt_witness_{number + 1}"}


# ---- reading rules --------------------------------------------------------------------------------------------------
def _parts(condition: Condition) -> tuple[Condition, ...]:
    return condition.parts if isinstance(condition, All) else (condition,)


def _place(condition: Condition, index: int) -> str:
    return f"only_if.all[{index}]" if isinstance(condition, All) else "only_if"


def _is_fixed(condition: Condition, path: tuple[str, ...]) -> bool:
    """Whether a top-level part allows one value at this path only."""
    return any(
        isinstance(part, Test) and part.path == path and part.operator == "equal to" and part.other is None
        for part in _parts(condition)
    )


def _needs_one(of: str, operator: str) -> bool:
    """Whether reaching the bound takes one value that reaches it by itself."""
    return (of == "max" and operator.startswith("greater")) or (of == "min" and operator.startswith("less")) or (
        of == "average" and operator.startswith(("greater", "less"))
    )  # fmt: skip


def _too_late(trigger: str, same: str, event_type: str) -> bool:
    if event_type == trigger:
        return False
    if event_type == f"{_CLASS.get(same)}.created":
        return trigger.startswith(f"{_CLASS.get(same)}.")
    return any(event_type.startswith(kind) for kind in _LAST.get((trigger, same), ()))


def _sharing(rules: Sequence[Rule], about: str | None) -> Iterator[tuple[Rule, Rule, str]]:
    """Pairs of rules with one event type that starts both, the rule in question first."""
    by_type: dict[str, list[Rule]] = {}
    for rule in rules:
        for event_type in dict.fromkeys(rule.when.types):
            if not rule.when.then and not rule.when.and_not and not rule.when.aggregate:
                by_type.setdefault(event_type, []).append(rule)
    seen: set[tuple[str, str]] = set()
    for event_type, found in by_type.items():
        for left, right in combinations(found, 2):
            if (left.id, right.id) not in seen and about in (None, left.id, right.id):
                seen.add((left.id, right.id))
                yield (right, left, event_type) if right.id == about else (left, right, event_type)


def _exclusive(left: Rule, right: Rule) -> bool:
    """Whether one starts on the first event ever and the other not before the second."""
    return any(a.when.first and (b.when.at_least or 1) > 1 for a, b in ((left, right), (right, left)))


def _event(body: Mapping[str, Any]) -> Event:
    """The witness as an event of one subject; copies are told apart by their ids, a second from one another."""
    number = int(body["id"].rpartition("_")[2])
    moment = datetime.fromtimestamp(CREATED, UTC)
    return Event(body["id"], body["type"], "lint", CREATED + number, moment, body, "", "cus:witness", ("cus:witness",))
