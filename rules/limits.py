"""Limits: whether one more run of a rule fits into what may be started in a span of time, and what is counted then."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rules.event import iso, seconds
from rules.model import Limits

JSON = Mapping[str, Any]
DAY = 86400


def window_of(limits: Limits, now: datetime) -> str:
    """The name of the span that `now` falls in: the UTC day, or the start of the span where it is no day.

    >>> from datetime import datetime
    >>> window_of(Limits(runs=1), datetime(2026, 11, 23, 12, tzinfo=UTC))
    '2026-11-23'
    """
    if limits.per == DAY:
        return now.astimezone(UTC).date().isoformat()
    stamp = int(now.timestamp())
    return iso(seconds(stamp - stamp % limits.per))


def refusal(limits: Limits, used: JSON, money: JSON) -> str:
    """Why one more run about this money does not fit, in words; nothing when it fits."""
    if limits.runs is not None and used.get("runs", 0) >= limits.runs:
        return f"the limit of {limits.runs} runs is reached"
    if not limits.money:
        return ""
    for currency, amount in money.items():
        if currency not in limits.money:
            return f"there is no limit for {currency.upper()}, so a person decides"
        spent = used.get("money", {}).get(currency, 0)
        if spent + amount > limits.money[currency]:
            return f"the limit for {currency.upper()} would be passed"
    return ""


def counted(used: JSON, money: JSON) -> dict[str, Any]:
    """What is used once this run has been admitted."""
    spent = dict(used.get("money", {}))
    for currency, amount in money.items():
        spent[currency] = spent.get(currency, 0) + amount
    return {**used, "runs": used.get("runs", 0) + 1, "money": spent}
