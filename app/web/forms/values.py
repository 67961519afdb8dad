"""Values of the rule form: how a JSON value is shown in a text field, and what a typed text means. Pure, total.

A text that means nothing of its kind stays text, so that the check can say beside the field what is wrong with it.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

from app.web.show import exponent

KindName = Literal["text", "number", "money", "boolean", "choice", "time", "list", "object"]
BARE = ("is present", "is absent", "is empty", "is true", "is false", "changed")
MANY = ("one of", "none of")
SPANS = ("in the last", "in the next")
UNITS = ("minutes", "hours", "days")
OTHER = " the field"  # at the end of an operator: its value is another field's
COMPARED = ("equal to", "not equal to", "greater than", "greater or equal to", "less than", "less or equal to")
RECKONED = ("times", "plus")
_SIZES = {"days": 86400, "hours": 3600, "minutes": 60, "seconds": 1}
_SIGNS = {"days": "P{}D", "hours": "PT{}H", "minutes": "PT{}M", "seconds": "PT{}S"}
_SPAN = re.compile(r"P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?")


@dataclass(frozen=True, slots=True)
class Kind:
    """What a field's values are. choices: the values of a choice. currency: in which money is typed."""

    name: KindName = "text"
    choices: tuple[str, ...] = ()
    currency: str = "usd"


_EQUAL = ("equal to", "not equal to")
_MORE = ("greater than", "greater or equal to", "less than", "less or equal to", "between")
_THERE = ("is present", "is absent")
_CHANGES = ("changed", "changed from", "changed to")
_PERSONAL = ("equal to", "one of", "ends with", *_THERE, "is empty", "changed")
OPERATORS: Mapping[KindName, tuple[str, ...]] = {
    "text": (*_EQUAL, *MANY, "contains", "starts with", "ends with", "matches", *_THERE, "is empty", *_CHANGES),
    "number": (*_EQUAL, *_MORE, *MANY, *_THERE, *_CHANGES),
    "money": (*_EQUAL, *_MORE, *_THERE, *_CHANGES),
    "boolean": ("is true", "is false", *_THERE, *_CHANGES),
    "choice": (*_EQUAL, *MANY, *_THERE, *_CHANGES),
    "time": ("before", "after", *SPANS, *_THERE, "changed"),
    "list": ("contains", *_THERE, "is empty", "changed"),
    "object": (*_THERE, "is empty", "changed"),
}


def operators(kind: Kind, current: str, updated: bool = True, personal: bool = False) -> list[str]:
    """The operators that fit the kind, and the one that is set even if it does not fit. updated: the event says what
    changed. personal: the field holds tokens."""
    fitting = [one for one in OPERATORS[kind.name] if updated or one not in _CHANGES]
    if personal:
        fitting = [one for one in fitting if one in _PERSONAL]
    if kind.name in ("number", "money"):
        fitting += [one + OTHER for one in COMPARED]
    return [*fitting, *([current] if current and current not in fitting else [])]


# ---- conditions' values ---------------------------------------------------------------------------------------------
def shown(value: Any, operator: str, kind: Kind) -> tuple[str, str, str]:
    """(value, second value, unit) as the fields show them."""
    if operator in BARE:
        return "", "", ""
    if operator in SPANS:
        number, unit = span_shown(value)
        return number, "", unit
    if operator == "between" and isinstance(value, list) and len(value) == 2:
        return scalar_shown(value[0], kind), scalar_shown(value[1], kind), ""
    if operator in MANY and isinstance(value, list):
        return ", ".join(scalar_shown(one, kind) for one in value), "", ""
    return scalar_shown(value, kind), "", ""


def meant(value: str, second: str, unit: str, operator: str, kind: Kind) -> Any:
    """The JSON value that was typed."""
    if operator in SPANS:
        return span_meant(value, unit)
    if operator == "between":
        return [scalar_meant(value, kind), scalar_meant(second, kind)]
    if operator in MANY:
        return [scalar_meant(one.strip(), kind) for one in value.split(",") if one.strip()]
    if operator in ("contains", "starts with", "ends with", "matches"):
        return value
    return scalar_meant(value, kind)


def is_other(value: Mapping[str, Any], operator: Any) -> bool:
    """Whether the value is another field, as it is or reckoned with one number (or what was typed for one)."""
    reckoned = [key for key in RECKONED if key in value]
    if operator not in COMPARED or set(value) != {"field", *reckoned} or len(reckoned) > 1:
        return False
    numbers = all(plain(value[key]) and value[key] is not None for key in reckoned)
    return numbers and isinstance(value["field"], str) and all(fits_a_line(one) for one in value.values())


def other_shown(value: Mapping[str, Any], kind: Kind) -> tuple[str, str, str]:
    """(the other field, the number, `times` or `plus`), both empty where the field is taken as it is."""
    how = next((key for key in RECKONED if key in value), "")
    as_kind = kind if how == "plus" else Kind("number")
    return value["field"], scalar_shown(value[how], as_kind) if how else "", how


def other_meant(field: str, number: str, how: str, kind: Kind) -> dict[str, Any]:
    """What is added to money is money; what it is multiplied with is a number."""
    if how not in RECKONED:
        return {"field": field}
    return {"field": field, how: scalar_meant(number, kind) if how == "plus" else number_meant(number)}


def compared(operator: str) -> str:
    """The operator as the document has it, whatever it compares with."""
    return operator.removesuffix(OTHER)


def scalar_shown(value: Any, kind: Kind) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if kind.name == "money" and isinstance(value, int) and not isinstance(value, bool):
        return money_shown(value, kind.currency)
    return json.dumps(value, ensure_ascii=False)


def scalar_meant(text: str, kind: Kind) -> Any:
    if kind.name == "money":
        return money_meant(text, kind.currency)
    if kind.name in ("number", "time"):
        return number_meant(text)
    if kind.name == "boolean":
        return {"true": True, "false": False}.get(text, text)
    return text


# ---- numbers, money, spans ------------------------------------------------------------------------------------------
def number_meant(text: str) -> int | float | str:
    """`1,200` and `1200` are one number; what is no number stays text."""
    plain = re.sub(r"(?<=\d),(?=\d{3}(\D|$))", "", text.strip())
    if re.fullmatch(r"-?\d{1,15}", plain):
        return int(plain)
    if re.fullmatch(r"-?\d{1,15}\.\d{1,9}", plain):
        return float(plain)
    return text


def number_shown(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def money_shown(minor: int, currency: str) -> str:
    places = exponent(currency)
    return f"{Decimal(minor).scaleb(-places):.{places}f}"


def money_meant(text: str, currency: str) -> int | str:
    """Minor units of `49`, `49.00`, `$1,200.50`; text when it is no amount of this currency."""
    plain = re.sub(r"(?<=\d),(?=\d{3}(\D|$))", "", text.strip().lstrip("$€£¥ "))
    try:
        minor = Decimal(plain).scaleb(exponent(currency))
    except InvalidOperation:
        return text
    whole = minor.is_finite() and abs(minor) < 10**15 and minor == minor.to_integral_value()
    return int(minor) if whole else text


def span_shown(value: Any) -> tuple[str, str]:
    """`P7D` is ("7", "days"); what is no span comes back as ("what was typed", unit)."""
    text = value if isinstance(value, str) else number_shown(value)
    for unit in ("days", "hours", "minutes", "seconds"):
        start, _, end = _SIGNS[unit].partition("{}")
        middle = text[len(start) : -len(end)]
        if text.startswith(start) and text.endswith(end) and (middle.isdigit() or not _SPAN.fullmatch(text)):
            return middle, unit
    found = _SPAN.fullmatch(text)
    if not found or not any(found.groups()):
        return text, "days"
    weeks, days, hours, minutes, seconds = (int(group or 0) for group in found.groups())
    total = (weeks * 7 + days) * 86400 + hours * 3600 + minutes * 60 + seconds
    unit = next(unit for unit, size in _SIZES.items() if total % size == 0)
    return str(total // _SIZES[unit]), unit


def span_meant(number: str, unit: str) -> str:
    """("7", "days") is `P7D`; nothing typed is the empty text."""
    return _SIGNS.get(unit, _SIGNS["days"]).format(number.strip()) if number.strip() else ""


# ---- any JSON, taken as what it should be ---------------------------------------------------------------------------
def only(part: Any, key: str) -> bool:
    return isinstance(part, dict) and set(part) == {key}


def plain(value: Any) -> bool:
    return isinstance(value, str | int | float) or value is None


def as_map(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else []


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)


def fits_a_line(value: Any) -> bool:
    """Whether a browser's text field gives it back unchanged."""
    return not isinstance(value, str) or not any(unicodedata.category(sign) in ("Cc", "Zl", "Zp") for sign in value)


def typed(part: Any) -> Any:
    """What people typed of a part of the form, without the notes that the form keeps for itself."""
    if isinstance(part, dict):
        if part.get("kept"):
            return part["was"]
        return {key: typed(value) for key, value in part.items() if key not in ("was", "kind", "of")} | (
            {"kept": part["was"]} if part.get("kind") == "kept" else {}
        )
    return [typed(one) for one in part if one != ""] if isinstance(part, list) else part
