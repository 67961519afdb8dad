"""The machine of a run: where it stands, and what happens when it goes from step to step until the world must answer.

rules.workflow and rules.operating say when it goes; this module knows what each kind of step does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from rules import paths
from rules.event import Event, instant, iso, seconds, within
from rules.expr import compile_condition
from rules.fields import read
from rules.hours import next_open, opening, waits_for
from rules.model import Approve, Do, If, Rule, Step, Stop, StopStep, Wait
from rules.run import OURSELVES, Command, Run, RunState, replace
from rules.subjects import PREFIX
from rules.texts import render
from rules.wanted import looks_up
from rules.words import event_text, happening, moment

JSON = Mapping[str, Any]
_OWN = {"stripe": "stripe", "runs": OURSELVES, "review": OURSELVES}
NOT_NEEDED = "no approval is needed here"  # the message of an approval whose condition is false
ABSENCE = (-1,)  # the position of a run that waits to see that something does not come


@dataclass(frozen=True, slots=True)
class Advance:
    """run: to be written over what was read. commands: to be created in the same commit."""

    run: Run
    commands: tuple[Command, ...] = ()


class NotPossible(Exception):
    """The run is not in a state that allows this; the message says which."""


# ---- where it stands ------------------------------------------------------------------------------------------------
def current_step(run: Run, rule: Rule) -> Step | None:
    """The step the run stands at; None before the first and after the last."""
    steps = rule.steps
    for depth in range(0, len(run.position), 2):
        index = run.position[depth]
        if not 0 <= index < len(steps):
            return None
        step = steps[index]
        if depth + 1 == len(run.position):
            return step
        assert isinstance(step, If)
        steps = step.then if run.position[depth + 1] == 0 else step.otherwise
    return None


def moved(run: Run, rule: Rule) -> Run:
    """The run one step on; past the end of a branch, behind its `if`."""
    run = replace(run, position=(*run.position[:-1], run.position[-1] + 1))
    while len(run.position) > 1 and current_step(run, rule) is None:
        *outer, index, _, _ = run.position
        run = replace(run, position=(*outer, index + 1))
    return run


def recorded(run: Run, name: str, now: datetime, **more: Any) -> Run:
    """The run with this said about one of its steps."""
    record = {**run.steps.get(name, {}), "at": iso(now), **more}
    return replace(run, steps={**run.steps, name: record})


def told(run: Run, now: datetime, text: str) -> Run:
    """The run with one more sentence in its story."""
    return replace(run, story=(*run.story, {"at": iso(now), "text": text}))


def ended(run: Run, state: RunState, reason: str, now: datetime) -> Run:
    return replace(run, state=state, reason=reason, due_at=None, updated_at=iso(now), heard=())


def readable(run: Run) -> JSON:
    """What conditions and texts of the run's steps may read: the trigger's facts, and `step.<name>....`."""
    outcomes = {
        name: {
            **record.get("data", {}),
            **{key: record[key] for key in ("state", "ended_by", "message") if key in record},
        }
        for name, record in run.steps.items()
    }
    return {**run.facts, "step": outcomes}


# ---- going ----------------------------------------------------------------------------------------------------------
def begin(run: Run, rule: Rule, now: datetime) -> Advance:
    """Go from the first step, or stand in line for the admitter when the rule has limits."""
    run = replace(run, position=(0,), due_at=None)
    if rule.limits and run.mode == "live":
        return Advance(replace(run, state="pending", due_at=iso(now), updated_at=iso(now)))
    return go(replace(run, state="acting"), rule, now)


def go(run: Run, rule: Rule, now: datetime) -> Advance:
    """Step after step until one has to wait for the world."""
    run = replace(run, updated_at=iso(now))
    while run.state == "acting":
        step = current_step(run, rule)
        match step:
            case None:
                run = ended(told(run, now, "Done."), "done", "", now)
            case Do() if run.mode == "live":
                return issue(run, rule, step, now, int(run.steps.get(step.name, {}).get("generation", 0)))
            case Do() if (opens := opening(rule, step.action, now)) > now:
                run = _closed(run, rule, step, opens, now)
            case Do():
                run = moved(_would(run, step, now), rule)
            case If() | Approve() if looks_up(step):
                run = _look_up(run, step, now)
            case If():
                run = _branch(run, rule, step, now)
            case Wait():
                run = _wait(run, rule, step, now)
            case Approve():
                run = _ask(run, rule, step, now)
            case StopStep():
                run = recorded(run, step.name, now, state="done", message=step.reason)
                run = ended(told(run, now, f"Stopped by its own step: {step.reason}."), "stopped", step.reason, now)
    return Advance(run)


def issue(run: Run, rule: Rule, step: Do, now: datetime, generation: int = 0) -> Advance:
    """Ask for the step's outside effect, due when its hours are open: the run acts until the command is settled."""
    opens = opening(rule, step.action, now)
    command = command_of(run, step.name, step.action, render(step.params, readable(run)), now, generation)
    record = {"state": "due", "message": step.action, "command": command.id, "generation": generation}
    run = recorded(run, step.name, now, **record)
    if opens <= now:
        return Advance(run, (command,))
    assert rule.hours is not None
    run, command = put_off(run, command, waits_for(rule.hours, opens), opens, now)
    return Advance(run, (command,))


def put_off(run: Run, command: Command, text: str, due: datetime, now: datetime) -> tuple[Run, Command]:
    """The action waits until it is due, and the run says why, once."""
    outcome = {**command.outcome, "kind": "held", "message": text[0].upper() + text[1:], "at": iso(now)}
    later = replace(command, due_at=iso(due), outcome=outcome)
    if run.steps[command.step].get("message") == text:
        return run, later
    return recorded(told(run, now, f"{command.step}: {text}."), command.step, now, message=text), later


def wait_ended_by(run: Run, rule: Rule, step: Wait, event_id: str, event_type: str, now: datetime) -> Run:
    """The run behind its wait, which this event ended; the event is used up."""
    text = f"{step.name}: {happening(event_type)} ({event_id})."
    run = recorded(
        told(run, now, text), step.name, now, state="done", message=text, ended_by=event_type, event=event_id
    )
    rest = tuple(known for known in run.heard if known["event"] != event_id)
    return moved(replace(run, state="acting", due_at=None, heard=rest), rule)


def ends(step: Wait, run: Run, event_type: str, keys: Sequence[str]) -> bool:
    """Whether an event of this type with these keys ends the wait."""
    return any(event_type in stop.types and run_key(stop, run.subjects) in keys for stop in step.for_event)


# ---- the kinds of step ----------------------------------------------------------------------------------------------
def command_of(run: Run, step: str, action: str, params: JSON, now: datetime, generation: int = 0) -> Command:
    """The outside effect of a step of the run, due now."""
    return Command(
        id=f"{run.id}/{step}",
        tenant=run.tenant,
        run_id=run.id,
        step=step,
        rule_id=run.rule_id,
        version=run.version,
        action=action,
        connection=_connection(action, params),
        params=params,
        state="due",
        customer=run.customer,
        correlation=run.correlation,
        created_at=iso(now),
        due_at=iso(now),
        trigger=run.trigger,
        subjects=run.subjects,
        generation=generation,
    )


def _connection(action: str, params: JSON) -> str:
    """The line that an action goes over: the step's connection, Stripe, or none but ourselves."""
    connector = action.partition(".")[0]
    if connector in _OWN:
        return _OWN[connector]
    return str(params.get("connection") or connector)


def _would(run: Run, step: Do, now: datetime) -> Run:
    data = {"params": render(step.params, readable(run))}
    run = told(run, now, f"{step.name}: would have done {step.action}.")
    return recorded(run, step.name, now, state="would", message=f"Would have done {step.action}", data=data)


def _closed(run: Run, rule: Rule, step: Do, opens: datetime, now: datetime) -> Run:
    """A simulated run waits for business hours itself, so that what follows comes when it would."""
    assert rule.hours is not None
    text = f"{step.name}: {waits_for(rule.hours, opens)}."
    run = recorded(told(run, now, text), step.name, now, state="waiting", message=text, until=iso(opens))
    return replace(run, state="waiting", due_at=iso(opens))


def _look_up(run: Run, step: If | Approve, now: datetime) -> Run:
    """What the condition asks for is read when the run is woken, which is at once (rules.knowing)."""
    run = recorded(run, step.name, now, state="waiting", message="looking up what is known", until=None)
    return replace(run, state="waiting", due_at=iso(now))


def look(run: Run, rule: Rule, step: If | Approve, now: datetime) -> Advance:
    """Go on at a condition, now that what it asks for stands among the run's facts."""
    run = replace(run, state="acting", due_at=None)
    return go(_branch(run, rule, step, now) if isinstance(step, If) else _ask(run, rule, step, now), rule, now)


def _branch(run: Run, rule: Rule, step: If, now: datetime) -> Run:
    holds = compile_condition(step.condition)(readable(run))
    answer = "yes" if holds else "no"
    run = recorded(told(run, now, f"{step.name}: {answer}."), step.name, now, state="done", message=answer)
    if not (step.then if holds else step.otherwise):
        return moved(run, rule)
    return replace(run, position=(*run.position, 0 if holds else 1, 0))


def _wait(run: Run, rule: Rule, step: Wait, now: datetime) -> Run:
    for known in run.heard:  # it may have come before the wait began
        if ends(step, run, known["type"], known["keys"]):
            return wait_ended_by(run, rule, step, known["event"], known["type"], now)
    until = _until(run, rule, step, now)
    if until is None and not step.for_event:
        text = f"{step.name}: {step.until} is no time, so there is nothing to wait for"
        run = recorded(told(run, now, text + "."), step.name, now, state="person", message=text)
        return replace(run, state="needs_person", reason=text, due_at=None)
    if until is not None and until <= now and not step.for_event:
        text = f"{step.name}: {moment(until)} has passed, so there was no wait."
        return moved(recorded(told(run, now, text), step.name, now, state="done", message=text, ended_by="time"), rule)
    return _sleep(run, step, until, now)


def _sleep(run: Run, step: Wait, until: datetime | None, now: datetime) -> Run:
    what = event_text(list(dict.fromkeys(type for stop in step.for_event for type in stop.types)))
    text = "Waiting" + (f" until {what}" if what else "")
    text += f"{', at most' if what else ''} until {moment(until)}" if until else ""
    due = iso(until) if until else None
    run = recorded(
        told(run, now, f"{step.name}: {text[0].lower() + text[1:]}."),
        step.name,
        now,
        state="waiting",
        message=text,
        until=due,
    )
    return replace(run, state="waiting", due_at=due)


def _until(run: Run, rule: Rule, step: Wait, now: datetime) -> datetime | None:
    """When the wait ends by itself; None when it has no such time, or names a field that holds none."""
    over = _over(run, step, now)
    return next_open(rule.hours, max(over, now)) if over and step.in_hours and rule.hours else over


def _over(run: Run, step: Wait, now: datetime) -> datetime | None:
    if step.for_event:
        return now + timedelta(seconds=step.at_most) if step.at_most is not None else None
    if step.seconds is not None:
        return now + timedelta(seconds=step.seconds)
    found = _time(step.until or "", run)
    return found - timedelta(seconds=step.minus) if found else None


def _time(text: str, run: Run) -> datetime | None:
    """A constant time, or the one that stands in the field of this path."""
    value: Any = text if text[:1].isdigit() else read(readable(run), paths.split(text))
    try:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return seconds(int(value))
        found = instant(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return within(found.replace(tzinfo=found.tzinfo or UTC)) if found else None


def _ask(run: Run, rule: Rule, step: Approve, now: datetime) -> Run:
    if step.condition and not compile_condition(step.condition)(readable(run)):
        return moved(recorded(run, step.name, now, state="skipped", message=NOT_NEEDED), rule)
    if run.mode == "watch":
        text = f"{step.name}: would have asked for approval."
        return moved(recorded(told(run, now, text), step.name, now, state="would", message=text), rule)
    text = f"{step.name}: waiting for approval by {step.role}"
    due = iso(now + timedelta(seconds=step.at_most)) if step.at_most is not None else None
    run = recorded(told(run, now, text + "."), step.name, now, state="waiting", message=text, until=due)
    return replace(run, state="needs_person", reason=text, due_at=due)


# ---- subjects -------------------------------------------------------------------------------------------------------
def bare(key: str | None) -> str | None:
    """`cus:cus_1` -> `cus_1`."""
    return key.partition(":")[2] if key else None


def subjects_of(event: Event) -> dict[str, str]:
    """The event's bare ids by prefix, the first of each; of a declared path `{"path:<path>": value}`."""
    found: dict[str, str] = {}
    for key in event.keys:
        prefix, _, id = key.partition(":")
        if prefix == "path":
            path, _, id = id.partition("=")
            prefix = f"path:{path}"
        found.setdefault(prefix, id)
    return found


def run_key(stop: Stop, subjects: JSON) -> str | None:
    """The key that a stop's or a wait's event must carry to be about the run with these subjects."""
    prefix = PREFIX.get(stop.same)
    id = subjects.get(prefix or f"path:{stop.same}")
    if id is None:
        return None
    return f"{prefix}:{id}" if prefix else f"path:{stop.same}={id}"
