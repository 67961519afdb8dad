"""The small parts of the rule form: tags, caps, undo and hours. Pure and total; None stands for a shape that the form
cannot show, which stays as it is."""

from __future__ import annotations

import re
from typing import Any

from app.web.forms.values import as_map, as_text, fits_a_line, number_meant, number_shown, span_meant, span_shown

Form = dict[str, Any]
CAP = {"tag", "at_most", "per"}
HOURS = ("days", "from", "to", "zone", "applies_to")
DAYS = (("mon", "Mon"), ("tue", "Tue"), ("wed", "Wed"), ("thu", "Thu"), ("fri", "Fri"), ("sat", "Sat"), ("sun", "Sun"))
NO_UNDO: Form = {"on": [], "same": "", "n": "60", "unit": "days"}
NO_HOURS: Form = {"use": "", "days": ["mon", "tue", "wed", "thu", "fri"], "from": "09:00", "to": "18:00",
                  "zone": "account", "applies_to": ["crm", "email"], "not_on": ""}  # fmt: skip


# ---- tags -----------------------------------------------------------------------------------------------------------
def tags_form(tags: Any) -> str | None:
    if tags is None:
        return ""
    listed: list[Any] = tags if isinstance(tags, list) else [None]
    good = all(isinstance(one, str) and one and one == one.strip() and "," not in one for one in listed)
    return ", ".join(listed) if good and all(map(fits_a_line, listed)) else None


def tags_meant(text: str) -> list[str] | None:
    return [one.strip() for one in text.split(",") if one.strip()] or None


# ---- caps -----------------------------------------------------------------------------------------------------------
def caps_form(caps: Any) -> list[Form] | None:
    if caps is None:
        return []
    if not isinstance(caps, list) or not all(isinstance(one, dict) and set(one) == CAP for one in caps):
        return None
    rows = [_cap_form(one) for one in caps]
    return rows if all(fits_a_line(row["tag"]) and row["tag"] for row in rows) else None


def _cap_form(cap: dict[str, Any]) -> Form:
    n, unit = span_shown(cap["per"])
    return {"tag": as_text(cap["tag"]), "at_most": number_shown(cap["at_most"]), "n": n, "unit": unit}


def caps_meant(rows: list[Form]) -> list[Any] | None:
    return [
        {"tag": row["tag"], "at_most": number_meant(row["at_most"]), "per": span_meant(row["n"], row["unit"])}
        for row in rows
    ] or None


# ---- undo -----------------------------------------------------------------------------------------------------------
def undo_form(undo: Any) -> Form | None:
    if undo is None:
        return dict(NO_UNDO)
    good = isinstance(undo, dict) and set(undo) == {"on", "same", "within"} and isinstance(undo["on"], list)
    if not good or not undo["on"] or not all(isinstance(one, str) and fits_a_line(one) for one in undo["on"]):
        return None
    n, unit = span_shown(undo["within"])
    return {"on": list(undo["on"]), "same": as_text(undo["same"]), "n": n, "unit": unit}


def undo_meant(part: Form) -> dict[str, Any] | None:
    """Without an event there is no undo."""
    on = [one for one in part["on"] if one]
    if not on:
        return None
    return {"on": on, "same": part["same"], "within": span_meant(part["n"], part["unit"])}


# ---- hours ----------------------------------------------------------------------------------------------------------
def hours_form(hours: Any) -> Form | None:
    if hours is None:
        return dict(NO_HOURS)
    if not isinstance(hours, dict) or not set(HOURS) <= set(hours) <= {*HOURS, "not_on"}:
        return None
    texts = [hours["from"], hours["to"], hours["zone"]]
    lists = [hours["days"], hours["applies_to"], hours.get("not_on", [])]
    if not all(isinstance(one, str) and fits_a_line(one) for one in texts) or not all(map(_plain_list, lists)):
        return None
    found = {name: as_map(hours)[name] for name in HOURS}
    return {**NO_HOURS, **found, "use": "yes", "not_on": ", ".join(hours.get("not_on", []))}


def _plain_list(values: Any) -> bool:
    return isinstance(values, list) and all(
        isinstance(one, str) and re.fullmatch(r"[a-z0-9_.-]{1,60}", one) for one in values
    )


def hours_meant(part: Form, was: Any) -> dict[str, Any] | None:
    if not part["use"]:
        return None
    found = {name: part[name] for name in HOURS}
    days = [one for one in re.split(r"[,\s]+", part["not_on"]) if one]
    return {**found, **({"not_on": days} if days or "not_on" in as_map(was) else {})}
