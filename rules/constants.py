"""The personal constants of a rule document: what must become a token before the document is kept.

A personal field holds a token, so it equals a constant only when that is tokenised alike; and nobody's address may
stand in a rule. Use with `rules.personal.replace`, which puts the vault's tokens in their places.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rules.catalogue import Catalogue
from rules.fact_fields import known_field
from rules.personal import TOKEN, Place

_WHOLE = frozenset({"equal to", "not equal to", "one of", "none of", "changed from", "changed to"})


def personal_constants(document: Any, catalogue: Catalogue) -> list[Place]:
    """(container, key) of every constant that is compared with a personal field and is no token yet.

    Takes any JSON: what is no rule has none. To replace them, copy the document first.
    """
    when = document.get("when") if isinstance(document, dict) else None
    types = when.get("event") if isinstance(when, dict) else None
    if not isinstance(types, list):
        return []
    known = [type for type in types if isinstance(type, str)]
    return [
        place for test, path in _tests(document, "") if _personal(path, known, catalogue) for place in _places(test)
    ]


def _tests(value: Any, inside: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Every test below, with the full path of its field."""
    if isinstance(value, list):
        for part in value:
            yield from _tests(part, inside)
    if not isinstance(value, dict):
        return
    field = value.get("field")
    path = field if isinstance(field, str) else ""
    if inside and not path.startswith(("data.object.", "data.previous_attributes.")):
        path = f"{inside}[].{path}"
    if "is" in value and path:
        yield value, path
    for key, part in value.items():
        yield from _tests(part, path if key == "where" else inside)


def _personal(path: str, types: Sequence[str], catalogue: Catalogue) -> bool:
    now = path.replace("data.previous_attributes.", "data.object.", 1)
    if known := known_field(now):
        return known.personal
    found = [catalogue.field(type, now) for type in types]
    return any(info is not None and info.personal for info in found)


def _places(test: Any) -> Iterator[Place]:
    if test["is"] not in _WHOLE:
        return
    value = test.get("value")
    for container, key in [(test, "value")] if isinstance(value, str) else _items(value):
        text = container[key]
        if isinstance(text, str) and text and not TOKEN.fullmatch(text):
            yield container, key


def _items(value: Any) -> list[Place]:
    return [(value, index) for index in range(len(value))] if isinstance(value, list) else []
