"""A slow evaluator of condition documents, written from the definition of the language and not from the code."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

NOTHING = object()


def holds(condition: dict[str, Any], envelope: dict[str, Any], item: Any = NOTHING) -> bool:
    """Whether a condition document holds for an envelope of the newest API version (or for an item of a list in it)."""
    if "all" in condition:
        return all([holds(part, envelope, item) for part in condition["all"]])
    if "any" in condition:
        return any([holds(part, envelope, item) for part in condition["any"]])
    if "not" in condition:
        return not holds(condition["not"], envelope, item)
    return test(condition, envelope, item)


def test(condition: dict[str, Any], envelope: dict[str, Any], item: Any) -> bool:
    field, operator = condition["field"], condition["is"]
    value = look(field, envelope, item)
    if operator == "is present":
        return value is not NOTHING and value is not None
    if operator == "is absent":
        return value is NOTHING or value is None
    if operator == "is empty":
        return value is NOTHING or value is None or value in ("", [], {})
    if operator.startswith("changed"):
        return changed(operator, field, condition.get("value"), value, envelope)
    if value is NOTHING or value is None:
        return False
    if operator in ("any item", "all items", "no item"):
        if type(value) is not list:
            return False
        found = [holds(condition["where"], envelope, one) for one in value]
        return {"any item": True in found, "all items": False not in found, "no item": True not in found}[operator]
    if operator == "is true":
        return value is True
    if operator == "is false":
        return value is False
    if operator in ("in the last", "in the next"):
        at, now = unix(value), unix(envelope.get("created"))
        if at is None or now is None:
            return False
        gap = now - at if operator == "in the last" else at - now
        return 0 <= gap <= span(condition["value"])
    wanted = condition["value"]
    if type(wanted) is dict:
        wanted = reckoned(wanted, envelope, item)
        if wanted is NOTHING or wanted is None:
            return False
    return compare(operator, value, wanted)


def compare(operator: str, value: Any, wanted: Any) -> bool:
    if operator == "equal to":
        return alike(value, wanted) and value == wanted
    if operator == "not equal to":
        return alike(value, wanted) and value != wanted
    if operator == "one of":
        return any(alike(value, one) and value == one for one in wanted)
    if operator == "none of":
        return any(alike(value, one) for one in wanted) and not any(
            alike(value, one) and value == one for one in wanted
        )
    if operator == "contains":
        if type(value) is list:
            return any(alike(one, wanted) and one == wanted for one in value)
        return type(value) is str and type(wanted) is str and value.count(wanted) > 0
    if operator in ("starts with", "ends with"):
        if type(value) is not str or type(wanted) is not str or len(wanted) > len(value):
            return False
        return (value[: len(wanted)] if operator == "starts with" else value[len(value) - len(wanted) :]) == wanted
    if operator == "matches":
        return type(value) is str and re.search(wanted, value) is not None
    if operator in ("before", "after"):
        left, right = unix(value), unix(wanted)
        if left is None or right is None:
            return False
        return left < right if operator == "before" else left > right
    if operator == "between":
        return numeric(value) and wanted[0] <= value <= wanted[1]
    if not (numeric(value) and numeric(wanted)):
        return False
    return {
        "greater than": value > wanted,
        "greater or equal to": value >= wanted,
        "less than": value < wanted,
        "less or equal to": value <= wanted,
    }[operator]


def changed(operator: str, field: str, wanted: Any, value: Any, envelope: dict[str, Any]) -> bool:
    keys = field.split(".")[2:]
    former: Any = envelope.get("data", {}).get("previous_attributes", NOTHING)
    for key in keys:
        if type(former) is dict:
            if key not in former:
                return False
            former = former[key]
        elif former is NOTHING:
            return False
        else:  # what holds it was not there before
            former = NOTHING
            if value is NOTHING or value is None:
                return False
            break
    if former is NOTHING and not keys:
        return False
    if operator == "changed":
        return True
    if operator == "changed from":
        return alike(former, wanted) and former == wanted
    return alike(value, wanted) and value == wanted


def look(field: str, envelope: dict[str, Any], item: Any) -> Any:
    at_root = field.startswith(("data.object.", "data.previous_attributes.", "step.", "fact.", "score."))
    value = envelope if item is NOTHING or at_root else item
    for key in field.split("."):
        if type(value) is not dict or key not in value:
            return NOTHING
        value = value[key]
    return value


def reckoned(other: dict[str, Any], envelope: dict[str, Any], item: Any) -> Any:
    value = look(other["field"], envelope, item)
    if other.get("plus", 0) == 0 and other.get("times", 1) == 1:
        return value
    return value * other.get("times", 1) + other.get("plus", 0) if numeric(value) else NOTHING


def alike(left: Any, right: Any) -> bool:
    """Both numbers, both texts, or both true-or-false."""
    if type(left) is bool or type(right) is bool:
        return type(left) is bool and type(right) is bool
    return (numeric(left) and numeric(right)) or (type(left) is str and type(right) is str)


def numeric(value: Any) -> bool:
    return type(value) in (int, float)


def unix(value: Any) -> float | None:
    if numeric(value):
        return value
    if type(value) is not str or not re.match(r"\d{4}-\d\d-\d\d", value):
        return None
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        return None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def span(text: str) -> int:
    number, unit = int(re.sub(r"\D", "", text)), text[-1]
    return number * {"W": 604800, "D": 86400, "H": 3600, "M": 60, "S": 1}[unit]
