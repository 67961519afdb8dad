"""A saved example as a document says it: the events that are given, and what must come of them.

An event is given in one of four ways, and `Given` is the typed form of each:

    "invoice.payment_failed P-6D"                         a type, and when: 6 days before `at` (P1D: a day after it)
    "invoice.paid P1D data.object.amount_paid=1200"       ... with fields and subjects set, `subscription=sub_2`
    {"type": ..., "ago" | "in": span, or "at": time, "set": {path: value}, "subscription": id, "ours": true}
    "evt_..."                                             an event of the log, by its id
    {"object": "event", ...}                              a whole envelope, as Stripe sends it

The first three forms are built from a realistic event of the type (rules.skeletons); checking them takes the catalogue.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from rules import paths
from rules.aliases import Path
from rules.fields import Catalogue, FieldInfo
from rules.model import JSON, duration
from rules.personal import TOKEN, Place, places

FIRES: Final = ("fires", "does not fire")
ENDS: Final = ("done", "stopped", "failed", "undone")  # where a run may stand beside its steps
ANSWERS: Final = ("done", "branch", "person", "dead")
GATES: Final = (
    "condition",
    "event",
    "key",
    "never_for",
    "own",
    "re-entry",
    "reset",
    "stopped",
    "window",
    "contradicted",
)
ANCHOR: Final = 1_795_435_200  # Monday 2026-11-23 12:00 UTC: when an example is that does not say
SPAN: Final = re.compile(r"(-?)P(-?)([\dWDTHMS]+)")


@dataclass(frozen=True, slots=True)
class Given:
    """One event. type, with offset: seconds from the example's `at`; or at: unix seconds. subjects: ids by subject.
    values: by path from the envelope's root. ours: our own action caused it. recorded: the id of an event of the log.
    envelope: a whole one."""

    type: str = ""
    offset: int = 0
    at: int | None = None
    subjects: Mapping[str, str] = field(default_factory=dict)
    values: tuple[tuple[Path, Any], ...] = ()
    ours: bool = False
    recorded: str = ""
    envelope: JSON | None = None


@dataclass(frozen=True, slots=True)
class Example:
    """at: unix seconds, None for the latest event that says its own time, else ANCHOR. because: a gate, which is held
    against the one that closed, or words for people. after: seconds from `at`, None for until nothing more is to come
    of the match. stands: the step the run stands at then, or one of ENDS. answers: what the outside answers, by step;
    `done` for the rest. lists: suppression lists that the customer is on."""

    given: tuple[Given, ...]
    fires: bool
    at: int | None = None
    because: str = ""
    after: int | None = None
    stands: str = ""
    answers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    lists: tuple[str, ...] = ()

    @property
    def gate(self) -> str | None:
        """The gate that must have closed, when `because` names one."""
        return self.because if self.because in GATES and not self.fires else None


# ---- parts of the shorthand -----------------------------------------------------------------------------------------
def seconds_of(text: str) -> int:
    """A span with its sign in seconds. ValueError.

    >>> seconds_of("P-6D"), seconds_of("-PT1H"), seconds_of("P1D")
    (-518400, -3600, 86400)
    """
    found = SPAN.fullmatch(text)
    if not found or (found[1] and found[2]):
        raise ValueError(f"{text!r} is no span; write P-6D for 6 days before, or PT12H for 12 hours after")
    length = int(duration("P" + found[3]).total_seconds())
    return -length if found[1] or found[2] else length


def field_of(catalogue: Catalogue, type: str, path: Path) -> FieldInfo | None:
    """What is known of the field; an index stands for any item."""
    keys: list[str] = []
    for key in path[2:]:
        if key.isdigit() and keys:
            if len(key) > 2:
                return None
            keys[-1] += "[]"
        else:
            keys.append(key)
    return catalogue.field(type, "data.object." + paths.join(tuple(keys)))


# ---- personal values ------------------------------------------------------------------------------------------------
def personal_in(document: Any, catalogue: Catalogue) -> list[Place]:
    """(container, key) of every personal value in a document's examples that is no token yet: in `set`, and in whole
    envelopes. Takes any JSON. To replace them, copy the document first."""
    found: list[Place] = []
    for one in _events(document):
        if "data" in one:
            found += places(one)
        values, type = one.get("set"), one.get("type")
        if isinstance(values, dict) and isinstance(type, str):
            found += [(values, name) for name in values if _is_personal(catalogue, type, name)]
    return [(at, key) for at, key in found if not TOKEN.fullmatch(str(at[key]))]


def _events(document: Any) -> Iterator[dict[str, Any]]:
    examples = document.get("examples") if isinstance(document, dict) else None
    for example in examples if isinstance(examples, list) else ():
        given = example.get("given") if isinstance(example, dict) else None
        yield from (one for one in given if isinstance(one, dict)) if isinstance(given, list) else ()


def _is_personal(catalogue: Catalogue, type: str, name: str) -> bool:
    try:
        info = field_of(catalogue, type, paths.split(name))
    except ValueError:
        return False
    return info is not None and info.personal
