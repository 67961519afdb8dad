"""What a backtest measures: its rows in the order in which runs began, their sums, and two versions side by side.

A row leaves the book when nothing in the history can change it any more, so a backtest of any length needs the memory
of its open runs and of those whose money may still be paid.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from rules.columns import Slim
from rules.event import instant, iso, seconds
from rules.model import Do, Rule
from rules.paid import OUTCOMES, WITHIN, Awaited, Payment, acted_before, awaited, outcome_of
from rules.run import OPEN, Run
from rules.steps import ABSENCE
from rules.texts import walk
from rules.window import EVER
from rules.words import moment

JSON = Mapping[str, Any]
Money = dict[str, int]
BOUNDS = (
    "A backtest cannot know whether an e-mail would have made a customer pay, nor whether an extra retry of ours would "
    "have succeeded; it assumes that Stripe's own retries stay as they were. So read three bounds: paid before any "
    "action, paid after an action that was never taken, and not paid."
)
ASSUMES = (
    "Actions are taken to succeed at once and approvals to be given at once; a run that a limit parks stays parked, "
    "and one that has waited 90 days for a person or an event is taken as it stands. "
    "Limits, caps, hours and the hold-out count as they would have.",
    "What the actions themselves would have changed is not in the history.",
    BOUNDS,
)


# ---- the book -------------------------------------------------------------------------------------------------------
@dataclass(slots=True)
class _Entry:
    run: Run
    rule: Rule
    awaited: Awaited | None
    payment: Payment | None = None
    withdrawn: bool = False  # an absence that was taken back in time never was a run


class Book:
    """Every run of a backtest from its beginning until its row is final."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._order: deque[str] = deque()
        self._awaited: dict[str, list[_Entry]] = {}  # by the key that a payment carries

    def changed(self, run: Run, rule: Rule) -> None:
        entry = self._entries.get(run.id)
        if entry is None:
            entry = self._entries[run.id] = _Entry(run, rule, awaited(run))
            self._order.append(run.id)
            if entry.awaited:
                self._awaited.setdefault(entry.awaited.key, []).append(entry)
        entry.run = run
        entry.withdrawn = run.position == ABSENCE and run.state == "stopped"

    def run(self, id: str) -> Run | None:
        """A run whose row is still open to change."""
        entry = self._entries.get(id)
        return entry.run if entry and not entry.withdrawn else None

    def paid(self, slim: Slim) -> None:
        """A payment: it is that of every run that waits for one with its key."""
        for key in slim.keys:
            for entry in self._awaited.get(key, ()):
                assert entry.awaited is not None
                ours = slim.type in entry.awaited.types and slim.created >= entry.run.triggered
                if ours and entry.payment is None and slim.id not in entry.run.events:
                    entry.payment = Payment(slim.created, slim.id)

    def final(self, now: int) -> Iterator[JSON]:
        """The rows that nothing after this second can change, in the order in which the runs began."""
        while self.is_final(now):
            entry = self._entries[self._order[0]]
            yield from self._leave(entry, over=now > entry.run.triggered + WITHIN)

    def is_final(self, now: int) -> bool:
        """Whether nothing after this second can change the first row."""
        if not self._order:
            return False
        entry = self._entries[self._order[0]]
        if entry.withdrawn:
            return True
        late = now > entry.run.triggered + WITHIN
        if late and _is_stuck(entry.run):
            return True
        settled = entry.awaited is None or entry.payment is not None or late
        return settled and entry.run.state not in OPEN

    def rest(self, until: int | None) -> Iterator[JSON]:
        """The rows of all other runs, at the end of the history."""
        while self._order:
            entry = self._entries[self._order[0]]
            late = until is None or until > entry.run.triggered + WITHIN
            yield from self._leave(entry, over=late or entry.run.state not in OPEN)

    def _leave(self, entry: _Entry, over: bool) -> Iterator[JSON]:
        del self._entries[self._order.popleft()]
        if entry.awaited:
            mine = self._awaited[entry.awaited.key]
            mine.remove(entry)
            if not mine:
                del self._awaited[entry.awaited.key]
        if not entry.withdrawn:
            yield row_of(entry.run, entry.rule, entry.payment, over)


def _is_stuck(run: Run) -> bool:
    """Whether only a person or an event can move it: after so long it is taken as it stands."""
    return run.state in ("parked", "needs_person") or (run.state == "waiting" and run.due_at is None)


# ---- rows -----------------------------------------------------------------------------------------------------------
def row_of(run: Run, rule: Rule, payment: Payment | None = None, over: bool = True) -> JSON:
    """A run as a row of the result."""
    prefix, _, id = run.key.partition(":")
    actions = {step.name: step.action for step in walk(rule.steps) if isinstance(step, Do)}
    return {
        "rule": run.rule_id,
        "version": run.version,
        "run": run.id,
        "subject": run.key if prefix == "path" else id,
        "customer": run.customer,
        "at": iso(seconds(run.triggered)),
        "events": list(run.events),
        "trigger": run.trigger,
        "steps": [_step(name, record, actions) for name, record in run.steps.items()],
        "state": _state(run),
        "stopped": {"at": run.updated_at, "reason": run.reason} if run.state == "stopped" else None,
        "reason": run.reason,
        "money": dict(run.money),
        "paid": _paid(run, payment, list(actions)),
        "outcome": outcome_of(run, payment, list(actions), over) if awaited(run) else None,
    }


def _state(run: Run) -> str:
    """done, stopped, failed, parked, needs_person, or open: it still waits when the history ends."""
    return "open" if run.state in ("pending", "waiting", "acting") else run.state


def _step(name: str, record: JSON, actions: Mapping[str, str]) -> JSON:
    asked = record.get("ended_by") == "approved"
    would = record["state"] == "done" and (asked or name in actions)
    return {
        "name": name,
        "do": actions.get(name),
        "at": record["at"],
        "state": "would" if would else record["state"],
        "text": "Would have asked for approval" if asked else record.get("message", ""),
    }


def _paid(run: Run, payment: Payment | None, actions: Sequence[str]) -> JSON | None:
    if payment is None:
        return None
    after = acted_before(run, payment, actions)
    return {"at": iso(seconds(payment.created)), "event": payment.event, "after": after}


# ---- sums -----------------------------------------------------------------------------------------------------------
def added(amount: Money, money: Mapping[str, int]) -> None:
    for currency, minor in money.items():
        amount[currency] = amount.get(currency, 0) + minor


def ordered(amount: Mapping[str, int]) -> Money:
    return {currency: amount[currency] for currency in sorted(amount)}


@dataclass(slots=True)
class Tally:
    """Some runs and their money."""

    runs: int = 0
    amount: Money = field(default_factory=dict)

    def add(self, row: JSON) -> None:
        self.runs += 1
        added(self.amount, row["money"])

    def body(self) -> dict[str, Any]:
        return {"runs": self.runs, "amount": ordered(self.amount)}


@dataclass(slots=True)
class Summary:
    """How many runs, for how many subjects, about how much money: minor units by currency; what became of the money;
    the busiest day; and a digest of every row, the same for the same rules and history."""

    runs: int = 0
    amount: Money = field(default_factory=dict)
    _subjects: set[str] = field(default_factory=set)
    _customers: set[str] = field(default_factory=set)
    _states: dict[str, int] = field(default_factory=dict)
    _steps: dict[str, int] = field(default_factory=dict)
    _paid: dict[str, Tally] = field(default_factory=dict)
    _days: dict[str, Tally] = field(default_factory=dict)
    _by_rule: dict[str, Tally] = field(default_factory=dict)
    _reached: dict[str, set[str]] = field(default_factory=dict)
    _digest: Any = field(default_factory=hashlib.sha256)

    def add(self, row: JSON) -> None:
        self.runs += 1
        added(self.amount, row["money"])
        self._subjects.add(f"{row['rule']} {row['subject']}")
        self._customers.add(who(row))
        self._states[row["state"]] = self._states.get(row["state"], 0) + 1
        for step in row["steps"]:
            if step["state"] == "would":
                self._steps[step["name"]] = self._steps.get(step["name"], 0) + 1
        if row["outcome"]:
            self._paid.setdefault(row["outcome"], Tally()).add(row)
        self._days.setdefault(row["at"][:10], Tally()).add(row)
        self._by_rule.setdefault(row["rule"], Tally()).add(row)
        self._reached.setdefault(row["rule"], set()).add(who(row))
        self._digest.update(canonical(row))

    @property
    def digest(self) -> str:
        return str(self._digest.hexdigest())

    def body(self) -> dict[str, Any]:
        """The summary as JSON; `limits` are the sentences that hold for every backtest."""
        return {
            "runs": self.runs,
            "subjects": len(self._subjects),
            "customers": len(self._customers),
            "amount": ordered(self.amount),
            "states": {state: self._states[state] for state in sorted(self._states)},
            "would": {name: self._steps[name] for name in sorted(self._steps)},
            "paid": {name: self._paid.get(name, Tally()).body() for name in OUTCOMES},
            "busiest": self.busiest(),
            "proposed_limits": proposed_limits(self.busiest()),
            "rules": {
                id: {**self._by_rule[id].body(), "customers": len(self._reached[id])} for id in sorted(self._by_rule)
            },
            "limits": list(ASSUMES),
            "digest": self.digest,
        }

    def busiest(self) -> dict[str, Any] | None:
        """The day (UTC) with most runs, and the most money of any day, by currency."""
        if not self._days:
            return None
        day = max(self._days, key=lambda day: (self._days[day].runs, day))
        most: Money = {}
        for tally in self._days.values():
            for currency, minor in tally.amount.items():
                most[currency] = max(minor, most.get(currency, 0))
        return {"day": day, "runs": self._days[day].runs, "amount": ordered(most)}


def proposed_limits(busiest: JSON | None) -> dict[str, Any]:
    """Three times the busiest day, and five runs at least (S7): where a rule should stop and ask."""
    if busiest is None:
        return {"runs": 5, "per": "P1D"}
    money = {currency: 3 * minor for currency, minor in busiest["amount"].items() if minor > 0}
    return {"runs": max(5, 3 * busiest["runs"]), **({"money": money} if money else {}), "per": "P1D"}


def who(row: JSON) -> str:
    """Whom a row is about: the customer where one is known, else the subject."""
    return str(row["customer"] or row["subject"])


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


# ---- side by side ---------------------------------------------------------------------------------------------------
class Versus:
    """Whom one version of a rule reaches and the other does not, and for how much money."""

    def __init__(self) -> None:
        self._new: dict[str, Tally] = {}
        self._old: dict[str, Tally] = {}

    def add(self, row: JSON, old: bool) -> None:
        (self._old if old else self._new).setdefault(who(row), Tally()).add(row)

    def enters(self, row: JSON) -> bool:
        return who(row) not in self._old

    def leaves(self, row: JSON) -> bool:
        return who(row) not in self._new

    def body(self) -> dict[str, Any]:
        """{"enter", "leave", "stay": {"customers", "runs", "amount"}, "runs": the other version's, "moves": money}."""
        enter = _sum(tally for name, tally in self._new.items() if name not in self._old)
        leave = _sum(tally for name, tally in self._old.items() if name not in self._new)
        stay = _sum(tally for name, tally in self._new.items() if name in self._old)
        before = _sum(self._old.values())
        moves: Money = {}
        added(moves, enter["amount"])
        added(moves, leave["amount"])
        return {"enter": enter, "leave": leave, "stay": stay, "before": before, "moves": ordered(moves)}


def _sum(tallies: Iterable[Tally]) -> dict[str, Any]:
    found, amount, customers = 0, dict[str, int](), 0
    for tally in tallies:
        customers += 1
        found += tally.runs
        added(amount, tally.amount)
    return {"customers": customers, "runs": found, "amount": ordered(amount)}


# ---- limits in sentences --------------------------------------------------------------------------------------------
def period(since: str | None, until: str, first: int | None, events: int, look_back: int) -> list[str]:
    """What a backtest covers, and what it cannot have seen. first: `created` of the oldest recorded event of its types.
    look_back: the seconds before `since` that its windows may reach."""
    if first is None:
        return ["No event of the types that these rules read is recorded in this period, so there was nothing to try."]
    began = seconds(first)
    start = max(instant(since), began) if since else began
    told = [f"It covers {_day(start)} to {_day(instant(until))}: {events:,} events of the types that these rules read."]
    if since is None or look_back >= EVER or began > instant(since) - timedelta(seconds=look_back):
        told.append(
            f"The oldest recorded event is of {_day(began)}. What happened before it is missing: windows, re-entry and "
            "“first ever” that look back further may miss something."
        )
    return told


def _day(at: datetime) -> str:
    return moment(at)


AS_OF = "Facts are those at the moment of each event. Suppression lists and connections are as they are today."
TEST_CLOCK = "Events of Stripe's test clocks count at their simulated time, which may lie in the future."
