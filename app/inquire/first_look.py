"""Day one: whom the ready rules would have reached in the last thirty days, before any rule is live (S14).

It is one backtest of all starters, asked for once there is history and no rule in force yet, or by a button.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from app import author, jobs
from app.declared import paths_of
from app.inquire import backtests
from app.inquire.preview import DAYS
from app.starters import library
from rules.event import iso
from rules.model import RuleError
from rules.ports import Document, Store
from rules.rule import parse

Row = dict[str, Any]
ID = "first-look"  # the job's, so that it is asked for by itself once
BEST = 3
# what a starter leaves to its owner changes nothing about whom it reaches
_STAND_INS = {"price": "price_none", "connection": "crm", "text": "https://example.com", "long": "text"}


def schedule(store: Store, tenant: str, now: datetime) -> str | None:
    """Ask for it by itself, once, when history has come in and nothing is in force; the job's id."""
    if store.get(tenant, "job", ID) is not None or _comes_in(store, tenant):
        return None
    if any(row["state"] in ("live", "watch", "paused") for row in author.rules(store, tenant)):
        return None
    return start(store, tenant, now, ID) if store.find(tenant, "event", limit=1).items else None


def _comes_in(store: Store, tenant: str) -> bool:
    """Whether history is still on its way."""
    latest = [jobs.latest(store, tenant, type) for type in ("import", "sample")]
    return any(job is not None and job.body["state"] in jobs.OPEN for job in latest)


def start(store: Store, tenant: str, now: datetime, id: str | None = None) -> str:
    """Ask for it; the job's id."""
    documents = ready(paths_of(store, tenant))
    since = now - timedelta(days=DAYS)
    params = {
        "documents": documents,
        "against": None,
        "beside": [],
        "since": iso(since),
        "until": iso(now),
        "rule_hash": "",
        "starters": True,
    }
    return jobs.enqueue(store, tenant, backtests.TYPE, params, now, id)


def ready(declared: Sequence[str] = ()) -> list[Mapping[str, Any]]:
    """Every starter with its defaults, as far as it is a rule."""
    found: list[Mapping[str, Any]] = []
    for one in library()[: backtests.RULES]:
        document = one.filled({p.name: p.default or _STAND_INS.get(p.type, "") for p in one.parameters})
        try:
            parse(document, declared=declared)
        except RuleError:
            continue
        found.append(document)
    return found


def found(store: Store, tenant: str) -> Row | None:
    """The newest look: `{"id", "state", "progress", "until", "rules": {starter: {"name", "runs", "customers",
    "amount"}}, "best": those that run most, "runs", "amount": theirs}`; None when there was none."""
    job = next((one for one in backtests.recent(store, tenant) if one.body["params"].get("starters")), None)
    return _told(job) if job else None


def _told(job: Document) -> Row:
    names = {document["id"]: document["name"] for document in job.body["params"]["documents"]}
    reached = job.body["summary"].get("rules", {})
    rules = {
        id: {"name": name, **reached.get(id, {"runs": 0, "customers": 0, "amount": {}})} for id, name in names.items()
    }
    best = sorted((row for row in rules.values() if row["runs"]), key=lambda row: (-row["runs"], row["name"]))[:BEST]
    return {
        "id": job.id,
        "state": job.body["state"],
        "progress": job.body["progress"],
        "until": job.body["params"]["until"],
        "rules": rules,
        "best": best,
        "runs": sum(row["runs"] for row in best),
        "amount": _added(row["amount"] for row in best),
    }


def _added(parts: Any) -> dict[str, int]:
    amount: dict[str, int] = {}
    for part in parts:
        for currency, minor in part.items():
            amount[currency] = amount.get(currency, 0) + minor
    return amount
