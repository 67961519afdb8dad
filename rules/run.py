"""A Run is what we do about a match and a Command one outside effect of it: the two documents and their names.

rules.workflow moves them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
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
        return _from_body(cls, body)


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
        return _from_body(cls, body)


class _Shape:
    """How to read and fill the slots of a frozen dataclass without its constructor: a run moves forty times in its
    life, and is read and written each time."""

    def __init__(self, cls: type) -> None:
        self.names = tuple(f.name for f in fields(cls))
        self.read: Callable[[Any], tuple[Any, ...]] = attrgetter(*self.names)
        self.put: tuple[Callable[[Any, Any], None], ...] = tuple(getattr(cls, name).__set__ for name in self.names)
        self.put_by_name = dict(zip(self.names, self.put, strict=True))
        self.defaults = {f.name: f.default for f in fields(cls) if f.default is not MISSING}
        self.makers = {f.name: f.default_factory for f in fields(cls) if f.default_factory is not MISSING}
        self.tuples = tuple(f.name for f in fields(cls) if str(f.type).startswith("tuple["))


_SHAPES = {cls: _Shape(cls) for cls in (Run, Command)}


def replace(value: Changed, **changes: Any) -> Changed:
    """dataclasses.replace for runs and commands, in two fifths of its time."""
    cls = value.__class__
    shape = _SHAPES[cls]
    made = object.__new__(cls)
    for put, known in zip(shape.put, shape.read(value), strict=True):
        put(made, known)
    for name, changed in changes.items():
        shape.put_by_name[name](made, changed)
    return made


def _body(value: Run | Command) -> dict[str, Any]:
    """The fields as they are: their values are JSON already, and never changed in place."""
    shape = _SHAPES[value.__class__]
    return dict(zip(shape.names, shape.read(value), strict=True))


def _from_body(cls: type[Changed], body: JSON) -> Changed:
    """Fields that an earlier build did not write have their defaults; what a later one added is left out."""
    shape = _SHAPES[cls]
    made = object.__new__(cls)
    for name, put in shape.put_by_name.items():
        if name in body:
            put(made, body[name])
        elif name in shape.defaults:
            put(made, shape.defaults[name])
        elif name in shape.makers:
            put(made, shape.makers[name]())
        else:
            raise ValueError(f"a stored {cls.__name__.lower()} has no {name}")
    for name in shape.tuples:
        shape.put_by_name[name](made, tuple(getattr(made, name)))
    return made
