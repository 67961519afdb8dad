"""The numbers beside the editor: what a rule would have done in the last 30 days, in a bounded time, as it is edited.

It is the same backtest, cut off when its time is over; then it says over which part of the history it went. What the
rule reads is filed into columns a little with each look, so that the next look goes further.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from typing import Any

from app import scores
from app.declared import paths_of
from app.inquire.backtest_job import polite
from app.inquire.backtests import Lab
from app.inquire.columns import History, unix
from app.inquire.documents import document_of, suppressed
from rules import measure
from rules.backtest import Backtest
from rules.event import iso, seconds
from rules.matcher import PythonMatcher
from rules.model import Rule, RuleError, RuleVersion
from rules.rule import parse
from rules.wanted import wanted_by_rule
from rules.window import EVER

Row = dict[str, Any]
DAYS = 30
BUDGET = 0.25  # seconds of one look
FILING = 0.1  # of them, for columns that are not there yet
GLANCE = 50  # events between two looks at the time
FILED = 100  # events that are filed between two
SHOWN = 8  # runs that are listed


@dataclass(frozen=True, slots=True)
class Budget:
    """monotonic: a clock; seconds: of one look."""

    seconds: float = BUDGET
    monotonic: Callable[[], float] = time.monotonic


def preview(
    lab: Lab, tenant: str, document: Mapping[str, Any], now: datetime, budget: Budget | None = None
) -> Row | None:
    """`{"runs", "customers", "amount", "paid", "rows", "limits": proposed, "busiest", "events", "of", "through",
    "days"}`; through: how far it came, None when it went through all of `of` events. None while the rule has errors."""
    try:
        kept = document_of(lab.store, lab.vault, lab.catalogue, tenant, document)
        rule = parse(kept, lab.catalogue, lab.actions, paths_of(lab.store, tenant))
    except RuleError:
        return None
    with polite():  # webhooks are answered by the same process
        return _looked(lab, tenant, rule, now, budget or Budget())


def _looked(lab: Lab, tenant: str, rule: Rule, now: datetime, budget: Budget) -> Row:
    started = budget.monotonic()
    log = History(lab.store, tenant, lab.columns)
    since = now - timedelta(days=DAYS)
    lists = suppressed(lab.store, tenant, (*rule.lists, *wanted_by_rule(rule).lists))
    known = partial(scores.document_of, lab.store, tenant)
    version = RuleVersion(tenant, rule, 0, "live", "")
    test = Backtest([version], lists, PythonMatcher(), since, log.event, scores=known)
    quick = log.quick(test.reads)
    while quick and log.fill(test.reads, FILED):
        quick = budget.monotonic() - started < FILING
    first = None if test.look_back >= EVER else unix(since - timedelta(seconds=test.look_back))
    slims = log.slims(test.reads, first, unix(now), quick)
    rows: list[Mapping[str, Any]] = []
    over = False
    while not over and (chunk := list(islice(slims, GLANCE))):
        for slim in chunk:
            rows += test.feed(slim)
        over = budget.monotonic() - started >= budget.seconds
    through = seconds(chunk[-1].created) if over else None
    rows += test.finish(through or now)
    of = log.count(test.types, first, unix(now)) if over else test.fed
    return {**_summed(rows), "events": test.fed, "of": of, "through": iso(through) if through else None, "days": DAYS}


def _summed(rows: Sequence[Mapping[str, Any]]) -> Row:
    summary = measure.Summary()
    for row in rows:
        summary.add(row)
    told = summary.body()
    kept = {name: told[name] for name in ("runs", "customers", "amount", "paid", "states", "busiest")}
    return {
        **kept,
        "rows": [dict(row) for row in rows[-SHOWN:]][::-1],
        "limits": measure.proposed_limits(told["busiest"]),
    }
