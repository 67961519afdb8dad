"""Jobs: long work done in small steps, each committed with its cursor, so that a restart goes on where it stopped.

A job type is one function from (job, now) to a Step. The worker runs a step of each due job in turn; a hold is a
lease in the job's own document, moved forward with every step. Cancelling is a state that the next step sees.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from app import logs, tenants
from rules.event import iso
from rules.kinds import SYSTEM
from rules.ports import ABSENT, Conflict, Document, Put, Store, Unavailable

LEASE = timedelta(seconds=60)  # a step takes a few seconds at most
ID = "job_"  # begins the id of a job that was given none of its own
TRIES = 6  # of one step that failed for an outside reason
OPEN = ("queued", "running")
KEPT = timedelta(days=90)  # after its end, where nobody asks later whether it was ever done
_ASKED_FOR_LATER = ("import", "sample", "fill-keys")
WORKER = secrets.token_hex(6)  # this process


class JobFailed(Exception):
    """The job cannot go on; the message says why and what to do."""


class TryLater(Exception):
    """The outside does not answer just now; the same step is tried again later."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one step came to. cursor: where the next one begins. progress: 0..1. summary: replaces the last one.
    in_hand: this worker keeps in memory what the next step goes on with, so another takes it only when it is gone.
    due: the next one is not taken before then."""

    cursor: Any
    progress: float
    summary: Mapping[str, Any] = field(default_factory=dict)
    done: bool = False
    in_hand: bool = False
    due: datetime | None = None


Run = Callable[[Document, datetime], Step]


# ---- asking for work ------------------------------------------------------------------------------------------------
def enqueue(
    store: Store,
    tenant: str,
    type: str,
    params: Mapping[str, Any],
    now: datetime,
    id: str | None = None,
    due: datetime | None = None,
) -> str:
    """Put a job in the queue; its id. With an id of one's own, asking twice makes one job. due: not before then."""
    if tenant != SYSTEM:
        tenants.ensure(store, tenant, now)
    id = id or f"{ID}{secrets.token_hex(12)}"
    body = {
        "id": id,
        "type": type,
        "state": "queued",
        "progress": 0.0,
        "params": dict(params),
        "summary": {},
        "error": None,
        "cursor": None,
        "tries": 0,
        "due_at": iso(due or now),
        "created_at": iso(now),
        "updated_at": iso(now),
    }
    try:
        store.commit(tenant, None, [Put("job", id, body, expect=ABSENT)])
    except Conflict:
        return id
    return id


def cancel(store: Store, tenant: str, id: str, now: datetime) -> bool:
    """Stop a job before its next step; whether it was still open. Raises LookupError, Conflict."""
    job = store.get(tenant, "job", id)
    if job is None:
        raise LookupError(f"There is no job {id!r}.")
    if job.body["state"] not in OPEN:
        return False
    store.commit(tenant, None, [_put(job, {"state": "cancelled"}, now)])
    return True


def latest(store: Store, tenant: str, type: str) -> Document | None:
    """The newest job of a type."""
    found = store.find(tenant, "job", [("type", "==", type)], order="-created_at", limit=1)
    return found.items[0] if found.items else None


# ---- doing it -------------------------------------------------------------------------------------------------------
def run_one(store: Store, types: Mapping[str, Run], now: datetime, worker: str = WORKER) -> bool:
    """Do one step of the job that has been due longest, so that jobs take turns; whether there was one.
    Never raises for what the job did."""
    job = _take(store, types, now, worker)
    if job is None:
        return False
    try:
        step = types[job.body["type"]](job, now)
    except (TryLater, Unavailable) as error:
        _save(store, job, _later(job, str(error), now), now)
    except JobFailed as error:
        _save(store, job, {"state": "failed", "error": str(error)}, now)
    except Exception as error:  # a surprise ends this job and no other
        logs.failed("job.failed", error, job=job.id, type=job.body["type"])
        _save(store, job, {"state": "failed", "error": f"A fault on this side ({type(error).__name__})."}, now)
    else:
        _save(store, job, _went(step, now, worker), now)
    return True


def _take(store: Store, types: Mapping[str, Run], now: datetime, worker: str) -> Document | None:
    """Hold the job that has been due longest, by moving its `due_at` one lease ahead."""
    every = [job for tenant in (SYSTEM, *tenants.every(store)) for job in _due(store, tenant, types, now)]
    due = [job for job in every if job.body.get("held_by") in (None, worker) or job.body["held_until"] <= iso(now)]
    for job in sorted(due, key=lambda job: (str(job.body["due_at"]), str(job.body["created_at"]))):
        held = {"state": "running", "due_at": iso(now + LEASE)}
        try:
            store.commit(job.tenant, None, [_put(job, held, now)])
        except Conflict:
            continue
        return store.get(job.tenant, "job", job.id)
    return None


def _due(store: Store, tenant: str, types: Mapping[str, Run], now: datetime) -> list[Document]:
    found = [
        store.find(tenant, "job", [("state", "==", state), ("due_at", "<=", iso(now))], "due_at", limit=50).items
        for state in OPEN
    ]
    return [job for page in found for job in page if job.body["type"] in types]


def _went(step: Step, now: datetime, worker: str) -> dict[str, Any]:
    if step.done:
        return {"state": "done", "progress": 1.0, "cursor": step.cursor, "summary": dict(step.summary), "error": None}
    progress = min(max(step.progress, 0.0), 0.999)
    more = {"cursor": step.cursor, "progress": progress, "summary": dict(step.summary) or {}}
    held = {"held_by": worker if step.in_hand else None, "held_until": iso(now + LEASE)}
    return {**more, **held, "tries": 0, "error": None, "due_at": iso(step.due or now)}


def _later(job: Document, problem: str, now: datetime) -> dict[str, Any]:
    tries = job.body.get("tries", 0) + 1
    if tries >= TRIES:
        return {"state": "failed", "tries": tries, "error": problem}
    return {"tries": tries, "error": problem, "due_at": iso(now + timedelta(seconds=min(5 * 3**tries, 900)))}


def _save(store: Store, job: Document, changes: Mapping[str, Any], now: datetime) -> None:
    """Write what the step came to, unless the job was cancelled or taken over meanwhile."""
    try:
        store.commit(job.tenant, None, [_put(job, changes, now)])
    except Conflict:
        logs.line("job.overtaken", job=job.id)


def _put(job: Document, changes: Mapping[str, Any], now: datetime) -> Put:
    body = {**job.body, **changes, "updated_at": iso(now)}
    is_over = body["state"] not in OPEN and job.id.startswith(ID) and body["type"] not in _ASKED_FOR_LATER
    return Put("job", job.id, {**body, "expires_at": iso(now + KEPT) if is_over else None}, expect=job.version)
