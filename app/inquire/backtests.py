"""Backtests: what rules would have done on the recorded history, asked for as a job or done at once; nothing is sent.

A question becomes the parameters of a job: `documents` (the rules that are asked about), `against` (the same rules as
they are compared with, or None), `beside` (other rules that run along, so that their caps and stops count), `since` and
`until`. The answer is the job's summary and its rows, which stand in documents of their own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app import author, jobs
from app.declared import paths_of
from app.inquire.backtest_job import KEPT, PART, Trial, digest, part_id
from app.inquire.columns import History
from app.inquire.documents import document_of
from app.numbers import whole
from rules.columns import Columns
from rules.event import instant, iso
from rules.fields import Catalogue
from rules.model import Problem, RuleError
from rules.ports import ActionExecutor, Document, Store, Vault
from rules.rule import parse
from rules.run import OPEN
from rules.steps import NotPossible

Row = dict[str, Any]
Asked = str | Mapping[str, Any]  # a rule's id, or a document
TYPE = "backtest"
QUEUED = 5  # backtests of one tenant that may be open at once
RULES = 20  # rules of one backtest
LISTED = 500  # rows of the first answer
PAGE = 100  # rows of each one after it
IN_FORCE = "live"


@dataclass(frozen=True, slots=True)
class Lab:
    """The ports of whoever tries rules out. columns: where history is kept cut down, if anywhere."""

    store: Store
    vault: Vault
    catalogue: Catalogue
    actions: Mapping[str, ActionExecutor]
    columns: Columns | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked. rules: each by its id (its draft, else what is in force) or as a document. since, until: event
    time; None is all of the history. against: `live` (each rule as it is in force), an id with a version (`rule@3`),
    or a document. together: whether all other rules in force run along."""

    tenant: str
    rules: Sequence[Asked]
    since: datetime | None = None
    until: datetime | None = None
    against: Asked | None = None
    together: bool = False


# ---- asking ---------------------------------------------------------------------------------------------------------
def start(lab: Lab, question: Question, now: datetime) -> str:
    """Ask for a backtest; the job's id. LookupError, RuleError, NotPossible when too many wait already."""
    waiting = [job for job in recent(lab.store, question.tenant) if job.body["state"] in jobs.OPEN]
    if len(waiting) >= QUEUED:
        raise NotPossible(f"{QUEUED} backtests wait or run already. Let one end, or stop one, and ask again.")
    return jobs.enqueue(lab.store, question.tenant, TYPE, params(lab, question, now), now)


def at_once(
    lab: Lab, question: Question, now: datetime, progress: Callable[[float], object] = lambda share: None
) -> Row:
    """The same without a job and its worker: `{"summary", "runs", "more"}`. LookupError, RuleError."""
    rows: dict[int, list[Row]] = {}

    def keep(number: int, part: Sequence[Row]) -> None:
        rows[number] = list(part)

    trial = Trial(History(lab.store, question.tenant, lab.columns), params(lab, question, now), keep)
    while not (step := trial.step(time.monotonic, 1.0)).done:
        progress(step.progress)
    found = [row for number in sorted(rows) for row in rows[number]]
    return _result(step.summary, found)


def params(lab: Lab, question: Question, now: datetime) -> dict[str, Any]:
    """The parameters of the job. LookupError, RuleError."""
    documents = [_document(lab, question.tenant, rule) for rule in question.rules]
    _check(lab, question.tenant, documents)
    until = min(question.until, now) if question.until else now
    return {
        "documents": documents,
        "against": _against(lab, question, documents),
        "beside": _beside(lab, question, documents) if question.together else [],
        "since": iso(question.since) if question.since else None,
        "until": iso(until),
        "rule_hash": digest(documents),
    }


def _document(lab: Lab, tenant: str, asked: Asked) -> Mapping[str, Any]:
    return document_of(lab.store, lab.vault, lab.catalogue, tenant, asked)


def _check(lab: Lab, tenant: str, documents: Sequence[Mapping[str, Any]]) -> None:
    if not 1 <= len(documents) <= RULES:
        raise RuleError([Problem("rules", f"a backtest takes 1 to {RULES} rules, not {len(documents)}")])
    for document in documents:
        parse(document, lab.catalogue, lab.actions, paths_of(lab.store, tenant))
    ids = [document["id"] for document in documents]
    for id in {id for id in ids if ids.count(id) > 1}:
        raise RuleError([Problem("rules", f"{id!r} is there twice; compare two versions of a rule with 'against'")])


def _against(lab: Lab, question: Question, documents: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]] | None:
    if question.against is None:
        return None
    if question.against != IN_FORCE:
        other = _version(lab, question.tenant, question.against)
        parse(other, declared=paths_of(lab.store, question.tenant))
        return [other]
    found = [_in_force(lab.store, question.tenant, document["id"]) for document in documents]
    return [document for document in found if document is not None]


def _version(lab: Lab, tenant: str, asked: Asked) -> Mapping[str, Any]:
    if not isinstance(asked, str):
        return _document(lab, tenant, asked)
    id, _, number = asked.partition("@")
    if (known := whole(number)) is None:
        raise LookupError(f"{asked!r} names no version: write {IN_FORCE!r}, or {id}@1.")
    document: Mapping[str, Any] = author.version(lab.store, tenant, id, known)["document"]
    return document


def _in_force(store: Store, tenant: str, id: str) -> Mapping[str, Any] | None:
    """The document in force; None for a rule that is not there, or acts on nothing."""
    if store.get(tenant, "rule", id) is None:
        return None
    row = author.rule(store, tenant, id)
    found: Mapping[str, Any] | None = row["in_force"] if row["state"] in ("live", "watch", "paused") else None
    return found


def _beside(lab: Lab, question: Question, documents: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    asked = {document["id"] for document in documents}
    live = [row["id"] for row in author.rules(lab.store, question.tenant) if row["state"] == "live"]
    found = [_in_force(lab.store, question.tenant, id) for id in live if id not in asked]
    return [document for document in found if document is not None]


# ---- answers --------------------------------------------------------------------------------------------------------
def recent(store: Store, tenant: str, limit: int = 50) -> tuple[Document, ...]:
    """The newest backtests. Those of an earlier version, which said less, are passed over."""
    found = store.find(tenant, "job", [("type", "==", TYPE)], order="-created_at", limit=limit).items
    return tuple(job for job in found if "documents" in job.body["params"])


def backtest(store: Store, tenant: str, id: str, after: int = 0) -> Row:
    """A backtest so far: `{"id", "status", "progress", "error", "rule", "rules", "since", "until", "created_at",
    "summary", "runs", "more", "next"}`. more: how many runs are counted and not listed here; next: the `after` of the
    next page, or None. Of a rule that is compared `summary["versus"]` says the difference. LookupError."""
    job = _job(store, tenant, id)
    body, asked = job.body, job.body["params"]
    size = PAGE if after else LISTED
    listed = list(rows(store, tenant, id, after, size))
    kept = body["summary"].get("kept", 0)
    return {
        "id": id,
        "status": body["state"],
        "progress": body["progress"],
        "error": body["error"],
        "rule": asked["documents"][0]["id"],
        "rules": [document["id"] for document in asked["documents"]],
        "since": asked["since"],
        "until": asked["until"],
        "created_at": body["created_at"],
        **_result(body["summary"], listed, after),
        "next": after + size if after + size < kept else None,
    }


def _result(told: Mapping[str, Any], listed: list[Row], after: int = 0) -> Row:
    summary = {"runs": 0, "subjects": 0, "amount": {}, **told}
    mine = sum(1 for row in listed if row.get("change") != "leaves")
    return {"summary": summary, "runs": listed, "more": max(summary["runs"] - after - mine, 0)}


def _job(store: Store, tenant: str, id: str) -> Document:
    found = store.get(tenant, "job", id)
    if found is None or found.body["type"] != TYPE or "documents" not in found.body["params"]:
        raise LookupError(f"There is no backtest {id!r}.")
    return found


def rows(store: Store, tenant: str, id: str, after: int = 0, limit: int = KEPT) -> Iterator[Row]:
    """The kept rows from the `after`th on, in the order in which the runs would have begun; what leaves comes last."""
    for number in range(after // PART, (after + limit + PART - 1) // PART):
        part = store.get(tenant, "job_part", part_id(id, number))
        if part is None:
            return
        first = number * PART
        yield from part.body["rows"][max(after - first, 0) : max(after + limit - first, 0)]


def cancel(store: Store, tenant: str, id: str, now: datetime) -> None:
    """Stop it. LookupError, Conflict when it has just moved on."""
    _job(store, tenant, id)
    jobs.cancel(store, tenant, id, now)


# ---- the measured effect of what is about to be published -----------------------------------------------------------
def effect(store: Store, tenant: str, document: Mapping[str, Any], now: datetime) -> Row | None:
    """The newest finished backtest of exactly this document against what is in force, made of history that is not a
    day old: `{"id", "since", "until", "rule_hash", "dataset", "digest", "runs", "customers", "amount", "versus"}`."""
    wanted = hash_of(document)
    for job in recent(store, tenant):
        asked, told = job.body["params"], job.body["summary"]
        same = asked.get("rule_hash") == wanted and asked["against"] is not None
        fresh = (now - instant(asked["until"])).total_seconds() < 86400
        if job.body["state"] == "done" and same and fresh and _still(store, tenant, document["id"], asked["against"]):
            kept = ("rule_hash", "dataset", "digest", "runs", "customers", "amount", "versus")
            return {"id": job.id, "since": asked["since"], "until": asked["until"], **{key: told[key] for key in kept}}
    return None


def hash_of(document: Mapping[str, Any]) -> str:
    return digest([document])


def _still(store: Store, tenant: str, id: str, against: Sequence[Mapping[str, Any]]) -> bool:
    current = _in_force(store, tenant, id)
    return list(against) == ([current] if current is not None else [])


def in_flight(store: Store, tenant: str, id: str) -> int:
    """Open runs of the rule: they end on the version that they started on."""
    return sum(store.count(tenant, "run", [("rule_id", "==", id), ("state", "==", state)]) for state in sorted(OPEN))
