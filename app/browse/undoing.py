"""The undo of a run: what was taken back and how, or what could be."""

from __future__ import annotations

from collections.abc import Mapping

from app.browse.rows import JSON, Row
from rules.run import Run
from rules.undoing import PREFIX, is_undoing, may_undo, to_take_back


def undo_of(body: JSON, commands: Mapping[str, Row]) -> Row:
    """`{"state": "" | "settling" | "acting" | "person" | "done" | "left", "why", "event", "by", "at", "steps", "may",
    "may_from"}`. steps: newest first, `{"step", "state", "says", "message", "action", "at", "command"}`; of a run that
    nobody undid, what an undo would do. may: whether it can be undone; may_from: whether it can go on from a step."""
    run = Run.from_body(body)
    entries = run.undo.get("steps") or to_take_back(run)
    ended = run.state not in ("pending", "parked", "acting")
    return {
        **{name: run.undo.get(name) for name in ("why", "event", "by", "at")},
        "state": run.undo.get("state", ""),
        "steps": [_row(entry, commands) for entry in entries],
        "may": run.mode == "live" and may_undo(run),
        "may_from": run.mode == "live" and not run.undo and ended,
    }


def _row(entry: JSON, commands: Mapping[str, Row]) -> Row:
    names = ("step", "state", "says", "message", "action", "at")
    return {**{name: entry.get(name) for name in names}, "command": commands.get(PREFIX + entry["step"])}


def undo_steps(undo: Row) -> list[Row]:
    """The inverses that were asked for, as steps of the time line, in the order in which they were."""
    asked = sorted((one for one in undo["steps"] if one["command"] and one["at"]), key=lambda one: str(one["at"]))
    return [{**one, "name": PREFIX + one["step"], "kind": "do", "until": None} for one in asked]


def undo_verbs(body: JSON) -> list[str] | None:
    """What may be asked of an undo under way; None when there is none."""
    run = Run.from_body(body)
    if not is_undoing(run):
        return None
    return ["retry", "skip"] if run.undo["state"] == "person" else []
