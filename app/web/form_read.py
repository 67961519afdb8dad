"""What a browser sent for the rule form, as a form again. Pure; names: `when.event-0`, `only_if-1-0.field`,
`steps-2.with.price`. What is missing is empty. The form itself: app.web.forms."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from app.web.forms import Form

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
        "only_if": _read_groups(fields, one),
        "never_for": [value for value in fields.get("never_for", ()) if value],
        "again": {"mode": one("again.mode", "after"), "n": one("again.n", "30"), "unit": one("again.unit", "days")},
        "steps": [_read_step(f"steps-{place}", fields, one) for place in _places(fields, r"steps-(\d+)\.was")],
        "stop_when": None if fields.get("stop_when.kept") else _read_stops(fields, one),
        "limits": _read_limits(fields, one),
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


def _read_groups(fields: Fields, one: One) -> list[list[Form]]:
    groups: dict[int, list[Form]] = {}
    for group, place in _pairs(fields, r"only_if-(\d+)-(\d+)\.was"):
        groups.setdefault(group, []).append(_read_row(f"only_if-{group}-{place}", fields, one))
    return list(groups.values())


def _read_row(start: str, fields: Fields, one: One) -> Form:
    was = _json(one(f"{start}.was"))
    if fields.get(f"{start}.kept"):
        return {"was": was, "kept": True}
    values = fields.get(f"{start}.value", ())
    row = {
        "field": picked(one(f"{start}.field")),
        "is": one(f"{start}.is"),
        "value": ", ".join(values),  # several: ticked boxes of a choice
        "second": one(f"{start}.second"),
        "unit": one(f"{start}.unit"),
    }
    return {"was": was, **row, "kind": one(f"{start}.kind", "text"), "of": one(f"{start}.of")}


def _read_step(start: str, fields: Fields, one: One) -> Form:
    kind, name = one(f"{start}.kind", "kept"), one(f"{start}.name")
    step: Form = {"was": _json(one(f"{start}.was")), "kind": kind, "name": name}
    if kind == "do":
        params = {key[len(start) + 6 :]: one(key) for key in fields if key.startswith(f"{start}.with.")}
        step.update({"do": one(f"{start}.do"), "with": params, "on_failure": one(f"{start}.on_failure", "person")})
    elif kind == "wait":
        step.update({"n": one(f"{start}.n"), "unit": one(f"{start}.unit", "days")})
    elif kind == "stop":
        step["reason"] = one(f"{start}.reason")
    return step


def _read_stops(fields: Fields, one: One) -> list[Form]:
    places = _places(fields, r"stop_when-(\d+)\.event")
    return [{"event": picked(one(f"stop_when-{at}.event")), "same": one(f"stop_when-{at}.same")} for at in places]


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
