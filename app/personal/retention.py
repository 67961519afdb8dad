"""How long personal values are kept, by sort: a setting of each tenant, and the daily job that removes what is older.

Counted are the days since a value was last heard, so an active customer's address stays. Nothing is set by default: no
value goes before somebody has said so.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from app import jobs
from app.audit import entry
from rules.event import instant, iso
from rules.personal_sorts import SORTS
from rules.ports import ABSENT, Conflict, Document, Forgetting, Put, Store
from rules.rule import Problem, RuleError

JOB = "retention"
ID = "retention"
LONGEST = 36_500  # days
EVERY = timedelta(days=1)
STEP = 5_000  # values looked at in one step
SUGGESTED: Mapping[str, int] = {"ip": 30, "secret": 30, "payload": 90, "email": 1_095, "name": 1_095}
Row = dict[str, Any]


def read(store: Store, tenant: str) -> tuple[dict[str, int], str]:
    """Days by sort, and the version to save against."""
    found = store.get(tenant, "setting", ID)
    return (dict(found.body["days"]), found.version) if found else ({}, ABSENT)


def save(
    store: Store, tenant: str, given: Mapping[str, Any], actor: str, now: datetime, expect: str | None = None
) -> dict[str, int]:
    """Set the days of each sort; a sort that is left out or None is kept for ever. RuleError with every problem,
    Conflict when somebody else was here."""
    before, version = read(store, tenant)
    if expect is not None and expect != version:
        raise Conflict("Someone else changed these settings after you opened them. Open them again.")
    wrong = [Problem(name, f"unknown sort of values {name!r}") for name in given if name not in SORTS]
    days = {name: value for name, value in given.items() if value is not None}
    wrong += [
        Problem(name, f"write a whole number of days from 1 to {LONGEST:,}, or nothing")
        for name, value in days.items()
        if not (isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= LONGEST)
    ]
    if wrong:
        raise RuleError(wrong)
    body = {"days": days, "updated_at": iso(now)}
    change = entry(now, actor, "change retention", "settings", before, days)
    store.commit(tenant, None, [Put("setting", ID, body, version), change])
    return days


def look(store: Store, vault: Forgetting, tenant: str, now: datetime) -> Row:
    """Every sort with its days and how many values would go now; and the last run."""
    days, version = read(store, tenant)
    due = vault.expiring(tenant, before(days, now))
    rows = [
        {"sort": sort, "title": title, "days": days.get(sort), "due": due.get(sort, 0)} for sort, title in SORTS.items()
    ]
    last = jobs.latest(store, tenant, JOB)
    shown = ("id", "state", "error", "summary", "created_at", "updated_at")
    return {"sorts": rows, "version": version, "job": {name: last.body[name] for name in shown} if last else None}


def before(days: Mapping[str, int], now: datetime) -> dict[str, int]:
    """By sort the first day (since 1970) of which values are kept."""
    today = int(now.timestamp()) // 86_400
    return {sort: today - kept for sort, kept in days.items()}


# ---- removing -------------------------------------------------------------------------------------------------------
def schedule(store: Store, tenant: str, now: datetime) -> str | None:
    """Ask for the day's removal where it is due; the job's id."""
    if not read(store, tenant)[0]:
        return None
    last = jobs.latest(store, tenant, JOB)
    if last is not None and (last.body["state"] in jobs.OPEN or instant(last.body["created_at"]) + EVERY > now):
        return None
    return start(store, tenant, now)


def start(store: Store, tenant: str, now: datetime, actor: str = "signalbox") -> str:
    """Remove what is due now."""
    last = jobs.latest(store, tenant, JOB)
    if last is not None and last.body["state"] in jobs.OPEN:
        return last.id
    return jobs.enqueue(store, tenant, JOB, {"actor": actor}, now)


def job(store: Store, vault: Forgetting) -> jobs.Run:
    """How the job takes a step: some thousand values at once."""

    def step(document: Document, now: datetime) -> jobs.Step:
        tenant, cursor = document.tenant, document.body["cursor"] or {"after": None}
        removed = dict(document.body["summary"].get("removed") or {})
        days = read(store, tenant)[0]
        gone, after = vault.expire(tenant, before(days, now), cursor["after"], STEP)
        for sort, count in gone.items():
            removed[sort] = removed.get(sort, 0) + count
        if after is None and removed:
            actor = document.body["params"]["actor"]
            store.commit(tenant, None, [entry(now, actor, "remove expired values", "vault", None, removed)])
        return jobs.Step({"after": after}, 0.5, {"removed": removed}, after is None)

    return step
