"""The steps of a run as its version wrote them, each with what became of it, those still to come included."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from app.browse.rows import JSON, Row
from rules.run import OPEN

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
                "says": _says(step),
                "state": record.get("state") or "to come",
                **{name: record.get(name) for name in RECORDED},
                "command": commands.get(step.get("name", "")),
            }
        )
    return found[:MOST]


def verbs(document: JSON, run: JSON) -> list[str]:
    """What an operator may ask of the run as it stands, the likeliest first."""
    state, step = run["state"], current(document, run)
    kind = kind_of(step) if step else ""
    can = []
    if state in ("parked", "pending"):
        can.append("release")
    if state == "needs_person" and kind == "approve":
        can += ["approve", "decline"]
    if state in ("needs_person", "failed") and kind == "do" and run["mode"] == "live":
        can += ["retry", "again"]
    if state == "waiting" or (state == "needs_person" and kind != "approve"):
        can.append("skip")
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


def _says(step: JSON) -> Any:
    """The part of the document that says what the step does."""
    kind = kind_of(step)
    return {"action": step["do"], "with": dict(step.get("with") or {})} if kind == "do" else step.get(kind)
