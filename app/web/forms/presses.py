"""The buttons of the rule form that change its shape: each press is `verb:place`, and gives the next form. Pure.

`add:test`, `add:or-1`, `add:event`, `add:start`, `add:stop`, `add:step-stripe.change_plan`, `remove:only_if-1-0`,
`remove:steps-2`, `up:steps-2`, ... A press that means nothing changes nothing. Taking a suggestion works on the
document: `use` sets the value at a problem's path, `rename` the key.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from app.numbers import whole
from app.web.forms.document import Form
from app.web.forms.examples import BLANK
from app.web.forms.steps import BRANCHES
from app.web.forms.values import BARE
from rules.operators import OPERATORS

BLANK_ROW = {
    "was": None,
    "field": "",
    "is": "equal to",
    "value": "",
    "second": "",
    "unit": "",
    "not": "",
    "joint": "",
    "kind": "text",
    "of": "",
}
NEW_STEPS: Mapping[str, Form] = {
    "wait": {"kind": "wait", "name": "wait", "ends": "for", "n": "48", "unit": "hours", "until": "", "events": [],
             "in_hours": ""},
    "stop": {"kind": "stop", "name": "stop", "reason": ""},
    "if": {"kind": "if", "name": "if", "if": [[BLANK_ROW]], "then": [], "else": []},
    "approve": {"kind": "approve", "name": "approve", "role": "approver", "n": "2", "unit": "days",
                "on_timeout": "stop", "if": []},
}  # fmt: skip
PLACE = re.compile(r"steps-\d{1,3}(?:\.(?:then|else)-\d{1,3})*")  # of a step, `steps-3.then-0`


def press(form: Form, button: str) -> Form:
    """The form after the press. The given form stays as it was."""
    verb, _, place = button.partition(":")
    form = copy.deepcopy(form)
    if verb == "add":
        _add(form, place)
    elif verb == "into":
        _into_list(form, *place.partition("=")[::2])
    elif verb == "remove":
        _remove(form, place)
    elif verb in ("up", "down"):
        _move(form, place, -1 if verb == "up" else 1)
    elif verb == "put":
        _put(form, *place.partition("=")[::2])
    return form


def _put(form: Form, place: str, path: str) -> None:
    """A field of the event at the end of a text: `steps-0.with.text` and the path."""
    where, _, param = place.partition(".with.")
    step = step_at(form, where)
    if step is not None and param and path:
        given = step.setdefault("with", {})
        text = str(given.get(param) or "")
        given[param] = f"{text}{' ' if text and not text[-1].isspace() else ''}{{{{ {path} }}}}"


def _add(form: Form, what: str) -> None:
    kind, _, name = what.partition("-")
    if kind == "test":
        form["only_if"].append([copy.deepcopy(BLANK_ROW)])
    elif kind == "or" and (place := whole(name)) is not None and place < len(form["only_if"]):
        form["only_if"][place].append(copy.deepcopy(BLANK_ROW))
    elif kind == "event":
        form["when"]["event"].append("")
    elif kind == "start":
        form["when"]["start_again_after"].append("")
    elif kind == "stop" and form["stop_when"] is not None:
        form["stop_when"].append(_new_stop(form, form["stop_when"]))
    elif kind == "undo" and form["undo"] is not None:
        form["undo"]["on"].append("")
        form["undo"]["same"] = form["undo"]["same"] or form["when"]["same"] or "customer"
    elif kind == "cap" and form["caps"] is not None:
        form["caps"].append({"tag": "email", "at_most": "1", "n": "1", "unit": "days"})
    elif kind == "example":
        form["examples"].append(_new_example(form))
    elif kind == "step":
        form["steps"].append(_new_step(form, name))


def _new_stop(form: Form, rows: list[Form]) -> Form:
    return {"event": "", "same": rows[-1]["same"] if rows else form["when"]["same"] or "customer"}


def _into_list(form: Form, place: str, what: str) -> None:
    """Into a part of a step: `steps-3.then` a step of the kind `what`, `steps-3.if` a condition, `steps-3.if-0` one
    that is or-ed, `steps-3.events` an event."""
    where, _, part = place.rpartition(".")
    step, (name, _, number) = step_at(form, where), part.partition("-")
    found = step.get(name) if step is not None else None
    if not isinstance(found, list) or step is None:
        return
    if name in BRANCHES:
        found.append(_new_step(form, what))
    elif name == "events":
        found.append(_new_stop(form, found))
    elif name == "if" and not number:
        found.append([copy.deepcopy(BLANK_ROW)])
    elif name == "if" and (at := whole(number)) is not None and at < len(found):
        found[at].append(copy.deepcopy(BLANK_ROW))


def _new_example(form: Form) -> Form:
    """Begun with the event that the rule begins with, which is what most examples are about."""
    return {**BLANK, "given": next((type for type in form["when"]["event"] if type), "")}


def _new_step(form: Form, what: str) -> Form:
    blank: Form = NEW_STEPS.get(what) or {"kind": "do", "name": _step_name(what), "do": what, "with": {}}
    step: Form = {"was": None, **copy.deepcopy(blank)}
    if step["kind"] == "do":
        step["on_failure"] = "person"
    step["name"] = _free_name(step["name"], {one["name"] for one in every_step(form["steps"])})
    return step


def every_step(steps: list[Form]) -> Iterator[Form]:
    """The steps, and those in their branches."""
    for step in steps:
        yield step
        for branch in BRANCHES:
            yield from every_step(step.get(branch) or [])


def step_at(form: Form, place: str) -> Form | None:
    """The step at `steps-3.then-0`, if there is one."""
    found = _listed(form, place) if PLACE.fullmatch(place) else None
    return found[0][found[1]] if found else None


def _step_name(action: str) -> str:
    """`stripe.change_plan` makes `change-plan`."""
    return re.sub(r"[^a-z0-9]+", "-", action.rpartition(".")[2].lower()).strip("-") or "step"


def _free_name(name: str, taken: set[str]) -> str:
    if name not in taken:
        return name
    return next(f"{name}-{number}" for number in range(2, 1000) if f"{name}-{number}" not in taken)


def _remove(form: Form, place: str) -> None:
    group = re.fullmatch(r"(only_if|(.+)\.if)-(\d{1,3})-(\d{1,3})", place)
    if group:
        holder = form if group[1] == "only_if" else step_at(form, group[2])
        key = "only_if" if group[1] == "only_if" else "if"
        if holder is not None and isinstance(holder.get(key), list):
            _remove_row(holder, key, int(group[3]), int(group[4]))
        return
    found = _listed(form, place)
    if found:
        del found[0][found[1]]


def _remove_row(holder: Form, key: str, at: int, row: int) -> None:
    groups = holder[key]
    if at < len(groups) and row < len(groups[at]):
        del groups[at][row]
        holder[key] = [rows for rows in groups if rows]


def _move(form: Form, place: str, by: int) -> None:
    found = _listed(form, place)
    if found and 0 <= found[1] + by < len(found[0]):
        items, at = found
        items[at], items[at + by] = items[at + by], items[at]


def _listed(form: Form, place: str) -> tuple[list[Any], int] | None:
    """(the list, the index) that a place such as `steps-2` or `steps-2.then-0` names, if there is one."""
    start, _, index = place.rpartition("-")
    outer, _, name = start.rpartition(".")
    holder = step_at(form, outer) if outer and PLACE.fullmatch(outer) else None
    items: Any = holder.get(name) if holder is not None and name in (*BRANCHES, "events") else _lists(form).get(start)
    at = whole(index)
    return (items, at) if isinstance(items, list) and at is not None and at < len(items) else None


def _lists(form: Form) -> dict[str, list[Any]]:
    return {
        "steps": form["steps"],
        "stop_when": form["stop_when"] or [],
        "undo.on": (form["undo"] or {}).get("on", []),
        "caps": form["caps"] or [],
        "examples": form["examples"],
        "event": form["when"]["event"],
        "start": form["when"]["start_again_after"],
    }


# ---- taking a suggestion --------------------------------------------------------------------------------------------
def use(document: dict[str, Any], path: str, suggestion: str) -> dict[str, Any]:
    """The document with the suggestion taken at the path of its problem; unchanged when the path leads nowhere."""
    document = copy.deepcopy(document)
    place, key = holder(document, path)
    if isinstance(place, dict) and key == "value" and suggestion in OPERATORS:
        key = "is"  # "nothing is equal to nothing; test 'is absent' instead"
    if isinstance(place, dict) and isinstance(key, str):
        place[key] = _as_json(suggestion) if key == "value" or "value[" in path else suggestion
        if key == "is" and suggestion in BARE:
            place.pop("value", None)
    elif isinstance(place, list) and isinstance(key, int) and key < len(place):
        place[key] = _as_json(suggestion) if "value[" in path else suggestion
    return document


def _as_json(text: str) -> Any:
    """Suggested values are written as JSON where they are no plain text: `500`, `true`, `"5"`, `[1, 2]`."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def rename(document: dict[str, Any], path: str, name: str) -> dict[str, Any]:
    """The document with the key at the path called otherwise, in the same place."""
    document = copy.deepcopy(document)
    place, key = holder(document, path)
    if isinstance(place, dict) and key in place and name not in place:
        entries = [(name if one == key else one, value) for one, value in place.items()]
        place.clear()
        place.update(entries)
    return document


def holder(document: Any, path: str) -> tuple[Any, str | int | None]:
    """What holds the place at the path, and its key there."""
    keys: list[str | int] = [
        int(index) if index else name for name, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path)
    ]
    for key in keys[:-1]:
        document = _into(document, key)
    return document, keys[-1] if keys else None


def _into(value: Any, key: str | int) -> Any:
    if isinstance(value, dict):
        return value.get(key) if isinstance(key, str) else None
    return value[key] if isinstance(value, list) and isinstance(key, int) and key < len(value) else None
