"""What takes an action back, asked of the action when it is done and kept with the run's step (rules.run)."""

from __future__ import annotations

from typing import Any

from app import logs
from rules.ports import ActionExecutor, Body, Reversible

UNCHANGED = "It changed nothing, so there is nothing to take back."
UNKNOWN = "A fault of ours: the way back could not be worked out. Look at the step and take it back by hand."


def inverse_of(action: ActionExecutor, command: Body) -> dict[str, Any]:
    """`{"action", "params", "says"}`, or `{"cannot": why}`. command: the body as it is settled. A fault in working out
    the way back never unsettles what was done."""
    if not isinstance(action, Reversible):
        return {"cannot": action.undo}
    try:
        found = action.inverse(command)
    except Exception as surprise:
        logs.failed("inverse.surprise", surprise, command=command["id"], action=command["action"])
        return {"cannot": UNKNOWN}
    if found is None:
        unchanged = "before" not in command["outcome"].get("data", {})
        return {"cannot": UNCHANGED if unchanged else action.undo}
    return {"action": found.action, "params": dict(found.params), "says": found.says}
