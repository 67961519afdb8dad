"""What lint looks with: findings, and the questions that every look asks of rules. Nothing is found here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rules.catalogue import Catalogue
from rules.expr import compile_condition
from rules.matcher import Predicate
from rules.model import JSON, All, Condition, Not, Problem, Rule
from rules.satisfy import Answer, Frame, satisfy
from rules.witness import Trial
from rules.words import Words

Kind = Literal[
    "never fires",
    "changes nothing",
    "collision",
    "shadowed",
    "loop",
    "stop never comes",
    "too late",
    "retried already",
]


@dataclass(frozen=True, slots=True)
class Finding:
    """rules: the ids it is about, the one to change first. path: the place in that rule. others: places in the same
    or the other rule. witness: events, in order, that show it. seen: subjects of the real history of whom it is true,
    {"subject", "customer", "events", "at"}, the latest first; overlap: how many there are."""

    kind: Kind
    rules: tuple[str, ...]
    path: str
    sentence: str
    witness: tuple[JSON, ...]
    others: tuple[str, ...] = ()
    seen: tuple[JSON, ...] = ()
    overlap: int = 0

    def body(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "severity": "advice",
            "rules": list(self.rules),
            "path": self.path,
            "others": list(self.others),
            "sentence": self.sentence,
            "witness": list(self.witness),
            "overlap": self.overlap,
            "seen": list(self.seen),
        }

    def problem(self) -> Problem:
        return Problem(self.path, self.sentence, severity="advice")


@dataclass
class Look:
    """One look at a set of rules. compared: how many pairs of rules were put to the question. unshown: what would have
    been said and no decision bore out, or came after the most that is tried."""

    rules: Iterable[Rule]
    catalogue: Catalogue
    compared: int = 0
    unshown: int = 0
    trial: Trial = field(default_factory=Trial)
    _frames: dict[str, Frame] = field(default_factory=dict)
    _examples: dict[tuple[str, str], JSON | None] = field(default_factory=dict)
    _compiled: dict[int, tuple[Condition, Predicate]] = field(default_factory=dict)

    # ---- conditions -------------------------------------------------------------------------------------------------
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

    def the_same(self, left: Condition, right: Condition, event_type: str) -> bool:
        """Whether no event tells the two conditions apart."""
        return self.never_true([left, Not(right)], event_type) and self.never_true([right, Not(left)], event_type)

    def holds(self, condition: Condition, event: JSON) -> bool:
        if id(condition) not in self._compiled:
            self._compiled[id(condition)] = (
                condition,
                compile_condition(condition),
            )  # kept, so that its id stays its own
        return self._compiled[id(condition)][1](event)

    # ---- words and events -------------------------------------------------------------------------------------------
    def words(self, rule: Rule, condition: Condition) -> str:
        return Words(self.catalogue, rule.when.types).condition(condition)

    def event(self, event_type: str) -> str:
        """What happens, in words."""
        return Words(self.catalogue).event(event_type)

    def shown(self, finding: Finding, holds: bool) -> Iterator[Finding]:
        """The finding, when a decision on its witness bore it out."""
        if holds:
            yield finding
        else:
            self.unshown += 1


def whole(event: JSON, event_type: str, number: int = 1) -> JSON:
    """The event with an id and its type; its conditions do not read them."""
    return {"id": f"evt_witness_{number}", **event, "type": event_type}


def parts_of(condition: Condition) -> tuple[Condition, ...]:
    return condition.parts if isinstance(condition, All) else (condition,)


def place(condition: Condition, index: int) -> str:
    return f"only_if.all[{index}]" if isinstance(condition, All) else "only_if"
