"""Wanted: which facts and scores conditions and texts ask for, and what is left of a condition without them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from rules import paths
from rules.facts import CHARGE, FACTS, INTENT, LINKS, LISTS
from rules.model import TRUE, All, Any_, Approve, Condition, Do, If, Not, Rule, Step, Test, Wait
from rules.texts import condition_paths, holes, walk

Path = tuple[str, ...]
NEVER: Final = Any_(())


# ---- what is asked for ----------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Wanted:
    """paths: of facts and scores. lists: which lists membership is asked of."""

    paths: tuple[Path, ...] = ()
    lists: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.paths)

    def with_(self, other: Wanted) -> Wanted:
        return Wanted(_unique([*self.paths, *other.paths]), _unique([*self.lists, *other.lists]))


def is_known(path: Path) -> bool:
    """Whether the path names what is known beyond the payload."""
    return path[0] in ("fact", "score")


def wanted_by(condition: Condition) -> Wanted:
    """What a condition asks for beyond the event."""
    tests = [test for test in tests_of(condition) if is_known(test.path) or (test.other and is_known(test.other.path))]
    found = [path for test in tests for path in condition_paths(test) if is_known(path)]
    lists = [test.value for test in tests if test.path == LISTS and isinstance(test.value, str)]
    return Wanted(_unique(found), _unique(lists))


def wanted_by_steps(rule: Rule) -> Wanted:
    """What the texts and waits of the rule's steps ask for; their conditions read for themselves, when they are due."""
    found: list[Path] = []
    for step in walk(rule.steps):
        if isinstance(step, Do):
            found += holes(step.params)
        elif isinstance(step, Wait) and step.until and not step.until[:1].isdigit():
            found.append(paths.split(step.until))
    return Wanted(_unique(path for path in found if is_known(path)))


def wanted_by_rule(rule: Rule) -> Wanted:
    """Everything that the rule asks for, at its trigger or later."""
    found = wanted_by(rule.only_if).with_(wanted_by_steps(rule))
    for step in walk(rule.steps):
        if isinstance(step, If | Approve) and step.condition is not None:
            found = found.with_(wanted_by(step.condition))
    return found


def looks_up(step: Step) -> bool:
    """Whether the step's condition asks for what has to be read first."""
    return isinstance(step, If | Approve) and step.condition is not None and bool(wanted_by(step.condition))


def sources_of(wanted: Wanted) -> frozenset[str]:
    """The event types that may be read for it; those of charges and payments because they may say whose it is."""
    types: set[str] = set((*CHARGE, *INTENT) if wanted else ())
    for path in wanted.paths:
        fact = FACTS.get(".".join(path))
        types.update(fact.sources if fact else ())
        types.update(LINKS if path[1:2] == ("payment",) else ())
    return frozenset(types)


def tests_of(condition: Condition) -> Iterator[Test]:
    """Every test of the condition, those on a list's items too."""
    match condition:
        case All(parts) | Any_(parts):
            for part in parts:
                yield from tests_of(part)
        case Not(part):
            yield from tests_of(part)
        case Test():
            yield condition
            if condition.where is not None:
                yield from tests_of(condition.where)


def possible(condition: Condition) -> Condition:
    """The condition with everything that is known beyond the payload left open: false only of an event for which the
    condition is false whatever is known."""
    return _left_open(condition, True) if wanted_by(condition) else condition


def _left_open(condition: Condition, positive: bool) -> Condition:
    match condition:
        case All(parts):
            return _joined([_left_open(part, positive) for part in parts], All, NEVER, TRUE)
        case Any_(parts):
            return _joined([_left_open(part, positive) for part in parts], Any_, TRUE, NEVER)
        case Not(part):
            inner = _left_open(part, not positive)
            return NEVER if inner == TRUE else TRUE if inner == NEVER else Not(inner)
    return (TRUE if positive else NEVER) if wanted_by(condition) else condition


def _joined(parts: list[Condition], group: type[All] | type[Any_], decides: Condition, idle: Condition) -> Condition:
    left = tuple(part for part in parts if part != idle)
    return decides if decides in left else group(left)


def _unique(found: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(found))
