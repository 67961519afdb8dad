"""Backtest: the very same `decide` on history, on virtual time, through waits, stops and re-entry. Nothing is sent.

Rules run together, each as if it had been live: limits, caps, hours, hold-outs and suppression lists count, actions are
taken to succeed at once and approvals to be given (rules.virtual). History knows nothing of what the actions themselves
would have changed. It streams: events are kept as long as a window may look back at them, and runs leave as rows once
nothing can change them (rules.measure). An event that provably changes nothing is not decided about (rules.screen).

    rows = list(backtest([version], events))      # events by (created, id); rows in the order the runs began
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any, cast

from rules import knowing
from rules.columns import Slim, event_of, reads_of, slim_of
from rules.decide import Decision, decide, documents
from rules.event import Event, iso, seconds
from rules.matcher import Matcher, PythonMatcher
from rules.measure import ASSUMES as LIMITS
from rules.measure import Book, Summary, row_of
from rules.memory import DocumentOf, Members, Memory, NotRead, Question, Read, RuleOf, RunOf, ScoreOf, Window
from rules.model import Rule, RuleVersion
from rules.paid import payments_of
from rules.ports import ABSENT, Put
from rules.ruleset import RuleSet, build, keyed, listens
from rules.run import OPEN, Command, Run
from rules.screen import Screen
from rules.steps import Advance
from rules.subjects import PREFIX
from rules.virtual import Virtual
from rules.wanted import sources_of, wanted_by_rule
from rules.window import EVER, span_of
from rules.workflow import run_key

__all__ = ["LIMITS", "Backtest", "Summary", "backtest", "row_of"]

JSON = Mapping[str, Any]
Fetch = Callable[[str], Event | None]
Scores = Callable[[str, str], JSON | None]


def backtest(
    versions: Sequence[RuleVersion],
    events: Iterable[Event],
    until: datetime | None = None,
    lists: Mapping[str, Iterable[str]] | None = None,
    matcher: Matcher | None = None,
    screened: bool = True,
) -> Iterator[JSON]:
    """Rows of the runs that the rules would have had, in the order in which they would have begun.

    events: by (created, id). until: virtual now at the end; runs that still wait then are `open` (without it, all that
    waits for time alone is waited for). lists: members of suppression lists by name. screened: without it, every event
    is decided about; the rows are the same.
    A row is {"rule", "version", "run", "subject", "customer", "at", "events", "trigger", "money",
    "steps": [{"name", "do", "at", "state", "text"}], "state": done | stopped | failed | parked | needs_person | open,
    "stopped": {"at", "reason"} | None, "reason", "paid": {"at", "event", "after": step | None} | None,
    "outcome": without_action | after_action | never | open | None where nothing is owed}.
    """
    test = Backtest(versions, lists or {}, matcher or PythonMatcher(), screened=screened)
    for event in events:
        yield from test.take(event)
    yield from test.finish(until)


class Backtest:
    """A backtest that is fed event by event, for callers that show progress or stop early.

    since: what happened before counts in windows and starts no runs. fetch: the whole event of a slim one, where what
    is fed is cut down to what the rules read (rules.columns). scores: the document of a score and customer. A rule that
    reads facts is fed whole events, and those that facts are folded from stay in memory.
    reads: what of the events is needed. look_back: the seconds before `since` whose events may count. decided: how many
    events had to be decided about. plain: why every event was, or nothing.
    """

    def __init__(
        self,
        versions: Sequence[RuleVersion],
        lists: Mapping[str, Iterable[str]],
        matcher: Matcher,
        since: datetime | None = None,
        fetch: Fetch | None = None,
        screened: bool = True,
        scores: Scores | None = None,
    ) -> None:
        live_from = iso(since) if since else ""
        live = [replace(version, mode="live", live_from=live_from) for version in versions]
        self._tenant = versions[0].tenant if versions else ""
        self._ruleset: RuleSet = build(self._tenant, live, matcher)
        self._rules: dict[tuple[str, int], Rule] = {(v.rule.id, v.number): v.rule for v in live}
        self._lists = {name: frozenset(members) for name, members in lists.items()}
        self._fetch = fetch
        self._heard = frozenset(self._ruleset.by_type) | frozenset(self._ruleset.homes)
        self._payments = frozenset(t for version in live for t in payments_of(version.rule.when.types))
        self._sources = frozenset(t for version in live for t in sources_of(wanted_by_rule(version.rule)))
        self.reads = reads_of([version.rule for version in live], self._payments)
        self.types = self.reads.types
        self.look_back = EVER if self._sources else _widest(self._ruleset)
        self.plain = self.reads.whole
        self._screen = Screen(self._ruleset) if screened and not self.plain else None
        kept, firsts = None if self._sources else _kept_by(live), not self._sources and _only_firsts(live)
        self._history = _History(_widest_but(self._ruleset, EVER) if firsts else self.look_back, kept, firsts)
        self._memory: dict[str, Read] = {}
        self._book = Book()
        self._scores = scores or (lambda name, customer: None)
        self._virtual = Virtual(self._rules, self._changed, self._woken)
        self._ears: dict[str, dict[str, int]] = {}  # by type, then key: how many runs listen
        self._listening: dict[str, tuple[tuple[str, str], ...]] = {}  # by run
        self._now = -1
        self._ids: list[str] = []
        self._dataset = hashlib.sha256()
        self.decided = 0
        self.fed = 0

    def take(self, event: Event) -> Iterator[JSON]:
        """The next whole event; the rows that are final by it."""
        yield from self.feed(slim_of(event))

    def feed(self, slim: Slim) -> Iterable[JSON]:
        """The next event; the rows that are final by it."""
        if slim.type not in self.types:
            return ()
        if self._ruleset.paths:
            slim = self._keyed(slim)
        rows: Iterable[JSON] = ()
        if slim.created != self._now:
            rows = self._on(slim.created)
        self.fed += 1
        self._ids.append(slim.id)
        if slim.type in self._payments:
            self._book.paid(slim)
        if slim.type in self._heard:
            quiet = self._screen is not None and self._screen.quiet(slim)
            if not quiet or (slim.type in self._ears and self._is_heard(slim)):
                self._loud(slim)
            self._history.add(slim)
        elif slim.type in self._sources:
            self._history.add(slim)
        return rows

    def advance(self, until: datetime, most: int) -> bool:
        """Do so much of what is due before then; whether that was all. For callers that work in slices."""
        return self._virtual.until(until.timestamp(), most)

    def finish(self, until: datetime | None = None) -> Iterator[JSON]:
        """The rows of all other runs; those that would still wait are open."""
        self._virtual.until(until.timestamp() if until else float("inf"))
        yield from self._book.rest(int(until.timestamp()) if until else None)

    @property
    def dataset(self) -> str:
        """A digest of the events that were read, by their ids, which never change their content."""
        self._flush()
        return self._dataset.hexdigest()

    def _on(self, created: int) -> Iterable[JSON]:
        """Time goes on to this second: do what was due before it."""
        if created < self._now:  # the screen counts on order
            self.plain, self._screen, self._history.in_order = "the history is not in order", None, False
        self._now = created
        if len(self._ids) >= 1000:
            self._flush()
        # a stop wins its second, so what is due in it waits for the event
        if self._virtual.next < created:
            self._virtual.until(created)
        if not self._book.is_final(created):
            return ()
        final = list(self._book.final(created))
        for row in final:
            self._deafen(row["run"])
            self._virtual.runs.pop(row["run"], None)
        return final

    def _flush(self) -> None:
        self._dataset.update("\n".join([*self._ids, ""]).encode())
        self._ids.clear()

    def _keyed(self, slim: Slim) -> Slim:
        """With the keys of declared paths that the rules count by."""
        return slim._replace(keys=keyed(event_of(slim, self._tenant), self._ruleset).keys)

    def _is_heard(self, slim: Slim) -> bool:
        heard = self._ears[slim.type]
        return any([key in heard for key in slim.keys])  # a list: few keys, and no generator

    # ---- deciding ---------------------------------------------------------------------------------------------------
    def _loud(self, slim: Slim) -> None:
        self.decided += 1
        event = self._whole(slim)
        self._keep(self._decide(event), seconds(slim.created))

    def _whole(self, slim: Slim) -> Event:
        """The event as if it had been heard of when it was created, with all that its document holds."""
        found = self._fetch(slim.id) if self._fetch else None
        if found is None:
            return event_of(slim, self._tenant)
        return replace(found, keys=tuple(slim.keys), source="webhook", recorded=seconds(slim.created))

    def _decide(self, event: Event) -> Decision:
        known = {id: self._memory.get(id, _NOTHING) for id in documents(event, self._ruleset)}
        answer = partial(self._answer, second=event.created)
        memory: Memory = _Asking(known, lists=self._lists, rules=self._rules, runs={}, ask=answer)
        while True:
            try:
                return decide(event, self._ruleset, memory, seconds(event.created))
            except NotRead as missing:
                memory = memory.answered({question: answer(question) for question in missing.questions})

    def _woken(self, run: Run, rule: Rule, now: datetime) -> Advance:
        return knowing.settled(
            lambda memory: knowing.woken(run, rule, memory, now), lambda question: self._answer(question, -1)
        )

    def _answer(self, question: Question, second: int) -> Any:
        """second: in which a decision is made."""
        match question:
            case Window():
                found = self._history.window(question)
                # a match of this second may start a run, which reads all of its trigger
                return [self._whole(slim) if slim.created == second else event_of(slim, self._tenant) for slim in found]
            case RunOf(id):
                run = self._virtual.runs.get(id) or self._book.run(id)
                return (run, "1") if run else None
            case Members(name):
                return self._lists.get(name, frozenset())
            case RuleOf(id, number):
                return self._rules[id, number]
            case DocumentOf(id):
                return self._memory.get(id, _NOTHING)
            case ScoreOf(name, customer):
                return self._scores(name, customer)

    def _keep(self, decision: Decision, now: datetime) -> None:
        commands: dict[str, list[Command]] = {}
        for write in decision.writes:
            if isinstance(write, Put) and write.kind == "memory":
                self._remember(write)
            elif isinstance(write, Put) and write.kind == "command":
                command = Command.from_body(write.body)
                commands.setdefault(command.run_id, []).append(command)
        for run in decision.runs:
            self._virtual.took(Advance(run, tuple(commands.get(run.id, ()))), now)

    def _remember(self, write: Put) -> None:
        if any(write.body.get(part) for part in ("open", "last", "undo")):
            self._memory[write.id] = Read(write.body, "1")
        else:
            self._memory.pop(write.id, None)

    # ---- runs -------------------------------------------------------------------------------------------------------
    def _changed(self, run: Run) -> None:
        rule = self._rules[run.rule_id, run.version]
        self._book.changed(run, rule)
        if run.state in OPEN or rule.undo:
            self._listen(run)
        else:
            self._deafen(run.id)

    def _listen(self, run: Run) -> None:
        if run.id in self._listening:
            return
        stops = [stop for stop, _ in self._ruleset.listening[run.rule_id].stops]
        pairs = [(type, key) for stop in stops if (key := run_key(stop, run.subjects)) for type in stop.types]
        self._listening[run.id] = tuple(pairs)
        for pair in pairs:
            heard = self._ears.setdefault(pair[0], {})
            heard[pair[1]] = heard.get(pair[1], 0) + 1

    def _deafen(self, run_id: str) -> None:
        for type, key in self._listening.pop(run_id, ()):
            self._ears[type][key] -= 1
            if not self._ears[type][key]:
                del self._ears[type][key]


@dataclass(frozen=True, slots=True)
class _Asking(Memory):
    """A memory that answers at once, since nothing here takes time; of the rest it is asked as ever."""

    ask: Callable[[Question], Any] = lambda question: None

    def window(self, wanted: Window) -> list[Event]:
        found: list[Event] = self.ask(wanted)
        return found

    def run(self, id: str) -> tuple[Run, str] | None:
        if id not in self.runs:
            cast("dict[str, tuple[Run, str] | None]", self.runs)[id] = self.ask(RunOf(id))
        return self.runs[id]


def _widest(ruleset: RuleSet) -> int:
    return max((one.span or 0 for one in ruleset.listening.values()), default=0)


_NOTHING = Read({}, ABSENT)


def _kept_by(versions: Iterable[RuleVersion]) -> tuple[str, ...] | None:
    """How the keys begin that windows of these rules are asked of; None for any."""
    found: set[str] = set()
    for rule in (version.rule for version in versions):
        for same in (rule.when.same, *(stop.same for stop, _ in listens(rule).stops)):
            if same is None:  # each event's partition, whatever that is
                return None
            found.add(f"{PREFIX.get(same, 'path')}:")
    return tuple(sorted(found))


def _only_firsts(versions: Iterable[RuleVersion]) -> bool:
    """Whether all that looks back for ever asks for the first of something."""
    whens = [version.rule.when for version in versions if span_of(version.rule.when) == EVER]
    return bool(whens) and all(when.first for when in whens)


def _widest_but(ruleset: RuleSet, ever: int) -> int:
    return max((one.span for one in ruleset.listening.values() if one.span and one.span < ever), default=0)


class _History:
    """Events by key, as far back as any window looks. kept: how the keys begin that are kept. firsts: whether the
    first of each type and key, of ours and of others, stays for ever: enough to say that something is not the first."""

    def __init__(self, span: int, kept: tuple[str, ...] | None, firsts: bool = False) -> None:
        self._span = span
        self._kept = kept or ("",)
        self._firsts: dict[str, list[Slim]] | None = {} if firsts else None
        self._by_key: dict[str, deque[Slim]] = {}
        self._swept = 0
        self.in_order = True

    def add(self, slim: Slim) -> None:
        by_key = self._by_key
        for key in slim.keys:
            if key.startswith(self._kept):
                mine = by_key.get(key)
                if mine is None:
                    mine = by_key[key] = deque()
                mine.append(slim)
                if self._firsts is not None:
                    _add_first(self._firsts.setdefault(key, []), slim)
                if mine[0].created < slim.created - self._span:
                    _forget(mine, slim.created - self._span)
        if self.in_order and slim.created - self._swept > self._span:
            self._sweep(slim.created - self._span)
            self._swept = slim.created

    def window(self, wanted: Window) -> list[Slim]:
        near: Iterable[Slim] = self._by_key.get(wanted.key, ())
        if self._firsts is not None:
            near = {slim.id: slim for slim in (*self._firsts.get(wanted.key, ()), *near)}.values()
        found = [slim for slim in near if slim.type in wanted.types and wanted.since <= slim.created <= wanted.until]
        found.sort(key=_order)  # they are in order, unless events were not
        return found

    def _sweep(self, oldest: int) -> None:
        """Drop the keys of which no window sees anything any more."""
        for key in [key for key, mine in self._by_key.items() if mine[-1].created < oldest]:
            del self._by_key[key]


def _forget(mine: deque[Slim], oldest: int) -> None:
    while mine[0].created < oldest:
        mine.popleft()


def _add_first(firsts: list[Slim], slim: Slim) -> None:
    if not any(one.type == slim.type and (one.causation is None) == (slim.causation is None) for one in firsts):
        firsts.append(slim)


def _order(slim: Slim) -> tuple[int, str]:
    return slim.created, slim.id
