"""The job that verifies the audit log, some thousand entries a step, so that a long log shows how far it is.

What a walk has read is in memory: where its worker is gone, another begins it anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from app import jobs
from app.audit import verify
from app.audit.verify import Report
from rules.event import instant
from rules.ports import Document, Store

TYPE = "verify_audit"


def start(store: Store, tenant: str, now: datetime, anchors: str = "") -> str:
    """Ask for it, or find the one that works already; the job's id. anchors: heads kept elsewhere, one a line. Raises
    Refused for what is none."""
    texts = [text for text in anchors.split() if text]
    for text in texts:
        verify.read_anchor(text)
    newest = jobs.latest(store, tenant, TYPE)
    if newest is not None and newest.body["state"] in jobs.OPEN and newest.body["params"]["anchors"] == texts:
        return newest.id
    total = store.count(tenant, "audit")
    return jobs.enqueue(store, tenant, TYPE, {"anchors": texts, "total": total, "since": None}, now)


def job(store: Store) -> jobs.Run:
    """How the job takes a step."""
    walks: dict[str, Iterator[Report]] = {}

    def step(document: Document, now: datetime) -> jobs.Step:
        params = document.body["params"]
        if document.id not in walks:
            since = instant(params["since"]) if params["since"] else None
            anchors = [verify.read_anchor(text) for text in params["anchors"]]
            walks[document.id] = verify.walk(store, document.tenant, since, anchors)
        before = document.body["summary"].get("entries")
        report = next(walks[document.id], None)
        if report is None or report.entries == before:
            del walks[document.id]
            return jobs.Step(None, 1.0, report.body() if report else document.body["summary"], done=True)
        return jobs.Step(None, report.entries / max(1, params["total"]), report.body(), in_hand=True)

    return step
