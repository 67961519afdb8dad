"""A backtest at work: one or two passes over recorded history in slices of a few hundredths of a second.

The state stays in memory between slices; a worker that has lost it begins again and comes to the same rows, which have
the same names in the store. Nothing is written but the job and its rows.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from typing import Any

from app import jobs, scores
from app.declared import paths_of
from app.inquire.columns import History, unix
from app.inquire.documents import suppressed
from rules import measure
from rules.backtest import Backtest, Summary
from rules.columns import Columns, Slim
from rules.event import instant, iso
from rules.matcher import PythonMatcher
from rules.model import RuleVersion
from rules.ports import Document, Put, Store
from rules.rule import parse
from rules.wanted import wanted_by_rule
from rules.window import EVER

Row = dict[str, Any]
SLICE = 0.04  # seconds of work of one step: nothing else in the worker waits longer for it
GLANCE = 50  # events between two looks at the time, a few milliseconds of them at most
FILED = 100  # events that are filed between two looks
PART = 100  # rows of one document
LONGEST = timedelta(days=7)  # more than a backtest takes: its rows outlive its job by what is left of it
KEPT = 20_000  # rows that are kept; all are counted
LEFT = 5_000  # customers of the other version of whom a row is kept
AT_ONCE = 4  # backtests whose state one worker keeps between steps
# seconds after which another thread gets the interpreter while a slice is at work. Python's is 5 ms, and with it ten
# reads of another thread took up to 40 ms beside a backtest; with this up to 16 ms (alone 11)
SWITCH = 0.0005


def job(store: Store, columns: Columns | None = None, monotonic: Callable[[], float] = time.monotonic) -> jobs.Run:
    """The job type `backtest`."""
    known: OrderedDict[str, Trial] = OrderedDict()

    def run(job: Document, now: datetime) -> jobs.Step:
        trial = known.pop(job.id, None)
        if trial is None or job.body["cursor"] != trial.slices:
            until = instant(job.body["created_at"]) + jobs.KEPT + LONGEST
            keep = _Parts(store, job.tenant, job.id, iso(until))
            trial = Trial(History(store, job.tenant, columns), job.body["params"], keep.rows)
        with polite():
            step = trial.step(monotonic, SLICE)
        if not step.done:
            known[job.id] = trial
            while len(known) > AT_ONCE:
                known.popitem(last=False)
        return step

    return run


@contextmanager
def polite() -> Iterator[None]:
    """Give the interpreter away often: handling and performing ask for it after every wait for the disk or network."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(min(SWITCH, usual))
    try:
        yield
    finally:
        sys.setswitchinterval(usual)


# ---- rows that are kept ---------------------------------------------------------------------------------------------
@dataclass(slots=True)
class _Parts:
    """The rows of a job, so many a document; writing one again leaves what is there."""

    store: Store
    tenant: str
    job: str
    expires_at: str

    def rows(self, number: int, rows: Sequence[Row]) -> None:
        body = {"rows": list(rows), "expires_at": self.expires_at}
        self.store.commit(self.tenant, None, [Put("job_part", part_id(self.job, number), body)])


def part_id(job: str, number: int) -> str:
    return f"{job}|{number:05d}"


# ---- at work --------------------------------------------------------------------------------------------------------
@dataclass(slots=True)
class Trial:
    """params: of the job, see app.inquire.backtests. keep: told of each part of the rows, again when it has grown."""

    history: History
    params: Mapping[str, Any]
    keep: Callable[[int, Sequence[Row]], object]
    slices: int = 0
    summary: Summary = field(default_factory=Summary)
    versus: measure.Versus = field(default_factory=measure.Versus)
    _work: Iterator[float] | None = None
    _told: dict[str, Any] = field(default_factory=dict)
    _part: list[Row] = field(default_factory=list)
    _kept: int = 0
    _unwritten: bool = False
    _left: dict[str, Row] = field(default_factory=dict)

    def step(self, monotonic: Callable[[], float], budget: float) -> jobs.Step:
        """Work for so many seconds."""
        self._work = self._work or self._all()
        started, progress = monotonic(), 1.0
        done = False
        while not done and monotonic() - started < budget:
            found = next(self._work, None)
            done, progress = found is None, found if found is not None else 1.0
        self._write()
        self.slices += 1
        return jobs.Step(self.slices, progress, self.body(), done, in_hand=True)

    def body(self) -> dict[str, Any]:
        """What is known so far: the summary, and what it rests on."""
        told = {**self.summary.body(), **self._told, "kept": self._kept}
        if self.params.get("against") is not None:
            told["versus"] = self.versus.body()
        return told

    def _all(self) -> Iterator[float]:
        """The whole of it, a glance at a time; yields how far it is."""
        against = self.params.get("against")
        sides = [("old", against)] if against is not None else []
        sides.append(("new", self.params["documents"]))
        for number, (side, documents) in enumerate(sides):
            for share in self._side(documents, old=side == "old"):
                yield (number + share) / len(sides)
        for row in self._left.values():
            if self.versus.leaves(row):
                self._add({**row, "change": "leaves"})
        self._conclude()

    def _side(self, documents: Sequence[Mapping[str, Any]], old: bool) -> Iterator[float]:
        asked = {document["id"] for document in documents}
        test = self._test([*documents, *self.params.get("beside", ())])
        quick = self.history.quick(test.reads)
        while quick and self.history.fill(test.reads, FILED):
            yield 0.0
        first, until = self._span(test)
        total = max(self.history.count(test.types, first, until), 1)
        slims = self.history.slims(test.reads, first, until, quick)
        while chunk := list(islice(slims, GLANCE)):
            self._take(asked, old, _fed(test, chunk))
            yield min(test.fed / total, 1.0)
        end = instant(self.params["until"])
        while not test.advance(end, GLANCE):
            yield 1.0
        rows = test.finish(end)
        while rest := list(islice(rows, GLANCE)):
            self._take(asked, old, rest)
            yield 1.0
        if not old:
            self._tell(test, quick)

    def _test(self, documents: Sequence[Mapping[str, Any]]) -> Backtest:
        store, tenant = self.history.store, self.history.tenant
        rules = [parse(document, declared=paths_of(store, tenant)) for document in documents]
        lists = suppressed(store, tenant, (n for r in rules for n in (*r.lists, *wanted_by_rule(r).lists)))
        versions = [RuleVersion(tenant, rule, 0, "live", "") for rule in rules]
        since = instant(self.params["since"]) if self.params["since"] else None
        known = partial(scores.document_of, store, tenant)
        return Backtest(versions, lists, PythonMatcher(), since, self.history.event, scores=known)

    def _span(self, test: Backtest) -> tuple[int | None, int | None]:
        since, until = self.params["since"], unix(instant(self.params["until"]))
        far = since is None or test.look_back >= EVER
        return None if far else (unix(instant(since)) or 0) - test.look_back, until

    def _take(self, asked: set[str], old: bool, rows: Iterable[Mapping[str, Any]]) -> None:
        for row in rows:
            if row["rule"] not in asked:
                continue
            self.versus.add(row, old)
            if old and len(self._left) < LEFT:
                self._left.setdefault(measure.who(row), dict(row))
            if not old:
                self.summary.add(row)
                change = {"change": "enters" if self.versus.enters(row) else "stays"}
                self._add({**row, **(change if self.params.get("against") is not None else {})})

    def _add(self, row: Row) -> None:
        if self._kept < KEPT:
            self._kept += 1
            self._part.append(row)
            self._unwritten = True
            if len(self._part) == PART:
                self._write()

    def _write(self) -> None:
        """Hand over the last part as far as it goes."""
        if self._unwritten:
            self.keep((self._kept - 1) // PART, self._part)
            self._unwritten = False
        if len(self._part) == PART:
            self._part = []

    def _tell(self, test: Backtest, quick: bool) -> None:
        """What the figures rest on, and their limits, in sentences."""
        first = self.history.oldest(test.types)
        period = measure.period(self.params["since"], self.params["until"], first, test.fed, test.look_back)
        clocks = [measure.TEST_CLOCK] if self.history.tenant.endswith("/test") else []
        self._told = {
            "events": test.fed,
            "decided": test.decided,
            "read": "columns" if quick else "documents",
            "plain": test.plain,
            "dataset": test.dataset,
            "limits": [*period, *measure.ASSUMES, measure.AS_OF, *clocks],
        }

    def _conclude(self) -> None:
        """The digest of the whole: the same rules, history and span have the same one, whichever way it was read."""
        asked = {name: self.params.get(name) for name in ("documents", "against", "beside", "since", "until")}
        whole = [asked, self._told["dataset"], self.summary.digest, self.versus.body()]
        self._told["rule_hash"] = digest(self.params["documents"])
        self._told["digest"] = digest(whole)


def _fed(test: Backtest, slims: Iterable[Slim]) -> Iterator[Mapping[str, Any]]:
    for slim in slims:
        yield from test.feed(slim)


def digest(value: Any) -> str:
    return hashlib.sha256(measure.canonical(value)).hexdigest()
