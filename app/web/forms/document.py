"""The rule form and the rule document: one is a projection of the other. Pure and total: any JSON has a form.

`form_of(document)` is what the page shows, `document_of(form)` the document that it says. A part that was not touched
keeps its document verbatim, so what the form cannot show is never lost: rows and steps carry their own JSON (`was`),
the form carries the whole document (`base`). What a browser sent becomes a form in form_read, buttons in form_presses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from app.web.forms import conditions, examples, extras
from app.web.forms import steps as form_steps
from app.web.forms.conditions import Form, KindOf
from app.web.forms.steps import Reading
from app.web.forms.values import (
    Kind,
    as_list,
    as_map,
    as_text,
    money_meant,
    money_shown,
    number_meant,
    number_shown,
    span_meant,
    span_shown,
    typed,
)
from rules.ports import ActionExecutor

__all__ = ["Form", "document_of", "form_of", "refreshed"]
Kinds = Callable[[Sequence[str], str], Kind]  # (event types, path) -> kind of the field's values
Actions = Mapping[str, ActionExecutor]

SECTIONS = ("name", "why", "tags", "when", "only_if", "never_for", "again", "steps", "stop_when", "undo", "limits",
            "caps", "hours", "examples")  # fmt: skip
ORDER = ("id", "name", "why", "tags", "priority", "when", "only_if", "never_for", "again", "steps", "stop_when", "undo",
         "limits")  # fmt: skip
SHAPES = ("at_least", "within", "counting", "aggregate", "then", "and_not", "first")  # what `mode` stands for


# ---- document -> form -----------------------------------------------------------------------------------------------
def form_of(document: Any, kinds: Kinds, currency: str = "usd") -> Form:
    base = as_map(document)
    when = _when_form(as_map(base.get("when")))
    reading = Reading(_kind_of(when, kinds), currency)
    return {
        "base": base,
        "currency": currency,
        "name": as_text(base.get("name")),
        "why": as_text(base.get("why")),
        "when": when,
        "tags": extras.tags_form(base.get("tags")),
        "only_if": conditions.groups_form(base.get("only_if"), reading.kind, currency),
        "never_for": [as_text(one) for one in as_list(as_map(base.get("never_for")).get("lists"))],
        "again": _again_form(base.get("again")),
        "steps": form_steps.steps_form(base.get("steps"), reading),
        "stop_when": form_steps.stops_form(base.get("stop_when")),
        "undo": extras.undo_form(base.get("undo")),
        "limits": _limits_form(as_map(base.get("limits"))),
        "caps": extras.caps_form(base.get("caps")),
        "hours": extras.hours_form(base.get("hours")),
        "examples": [examples.shown(one) for one in as_list(base.get("examples"))],
    }


def _kind_of(when: Form, kinds: Kinds) -> KindOf:
    return lambda path: kinds(when["event"], path)


def _when_form(when: Mapping[str, Any]) -> Form:
    mode = _mode(when)
    after = as_map(when.get({"then": "then", "absent": "and_not"}.get(mode, "")))
    within = span_shown(after.get("within") if after else when.get("within", ""))
    return {
        "event": [as_text(one) for one in as_list(when.get("event"))],
        "mode": mode,
        "at_least": number_shown(when.get("at_least")),
        "n": within[0],
        "unit": within[1],
        "other": as_text((as_list(after.get("event")) or [""])[0]),
        "same": as_text(when.get("same")),
        "counting": as_text(when.get("counting", "events")),
        "ignore_own": when.get("ignore_own", True) is not False,
        "start_again_after": [as_text(one) for one in as_list(when.get("start_again_after"))],
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
            return mode if len(as_list(after["event"])) == 1 else "kept"
    return "kept"


def _again_form(again: Any) -> Form:
    n, unit = span_shown(as_map(again).get("after") or "P30D")
    if again is None:
        return {"mode": "after", "n": "30", "unit": "days"}
    if again == {"while_open": True, "after": "PT0S"}:
        return {"mode": "every", "n": "30", "unit": "days"}
    known = isinstance(again, dict) and set(again) <= {"while_open", "after"} and not again.get("while_open")
    if known and again.get("after", "P30D") is None:
        return {"mode": "never", "n": "30", "unit": "days"}
    return {"mode": "after" if known else "kept", "n": n, "unit": unit}


def _limits_form(limits: Mapping[str, Any]) -> Form:
    n, unit = span_shown(limits.get("per", "P1D"))
    money = [
        {"currency": as_text(currency), "amount": _amount_shown(minor, as_text(currency))}
        for currency, minor in as_map(limits.get("money")).items()
    ]
    return {"runs": number_shown(limits.get("runs")), "money": money, "n": n, "unit": unit}


def _amount_shown(minor: Any, currency: str) -> str:
    return money_shown(minor, currency) if isinstance(minor, int) else as_text(minor)


# ---- form -> document -----------------------------------------------------------------------------------------------
def document_of(form: Form, kinds: Kinds, actions: Actions) -> dict[str, Any]:
    """The document that the form says; sections that were not touched stay as they were in `base`, key for key."""
    base: dict[str, Any] = dict(form["base"])
    before = form_of(base, kinds, form["currency"])
    changed = {key: _section(key, form, kinds, actions) for key in SECTIONS if typed(form[key]) != typed(before[key])}
    for key, value in changed.items():
        if value is None:
            base.pop(key, None)
        else:
            base[key] = value
    if set(base) == set(form["base"]):
        return base
    rank = {key: place for place, key in enumerate(ORDER)}
    return {key: base[key] for key in sorted(base, key=lambda key: rank.get(key, len(rank)))}


_EXTRAS: Mapping[str, Callable[[Any], Any]] = {
    "tags": extras.tags_meant,
    "caps": extras.caps_meant,
    "undo": extras.undo_meant,
    "stop_when": form_steps.stops_meant,
}


def _section(key: str, form: Form, kinds: Kinds, actions: Actions) -> Any:
    """The section as a document; None when it is left out."""
    part, base = form[key], form["base"].get(key)
    reading = Reading(_kind_of(form["when"], kinds), form["currency"])
    if part is None:  # in a shape that the form cannot show
        return base
    if key in _EXTRAS:
        return _EXTRAS[key](part)
    if key == "when":
        return _when(part, as_map(base))
    if key == "only_if":
        parts = conditions.groups_meant(part, reading.kind, reading.currency)
        return {"all": parts} if parts else None
    if key == "never_for":
        return {**{k: v for k, v in as_map(base).items() if k != "lists"}, **({"lists": part} if part else {})} or None
    if key == "again":
        return _again(part, base)
    if key == "steps":
        return form_steps.steps_meant(part, actions, reading)
    if key == "hours":
        return extras.hours_meant(part, base)
    if key == "limits":
        return _limits(part, as_map(base))
    if key == "examples":
        return [examples.meant(row) for row in part] or None
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


def _again(part: Form, was: Any) -> Any:
    if part["mode"] == "kept":
        return was
    if part["mode"] == "every":
        return {"while_open": True, "after": "PT0S"}
    after = None if part["mode"] == "never" else span_meant(part["n"], part["unit"])
    return {"while_open": False, "after": after}


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
    kind = _kind_of(form["when"], kinds)
    groups, steps = conditions.refreshed(form["only_if"], kind), form_steps.refreshed(form["steps"], kind)
    return {**form, "only_if": groups, "steps": steps}
