"""What a person asks of a run: cancel, skip, retry, again, from, approve, decline. Pure; app.operate audits it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from rules.model import Approve, Do, If, Rule, Step
from rules.run import OPEN, Run, replace
from rules.steps import (
    ABSENCE,
    NOT_NEEDED,
    Advance,
    NotPossible,
    begin,
    current_step,
    ended,
    go,
    issue,
    moved,
    recorded,
    told,
)
from rules.texts import walk
from rules.undoing import is_undoing, operate_undo

Verb = Literal["cancel", "skip", "retry", "approve", "decline", "again", "from"]


def operate(run: Run, rule: Rule, verb: Verb, actor: str, reason: str, now: datetime, step: str = "") -> Advance:
    """The run after what a person asked. Raises NotPossible when its state does not allow it.

    cancel: end it. skip: leave out the step it stands at, unless that asks for approval. retry: the failed step once
    more under the same key. again: the step as a new effect, the next generation of its key. approve, decline: answer
    an approval. from: go from this `step` again, each action from there on as a new effect; every approval before it
    must have been given.
    """
    said = f"{actor}: {verb}" + (f" ({reason})" if reason else "")
    if is_undoing(run):
        return operate_undo(run, verb, said, now)
    if verb == "from":
        return _go_from(run, rule, step, f"{said}: from {step}", now)
    if verb in ("retry", "again"):
        return _repeat(run, rule, verb, said, now)
    if run.state not in OPEN:
        raise NotPossible(f"the run is {run.state}; there is nothing to {verb}")
    run = told(run, now, said + ".")
    if verb == "cancel":
        return Advance(ended(run, "cancelled", reason or f"cancelled by {actor}", now))
    if verb == "skip":
        return _skip(run, rule, said, now)
    return _answer(run, rule, verb, said, now)


def _skip(run: Run, rule: Rule, said: str, now: datetime) -> Advance:
    if run.position == ABSENCE:
        return begin(run, rule, now)
    step = current_step(run, rule)
    if isinstance(step, Approve):
        raise NotPossible(f"the run waits for approval by {step.role}: that is answered, or the run is cancelled")
    if step is None or run.state in ("pending", "parked"):
        raise NotPossible(f"the run is {run.state}; it stands at no step")
    return _onward(recorded(run, step.name, now, state="skipped", message=said), rule, now)


def _answer(run: Run, rule: Rule, verb: Verb, said: str, now: datetime) -> Advance:
    step = current_step(run, rule)
    if not isinstance(step, Approve) or run.state != "needs_person":
        raise NotPossible(f"the run is {run.state} and waits for no approval")
    if verb == "decline":
        run = recorded(run, step.name, now, state="skipped", message=said, ended_by="declined")
        return Advance(ended(run, "stopped", said, now))
    return _onward(recorded(run, step.name, now, state="done", message=said, ended_by="approved"), rule, now)


def _repeat(run: Run, rule: Rule, verb: Verb, said: str, now: datetime) -> Advance:
    step = current_step(run, rule)
    if not isinstance(step, Do) or run.state not in ("needs_person", "failed") or run.mode == "watch":
        raise NotPossible(f"the run is {run.state}; it stands at no failed action")
    generation = int(run.steps.get(step.name, {}).get("generation", 0)) + (1 if verb == "again" else 0)
    run = replace(told(run, now, said + "."), state="acting", due_at=None, reason="")
    return issue(run, rule, step, now, generation)


def _go_from(run: Run, rule: Rule, name: str, said: str, now: datetime) -> Advance:
    position = place_of(rule.steps, name)
    if position is None:
        raise NotPossible(f"version {run.version} has no step {name!r}")
    if run.mode == "watch" or run.undo or run.state in ("pending", "parked", "acting"):
        raise NotPossible(f"the run is {'undone' if run.undo else run.state}; it cannot go from a step again")
    if missing := next(_not_given(run, rule.steps, position), None):
        raise NotPossible(f"{missing.name}, before {name}, has not been approved by {missing.role}; go from there")
    names = [step.name for step in walk(rule.steps)]
    later = frozenset(names[names.index(name) :])
    steps = {known: _anew(record) if known in later else record for known, record in run.steps.items()}
    run = replace(told(run, now, said + "."), state="acting", position=position, steps=steps, due_at=None, reason="")
    return go(run, rule, now)


def _anew(record: Mapping[str, Any]) -> dict[str, Any]:
    """A step that comes again: what it does is a new effect, and what takes the first one back is still known."""
    kept = {name: record[name] for name in ("at", "inverse", "command") if name in record}
    generation = int(record.get("generation", 0)) + (1 if "command" in record else 0)
    return {**kept, "state": "again", "message": "", "generation": generation}


def _not_given(run: Run, steps: Sequence[Step], position: Sequence[int]) -> Iterator[Approve]:
    """The approvals on the way to this position that nobody has given: whoever goes on may not be who approves."""
    yield from _asked_among(run, steps[: position[0]])
    if len(position) > 1:
        inside = steps[position[0]]
        assert isinstance(inside, If)
        yield from _not_given(run, inside.otherwise if position[1] else inside.then, position[2:])


def _asked_among(run: Run, steps: Sequence[Step]) -> Iterator[Approve]:
    """Of a branch that the run has decided on, only what stands in it; else all that may stand in its way."""
    for step in steps:
        if isinstance(step, Approve) and not _is_given(step, run.steps.get(step.name, {})):
            yield step
        elif isinstance(step, If):
            record = run.steps.get(step.name, {})
            taken = {"yes": step.then, "no": step.otherwise}.get(record.get("message", ""))
            decided = taken is not None and record.get("state") == "done"
            yield from _asked_among(run, taken or () if decided else (*step.then, *step.otherwise))


def _is_given(step: Approve, record: Mapping[str, Any]) -> bool:
    """By somebody, or by the rule itself, which asks nobody here or goes on without an answer."""
    if record.get("state") == "done":
        return record.get("ended_by") == "approved"
    unanswered = record.get("ended_by") == "timeout" and step.on_timeout == "continue"
    return record.get("state") == "skipped" and (unanswered or record.get("message") == NOT_NEEDED)


def place_of(steps: Sequence[Step], name: str) -> tuple[int, ...] | None:
    """The position of the step of this name (rules.run)."""
    for index, step in enumerate(steps):
        if step.name == name:
            return (index,)
        for branch, inner in enumerate((step.then, step.otherwise) if isinstance(step, If) else ()):
            if (found := place_of(inner, name)) is not None:
                return (index, branch, *found)
    return None


def _onward(run: Run, rule: Rule, now: datetime) -> Advance:
    return go(moved(replace(run, state="acting", due_at=None, reason=""), rule), rule, now)
