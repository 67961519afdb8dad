"""What an entry of the audit log changed, line by line: from what to what, at which place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

MOST = 40  # lines of one entry
LONGEST = 160  # characters of one value
_ABSENT: Any = object()


def difference(before: Any, after: Any) -> list[dict[str, str]]:
    """`[{"path", "before", "after"}]`; an empty text where there was, or is, nothing.

    >>> difference({"state": "off", "version": None}, {"state": "live", "version": 1})
    [{'path': 'state', 'before': 'off', 'after': 'live'}, {'path': 'version', 'before': '', 'after': '1'}]
    >>> difference({"when": {"at_least": 2, "within": "P7D"}}, {"when": {"at_least": 3, "within": "P7D"}})
    [{'path': 'when.at_least', 'before': '2', 'after': '3'}]
    >>> difference("waiting", "cancelled")
    [{'path': '', 'before': 'waiting', 'after': 'cancelled'}]
    """
    found = [line for _, line in zip(range(MOST + 1), _lines("", before, after), strict=False)]
    if len(found) > MOST:
        found[MOST] = {"path": "and more", "before": "", "after": ""}
    return found


def _lines(path: str, before: Any, after: Any) -> Iterator[dict[str, str]]:
    if before is after or before == after:
        return
    old, new = _parts(before), _parts(after)
    if old is None and new is None:
        yield {"path": path, "before": _text(before), "after": _text(after)}
        return
    if (old is None and before not in (None, _ABSENT)) or (new is None and after not in (None, _ABSENT)):
        yield {"path": path, "before": _text(before), "after": _text(after)}
        return
    for key in dict.fromkeys([*(old or {}), *(new or {})]):
        place = f"{path}{key}" if key.startswith("[") else f"{path}.{key}" if path else key
        yield from _lines(place, (old or {}).get(key, _ABSENT), (new or {}).get(key, _ABSENT))


def _parts(value: Any) -> dict[str, Any] | None:
    """The parts of what has any, by their names; plain lists of plain values are one value."""
    if isinstance(value, Mapping):
        return {str(key): part for key, part in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str) and any(_is_whole(part) for part in value):
        return {f"[{number}]": part for number, part in enumerate(value)}
    return None


def _is_whole(part: Any) -> bool:
    return isinstance(part, Mapping | list)


def _text(value: Any) -> str:
    if value is None or value is _ABSENT:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = ", ".join(_text(part) for part in value) if isinstance(value, list) else str(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
