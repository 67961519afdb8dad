"""What takes an action back, asked of the action when it is done and kept with the run's step (rules.run)."""

from __future__ import annotations

from functools import cache
from typing import Any, TypeGuard

from app import logs
from rules.ports import ActionExecutor, Body, Reversible

UNCHANGED = "It changed nothing, so there is nothing to take back."
UNKNOWN = "A fault of ours: the way back could not be worked out. Look at the step and take it back by hand."


def is_reversible(action: ActionExecutor) -> TypeGuard[Reversible]:
    """Whether it can be taken back; Python asks a protocol anew for every object, in 15 us."""
    return _is_reversible(action.__class__)


@cache
def _is_reversible(action: type) -> bool:
    return issubclass(action, Reversible)


def inverse_of(action: ActionExecutor, command: Body) -> dict[str, Any]:
    """`{"action", "params", "says"}`, or `{"cannot": why}`. command: the body as it is settled. A fault in working out
    the way back never unsettles what was done."""
    cannot = action.undo
    if not is_reversible(action):
        return {"cannot": cannot}
    try:
        found = action.inverse(command)
    except Exception as surprise:
        logs.failed("inverse.surprise", surprise, command=command["id"], action=command["action"])
        return {"cannot": UNKNOWN}
    if found is None:
        unchanged = "before" not in command["outcome"].get("data", {})
        return {"cannot": UNCHANGED if unchanged else cannot}
    return {"action": found.action, "params": dict(found.params), "says": found.says}
