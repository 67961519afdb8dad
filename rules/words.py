"""Words for times, spans, money, fields, values and conditions, chosen so that different things read differently."""

from __future__ import annotations

import json
from datetime import UTC, datetime, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from rules.model import All, Any_, Condition, Not, Other, Test

_ZERO_DECIMALS: Final = frozenset(
    ["bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf", "xof", "xpf"]
)
_THREE_DECIMALS: Final = frozenset(["bhd", "jod", "kwd", "omr", "tnd"])
_SIGNS: Final = {"usd": "$", "eur": "€", "gbp": "£", "jpy": "¥"}
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


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


# ---- conditions -----------------------------------------------------------------------------------------------------
def condition_text(condition: Condition) -> str:
    match condition:
        case All(parts):
            return " and ".join(map(_part, parts)) or "always"
        case Any_(parts):
            return " or ".join(map(_part, parts)) or "never"
        case Not(part):
            return f"not ({condition_text(part)})"
    return _test_text(condition)


def _part(condition: Condition) -> str:
    text = condition_text(condition)
    return text if isinstance(condition, Test) else f"({text})"


def _test_text(test: Test) -> str:
    right = test.other.field if isinstance(test.other, Other) else json.dumps(test.value)
    return f"{test.field} {test.operator} {right}"
