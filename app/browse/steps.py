"""The steps of a run as its version wrote them, each with what became of it, those still to come included."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from app.browse.rows import JSON, Row
from app.browse.undoing import undo_of, undo_verbs
from rules.model import duration
from rules.run import OPEN, QUEUED
from rules.words import span_text

KINDS = ("do", "wait", "if", "approve", "stop")
BRANCHES = ("then", "else")
RECORDED = ("at", "message", "until", "ended_by", "event", "data", "generation")
MOST = 200  # steps shown


def steps_of(document: JSON, run: JSON, commands: Mapping[str, Row]) -> list[Row]:
    """Every step in reading order: name, kind, depth, what the rule says, its record, its action. commands: by step."""
    records = run.get("steps") or {}
    found = []
    for step, depth, branch in _walk(document.get("steps") or (), 0, ""):
        record = records.get(step.get("name"), {})
        found.append(
            {
                "name": step.get("name", ""),
                "kind": kind_of(step),
                "depth": depth,
                "branch": branch,
                "title": title(step),
                "state": record.get("state") or "to come",
                **{name: record.get(name) for name in RECORDED},
                "command": commands.get(step.get("name", "")),
            }
        )
    return found[:MOST]


def verbs(document: JSON, run: JSON) -> list[str]:
    """What an operator may ask of the run as it stands, the likeliest first."""
    if (undoing := undo_verbs(run)) is not None:
        return undoing
    state, step = run["state"], current(document, run)
    kind = kind_of(step) if step else ""
    can = []
    if state == "parked" and run["reason"] == QUEUED:
        can.append("start")
    elif state in ("parked", "pending"):
        can.append("release")
    if state == "needs_person" and kind == "approve":
        can += ["approve", "decline"]
    if state in ("needs_person", "failed") and kind == "do" and run["mode"] == "live":
        can += ["retry", "again"]
    if state == "waiting" or (state == "needs_person" and kind != "approve"):
        can.append("skip")
    if undo_of(run, {})["may"]:
        can.append("undo")
    return [*can, "cancel"] if state in OPEN else can


def current(document: JSON, run: JSON) -> JSON | None:
    """The step that the run stands at, by its position (rules.run); None before the first and after the last."""
    steps: Sequence[JSON] = document.get("steps") or ()
    position = tuple(run.get("position") or ())
    for depth in range(0, len(position), 2):
        if not 0 <= position[depth] < len(steps):
            return None
        step: JSON = steps[position[depth]]
        if depth + 1 == len(position):
            return step
        steps = step.get(BRANCHES[position[depth + 1]]) or ()
    return None


def kind_of(step: JSON) -> str:
    return next((kind for kind in KINDS if kind in step), "")


def _walk(steps: Sequence[JSON], depth: int, branch: str) -> Iterator[tuple[JSON, int, str]]:
    for step in steps:
        yield step, depth, branch
        if "if" in step and "do" not in step and "approve" not in step:
            for name in BRANCHES:
                yield from _walk(step.get(name) or (), depth + 1, name)


def title(step: JSON) -> str:
    """What the step does, in a few words: "wait 48 hours", "crm.notify via crm"."""
    kind, said = kind_of(step), step.get(kind_of(step))
    if kind == "do":
        via = (step.get("with") or {}).get("connection")
        return f"{said} via {via}" if via else str(said)
    if kind == "wait" and isinstance(said, Mapping):
        return _wait(said)
    if kind == "approve" and isinstance(said, Mapping):
        return f"ask for approval by {said.get('role') or 'someone'}"
    return f"stop: {said}" if kind == "stop" else "decide which way"


def _wait(said: JSON) -> str:
    if "for" in said:
        return f"wait {_span(said['for'])}"
    if "until" in said:
        before = f"{_span(said['minus'])} before " if said.get("minus") else ""
        return f"wait until {before}{said['until']}"
    types = [name for event in said.get("for_event") or () for name in _listed(event.get("event"))]
    at_most = f", at most {_span(said['at_most'])}" if said.get("at_most") else ""
    return f"wait for {' or '.join(types)}{at_most}"


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())


def _span(text: Any) -> str:
    try:
        return span_text(int(duration(str(text)).total_seconds()))
    except ValueError:
        return str(text)
