"""A Run is what we do about a match and a Command one outside effect of it: the two documents and their names.

rules.workflow moves them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any, Literal, TypeVar

JSON = Mapping[str, Any]
RunState = Literal["pending", "waiting", "acting", "needs_person", "parked", "done", "stopped", "failed", "cancelled"]
OPEN: frozenset[str] = frozenset({"pending", "waiting", "acting", "needs_person", "parked"})
QUEUED = "Queued while the rule was paused"  # the reason of a parked run that waits for the rule to be resumed
OURSELVES = "signalbox"  # the connection of actions that touch nothing but our own runs
CommandState = Literal["due", "done", "person", "dead", "cancelled"]


Changed = TypeVar("Changed", "Run", "Command")


def run_id(tenant: str, rule_id: str, key: str, trigger: str) -> str:
    """Derived, so that editing, publishing or redelivering never doubles a run (RULE.md 5).

    >>> run_id("default/live", "twice", "sub:sub_1", "evt_2")
    'run_1b04f8383bf68de393cb2d07'
    """
    return "run_" + hashlib.sha256(f"{tenant}\n{rule_id}\n{key}\n{trigger}".encode()).hexdigest()[:24]


@dataclass(frozen=True, slots=True)
class Run:
    """A run as a document of kind `run`; every instant is iso text.

    key: the subject key it is for (`sub:sub_1`). subjects: the trigger's bare ids by prefix, `{"sub": "sub_1",
    "cus": "cus_1", ...}`, for stops, actions and pages.
    events: the ids that made the match, trigger last. position: path of step indexes that says where it is:
    `(2, 0, 1)` is step 2 (an `if`), its `then` (0; `else` is 1), step 1 in there; `(-1,)` waits for an absence.
    steps: by step name `{"state": "due|waiting|done|branch|failed|person|skipped|would", "at", "message", "data",
    "command", "until", "ended_by", "generation", "inverse"}`; the last six only where they mean something. inverse:
    what takes the step back, `{"action", "params", "says"}`, or why nothing does, `{"cannot"}`.
    story: sentences with their times, `{"at", "text"}`, oldest first. money: minor units by currency.
    facts: the part of the trigger's envelope that the rule's steps read. heard: events for its waits that came before
    a wait began, `{"event", "type", "created", "keys"}`. contradicted_by: the late event that took the match back.
    undo: how far taking back what the run did has come, empty when nobody asked for it (rules.undoing).
    """

    id: str
    tenant: str
    rule_id: str
    rule_name: str
    version: int
    mode: Literal["live", "watch"]
    state: RunState
    key: str
    customer: str | None
    trigger: str
    triggered: int
    correlation: str
    created_at: str
    updated_at: str
    due_at: str | None = None
    reason: str = ""
    subjects: JSON = field(default_factory=dict)
    events: tuple[str, ...] = ()
    position: tuple[int, ...] = (0,)
    steps: JSON = field(default_factory=dict)
    story: tuple[JSON, ...] = ()
    money: JSON = field(default_factory=dict)
    contradicted_by: str | None = None
    facts: JSON = field(default_factory=dict)
    heard: tuple[JSON, ...] = ()
    undo: JSON = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        return _body(self)

    @classmethod
    def from_body(cls, body: JSON) -> Run:
        return cls(**_known(cls, body, ("events", "position", "story", "heard")))


@dataclass(frozen=True, slots=True)
class Command:
    """One outside effect to be made true: a document of kind `command`, the transactional outbox's row.

    id = `run/step`, for ever; it is the receiver's `webhook-id`. generation rises only after a replayed stored 500 or
    an operator's "run again". attempts: oldest first, `{"at", "ended_at", "outcome", "message", "request",
    "response", "span"}`. context: what texts may hold (the trigger's envelope ids, never personal values).
    """

    id: str
    tenant: str
    run_id: str
    step: str
    rule_id: str
    version: int
    action: str
    connection: str
    params: JSON
    state: CommandState
    customer: str | None
    correlation: str
    created_at: str
    due_at: str | None
    trigger: str = ""
    subjects: JSON = field(default_factory=dict)
    generation: int = 0
    attempts: tuple[JSON, ...] = ()
    outcome: JSON = field(default_factory=dict)

    @property
    def idempotency_key(self) -> str:
        """Stripe's Idempotency-Key (RULE.md 5)."""
        return f"{self.id}/{self.generation}"

    def body(self) -> dict[str, Any]:
        return _body(self)

    @classmethod
    def from_body(cls, body: JSON) -> Command:
        return cls(**_known(cls, body, ("attempts",)))


def _setters(cls: type) -> tuple[Callable[[Any], tuple[Any, ...]], tuple[Callable[[Any, Any], None], ...]]:
    names = [f.name for f in fields(cls)]
    return attrgetter(*names), tuple(getattr(cls, name).__set__ for name in names)


_SLOTS = {cls: _setters(cls) for cls in (Run, Command)}


def replace(value: Changed, **changes: Any) -> Changed:
    """dataclasses.replace for runs and commands, in two fifths of its time: a run moves forty times in its life."""
    cls = value.__class__
    read, setters = _SLOTS[cls]
    made = object.__new__(cls)
    for put, field_value in zip(setters, read(value), strict=True):
        put(made, field_value)
    for name, changed in changes.items():
        getattr(cls, name).__set__(made, changed)
    return made


def _body(value: Run | Command) -> dict[str, Any]:
    """The fields as they are: their values are JSON already, and never changed in place."""
    return {f.name: getattr(value, f.name) for f in fields(value)}


def _known(cls: type, body: JSON, tuples: tuple[str, ...]) -> dict[str, Any]:
    names = {f.name for f in fields(cls)}
    known = {name: value for name, value in body.items() if name in names}
    for name in tuples:
        known[name] = tuple(known.get(name, ()))
    return known
