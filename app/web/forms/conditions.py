"""Conditions of the rule form: groups of rows. Rows of a group are joined by or, groups by and. Pure and total.

A row is one comparison, or the contrary of one (`not`). What is said in another shape is kept as it is and shown.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from app.web.forms.values import BARE, MANY, Kind, as_map, fits_a_line, meant, only, plain, shown

Form = dict[str, Any]
KindOf = Callable[[str], Kind]  # of the values of a field
CONDITION = ("field", "is", "value", "second", "unit", "not")  # of a row, what people type
NOT = "yes"  # what a row says that is to be the contrary


def groups_form(condition: Any, kind: KindOf, currency: str) -> list[list[Form]]:
    if condition is None:
        return []
    parts = condition["all"] if only(condition, "all") and isinstance(condition["all"], list) else [condition]
    return [_group_form(part, kind, currency) for part in parts]


def _group_form(part: Any, kind: KindOf, currency: str) -> list[Form]:
    either = part["any"] if only(part, "any") and isinstance(part["any"], list) else None
    if either and all(_is_row(one) for one in either):
        return [_row_form(one, kind, currency) for one in either]
    return [_row_form(part, kind, currency) if _is_row(part) else {"was": part, "kept": True}]


def _is_row(part: Any) -> bool:
    part = _inner(part)
    if not isinstance(part, dict) or not set(part) <= {"field", "is", "value"} or "field" not in part:
        return False
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
    value, second, unit = shown(test.get("value"), test.get("is", ""), found)
    row = {"field": test["field"], "is": test.get("is", ""), "value": value, "second": second, "unit": unit}
    return {"was": part, **row, "not": NOT if only(part, "not") else "", "kind": found.name, "of": test["field"]}


# ---- form -> document -----------------------------------------------------------------------------------------------
def groups_meant(groups: list[list[Form]], kind: KindOf, currency: str) -> list[Any]:
    """What must all hold, as the document says it."""
    parts = []
    for group in groups:
        tests = [_test(row, kind, currency) for row in group]
        if tests:
            parts.append(tests[0] if len(tests) == 1 else {"any": tests})
    return parts


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
    test = {"field": row["field"], "is": row["is"]}
    if row["is"] not in BARE:
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
