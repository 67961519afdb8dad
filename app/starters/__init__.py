"""Starters: complete rule documents to begin from. They are ordinary rules; only what is a matter of the business
(a price) is left empty, and the editor asks for it."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
ORDER = (
    "two-failed-payments",
    "dunning-ladder",
    "trial-without-card",
    "invoice-overdue",
    "dispute-opened",
    "ended-unpaid",
)
BLANK: dict[str, Any] = {
    "name": "",
    "why": "",
    "when": {"event": []},
    "again": {"while_open": False, "after": "P30D"},
    "steps": [],
}


@lru_cache(maxsize=1)
def _texts() -> dict[str, str]:
    return {name: (FOLDER / f"{name}.json").read_text() for name in ORDER}


def starters() -> list[dict[str, Any]]:
    """Every starter, the most asked for first."""
    return [json.loads(text) for text in _texts().values()]


def starter(name: str) -> dict[str, Any]:
    """One starter's document; `blank` is the empty one. LookupError."""
    if name == "blank":
        return json.loads(json.dumps(BLANK))  # type: ignore[no-any-return]
    if name not in _texts():
        raise LookupError(f"There is no starter {name!r}.")
    return json.loads(_texts()[name])  # type: ignore[no-any-return]
