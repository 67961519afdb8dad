"""Starters: complete rules to begin from, each with what is a matter of the business as parameters.

A file holds `{"number", "group", "parameters": [...], "rule": document}`. In the document `{"$": name}` stands for a
parameter's value, with `"times"` and `"plus"` reckoned (of spans too), `{"$": name, "first": true}` for the first of a
list, and `{$name}` inside a text for its text. The examples are reckoned along, so they hold for other values too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from rules.model import Problem, duration
from rules.reading import nearest

FOLDER = Path(__file__).parent
ORDER = (
    "two-failed-payments",
    "dunning-ladder",
    "hard-decline",
    "bank-wants-authentication",
    "new-card-collect",
    "paid-again",
    "trial-without-card",
    "trial-became-paying",
    "invoice-overdue",
    "dispute-opened",
    "cancellation-scheduled",
    "contraction",
    "subscription-ended",
    "ended-unpaid",
)
BLANK: dict[str, Any] = {
    "name": "",
    "why": "",
    "when": {"event": []},
    "again": {"while_open": False, "after": "P30D"},
    "steps": [],
}
Kind = Literal["text", "long", "list", "number", "money", "span", "price", "connection"]
_TYPES: Mapping[Kind, tuple[type, ...]] = {
    "text": (str,),
    "long": (str,),
    "span": (str,),
    "price": (str,),
    "connection": (str,),
    "number": (int, float),
    "money": (int,),
    "list": (list,),
}
_WORDS: Mapping[Kind, str] = {
    "text": "text",
    "long": "text",
    "list": "a list of texts",
    "number": "a number",
    "money": "an amount in minor units",
    "span": "a span such as P7D",
    "price": "a price's id",
    "connection": "a connection's name",
}
_HOLE = re.compile(r"\{\$(\w+)\}")
_UNITS = ((86400, "P{}D"), (3600, "PT{}H"), (60, "PT{}M"), (1, "PT{}S"))


@dataclass(frozen=True, slots=True)
class Parameter:
    """type: money = minor units, span = ISO 8601, list = texts. of: a connection's type. default: "" where there is
    none, and the editor asks."""

    name: str
    label: str
    type: Kind
    default: Any = ""
    help: str = ""
    of: str = ""


@dataclass(frozen=True, slots=True)
class Starter:
    """number: in the starter library. group: what it stands with. document: with holes."""

    id: str
    number: int
    group: str
    parameters: tuple[Parameter, ...]
    document: Mapping[str, Any]

    def checked(self, values: Mapping[str, Any]) -> list[Problem]:
        """What is wrong with these values: names that there are not, and kinds that do not fit."""
        known = {one.name: one for one in self.parameters}
        found = []
        for name, value in values.items():
            if name not in known:
                found.append(Problem(f"values.{name}", f"{self.id} has no parameter {name!r}", nearest(name, known)))
            elif not isinstance(value, _TYPES[known[name].type]) or isinstance(value, bool):
                wanted = _WORDS[known[name].type]
                found.append(Problem(f"values.{name}", f"{known[name].label} is {wanted}", str(known[name].default)))
        return found

    def filled(self, values: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The rule with these values, and the defaults for the rest."""
        known = {**{one.name: one.default for one in self.parameters}, **(values or {})}
        found: dict[str, Any] = _filled(self.document, known)
        return found


def library() -> tuple[Starter, ...]:
    """Every starter, the most asked for first."""
    return tuple(_starter(name) for name in ORDER)


def find(name: str) -> Starter:
    """LookupError when there is none of this name."""
    if name not in ORDER:
        raise LookupError(f"There is no starter {name!r}.")
    return _starter(name)


def starters() -> list[dict[str, Any]]:
    """Every starter's rule with its defaults, the most asked for first."""
    return [one.filled() for one in library()]


def starter(name: str) -> dict[str, Any]:
    """One starter's rule with its defaults; `blank` is the empty one. LookupError."""
    return json.loads(json.dumps(BLANK)) if name == "blank" else find(name).filled()


@lru_cache(maxsize=len(ORDER))
def _starter(name: str) -> Starter:
    body = json.loads((FOLDER / f"{name}.json").read_text())
    parameters = tuple(Parameter(**one) for one in body["parameters"])
    return Starter(name, body["number"], body["group"], parameters, body["rule"])


def _filled(value: Any, known: Mapping[str, Any]) -> Any:
    if isinstance(value, dict):
        if "$" in value:
            found = _reckoned(known[value["$"]], value)
            return _text(found, known) if isinstance(found, str) else found
        return {key: _filled(part, known) for key, part in value.items()}
    if isinstance(value, list):
        return [_filled(part, known) for part in value]
    return _text(value, known) if isinstance(value, str) else value


def _text(text: str, known: Mapping[str, Any]) -> str:
    """With the parameters that it names; what is named otherwise stays."""
    return _HOLE.sub(lambda hole: str(known.get(hole[1], hole[0])), text)


def _reckoned(value: Any, hole: Mapping[str, Any]) -> Any:
    """The value that a hole stands for; what cannot be reckoned with is left as it was typed."""
    if hole.get("first"):
        return value[0] if value else ""
    if "times" not in hole and "plus" not in hole:
        return value
    times, plus = hole.get("times", 1), hole.get("plus", 0)
    if isinstance(value, str):
        return _span(value, times)
    found = round(value * times + plus, 9)
    return int(found) if found == int(found) else found


def _span(text: str, times: float) -> str:
    """So many times the span, in whole units.

    >>> _span("P7D", 0.5), _span("PT48H", 2)
    ('PT84H', 'P4D')
    """
    try:
        seconds = max(1, int(duration(text).total_seconds() * times))
    except ValueError:
        return text
    size, form = next((size, form) for size, form in _UNITS if seconds % size == 0)
    return form.format(seconds // size)
