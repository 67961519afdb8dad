"""Inquire: what a rule would have done, as a job on the recorded history.

It calls the very same decision as the live way, on virtual time, and sends nothing. Why: app.explaining.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from typing import Any

from app import author, jobs, scores
from app.declared import paths_of
from rules.backtest import Backtest, Summary
from rules.event import Event, instant, iso
from rules.fields import Catalogue
from rules.matcher import PythonMatcher
from rules.model import RuleVersion
from rules.ports import ActionExecutor, Document, Store, Vault, Where
from rules.rule import parse
from rules.wanted import wanted_by_rule
from rules.window import EVER

Actions = Mapping[str, ActionExecutor]
Row = dict[str, Any]
CHUNK = 3000  # events that one step of a backtest reads: about a second
KEPT = 500  # runs that a backtest's answer lists; all are counted
AT_ONCE = 4  # backtests whose state one worker keeps between steps


# ---- backtests ------------------------------------------------------------------------------------------------------
def start_backtest(
    store: Store,
    vault: Vault,
    catalogue: Catalogue,
    actions: Actions,
    tenant: str,
    rule: str | Mapping[str, Any],
    since: datetime | None,
    until: datetime | None,
    now: datetime,
) -> str:
    """Ask for a backtest of a rule (its draft, else what is in force) or of a document; the job's id.
    since, until: event time; None is all of the history. LookupError, RuleError."""
    params = _params(document_of(store, vault, catalogue, tenant, rule), since, until, now)
    parse(params["document"], catalogue, actions, paths_of(store, tenant))
    return jobs.enqueue(store, tenant, "backtest", params, now)


def backtest_now(
    store: Store,
    vault: Vault,
    catalogue: Catalogue,
    actions: Actions,
    tenant: str,
    rule: str | Mapping[str, Any],
    since: datetime | None,
    until: datetime | None,
    now: datetime,
    progress: Callable[[float], object] = lambda share: None,
) -> Row:
    """The same at once, without a job and its worker: `{"summary", "runs", "more"}`. LookupError, RuleError."""
    params = _params(document_of(store, vault, catalogue, tenant, rule), since, until, now)
    test = _begin(store, catalogue, actions, tenant, params)
    while not (step := test.step()).done:
        progress(step.progress)
    return _result(step.summary)


def _params(
    document: Mapping[str, Any], since: datetime | None, until: datetime | None, now: datetime
) -> dict[str, Any]:
    return {
        "document": dict(document),
        "since": iso(since) if since else None,
        "until": iso(min(until, now) if until else now),
    }


def backtest(store: Store, tenant: str, id: str) -> Row:
    """A backtest so far: `{"id", "status", "progress", "error", "rule", "since", "until", "summary", "runs",
    "more"}`; more: how many runs are counted and not listed. LookupError."""
    found = store.get(tenant, "job", id)
    if found is None or found.body["type"] != "backtest":
        raise LookupError(f"There is no backtest {id!r}.")
    body, params = found.body, found.body["params"]
    return {
        "id": id,
        "status": body["state"],
        "progress": body["progress"],
        "error": body["error"],
        "rule": params["document"]["id"],
        "since": params["since"],
        "until": params["until"],
        **_result(body["summary"]),
    }


def _result(told: Mapping[str, Any]) -> Row:
    """What a backtest's steps have told so far."""
    summary = {"runs": 0, "subjects": 0, "amount": {}, **told}
    rows = summary.pop("rows", [])
    return {"summary": summary, "runs": rows, "more": max(summary["runs"] - len(rows), 0)}


def job(store: Store, catalogue: Catalogue, actions: Actions) -> jobs.Run:
    """The job type `backtest`. What it has in hand stays in memory between steps; after a restart it begins again."""
    known: OrderedDict[str, _Test] = OrderedDict()

    def run(job: Document, now: datetime) -> jobs.Step:
        test = known.pop(job.id, None)
        if test is None or job.body["cursor"] != test.taken:
            test = _begin(store, catalogue, actions, job.tenant, job.body["params"])
        step = test.step()
        if not step.done:
            known[job.id] = test
            while len(known) > AT_ONCE:
                known.popitem(last=False)
        return step

    return run


@dataclass(slots=True)
class _Test:
    """A backtest at work. total: events that it will read. taken: how many it has."""

    backtest: Backtest
    events: Iterator[Event]
    total: int
    until: datetime
    taken: int = 0
    summary: Summary = field(default_factory=Summary)
    rows: list[Row] = field(default_factory=list)

    def step(self) -> jobs.Step:
        """Take some events more; at the end, end what is open."""
        part = list(islice(self.events, CHUNK))
        for event in part:
            self._keep(self.backtest.take(event))
        self.taken += len(part)
        done = len(part) < CHUNK
        if done:
            self._keep(self.backtest.finish(self.until))
            self.rows.sort(key=lambda row: str(row["at"]))
        return jobs.Step(self.taken, self.taken / max(self.total, 1), {**self.summary.body(), "rows": self.rows}, done)

    def _keep(self, rows: Iterable[Mapping[str, Any]]) -> None:
        for row in rows:
            self.summary.add(row)
            if len(self.rows) < KEPT:
                self.rows.append(dict(row))


def _begin(store: Store, catalogue: Catalogue, actions: Actions, tenant: str, params: Mapping[str, Any]) -> _Test:
    since = instant(params["since"]) if params["since"] else None
    until = instant(params["until"])
    rule = parse(params["document"], catalogue, actions, paths_of(store, tenant))
    version = RuleVersion(tenant, rule, 0, "watch", "")
    lists = suppressed(store, tenant, (*rule.never_for, *wanted_by_rule(rule).lists))
    test = Backtest([version], lists, PythonMatcher(), since, scores=partial(scores.document_of, store, tenant))
    first = since - timedelta(seconds=test.look_back) if since and test.look_back < EVER else None
    types = sorted(test.types)
    total = sum(store.count(tenant, "event", _where(type, first, until)) for type in types)
    return _Test(test, history(store, tenant, types, first, until), total, until)


def history(
    store: Store, tenant: str, types: Sequence[str], since: datetime | None, until: datetime | None
) -> Iterator[Event]:
    """The recorded events of these types, by Stripe's time, page by page."""
    return heapq.merge(
        *(_of_type(store, tenant, type, since, until) for type in types), key=lambda event: (event.created, event.id)
    )


def _of_type(store: Store, tenant: str, type: str, since: datetime | None, until: datetime | None) -> Iterator[Event]:
    after: str | None = None
    while True:
        page = store.find(tenant, "event", _where(type, since, until), "created", after, limit=500)
        yield from (Event.from_cloudevent(document.body["event"]) for document in page.items)
        after = page.next
        if after is None:
            return


def _where(type: str, since: datetime | None, until: datetime | None) -> list[Where]:
    where: list[Where] = [("type", "==", type)]
    where += [("created", ">=", int(since.timestamp()))] if since else []
    return where + ([("created", "<=", int(until.timestamp()))] if until else [])


def suppressed(store: Store, tenant: str, names: Iterable[str]) -> dict[str, list[str]]:
    """The members of these lists; a list that is not there excludes nobody."""
    found = {name: store.get(tenant, "list", name) for name in names}
    return {name: list(document.body["members"]) for name, document in found.items() if document}


def document_of(
    store: Store, vault: Vault, catalogue: Catalogue, tenant: str, rule: str | Mapping[str, Any]
) -> Mapping[str, Any]:
    """The document with its personal constants as tokens, or the draft of the rule with this id, else what is in
    force. LookupError."""
    if not isinstance(rule, str):
        return author.without_personal(rule, vault, catalogue, tenant)
    document = author.rule(store, tenant, rule)["document"]
    if document is None:
        raise LookupError(f"The rule {rule!r} has neither a draft nor a version.")
    found: Mapping[str, Any] = document
    return found
