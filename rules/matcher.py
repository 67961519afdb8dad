"""A Matcher says which rules' conditions hold for an event, and which counts reach their bound; nothing else.

What must be counted, when, and what follows from a match is decided elsewhere (rules.window, rules.decide). Here are
the protocol, the plain-Python matcher (the oracle of the property tests) and the choice between it and durable-rules.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import eq, ge, gt, le, lt, ne
from typing import Any, Protocol

from rules.expr import compile_conditions
from rules.model import Condition
from rules.rule import Rule

JSON = Mapping[str, Any]
RuleId = str
Number = int | float
Predicate = Callable[[JSON], bool]
Report = Callable[[str], object]
_log = logging.getLogger("signalbox")

OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "greater or equal to": ge,
    "greater than": gt,
    "less or equal to": le,
    "less than": lt,
    "equal to": eq,
    "not equal to": ne,
}


@dataclass(frozen=True, slots=True)
class Bound:
    """What a rule's number must satisfy before it matches, such as "at least 2". slot: the rule's id."""

    slot: RuleId
    operator: str
    value: Number

    def reached(self, number: Number) -> bool:
        return OPERATORS[self.operator](number, self.value)


class Program(Protocol):
    """A compiled rule set. Thread-safe; no I/O, no actions."""

    revision: str  # of the rule set and the engine; stored on every trace

    def candidates(self, event_type: str, doc: JSON) -> frozenset[RuleId]:
        """Rules that count events of this type and whose `only_if` holds for this envelope."""
        ...

    def reached(self, slots: Mapping[RuleId, Number]) -> frozenset[RuleId]:
        """Of the rules that need a number, those whose number (a slot named by the rule's id) reaches its bound."""
        ...

    def match(self, event_type: str, doc: JSON, slots: Mapping[RuleId, Number]) -> frozenset[RuleId]:
        """Candidates that need no number, or whose number reaches its bound."""
        ...

    def needs(self, event_type: str) -> Sequence[Bound]:
        """The numbers that must be counted before `match`."""
        ...

    def close(self) -> None:
        """Free what the program holds. A late caller still gets right answers."""
        ...


class Matcher(Protocol):
    name: str  # durable | python

    def compile(self, rules: Sequence[Rule], before: Program | None = None) -> Program:
        """before: the program that this one replaces; what has not changed is taken over from it, so that a change
        of one rule compiles the rules of its event types only. Each of the two is closed by itself."""
        ...


def bound(rule: Rule) -> Bound | None:
    """The number that this rule needs: a window's count, an aggregate, how many came before; None for "each time"."""
    when = rule.when
    if when.aggregate:
        return Bound(rule.id, when.aggregate.operator, when.aggregate.value)
    if when.then:
        return Bound(rule.id, "greater or equal to", 1)
    if when.first:
        return Bound(rule.id, "less or equal to", 0)
    if when.at_least is not None:
        return Bound(rule.id, "greater or equal to", when.at_least)
    return None


def revision(digests: Mapping[RuleId, bytes], engine: str) -> str:
    """The hash of what the rules say, and the engine that reads them."""
    digest = hashlib.sha256(engine.encode())
    for id in sorted(digests):
        digest.update(digests[id])
    return f"{engine}:{digest.hexdigest()[:16]}"


def _digest(rule: Rule) -> bytes:
    text = json.dumps([rule.id, dict(rule.document)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).digest()


class PythonProgram:
    """The conditions of all rules of an event type compiled to one function, which reads each field once."""

    def __init__(self, rules: Sequence[Rule], engine: str = "python", before: PythonProgram | None = None) -> None:
        known = before._rules if before else {}
        self._rules: dict[RuleId, Rule] = {rule.id: rule for rule in rules}
        self._digests: dict[RuleId, bytes] = {
            id: before._digests[id] if before and known.get(id) is rule else _digest(rule)
            for id, rule in self._rules.items()
        }
        self.revision = revision(self._digests, engine)
        self._bounds = {rule.id: needed for rule in rules if (needed := bound(rule))}
        self._by_type: dict[str, dict[RuleId, Condition]] = {}
        for rule in rules:
            for event_type in rule.when.types:
                self._by_type.setdefault(event_type, {})[rule.id] = rule.only_if
        self._holding: dict[str, Callable[[JSON], set[RuleId]]] = {  # compiled with the first event of the type
            event_type: check
            for event_type, check in (dict(before._holding) if before else {}).items()
            if before and before._by_type[event_type] == self._by_type.get(event_type)
        }

    def candidates(self, event_type: str, doc: JSON) -> frozenset[RuleId]:
        if event_type not in self._by_type:
            return frozenset()
        if event_type not in self._holding:
            self._holding[event_type] = compile_conditions(self._by_type[event_type])
        return frozenset(self._holding[event_type](doc))

    def reached(self, slots: Mapping[RuleId, Number]) -> frozenset[RuleId]:
        bounds = self._bounds
        return frozenset([id for id, number in slots.items() if id in bounds and bounds[id].reached(number)])

    def match(self, event_type: str, doc: JSON, slots: Mapping[RuleId, Number]) -> frozenset[RuleId]:
        return combined(self, self._bounds, event_type, doc, slots)

    def needs(self, event_type: str) -> Sequence[Bound]:
        return [self._bounds[id] for id in self._by_type.get(event_type, ()) if id in self._bounds]

    def close(self) -> None:
        """Nothing is held."""


def combined(
    program: Program, bounds: Mapping[RuleId, Bound], event_type: str, doc: JSON, slots: Mapping[RuleId, Number]
) -> frozenset[RuleId]:
    """`match` put together from `candidates` and `reached`."""
    found = program.candidates(event_type, doc)
    needed = found & bounds.keys()
    return (found - needed) | program.reached({id: slots[id] for id in needed & slots.keys()})


class PythonMatcher:
    name = "python"

    def compile(self, rules: Sequence[Rule], before: Program | None = None) -> PythonProgram:
        return PythonProgram(rules, before=before if isinstance(before, PythonProgram) else None)


def choose_matcher(setting: str = "auto", report: Report = _log.warning) -> Matcher:
    """The matcher of this setting: `durable`, `python`, or `auto` (durable-rules where its extension can be loaded).
    Says in one line when `auto` falls back; raises ValueError for another word, ImportError for an explicit `durable`
    that cannot be had."""
    if setting == "python":
        return PythonMatcher()
    if setting not in ("auto", "durable"):
        raise ValueError(f"matcher is auto, durable or python, not {setting!r}")
    try:
        from rules.rete import DurableMatcher

        return DurableMatcher()
    except ImportError as error:
        if setting == "durable":
            raise
        report(f"durable-rules cannot be loaded here ({error}); rules are matched by the plain-Python matcher")
        return PythonMatcher()
