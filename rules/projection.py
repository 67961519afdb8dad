"""Projection: the typed slots that an event fills (rules.dnf), as the JSON fragments that the engine is given.

One generated function an event type reads each field once. A value goes into the slot of its own type or into none, so
that nothing is coerced; a number that the engine reads otherwise than Python raises.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from json.encoder import encode_basestring
from typing import Any

from rules.dnf import LONGEST_TEXT, Slot, plain_number
from rules.event import JSON
from rules.expr import Module, Scope

_SHORT = 600  # characters; whatever they are, they are no more than LONGEST_TEXT bytes
_MOST = 2**53


def compile_projection(slots: Sequence[Slot], unfit: type[Exception]) -> Callable[[JSON], list[str]]:
    """A function of the envelope: for each slot `,"n0":5`, or nothing where it is not filled. Predicates are left
    empty. The function raises `unfit` for a number that is not `plain_number`."""
    module = Module()
    scope = Scope(module, "d")
    module.names |= {"number": _number(unfit), "text": _text, "MOST": _MOST}
    parts = [_part(scope, index, slot) for index, slot in enumerate(slots)]
    return module.build("project", "d", [*scope.lines, f"return [{', '.join(parts)}]"])


def _part(scope: Scope, index: int, slot: Slot) -> str:
    if slot.kind == "p":
        return '""'
    value, start = scope.read(slot.of), repr(f',"{slot.kind}{index}":')
    if slot.kind == "x":
        return f'{start} "1" if {value} is not None else ""'
    if slot.kind == "b":
        return f'{start} "1" if {value} is True else {start} "0" if {value} is False else ""'
    if slot.kind == "s":
        return f'{start} + text({value}) if {value}.__class__ is str else ""'
    whole = f"{value}.__class__ is int and -MOST < {value} < MOST"
    return f"f',\"n{index}\":{{{value}}}' if {whole} else number({start}, {value})"


def _number(unfit: type[Exception]) -> Callable[[str, Any], str]:
    def fragment(start: str, value: Any) -> str:
        if value.__class__ is not int and value.__class__ is not float:
            return ""
        if not plain_number(value):
            raise unfit
        return f"{start}{held(value)}"

    return fragment


def _text(value: str) -> str:
    if len(value) <= _SHORT and value.isascii():
        return encode_basestring(value)
    return encode_basestring(held(value))


def held(value: Any) -> Any:
    """The value as the engine gets it: whole numbers without a point, long or unpaired texts as their hash.

    >>> held(5.0), held("usd"), held("x" * 5000)[:5]
    (5, 'usd', '#c59d')
    """
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and (len(value) > _SHORT or not value.isascii()):
        encoded = value.encode("utf-8", "surrogatepass")
        if len(encoded) > LONGEST_TEXT or any("\ud800" <= char <= "\udfff" for char in value):
            return "#" + hashlib.sha256(encoded).hexdigest()
    return value
