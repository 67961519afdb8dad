"""Reading the examples of a rule document: every event that is given, and what must come of it, with each problem."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from rules import paths, skeletons
from rules.aliases import Path
from rules.context import Context
from rules.example import ANSWERS, ENDS, FIRES, SPAN, Example, Given, field_of, seconds_of
from rules.fields import Catalogue
from rules.personal import TOKEN
from rules.reading import Node, is_number, is_time, nearest
from rules.subjects import carried_by

KEYS: Final = ("given", "at", "then", "because", "after", "stands", "answers", "on_lists")
MOST: Final = 50  # examples of a rule
LARGEST: Final = 100  # events of an example
_TEXT = re.compile(r"(?P<type>[a-z0-9_]+(?:\.[a-z0-9_]+)+)(?:\s+(?P<span>-?P[-\dWDTHMS]+))?(?P<sets>(?:\s+\S+?=.*)?)")
_SET = re.compile(r'\s+(?P<path>[^\s=]+)=(?P<value>"(?:[^"\\]|\\.)*"|\S+)')
_RECORDED = re.compile(r"evt_[A-Za-z0-9_]{1,200}")
_ID = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_SUBJECTS: Final = tuple(skeletons.STAND_INS)
_OBJECT_KEYS: Final = ("type", "ago", "in", "at", "set", "ours", *_SUBJECTS)
_ROOTS: Final = (("data", "object"), ("data", "previous_attributes"))


# ---- examples -------------------------------------------------------------------------------------------------------
def read_examples(
    node: Node, context: Context, steps: Mapping[str, str], lists: tuple[str, ...]
) -> tuple[Example, ...]:
    """The examples of a rule. steps: the rule's step names with the action of each, empty for what does none.
    lists: those that the rule names."""
    found = [_example(item, context, steps, lists) for item in node.items("'examples'", 0, MOST)]
    return tuple(one for one in found if one is not None)


def _example(node: Node, context: Context, steps: Mapping[str, str], lists: tuple[str, ...]) -> Example | None:
    before = len(node.problems)
    if not node.object(KEYS, "an example", ("given", "then")):
        return None
    given = (
        [_given(item, context) for item in node.child("given").items("'given'", 1, LARGEST)]
        if node.has("given")
        else []
    )
    then = node.child("then").choice("'then'", FIRES) if node.has("then") else None
    at = node.child("at").time("'at'") if _said(node, "at") else None
    after = node.child("after").duration("'after'", 0) if _said(node, "after") else None
    because = (node.child("because").text("'because'", 500) or "") if _said(node, "because") else ""
    found = Example(
        given=tuple(one for one in given if one is not None),
        fires=then == "fires",
        at=_unix(at) if at is not None else None,
        because=because,
        after=after,
        stands=_stands(node.child("stands"), steps, then) if _said(node, "stands") else "",
        answers=_answers(node.child("answers"), steps) if _said(node, "answers") else {},
        lists=_lists(node.child("on_lists"), lists) if _said(node, "on_lists") else (),
    )
    return found if not any(one.severity == "error" for one in node.problems[before:]) else None


def _said(node: Node, key: str) -> bool:
    return node.has(key) and node.child(key).value is not None


def _stands(node: Node, steps: Mapping[str, str], then: str | None) -> str:
    found = node.choice("where the run stands", (*steps, *ENDS)) or ""
    if then == FIRES[1]:
        node.error("a rule that does not fire has no run that could stand anywhere")
    return found


def _answers(node: Node, steps: Mapping[str, str]) -> dict[str, str]:
    acting = [name for name, action in steps.items() if action]
    if not node.object(acting, "'answers'"):
        return {}
    found = {name: node.child(name).choice("an answer", ANSWERS) for name in node.value if name in acting}
    return {name: answer for name, answer in found.items() if answer}


def _lists(node: Node, known: tuple[str, ...]) -> tuple[str, ...]:
    found = []
    for item in node.items("'on_lists'", 0, 20):
        name = item.text("a list's name", 200)
        if name and name not in known:
            item.error(f"the rule leaves nobody out for being on {name!r}", nearest(name, known))
        elif name:
            found.append(name)
    return tuple(found)


# ---- events ---------------------------------------------------------------------------------------------------------
def _given(node: Node, context: Context) -> Given | None:
    if context.catalogue is None:
        return None  # a rule that was published says what it said, whatever can be built today
    if isinstance(node.value, dict):
        return _envelope(node) if "data" in node.value else _object(node, context)
    text = node.text("an event", 2000)
    if text is None:
        return None
    if _RECORDED.fullmatch(text.strip()):
        return Given(recorded=text.strip())
    return _text(node, text.strip(), context)


def _text(node: Node, text: str, context: Context) -> Given | None:
    found = _TEXT.fullmatch(text)
    sets = list(_SET.finditer(found["sets"])) if found else []
    if not found or "".join(one[0] for one in sets) != found["sets"]:
        node.error(
            f"{text!r} is no event: write its type and when it was, such as 'invoice.payment_failed P-6D', "
            "then what differs, such as 'data.object.amount_remaining=0'",
            _meant(text),
        )
        return None
    offset = _offset(node, found["span"]) if found["span"] else 0
    values = {one["path"]: _value(one["value"]) for one in sets}
    return _built(node, found["type"], values, context, offset=offset, whole=False)


def _meant(text: str) -> str | None:
    words = text.split()
    return f"{words[0]} P-1D" if words and re.fullmatch(r"[a-z0-9_]+(\.[a-z0-9_]+)+", words[0]) else None


def _value(text: str) -> Any:
    """JSON where it is JSON, else the text itself: `1200`, `true`, `null`, `"two words"`, `open`."""
    try:
        return json.loads(text, parse_constant=str)
    except ValueError:
        return text


def _object(node: Node, context: Context) -> Given | None:
    if not node.object(_OBJECT_KEYS, "an event", ("type",)) or not node.has("type"):
        return None
    type = node.child("type").text("an event type", 100)
    times = [key for key in ("ago", "in", "at") if _said(node, key)]
    for extra in times[1:]:
        node.child(extra).error(f"{extra!r} cannot be combined with {times[0]!r}")
    at = node.child("at").time("'at'") if times[:1] == ["at"] else None
    span = (node.child(times[0]).duration(f"{times[0]!r}", 0) or 0) if times[:1] in (["ago"], ["in"]) else 0
    ours = bool(node.child("ours").boolean("'ours'")) if _said(node, "ours") else False
    values = node.child("set").value if _said(node, "set") else {}
    if not isinstance(values, dict):
        node.child("set").object((), "'set'")
        return None
    subjects = {key: node.value[key] for key in _SUBJECTS if _said(node, key)}
    if type is None:
        return None
    return _built(
        node,
        type,
        {**subjects, **values},
        context,
        offset=-span if times[:1] == ["ago"] else span,
        at=_unix(at) if at is not None else None,
        ours=ours,
    )


def _built(
    node: Node, type: str, sets: Mapping[str, Any], context: Context, whole: bool = True, **more: Any
) -> Given | None:
    """An event built from the skeleton of its type. whole: written as an object, whose values have places of their
    own."""
    if type not in skeletons.types():
        place = node.child("type") if whole else node
        place.error(f"no example can be made of {type!r}", nearest(type, skeletons.types()))
        return None
    subjects: dict[str, str] = {}
    values: list[tuple[Path, Any]] = []
    for name, value in sets.items():
        place = (node.child(name) if name in _SUBJECTS else node.child("set").child(name)) if whole else node
        if name in _SUBJECTS:
            _subject(place, type, name, value, context.catalogue)
            subjects[name] = str(value)
        elif (path := _path(place, type, name, context.catalogue)) is not None:
            values.append((path, _fitting(place, type, path, value, context.catalogue, whole)))
    return Given(type=type, subjects=subjects, values=tuple(values), **more)


def _subject(node: Node, type: str, subject: str, value: Any, catalogue: Catalogue | None) -> None:
    if not isinstance(value, str) or not _ID.fullmatch(value):
        node.error(f"the {subject} is an id, such as {skeletons.STAND_INS[subject]}")
    elif catalogue is not None and subject not in carried_by(catalogue, type):
        node.error(f"{type} does not say which {subject} it is about")


def _path(node: Node, type: str, name: str, catalogue: Catalogue | None) -> Path | None:
    """The path, an index of a list as a key of its own: `data.object.items.data.0.quantity`."""
    try:
        path = paths.split(str(name))
    except ValueError as error:
        node.error(str(error))
        return None
    if path[:2] not in _ROOTS or (len(path) == 2 and path != _ROOTS[1]):
        close = catalogue.nearest(type, f"data.object.{name}") if catalogue else None
        node.error(f"{name!r} is no field of an event; paths begin with data.object", close)
        return None
    if len(path) > 2 and catalogue is not None and field_of(catalogue, type, path) is None:
        plain = "data.object." + ".".join(path[2:])
        node.error(f"unknown field {'.'.join(path[2:])!r} on {_class(catalogue, type)}", catalogue.nearest(type, plain))
        return None
    return path


def _class(catalogue: Catalogue, type: str) -> str:
    found = catalogue.event_type(type)
    return found.object if found else type


def _fitting(node: Node, type: str, path: Path, value: Any, catalogue: Catalogue | None, whole: bool) -> Any:
    """The value, when it is one that the field can hold. A span in a field of time counts from the event."""
    info = field_of(catalogue, type, path) if catalogue is not None and len(path) > 2 else None
    if info is None or value is None:
        return value
    if info.personal and not whole and not TOKEN.fullmatch(str(value)):
        node.error(f"{info.label} is personal: write the event as an object with 'set', so that it is kept as a token")
    elif info.type in ("amount", "number") and not is_number(value):
        node.error(f"{info.label} is a number")
    elif info.type == "boolean" and not isinstance(value, bool):
        node.error(f"{info.label} is true or false")
    elif info.type in ("text", "id", "decimal", "enum") and not isinstance(value, str):
        node.error(f"{info.label} is text", json.dumps(str(value)))
    elif info.enum and value not in info.enum:
        node.error(f"{info.label} is never {value!r}", nearest(str(value), info.enum))
    elif info.type == "time" and not (
        is_number(value) or (isinstance(value, str) and (SPAN.fullmatch(value) or is_time(value)))
    ):
        node.error(f"{info.label} is a time: unix seconds, 2026-11-23T09:00:00Z, or a span from the event such as P3D")
    return value


def _envelope(node: Node) -> Given | None:
    data = node.value.get("data")
    thing = data.get("object") if isinstance(data, dict) else None
    for key, fits in (("id", str), ("type", str), ("created", int)):
        if not isinstance(node.value.get(key), fits) or isinstance(node.value.get(key), bool):
            node.child(key).error(f"a whole event has its {key!r}, as Stripe sends it")
            return None
    if not isinstance(thing, dict):
        node.child("data").error("a whole event has its 'data.object', as Stripe sends it")
        return None
    return Given(type=node.value["type"], envelope=node.value)


def _offset(node: Node, text: str) -> int:
    try:
        return seconds_of(text)
    except ValueError as error:
        node.error(str(error))
        return 0


def _unix(value: str | float) -> int:
    if not isinstance(value, str):
        return int(value)
    found = datetime.fromisoformat(value)
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())
