"""Paths: how a rule names a field. `data.object["a.b"]` is the key array ("data", "object", "a.b")."""

from __future__ import annotations

import re

_KEY = re.compile(r'(?:^|\.)([^.\[\]"\s]+(?:\[\])?)|\["((?:[^"\\]|\\["\\])+)"\]')
_PLAIN = re.compile(r'[^.\[\]"\s]+(?:\[\])?')


def split(text: str) -> tuple[str, ...]:
    """The key array of a path. A key that is no plain word is written `["..."]`. Raises ValueError.

    >>> split('data.object.metadata["sales.owner"]')
    ('data', 'object', 'metadata', 'sales.owner')
    """
    keys: list[str] = []
    at = 0
    while at < len(text):
        found = _KEY.match(text, at)
        if not found:
            raise ValueError(f"{text!r} is no path; write keys with dots between them, such as data.object.status")
        keys.append(found[1] if found[1] is not None else re.sub(r"\\(.)", r"\1", found[2]))
        at = found.end()
    if not keys or text.startswith("."):
        raise ValueError("a path names a field, such as data.object.status")
    return tuple(keys)


def join(path: tuple[str, ...]) -> str:
    """The text of a key array; the inverse of `split`.

    >>> join(("data", "object", "metadata", "sales.owner"))
    'data.object.metadata["sales.owner"]'
    """
    text = ""
    for key in path:
        if _PLAIN.fullmatch(key):
            text += f".{key}" if text else key
        else:
            escaped = key.replace("\\", "\\\\").replace('"', '\\"')
            text += f'["{escaped}"]'
    return text


_ROOTS = frozenset({"fact", "score", "step"})


def from_root(path: tuple[str, ...]) -> bool:
    """Whether a path inside `where` starts at the event again instead of at the list's item."""
    return path[0] in _ROOTS or path[:2] in (("data", "object"), ("data", "previous_attributes"))
