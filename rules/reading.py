"""Reading a document with care: every helper notes what is wrong and where, then goes on to the next."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from difflib import get_close_matches
from typing import Any

from rules.model import Problem, duration

_LONGEST = 400 * 86400  # windows and waits are bounded: an operator's rule cannot hold a worker's memory for ever
_EVENT_TYPE = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)+")


def nearest(word: str, words: Iterable[str]) -> str | None:
    """The word that was probably meant."""
    pool = list(words)
    lower = {one.lower(): one for one in pool}
    found = get_close_matches(word.lower(), lower, n=1, cutoff=0.6)
    return lower[found[0]] if found else None


class Node:
    """A place in the document: its value, its path (`only_if.all[1].field`), and the common list of problems.

    Each reading method answers the value, or None after noting a problem.
    """

    __slots__ = ("path", "problems", "value")

    def __init__(self, value: Any, path: str, problems: list[Problem]) -> None:
        self.value = value
        self.path = path
        self.problems = problems

    def error(self, message: str, suggestion: str | None = None) -> None:
        self.problems.append(Problem(self.path, message, suggestion))

    def advice(self, message: str, suggestion: str | None = None) -> None:
        self.problems.append(Problem(self.path, message, suggestion, "advice"))

    # ---- going down -------------------------------------------------------------------------------------------------
    def child(self, key: str) -> Node:
        """The node of a key; its value is None when the key is absent."""
        path = f"{self.path}.{key}" if self.path else key
        value = self.value.get(key) if isinstance(self.value, dict) else None
        return Node(value, path, self.problems)

    def has(self, key: str) -> bool:
        return isinstance(self.value, dict) and key in self.value

    def object(self, known: Iterable[str], what: str, required: Iterable[str] = ()) -> bool:
        """Whether it is an object; notes unknown and missing keys."""
        if not isinstance(self.value, dict):
            self.error(f"{what} is an object in braces, not {_said(self.value)}")
            return False
        names = tuple(known)
        for key in self.value:
            if key not in names:
                self.child(key).error(f"unknown key {key!r} in {what}", nearest(str(key), names))
        for key in required:
            if key not in self.value:
                self.child(key).error(f"{key!r} is missing in {what}")
        return True

    def items(self, what: str, at_least: int = 0, at_most: int = 1000) -> Iterator[Node]:
        """The nodes of a list's items."""
        if not isinstance(self.value, list):
            suggestion = f"[{self.value!r}]".replace("'", '"') if isinstance(self.value, str) else None
            self.error(f"{what} is a list in square brackets, not {_said(self.value)}", suggestion)
            return
        if not at_least <= len(self.value) <= at_most:
            bounds = f"needed: at least {at_least}" if len(self.value) < at_least else f"allowed: at most {at_most}"
            self.error(f"{what} ({bounds}) has {len(self.value) or 'none'}")
        for index, value in enumerate(self.value[:at_most]):
            yield Node(value, f"{self.path}[{index}]", self.problems)

    # ---- scalars ----------------------------------------------------------------------------------------------------
    def text(self, what: str, longest: int = 500, empty: bool = False) -> str | None:
        if not isinstance(self.value, str):
            self.error(f"{what} is text, not {_said(self.value)}")
        elif not (empty or self.value.strip()):
            self.error(f"{what} must not be empty")
        elif len(self.value) > longest:
            self.error(f"{what} has at most {longest} characters")
        else:
            return self.value
        return None

    def texts(self, what: str, at_least: int = 0) -> tuple[str, ...]:
        found = [item.text(what, 200) for item in self.items(f"a list of {what}s", at_least, 100)]
        return tuple(text for text in found if text is not None)

    def choice(self, what: str, choices: Iterable[str]) -> str | None:
        names = tuple(choices)
        if isinstance(self.value, str) and self.value in names:
            return self.value
        suggestion = nearest(self.value, names) if isinstance(self.value, str) else None
        self.error(f"{what} is one of {', '.join(names)}, not {_said(self.value)}", suggestion)
        return None

    def integer(self, what: str, low: int, high: int = 10**15) -> int | None:
        value = self.value
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if type(value) is int and low <= value <= high:
            return value
        self.error(f"{what} is a whole number from {low:,}" + (f" to {high:,}" if high < 10**15 else ""))
        return None

    def number(self, what: str, low: float = -math.inf, high: float = math.inf) -> int | float | None:
        if is_number(self.value) and low <= self.value <= high:
            return whole(self.value)
        self.error(f"{what} is a number" + ("" if low == -math.inf else f" from {low:g} to {high:g}"))
        return None

    def boolean(self, what: str) -> bool | None:
        if isinstance(self.value, bool):
            return self.value
        self.error(f"{what} is true or false, not {_said(self.value)}")
        return None

    def duration(self, what: str, least: int = 1) -> int | None:
        """A span in whole seconds."""
        try:
            seconds = int(duration(self.value).total_seconds()) if isinstance(self.value, str) else -1
        except (ValueError, OverflowError) as error:
            self.error(str(error), _meant_duration(self.value))
            return None
        if seconds < 0:
            self.error(f"{what} is a span such as P7D for 7 days or PT48H for 48 hours, not {_said(self.value)}")
        elif not least <= seconds <= _LONGEST:
            self.error(f"{what} is longer than nothing and at most {_LONGEST // 86400} days")
        else:
            return seconds
        return None

    def time(self, what: str) -> str | int | float | None:
        """An instant: ISO 8601 text or unix seconds."""
        if is_number(self.value):
            return whole(self.value)
        if isinstance(self.value, str) and is_time(self.value):
            return self.value
        self.error(f"{what} is a time such as 2026-11-23 or 2026-11-23T09:00:00Z, not {_said(self.value)}")
        return None

    def event_types(self, what: str, known: Iterable[str] | None) -> tuple[str, ...]:
        """known: every event type there is, or None when that is not checked."""
        names = None if known is None else frozenset(known)
        found: list[str] = []
        for item in self.items(what, 1, 50):
            type = item.text("an event type", 100)
            if type is None:
                continue
            if names is not None and type not in names:
                item.error(f"unknown event type {type!r}", nearest(type.removeprefix("v1."), names))
            elif not _EVENT_TYPE.fullmatch(type):
                item.error(f"{type!r} is no event type", "invoice.payment_failed")
            elif type in found:
                item.error(f"{type!r} is named twice")
            else:
                found.append(type)
        return tuple(found)


def is_number(value: Any) -> bool:
    return type(value) is int or (type(value) is float and math.isfinite(value))


def is_time(text: str) -> bool:
    """Whether the text is an ISO 8601 date or time.

    >>> is_time("2026-11-23"), is_time("2026-11-23T10:00:00+01:00"), is_time("tomorrow")
    (True, True, False)
    """
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return re.match(r"\d{4}-\d\d-\d\d", text) is not None


def whole(value: int | float) -> int | float:
    """5.0 and 5 are the same number in a rule."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _said(value: Any) -> str:
    """The value as a message names it, short."""
    if value is None:
        return "nothing"
    text = {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _meant_duration(text: str) -> str | None:
    """`7d`, `7 days`, `48h` were meant as P7D and PT48H."""
    found = re.fullmatch(r"\s*(p?)(t?)(\d+)\s*(w|d|h|m|s|y)[a-z]*\s*", text.lower())
    if not found:
        return None
    if found[4] == "y" or (found[4] == "m" and ((found[1] and not found[2]) or "mo" in text.lower())):
        return f"P{int(found[3]) * (365 if found[4] == 'y' else 30)}D"  # months and years have no fixed length
    number, unit = found[3], found[4].upper()
    return f"P{number}{unit}" if unit in "WD" else f"PT{number}{unit}"
