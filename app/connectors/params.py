"""What connectors read in a task: parameters as people and Stripe write them, and what an earlier try had found."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from app.numbers import whole
from rules.event import instant, seconds
from rules.ports import Body, Outcome


def time_of(value: Any) -> datetime | None:
    """A time in unix seconds or ISO 8601 (UTC where it says no zone); None when there is none. Raises ValueError."""
    if value in (None, ""):
        return None
    if (number := whole(str(value))) is not None:
        return seconds(number)
    found = instant(str(value))
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def remembering(outcome: Outcome, task: Body) -> Outcome:
    """With what an earlier try had read before its answer was lost: the state before the change."""
    earlier = task.get("outcome", {}).get("data", {})
    if outcome.kind == "done" and "before" in earlier:
        return replace(outcome, data={**outcome.data, **earlier})
    return outcome
