"""Many quarantined payloads at once: counted first, then replayed or discarded by a job in small steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from app import jobs
from app.audit import entry
from app.receive import quarantine
from app.receive.quarantine import Keeper, Which
from rules.event import iso
from rules.ports import Bus, Conflict, Document, Store
from rules.steps import NotPossible

JOB = "quarantine"
STEP = 25  # payloads at one step
SHOWN = 100  # refusals that a summary keeps
Verb = Literal["replay", "discard"]


def start(
    store: Store, tenant: str, verb: Verb, which: Which, actor: str, why: str, now: datetime, as_it_is: bool = False
) -> dict[str, Any]:
    """Queue the job: `{"id", "count"}` with the count as it is now. What comes in later is not touched."""
    count = quarantine.count(store, tenant, which)
    about = {"verb": verb, "which": which.body(), "as_it_is": as_it_is, "count": count}
    id = jobs.enqueue(store, tenant, JOB, {**about, "actor": actor, "why": why, "until": iso(now)}, now)
    store.commit(tenant, None, [entry(now, actor, f"{verb} quarantined payloads", id, None, about, why)])
    return {"id": id, "count": count}


def these(
    keeper: Keeper, bus: Bus, tenant: str, ids: Sequence[str], params: Mapping[str, Any], now: datetime
) -> dict[str, Any]:
    """The same of a few at once: `{"done", "refused": [{"id", "why"}]}`. params: verb, as_it_is, actor, why."""
    summary: dict[str, Any] = {"done": 0, "refused": 0, "why": []}
    for id in ids:
        _do(keeper, bus, tenant, id, params, summary, now)
    return {"done": summary["done"], "refused": summary["why"]}


def job(keeper: Keeper, bus: Bus) -> jobs.Run:
    """How the job takes a step."""

    def step(document: Document, now: datetime) -> jobs.Step:
        return _step(keeper, bus, document, now)

    return step


def _step(keeper: Keeper, bus: Bus, document: Document, now: datetime) -> jobs.Step:
    params, tenant = document.body["params"], document.tenant
    summary = {"done": 0, "refused": 0, "why": [], **document.body["summary"]}
    where = [*Which.of(params["which"]).where(), ("received_at", "<=", params["until"])]
    cursor = document.body["cursor"] or {"after": None}
    page = keeper.store.find(
        tenant, quarantine.KIND, where, order="received_at", after=cursor["after"], limit=STEP
    )  # a cursor, not the first page again: what still does not conform stays where it is
    for one in page.items:
        _do(keeper, bus, tenant, one.id, params, summary, now)
    if page.next is None:
        quarantine.clear_settled(keeper, tenant)
    progress = (summary["done"] + summary["refused"]) / max(params["count"], 1)
    return jobs.Step({"after": page.next}, min(progress, 1.0), summary, page.next is None)


def _do(
    keeper: Keeper, bus: Bus, tenant: str, id: str, params: Mapping[str, Any], summary: dict[str, Any], now: datetime
) -> None:
    actor, why = params["actor"], params["why"]
    try:
        if params["verb"] == "discard":
            found = quarantine.discard(keeper, tenant, id, actor, why, now)
        else:
            found = quarantine.replay(keeper, bus, tenant, id, actor, why, now, params["as_it_is"])
    except (Conflict, LookupError, NotPossible) as error:
        return _refuse(summary, id, str(error))
    if found["state"] == quarantine.WAITING:
        return _refuse(summary, id, f"it still does not conform: {found['cause']}")
    summary["done"] += 1
    return None


def _refuse(summary: dict[str, Any], id: str, why: str) -> None:
    summary["refused"] += 1
    summary["why"] = [*summary["why"], {"id": id, "why": why}][:SHOWN]
