"""Another key for the vault: a job that seals every value anew in small steps, while everything goes on.

The key that makes tokens never changes: tokens stay what they are. The old sealing key is kept until nothing is sealed
with it and no process may still be about to; reads work throughout. Whatever interrupts it, asking again goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol

from app import jobs
from app.audit import entry
from rules.event import instant, iso
from rules.kinds import SYSTEM
from rules.ports import Document, Store

JOB = "rotate"
STEP = 500  # values looked at in one step
Row = Mapping[str, Any]


class Rotation(Protocol):
    """grace: how long an old key is kept after the last value was sealed anew."""

    @property
    def grace(self) -> timedelta: ...

    def keys(self) -> tuple[str, tuple[str, ...]]:
        """The id of the key that seals, and of those that only open."""
        ...

    def begin(self) -> None:
        """Make a new key, unless a rotation is under way. May be repeated."""
        ...

    def reseal(self, after: str | None, most: int) -> tuple[int, str | None]:
        """Seal anew among the next so many values; how many, and where to go on (None: there were no more)."""
        ...

    def finish(self) -> bool:
        """Drop the old keys; False while something is sealed with one."""
        ...


def start(store: Store, rotation: Rotation, actor: str, why: str, now: datetime) -> str:
    """Begin, or go on with what was begun; the id of the job."""
    last = jobs.latest(store, SYSTEM, JOB)
    if last is not None and last.body["state"] in jobs.OPEN:
        return last.id
    before = rotation.keys()[0]
    rotation.begin()
    current = rotation.keys()[0]
    store.commit(SYSTEM, None, [entry(now, actor, "rotate key", "vault", before, current, why)])
    return jobs.enqueue(store, SYSTEM, JOB, {"actor": actor, "key": current}, now)


def status(store: Store, rotation: Rotation) -> dict[str, Any]:
    """Which keys there are, and how far the last rotation is."""
    current, old = rotation.keys()
    last = jobs.latest(store, SYSTEM, JOB)
    shown = ("id", "state", "progress", "error", "created_at", "updated_at")
    job = {**{name: last.body[name] for name in shown}, **last.body["summary"]} if last else None
    return {"key": current, "old": list(old), "job": job}


def job(rotation: Rotation) -> jobs.Run:
    """How the job takes a step: seal, rest for the grace, look again at everything, drop."""

    def step(document: Document, now: datetime) -> jobs.Step:
        cursor = document.body["cursor"] or {"phase": "seal", "after": None, "found": 0}
        summary = {"sealed": 0, **document.body["summary"]}
        if cursor["phase"] == "rest":
            if now < (until := instant(cursor["until"])):
                return jobs.Step(cursor, 0.9, summary, due=until)
            return jobs.Step({"phase": "check", "after": None, "found": 0}, 0.9, summary)
        count, after = rotation.reseal(cursor["after"], STEP)
        summary = {**summary, "sealed": summary["sealed"] + count}
        found = cursor["found"] + count
        if after is not None:
            return jobs.Step({**cursor, "after": after, "found": found}, 0.5, summary)
        if (cursor["phase"] == "seal" or found) and rotation.grace:
            return jobs.Step({"phase": "rest", "until": iso(now + rotation.grace)}, 0.9, summary)
        done = rotation.finish()
        return jobs.Step({"phase": "check", "after": None, "found": 0}, 0.95, summary, done)

    return step
