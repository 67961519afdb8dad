"""The typed form of a rule: frozen values that `rules.rule.parse` makes from a document and everything else reads."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

JSON = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a document: where, what, and the nearest right thing."""

    path: str
    message: str
    suggestion: str | None = None
    severity: Literal["error", "advice"] = "error"

    def body(self) -> dict[str, str | None]:
        return {"path": self.path, "message": self.message, "suggestion": self.suggestion}


class RuleError(Exception):
    """The document is no rule. `problems` holds all of it."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(f"{p.path}: {p.message}" for p in problems))
        self.problems = tuple(problems)


# ---- conditions -----------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Test:
    """`{"field": path, "is": operator, "value": v}`. path is the key array of the field. other: a `{"field": path,
    "plus"|"times": n}` value, when the right side is another field; where: the condition of any/all/no item."""

    __test__ = False  # not a pytest class

    field: str
    path: tuple[str, ...]
    operator: str
    value: Any = None
    other: Other | None = None
    where: Condition | None = None


@dataclass(frozen=True, slots=True)
class Other:
    field: str
    path: tuple[str, ...]
    plus: float | int = 0
    times: float | int = 1


@dataclass(frozen=True, slots=True)
class All:
    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Any_:
    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not:
    part: Condition


Condition = Test | All | Any_ | Not
TRUE = All(())


# ---- when -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Aggregate:
    of: Literal["sum", "average", "min", "max", "distinct"]
    field: str
    path: tuple[str, ...]
    operator: str
    value: float | int


@dataclass(frozen=True, slots=True)
class Span:
    """B of "A then B" or "A and no B": the types and how long after A, both ends inclusive."""

    types: tuple[str, ...]
    within: int


@dataclass(frozen=True, slots=True)
class When:
    """types: the trigger event types. at_least with within (seconds) for a window; same: the subject key's name
    (`customer`, `subscription`, ...) or a declared path. counting: `events`, or a path whose distinct values count."""

    types: tuple[str, ...]
    same: str | None = None
    at_least: int | None = None
    within: int | None = None
    counting: str = "events"
    aggregate: Aggregate | None = None
    then: Span | None = None
    and_not: Span | None = None
    first: bool = False
    start_again_after: tuple[str, ...] = ()
    ignore_own: bool = True


# ---- what follows ---------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Stop:
    """An event that ends a run: its types, matched to the run by `same`."""

    types: tuple[str, ...]
    same: str


@dataclass(frozen=True, slots=True)
class Do:
    name: str
    action: str
    params: JSON
    on_failure: Literal["stop", "continue", "person"] = "person"


@dataclass(frozen=True, slots=True)
class Wait:
    """Exactly one of seconds / until / for_event. at_most bounds for_event. in_hours: a wait for a span or a time that
    is over outside the rule's hours lasts until they open."""

    name: str
    seconds: int | None = None
    until: str | None = None
    minus: int = 0
    for_event: tuple[Stop, ...] = ()
    at_most: int | None = None
    in_hours: bool = False


@dataclass(frozen=True, slots=True)
class If:
    name: str
    condition: Condition
    then: tuple[Step, ...]
    otherwise: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Approve:
    name: str
    role: str
    at_most: int | None = None
    on_timeout: Literal["stop", "continue"] = "stop"
    condition: Condition | None = None


@dataclass(frozen=True, slots=True)
class StopStep:
    name: str
    reason: str


Step = Do | Wait | If | Approve | StopStep


@dataclass(frozen=True, slots=True)
class Again:
    """Re-entry. while_open: a second run may start while one is open. after: seconds since the last run's trigger;
    None = never again."""

    while_open: bool = False
    after: int | None = 30 * 86400


@dataclass(frozen=True, slots=True)
class Undo:
    on: tuple[str, ...]
    same: str
    within: int


@dataclass(frozen=True, slots=True)
class Limits:
    runs: int | None = None
    money: Mapping[str, int] = field(default_factory=dict)
    per: int = 86400


@dataclass(frozen=True, slots=True)
class Cap:
    tag: str
    at_most: int
    per: int


@dataclass(frozen=True, slots=True)
class Hours:
    """days and times on the zone's wall clock. applies_to: what waits for them. not_on: days of pause, `2026-12-25`."""

    days: tuple[str, ...]
    start: str
    end: str
    zone: str
    applies_to: tuple[str, ...]
    not_on: tuple[str, ...] = ()


EXCLUDED = "excluded"  # the list that every rule leaves alone, whether it names it or not


@dataclass(frozen=True, slots=True)
class Rule:
    id: str
    name: str
    when: When
    steps: tuple[Step, ...]
    document: JSON  # the source it was parsed from, unchanged
    why: str = ""
    tags: tuple[str, ...] = ()
    priority: int = 0
    only_if: Condition = TRUE
    never_for: tuple[str, ...] = ()
    again: Again = Again()
    stop_when: tuple[Stop, ...] = ()
    undo: Undo | None = None
    limits: Limits | None = None
    money: str | None = None
    caps: tuple[Cap, ...] = ()
    hours: Hours | None = None
    holdout: float = 0.0
    examples: tuple[JSON, ...] = ()

    @property
    def lists(self) -> tuple[str, ...]:
        """The lists whose members the rule leaves alone."""
        return self.never_for if EXCLUDED in self.never_for else (*self.never_for, EXCLUDED)


@dataclass(frozen=True, slots=True)
class RuleVersion:
    """A published, immutable version. mode: how it is in force now, and was before a pause (paused_from). live_from:
    events recorded before it never start runs. tenant: the tenant it belongs to."""

    tenant: str
    rule: Rule
    number: int
    mode: Literal["live", "watch", "paused"]
    live_from: str  # iso text
    paused_from: Literal["live", "watch"] = "live"

    @property
    def id(self) -> str:
        return f"{self.rule.id}@{self.number}"


def duration(text: str) -> timedelta:
    """`P7D`, `PT48H`, `P1DT12H`, `P2W`: ISO 8601 without years and months, which have no fixed length. ValueError."""
    found = re.fullmatch(r"P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?", text)
    if not found or not any(found.groups()):
        raise ValueError(f"{text!r} is no duration; write P7D for 7 days or PT48H for 48 hours")
    weeks, days, hours, minutes, secs = (int(group or 0) for group in found.groups())
    try:
        return timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=secs)
    except OverflowError:
        raise ValueError(f"{text[:40]!r} is longer than any calendar") from None
