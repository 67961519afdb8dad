"""Witnesses: constructed histories of one customer, and what rules decide about them.

A finding of lint is shown only when the very same `decide` as in production, on virtual time, bears it out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from rules import paths
from rules.backtest import backtest
from rules.event import Event, seconds
from rules.fields import MISSING, read
from rules.model import JSON, All, Condition, Rule, RuleVersion, Test, When
from rules.satisfy import CREATED, Frame, satisfy

TENANT: Final = "lint/test"
SUBJECTS: Final = ("cus:cus_witness", "sub:sub_witness", "in:in_witness", "pi:pi_witness", "ch:ch_witness",
                   "card:witness", "acct:lint")  # fmt: skip
MOST_TRIED: Final = 400  # decisions of one look: some milliseconds each
Row = Mapping[str, Any]


class Trial:
    """Decides about witnesses. tried: how many times. Beyond the most that is tried nothing is borne out any more."""

    def __init__(self) -> None:
        self.tried = 0

    def rows(self, rules: Sequence[Rule], history: Iterable[JSON]) -> list[Row]:
        """The runs that these rules would have about these events, as rows of a backtest."""
        if self.tried >= MOST_TRIED:
            return []
        self.tried += 1
        versions = [RuleVersion(TENANT, replace(rule, holdout=0.0), 1, "live", "") for rule in rules]
        events = sorted(map(event_of, history), key=lambda event: (event.created, event.id))
        return list(backtest(versions, events))

    def fires(self, rule: Rule, history: Iterable[JSON]) -> bool:
        return bool(self.rows([rule], history))

    def silent(self, rule: Rule, history: Iterable[JSON]) -> bool:
        """Whether the rule was asked and started nothing."""
        return self.tried < MOST_TRIED and not self.rows([rule], history)


def event_of(body: JSON) -> Event:
    """A witness's event as one of its one customer, subscription, invoice and payment."""
    created = int(body["created"])
    moment = seconds(created)
    keys = SUBJECTS
    return Event(body["id"], body["type"], TENANT, created, moment, body, "in_witness", keys[0], keys)


def did(rows: Iterable[Row], rule_id: str, step: str) -> bool:
    """Whether a run of the rule came to this action."""
    steps = (one for row in rows if row["rule"] == rule_id for one in row["steps"])
    return any(one["name"] == step and one["state"] in ("would", "done") for one in steps)


# ---- histories that make a rule fire ---------------------------------------------------------------------------------
def leading(rule: Rule, trigger: JSON, frame: Frame) -> Sequence[JSON] | None:
    """What must come before this trigger for the rule to match at it; None when it cannot be made."""
    when = rule.when
    if when.then:
        made = satisfy(rule.only_if, frame).event
        return [{**made, "type": when.types[0]}] if made is not None else None
    if when.at_least is None:
        return []
    if when.counting == "events":
        return [trigger for _ in range(min(when.at_least, 1000) - 1)]
    return _different(rule, trigger, frame)


def _different(rule: Rule, trigger: JSON, frame: Frame) -> Sequence[JSON] | None:
    """Events with other values of the field that is counted."""
    path = paths.split(rule.when.counting)
    found, seen = [], [read(trigger, path)]
    for number in range(min(rule.when.at_least or 1, 100) - 1):
        other = f"other-{number}" if not isinstance(seen[0], (int, float)) else seen[0] + number + 1
        test = Test(rule.when.counting, path, "equal to", other)
        made = satisfy(All((rule.only_if, test)), frame).event
        if made is None:
            return None
        found.append({**made, "type": trigger["type"]})
    return found if seen[0] is not MISSING else None


def needed_at(rule: Rule) -> Condition:
    """What the trigger itself has to pass: the conditions, and what one event says for the number to be reached."""
    when = rule.when
    if when.then:
        return All(())
    tests: list[Condition] = [rule.only_if]
    if when.aggregate and when.aggregate.of != "distinct":
        tests.append(Test(when.aggregate.field, when.aggregate.path, when.aggregate.operator, when.aggregate.value))
    if when.at_least is not None and when.counting != "events":
        tests.append(Test(when.counting, paths.split(when.counting), "is present"))
    return All(tuple(tests))


def triggers_of(when: When) -> tuple[str, ...]:
    """The event types at which a match of this `when` stands."""
    return when.then.types if when.then else when.types


def in_time(events: Sequence[JSON]) -> tuple[JSON, ...]:
    """The events with ids of their own, a second apart, the last at the time for which events are made."""
    start = CREATED - len(events) + 1
    return tuple({**one, "id": f"evt_witness_{n + 1}", "created": start + n} for n, one in enumerate(events))
