"""Words for times, spans, money, fields, values and conditions, chosen so that different things read differently.

Whatever a person wrote stands in quotes, whatever is nested in brackets, so that no text can pass for another rule.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

from rules import operators as ops
from rules import paths
from rules.aliases import Path
from rules.catalogue import Catalogue, FieldInfo
from rules.fact_fields import known_field, said_path
from rules.labels import breadcrumb, label
from rules.model import All, Any_, Condition, Not, Other, Test

_ZERO_DECIMALS: Final = frozenset("bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf".split())  # noqa: SIM905
_THREE_DECIMALS: Final = frozenset(("bhd", "jod", "kwd", "omr", "tnd"))
_SIGNS: Final = {"usd": "$", "eur": "€", "gbp": "£", "jpy": "¥"}
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_SAID: Final = {
    "equal to": "is",
    "not equal to": "is not",
    "greater than": "is more than",
    "greater or equal to": "is at least",
    "less than": "is less than",
    "less or equal to": "is at most",
    "between": "is between",
    "one of": "is one of",
    "none of": "is none of",
    "matches": "matches the pattern",
    "before": "is before",
    "after": "is after",
    "in the last": "is in the last",
    "in the next": "is in the next",
    "any item": "any item of",
    "all items": "every item of",
    "no item": "no item of",
}
_OF_STEPS: Final = {"state": "what came of", "ended_by": "what ended"}
# conditions that people say in words of their own; each text is said for this one condition only
_IDIOMS: Final = {
    ("data.object.collection_method", "equal to", "charge_automatically"): "it is collected automatically",
    ("data.object.collection_method", "equal to", "send_invoice"): "it is sent as an invoice to pay",
    ("data.object.billing_reason", "equal to", "subscription_cycle"): "it is for a renewal",
    ("data.object.billing_reason", "equal to", "subscription_create"): "it is for a new subscription",
    ("data.object.parent.type", "equal to", "subscription_details"): "it belongs to a subscription",
}


# ---- time and money -------------------------------------------------------------------------------------------------
def span_text(seconds: int) -> str:
    """A span as people write it; different spans read differently.

    >>> span_text(7 * 86400), span_text(48 * 3600), span_text(36 * 3600), span_text(86400), span_text(90)
    ('7 days', '48 hours', '36 hours', '24 hours', '1 minute 30 seconds')
    """
    if seconds % 3600 == 0 and 0 < seconds <= 48 * 3600:
        return counted(seconds // 3600, "hour")
    parts = []
    for size, name in ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        number, seconds = divmod(seconds, size)
        if number:
            parts.append(counted(number, name))
    return " ".join(parts) or "0 seconds"


def roughly(seconds: int) -> str:
    """A span as a story tells it: its largest unit, and the one below where that says something.

    >>> roughly(3 * 86400 + 1438), roughly(3 * 86400 + 7200), roughly(90), roughly(86400)
    ('3 days', '3 days 2 hours', '1 minute 30 seconds', '1 day')
    """
    sizes = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))
    for at, (size, name) in enumerate(sizes):
        if seconds >= size:
            smaller, below = sizes[min(at + 1, 3)]
            rest = seconds % size // smaller
            return counted(seconds // size, name) + (f" {counted(rest, below)}" if rest else "")
    return "0 seconds"


def counted(number: int, noun: str) -> str:
    """`1 hour`, `2 hours`, `1,000 days`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def moment(instant: datetime, zone: str | tzinfo = "UTC") -> str:
    """An instant with its zone: `Mon 23 Nov 2026 14:05 UTC`."""
    local = instant.astimezone(UTC if zone == "UTC" else ZoneInfo(zone) if isinstance(zone, str) else zone)
    day = f"{_DAYS[local.weekday()]} {local.day} {_MONTHS[local.month - 1]} {local.year}"
    return f"{day} {local:%H:%M} {local.tzname()}"


def decimals(currency: str) -> int:
    """How many digits the minor unit has at Stripe: 2 for usd, 0 for jpy, 3 for kwd."""
    if currency.lower() in _ZERO_DECIMALS:
        return 0
    return 3 if currency.lower() in _THREE_DECIMALS else 2


def amount(minor: int, currency: str) -> str:
    """Money from minor units.

    >>> amount(142200, "usd"), amount(500, "jpy"), amount(-1250, "chf"), amount(1500, "kwd")
    ('$1,422.00', '¥500', '-CHF 12.50', 'KWD 1.500')
    """
    digits = decimals(currency)
    whole, rest = divmod(abs(minor), 10**digits)
    text = f"{whole:,}" + (f".{rest:0{digits}d}" if digits else "")
    sign = _SIGNS.get(currency.lower(), currency.upper() + " ")
    return ("-" if minor < 0 else "") + sign + text


# ---- values ---------------------------------------------------------------------------------------------------------
def quoted(text: str) -> str:
    """A person's own text, in quotes that it cannot break out of."""
    escaped = text.replace("\\", "\\\\").replace("”", "\\”").replace("¶", "\\¶").replace("\n", " ¶ ")
    return f"“{escaped}”"


def plain_value(value: Any) -> str:
    """Any JSON value of a step's parameters."""
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, dict):
        inner = ", ".join(f"{quoted(str(key))}: {plain_value(part)}" for key, part in sorted(value.items()))
        return "{" + inner + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(plain_value, value)) + "]"
    return json.dumps(value)


def number_text(value: int | float) -> str:
    return f"{value:,}" if isinstance(value, int) else repr(value)


def listed(texts: Sequence[str], word: str) -> str:
    """`a`, `a or b`, `a, b or c`."""
    return f" {word} ".join([", ".join(texts[:-1]), texts[-1]]) if len(texts) > 1 else "".join(texts)


# ---- conditions -----------------------------------------------------------------------------------------------------
class Words:
    """Says conditions over the events of some types. currency: where known, amounts are said in it."""

    def __init__(self, catalogue: Catalogue, types: Iterable[str] = (), currency: str | None = None) -> None:
        self.catalogue = catalogue
        self.types = tuple(types)
        self.currency = currency

    @classmethod
    def of(cls, event_type: str, envelope: Any) -> Words:
        """For conditions on this event, in its currency."""
        data = envelope.get("data")
        thing = data.get("object") if isinstance(data, dict) else None
        currency = thing.get("currency") if isinstance(thing, dict) else None
        known = isinstance(currency, str) and len(currency) == 3
        return cls(Catalogue.load(), (event_type,), currency if known else None)

    def event(self, type: str) -> str:
        """What happens, in words: `an invoice payment fails`."""
        found = self.catalogue.event_type(type)
        return found.title[0].lower() + found.title[1:] if found else f"{quoted(type)} comes"

    def events(self, types: Sequence[str]) -> str:
        return listed([self.event(type) for type in types], "or")

    def condition(self, condition: Condition, inside: str = "") -> str:
        """inside: the path of the list whose items it is about."""
        match condition:
            case All(parts) | Any_(parts) if len(parts) == 1:
                return self.condition(parts[0], inside)
            case All(parts):
                return " and ".join(self.part(part, inside) for part in parts) or "always"
            case Any_(parts):
                return " or ".join(self.part(part, inside) for part in parts) or "never"
            case Not(part):
                return f"it is not so that {self.part(part, inside)}"
        return self.test(condition, inside)

    def part(self, condition: Condition, inside: str) -> str:
        while isinstance(condition, All | Any_) and len(condition.parts) == 1:
            condition = condition.parts[0]
        text = self.condition(condition, inside)
        return f"({text})" if isinstance(condition, All | Any_) else text

    def test(self, test: Test, inside: str) -> str:
        operator = test.operator
        if operator in ops.ITEMS and test.where is not None:
            within = (
                f"{inside}[].{paths.join(test.path)}" if self.relative(test.path, inside) else paths.join(test.path)
            )
            return f"{_SAID[operator]} {self.field(test.path, inside)} has ({self.condition(test.where, within)})"
        idiom = None if inside or test.other else _idiom(test)
        if idiom:
            return idiom
        field = self.field(test.path, inside)
        if operator in ops.BARE:
            return f"{field} {operator}"
        said = _SAID.get(operator, operator)
        if isinstance(test.value, bool) and test.other is None:
            said = {"equal to": "equals", "not equal to": "does not equal"}.get(operator, said)
        return f"{field} {said} {self.right(test, inside)}"

    def right(self, test: Test, inside: str) -> str:
        info = self.info(test.path, inside)
        if test.other is not None:
            return self.other(test.other, test.operator, inside)
        if test.operator in ops.SPANS:
            return span_text(test.value)
        if test.operator in ops.TIMES:
            return test.value if isinstance(test.value, str) else f"unix second {number_text(test.value)}"
        if test.operator == "between":
            return f"{self.value(test.value[0], info)} and {self.value(test.value[1], info)}"
        if test.operator in ("one of", "none of"):
            return listed([self.value(one, info) for one in test.value], "or")
        return self.value(test.value, info)

    def other(self, other: Other, operator: str, inside: str) -> str:
        field = self.field(other.path, inside)
        if other.times != 1:
            return f"{number_text(other.times)} × {field}"
        if not other.plus:
            return field
        if operator in ops.TIMES and isinstance(other.plus, int):
            return f"{span_text(abs(other.plus))} {'after' if other.plus > 0 else 'before'} {field}"
        return f"{field} {'+' if other.plus > 0 else '−'} {number_text(abs(other.plus))}"

    def value(self, value: Any, info: FieldInfo | None) -> str:
        if isinstance(value, str):
            known = info is not None and value in info.enum
            return f"‘{value.replace('_', ' ')}’" if known else quoted(value)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return json.dumps(value)
        return self.money(value) if info is not None and info.type == "amount" else number_text(value)

    def money(self, value: int | float) -> str:
        """An amount in minor units; what it is worth depends on the event's currency where the rule names none."""
        if not isinstance(value, int) or value == 0:
            return number_text(value)
        if self.currency:
            return amount(value, self.currency)
        whole, rest = divmod(abs(value), 100)
        return f"{'-' if value < 0 else ''}{whole:,}.{rest:02d} ({number_text(value)} in minor units)"

    # ---- fields -----------------------------------------------------------------------------------------------------
    def field(self, path: Path, inside: str = "") -> str:
        """The name of a field, with its article."""
        if self.relative(path, inside):
            return "the " + breadcrumb(path)
        if fact := said_path(path):
            return fact
        text = self.top_field(path)
        return f"the event’s ({text.removeprefix('the ')})" if inside else text

    def top_field(self, path: Path) -> str:
        if path[:2] == ("data", "object") and len(path) > 2:
            return "the " + label(path[2:])
        if path[:2] == ("data", "previous_attributes") and len(path) > 2:
            return f"the former ({label(path[2:])})"
        if path[0] == "step" and len(path) == 3 and path[2] in _OF_STEPS:
            return f"{_OF_STEPS[path[2]]} {quoted(path[1])}"
        if path[0] == "step" and len(path) > 2:
            return f"step {quoted(path[1])} ({breadcrumb(path[2:])})"
        if path[0] in ("fact", "score"):
            return f"the {path[0]} ({breadcrumb(path[1:])})"
        return "the event’s " + ("time" if path == ("created",) else f"({breadcrumb(path)})")

    def relative(self, path: Path, inside: str) -> bool:
        return bool(inside) and not paths.from_root(path)

    def info(self, path: Path, inside: str = "") -> FieldInfo | None:
        """What the catalogue knows of the field on the first event type that has it."""
        text = paths.join(path)
        if self.relative(path, inside):
            text = f"{inside}[].{text}"
        text = text.replace("data.previous_attributes.", "data.object.", 1)
        if known := known_field(text):
            return known
        for type in self.types:
            found = self.catalogue.field(type, text)
            if found:
                return found
        return None


def _idiom(test: Test) -> str | None:
    key = (paths.join(test.path), test.operator, test.value)
    return _IDIOMS.get(key) if isinstance(test.value, str) else None


@lru_cache(maxsize=4096)
def happening(text: str) -> str:
    """What happened, where the text is the type of an event; any other text as it is.

    >>> happening("invoice.paid"), happening("nobody answered in time")
    ('an invoice is paid', 'nobody answered in time')
    """
    return event_text((text,)) if "." in text and " " not in text else text


def event_text(types: Sequence[str]) -> str:
    """What happens, in words: `an invoice payment fails or a charge fails`."""
    return Words(Catalogue.load()).events(types)


def condition_text(condition: Condition, event_type: str = "", currency: str | None = None) -> str:
    """A condition in words for events of this type; amounts are said in the currency where one is given."""
    return Words(Catalogue.load(), (event_type,), currency).condition(condition)


def test_text(test: Test, inside: str, event_type: str, currency: str | None) -> str:
    """A test in words for an event of this type; kept, because every explanation says the same ones again."""
    key = (id(test), inside, event_type, currency)
    found = _KEPT.get(key)
    if found is None:
        if len(_KEPT) > 20_000:
            _KEPT.clear()
        found = _KEPT[key] = (test, Words(Catalogue.load(), (event_type,), currency).test(test, inside))
    return found[1]


_KEPT: dict[tuple[int, str, str, str | None], tuple[Test, str]] = {}  # it holds the test, so that its id stays its own


def only_currency(condition: Condition) -> str | None:
    """The currency that the rule asks for, when it asks for exactly one."""
    parts = condition.parts if isinstance(condition, All) else (condition,)
    for part in parts:
        if isinstance(part, Test) and part.path == ("data", "object", "currency") and part.operator == "equal to":
            value = part.value
            return value if isinstance(value, str) and re.fullmatch(r"[a-z]{3}", value) else None
    return None
