"""Taking back what a run did: the recorded inverses of its done steps, newest first, one outside effect each. Pure.

What takes a step back is recorded when the step is settled (`record["inverse"]`), so an undo needs nothing but the run.
It is kept in `run.undo`:

    {"state": "settling|acting|person|done|left", "why", "event", "by", "at", "was", "reason",
     "steps": [{"step", "action", "params", "says", "state", "message", "at", "command", "generation"}, ...]}

settling: a step is still in flight and is waited for. acting: one inverse after the other. person: what could be taken
back is, and the rest needs a decision. left: a person left the rest as it is. was, reason: the state the run had
ended in.
A step's state is `to come|due|done|skipped|person|failed|left`, or `would` in a simulated run. An undo begins once.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rules.event import iso
from rules.ports import Outcome
from rules.run import OPEN, Run, replace
from rules.steps import Advance, NotPossible, command_of, ended, told
from rules.words import happening

JSON = Mapping[str, Any]
PREFIX = "undo/"  # of the step name that an inverse's command carries: its id is run/undo/step
ACTIVE = ("settling", "acting", "person")
NOTHING = "nothing that was done can be taken back"
_REACHED = ("done", "branch", "person", "failed")
_STATES = {"done": "done", "branch": "skipped", "person": "person", "dead": "failed"}


# ---- asking ---------------------------------------------------------------------------------------------------------
def is_undoing(run: Run) -> bool:
    return run.undo.get("state") in ACTIVE


def in_flight(run: Run) -> list[str]:
    """The ids of commands that are asked for and not settled."""
    return [record["command"] for record in run.steps.values() if record.get("state") == "due" and "command" in record]


def to_take_back(run: Run) -> list[JSON]:
    """What an undo would do now, newest step first: the recorded inverses; beside them, as `skipped`, the steps that
    reached the outside and cannot be taken back, each with the reason."""
    reached = [
        (record["at"], number, name, record)
        for number, (name, record) in enumerate(run.steps.items())
        if "inverse" in record or (record.get("command") and record.get("state") in _REACHED)
        if record.get("state") != "due"
    ]
    newest = sorted(reached, key=lambda entry: entry[:2], reverse=True)
    return [_entry(run, name, record) for _, _, name, record in newest]


def _entry(run: Run, name: str, record: JSON) -> JSON:
    inverse = record.get("inverse") or {}
    if "action" in inverse:
        return {"step": name, **inverse, "command": f"{run.id}/{PREFIX}{name}", "state": "to come", "message": ""}
    why = inverse.get("cannot") or "Cannot be undone: it was done before undo was recorded."
    return {"step": name, "state": "skipped", "message": why}


def may_undo(run: Run) -> bool:
    """Whether there is something to take back that no undo has been asked for yet."""
    return not run.undo and any(entry["state"] == "to come" for entry in to_take_back(run))


# ---- beginning ------------------------------------------------------------------------------------------------------
def begin_undo(run: Run, why: str, now: datetime, event_id: str | None = None, actor: str | None = None) -> Advance:
    """Take back what the run did; an open run is stopped first, and what is in flight is waited for. why: what came,
    or what a person said. Once: a run whose undo has begun stays as it is."""
    if run.undo:
        return Advance(run)
    by = f" ({event_id})" if event_id else ""
    if run.state in OPEN:
        run = ended(told(run, now, f"Stopped: {happening(why)}{by}."), "stopped", why, now)
    undo = {"state": "settling", "why": why, "event": event_id, "by": actor, "at": iso(now)}
    undo |= {"was": run.state, "reason": run.reason}
    run = told(replace(run, undo={**undo, "steps": []}), now, f"Undo: {happening(why)}{by}.")
    if run.mode == "watch":
        return Advance(_simulated(run, now))
    if in_flight(run):  # the waker sees to it that its settling does not take longer than it must
        text = "Undo waits until the step in flight is settled."
        return Advance(replace(told(run, now, text), state="acting", due_at=iso(now)))
    return carry_on(run, now)


def carry_on(run: Run, now: datetime) -> Advance:
    """The next inverse, when everything before is settled; the end of the undo after the last."""
    if run.undo["state"] == "settling":
        if in_flight(run):
            return Advance(run)
        run = replace(run, undo={**run.undo, "state": "acting", "steps": to_take_back(run)})
    for entry in run.undo["steps"]:
        if entry["state"] == "to come":
            return _asked(run, entry, now)
    return Advance(_finished(run, now))


def _asked(run: Run, entry: JSON, now: datetime) -> Advance:
    generation = int(entry.get("generation", 0))
    command = command_of(run, PREFIX + entry["step"], entry["action"], entry["params"], now, generation)
    run = replace(run, state="acting", due_at=None, reason="")
    return Advance(_said(run, entry["step"], now, state="due"), (command,))


def _finished(run: Run, now: datetime) -> Run:
    steps = run.undo["steps"]
    stuck = [entry for entry in steps if entry["state"] in ("person", "failed")]
    back = [entry["message"].rstrip(".") for entry in steps if entry["state"] == "done"]
    kept = [f"{entry['step']} ({_plain(entry['message'])})" for entry in steps if entry["state"] in ("skipped", "left")]
    if back:
        run = told(run, now, f"Undone: {'; '.join(back)}.")
    if kept:
        run = told(run, now, f"Not undone: {'; '.join(kept)}.")
    if not steps or not (back or stuck or kept):
        run = told(run, now, f"Undone: {NOTHING}.")
    if stuck:
        reason = "Undo: " + "; ".join(f"{entry['step']}: {entry['message']}" for entry in stuck)
        run = replace(run, state="needs_person", due_at=None, reason=reason, updated_at=iso(now))
        return _now(run, "person")
    state = "left" if any(entry["state"] == "left" for entry in steps) else "done"
    return _now(ended(run, run.undo["was"], run.undo["reason"], now), state)


def _simulated(run: Run, now: datetime) -> Run:
    """A run that sent nothing takes nothing back: it says what it would have looked at."""
    would = [name for name, record in run.steps.items() if record.get("state") == "would" and record.get("data")]
    steps = [
        {"step": name, "state": "would", "message": "Would be taken back, where the action can be."}
        for name in reversed(would)
    ]
    said = f"Would undo {', '.join(entry['step'] for entry in steps)}" if steps else f"Undone: {NOTHING}"
    return replace(told(run, now, said + "."), undo={**run.undo, "state": "done", "steps": steps}, updated_at=iso(now))


# ---- answers --------------------------------------------------------------------------------------------------------
def undo_settled(run: Run, step: str, outcome: Outcome, now: datetime) -> Advance:
    """An inverse came to its end: on to the next. One that needs a person holds none of the others back."""
    name = step.removeprefix(PREFIX)
    entry = record_of(run, step)
    run = told(run, now, f"{step}: {outcome.message}")
    if entry.get("state") != "due" or not is_undoing(run):
        return Advance(replace(run, updated_at=iso(now)))
    done = outcome.kind == "done" and not outcome.data.get("already")
    message = str(entry["says"]) if done else outcome.message
    return carry_on(_said(run, name, now, state=_STATES[outcome.kind], message=message), now)


def undo_refused(run: Run, step: str, why: str, now: datetime) -> Advance:
    """An inverse that may not be done any more."""
    if record_of(run, step).get("state") != "due":
        return Advance(run)
    return carry_on(_said(run, step.removeprefix(PREFIX), now, state="skipped", message=f"Not done: {why}"), now)


def record_of(run: Run, step: str) -> JSON:
    """The record of a step by the name that its command carries, an inverse's among them; empty when there is none."""
    if not step.startswith(PREFIX):
        found: JSON = run.steps.get(step, {})
        return found
    name = step.removeprefix(PREFIX)
    return next((entry for entry in run.undo.get("steps", ()) if entry["step"] == name), {})


def may_do(run: Run, step: str) -> str:
    """Why a command of this run must not be done now; empty when it may."""
    if run.state != "acting":
        return f"the run is {run.state}" + (f": {run.reason}" if run.reason else "")
    if run.undo and not step.startswith(PREFIX):
        return "what the run did is being taken back"
    return "" if record_of(run, step).get("state") == "due" else "the run has left this step"


# ---- a person -------------------------------------------------------------------------------------------------------
def operate_undo(run: Run, verb: str, said: str, now: datetime) -> Advance:
    """What a person asks of an undo. retry: what is stuck once more under the same key. again: as a new effect.
    skip, cancel: leave it as it is. Raises NotPossible for any other verb."""
    run = told(run, now, said + ".")
    if verb in ("retry", "again") and run.undo["state"] == "person":
        return carry_on(_reset(run, 1 if verb == "again" else 0), now)
    if verb in ("skip", "cancel") and run.undo["state"] != "settling":
        return carry_on(_left(run, said, now), now)
    raise NotPossible(f"what the run did is being taken back; there is nothing to {verb}")


def _reset(run: Run, more: int) -> Run:
    steps = [
        {**entry, "state": "to come", "generation": int(entry.get("generation", 0)) + more}
        if entry["state"] in ("person", "failed")
        else entry
        for entry in run.undo["steps"]
    ]
    return replace(run, undo={**run.undo, "state": "acting", "steps": steps})


def _left(run: Run, said: str, now: datetime) -> Run:
    open_states = ("person", "failed", "to come", "due")
    steps = [
        {**entry, "state": "left", "message": f"left as it is by {said}", "at": iso(now)}
        if entry["state"] in open_states
        else entry
        for entry in run.undo["steps"]
    ]
    return replace(run, undo={**run.undo, "steps": steps})


# ---- the parts ------------------------------------------------------------------------------------------------------
def _said(run: Run, name: str, now: datetime, **more: Any) -> Run:
    steps = [
        {**entry, **more, "at": iso(now)} if entry["step"] == name else entry for entry in run.undo.get("steps", ())
    ]
    return replace(run, undo={**run.undo, "steps": steps}, updated_at=iso(now))


def _now(run: Run, state: str) -> Run:
    return replace(run, undo={**run.undo, "state": state})


def _plain(message: str) -> str:
    """ "Cannot be undone: an e-mail stays sent." as a part of a sentence."""
    return message.removeprefix("Cannot be undone: ").rstrip(".")
