"""Reading the steps of a document: each kind's shape, its names, and an action's parameters against what it takes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, cast

from rules import holes
from rules.conditions import read_condition
from rules.context import Context
from rules.facts import LISTS
from rules.labels import type_words
from rules.model import Approve, Do, If, Step, Stop, StopStep, Wait
from rules.ports import ActionExecutor, Field
from rules.reading import Node, is_number, is_time, nearest

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,59}")
_KINDS = ("do", "wait", "approve", "if", "stop")  # `approve` before `if`: an approval may have a condition
_DEEPEST = 5
_MOST = 50
_ORPHAN = re.compile(r"\{\{|\}\}")


def read_steps(node: Node, context: Context, depth: int = 0) -> tuple[Step, ...]:
    """The steps of a list; names are unique over all of them, and later steps may read the outcome of earlier ones."""
    if depth > _DEEPEST:
        node.error(f"steps nest at most {_DEEPEST} deep")
        return ()
    found = [read_step(item, context, depth) for item in node.items("the steps", 1, _MOST)]
    return tuple(step for step in found if step is not None)


def read_step(node: Node, context: Context, depth: int) -> Step | None:
    """One step of any kind; None, with its problems noted, when it is none."""
    if not isinstance(node.value, dict):
        node.object((), "a step")
        return None
    kind = next((kind for kind in _KINDS if node.has(kind)), None)
    if kind is None:
        known = nearest(next((str(key) for key in node.value if key != "name"), ""), _KINDS)
        node.error(f"a step has one of {', '.join(_KINDS)}", known)
        return None
    name = _name(node, context)
    step = _READERS[kind](node, name or "", context, depth)
    if context.steps is not None and name:
        context.steps.append(name)
    return step if name else None


def _name(node: Node, context: Context) -> str | None:
    """A step's name: unique, because it is part of the id that an action carries for ever."""
    found = node.child("name")
    if not node.has("name"):
        found.error("a step needs a name; it becomes part of the id of what it does")
        return None
    name = found.text("a step's name", 60)
    if name is None:
        return None
    if not _NAME.fullmatch(name):
        wanted = re.sub(r"[^a-z0-9_]+", "-", name.lower()).strip("-")[:60]
        found.error("a step's name is lower-case letters, digits, '-' and '_'", wanted or None)
        return None
    if name in context.names:
        found.error(f"two steps have the name {name!r}", f"{name}-2")
        return None
    context.names.add(name)
    return name


# ---- kinds ----------------------------------------------------------------------------------------------------------
def _do(node: Node, name: str, context: Context, depth: int) -> Step | None:
    node.object(("name", "do", "with", "on_failure"), "a 'do' step")
    action = node.child("do").text("an action", 100)
    failure = (
        node.child("on_failure").choice("'on_failure'", ("stop", "continue", "person"))
        if node.has("on_failure")
        else "person"
    )
    params = node.child("with").value if node.has("with") else {}
    if not isinstance(params, dict):
        node.child("with").object((), "'with'")
        params = {}
    if action is None:
        return None
    if not re.fullmatch(r"[a-z0-9_]+\.[a-z0-9_]+", action):
        node.child("do").error(f"{action!r} is no action; one is written connector.action", _near(action, context))
    elif context.actions is not None and action not in context.actions:
        node.child("do").error(f"there is no action {action!r}", _near(action, context))
    elif context.actions is not None:
        _params(node.child("with"), params, context.actions[action])
    _texts(node.child("with"), params, context)
    return Do(name, action, params, cast(Literal["stop", "continue", "person"], failure or "person"))


def _near(action: str, context: Context) -> str | None:
    return nearest(action, context.actions) if context.actions else None


def _wait(node: Node, name: str, context: Context, depth: int) -> Step | None:
    node.object(("name", "wait"), "a 'wait' step")
    wait = node.child("wait")
    kinds = ("for", "until", "for_event")
    if not wait.object((*kinds, "minus", "at_most", "in_hours"), "'wait'"):
        return None
    given = [kind for kind in kinds if wait.has(kind)]
    if len(given) != 1:
        wait.error("a wait is 'for' a span, 'until' a time, or 'for_event': one of them", "for")
        return None
    if wait.has("minus") and given != ["until"]:
        wait.child("minus").error("'minus' goes with 'until'")
    if wait.has("at_most") and given != ["for_event"]:
        wait.child("at_most").error("'at_most' goes with 'for_event'")
    if wait.has("in_hours") and given == ["for_event"]:
        wait.child("in_hours").error("'in_hours' goes with 'for' and 'until'")
    in_hours = bool(wait.child("in_hours").boolean("'in_hours'")) if wait.has("in_hours") else False
    if given == ["for"]:
        seconds = wait.child("for").duration("'for'")
        return None if seconds is None else Wait(name, seconds=seconds, in_hours=in_hours)
    if given == ["until"]:
        minus = wait.child("minus").duration("'minus'") if wait.has("minus") else 0
        until = _until(wait.child("until"), context)
        return None if until is None else Wait(name, until=until, minus=minus or 0, in_hours=in_hours)
    if not wait.has("at_most"):
        wait.child("at_most").error("a wait for an event needs 'at_most', so that it ends", "P7D")
    events = read_stops(wait.child("for_event"), context, "the events that end the wait", 1)
    return Wait(
        name, for_event=events, at_most=wait.child("at_most").duration("'at_most'") if wait.has("at_most") else None
    )


def _until(node: Node, context: Context) -> str | None:
    """A time, or the path of a field that holds one."""
    text = node.text("'until'", 300)
    if text is None or is_time(text):
        return text
    if text[:1].isdigit():
        node.error(f"{text!r} is no time; write 2026-11-23T09:00:00Z, or the path of a field")
        return None
    found = context.path(node)
    if found and found[2] and not {info.type for info in found[2]} & {"time", "number", "any"}:
        node.error(f"{found[2][0].label} is {type_words(found[2][0].type)}, not a time")
    return text


def _if(node: Node, name: str, context: Context, depth: int) -> Step | None:
    node.object(("name", "if", "then", "else"), "an 'if' step", ("then",))
    condition = read_condition(node.child("if"), context)
    then = read_steps(node.child("then"), context, depth + 1) if node.has("then") else ()
    otherwise: tuple[Step, ...] = ()
    if node.has("else") and node.child("else").value != []:
        otherwise = read_steps(node.child("else"), context, depth + 1)
    return If(name, condition, then, otherwise)


def _approve(node: Node, name: str, context: Context, depth: int) -> Step | None:
    node.object(("name", "approve", "if"), "an 'approve' step")
    approve = node.child("approve")
    if not approve.object(("role", "at_most", "on_timeout"), "'approve'", ("role",)):
        return None
    role = approve.child("role").text("a role", 60) if approve.has("role") else ""
    at_most = approve.child("at_most").duration("'at_most'") if approve.has("at_most") else None
    timeout = "stop"
    if approve.has("on_timeout"):
        timeout = approve.child("on_timeout").choice("'on_timeout'", ("stop", "continue")) or "stop"
    condition = read_condition(node.child("if"), context) if node.has("if") else None
    return Approve(name, role or "", at_most, cast(Literal["stop", "continue"], timeout), condition)


def _stop(node: Node, name: str, context: Context, depth: int) -> Step | None:
    node.object(("name", "stop"), "a 'stop' step")
    reason = node.child("stop").text("the reason to stop", 300)
    return None if reason is None else StopStep(name, reason)


_READERS: Mapping[str, Callable[[Node, str, Context, int], Step | None]] = {
    "do": _do,
    "wait": _wait,
    "if": _if,
    "approve": _approve,
    "stop": _stop,
}


def read_stops(node: Node, context: Context, what: str, at_least: int = 0) -> tuple[Stop, ...]:
    """`[{"event": [...], "same": ...}, ...]`: events that are matched to a run by a subject that both carry."""
    found = []
    for item in node.items(what, at_least, 20):
        if not item.object(("event", "same"), "one of " + what, ("event", "same")):
            continue
        types = item.child("event").event_types("'event'", context.event_names()) if item.has("event") else ()
        same = context.subject(item.child("same"), [*context.types, *types]) if item.has("same") else None
        if types and same:
            found.append(Stop(types, same))
    return tuple(found)


# ---- parameters -----------------------------------------------------------------------------------------------------
def _params(node: Node, params: Mapping[str, Any], action: ActionExecutor) -> None:
    """Check the parameters against the action's fields."""
    fields = {field.name: field for field in action.fields}
    here = Node(params, node.path, node.problems)
    for key in params:
        if key not in fields:
            here.child(key).error(f"{action.name} has no parameter {key!r}", nearest(str(key), fields))
    for name, field in fields.items():
        value = params.get(name)
        if name in params and value is not None:
            _param(here.child(name), field)
        elif field.required and field.default is None:
            here.child(name).error(f"{action.name} needs {field.label.lower()}", None)


def _param(node: Node, field: Field) -> None:
    value = node.value
    if isinstance(value, str) and holes.contents(value):
        return  # it is known when the step runs
    match field.type:
        case "choice":
            node.choice(field.label, field.choices)
        case "number":
            if not is_number(value):
                node.error(f"{field.label} is a number")
        case "boolean":
            node.boolean(field.label)
        case _:
            node.text(field.label, 5000, empty=not field.required)


def _texts(node: Node, value: Any, context: Context) -> None:
    """Check the `{{ path }}` holes of every text."""
    if isinstance(value, str):
        _holes(node, value, context)
    elif isinstance(value, dict):
        for key, part in value.items():
            _texts(Node(value, node.path, node.problems).child(str(key)), part, context)
    elif isinstance(value, list):
        for index, part in enumerate(value):
            _texts(Node(part, f"{node.path}[{index}]", node.problems), part, context)


def _holes(node: Node, text: str, context: Context) -> None:
    for hole in holes.contents(text):
        found = context.path(Node(hole, node.path, node.problems))
        if found and found[1] == LISTS:
            node.error("a text cannot name the lists; ask with 'contains' in a condition")
    if any(_ORPHAN.search(part) for part in holes.split(text)[::2]):
        node.error("'{{' and '}}' go in pairs, around the path of a field", "{{ data.object.id }}")
