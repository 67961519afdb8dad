"""The rule form and the rule document: one is a projection of the other. Pure and total: any JSON has a form.

`form_of(document)` is what the page shows, `document_of(form)` the document that it says. A part that was not touched
keeps its document verbatim, so what the form cannot show is never lost: rows and steps carry their own JSON (`was`),
the form carries the whole document (`base`). What a browser sent becomes a form in form_read, buttons in form_presses.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from app.web import form_examples
from app.web.form_values import (
    BARE,
    MANY,
    Kind,
    meant,
    money_meant,
    money_shown,
    number_meant,
    number_shown,
    scalar_meant,
    scalar_shown,
    shown,
    span_meant,
    span_shown,
)
from rules.ports import ActionExecutor, Field

Form = dict[str, Any]
Kinds = Callable[[Sequence[str], str], Kind]  # (event types, path) -> kind of the field's values
Actions = Mapping[str, ActionExecutor]

SECTIONS = ("name", "why", "when", "only_if", "never_for", "again", "steps", "stop_when", "limits", "examples")
ORDER = ("id", "name", "why", "tags", "priority", *SECTIONS[2:5], "again", "steps", "stop_when", "undo", "limits")
SHAPES = ("at_least", "within", "counting", "aggregate", "then", "and_not", "first")  # what `mode` stands for
CONDITION = ("field", "is", "value", "second", "unit")  # of a row, what people type


# ---- document -> form -----------------------------------------------------------------------------------------------
def form_of(document: Any, kinds: Kinds, currency: str = "usd") -> Form:
    base = _map(document)
    when = _when_form(_map(base.get("when")))
    return {
        "base": base,
        "currency": currency,
        "name": _text(base.get("name")),
        "why": _text(base.get("why")),
        "when": when,
        "only_if": _groups_form(base.get("only_if"), lambda path: kinds(when["event"], path), currency),
        "never_for": [_text(one) for one in _list(_map(base.get("never_for")).get("lists"))],
        "again": _again_form(base.get("again")),
        "steps": [_step_form(step) for step in _list(base.get("steps"))],
        "stop_when": _stops_form(base.get("stop_when")),
        "limits": _limits_form(_map(base.get("limits"))),
        "examples": [form_examples.shown(one) for one in _list(base.get("examples"))],
    }


def _when_form(when: Mapping[str, Any]) -> Form:
    mode = _mode(when)
    after = _map(when.get({"then": "then", "absent": "and_not"}.get(mode, "")))
    within = span_shown(after.get("within") if after else when.get("within", ""))
    return {
        "event": [_text(one) for one in _list(when.get("event"))],
        "mode": mode,
        "at_least": number_shown(when.get("at_least")),
        "n": within[0],
        "unit": within[1],
        "other": _text((_list(after.get("event")) or [""])[0]),
        "same": _text(when.get("same")),
        "counting": _text(when.get("counting", "events")),
        "ignore_own": when.get("ignore_own", True) is not False,
        "start_again_after": [_text(one) for one in _list(when.get("start_again_after"))],
    }


def _mode(when: Mapping[str, Any]) -> str:
    """How often, as the form knows it; `kept` when the document says it in a way that the form cannot."""
    shapes = {key for key in SHAPES if key in when}
    if not shapes:
        return "each"
    if shapes <= {"at_least", "within", "counting"}:
        return "count"
    if shapes == {"first"}:
        return "first" if when["first"] is True else "kept"
    for key, mode in (("then", "then"), ("and_not", "absent")):
        after = when.get(key)
        if shapes == {key} and isinstance(after, dict) and set(after) == {"event", "within"}:
            return mode if len(_list(after["event"])) == 1 else "kept"
    return "kept"


def _groups_form(condition: Any, kind: Callable[[str], Kind], currency: str) -> list[list[Form]]:
    """Groups of rows: rows of a group are joined by or, groups by and."""
    if condition is None:
        return []
    parts = condition["all"] if _only(condition, "all") and isinstance(condition["all"], list) else [condition]
    return [_group_form(part, kind, currency) for part in parts]


def _group_form(part: Any, kind: Callable[[str], Kind], currency: str) -> list[Form]:
    either = part["any"] if _only(part, "any") and isinstance(part["any"], list) else None
    if either and all(_is_row(one) for one in either):
        return [_row_form(one, kind, currency) for one in either]
    return [_row_form(part, kind, currency) if _is_row(part) else {"was": part, "kept": True}]


def _is_row(part: Any) -> bool:
    if not isinstance(part, dict) or not set(part) <= {"field", "is", "value"} or "field" not in part:
        return False
    values = part["value"] if isinstance(part.get("value"), list) else [part.get("value")]
    if not all(_plain(value) and _fits_a_line(value) for value in values):
        return False
    return isinstance(part["field"], str) and isinstance(part.get("is", ""), str)


def _row_form(test: Mapping[str, Any], kind: Callable[[str], Kind], currency: str) -> Form:
    found = kind(test["field"])
    found = Kind(found.name, found.choices, currency)
    value, second, unit = shown(test.get("value"), test.get("is", ""), found)
    row = {"field": test["field"], "is": test.get("is", ""), "value": value, "second": second, "unit": unit}
    return {"was": test, **row, "kind": found.name, "of": test["field"]}


def _again_form(again: Any) -> Form:
    n, unit = span_shown(_map(again).get("after") or "P30D")
    if again is None:
        return {"mode": "after", "n": "30", "unit": "days"}
    if again == {"while_open": True, "after": "PT0S"}:
        return {"mode": "every", "n": "30", "unit": "days"}
    known = isinstance(again, dict) and set(again) <= {"while_open", "after"} and not again.get("while_open")
    if known and again.get("after", "P30D") is None:
        return {"mode": "never", "n": "30", "unit": "days"}
    return {"mode": "after" if known else "kept", "n": n, "unit": unit}


def _step_form(step: Any) -> Form:
    name = _text(_map(step).get("name"))
    keys = set(step) if isinstance(step, dict) else set()
    if "do" in keys and keys <= {"name", "do", "with", "on_failure"} and isinstance(step.get("with", {}), dict):
        params = {key: scalar_shown(value, Kind()) for key, value in _map(step.get("with")).items() if _plain(value)}
        failure = _text(step.get("on_failure", "person"))
        return {"was": step, "kind": "do", "name": name, "do": _text(step["do"]), "with": params, "on_failure": failure}
    if "wait" in keys and keys <= {"name", "wait"} and _only(step["wait"], "for"):
        n, unit = span_shown(step["wait"]["for"])
        return {"was": step, "kind": "wait", "name": name, "n": n, "unit": unit}
    if "stop" in keys and keys <= {"name", "stop"}:
        return {"was": step, "kind": "stop", "name": name, "reason": _text(step["stop"])}
    return {"was": step, "kind": "kept", "name": name}


def _stops_form(stops: Any) -> list[Form] | None:
    """One row an event; None when the document says it in a way that the form cannot."""
    rows = []
    for stop in stops if isinstance(stops, list) else [] if stops is None else [stops]:
        if not isinstance(stop, dict) or set(stop) != {"event", "same"} or not isinstance(stop["event"], list):
            return None
        rows += [{"event": _text(one), "same": _text(stop["same"])} for one in stop["event"]]
    return rows


def _limits_form(limits: Mapping[str, Any]) -> Form:
    n, unit = span_shown(limits.get("per", "P1D"))
    money = [
        {"currency": _text(currency), "amount": _amount_shown(minor, _text(currency))}
        for currency, minor in _map(limits.get("money")).items()
    ]
    return {"runs": number_shown(limits.get("runs")), "money": money, "n": n, "unit": unit}


def _amount_shown(minor: Any, currency: str) -> str:
    return money_shown(minor, currency) if isinstance(minor, int) else _text(minor)


# ---- form -> document -----------------------------------------------------------------------------------------------
def document_of(form: Form, kinds: Kinds, actions: Actions) -> dict[str, Any]:
    """The document that the form says; sections that were not touched stay as they were in `base`, key for key."""
    base: dict[str, Any] = dict(form["base"])
    before = form_of(base, kinds, form["currency"])
    changed = {key: _section(key, form, kinds, actions) for key in SECTIONS if _typed(form[key]) != _typed(before[key])}
    for key, value in changed.items():
        if value is None:
            base.pop(key, None)
        else:
            base[key] = value
    if set(base) == set(form["base"]):
        return base
    rank = {key: place for place, key in enumerate(ORDER)}
    return {key: base[key] for key in sorted(base, key=lambda key: rank.get(key, len(rank)))}


def _typed(part: Any) -> Any:
    """What people typed of a part, without the notes the form keeps for itself."""
    if isinstance(part, dict):
        if part.get("kept"):
            return part["was"]
        return {key: _typed(value) for key, value in part.items() if key not in ("was", "kind", "of")} | (
            {"kept": part["was"]} if part.get("kind") == "kept" else {}
        )
    return [_typed(one) for one in part if one != ""] if isinstance(part, list) else part


def _section(key: str, form: Form, kinds: Kinds, actions: Actions) -> Any:
    """The section as a document; None when it is left out."""
    part, base = form[key], form["base"].get(key)
    if key == "when":
        return _when(part, _map(base))
    if key == "only_if":
        return _only_if(part, lambda path: kinds(form["when"]["event"], path), form["currency"])
    if key == "never_for":
        return {**{k: v for k, v in _map(base).items() if k != "lists"}, **({"lists": part} if part else {})} or None
    if key == "again":
        return _again(part, base)
    if key == "steps":
        return [_step(step, actions) for step in part]
    if key == "stop_when":
        return _stops(part) if part is not None else base
    if key == "limits":
        return _limits(part, _map(base))
    if key == "examples":
        return [form_examples.meant(row) for row in part] or None
    return part or (None if key == "why" else "")


def _when(part: Form, was: Mapping[str, Any]) -> dict[str, Any]:
    mode, within = part["mode"], span_meant(part["n"], part["unit"])
    when: dict[str, Any] = {"event": [one for one in part["event"] if one]}
    if mode == "kept":
        when.update({key: was[key] for key in SHAPES if key in was})
    elif mode == "count":
        when.update(at_least=number_meant(part["at_least"]), within=within)
    elif mode == "first":
        when["first"] = True
    elif mode in ("then", "absent"):
        span = {"event": [part["other"]] if part["other"] else [], "within": within}
        when["then" if mode == "then" else "and_not"] = span
    if part["same"]:
        when["same"] = part["same"]
    if mode == "count" and ("counting" in was or part["counting"] != "events"):
        when["counting"] = part["counting"] or "events"
    again = [one for one in part["start_again_after"] if one]
    if again:
        when["start_again_after"] = again
    if "ignore_own" in was or not part["ignore_own"]:
        when["ignore_own"] = part["ignore_own"]
    shown_keys = {*SHAPES, "event", "same", "start_again_after", "ignore_own"}
    return {**when, **{key: value for key, value in was.items() if key not in shown_keys}}


def _only_if(groups: list[list[Form]], kind: Callable[[str], Kind], currency: str) -> Any:
    parts = []
    for group in groups:
        tests = [_test(row, kind, currency) for row in group]
        if tests:
            parts.append(tests[0] if len(tests) == 1 else {"any": tests})
    return {"all": parts} if parts else None


def _test(row: Form, kind: Callable[[str], Kind], currency: str) -> Any:
    """The row's test: as it was when untouched; its kind is the one it was shown as, unless the field was changed."""
    if row.get("kept"):
        return row["was"]
    found = kind(row["field"])
    name = row["kind"] if row["of"] == row["field"] else found.name
    as_kind = Kind(name, found.choices, currency)
    if _is_row(row["was"]):
        before = _row_form(row["was"], lambda path: as_kind, currency)
        if _as_typed(before) == _as_typed(row):
            return row["was"]
    test = {"field": row["field"], "is": row["is"]}
    if row["is"] not in BARE:
        test["value"] = meant(row["value"], row["second"], row["unit"], row["is"], as_kind)
    return test


def _as_typed(row: Form) -> list[Any]:
    """What people typed of a row; the values of a list in no order, as ticked boxes have their own."""
    many = row["is"] in MANY
    return [sorted(row[key].split(", ")) if many and key == "value" else row[key] for key in CONDITION]


def _again(part: Form, was: Any) -> Any:
    if part["mode"] == "kept":
        return was
    if part["mode"] == "every":
        return {"while_open": True, "after": "PT0S"}
    after = None if part["mode"] == "never" else span_meant(part["n"], part["unit"])
    return {"while_open": False, "after": after}


def _step(step: Form, actions: Actions) -> Any:
    before = _step_form(step["was"])
    if before["kind"] == step["kind"] and _typed(before) == _typed(step):
        return step["was"]
    named = {"name": step["name"]}
    if step["kind"] == "wait":
        return {**named, "wait": {"for": span_meant(step["n"], step["unit"])}}
    if step["kind"] == "stop":
        return {**named, "stop": step["reason"]}
    return {**named, **_do(step, actions)} if step["kind"] == "do" else step["was"]


def _do(step: Form, actions: Actions) -> dict[str, Any]:
    """The action with its parameters; those that the form does not show stay, unless another action was chosen."""
    was = _map(step["was"])
    same = was.get("do") == step["do"]
    params = _map(was.get("with")) if same else {}
    fields = {field.name: field for field in actions[step["do"]].fields} if step["do"] in actions else {}
    for name, field in fields.items():
        default = "" if same or field.default is None else scalar_shown(field.default, Kind())
        text = step["with"].get(name, default)
        if name in params and (not _plain(params[name]) or scalar_shown(params[name], Kind()) == text):
            continue
        params.pop(name, None)
        if text != "":
            params[name] = _param(field, text)
    failure = {"on_failure": step["on_failure"]} if step["on_failure"] != "person" or "on_failure" in was else {}
    return {"do": step["do"], **({"with": params} if params or "with" in was else {}), **failure}


def _param(field: Field, text: str) -> Any:
    kind = {"number": "number", "boolean": "boolean"}.get(field.type, "text")
    return scalar_meant(text, Kind(kind))  # type: ignore[arg-type]


def _stops(rows: list[Form]) -> Any:
    """Neighbours for the same subject become one entry."""
    stops: list[dict[str, Any]] = []
    for row in rows:
        if stops and stops[-1]["same"] == row["same"]:
            stops[-1]["event"].append(row["event"])
        else:
            stops.append({"event": [row["event"]], "same": row["same"]})
    return stops or None


def _limits(part: Form, was: Mapping[str, Any]) -> Any:
    limits: dict[str, Any] = {"runs": number_meant(part["runs"])} if part["runs"].strip() else {}
    money = {row["currency"]: money_meant(row["amount"], row["currency"]) for row in part["money"] if row["amount"]}
    if money:
        limits["money"] = money
    per = span_meant(part["n"], part["unit"])
    if limits and ("per" in was or per != "P1D"):
        limits["per"] = per
    return {**limits, **{k: v for k, v in was.items() if k not in ("runs", "money", "per")}} or None


def refreshed(form: Form, kinds: Kinds) -> Form:
    """The form with its rows told anew which kind of value their field holds, after a field or event was changed."""

    def told(row: Form) -> Form:
        if row.get("kept") or row["of"] == row["field"]:
            return row
        return {**row, "kind": kinds(form["when"]["event"], row["field"]).name, "of": row["field"]}

    return {**form, "only_if": [[told(row) for row in group] for group in form["only_if"]]}


# ---- small ones -----------------------------------------------------------------------------------------------------
def _only(part: Any, key: str) -> bool:
    return isinstance(part, dict) and set(part) == {key}


def _plain(value: Any) -> bool:
    return isinstance(value, str | int | float) or value is None


def _map(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else []


def _fits_a_line(value: Any) -> bool:
    """Whether a browser's text field gives it back unchanged."""
    return not isinstance(value, str) or not any(unicodedata.category(sign) in ("Cc", "Zl", "Zp") for sign in value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)
