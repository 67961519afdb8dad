"""Touched: whom a rule would have touched in the last thirty days, where the history is small enough to ask at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from app.inquire import backtests
from app.inquire.backtests import Lab, Question
from rules.ports import Where
from rules.rule import RuleError, parse
from rules.window import takes_part

DAYS = 30
LARGEST = 10_000  # events of the rule's types that are played while somebody waits for the page


@dataclass(frozen=True, slots=True)
class Touched:
    """runs, customers and money (minor units by currency) of the last DAYS. heard: events of the rule's types then."""

    runs: int
    customers: int
    amount: Mapping[str, int]
    heard: int


def touched(lab: Lab, tenant: str, document: Mapping[str, Any], now: datetime) -> Touched | None:
    """None when there is no history of such events, more than fits, or no rule yet."""
    try:
        rule = parse(document)
    except RuleError:
        return None
    since = now - timedelta(days=DAYS)
    heard = sum(lab.store.count(tenant, "event", _since(type, since)) for type in sorted(takes_part(rule.when)))
    if not 0 < heard <= LARGEST:
        return None
    try:
        summary = backtests.at_once(lab, Question(tenant, [document], since), now)["summary"]
    except RuleError:
        return None
    return Touched(summary["runs"], summary.get("customers", summary["subjects"]), summary["amount"], heard)


def _since(type: str, since: datetime) -> list[Where]:
    return [("type", "==", type), ("created", ">=", int(since.timestamp()))]
