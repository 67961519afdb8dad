"""Fields: reading a value out of an event by its path, and the catalogue of every field that Stripe's events have."""

from __future__ import annotations

from typing import Any

from rules.aliases import MISSING, Path, elsewhere, may_have_moved, walk
from rules.catalogue import Catalogue, EventType, FieldInfo
from rules.event import JSON

__all__ = [
    "MISSING",
    "OBJECT",
    "PREVIOUS",
    "Catalogue",
    "EventType",
    "FieldInfo",
    "Path",
    "locate",
    "locate_in",
    "previous",
    "read",
]

OBJECT: Path = ("data", "object")
PREVIOUS: Path = ("data", "previous_attributes")


def read(envelope: JSON, path: Path) -> Any:
    """The value at a path of an event of any API version, or MISSING. Null is None.

    >>> old = {"data": {"object": {"object": "invoice", "subscription": "sub_1"}}}
    >>> read(old, ("data", "object", "parent", "subscription_details", "subscription"))
    'sub_1'
    """
    value: Any = envelope
    for key in path:
        if not isinstance(value, dict) or key not in value:
            return locate(envelope, path)[0]
        value = value[key]
    return value


def locate(envelope: JSON, path: Path) -> tuple[Any, Path]:
    """(value or MISSING, the path that it stands at in this version)."""
    value = walk(envelope, path)
    start = path[:2]
    if value is not MISSING or start not in (OBJECT, PREVIOUS) or not may_have_moved(path[2:]):
        return value, path
    root = walk(envelope, OBJECT)
    thing = walk(envelope, start)
    if not isinstance(root, dict) or not isinstance(thing, dict):
        return MISSING, path
    found, where = elsewhere(root.get("object"), thing, path[2:], root if start == OBJECT else None)
    return found, start + where


def locate_in(item: Any, path: Path, envelope: JSON) -> tuple[Any, Path]:
    """The same inside one item of a list in the envelope."""
    value = walk(item, path)
    if value is not MISSING or not may_have_moved(path) or not isinstance(item, dict):
        return value, path
    root = walk(envelope, OBJECT)
    return elsewhere(item.get("object"), item, path, root if isinstance(root, dict) else {})


def previous(envelope: JSON, path: Path) -> Any:
    """What stood at `data.object...` before an `*.updated` event: None for nothing, MISSING when it did not change.

    Stripe's `previous_attributes` holds only the keys that changed; a list that changed is there whole.
    """
    value: Any = walk(envelope, PREVIOUS)
    for key in path[2:]:
        if isinstance(value, dict):
            if key not in value:
                return locate(envelope, PREVIOUS + path[2:])[0]
            value = value[key]
        elif value is MISSING:
            return MISSING
        else:  # the object that holds it was not there before
            return None if read(envelope, path) not in (None, MISSING) else MISSING
    return value
