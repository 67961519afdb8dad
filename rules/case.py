"""A Case is what an explanation is about: one version of a rule, what is recorded of its subjects, and what it did."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from rules.event import Event
from rules.expr import compile_condition
from rules.knowing import Known, about_event, read, settled
from rules.matcher import bound
from rules.memory import Members, Memory, Question, ScoreOf, Window
from rules.model import JSON, Rule, RuleVersion, When
from rules.ruleset import subject_of
from rules.run import Run
from rules.subjects import PREFIX
from rules.wanted import possible, wanted_by
from rules.window import Ledger, Number


class Case:
    """events: by time. runs: the rule's own. lists: suppression lists. now: whether a deadline is over; None = it is.

    Conditions are looked at once an event, and windows built once a subject, however many questions are asked.
    """

    def __init__(
        self,
        version: RuleVersion,
        events: tuple[Event, ...],
        runs: tuple[Run, ...] = (),
        lists: Mapping[str, frozenset[str]] | None = None,
        now: datetime | None = None,
        scores: Mapping[tuple[str, str], JSON] | None = None,
        passing: dict[str, bool] | None = None,
    ) -> None:
        self.version = version
        self.events = events
        self.runs = runs
        self.lists = lists or {}
        self.now = now
        self.scores = scores or {}
        self.by_trigger = {run.trigger: run for run in runs}
        self._bound = bound(version.rule)
        self._asks = wanted_by(version.rule.only_if)
        self._holds = compile_condition(possible(version.rule.only_if))
        self._passing = {} if passing is None else passing
        self._ledgers: dict[str, Ledger] = {}
        self._triggers: dict[str, frozenset[str]] = {}
        self._by_id: dict[str, Event] = {}

    @property
    def rule(self) -> Rule:
        return self.version.rule

    def edited(self, rule: Rule) -> Case:
        """The same question of another rule; what its conditions have said already stays said where they are alike."""
        alike = rule.only_if == self.rule.only_if
        version = replace(self.version, rule=rule)
        case = Case(
            version, self.events, self.runs, self.lists, self.now, self.scores, self._passing if alike else None
        )
        if alike and _counted(rule.when) == _counted(self.rule.when):
            case._ledgers = {key: ledger.under(rule.when) for key, ledger in self._ledgers.items()}
            case._triggers = self._triggers
        return case

    # ---- events -----------------------------------------------------------------------------------------------------
    def event(self, id: str) -> Event | None:
        if not self._by_id:
            self._by_id = {one.id: one for one in self.events}
        return self._by_id.get(id)

    def about(self, subject: str) -> list[Event]:
        """The events that carry a subject, given as a key (`sub:sub_1`) or a bare id."""
        named = {subject, *(f"{prefix}:{subject}" for prefix in PREFIX.values())}
        return [one for one in self.events if not named.isdisjoint(one.keys)]

    def passes(self, event: Event) -> bool:
        """Whether the conditions hold of the event alone; what is known beyond it is judged at the trigger."""
        found = self._passing.get(event.id)
        if found is None:
            found = self._passing[event.id] = self._holds(event.data)
        return found

    # ---- windows ----------------------------------------------------------------------------------------------------
    def ledger(self, key: str) -> Ledger:
        if key not in self._ledgers:
            same, tenant = self.rule.when.same, self.version.tenant
            mine = [one for one in self.events if key in one.keys or subject_of(one, same) == key]
            self._ledgers[key] = Ledger(self.rule.when, [one for one in mine if one.tenant == tenant], self.passes)
        return self._ledgers[key]

    def is_trigger(self, key: str, event: Event) -> bool:
        if key not in self._triggers:
            self._triggers[key] = frozenset(one.id for one in self.ledger(key).triggers(0, 1 << 62))
        return event.id in self._triggers[key]

    def reached(self, number: Number | None) -> bool:
        """Whether the number that stands at a trigger makes it a match."""
        if self.rule.when.and_not:
            return number == 0
        return self._bound is None or (number is not None and self._bound.reached(number))

    # ---- what is known beyond the payload ---------------------------------------------------------------------------
    def known(self, event: Event, heard: datetime | None = None) -> Known | None:
        """The facts and scores that the conditions ask for, as of the event; None when they ask for none."""
        if not self._asks or event.source == "import":
            return None
        about = about_event(event, heard=heard or event.recorded)
        return settled(lambda memory: read(self._asks, about, memory), self._answer)

    def doc(self, event: Event, heard: datetime | None = None) -> JSON:
        """What the conditions read."""
        known = self.known(event, heard)
        return known.beside(event.data) if known else event.data

    def _answer(self, question: Question) -> Any:
        match question:
            case Window(key, types, since, until):
                mine = (one for one in self.events if one.tenant == self.version.tenant)
                return [one for one in mine if key in one.keys and one.type in types and since <= one.created <= until]
            case Members(name):
                return self.lists.get(name, frozenset())
            case ScoreOf(name, subject):
                return self.scores.get((name, subject))
        return None

    # ---- what was remembered ----------------------------------------------------------------------------------------
    def memory(self) -> Memory:
        """Lists that are not there suppress nobody."""
        absent: dict[str, frozenset[str]] = {name: frozenset() for name in self.rule.lists}
        return Memory(lists={**absent, **self.lists})


def _counted(when: When) -> When:
    """What says which events count and which trigger, without the spans and bounds that are asked of them."""
    then, and_not = (span and replace(span, within=0) for span in (when.then, when.and_not))
    aggregate = when.aggregate and replace(when.aggregate, operator="", value=0)
    return replace(when, at_least=when.at_least and 1, within=0, aggregate=aggregate, then=then, and_not=and_not)


def in_order(events: Iterable[Event]) -> tuple[Event, ...]:
    """By time, then id."""
    return tuple(sorted(events, key=lambda one: (one.created, one.id)))
