"""Explain why a rule fired for a subject or an event, or why not: the first gate that was closed, what was nearest,
and the smallest edit that would have made it fire.

The conditions and windows are worked out again from the events; what re-entry, limits and stops did is read from the
runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from rules import gates, patience, trace
from rules.case import Case, in_order
from rules.event import Event, instant, iso, seconds
from rules.evidence import window
from rules.failing import failed_condition
from rules.judging import failed
from rules.model import RuleVersion
from rules.nearest import nearest, nearness, stretch_end
from rules.ruleset import subject_of
from rules.run import OPEN, QUEUED, Run
from rules.steps import run_key, subjects_of
from rules.tree import tree
from rules.window import Found, span_of, takes_part
from rules.words import event_text, happening, moment
from rules.workflow import acted

JSON = Mapping[str, Any]
# every gate that may be the first closed one, in the order in which they are asked, with what it asks
GATES: Final[Mapping[str, str]] = {
    "event": "Did an event come?",
    "tenant": "Was it this account and mode?",
    "type": "Does the rule listen to it?",
    "key": "Does the event name the subject?",
    "own": "Did it come from elsewhere than our own actions?",
    "condition": "Was every condition true?",
    "window": "Was the window full?",
    "waiting": "Is the deadline over?",
    "live_from": "Was the rule live then?",
    "import": "Was it news, not history?",
    "stopped": "Had nothing stopped it?",
    "re-entry": "Was it not too soon again?",
    "never_for": "Was the subject on no list?",
    "holdout": "Was it not held out?",
    "paused": "Was it not paused?",
    "crowded": "Did the event start few enough runs?",
    "contradicted": "Did no late event take it back?",
    "limit": "Was there room under the limit?",
    "cap": "Was there room under the caps?",
    "cancelled": "Did nobody cancel it?",
}
_NEAR: Final = frozenset({"condition", "window", "re-entry", "never_for", "holdout"})


def explain(
    version: RuleVersion,
    events: Iterable[Event],
    subject: str | None = None,
    event: str | None = None,
    at: datetime | None = None,
    runs: Iterable[Run] = (),
    members: Mapping[str, Iterable[str]] | None = None,
    now: datetime | None = None,
    scores: Mapping[tuple[str, str], JSON] | None = None,
) -> dict[str, Any]:
    """Why, or why not: {"fired", "sentence", "gate", "tree", "nearest", "trigger", "run"}.

    events: the recorded history of the subject. subject: a key (`sub:sub_1`) or its bare id; or event: an event id.
    at: look at the history as it was then. runs: the rule's runs. members: suppression lists. now: tells whether an
    absence's span is over (default: it is). scores: their documents by name and customer.

    gate is None when it fired, else the first closed one of GATES; `limit`, `cap`, `stopped`, `contradicted` and
    `cancelled` may stand beside a run, which then did nothing. tree: the condition tree at the trigger (rules.tree)
    with the "window" drawn. nearest: {"sentence", "edit": {"path", "value", "sentence"} | None} | None; an edit is
    named only after deciding again with it.
    """
    known = in_order(one for one in events if at is None or one.recorded <= at)
    mine = tuple(run for run in runs if run.rule_id == version.rule.id)
    lists = {name: frozenset(found) for name, found in (members or {}).items()}
    case = Case(version, known, mine, lists, now, scores)
    if event is not None:
        return _about_event(case, event)
    return _about_subject(case, subject or "")


def as_decided(found: JSON, entry: JSON | None) -> dict[str, Any]:
    """The explanation of a rule in force with what was really decided at its trigger, where every gate looks open
    today or another one was closed then. entry: what the trigger's own trace says of the rule (rules.trace)."""
    open_ = found["gate"] is None and not found["run"]
    late = found["gate"] in ("paused", "live_from", "stopped", "re-entry", "never_for", "holdout")
    if entry is None or entry["outcome"] != "matched" or not (open_ or late):
        return dict(found)
    return {**found, "fired": False, "gate": entry["gate"], "sentence": entry["sentence"], "nearest": None}


def _about_event(case: Case, id: str) -> dict[str, Any]:
    when, tenant = case.rule.when, case.version.tenant
    found = case.event(id)
    if found is None:
        return _closed("event", f"{id} never came.")
    if found.tenant != tenant:
        return _closed("tenant", f"{id} belongs to {found.tenant}, and the rule to {tenant}.", id)
    if found.type not in takes_part(when):
        return _closed("type", f"The rule does not listen for it: {event_text((found.type,))} ({found.type}).", id)
    key = subject_of(found, when.same)
    if key is None:
        return _closed("key", f"{id} has no {when.same or 'customer'}, so it does not take part.", id)
    return _at(case, key, found)


def _about_subject(case: Case, subject: str) -> dict[str, Any]:
    when, tenant = case.rule.when, case.version.tenant
    triggers = when.then.types if when.then else when.types
    carried = case.about(subject)
    about = [one for one in carried if one.tenant == tenant]
    who = subject.rpartition(":")[2]  # people know the id and not the key's prefix
    if carried and not about:
        others = ", ".join(sorted({one.tenant for one in carried}))
        return _closed("tenant", f"What came for {who} belongs to {others}, and the rule to {tenant}.")
    heard = [one for one in about if one.type in triggers]
    if not heard:
        return _closed("event", f"It never happened here that {event_text(triggers)} for {who}.")
    keyed = [(key, one) for one in heard if (key := subject_of(one, when.same))]
    if not keyed:
        return _closed(
            "key", f"{heard[-1].id} has no {when.same or 'customer'}, so it does not take part.", heard[-1].id
        )
    return _at(case, *_telling(case, keyed))


def _telling(case: Case, heard: list[tuple[str, Event]]) -> tuple[str, Event]:
    """The trigger that says most about the subject: one with a run, else a match, else what came nearest to one."""
    ran = [row for row in heard if row[1].id in case.by_trigger]
    if ran:
        return ran[-1]
    triggers = [row for row in heard if case.is_trigger(*row)]
    if not triggers:
        return heard[-1]
    ends = {key: end for key in dict(triggers) if (end := stretch_end(case.rule, case.ledger(key)))}
    return _match(case, triggers, ends) or _nearest_to_one(case, triggers, ends)


def _match(case: Case, triggers: list[tuple[str, Event]], ends: dict[str, Event]) -> tuple[str, Event] | None:
    """The latest match. Where events are counted there is none unless the narrowest stretch is one."""
    counts = case.rule.when.at_least is not None and case.rule.when.counting == "events"
    hopeful = {key for key, end in ends.items() if case.reached(case.ledger(key).number(end))}
    for key, one in patience.each(reversed(triggers)):
        if (not counts or key in hopeful) and case.reached(case.ledger(key).number(one)):
            return key, one
    return None


def _nearest_to_one(case: Case, triggers: list[tuple[str, Event]], ends: dict[str, Event]) -> tuple[str, Event]:
    """The end of the narrowest stretch that holds enough, else the latest trigger with the fullest window."""
    last = {end.id for end in ends.values()}
    found = [row for row in triggers if row[1].id in last] or triggers
    worth = [(case.ledger(key).number(one) or 0, at) for at, (key, one) in enumerate(patience.each(found))]
    return found[max(worth)[1]]


# ---- one trigger ----------------------------------------------------------------------------------------------------
def _at(case: Case, key: str, trigger: Event) -> dict[str, Any]:
    shown = _tree(case, key, trigger)
    run = case.by_trigger.get(trigger.id)
    if run is not None:
        gate, sentence = _after(run)
        return _answer(gate, sentence, shown, None, trigger, run)
    gate, sentence = first_gate(case, key, trigger)
    near = nearest(case, key, trigger, gate, _fires) if gate in _NEAR else None
    found = _answer(gate, sentence, shown, near, trigger, None)
    return {**found, "fired": gate is None}


def _fires(case: Case, key: str, trigger: Event) -> bool:
    return first_gate(case, key, trigger)[0] is None


def first_gate(case: Case, key: str, trigger: Event) -> tuple[str | None, str]:
    """The first gate that is closed for this trigger, with the sentence that says so; None when it fires."""
    patience.ask()
    rule, when = case.rule, case.rule.when
    heeded = {*when.start_again_after, *(when.and_not.types if when.and_not else ())}  # our own too
    if when.ignore_own and trigger.causation and trigger.type not in heeded:
        return "own", f"{trigger.id} was caused by our own action {trigger.causation}, so it does not count."
    second = bool(when.then and trigger.type in when.then.types)
    if trigger.type in when.types and not second and not case.passes(trigger):
        return "condition", failed_condition(rule.only_if, trigger) or "The conditions are not true."
    if not case.is_trigger(key, trigger):
        happened = event_text((trigger.type,))
        return "window", f"It counts for this rule and triggers nothing by itself that {happened} ({trigger.id})."
    found = case.ledger(key).at(trigger)
    if not case.reached(found.number):
        return "window", _missed(case, key, found)
    closed = _untrue(case, found) or _undecided(case, trigger) or _started_nothing(case, key, found)
    return closed or (None, trace.matched(rule, found))


def _missed(case: Case, key: str, found: Found) -> str:
    """Why the window is not full, with what was nearest: "1 of 2 within 7 days; the second came 9 days later."."""
    said, near = trace.missed(case.rule, found), nearness(case, key, found.trigger)
    return f"{said.rstrip('.')}; {near[0].lower()}{near[1:]}" if near else said


def _asked_of(case: Case, found: Found) -> Event:
    """The event that the conditions are about: of a sequence the first of its two."""
    return found.counted[-2] if case.rule.when.then and len(found.counted) > 1 else found.trigger


def _untrue(case: Case, found: Found) -> tuple[str, str] | None:
    """A condition on facts or scores, which are judged at the trigger."""
    known = case.known(found.trigger, _heard(found))
    said = failed(case.rule.only_if, _asked_of(case, found), known) if known else None
    return ("condition", said) if said else None


def _undecided(case: Case, trigger: Event) -> tuple[str, str] | None:
    absence = case.rule.when.and_not
    if absence is None or case.now is None or case.now > (due := seconds(trigger.created + absence.within)):
        return None
    return (
        "waiting",
        f"It is not decided before {moment(due)}: until then it may still happen that {event_text(absence.types)}.",
    )


def _started_nothing(case: Case, key: str, found: Found) -> tuple[str, str] | None:
    """The gate that kept a match from becoming a run, in the order in which decide asks them."""
    version, rule, trigger = case.version, case.rule, found.trigger
    paused = "paused", "The rule is paused: the match is recorded, and no run started."
    if version.mode == "paused" and (version.paused_from == "watch" or rule.when.and_not):
        return paused
    if iso(trigger.recorded) < version.live_from:
        since = moment(instant(version.live_from))
        heard = moment(trigger.recorded)
        return "live_from", f"It was heard {heard}, before version {version.number} went live {since}."
    if trigger.source == "import":
        return "import", "The event is imported history, which starts no run."
    return (
        _stopped(case, found)
        or _again(case, key, found)
        or gates.suppressed(rule, trigger, case.memory())
        or gates.held_out(rule, key)
        or (paused if version.mode == "paused" else None)
    )


def _heard(found: Found) -> datetime:
    """When the match was complete: the last of its events to be heard."""
    return max(one.recorded for one in found.counted)


def _stopped(case: Case, found: Found) -> tuple[str, str] | None:
    trigger, until = found.trigger, _heard(found)
    subjects, evidence = subjects_of(trigger), {one.id for one in found.counted}
    stops = [(stop.types, run_key(stop, subjects)) for stop in case.rule.stop_when]
    for one in case.events if stops else ():
        if one.created < trigger.created or one.recorded > until or one.id in evidence:
            continue
        if any(one.type in types and key in one.keys for types, key in stops):
            return (
                "stopped",
                f"It had already happened that {event_text((one.type,))} ({one.id}), which stops this rule.",
            )
    return None


def _again(case: Case, key: str, found: Found) -> tuple[str, str] | None:
    """Re-entry, as it stood when the match was complete."""
    rule, watching = case.rule, case.version.mode == "watch"
    until = iso(_heard(found))
    mine = [run for run in case.runs if run.key == key and (run.mode == "watch") == watching]
    before = [run for run in mine if _began(case, run) <= until and not _forgotten(case, run, until)]
    for run in before if not rule.again.while_open else ():
        if run.state in OPEN or run.updated_at > until:
            return "re-entry", f"Run {run.id} of this rule was still open."
    return gates.too_soon(rule, found.trigger.created, sorted((run.triggered, run.id) for run in before))


def _forgotten(case: Case, run: Run, until: str) -> bool:
    """Whether a late event had taken the run's match back by then, so that the rule had never run."""
    if not run.contradicted_by or run.state != "stopped" or acted(run):
        return False
    late = case.event(run.contradicted_by)
    return (iso(late.recorded) if late else run.updated_at) < until


def _began(case: Case, run: Run) -> str:
    """When what started a run had been heard; the worker may have got to it later."""
    trigger = case.event(run.trigger)
    return min(run.created_at, iso(trigger.recorded)) if trigger else run.created_at


# ---- a run that came of it ------------------------------------------------------------------------------------------
def _after(run: Run) -> tuple[str | None, str]:
    """What kept a run from doing anything, or the sentence that tells of it."""
    why = run.story[0]["text"].split(" Run started")[0] if run.story else "It matched."
    if run.state == "parked" and run.reason.startswith(QUEUED):
        return "paused", f"{why} The rule was paused: its run stands in line until somebody resumes the rule."
    if run.state == "parked":
        return "limit", f"{why} Its run is parked, because {_reason(run).removeprefix('parked: ')}."
    if run.state in ("stopped", "cancelled") and not _did(run):
        if run.contradicted_by:
            return (
                "contradicted",
                f"{why} A late event, {run.contradicted_by}, took the match back before anything was done.",
            )
        if run.state == "cancelled":
            return "cancelled", f"{why} Its run was cancelled before anything was done: {_reason(run)}."
        return "stopped", f"{why} Its run was stopped before anything was done: {_reason(run)}."
    capped = [record["message"] for record in run.steps.values() if _is_capped(record)]
    if capped and not _did(run):
        return "cap", f"{why} Nothing was done: {capped[0][0].lower()}{capped[0][1:].rstrip('.')}."
    return None, f"{run.story[0]['text'] if run.story else 'It fired.'} The run is {run.state.replace('_', ' ')}."


def _did(run: Run) -> bool:
    """Whether any action of the run was done, or would have been."""
    return any(record.get("state") in ("done", "branch", "would") and "ended_by" not in record and _acts(record)
               for record in run.steps.values())  # fmt: skip


def _acts(record: JSON) -> bool:
    return bool(record.get("command")) or record.get("state") == "would"


def _is_capped(record: JSON) -> bool:
    """Whether a cap left the action out, or makes it wait (rules.caps)."""
    return record.get("state") in ("due", "skipped") and "because the customer has had" in str(record.get("message"))


def _reason(run: Run) -> str:
    """Why the run is as it is, in words also where its reason is the type of an event."""
    reason = run.reason or run.state
    words = happening(reason)
    return words[:1].lower() + words[1:].rstrip(".")


# ---- what is shown --------------------------------------------------------------------------------------------------
def _tree(case: Case, key: str, trigger: Event) -> dict[str, Any]:
    rule, ledger = case.rule, case.ledger(key)
    about = trigger
    if rule.when.then and trigger.type not in rule.when.types and ledger.counted:
        earlier = [one for one in ledger.counted if one.created <= trigger.created]
        about = (earlier or ledger.counted)[-1]  # the conditions are about the first of the two events
    known = case.known(trigger)
    shown = tree(
        rule.only_if, known.beside(about.data) if known else about.data, about.id, known.values if known else None
    )
    if span_of(rule.when) is not None and case.is_trigger(key, trigger):
        shown["window"] = window(case, ledger, trigger)
    return shown


def _closed(gate: str, sentence: str, trigger: str | None = None) -> dict[str, Any]:
    return {
        "fired": False,
        "sentence": sentence,
        "gate": gate,
        "tree": None,
        "nearest": None,
        "trigger": trigger,
        "run": None,
    }


def _answer(
    gate: str | None, sentence: str, shown: JSON, near: JSON | None, trigger: Event, run: Run | None
) -> dict[str, Any]:
    return {
        "fired": run is not None and gate is None,
        "sentence": sentence,
        "gate": gate,
        "tree": shown,
        "nearest": near,
        "trigger": trigger.id,
        "run": run.id if run else None,
    }
