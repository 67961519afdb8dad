"""A Rule is the typed form of a rule document; `parse` checks a document whole and names every problem at once.

The types stand in rules.model, the parts are read in rules.when_reader, rules.conditions and rules.step_reader.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from zoneinfo import ZoneInfo

from rules.channels import known_channels
from rules.conditions import read_condition
from rules.context import Context
from rules.example_reader import read_examples
from rules.fields import Catalogue
from rules.labels import type_words
from rules.model import (
    JSON,
    TRUE,
    Again,
    Aggregate,
    All,
    Any_,
    Approve,
    Cap,
    Condition,
    Do,
    Hours,
    If,
    Limits,
    Not,
    Other,
    Problem,
    Rule,
    RuleError,
    RuleVersion,
    Span,
    Step,
    Stop,
    StopStep,
    Test,
    Undo,
    Wait,
    When,
    duration,
)
from rules.ports import ActionExecutor
from rules.reading import Node, nearest
from rules.step_reader import read_steps, read_stops
from rules.texts import actions_of, walk
from rules.when_reader import read_when

__all__ = [
    "JSON",
    "TRUE",
    "Again",
    "Aggregate",
    "All",
    "Any_",
    "Approve",
    "Cap",
    "Condition",
    "Do",
    "Hours",
    "If",
    "Limits",
    "Not",
    "Other",
    "Problem",
    "Rule",
    "RuleError",
    "RuleVersion",
    "Span",
    "Step",
    "Stop",
    "StopStep",
    "Test",
    "Undo",
    "Wait",
    "When",
    "check",
    "duration",
    "parse",
]

KEYS = (
    "id",
    "name",
    "why",
    "tags",
    "priority",
    "when",
    "only_if",
    "never_for",
    "again",
    "steps",
    "stop_when",
    "undo",
    "limits",
    "money",
    "caps",
    "hours",
    "holdout",
    "examples",
)
LARGEST = 64 * 1024  # characters of JSON: an operator's document is bounded
_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,79}")
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def parse(
    document: JSON,
    catalogue: Catalogue | None = None,
    actions: Mapping[str, ActionExecutor] | None = None,
    declared: Sequence[str] = (),
) -> Rule:
    """The rule that a document says. Raises RuleError with all problems at once.

    catalogue: check event types and fields against it. actions: check steps against them. declared: the paths that
    settings declare as subjects. A rule that was published is read without them: what it says does not change.
    """
    rule, problems = _read(document, catalogue, actions, declared)
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors or rule is None:
        raise RuleError(errors)
    return rule


def check(
    document: JSON,
    catalogue: Catalogue | None,
    actions: Mapping[str, ActionExecutor] | None,
    declared: Sequence[str] = (),
    scores: Collection[str] | None = None,
) -> list[Problem]:
    """Everything to say about a document: errors, then advice, each in the document's order. scores: those that
    settings declare; None when that is not checked."""
    problems = _read(document, catalogue, actions, declared, scores)[1]
    return sorted(problems, key=lambda problem: problem.severity != "error")


def _read(
    document: JSON,
    catalogue: Catalogue | None,
    actions: Mapping[str, ActionExecutor] | None,
    declared: Sequence[str],
    scores: Collection[str] | None = None,
) -> tuple[Rule | None, list[Problem]]:
    problems: list[Problem] = []
    node = Node(document, "", problems)
    if not node.object(KEYS, "the rule", ("id", "name", "when", "steps")):
        return None, problems
    if len(json.dumps(document, default=str)) > LARGEST:
        node.error(f"the document has more than {LARGEST // 1024} KB")
        return None, problems
    context = Context(catalogue, actions, declared, scores=scores)
    when = read_when(node.child("when"), context) if node.has("when") else None
    only_if = read_condition(node.child("only_if"), context) if _given(node, "only_if") else TRUE
    context.steps = []
    steps = read_steps(node.child("steps"), context) if node.has("steps") else ()
    context.steps = None
    rest = _Rest(node, context)
    never_for = rest.never_for()
    _check_waits(node, steps, rest)
    rule = Rule(
        id=rest.id(),
        name=rest.name(),
        when=when or When(()),
        steps=steps,
        document=document,
        why=rest.why(),
        tags=rest.tags(),
        priority=rest.priority(),
        only_if=only_if,
        never_for=never_for,
        again=rest.again(),
        stop_when=read_stops(node.child("stop_when"), context, "'stop_when'") if _given(node, "stop_when") else (),
        undo=rest.undo(),
        limits=rest.limits(),
        money=rest.money(),
        caps=rest.caps(),
        hours=rest.hours(),
        holdout=rest.holdout(),
        examples=rest.examples(steps, never_for),
    )
    return rule, problems


def _check_waits(node: Node, steps: tuple[Step, ...], rest: _Rest) -> None:
    """A wait that lasts until the hours open needs hours."""
    if any(isinstance(step, Wait) and step.in_hours for step in walk(steps)) and not rest.given("hours"):
        node.child("hours").error("a wait with 'in_hours' needs the rule's 'hours'")


def _given(node: Node, key: str) -> bool:
    return node.has(key) and node.child(key).value is not None


@dataclass(frozen=True, slots=True)
class _Rest:
    """The parts of a rule beside `when`, conditions and steps."""

    node: Node
    context: Context

    def given(self, key: str) -> Node | None:
        return self.node.child(key) if _given(self.node, key) else None

    def id(self) -> str:
        node = self.given("id")
        text = node.text("the id", 80) if node else None
        if node and text and not _ID.fullmatch(text):
            wanted = re.sub(r"[^a-z0-9_]+", "-", text.lower()).strip("-")
            node.error("the id is lower-case letters, digits, '-' and '_'", wanted or None)
        return text or ""

    def name(self) -> str:
        node = self.given("name")
        return (node.text("the name", 120) or "") if node else ""

    def why(self) -> str:
        node = self.given("why")
        return (node.text("'why'", 2000, empty=True) or "") if node else ""

    def tags(self) -> tuple[str, ...]:
        node = self.given("tags")
        return node.texts("tag") if node else ()

    def priority(self) -> int:
        node = self.given("priority")
        return (node.integer("'priority'", -1000, 1000) or 0) if node else 0

    def never_for(self) -> tuple[str, ...]:
        node = self.given("never_for")
        if not node or not node.object(("lists",), "'never_for'"):
            return ()
        return node.child("lists").texts("list name") if node.has("lists") else ()

    def again(self) -> Again:
        node = self.given("again")
        if not node or not node.object(("while_open", "after"), "'again'"):
            return Again()
        found = Again()
        if node.has("while_open"):
            found = replace(found, while_open=bool(node.child("while_open").boolean("'while_open'")))
        if node.has("after"):
            after = node.child("after")
            found = replace(found, after=None if after.value is None else after.duration("'after'", 0))
        return found

    def undo(self) -> Undo | None:
        node = self.given("undo")
        keys = ("on", "same", "within")
        if not node or not node.object(keys, "'undo'", keys) or not all(node.has(key) for key in keys):
            return None
        types = node.child("on").event_types("'on'", self.context.event_names())
        same = self.context.subject(node.child("same"), [*self.context.types, *types])
        within = node.child("within").duration("'within'")
        return Undo(types, same, within) if types and same and within else None

    def limits(self) -> Limits | None:
        node = self.given("limits")
        if not node or not node.object(("runs", "money", "per"), "'limits'"):
            return None
        runs = node.child("runs").integer("'runs'", 1) if _given(node, "runs") else None
        money = self._money(node.child("money")) if _given(node, "money") else {}
        per = node.child("per").duration("'per'") if _given(node, "per") else None
        if runs is None and not money:
            return None
        return Limits(runs, money, per or 86400)

    def _money(self, node: Node) -> Mapping[str, int]:
        if not isinstance(node.value, dict):
            node.object((), "the money limit")
            return {}
        found = {}
        for currency in node.value:
            place = node.child(currency)
            if not re.fullmatch(r"[a-z]{3}", str(currency)):
                place.error("a currency is three lower-case letters", str(currency).lower()[:3] or None)
                continue
            amount = place.integer("an amount in minor units", 0)
            if amount is not None:
                found[currency] = amount
        return found

    def money(self) -> str | None:
        node = self.given("money")
        found = self.context.own_path(node) if node else None
        if node and found and found[2] and not {info.type for info in found[2]} & {"amount", "number", "any"}:
            node.error(
                f"{found[2][0].label} is {type_words(found[2][0].type)}, not an amount", "data.object.amount_remaining"
            )
        return found[0] if found else None

    def caps(self) -> tuple[Cap, ...]:
        node = self.given("caps")
        found = []
        keys = ("tag", "at_most", "per")
        for item in node.items("'caps'", 0, 20) if node else ():
            if not item.object(keys, "a cap", keys) or not all(item.has(key) for key in keys):
                continue
            tag, per = self.cap_tag(item.child("tag")), item.child("per").duration("'per'")
            at_most = item.child("at_most").integer("'at_most'", 1)
            if tag and at_most and per:
                found.append(Cap(tag, at_most, per))
        return tuple(found)

    def cap_tag(self, node: Node) -> str | None:
        """A name that actions go by, or a tag of the rule itself; where actions are known, any other is refused."""
        tag = node.text("a tag", 200)
        mine = self.node.value.get("tags")
        known = [*known_channels(self.context.actions or ()), *(mine if isinstance(mine, list) else ())]
        if tag and self.context.actions is not None and tag not in known:
            node.error(
                f"no action goes by the name {tag!r}, nor has the rule such a tag", nearest(tag, map(str, known))
            )
        return tag

    def hours(self) -> Hours | None:
        node = self.given("hours")
        keys = ("days", "from", "to", "zone", "applies_to")
        if not node or not node.object((*keys, "not_on"), "'hours'", keys) or not all(node.has(key) for key in keys):
            return None
        days = [item.choice("a day", _DAYS) for item in node.child("days").items("'days'", 1, 7)]
        start, end = _clock_time(node.child("from")), _clock_time(node.child("to"))
        zone = _zone(node.child("zone"))
        applies_to = self.channels(node.child("applies_to"))
        if start and end and start >= end:
            node.child("to").error("the day ends after it begins", "18:00")
        if not (start and end and zone and all(days)):
            return None
        named = {day for day in days if day}
        not_on = _dates(node.child("not_on")) if node.has("not_on") else ()
        return Hours(tuple(day for day in _DAYS if day in named), start, end, zone, applies_to, not_on)

    def channels(self, node: Node) -> tuple[str, ...]:
        """What hours apply to; where actions are known, names that none of them goes by are refused."""
        found = node.texts("name", 1)
        known = known_channels(self.context.actions or ())
        for index, name in enumerate(found):
            if self.context.actions is not None and name not in known:
                Node(name, f"{node.path}[{index}]", node.problems).error(
                    f"no action goes by the name {name!r}", nearest(name, known)
                )
        return found

    def holdout(self) -> float:
        node = self.given("holdout")
        return float(node.number("'holdout'", 0, 1) or 0) if node else 0.0

    def examples(self, steps: Sequence[Step], never_for: tuple[str, ...]) -> tuple[JSON, ...]:
        """As they are written."""
        node = self.given("examples")
        if node:
            read_examples(node, self.context, actions_of(steps), never_for)
        return tuple(node.value) if node and isinstance(node.value, list) else ()


def _clock_time(node: Node) -> str | None:
    if isinstance(node.value, str) and re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", node.value):
        return node.value
    node.error("a time of day is written 09:00", "09:00")
    return None


def _dates(node: Node) -> tuple[str, ...]:
    """Days of pause, written 2026-12-25; in order, each once."""
    found = []
    for item in node.items("'not_on'", 0, 366):
        try:
            found.append(date.fromisoformat(str(item.value)).isoformat())
        except ValueError:
            item.error("a day is written 2026-12-25", "2026-12-25")
    return tuple(sorted(set(found)))


def _zone(node: Node) -> str | None:
    """`account`, or the name of a time zone."""
    text = node.text("'zone'", 60)
    if text is None or text == "account":
        return text
    try:
        ZoneInfo(text)
    except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        node.error(f"there is no time zone {text!r}", "account")
        return None
    return text
