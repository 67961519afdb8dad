"""Backtest: the very same `decide` on history, on virtual time, through waits, stops and re-entry. Nothing is sent.

Rules run together, each as if it had been watching: actions are taken to succeed at once, approvals to be given.
Limits and caps are not applied, and history knows nothing of what the actions themselves would have changed.
It streams: events are kept as long as a window may look back at them, and ended runs leave as rows.

    rows = list(backtest([version], events))      # events by `created`
"""

from __future__ import annotations

import heapq
from bisect import insort
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from rules.decide import Decision, decide, documents, reads
from rules.event import Event, instant, iso, seconds
from rules.matcher import Matcher, PythonMatcher
from rules.memory import DocumentOf, Members, Memory, NotRead, Question, Read, RuleOf, RunOf, Window
from rules.model import Do, Rule, RuleVersion
from rules.ports import ABSENT, Put
from rules.ruleset import RuleSet, build, keyed
from rules.run import OPEN, Run
from rules.texts import walk
from rules.window import EVER
from rules.workflow import ABSENCE, woke

JSON = Mapping[str, Any]
LIMITS = (
    "Actions are taken to succeed at once and approvals to be given; limits and caps are not applied.",
    "What the actions themselves would have changed is not in the history.",
)


@dataclass(slots=True)
class Summary:
    """How many runs, for how many subjects, about how much money: minor units by currency."""

    runs: int = 0
    amount: dict[str, int] = field(default_factory=dict)
    _subjects: set[str] = field(default_factory=set)

    def add(self, row: JSON) -> None:
        self.runs += 1
        self._subjects.add(row["subject"])
        for currency, minor in row["money"].items():
            self.amount[currency] = self.amount.get(currency, 0) + minor

    def body(self) -> dict[str, Any]:
        amount = {currency: self.amount[currency] for currency in sorted(self.amount)}
        return {"runs": self.runs, "subjects": len(self._subjects), "amount": amount, "limits": list(LIMITS)}


def backtest(
    versions: Sequence[RuleVersion],
    events: Iterable[Event],
    until: datetime | None = None,
    lists: Mapping[str, Iterable[str]] | None = None,
    matcher: Matcher | None = None,
) -> Iterator[JSON]:
    """Rows of the runs that the rules would have had, in the order in which they would have ended.

    events: by `created`. until: virtual now at the end; runs that still wait then are `open` (without it, everything
    that waits for time alone is waited for). lists: members of suppression lists by name.
    A row is {"rule", "version", "run", "subject", "at", "events", "steps": [{"name", "do", "at", "state", "text"}],
    "state", "stopped": {"at", "reason"} | None, "money", "trigger"}.
    """
    test = Backtest(versions, lists or {}, matcher or PythonMatcher())
    for event in events:
        yield from test.take(event)
    yield from test.finish(until)


class Backtest:
    """A backtest that is fed event by event, for callers that show progress or stop early.

    since: what happened before counts in windows and starts no runs. types: the event types that matter.
    look_back: the seconds before `since` whose events may count.
    """

    def __init__(
        self,
        versions: Sequence[RuleVersion],
        lists: Mapping[str, Iterable[str]],
        matcher: Matcher,
        since: datetime | None = None,
    ) -> None:
        live_from = iso(since) if since else ""
        watching = [replace(version, mode="watch", live_from=live_from) for version in versions]
        self._ruleset: RuleSet = build(versions[0].tenant if versions else "", watching, matcher)
        self._rules: dict[tuple[str, int], Rule] = {(v.rule.id, v.number): v.rule for v in watching}
        self._lists = {name: frozenset(members) for name, members in lists.items()}
        self.types = frozenset(self._ruleset.by_type) | frozenset(self._ruleset.homes)
        self.look_back = _widest(self._ruleset)
        self._history = _History(self.look_back)
        self._memory: dict[str, Read] = {}
        self._runs: dict[str, Run] = {}
        self._due: list[tuple[str, str]] = []
        self._order: dict[str, None] = {}

    def take(self, event: Event) -> Iterator[JSON]:
        """The next event; the rows of the runs that have ended before it or by it."""
        if event.type not in self.types:
            return
        # a stop wins its second, so what is due in it waits for the event
        yield from self._wake(iso(seconds(event.created)))
        lived = keyed(replace(event, source="webhook", recorded=seconds(event.created)), self._ruleset)
        decision = self._decide(lived)
        self._history.add(lived)
        yield from self._keep(decision)

    def finish(self, until: datetime | None = None) -> Iterator[JSON]:
        """The rows of all other runs; those that would still wait are open."""
        yield from self._wake(iso(until) if until else "~")
        for run in sorted(self._runs.values(), key=lambda run: (run.created_at, run.id)):
            yield row_of(run, self._rules[run.rule_id, run.version])
        self._runs.clear()

    # ---- deciding ---------------------------------------------------------------------------------------------------
    def _decide(self, event: Event) -> Decision:
        known = {id: self._memory.get(id, _NOTHING) for id in documents(event, self._ruleset)}
        plan = reads(event, self._ruleset, known)
        memory = Memory(documents=known, candidates=plan.candidates)
        questions: Sequence[Question] = plan.questions
        while True:
            if questions:
                memory = memory.answered({question: self._answer(question) for question in questions})
            try:
                return decide(event, self._ruleset, memory, seconds(event.created))
            except NotRead as missing:
                questions = missing.questions

    def _answer(self, question: Question) -> Any:
        match question:
            case Window():
                return self._history.window(question)
            case RunOf(id):
                return (self._runs[id], "1") if id in self._runs else None
            case Members(name):
                return self._lists.get(name, frozenset())
            case RuleOf(id, number):
                return self._rules[id, number]
            case DocumentOf(id):
                return self._memory.get(id, _NOTHING)

    def _keep(self, decision: Decision) -> Iterator[JSON]:
        for write in decision.writes:
            if isinstance(write, Put) and write.kind == "memory":
                if write.body.get("open") or write.body.get("last"):
                    self._memory[write.id] = Read(write.body, "1")
                else:
                    self._memory.pop(write.id, None)
        for run in decision.runs:
            yield from self._moved(run)

    def _moved(self, run: Run) -> Iterator[JSON]:
        if run.state in OPEN:
            self._runs[run.id] = run
            if run.due_at:
                heapq.heappush(self._due, (run.due_at, run.id))
            return
        self._runs.pop(run.id, None)
        if acted_in_time(run):
            yield row_of(run, self._rules[run.rule_id, run.version])

    def _wake(self, before: str) -> Iterator[JSON]:
        while self._due and self._due[0][0] < before:
            due, id = heapq.heappop(self._due)
            run = self._runs.get(id)
            if run is not None and run.due_at == due:
                yield from self._moved(woke(run, self._rules[run.rule_id, run.version], instant(due)).run)


def acted_in_time(run: Run) -> bool:
    """Whether an ended run ever was one: an absence that was taken back in time never came to a first step."""
    return not (run.position == ABSENCE and run.state == "stopped")


def row_of(run: Run, rule: Rule) -> JSON:
    """A run as a row of the result."""
    prefix, _, id = run.key.partition(":")
    stopped = {"at": run.updated_at, "reason": run.reason} if run.state == "stopped" else None
    return {
        "rule": run.rule_id,
        "version": run.version,
        "run": run.id,
        "subject": run.key if prefix == "path" else id,
        "at": iso(seconds(run.triggered)),
        "events": list(run.events),
        "trigger": run.trigger,
        "steps": [_step(name, record, _actions(rule)) for name, record in run.steps.items()],
        "state": "open" if run.state in OPEN else run.state,
        "stopped": stopped,
        "money": dict(run.money),
    }


def _step(name: str, record: JSON, actions: Mapping[str, str]) -> JSON:
    return {
        "name": name,
        "do": actions.get(name),
        "at": record["at"],
        "state": record["state"],
        "text": record.get("message", ""),
    }


def _actions(rule: Rule) -> dict[str, str]:
    return {step.name: step.action for step in walk(rule.steps) if isinstance(step, Do)}


def _widest(ruleset: RuleSet) -> int:
    return max((one.span or 0 for one in ruleset.listening.values()), default=0)


_NOTHING = Read({}, ABSENT)


class _History:
    """Events by key, as far back as any window looks."""

    def __init__(self, span: int) -> None:
        self._span = span
        self._by_key: dict[str, list[Event]] = {}
        self._ages: deque[Event] = deque()

    def add(self, event: Event) -> None:
        for key in event.keys:
            mine = self._by_key.setdefault(key, [])
            if mine and _order(mine[-1]) > _order(event):
                insort(mine, event, key=_order)
            else:
                mine.append(event)
        if self._span < EVER:
            self._ages.append(event)
            self._forget(event.created - self._span)

    def window(self, wanted: Window) -> list[Event]:
        return [
            event
            for event in self._by_key.get(wanted.key, ())
            if event.type in wanted.types and wanted.since <= event.created <= wanted.until
        ]

    def _forget(self, before: int) -> None:
        while self._ages and self._ages[0].created < before:
            old = self._ages.popleft()
            for key in old.keys:
                mine = self._by_key[key]
                mine.remove(old)  # it is the first of its key, unless events came out of order
                if not mine:
                    del self._by_key[key]


def _order(event: Event) -> tuple[int, str]:
    return event.created, event.id
