"""Lanes: how much may go to one connection, by what its document says and by how it has answered lately.

A lane belongs to this process, has its share where several workers run, and knows nothing that must survive it: its
settings are read again every second, and a breaker that is open is written into the connection itself
(app.perform.breaker).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from rules.ports import Outcome

EACH = 4  # at once to one connection, where it says nothing else
FRESH = timedelta(seconds=1)  # how long the settings of a connection are believed
AHEAD = timedelta(seconds=30)  # the furthest that an action is put off for want of room
SHORTEST, LONGEST = 4, 64  # actions of one lane that wait for a thread in this process
UNHEARD = 16  # of a connection that has not answered yet: it may hang
HOPED = 0.01  # seconds that an attempt is thought to take before the first answer
ROOM = 0.25  # seconds of its throughput that a lane keeps waiting here; the rest stays in the store
ALIVE = (409, 424, 425, 429)  # answers of a receiver that works and asks to wait
Line = tuple[str, str]  # tenant, connection


@dataclass(frozen=True, slots=True)
class Settings:
    """rate: starts a second. at_once: in flight at one moment. in_order: one after the other for each customer."""

    rate: float | None = None
    at_once: int = EACH
    in_order: bool = False

    def shared(self, share: float) -> Settings:
        """What is left of it for one of several workers: together they keep the rate; and of what may be in flight,
        where there are more of them than that, one each."""
        rate = self.rate * share if self.rate else None
        return replace(self, rate=rate, at_once=max(1, int(self.at_once * share)))


def settings_of(connection: Mapping[str, Any] | None) -> Settings:
    """What a connection's document says; a connection without one has no limits of its own."""
    found = connection or {}
    rate, at_once = found.get("rate"), found.get("at_once")
    return Settings(float(rate) if rate else None, int(at_once) if at_once else EACH, bool(found.get("in_order")))


@dataclass(slots=True)
class Lane:
    """pace: seconds that an attempt takes, lately; 0 before the first. failures: in a row, of whatever action."""

    settings: Settings = Settings()
    pace: float = 0.0
    failures: int = 0
    tokens: float = 1.0
    filled: datetime | None = None
    booked: datetime | None = None
    read: datetime | None = None

    # ---- how much a second ------------------------------------------------------------------------------------------
    def has_token(self, now: datetime) -> bool:
        """Whether the rate has room for a start; `take` uses it up."""
        rate = self.settings.rate
        if rate is None:
            return True
        passed = max((now - self.filled).total_seconds(), 0.0) if self.filled else 0.0
        self.tokens = min(self._burst(rate), self.tokens + passed * rate)
        self.filled = now
        return self.tokens >= 1

    def take(self) -> None:
        if self.settings.rate is not None:
            self.tokens -= 1

    @staticmethod
    def _burst(rate: float) -> float:
        """A quarter of a second's worth: the worker does not look more often than that."""
        return max(1.0, rate / 4)

    # ---- how much at once -------------------------------------------------------------------------------------------
    def at_once(self, is_slow: bool) -> int:
        """One where it is slow, in trouble or not known yet, so that a receiver that hangs holds one thread."""
        return 1 if is_slow or not self.pace else self.settings.at_once

    def length(self, is_slow: bool) -> int:
        """How many of its actions may wait here."""
        if is_slow:
            return SHORTEST
        if not self.pace and self.settings.rate is None:
            return UNHEARD
        return min(LONGEST, max(SHORTEST, int(self._a_second() * ROOM)))

    def _a_second(self) -> float:
        able = self.settings.at_once / (self.pace or HOPED)
        return min(able, self.settings.rate or able)

    def next_turn(self, now: datetime, is_slow: bool = False) -> timedelta:
        """Book a turn for an action that finds no room: in how long it should come again."""
        apart = max(1 / self._a_second(), (self.pace or 1 / LONGEST) if is_slow else 0.0)
        begins = max(self.booked or now, now)
        self.booked = min(begins + timedelta(seconds=apart), now + AHEAD)
        return self.booked - now

    # ---- what came of it --------------------------------------------------------------------------------------------
    def took(self, seconds: float) -> None:
        self.pace = max(0.7 * (self.pace or seconds) + 0.3 * seconds, 1e-4)

    def heard(self, outcome: Outcome) -> None:
        if is_failure(outcome):
            self.failures += 1
        elif outcome.kind != "retry":
            self.failures = 0


def is_failure(outcome: Outcome) -> bool:
    """Whether the receiver itself seems to be down: no answer, or one that a working receiver does not give."""
    waits = outcome.data.get("postponed") or outcome.pause_connection or outcome.response.get("status") in ALIVE
    return outcome.kind == "retry" and not waits


@dataclass(slots=True)
class Lanes:
    """Every lane of this process. recovered: those whose waiting actions are to be made due again."""

    by_line: dict[Line, Lane] = field(default_factory=dict)
    recovered: set[Line] = field(default_factory=set)

    def lane(self, line: Line) -> Lane:
        return self.by_line.setdefault(line, Lane())

    def refreshed(
        self, line: Line, now: datetime, read: Callable[[], Mapping[str, Any] | None], share: float = 1.0
    ) -> Lane:
        """The lane with the settings as they were at most a second ago. share: the part of what is due that this
        process takes, and so of the rate."""
        lane = self.lane(line)
        if lane.read is None or not timedelta(0) <= now - lane.read < FRESH:
            lane.settings, lane.read = settings_of(read()).shared(share), now
        return lane
