"""The way of a run: how it begins, and what time, answers and events do to it. Pure, and the same for handle, tick,
operator and backtest.

Every function takes the run as it was read and answers an Advance: the run as it is now, and the commands now due.
Nothing is done here: rules.decide begins runs, app.perform.due does what they ask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rules.event import Event, instant, iso, seconds
from rules.fields import MISSING, read
from rules.model import Approve, Do, Rule, RuleVersion, Step, Wait
from rules.operating import Verb, operate
from rules.paths import split
from rules.ports import Outcome
from rules.run import OPEN, QUEUED, Command, CommandState, Run, RunState, replace, run_id
from rules.steps import (
    ABSENCE,
    Advance,
    NotPossible,
    bare,
    begin,
    current_step,
    ended,
    ends,
    go,
    moved,
    recorded,
    run_key,
    subjects_of,
    told,
    wait_ended_by,
)
from rules.texts import facts_of
from rules.undoing import PREFIX as UNDO
from rules.undoing import begin_undo, carry_on, in_flight, is_undoing, may_do, may_undo, undo_refused, undo_settled
from rules.wanted import looks_up
from rules.words import event_text, happening, moment, span_text

__all__ = [
    "ABSENCE",
    "OPEN",
    "Advance",
    "Command",
    "CommandState",
    "NotPossible",
    "Run",
    "RunState",
    "Verb",
    "acted",
    "admit",
    "begin_undo",
    "contradicted",
    "current_step",
    "heard",
    "in_flight",
    "is_undoing",
    "left_out",
    "may_do",
    "may_undo",
    "money_of",
    "operate",
    "overtaken",
    "refused",
    "run_id",
    "run_key",
    "settled",
    "start",
    "stopped",
    "woke",
]

JSON = Mapping[str, Any]
_LATEST = 253402300799  # the last second of the year 9999
_HEARD = 50  # more events than this are not remembered for waits to come
_STEP_STATE = {"done": "done", "branch": "branch", "person": "person", "dead": "failed"}
# what a run is about in money, unless the rule says: by object class, minor units beside `currency`
_MONEY = {
    "invoice": "amount_remaining",
    "charge": "amount",
    "payment_intent": "amount",
    "dispute": "amount",
    "refund": "amount",
    "payout": "amount",
    "credit_note": "amount",
    "quote": "amount_total",
}


# ---- beginning ------------------------------------------------------------------------------------------------------
def start(
    version: RuleVersion,
    event: Event,
    key: str,
    evidence: Sequence[str],
    now: datetime,
    because: str = "",
    later: Sequence[Event] = (),
    queued: bool = False,
) -> Advance:
    """Begin the run of this match. event: the trigger. evidence: the event ids that made the match, trigger last.
    because: the match in a sentence. later: recorded events since the trigger that a wait of this rule listens to.
    queued: the rule is paused, so the run stands parked before its first step until a person decides."""
    rule = version.rule
    run = Run(
        id=run_id(version.tenant, rule.id, key, event.id),
        tenant=version.tenant,
        rule_id=rule.id,
        rule_name=rule.name,
        version=version.number,
        mode="watch" if version.mode == "watch" else "live",
        state="acting",
        key=key,
        customer=bare(event.key("cus")),
        trigger=event.id,
        triggered=event.created,
        correlation=event.correlation,
        created_at=iso(now),
        updated_at=iso(now),
        subjects=subjects_of(event),
        events=tuple(evidence),
        money=money_of(rule, event.data),
        facts=facts_of(rule, event.data),
        heard=tuple(_remembered(one) for one in later[:_HEARD]),
    )
    if queued:
        text = f"{because or 'The rule matched.'} Queued on version {version.number}: the rule is paused."
        return Advance(told(replace(run, state="parked", reason=QUEUED), now, text))
    opening = f"{because or 'The rule matched.'} Run started on version {version.number}"
    run = told(run, now, opening + (" (watch only: nothing is sent)." if run.mode == "watch" else "."))
    return _await_absence(run, rule, now) if rule.when.and_not else begin(run, rule, now)


def admit(run: Run, rule: Rule, now: datetime) -> Advance:
    """A pending or parked run goes ahead. Raises NotPossible in any other state."""
    if run.state not in ("pending", "parked"):
        raise NotPossible(f"the run is {run.state}, so it cannot be admitted")
    return go(replace(run, state="acting", due_at=None, reason=""), rule, now)


def money_of(rule: Rule, envelope: JSON) -> dict[str, int]:
    """What the match is about in money, minor units by currency; empty where nothing says."""
    thing = read(envelope, ("data", "object"))
    if not isinstance(thing, Mapping):
        return {}
    path = split(rule.money) if rule.money else ("data", "object", _MONEY.get(str(thing.get("object")), ""))
    amount, currency = read(envelope, path), thing.get("currency")
    if amount is MISSING or isinstance(amount, bool) or not isinstance(amount, int) or not isinstance(currency, str):
        return {}
    return {currency: amount}


def _await_absence(run: Run, rule: Rule, now: datetime) -> Advance:
    due = _absence_due(run, rule)
    if due <= now:
        return _absence_over(run, rule, now)
    assert rule.when.and_not is not None
    text = f"Waiting until {moment(due)} to see whether {_events(rule)}."
    return Advance(told(replace(run, state="waiting", position=ABSENCE, due_at=iso(due)), now, text))


def _absence_due(run: Run, rule: Rule) -> datetime:
    """The first second at which B can no longer come in time: both ends are inclusive."""
    assert rule.when.and_not is not None
    return seconds(min(_LATEST, run.triggered + rule.when.and_not.within + 1))


def _absence_over(run: Run, rule: Rule, now: datetime) -> Advance:
    assert rule.when.and_not is not None
    span = span_text(rule.when.and_not.within)
    return begin(told(run, now, f"Within {span} it did not happen that {_events(rule)}."), rule, now)


# ---- time and answers -----------------------------------------------------------------------------------------------
def woke(run: Run, rule: Rule, now: datetime) -> Advance:
    """The run's time has come: end its wait, or its approval's time-out. Too early: the same run, due when it should
    be. A run that waits for nothing is no longer due."""
    if run.state == "waiting" and run.position == ABSENCE:
        due = _absence_due(run, rule)
        return _absence_over(run, rule, now) if due <= now else Advance(replace(run, due_at=iso(due)))
    step = current_step(run, rule)
    if step is not None and run.state == "waiting" and looks_up(step):
        return Advance(replace(run, due_at=iso(now)))  # rules.knowing.woken reads what its condition asks for
    until = run.steps.get(step.name, {}).get("until") if step else None
    if step is None or until is None or run.state not in ("waiting", "needs_person"):
        return Advance(run if run.state == "pending" else replace(run, due_at=None))
    if instant(until) > now:
        return Advance(replace(run, due_at=until))
    return _timed_out(run, rule, step, now)


def _timed_out(run: Run, rule: Rule, step: Step, now: datetime) -> Advance:
    if isinstance(step, Do):  # a simulated one, whose hours are open now
        return go(replace(run, state="acting", due_at=None), rule, now)
    asked = isinstance(step, Approve)
    listening = isinstance(step, Wait) and bool(step.for_event)
    text = "nobody answered in time" if asked else "nothing came in time" if listening else "the wait is over"
    ended_by = "timeout" if asked or listening else "time"
    run = told(run, now, f"{step.name}: {text}.")
    run = recorded(run, step.name, now, state="skipped" if asked else "done", message=text, ended_by=ended_by)
    if isinstance(step, Approve) and step.on_timeout == "stop":
        return Advance(ended(run, "stopped", f"{step.name}: {text}", now))
    return _onward(run, rule, now)


def settled(run: Run, rule: Rule, step: str, outcome: Outcome, now: datetime, inverse: JSON | None = None) -> Advance:
    """A command came to its end (`retry` is none). A run that was ended meanwhile stays so, and tells what was done.
    inverse: what takes it back (rules.run), kept for an undo."""
    if outcome.kind == "retry":
        return Advance(run)
    if step.startswith(UNDO):
        return undo_settled(run, step, outcome, now)
    run = told(run, now, f"{step}: {outcome.message}")
    state = _STEP_STATE[outcome.kind]
    more = {"inverse": dict(inverse)} if inverse and not _known_better(run, step, inverse) else {}
    run = recorded(run, step, now, state=state, message=outcome.message, data=dict(outcome.data), **more)
    if is_undoing(run):
        return carry_on(replace(run, updated_at=iso(now)), now)
    here = current_step(run, rule)
    if run.state != "acting" or here is None or here.name != step:
        return Advance(replace(run, updated_at=iso(now)))
    if outcome.kind in ("done", "branch"):
        return _onward(run, rule, now)
    return _failed(run, rule, here, outcome, now)


def _known_better(run: Run, step: str, inverse: JSON) -> bool:
    """A step that was done anew and found everything as wanted does not lose the way back of the first time."""
    return "action" not in inverse and "action" in run.steps.get(step, {}).get("inverse", {})


def refused(run: Run, step: str, why: str, now: datetime, inverse: JSON | None = None) -> Advance:
    """A command that must not be done any more: its run has ended, or is being taken back. inverse: what takes back
    the tries whose answers were lost."""
    if step.startswith(UNDO):
        return undo_refused(run, step, why, now)
    if run.steps.get(step, {}).get("state") != "due":
        return Advance(run)
    more = {"inverse": dict(inverse)} if inverse else {}
    run = recorded(run, step, now, state="skipped", message=f"Not done: {why}", **more)
    return carry_on(run, now) if is_undoing(run) else Advance(run)


def overtaken(run: Run, step: str, reason: str, now: datetime, inverse: JSON | None = None) -> Advance:
    """What was read again just before acting says that the run must not act: its stop's event is on its way."""
    advance = refused(run, step, reason, now, inverse)
    return stopped(advance.run, reason, now) if advance.run.state == "acting" and not run.undo else advance


def left_out(run: Run, rule: Rule, step: str, why: str, now: datetime) -> Advance:
    """An action that will not be done, though its run goes on; a run that has left the step only says so."""
    run = recorded(told(run, now, f"{step}: {why}."), step, now, state="skipped", message=why)
    if is_undoing(run):
        return carry_on(replace(run, updated_at=iso(now)), now)
    here = current_step(run, rule)
    if run.state != "acting" or here is None or here.name != step:
        return Advance(replace(run, updated_at=iso(now)))
    return _onward(run, rule, now)


def _failed(run: Run, rule: Rule, step: Step, outcome: Outcome, now: datetime) -> Advance:
    choice = step.on_failure if isinstance(step, Do) and outcome.kind == "dead" else "person"
    reason = f"{step.name}: {outcome.message}"
    if choice == "continue":
        return _onward(run, rule, now)
    if choice == "stop":
        return Advance(ended(run, "failed", reason, now))
    return Advance(replace(run, state="needs_person", due_at=None, reason=reason, updated_at=iso(now)))


def _onward(run: Run, rule: Rule, now: datetime) -> Advance:
    return go(moved(replace(run, state="acting", due_at=None, reason=""), rule), rule, now)


# ---- events ---------------------------------------------------------------------------------------------------------
def stopped(run: Run, reason: str, now: datetime, event_id: str | None = None) -> Advance:
    """End an open run; one that has ended stays as it is. Its due commands are refused when they are claimed."""
    if run.state not in OPEN or is_undoing(run):
        return Advance(run)
    by = f" ({event_id})" if event_id else ""
    return Advance(ended(told(run, now, f"Stopped: {happening(reason)}{by}."), "stopped", reason, now))


def heard(run: Run, rule: Rule, event: Event, now: datetime) -> Advance:
    """An event that a wait of the run listens to: it ends the wait, or is remembered for a wait to come."""
    if run.state not in OPEN or is_undoing(run) or event.created < run.triggered or event.id in run.events:
        return Advance(run)
    step = current_step(run, rule)
    if run.state == "waiting" and isinstance(step, Wait) and ends(step, run, event.type, event.keys):
        return go(wait_ended_by(run, rule, step, event.id, event.type, now), rule, now)
    if len(run.heard) >= _HEARD or any(known["event"] == event.id for known in run.heard):
        return Advance(run)
    return Advance(replace(run, heard=(*run.heard, _remembered(event)), updated_at=iso(now)))


def contradicted(run: Run, event: Event, now: datetime) -> Advance:
    """A late event took the match back: a run that has not acted stops, one that has says so."""
    if run.contradicted_by:
        return Advance(run)
    at = moment(seconds(event.created))
    why = f"it was heard late that {happening(event.type)} ({at}), which takes the match back"
    marked = replace(run, contradicted_by=event.id, updated_at=iso(now))
    if run.state in OPEN and not acted(run) and not is_undoing(run):
        return stopped(marked, why, now, event.id)
    return Advance(told(marked, now, f"Contradicted by {event.id}: {why}."))


def _events(rule: Rule) -> str:
    """What must not come, in words."""
    return event_text(rule.when.and_not.types) if rule.when.and_not else ""


def acted(run: Run) -> bool:
    """Whether a step of the run has reached the outside."""
    return any(
        record.get("command") and record.get("state") in ("done", "branch", "person", "failed")
        for record in run.steps.values()
    )


def _remembered(event: Event) -> JSON:
    return {"event": event.id, "type": event.type, "created": event.created, "keys": list(event.keys)}
