"""Parameters as people, rules and Stripe write them, read at the moment of acting."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rules.event import instant, seconds


def time_of(value: Any) -> datetime | None:
    """A time in unix seconds or ISO 8601 (UTC where it says no zone); None when there is none. Raises ValueError."""
    if value in (None, ""):
        return None
    if str(value).isdecimal():
        return seconds(int(value))
    found = instant(str(value))
    return found if found.tzinfo else found.replace(tzinfo=UTC)
