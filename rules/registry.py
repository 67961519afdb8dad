"""The schema registry: one JSON Schema for each type of Stripe event, by API version; data made from Stripe's SDKs.

Types and nullability are strict; enums are open, unknown properties are allowed, only `object` is required, and what
can be expanded is an id or an object. So measured, these rules accept every payload of eight years and catch 98 % of
damaged types; closed objects or more required keys would break with the next monthly release.

A file (app.adapters.stripe_schemas makes it) is {"sdk", "api_version", "events": {type: [class number, ...]}, "thin":
[type, ...], "classes": [{field: spec, ...}, ...], "names": {class number: object name}}. A spec is a type such as
`"text"`, with `?` where it may be null, or [type, classes] for objects and pages, [type, spec] for lists.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).with_name("schemas")
DEPTH = 4  # of the paths that are listed
LONGEST_ID = 255  # characters; Stripe says so of its ids
_PLAIN: Mapping[str, Any] = {
    "text": "string",
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
    "object": "object",
    "page": "object",
    "map": "object",
    "list": "array",
}
_ID = {"type": "string", "maxLength": LONGEST_ID}
_OPTIONAL_ID = {"type": ["string", "null"], "maxLength": LONGEST_ID}
_TEXT_OR_NONE = {"type": ["string", "null"]}
_EXPANDED: Mapping[str, Any] = {  # an id, or the object in its place
    "maxLength": LONGEST_ID,
    "required": ["id"],
    "properties": {"id": _ID, "object": {"type": "string"}},
}
_PAGE: Mapping[str, Any] = {
    "object": {"type": "string"},
    "has_more": {"type": "boolean"},
    "url": {"type": "string"},
    "total_count": {"type": "integer"},
}
_ENVELOPE: Mapping[str, Any] = {
    "id": _ID,
    "object": {"type": "string"},
    "type": _ID,
    "api_version": _TEXT_OR_NONE,
    "created": {"type": "integer"},
    "livemode": {"type": "boolean"},
    "pending_webhooks": {"type": "integer"},
    "account": _OPTIONAL_ID,
    "context": _TEXT_OR_NONE,
    "request": {  # a text until 2017
        "type": ["object", "string", "null"],
        "properties": {"id": _OPTIONAL_ID, "idempotency_key": _OPTIONAL_ID},
    },
}
_THIN: Mapping[str, Any] = {
    "id": _ID,
    "object": {"const": "v2.core.event"},
    "type": _ID,
    "created": {"type": "string"},
    "livemode": {"type": "boolean"},
    "context": _TEXT_OR_NONE,
    "reason": {
        "type": ["object", "null"],
        "properties": {
            "request": {
                "type": ["object", "null"],
                "properties": {"id": _OPTIONAL_ID, "idempotency_key": _OPTIONAL_ID},
            }
        },
    },
    "related_object": {
        "type": ["object", "null"],
        "properties": {"id": _ID, "type": {"type": "string"}, "url": _TEXT_OR_NONE},
    },
    "data": {"type": ["object", "null"]},
}


@dataclass(frozen=True, slots=True)
class Shape:
    """A field of an event. path: as rules write it, `data.object.lines.data[].amount`. type: text, id (an id, or the
    object where it was expanded), integer, number, boolean, object, page, list, map or any. within: the object
    classes on the way, each with the length of its own path: ((0, "invoice"), (2, "line_item"))."""

    path: str
    type: str
    nullable: bool
    within: tuple[tuple[int, str], ...]
    item: str = ""

    @property
    def says(self) -> str:
        """The type in words."""
        plain = {"id": "id or object", "page": "list object", "integer": "whole number"}.get(self.type, self.type)
        of = f" of {self.item}" if self.item else ""
        return f"{plain}{of}{', or null' if self.nullable else ''}"


class Shapes:
    """The event types of one API version. Immutable."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        self.api_version: str = body["api_version"]
        self.sdk: str = body["sdk"]
        self._events: Mapping[str, list[int]] = body["events"]
        self._thin = frozenset(body["thin"])
        self._classes: list[dict[str, Any]] = body["classes"]
        self._names: Mapping[str, str] = body["names"]

    # ---- types ------------------------------------------------------------------------------------------------------
    def event_types(self) -> list[str]:
        """Every snapshot type, by name."""
        return sorted(self._events)

    def thin_types(self) -> list[str]:
        return sorted(self._thin)

    def knows(self, type: str) -> bool:
        return type in self._events or type in self._thin

    def objects(self, type: str) -> tuple[str, ...]:
        """The classes of object that events of this type carry; none of a thin or unknown one."""
        return tuple(self._names[str(number)] for number in self._events.get(type, ()))

    # ---- schemas ----------------------------------------------------------------------------------------------------
    def schema(self, type: str) -> dict[str, Any]:
        """The JSON Schema of the envelope of this type, with the definitions it reaches. LookupError."""
        if type in self._thin:
            return self._schema(type, _THIN, {})
        if type not in self._events:
            raise LookupError(f"The registry of {self.api_version} has no event type {type!r}.")
        reached: dict[str, Any] = {}
        thing = {**self._reference(self._events[type], reached, False), "type": "object", "required": ["object"]}
        data = {
            "type": "object",
            "properties": {"object": thing, "previous_attributes": {"type": ["object", "null"]}},
            "required": ["object"],
        }
        return self._schema(type, {**_ENVELOPE, "data": data}, reached)

    def _schema(self, type: str, properties: Mapping[str, Any], reached: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$id": f"urn:stripe:{self.api_version}:{type}",
            "title": type,
            "type": "object",
            "required": ["object"],
            "properties": dict(properties),
            **({"$defs": dict(sorted(reached.items()))} if reached else {}),
        }

    def _reference(self, classes: Sequence[int], reached: dict[str, Any], nullable: bool) -> dict[str, Any]:
        kind = ["object", "null"] if nullable else "object"
        names = [self._define(number, reached) for number in classes]
        if len(names) == 1:
            return {"type": kind, "$ref": f"#/$defs/{names[0]}"}
        cases = [
            {
                "if": {"properties": {"object": {"const": self._names[str(number)]}}, "required": ["object"]},
                "then": {"$ref": f"#/$defs/{name}"},
            }
            for number, name in zip(classes, names, strict=True)
            if str(number) in self._names
        ]
        return {"type": kind, **({"allOf": cases} if cases else {})}

    def _define(self, number: int, reached: dict[str, Any]) -> str:
        """Put a class and what it holds among the definitions; its name there."""
        name = self._names.get(str(number), f"part_{number}")
        if name not in reached:
            made: dict[str, Any] = {"required": ["object"]} if str(number) in self._names else {}
            reached[name] = made
            made["properties"] = {
                field: self._field(spec, reached, field) for field, spec in self._classes[number].items()
            }
        return name

    def _field(self, spec: Any, reached: dict[str, Any], name: str = "") -> dict[str, Any]:
        type, nullable, inner = _read(spec)
        none = ["null"] if nullable else []
        if type == "any":
            return {}
        if type == "id":
            return {**_EXPANDED, "type": ["string", "object", *none]}
        if type == "object":
            return self._reference(inner, reached, nullable)
        made: dict[str, Any] = {"type": [_PLAIN[type], *none] if nullable else _PLAIN[type]}
        if type == "text" and name == "id":
            made["maxLength"] = LONGEST_ID
        elif type == "map":
            made["additionalProperties"] = {"type": "string"}
        elif type == "list":
            made["items"] = self._field(inner, reached)
        elif type == "page":
            made["properties"] = {
                "data": {"type": "array", "items": self._reference(inner, reached, False)},
                **_PAGE,
            }
        return made

    # ---- paths ------------------------------------------------------------------------------------------------------
    def shapes(self, type: str, depth: int = DEPTH) -> dict[str, Shape]:
        """The fields of a type's object by path, to this depth (lists and pages count once)."""
        found: dict[str, Shape] = {}
        stack = [(_Place((), tuple(self._events.get(type, ())), ()), 1)]
        while stack:
            place, level = stack.pop()
            for number in place.classes:
                for field, spec in self._classes[number].items():
                    shape, below = self._look(place, number, field, spec)
                    if shape.path in found:
                        continue
                    found[shape.path] = shape
                    if below.classes and level < depth:
                        stack.append((below, level + 1))
        return found

    def shape(self, type: str, path: str) -> Shape | None:
        """One field at any depth, a key of a map included; None where there is none."""
        keys = tuple(path.removeprefix("data.object.").split("."))
        if not path.startswith("data.object.") or type not in self._events:
            return None
        return self._find(_Place((), tuple(self._events[type]), ()), keys)

    def _find(self, place: _Place, keys: tuple[str, ...]) -> Shape | None:
        field = keys[0].removesuffix("[]")
        number = next((one for one in place.classes if field in self._classes[one]), None)
        if number is None:
            return None
        shape, below = self._look(place, number, field, self._classes[number][field])
        rest = keys[1:]
        if not rest:
            return shape
        if shape.type in ("any", "map"):
            return Shape(_path((*place.path, *keys)), "any" if shape.type == "any" else "text", True, shape.within)
        if shape.type == "page":
            own = {"data": "list", "has_more": "boolean", "url": "text"}.get(rest[0])
            if own and len(rest) == 1:
                return Shape(_path((*place.path, *keys)), own, False, shape.within)
            rest = rest[1:]
        return self._find(below, rest) if below.classes and rest else None

    def _look(self, place: _Place, number: int, field: str, spec: Any) -> tuple[Shape, _Place]:
        """A field of a class, and what lies below it."""
        type, nullable, inner = _read(spec)
        name = self._names.get(str(number))
        within = (*place.within, (len(place.path), name)) if name else place.within
        path = (*place.path, field)
        if type == "list":
            item, _, classes = _read(inner)
            shape = Shape(_path(path), type, nullable, within, item)
            return shape, _Place((*place.path, f"{field}[]"), tuple(classes or ()) if item == "object" else (), within)
        after = (*path, "data[]") if type == "page" else path
        return Shape(_path(path), type, nullable, within), _Place(after, tuple(inner or ()), within)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a walk is: the path inside the object, the classes that may stand there, the named ones on the way."""

    path: tuple[str, ...]
    classes: tuple[int, ...]
    within: tuple[tuple[int, str], ...]


def _read(spec: Any) -> tuple[str, bool, Any]:
    """(type, may be null, what it refers to)."""
    name, inner = (spec, None) if isinstance(spec, str) else spec
    return name.removesuffix("?"), name.endswith("?"), inner


def _path(keys: tuple[str, ...]) -> str:
    return ".".join(("data", "object", *keys))


# ---- versions -------------------------------------------------------------------------------------------------------
@lru_cache(maxsize=1)
def versions() -> tuple[str, ...]:
    """The API versions that are stored, the oldest first."""
    return tuple(sorted(path.name.removesuffix(".json.gz") for path in FOLDER.glob("*.json.gz")))


@lru_cache(maxsize=8)
def of(version: str) -> Shapes:
    """The shapes of a stored version; read once in a process. LookupError."""
    if version not in versions():
        raise LookupError(f"No schemas are stored for the API version {version!r}; there are {', '.join(versions())}.")
    return Shapes(json.loads(gzip.decompress((FOLDER / f"{version}.json.gz").read_bytes())))


def newest() -> Shapes:
    """Those of the SDK that is installed: what rules are written in."""
    return of(versions()[-1])


def nearest_version(api_version: str | None) -> str:
    """The stored version that an event of this API version is read by: its own, else the newest that is not newer;
    of an event older than all of them the newest, whose rules have been seen to hold since 2018.

    >>> nearest_version("2025-11-17.clover"), nearest_version("2020-08-27"), nearest_version(None)
    ('2025-10-29.clover', '2026-10-28.endive', '2026-10-28.endive')
    """
    older = [version for version in versions() if version <= (api_version or "")]
    return older[-1] if older else versions()[-1]
