"""Conditions of the rule form: groups of rows. Rows of a group are joined by or, groups by and. Pure and total.

A row is one comparison, or the contrary of one (`not`), with a constant or with another field. A row whose joint is
`and` holds together with the one above it: `a or b and c`. What is said in another shape is kept as it is and shown.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from app.web.forms.values import (
    BARE,
    MANY,
    OTHER,
    Kind,
    as_map,
    compared,
    fits_a_line,
    is_other,
    meant,
    only,
    other_meant,
    other_shown,
    plain,
    shown,
)

Form = dict[str, Any]
KindOf = Callable[[str], Kind]  # of the values of a field
CONDITION = ("field", "is", "value", "second", "unit", "not")  # of a row, what people type
NOT = "yes"  # what a row says that is to be the contrary
AND = "and"  # what a row says that holds together with the one above it


def groups_form(condition: Any, kind: KindOf, currency: str) -> list[list[Form]]:
    if condition is None:
        return []
    parts = condition["all"] if only(condition, "all") and isinstance(condition["all"], list) else [condition]
    return [_group_form(part, kind, currency) for part in parts]


def _group_form(part: Any, kind: KindOf, currency: str) -> list[Form]:
    either = part["any"] if only(part, "any") and isinstance(part["any"], list) else [part]
    ways = [one["all"] if only(one, "all") and isinstance(one["all"], list) else [one] for one in either]
    if not ways or not all(way and all(_is_row(one) for one in way) for way in ways):
        return [{"was": part, "kept": True}]
    return [
        {**_row_form(one, kind, currency), "joint": AND if at else ""} for way in ways for at, one in enumerate(way)
    ]


def ways_of(group: list[Form]) -> list[list[Form]]:
    """The rows of a group by what holds together: each way is enough."""
    ways: list[list[Form]] = []
    for row in group:
        if ways and row.get("joint") == AND:
            ways[-1].append(row)
        else:
            ways.append([row])
    return ways


def _is_row(part: Any) -> bool:
    part = _inner(part)
    if not isinstance(part, dict) or not set(part) <= {"field", "is", "value"} or "field" not in part:
        return False
    if isinstance(part.get("value"), dict):
        return isinstance(part["field"], str) and is_other(part["value"], part.get("is"))
    values = part["value"] if isinstance(part.get("value"), list) else [part.get("value")]
    if not all(plain(value) and fits_a_line(value) for value in values):
        return False
    return isinstance(part["field"], str) and isinstance(part.get("is", ""), str)


def _inner(part: Any) -> Any:
    return part["not"] if only(part, "not") else part


def _row_form(part: Any, kind: KindOf, currency: str) -> Form:
    test = as_map(_inner(part))
    found = kind(test["field"])
    found = Kind(found.name, found.choices, currency)
    operator, said = test.get("is", ""), test.get("value")
    value, second, unit = other_shown(said, found) if isinstance(said, dict) else shown(said, operator, found)
    operator += OTHER if isinstance(said, dict) else ""
    row = {"field": test["field"], "is": operator, "value": value, "second": second, "unit": unit}
    return {"was": part, **row, "not": NOT if only(part, "not") else "", "kind": found.name, "of": test["field"]}


# ---- form -> document -----------------------------------------------------------------------------------------------
def groups_meant(groups: list[list[Form]], kind: KindOf, currency: str) -> list[Any]:
    """What must all hold, as the document says it."""
    parts = []
    for group in groups:
        ways = [_joined("all", [_test(row, kind, currency) for row in way]) for way in ways_of(group)]
        if ways:
            parts.append(_joined("any", ways))
    return parts


def _joined(how: str, parts: list[Any]) -> Any:
    return parts[0] if len(parts) == 1 else {how: parts}


def _test(row: Form, kind: KindOf, currency: str) -> Any:
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
    test = {"field": row["field"], "is": compared(row["is"])}
    if row["is"].endswith(OTHER):
        test["value"] = other_meant(row["value"], row["second"], row["unit"], as_kind)
    elif row["is"] not in BARE:
        test["value"] = meant(row["value"], row["second"], row["unit"], row["is"], as_kind)
    return {"not": test} if row.get("not") else test


def _as_typed(row: Form) -> list[Any]:
    """What people typed of a row; the values of a list in no order, as ticked boxes have their own."""
    many = row["is"] in MANY
    return [sorted(row[key].split(", ")) if many and key == "value" else row.get(key, "") for key in CONDITION]


def refreshed(groups: list[list[Form]], kind: KindOf) -> list[list[Form]]:
    """The rows told anew which kind of value their field holds, after a field or event was changed."""

    def told(row: Form) -> Form:
        if row.get("kept") or row["of"] == row["field"]:
            return row
        return {**row, "kind": kind(row["field"]).name, "of": row["field"]}

    return [[told(row) for row in group] for group in groups]
