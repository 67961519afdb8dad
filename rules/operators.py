"""Operators: what each `is` of a condition means, value against value, and what missing, null and wrong types mean.

Every comparison with a missing or null value is false. A value of the wrong type makes the comparison false too, and
the explanation says so. Numbers compare by value; text never equals a number; true and false are no numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

COMPARE: Final = ("greater than", "greater or equal to", "less than", "less or equal to")
TEXT: Final = ("starts with", "ends with", "matches")
BARE: Final = ("is present", "is absent", "is empty", "is true", "is false", "changed")
TIMES: Final = ("before", "after")
SPANS: Final = ("in the last", "in the next")
ITEMS: Final = ("any item", "all items", "no item")
CHANGES: Final = ("changed", "changed from", "changed to")
OPERATORS: Final = (
    "equal to",
    "not equal to",
    *COMPARE,
    "between",
    "one of",
    "none of",
    "contains",
    *TEXT,
    "is present",
    "is absent",
    "is empty",
    "is true",
    "is false",
    *CHANGES,
    *TIMES,
    *SPANS,
    *ITEMS,
)


def kind(value: Any) -> str:
    """What a JSON value is, in a word: number, text, true or false, list, object, null."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, (int, float)):
        return "number" if value == value else "no number"
    if isinstance(value, str):
        return "text"
    return "list" if isinstance(value, list) else "object"


def number(value: Any) -> bool:
    """Whether it is a number; true, false and NaN are none."""
    return (type(value) is int or type(value) is float) and bool(value == value)


def same(left: Any, right: Any) -> bool:
    """Equality of two JSON scalars of one kind; null and lists and objects equal nothing.

    >>> same(5, 5.0), same(1, True), same("5", 5), same(None, None)
    (True, False, False, False)
    """
    return left is not None and kind(left) == kind(right) and kind(left) not in ("list", "object") and left == right


def differs(left: Any, right: Any) -> bool:
    """`not equal to`: both there, of one kind, and not equal."""
    return left is not None and kind(left) == kind(right) and kind(left) not in ("list", "object") and left != right


def contains(value: Any, part: Any) -> bool:
    """A text within a text, or an item of a list.

    >>> contains("cabs", "ab"), contains(["x", "ab"], "ab"), contains(["xab"], "ab")
    (True, True, False)
    """
    if isinstance(value, str):
        return isinstance(part, str) and part in value
    return isinstance(value, list) and any(same(item, part) for item in value)


def empty(value: Any) -> bool:
    """Missing, null, the empty text, the empty list or the empty object."""
    return value is None or (isinstance(value, (str, list, dict)) and not value)


def clock(value: Any) -> float | int | None:
    """A time in unix seconds, from Stripe's whole seconds or ISO 8601 text (UTC unless it says otherwise)."""
    if number(value):
        return value  # type: ignore[no-any-return]
    if not isinstance(value, str) or not re.match(r"\d{4}-\d\d-\d\d", value):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return int(seconds) if seconds.is_integer() else seconds


def before(value: Any, limit: Any) -> bool:
    """Whether a time is earlier than another; false where either is no time.

    >>> before("2026-05-27", "2026-05-28T00:00:00Z"), before("soon", 5)
    (True, False)
    """
    left, right = clock(value), clock(limit)
    return left is not None and right is not None and left < right


def after(value: Any, limit: Any) -> bool:
    """Whether a time is later than another; false where either is no time.

    >>> after(101, 100), after(100, 100)
    (True, False)
    """
    left, right = clock(value), clock(limit)
    return left is not None and right is not None and left > right


def in_the_last(value: Any, seconds: int, now: Any) -> bool:
    """Within the span that ends at the event; both ends belong to it."""
    at, end = clock(value), clock(now)
    return at is not None and end is not None and end - seconds <= at <= end


def in_the_next(value: Any, seconds: int, now: Any) -> bool:
    """Within the span that begins at the event; both ends belong to it."""
    at, start = clock(value), clock(now)
    return at is not None and start is not None and start <= at <= start + seconds


def reckon(value: Any, times: float | int, plus: float | int) -> Any:
    """`value * times + plus` of a number; of anything else None when there is something to reckon."""
    if times == 1 and plus == 0:
        return value
    if not number(value):
        return None
    try:
        return value * times + plus
    except OverflowError:
        return None


@lru_cache(maxsize=4096)
def pattern(text: str) -> Any:
    """The compiled regular expression, searched for anywhere in a text, in linear time. Raises ValueError."""
    import re2  # only here: what uses no pattern needs nothing beside Python

    options = re2.Options()
    options.log_errors = False
    options.max_mem = 1 << 20  # a hostile pattern is refused here instead of growing
    try:
        return re2.compile(text, options)
    except re2.error as error:
        reason = error.args[0] if error.args else error
        raise ValueError(reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)) from error


def search(value: Any, expression: Any) -> bool:
    """Whether a compiled expression is found in a text."""
    try:
        return isinstance(value, str) and expression.search(value) is not None
    except UnicodeEncodeError:  # half a surrogate pair is no text
        return False


def _number(test: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    return lambda left, right: number(left) and number(right) and test(left, right)


# operators on a value and a constant (or another field's value) alone
BINARY: Final[Mapping[str, Callable[[Any, Any], bool]]] = MappingProxyType(
    {
        "equal to": same,
        "not equal to": differs,
        "greater than": _number(lambda left, right: bool(left > right)),
        "greater or equal to": _number(lambda left, right: bool(left >= right)),
        "less than": _number(lambda left, right: bool(left < right)),
        "less or equal to": _number(lambda left, right: bool(left <= right)),
        "between": lambda left, right: number(left) and bool(right[0] <= left <= right[1]),
        "one of": lambda left, right: any(same(left, one) for one in right),
        "none of": lambda left, right: _comparable(left, right) and not any(same(left, one) for one in right),
        "contains": contains,
        "starts with": lambda left, right: isinstance(left, str) and isinstance(right, str) and left.startswith(right),
        "ends with": lambda left, right: isinstance(left, str) and isinstance(right, str) and left.endswith(right),
        "matches": lambda left, right: search(left, pattern(right)),
        "before": before,
        "after": after,
    }
)
UNARY: Final[Mapping[str, Callable[[Any], bool]]] = MappingProxyType(
    {
        "is present": lambda value: value is not None,
        "is absent": lambda value: value is None,
        "is empty": empty,
        "is true": lambda value: value is True,
        "is false": lambda value: value is False,
    }
)


def _comparable(value: Any, constants: Any) -> bool:
    return any(kind(value) == kind(one) for one in constants)
