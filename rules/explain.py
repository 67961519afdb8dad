"""Explain why a rule fired for a subject or an event, or why not: the first gate that was closed, what was nearest,
and the smallest edit that would have made it fire.

The conditions and windows are worked out again from the events; what re-entry and stops did is read from the runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from rules import gates, trace
from rules.event import Event, instant, iso, seconds
from rules.expr import compile_condition
from rules.matcher import bound
from rules.memory import Memory
from rules.model import All, RuleVersion
from rules.money import currency_of, is_money
from rules.nearest import nearest
from rules.ruleset import subject_of
from rules.run import OPEN, Run
from rules.steps import run_key, subjects_of
from rules.tree import tree
from rules.window import Found, Ledger, Number, span_of, takes_part, value_of
from rules.words import event_text, moment, span_text

JSON = Mapping[str, Any]
_SHOWN = 100  # events of a window that an explanation names


class _Case:
    """What an explanation is about: the rule, the events it could have heard, and what it did."""

    def __init__(
        self,
        version: RuleVersion,
        events: tuple[Event, ...],
        runs: tuple[Run, ...],
        lists: Mapping[str, frozenset[str]],
    ) -> None:
        self.version = version
        self.events = events
        self.runs = runs
        self.triggers = frozenset(run.trigger for run in runs)
        self.lists = lists
        self._holds = compile_condition(version.rule.only_if)
        self._ledgers: dict[str, Ledger] = {}

    def ledger(self, key: str) -> Ledger:
        if key not in self._ledgers:
            when = self.version.rule.when
            mine = [event for event in self.events if key in event.keys or subject_of(event, when.same) == key]
            mine = [event for event in mine if event.tenant == self.version.tenant]
            self._ledgers[key] = Ledger(when, mine, self.passes)
        return self._ledgers[key]

    def passes(self, event: Event) -> bool:
        return self._holds(event.data)

    def memory(self) -> Memory:
        """Lists that are not there suppress nobody."""
        absent: dict[str, frozenset[str]] = {name: frozenset() for name in self.version.rule.never_for}
        return Memory(lists={**absent, **self.lists})

    def holds(self, number: Number | None) -> bool:
        if self.version.rule.when.and_not:
            return number == 0
        needed = bound(self.version.rule)
        return needed is None or (number is not None and needed.reached(number))


def explain(
    version: RuleVersion,
    events: Iterable[Event],
    subject: str | None = None,
    event: str | None = None,
    at: datetime | None = None,
    runs: Iterable[Run] = (),
    members: Mapping[str, Iterable[str]] | None = None,
    now: datetime | None = None,
) -> dict[str, Any]:
    """Why, or why not: {"fired", "sentence", "gate", "tree", "nearest", "trigger", "run"}.

    events: the recorded history of the subject. subject: a key (`sub:sub_1`) or its bare id; or event: an event id.
    at: look at the history as it was then. runs: the rule's runs. members: suppression lists. now: tells whether an
    absence's span is over (default: it is).

    gate is None when it fired, else the first closed one of: event, tenant, type, key, own, condition, window,
    live_from, paused, import, stopped, re-entry, never_for, holdout, limit. tree: the condition tree at the trigger
    (rules.tree) with the "window" drawn. nearest: {"sentence", "edit": {"path", "value", "sentence"} | None} | None.
    """
    known = tuple(sorted((one for one in events if at is None or one.recorded <= at), key=_order))
    mine = tuple(run for run in runs if run.rule_id == version.rule.id)
    lists = {name: frozenset(found) for name, found in (members or {}).items()}
    case = _Case(version, known, mine, lists)
    if event is not None:
        return _about_event(case, event)
    return _about_subject(case, subject or "")


def _about_event(case: _Case, id: str) -> dict[str, Any]:
    when = case.version.rule.when
    found = next((one for one in case.events if one.id == id), None)
    if found is None:
        return _closed("event", f"{id} never came.")
    if found.tenant != case.version.tenant:
        return _closed("tenant", f"{id} belongs to {found.tenant}, the rule to {case.version.tenant}.")
    if found.type not in takes_part(when):
        return _closed("type", f"The rule does not listen to {found.type}.")
    key = subject_of(found, when.same)
    if key is None:
        return _closed("key", f"{id} has no {when.same}, so it does not take part.")
    return _at(case, key, found)


def _about_subject(case: _Case, subject: str) -> dict[str, Any]:
    when = case.version.rule.when
    triggers = when.then.types if when.then else when.types
    about = [one for one in case.events if _carries(one, subject) and one.tenant == case.version.tenant]
    heard = [(key, one) for one in about if one.type in triggers and (key := subject_of(one, when.same))]
    if not heard:
        who = subject.rpartition(":")[2]  # people know the id and not the key's prefix
        if any(_carries(one, subject) for one in case.events) and not about:
            return _closed("tenant", f"What came for {who} belongs to another tenant than the rule.")
        return _closed("event", f"It never happened here that {event_text(triggers)} for {who}.")
    key, trigger = max(heard, key=lambda row: _worth(case, *row))
    return _at(case, key, trigger)


def _worth(case: _Case, key: str, trigger: Event) -> tuple[bool, bool, bool, float, int]:
    """How much a trigger says about the subject: a run, else a match, else the fullest window, else the latest."""
    ran = trigger.id in case.triggers
    ledger = case.ledger(key)
    if not ledger.is_trigger(trigger):
        return ran, False, False, 0, trigger.created
    number = ledger.number(trigger)
    worth = 0.0 if number is None or case.version.rule.when.and_not else float(number)
    return ran, case.holds(number), True, worth, trigger.created


# ---- one trigger ----------------------------------------------------------------------------------------------------
def _at(case: _Case, key: str, trigger: Event) -> dict[str, Any]:
    rule = case.version.rule
    ledger = case.ledger(key)
    shown = _tree(case, ledger, trigger)
    run = next((run for run in case.runs if run.trigger == trigger.id), None)
    if run is not None:
        sentence = f"{run.story[0]['text'] if run.story else 'It fired.'} The run is {run.state}."
        return _answer(None, sentence, shown, None, trigger, run)
    gate, sentence = _first_gate(case, ledger, key, trigger)
    near = nearest(rule, ledger, trigger) if gate in ("condition", "window") else None
    if gate is None:
        return {**_answer(None, sentence, shown, None, trigger, None), "fired": True}
    return _answer(gate, sentence, shown, near, trigger, None)


def _first_gate(case: _Case, ledger: Ledger, key: str, trigger: Event) -> tuple[str | None, str]:
    rule, when = case.version.rule, case.version.rule.when
    if when.ignore_own and trigger.causation:
        return "own", f"{trigger.id} was caused by our own action {trigger.causation}, so it does not count."
    if trigger.type in when.types and not (when.then and trigger.type in when.then.types):
        failed = _failed_condition(case, trigger)
        if failed:
            return "condition", failed
    if not ledger.is_trigger(trigger):
        return "window", f"{trigger.type} counts for this rule and triggers nothing by itself."
    found = ledger.at(trigger)
    if not case.holds(found.number):
        return "window", trace.missed(rule, found)
    closed = _started_nothing(case, key, trigger, found)
    return closed or (None, trace.matched(rule, found))


def _failed_condition(case: _Case, trigger: Event) -> str | None:
    condition = case.version.rule.only_if
    parts = condition.parts if isinstance(condition, All) else (condition,)
    for index, part in enumerate(parts):
        node = tree(part, trigger.data, trigger.id)
        if not node["true"]:
            actual = f" (it is {node['actual']!r})" if node.get("actual") is not None else ""
            note = f" ({node['note']})" if node.get("note") and not actual else ""
            return f"Condition {index + 1} of {len(parts)} is not true: {node['text']}{actual}{note}."
    return None


def _started_nothing(case: _Case, key: str, trigger: Event, found: Found) -> tuple[str, str] | None:
    """The gate that kept a match from becoming a run."""
    version, rule = case.version, case.version.rule
    if iso(trigger.recorded) < version.live_from:
        since = moment(instant(version.live_from))
        return (
            "live_from",
            f"It was heard {moment(trigger.recorded)}, before version {version.number} went live {since}.",
        )
    if version.mode == "paused":
        return "paused", "The rule is paused: the match is recorded, and no run started."
    if trigger.source == "import":
        return "import", "The event is imported history, which starts no run."
    return (
        _stopped(case, trigger)
        or _again(case, key, trigger)
        or gates.suppressed(rule, trigger, case.memory())
        or gates.held_out(rule, key)
    )


def _stopped(case: _Case, trigger: Event) -> tuple[str, str] | None:
    subjects = subjects_of(trigger)
    for one in case.events:
        if one.created < trigger.created or one.recorded > trigger.recorded:
            continue
        for stop in case.version.rule.stop_when:
            if one.type in stop.types and run_key(stop, subjects) in one.keys:
                return "stopped", f"{one.type} ({one.id}) had already come, which stops this rule."
    return None


def _again(case: _Case, key: str, trigger: Event) -> tuple[str, str] | None:
    rule = case.version.rule
    mine = [run for run in case.runs if run.key == key and (run.mode == "watch") == (case.version.mode == "watch")]
    heard = iso(trigger.recorded)
    for run in mine if not rule.again.while_open else ():
        open_then = run.created_at <= heard and (run.state in OPEN or run.updated_at > heard)
        if open_then:
            return "re-entry", f"Run {run.id} of this rule was still open."
    return gates.too_soon(rule, trigger.created, sorted((run.triggered, run.id) for run in mine))


# ---- what is shown --------------------------------------------------------------------------------------------------
def _tree(case: _Case, ledger: Ledger, trigger: Event) -> dict[str, Any]:
    rule = case.version.rule
    about = trigger
    if rule.when.then and trigger.type not in rule.when.types and ledger.counted:
        about = ledger.counted[-1]  # the conditions are about the first of the two events
    shown = tree(rule.only_if, about.data, about.id)
    if span_of(rule.when) is not None and ledger.is_trigger(trigger):
        shown["window"] = window(case, ledger, trigger)
    return shown


def window(case: _Case, ledger: Ledger, trigger: Event) -> dict[str, Any]:
    """Every event of the key that was counted at the trigger, and every one that was not, with the reason."""
    rule = case.version.rule
    found = ledger.at(trigger)
    counted = {one.id for one in found.counted}
    listed = [one for one in ledger.everything if one.created <= trigger.created or rule.when.and_not]
    events = [
        {
            "event": one.id,
            "type": one.type,
            "created": iso(seconds(one.created)),
            "counted": one.id in counted,
            "why": None if one.id in counted else why_not(case, ledger, trigger, one),
        }
        for one in listed[-_SHOWN:]
    ]
    return {"number": found.number, "needed": trace.needed(rule), "within": rule.when.within, "events": events}


def why_not(case: _Case, ledger: Ledger, trigger: Event, one: Event) -> str:
    """Why an event of the key was not counted at the trigger."""
    when = case.version.rule.when
    if one.type in when.start_again_after:
        return "counting starts again after it"
    if one.type not in when.types:
        return "it is what the rule waits for, not what it counts"
    if when.ignore_own and one.causation:
        return f"it was caused by our own action {one.causation}"
    if not case.passes(one):
        return _failed_condition(case, one) or "a condition is not true"
    if one.created > trigger.created:
        return "it came after"
    reset = ledger.last_reset(trigger.created)
    if one.created <= reset:
        return f"it came before counting started again {moment(seconds(reset))}"
    span = when.then.within if when.then else when.within
    if span is not None and trigger.created - one.created > span:
        return f"too old by {span_text(trigger.created - one.created - span)}"
    if when.aggregate and value_of(one, when.aggregate.path) is None:
        return f"it has no {when.aggregate.field}"
    if when.aggregate and is_money(when.aggregate.path) and currency_of(one) != currency_of(trigger):
        return f"it is in {currency_of(one) or 'no currency'}, and only {currency_of(trigger) or 'none'} is counted"
    return "it does not count for this rule"


def _closed(gate: str, sentence: str) -> dict[str, Any]:
    return {
        "fired": False,
        "sentence": sentence,
        "gate": gate,
        "tree": None,
        "nearest": None,
        "trigger": None,
        "run": None,
    }


def _answer(
    gate: str | None, sentence: str, shown: JSON, near: JSON | None, trigger: Event, run: Run | None
) -> dict[str, Any]:
    return {
        "fired": run is not None,
        "sentence": sentence,
        "gate": gate,
        "tree": shown,
        "nearest": near,
        "trigger": trigger.id,
        "run": run.id if run else None,
    }


def _carries(event: Event, subject: str) -> bool:
    return subject in event.keys or any(key.endswith(":" + subject) for key in event.keys)


def _order(event: Event) -> tuple[int, str]:
    return event.created, event.id
