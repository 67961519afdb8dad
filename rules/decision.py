"""The values that a decision is made of: matches, and what must be written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rules.ports import Write
from rules.run import Run

JSON = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Match:
    """A rule holds for a key at a trigger: a function of the set of events. evidence: the event ids, trigger last.
    run: the run that it started, if it did. pending: an absence, which only its deadline decides."""

    rule_id: str
    number: int
    key: str
    trigger: str
    evidence: tuple[str, ...]
    run: str | None = None
    pending: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """writes: everything but the event's own document, for one commit. trace: rules.trace. runs: started or changed.
    matches: new with this event."""

    writes: tuple[Write, ...]
    trace: JSON
    runs: tuple[Run, ...]
    matches: tuple[Match, ...]

    @property
    def fired(self) -> bool:
        return any(match.run for match in self.matches)
