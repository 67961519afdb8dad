"""Words for the parts of a rule: fields, values, times, money and conditions, different ones in different words."""

from __future__ import annotations

import json
from typing import Any

from rules.model import All, Any_, Condition, Not, Other, Test


def span_text(seconds: int) -> str:
    """`7 days`, `48 hours`, `1 day 12 hours`: a span as people write it. 48 hours stay hours: they are exact."""
    if seconds and seconds % 86400 == 0 and seconds != 2 * 86400:
        return _count(seconds // 86400, "day")
    if seconds and seconds % 3600 == 0 and seconds <= 72 * 3600:
        return _count(seconds // 3600, "hour")
    parts = []
    for size, name in ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        number, seconds = divmod(seconds, size)
        if number:
            parts.append(_count(number, name))
    return " ".join(parts) or "0 seconds"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def value_text(value: Any) -> str:
    return f"“{value}”" if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def condition_text(condition: Condition) -> str:
    match condition:
        case All(parts):
            return " and ".join(map(_part, parts)) or "always"
        case Any_(parts):
            return " or ".join(map(_part, parts)) or "never"
        case Not(part):
            return f"not ({condition_text(part)})"
    return _test_text(condition)


def _part(condition: Condition) -> str:
    text = condition_text(condition)
    return text if isinstance(condition, Test) else f"({text})"


def _test_text(test: Test) -> str:
    right = test.other.field if isinstance(test.other, Other) else value_text(test.value)
    return f"{test.field} {test.operator} {right}"
