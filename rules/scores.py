"""Scores: numbers about customers that come from outside, each with when it was set and by whom.

A score is declared by name for a tenant (kind `score`), and kept for each customer in a document (kind `score_value`)

    {"score", "customer", "value", "at", "source", "updated_at", "history": [{"at", "value", "source"}, ...]}

whose short history tells what it was at an earlier second (unix seconds), so that decisions about the past are exact.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from rules.event import iso

JSON = Mapping[str, Any]
KEPT: Final = 50  # values of one score and customer; beyond, the oldest is forgotten


def is_value(value: Any) -> bool:
    """Whether it is a number that a score can be."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def value_id(name: str, customer: str) -> str:
    return f"{name}|{customer}"


def with_value(known: JSON | None, name: str, customer: str, value: float, at: int, source: str, now: datetime) -> JSON:
    """The document with one more value. Of two set for the same second the later one stands; the value that counts is
    that of the latest second."""
    rest = [row for row in (known or {}).get("history", ()) if row["at"] != at]
    history = sorted([*rest, {"at": at, "value": value, "source": source}], key=lambda row: int(row["at"]))[-KEPT:]
    last = history[-1]
    body = {"score": name, "customer": customer, "value": last["value"], "at": last["at"], "source": last["source"]}
    return {**body, "updated_at": iso(now), "history": history}
