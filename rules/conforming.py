"""Whether a payload has the shape that the registry gives its type, and what is wrong where: never with a value.

jsonschema-rs compiles each type's schema at its first event (an invoice's takes 15 ms) and then needs some 8
microseconds an event; the schema that people read is the very one that is enforced.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from rules import registry

if TYPE_CHECKING:
    import jsonschema_rs

MOST = 20  # faults that are told of one payload
_WORDS: Mapping[str, str] = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "object": "an object",
    "array": "a list",
    "null": "null",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """path: where, `data.object.lines.data[].amount`; keys that are people's own are written `*`. problem: what was
    expected and what kind of thing is there."""

    path: str
    problem: str

    def body(self) -> dict[str, str]:
        return {"path": self.path, "problem": self.problem}


class Conforming:
    """The compiled schemas of one process, each made when it is first needed. For several threads."""

    def __init__(self) -> None:
        self._compiled: dict[tuple[str, str], jsonschema_rs.Draft202012Validator] = {}
        self._lock = threading.Lock()

    def knows(self, type: str, envelope: Mapping[str, Any]) -> bool:
        """Whether the registry has this type, in the envelope's version or the newest."""
        return registry.newest().knows(type) or registry.of(_version(envelope)).knows(type)

    def faults(self, envelope: Mapping[str, Any]) -> tuple[Fault, ...]:
        """What is wrong with an envelope that `app.receive.check` lets through; nothing for one that conforms, or
        whose type is in no registry. Raises ValueError for what nests deeper than the validator goes."""
        validator = self._validator(_version(envelope), envelope["type"])
        if validator is None or validator.is_valid(envelope):
            return ()
        found = dict.fromkeys(_fault(error) for error in validator.iter_errors(envelope))
        return tuple(found)[:MOST]

    def _validator(self, version: str, type: str) -> jsonschema_rs.Draft202012Validator | None:
        found = self._compiled.get((version, type))
        return found if found is not None else self._compile(version, type)

    def _compile(self, version: str, type: str) -> jsonschema_rs.Draft202012Validator | None:
        shapes = registry.of(version)
        if not shapes.knows(type):
            shapes = registry.newest()
        if not shapes.knows(type):
            return None
        import jsonschema_rs  # 10 ms that a process which receives nothing need not take

        with self._lock:
            if (version, type) not in self._compiled:
                self._compiled[version, type] = jsonschema_rs.Draft202012Validator(shapes.schema(type))
            return self._compiled[version, type]


@lru_cache(maxsize=1)
def shared() -> Conforming:
    """The one of this process."""
    return Conforming()


def _version(envelope: Mapping[str, Any]) -> str:
    named = envelope.get("api_version")
    return _nearest(named if isinstance(named, str) and len(named) < 40 else None)


_nearest = lru_cache(maxsize=64)(registry.nearest_version)


# ---- errors in words ------------------------------------------------------------------------------------------------
def _fault(error: jsonschema_rs.ValidationError) -> Fault:
    """The validator's own message repeats values, so only its kind and its place are used."""
    kind: Any = error.kind  # each has fields of its own
    path = _path(error.instance_path, "additionalProperties" in error.schema_path)
    match kind.name:
        case "type":
            return Fault(path, f"{_kind(error.instance)} stands where {_wanted(kind.types)} belongs")
        case "maxLength":
            return Fault(path, f"an id has at most {kind.limit} characters")
        case "required":
            return Fault(f"{path}.{kind.property}", "is missing")
    return Fault(path, "does not have the shape of its type")


def _path(keys: Sequence[str | int], own: bool) -> str:
    """own: the last key is one that people chose, and may say what is nobody's business."""
    *before, last = keys if keys else ("the event",)
    return "".join(map(_step, [*before, "*" if own else last])).lstrip(".")


def _step(key: str | int) -> str:
    return "[]" if isinstance(key, int) else f".{key}"


def _wanted(types: Sequence[str]) -> str:
    words = [_WORDS[name] for name in types]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    names = {str: "text", int: "a number", float: "a number", dict: "an object", list: "a list"}
    return names.get(type(value), "null")
