"""A RuleSet is what is in force for one tenant, compiled: who listens to which event type, and where memory is kept.

Memory lives in one document per customer. What crosses customers (cards, accounts, declared paths) and what Stripe
sends without a customer (disputes, refunds, ...) has a document of its own key, so that two events that belong together
always meet in one document and its version (promise P3).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from rules.event import Event
from rules.expr import compile_condition
from rules.fields import Catalogue
from rules.matcher import Matcher, Predicate, Program
from rules.model import All, Condition, Rule, RuleVersion, Stop, Wait
from rules.route import ByType
from rules.subjects import PREFIX, key_for
from rules.texts import walk
from rules.wanted import Wanted, possible, wanted_by, wanted_by_steps
from rules.window import answers_alone, span_of, takes_part
from rules.words import Words

# objects of these events carry no `customer` (the SDK's types), though what they belong to has one
_CUSTOMERLESS = (
    "charge.dispute.",
    "charge.refund.",
    "invoice_payment.",
    "payout.",
    "price.",
    "product.",
    "radar.",
    "refund.",
    "review.",
)
T = TypeVar("T")
_SHARED: WeakValueDictionary[str, Part] = WeakValueDictionary()  # as long as a rule set holds them
_ALONE = frozenset({"card", "account"})
Home = tuple[str, bool]  # `same`, and whether its memory stands alone


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Part:
    """One top-level part of an `only_if`, to say which one failed. Rules that say the same share one, so that it is
    judged once for an event. said: its words by event type and currency."""

    condition: Condition
    holds: Predicate
    said: dict[tuple[str, str | None], str] = field(default_factory=dict)

    def text(self, event_type: str, currency: str | None) -> str:
        key = event_type, currency
        if key not in self.said:
            self.said[key] = Words(Catalogue.load(), (event_type,), currency).condition(self.condition)
        return self.said[key]


@dataclass(frozen=True, slots=True)
class Listening:
    """What a rule listens to. types: whatever can change its matches, and span: how many seconds around an event
    (rules.window). home: where its own memory is kept. stops: its stops, waits and undo, with where theirs is.
    wait_types: the types its waits end with. undo: what undoes its runs, matched as a stop is."""

    types: frozenset[str]
    span: int | None
    home: Home
    stops: tuple[tuple[Stop, Home], ...]
    waits: tuple[Stop, ...]
    wait_types: frozenset[str]
    undo: tuple[Stop, ...] = ()


@dataclass(frozen=True, slots=True)
class Asks:
    """What a rule asks for beyond the payload at its trigger, for its conditions and for its texts. holds: its
    conditions, of an envelope with what is known beside it."""

    conditions: Wanted
    texts: Wanted
    holds: Predicate


@dataclass(frozen=True, slots=True)
class RuleSet:
    """by_type: versions whose matches an event of the type can change. homes: by type, where memory is kept for it;
    stop_homes: the same for stops and waits alone. parts, conditions, listening: by rule id; parts and conditions are
    judged on the event alone, with what is known beyond it left open. asks: of the rules that ask for that."""

    tenant: str
    versions: tuple[RuleVersion, ...]
    program: Program
    revision: str
    by_type: Mapping[str, tuple[RuleVersion, ...]]
    homes: Mapping[str, tuple[Home, ...]]
    stop_homes: Mapping[str, tuple[Home, ...]]
    parts: Mapping[str, tuple[Part, ...]]
    conditions: Mapping[str, Predicate]
    listening: Mapping[str, Listening]
    paths: tuple[str, ...]  # declared paths that windows are keyed by
    asks: Mapping[str, Asks] = field(default_factory=dict)
    routes: ByType = field(default_factory=dict)  # what is forwarded as it is, by event type
    beside: Mapping[str, frozenset[str]] = field(default_factory=dict)  # rules that a type may change without `only_if`
    # what traces say of rules whose condition fails, by rule, part, event type and currency (rules.deciding)
    missed: dict[tuple[str, int, str, str | None], Mapping[str, Any]] = field(default_factory=dict)

    def likely(self, event_type: str, candidates: frozenset[str]) -> list[RuleVersion]:
        """The versions whose matches an event of this type, with these candidates, may change; in their order."""
        wanted = candidates | self.beside.get(event_type, frozenset())
        return [version for version in self.by_type.get(event_type, ()) if version.rule.id in wanted] if wanted else []

    def close(self) -> None:
        self.program.close()


def build(
    tenant: str,
    versions: Sequence[RuleVersion],
    matcher: Matcher,
    declared: Iterable[str] = (),
    before: RuleSet | None = None,
) -> RuleSet:
    """Compile the versions in force; highest priority first, then by id, which is the order of traces and runs.
    declared: paths that events are keyed by, whether a rule counts by them already or not. before: the rule set that
    this one replaces, whose unchanged parts are taken over; it is closed by whoever holds it, afterwards."""
    ordered = tuple(sorted(versions, key=lambda version: (-version.rule.priority, version.rule.id)))
    own = [_by_itself(version.rule) for version in ordered]
    program = matcher.compile(own, before.program if before else None)
    was = {version.rule.id: version.rule for version in before.versions} if before else {}
    fresh = [version.rule for version in ordered if before is None or was.get(version.rule.id) is not version.rule]
    kept = {version.rule.id for version in ordered} - {rule.id for rule in fresh}
    by_type: dict[str, list[RuleVersion]] = {}
    homes: dict[str, dict[Home, None]] = {}
    stop_homes: dict[str, dict[Home, None]] = {}
    beside: dict[str, set[str]] = {}
    listening = _kept(before.listening if before else {}, kept) | {rule.id: listens(rule) for rule in fresh}
    for version in ordered:
        for event_type in sorted(takes_part(version.rule.when)):
            by_type.setdefault(event_type, []).append(version)
            homes.setdefault(event_type, {})[listening[version.rule.id].home] = None
            if version.rule.when.first or event_type in answers_alone(version.rule.when):
                beside.setdefault(event_type, set()).add(version.rule.id)
        for stop, home in listening[version.rule.id].stops:
            for event_type in stop.types:
                homes.setdefault(event_type, {})[home] = None
                stop_homes.setdefault(event_type, {})[home] = None
    return RuleSet(
        tenant=tenant,
        versions=ordered,
        program=program,
        revision=program.revision,
        by_type={event_type: tuple(found) for event_type, found in by_type.items()},
        beside={event_type: frozenset(found) for event_type, found in beside.items()},
        homes={event_type: tuple(found) for event_type, found in homes.items()},
        stop_homes={event_type: tuple(found) for event_type, found in stop_homes.items()},
        parts=_kept(before.parts if before else {}, kept) | {rule.id: _parts(rule) for rule in fresh},
        conditions=_kept(before.conditions if before else {}, kept)
        | {rule.id: compile_condition(possible(rule.only_if)) for rule in fresh},
        listening=listening,
        paths=tuple(sorted({*declared, *_paths(ordered, listening)})),
        asks=_kept(before.asks if before else {}, kept) | {rule.id: asks for rule in fresh if (asks := asks_of(rule))},
    )


def _kept(table: Mapping[str, T], ids: Set[str]) -> dict[str, T]:
    return {id: value for id, value in table.items() if id in ids}


def asks_of(rule: Rule) -> Asks | None:
    """What the rule asks for beyond the payload at its trigger; None of most rules."""
    conditions, texts = wanted_by(rule.only_if), wanted_by_steps(rule)
    return Asks(conditions, texts, compile_condition(rule.only_if)) if conditions or texts else None


def _by_itself(rule: Rule) -> Rule:
    """The rule as a matcher sees it: what the event alone cannot tell is left open, and judged afterwards."""
    left = possible(rule.only_if)
    return rule if left is rule.only_if else replace(rule, only_if=left)


def _paths(versions: Iterable[RuleVersion], listening: Mapping[str, Listening]) -> Iterator[str]:
    """The declared paths that rules name as subjects."""
    for version in versions:
        named = [version.rule.when.same, *(stop.same for stop, _ in listening[version.rule.id].stops)]
        yield from (same for same in named if same and same not in PREFIX)


def subject_of(event: Event, same: str | None) -> str | None:
    """The key that keeps matches apart; a rule that names no subject means each customer, where there is one."""
    return key_for(event, same) if same else event.partition


def listens(rule: Rule) -> Listening:
    """Everything the rule listens to, and where the memory of each is kept."""
    triggers = takes_part(rule.when)
    waits = tuple(stop for step in walk(rule.steps) if isinstance(step, Wait) for stop in step.for_event)
    undo = (Stop(rule.undo.on, rule.undo.same),) if rule.undo else ()
    return Listening(
        types=triggers,
        span=span_of(rule.when),
        home=home_of(Stop(tuple(sorted(triggers)), rule.when.same or ""), triggers),
        stops=tuple((stop, home_of(stop, triggers)) for stop in (*rule.stop_when, *waits, *undo)),
        waits=waits,
        wait_types=frozenset(event_type for stop in waits for event_type in stop.types),
        undo=undo,
    )


def home_of(stop: Stop, triggers: Iterable[str]) -> Home:
    """Which document keeps what a stop, a wait or a rule itself remembers: the customer's, or one of the key's own
    where its events cross customers or carry none."""
    if stop.same in ("", "customer"):
        return stop.same, False
    alone = stop.same in _ALONE or stop.same not in PREFIX
    return stop.same, alone or any(one.startswith(_CUSTOMERLESS) for one in (*stop.types, *triggers))


def document_of(event: Event, home: Home) -> str | None:
    """The id of the memory document that keeps this home for this event; None when the event has no such key."""
    same, alone = home
    if not alone and event.partition.startswith("cus:"):
        return event.partition
    key = subject_of(event, same)
    if key and key.startswith("path:"):  # a value may be long, and hold what no document id may
        return "path:" + hashlib.sha256(key.encode()).hexdigest()[:32]
    return key


def keyed(event: Event, ruleset: RuleSet) -> Event:
    """The event with the keys of declared paths that rules in force count by, so that windows find it."""
    more = [key for path in ruleset.paths if (key := key_for(event, path)) and key not in event.keys]
    return replace(event, keys=(*event.keys, *more)) if more else event


def documents(event: Event, ruleset: RuleSet) -> tuple[str, ...]:
    """The memory documents to read for an event: its partition's, and those that rules in force keep for its type.
    An event without a customer may be a stop by any of its keys."""
    found = {event.partition: None}
    for home in ruleset.homes.get(event.type, ()):
        if document := document_of(event, home):
            found[document] = None
    if not event.partition.startswith("cus:"):
        found.update((key, None) for key in event.keys if not key.startswith(("acct:", "card:", "path:")))
    return tuple(found)


def _parts(rule: Rule) -> tuple[Part, ...]:
    condition = rule.only_if
    parts = condition.parts if isinstance(condition, All) else (condition,)
    return tuple(map(_part, parts))


def _part(condition: Condition) -> Part:
    """By its text, because 1 and true are equal and not the same."""
    name = repr(condition)
    found = _SHARED.get(name)
    if found is None:
        found = _SHARED[name] = Part(condition, compile_condition(possible(condition)))
    return found
