"""What a browser sent for the rule form, as a form again. Pure; names: `when.event-0`, `only_if-1-0.field`,
`steps-2.with.price`. What is missing is empty. The form itself: app.web.forms.document."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from app.web.forms.conditions import Form
from app.web.forms.extras import NO_HOURS
from app.web.forms.steps import BRANCHES, DEEPEST
from app.web.forms.values import OTHER

PICKED = " · "  # between the plain words and the name in a picker
One = Callable[..., str]
Fields = Mapping[str, Sequence[str]]


def read(fields: Fields) -> Form:
    """The form of flat fields (`when.event-0`, `only_if-1-0.field`, `steps-2.with.price`); what is missing is empty."""

    def one(name: str, default: str = "") -> str:
        values = fields.get(name)
        return values[0].replace("\r\n", "\n") if values else default

    return {
        "base": _object(one("base")),
        "currency": one("currency", "usd"),
        "name": one("name"),
        "why": one("why"),
        "when": _read_when(fields, one),
        "tags": None if fields.get("tags.kept") else one("tags"),
        "only_if": _read_groups("only_if", fields, one),
        "never_for": [value for value in fields.get("never_for", ()) if value],
        "again": {"mode": one("again.mode", "after"), "n": one("again.n", "30"), "unit": one("again.unit", "days")},
        "steps": _read_steps("steps", fields, one),
        "stop_when": None if fields.get("stop_when.kept") else _read_stops("stop_when", fields, one),
        "undo": None if fields.get("undo.kept") else _read_undo(fields, one),
        "limits": _read_limits(fields, one),
        "caps": None if fields.get("caps.kept") else _read_caps(fields, one),
        "hours": None if fields.get("hours.kept") else _read_hours(fields, one),
        "examples": [_read_example(f"examples-{at}", fields, one) for at in _places(fields, r"examples-(\d+)\.was")],
    }


def _read_when(fields: Fields, one: One) -> Form:
    mode = one("when.mode", "each")
    usual = {"count": ("2", "7"), "then": ("", "2"), "absent": ("", "2")}.get(mode, ("", ""))
    events = [picked(one(f"when.event-{at}")) for at in _places(fields, r"when\.event-(\d+)")]
    again = [picked(one(f"when.start-{at}")) for at in _places(fields, r"when\.start-(\d+)")]
    return {
        "event": events,
        "mode": mode,
        "at_least": one("when.at_least", usual[0]),
        "n": one("when.n", usual[1]),
        "same": one("when.same"),
        "unit": one("when.unit", "days"),
        "other": picked(one("when.other")),
        "counting": picked(one("when.counting", "events")),
        "ignore_own": bool(fields.get("when.ignore_own")),
        "start_again_after": again,
    }


def _read_groups(start: str, fields: Fields, one: One) -> list[list[Form]]:
    groups: dict[int, list[Form]] = {}
    for group, place in _pairs(fields, rf"{re.escape(start)}-(\d+)-(\d+)\.was"):
        groups.setdefault(group, []).append(_read_row(f"{start}-{group}-{place}", fields, one))
    return list(groups.values())


def _read_row(start: str, fields: Fields, one: One) -> Form:
    was = _json(one(f"{start}.was"))
    if fields.get(f"{start}.kept"):
        return {"was": was, "kept": True}
    values, operator = ", ".join(fields.get(f"{start}.value", ())), one(f"{start}.is")  # several: ticked boxes
    row = {
        "field": picked(one(f"{start}.field")),
        "is": operator,
        "value": picked(values) if operator.endswith(OTHER) else values,
        "second": one(f"{start}.second"),
        "unit": one(f"{start}.unit"),
        "not": one(f"{start}.not"),
        "joint": one(f"{start}.joint"),
    }
    return {"was": was, **row, "kind": one(f"{start}.kind", "text"), "of": one(f"{start}.of")}


def _read_steps(start: str, fields: Fields, one: One, depth: int = 0) -> list[Form]:
    places = _places(fields, rf"{re.escape(start)}-(\d+)\.was") if depth <= DEEPEST else []
    return [_read_step(f"{start}-{place}", fields, one, depth) for place in places]


def _read_step(start: str, fields: Fields, one: One, depth: int) -> Form:
    kind, name = one(f"{start}.kind", "kept"), one(f"{start}.name")
    step: Form = {"was": _json(one(f"{start}.was")), "kind": kind, "name": name}
    if kind == "do":
        params = {key[len(start) + 6 :]: one(key) for key in fields if key.startswith(f"{start}.with.")}
        step.update({"do": one(f"{start}.do"), "with": params, "on_failure": one(f"{start}.on_failure", "person")})
    elif kind == "wait":
        step.update(_read_wait(start, fields, one))
    elif kind == "stop":
        step["reason"] = one(f"{start}.reason")
    elif kind == "approve":
        asks = {"role": one(f"{start}.role"), "n": one(f"{start}.n"), "unit": one(f"{start}.unit", "days")}
        groups = _read_groups(f"{start}.if", fields, one)
        step.update({**asks, "on_timeout": one(f"{start}.on_timeout", "stop"), "if": groups})
    elif kind == "if":
        step["if"] = _read_groups(f"{start}.if", fields, one)
        step.update({branch: _read_steps(f"{start}.{branch}", fields, one, depth + 1) for branch in BRANCHES})
    return step


def _read_wait(start: str, fields: Fields, one: One) -> Form:
    return {
        "ends": one(f"{start}.ends", "for"),
        "n": one(f"{start}.n"),
        "unit": one(f"{start}.unit", "days"),
        "until": picked(one(f"{start}.until")),
        "events": _read_stops(f"{start}.events", fields, one),
        "in_hours": one(f"{start}.in_hours"),
    }


def _read_stops(start: str, fields: Fields, one: One) -> list[Form]:
    places = _places(fields, rf"{re.escape(start)}-(\d+)\.event")
    return [{"event": picked(one(f"{start}-{at}.event")), "same": one(f"{start}-{at}.same")} for at in places]


def _read_undo(fields: Fields, one: One) -> Form:
    events = [picked(one(f"undo.on-{at}")) for at in _places(fields, r"undo\.on-(\d+)")]
    return {"on": events, "same": one("undo.same"), "n": one("undo.n", "60"), "unit": one("undo.unit", "days")}


def _read_caps(fields: Fields, one: One) -> list[Form]:
    return [
        {name: one(f"caps-{at}.{name}") for name in ("tag", "at_most", "n")} | {"unit": one(f"caps-{at}.unit", "days")}
        for at in _places(fields, r"caps-(\d+)\.tag")
    ]


def _read_hours(fields: Fields, one: One) -> Form:
    """Where the form has no such part, or nothing was said of it, it is at its defaults."""
    texts = {name: one(f"hours.{name}", str(NO_HOURS[name])) for name in ("use", "from", "to", "zone")}
    lists = {name: list(fields.get(f"hours.{name}", ())) for name in ("days", "applies_to")}
    if "hours.from" not in fields:
        return dict(NO_HOURS)
    return {**texts, **lists, "not_on": one("hours.not_on")}


def _read_limits(fields: Fields, one: One) -> Form:
    money = [
        {"currency": one(f"limits-{at}.currency", "usd").lower(), "amount": one(f"limits-{at}.amount")}
        for at in _places(fields, r"limits-(\d+)\.amount")
    ]
    kept = [row for row in money if row["amount"]]
    return {"runs": one("limits.runs"), "money": kept, "n": one("limits.n", "1"), "unit": one("limits.unit", "days")}


def _read_example(start: str, fields: Fields, one: One) -> Form:
    was = _json(one(f"{start}.was"))
    if fields.get(f"{start}.kept"):
        return {"was": was, "kept": True}
    said = {key: one(f"{start}.{key}") for key in ("given", "then", "because", "n", "stands")}
    return {"was": was, **said, "unit": one(f"{start}.unit", "days")}


def picked(text: str) -> str:
    """The name in what a picker holds: `An invoice payment fails · invoice.payment_failed`."""
    return text.rsplit(PICKED, 1)[-1].strip()


# ---- small ones -----------------------------------------------------------------------------------------------------
def _places(fields: Fields, pattern: str) -> list[int]:
    return sorted({int(found[1]) for name in fields if (found := re.fullmatch(pattern, name))})


def _pairs(fields: Fields, pattern: str) -> list[tuple[int, int]]:
    return sorted({(int(found[1]), int(found[2])) for name in fields if (found := re.fullmatch(pattern, name))})


def _json(text: str) -> Any:
    try:
        found = json.loads(text)
        orjson.dumps(orjson.loads(text))  # refuses what the store could not keep
    except (ValueError, TypeError, RecursionError):
        return None
    return found


def _object(text: str) -> dict[str, Any]:
    found = _json(text)
    return found if isinstance(found, dict) else {}
