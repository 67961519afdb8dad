"""Saved examples in the rule form: each as the lines that people write, one event a line. Pure and total.

A line is the shorthand, an event's id, or an event written as JSON on one line. What an example says beside its events,
its verdict, its reason and where the run stands (`at`, `answers`, `on_lists`), stays as it was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from app.web.forms.values import span_meant, span_shown
from rules.skeletons import STAND_INS

Form = dict[str, Any]
SHOWN = ("given", "then", "because", "after", "stands")
BLANK: Mapping[str, Any] = {
    "was": None,
    "given": "",
    "then": "fires",
    "because": "",
    "n": "",
    "unit": "days",
    "stands": "",
}


def shown(example: Any) -> Form:
    """The row of one example; one that is no object is kept as it is."""
    if not isinstance(example, dict) or not isinstance(example.get("given", []), list):
        return {"was": example, "kept": True}
    n, unit = span_shown(example["after"]) if isinstance(example.get("after"), str) else ("", "days")
    return {
        "was": example,
        "given": "\n".join(_line(event) for event in example.get("given", [])),
        "then": _text(example.get("then")),
        "because": _text(example.get("because")),
        "n": n,
        "unit": unit,
        "stands": _text(example.get("stands")),
    }


def meant(row: Form) -> Any:
    """The example that a row says; the one it was shown from when nothing was typed."""
    was = row["was"]
    if row.get("kept") or (was is not None and shown(was) == row):
        return was
    example: dict[str, Any] = {"given": [_event(line) for line in row["given"].split("\n") if line.strip()]}
    example["then"] = row["then"]
    example |= {key: row[key] for key in ("because", "stands") if row[key]}
    if row["n"].strip():
        example["after"] = span_meant(row["n"], row["unit"])
    rest = was if isinstance(was, dict) else {}
    return {**example, **{key: value for key, value in rest.items() if key not in SHOWN}}


def _line(event: Any) -> str:
    if isinstance(event, str) and event == event.strip() and event[:1] not in ("", "{", '"') and event.isprintable():
        return event
    return _shorthand(event) or json.dumps(event, ensure_ascii=False)


def _shorthand(event: Any) -> str:
    """`invoice.paid -PT84H data.object.status=open` for an event that is written as an object and says no more."""
    if not isinstance(event, dict) or not set(event) <= {"type", "ago", "in", "set", *STAND_INS} or "type" not in event:
        return ""
    sets = {**{key: event[key] for key in STAND_INS if key in event}, **_map(event.get("set"))}
    span = [f"-{event['ago']}"] if "ago" in event else [event["in"]] if "in" in event else []
    words = [event["type"], *span, *(f"{path}={_word(value)}" for path, value in sets.items())]
    line = " ".join(map(str, words))
    return line if all(isinstance(one, str | int | float) or one is None for one in sets.values()) else ""


def _word(value: Any) -> str:
    """A value that is read back as it is: JSON, or a text that is no JSON and has no blank in it."""
    if isinstance(value, str) and value.isprintable() and value and " " not in value and _event(value) == value:
        try:
            json.loads(value)
        except ValueError:
            return value
    return json.dumps(value, ensure_ascii=False)


def _map(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _event(line: str) -> Any:
    """An event as its line says it: JSON where it is JSON."""
    text = line.strip()
    if not text.startswith(("{", '"')):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)
