"""Steps of the rule form, those in the branches of an `if` too. Pure and total.

A step carries its own JSON (`was`): untouched it is that again, and what the form cannot show is kept as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.web.forms.conditions import Form, KindOf, groups_form, groups_meant
from app.web.forms.conditions import refreshed as refreshed_groups
from app.web.forms.values import (
    Kind,
    as_list,
    as_map,
    as_text,
    fits_a_line,
    only,
    plain,
    scalar_meant,
    scalar_shown,
    span_meant,
    span_shown,
    typed,
)
from rules.ports import ActionExecutor, Field

Actions = Mapping[str, ActionExecutor]
BRANCHES = ("then", "else")
DEEPEST = 5  # as rules.step_reader has it; what is deeper is kept
WAITS = ("for", "until", "event")


@dataclass(frozen=True, slots=True)
class Reading:
    """How the fields of a step's conditions are read."""

    kind: KindOf
    currency: str = "usd"


def steps_form(steps: Any, reading: Reading, depth: int = 0) -> list[Form]:
    return [_step_form(step, reading, depth) for step in as_list(steps)]


def _step_form(step: Any, reading: Reading, depth: int = 0) -> Form:
    name = as_text(as_map(step).get("name"))
    keys = set(step) if isinstance(step, dict) else set()
    plainly: Form = {"was": step, "name": name}
    if "do" in keys and keys <= {"name", "do", "with", "on_failure"} and isinstance(step.get("with", {}), dict):
        params = {key: scalar_shown(value, Kind()) for key, value in as_map(step.get("with")).items() if plain(value)}
        failure = as_text(step.get("on_failure", "person"))
        return {**plainly, "kind": "do", "do": as_text(step["do"]), "with": params, "on_failure": failure}
    if "wait" in keys and keys <= {"name", "wait"} and (waits := _wait_form(step["wait"])):
        return {**plainly, "kind": "wait", **waits}
    if "stop" in keys and keys <= {"name", "stop"}:
        return {**plainly, "kind": "stop", "reason": as_text(step["stop"])}
    if "approve" in keys and keys <= {"name", "approve", "if"} and (asks := _approve_form(step["approve"])):
        groups = groups_form(step.get("if"), reading.kind, reading.currency)
        return {**plainly, "kind": "approve", **asks, "if": groups}
    if _is_branch(step, keys) and depth < DEEPEST:
        groups = groups_form(step["if"], reading.kind, reading.currency)
        inner = {branch: steps_form(step.get(branch), reading, depth + 1) for branch in BRANCHES}
        return {**plainly, "kind": "if", "if": groups, **inner}
    return {**plainly, "kind": "kept"}


def _is_branch(step: Any, keys: set[str]) -> bool:
    lists = all(isinstance(step.get(branch, []), list) for branch in BRANCHES) if keys else False
    return "if" in keys and keys <= {"name", "if", *BRANCHES} and lists


def _wait_form(wait: Any) -> Form | None:
    """What ends it; None for a shape that the form has not."""
    blank: Form = {"n": "", "unit": "days", "until": "", "events": [], "in_hours": ""}
    if not isinstance(wait, dict) or not isinstance(wait.get("in_hours", False), bool):
        return None
    in_hours, keys = "yes" if wait.get("in_hours") else "", set(wait)
    if "for" in keys and keys <= {"for", "in_hours"}:
        n, unit = span_shown(wait["for"])
        return {**blank, "ends": "for", "n": n, "unit": unit, "in_hours": in_hours}
    if "until" in keys and keys <= {"until", "minus", "in_hours"} and isinstance(wait["until"], str):
        n, unit = span_shown(wait.get("minus", ""))
        until = {"until": wait["until"], "n": n, "unit": unit, "in_hours": in_hours}
        return {**blank, "ends": "until", **until} if fits_a_line(wait["until"]) else None
    if keys == {"for_event", "at_most"} and (rows := stops_form(wait["for_event"])):
        n, unit = span_shown(wait["at_most"])
        return {**blank, "ends": "event", "events": rows, "n": n, "unit": unit}
    return None


def _approve_form(approve: Any) -> Form | None:
    keys = set(approve) if isinstance(approve, dict) else set()
    if not keys or not keys <= {"role", "at_most", "on_timeout"} or not fits_a_line(approve.get("role")):
        return None
    n, unit = span_shown(approve.get("at_most", ""))
    role, after = as_text(approve.get("role")), as_text(approve.get("on_timeout", "stop"))
    return {"role": role, "n": n, "unit": unit, "on_timeout": after}


def stops_form(stops: Any) -> list[Form] | None:
    """One row an event; None when the document says it in a way that the form cannot."""
    rows = []
    for stop in stops if isinstance(stops, list) else [] if stops is None else [stops]:
        if not isinstance(stop, dict) or set(stop) != {"event", "same"} or not isinstance(stop["event"], list):
            return None
        rows += [{"event": as_text(one), "same": as_text(stop["same"])} for one in stop["event"]]
    return rows


# ---- form -> document -----------------------------------------------------------------------------------------------
def steps_meant(steps: list[Form], actions: Actions, reading: Reading) -> list[Any]:
    return [_step(step, actions, reading) for step in steps]


def _step(step: Form, actions: Actions, reading: Reading) -> Any:
    before = _step_form(step["was"], reading)
    if before["kind"] == step["kind"] and typed(before) == typed(step):
        return step["was"]
    named = {"name": step["name"]}
    match step["kind"]:
        case "do":
            return {**named, **_do(step, actions)}
        case "wait":
            return {**named, "wait": _wait(step)}
        case "stop":
            return {**named, "stop": step["reason"]}
        case "approve":
            return {**named, **_approve(step, reading)}
        case "if":
            return {**named, **_branch(step, actions, reading)}
    return step["was"]


def _do(step: Form, actions: Actions) -> dict[str, Any]:
    """The action with its parameters; those that the form does not show stay, unless another action was chosen."""
    was = as_map(step["was"])
    same = was.get("do") == step["do"]
    params = as_map(was.get("with")) if same else {}
    fields = {field.name: field for field in actions[step["do"]].fields} if step["do"] in actions else {}
    for name, field in fields.items():
        default = "" if same or field.default is None else scalar_shown(field.default, Kind())
        text = step["with"].get(name, default)
        if name in params and (not plain(params[name]) or scalar_shown(params[name], Kind()) == text):
            continue
        params.pop(name, None)
        if text != "":
            params[name] = _param(field, text)
    failure = {"on_failure": step["on_failure"]} if step["on_failure"] != "person" or "on_failure" in was else {}
    return {"do": step["do"], **({"with": params} if params or "with" in was else {}), **failure}


def _param(field: Field, text: str) -> Any:
    kind = {"number": "number", "boolean": "boolean"}.get(field.type, "text")
    return scalar_meant(text, Kind(kind))  # type: ignore[arg-type]


def _wait(step: Form) -> dict[str, Any]:
    span = span_meant(step["n"], step["unit"])
    if step["ends"] == "event":
        return {"for_event": stops_meant(step["events"]) or [], "at_most": span}
    in_hours = {"in_hours": True} if step["in_hours"] else {}
    if step["ends"] == "until":
        return {"until": step["until"], **({"minus": span} if span else {}), **in_hours}
    return {"for": span, **in_hours}


def _approve(step: Form, reading: Reading) -> dict[str, Any]:
    span = span_meant(step["n"], step["unit"])
    was = as_map(as_map(step["was"]).get("approve"))
    asks: dict[str, Any] = {"role": step["role"], **({"at_most": span} if span else {})}
    if step["on_timeout"] != "stop" or "on_timeout" in was:
        asks["on_timeout"] = step["on_timeout"]
    parts = groups_meant(step["if"], reading.kind, reading.currency)
    return {"approve": asks, **({"if": joined(parts)} if parts else {})}


def _branch(step: Form, actions: Actions, reading: Reading) -> dict[str, Any]:
    was = as_map(step["was"])
    parts = groups_meant(step["if"], reading.kind, reading.currency)
    found: dict[str, Any] = {"if": was["if"] if _same_parts(parts, was) else joined(parts)}
    found["then"] = steps_meant(step["then"], actions, reading)
    if step["else"] or "else" in was:
        found["else"] = steps_meant(step["else"], actions, reading)
    return found


def _same_parts(parts: list[Any], was: Mapping[str, Any]) -> bool:
    """Whether the condition says what it did, so that it may stay as it was written."""
    known = was.get("if")
    return known is not None and (parts == [known] or (only(known, "all") and known["all"] == parts))


def joined(parts: list[Any]) -> Any:
    """One condition of what must all hold."""
    return parts[0] if len(parts) == 1 else {"all": parts}


def stops_meant(rows: list[Form]) -> list[dict[str, Any]] | None:
    """Neighbours for the same subject become one entry."""
    stops: list[dict[str, Any]] = []
    for row in rows:
        if stops and stops[-1]["same"] == row["same"]:
            stops[-1]["event"].append(row["event"])
        else:
            stops.append({"event": [row["event"]], "same": row["same"]})
    return stops or None


def refreshed(steps: list[Form], kind: KindOf) -> list[Form]:
    """The steps with the rows of their conditions told anew which kind of value their field holds."""
    found = []
    for step in steps:
        told = {"if": refreshed_groups(step["if"], kind)} if "if" in step else {}
        inner = {branch: refreshed(step[branch], kind) for branch in BRANCHES if isinstance(step.get(branch), list)}
        found.append({**step, **told, **inner})
    return found
