"""The audit log as a page: searched by who, what and when, with what changed, and held against its chain."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any

from flask import Blueprint, Response, request

from app import browse, jobs
from app.audit import export as audit_export
from app.audit import job as audit_job
from app.audit import seal
from app.browse.audit_diff import difference
from app.web.addresses import address, asked, cursor
from app.web.pages import go, now, page, services, tenant
from rules.event import iso
from rules.ports import Refused

blueprint = Blueprint("audit", __name__)
FILTERS = ("actor", "verb", "about", "since", "until")
VERBS = ("save draft", "publish", "watch", "pause", "resume", "roll back", "ask for approval", "approve", "decline",
         "emergency publish", "change connection", "change list", "stop", "let go", "looked at")  # fmt: skip
Row = dict[str, Any]


@blueprint.get("/settings/audit")
def look() -> Response:
    chosen = {name: asked(name) for name in FILTERS}
    found, wrong = _found(chosen)
    rows = [{**row, "changed": difference(row["from"], row["to"])} for row in found["items"]]
    here = address("/settings/audit", **chosen)
    return page(
        "settings_audit.html",
        status=422 if wrong else 200,
        rows=rows,
        next=address("/settings/audit", **chosen, after=found["next"]) if found["next"] else None,
        first=here if cursor() else None,
        chosen=chosen,
        filtered=any(chosen.values()),
        wrong=wrong,
        verbs=VERBS,
        chain=_chain(),
    )


def _found(chosen: Row) -> tuple[Row, Row]:
    """The entries, and what is wrong with the days that were typed."""
    wrong: Row = {}
    days: Row = {}
    for name in ("since", "until"):
        try:
            days[name] = _day(chosen[name], end=name == "until")
        except ValueError:
            wrong[name] = "Write a day such as 2026-11-23."
    if wrong:
        return {"items": [], "next": None}, wrong
    verb = chosen["verb"].lower() if chosen["verb"] else None
    found = browse.audit(
        services().store,
        tenant(),
        actor=chosen["actor"],
        verb=verb,
        about=chosen["about"],
        since=days["since"],
        until=days["until"],
        after=cursor(),
    )
    return found, {}


def _day(text: str | None, end: bool) -> str | None:
    """The first or last moment of a day, in UTC."""
    if not text:
        return None
    day = datetime.combine(datetime.fromisoformat(text[:10]).date(), time(), UTC)
    return iso(day + timedelta(days=1) - timedelta(microseconds=1) if end else day)


# ---- the chain ------------------------------------------------------------------------------------------------------
@blueprint.get("/settings/audit/verify")
def progress() -> Response:
    return page("audit_chain.html", "chain", chain=_chain())


@blueprint.post("/settings/audit/verify")
def verify() -> Response:
    try:
        audit_job.start(services().store, tenant(), now(), request.form.get("anchors", "")[:4000])
    except Refused as error:
        return page("audit_chain.html", status=422, chain={**_chain(), "error": str(error)})
    return go("/settings/audit/verify")


def _chain() -> Row:
    """How far the log is sealed, and what the last look came to."""
    store, mine = services().store, tenant()
    head = seal.head(store, mine)
    waiting = store.count(mine, "audit", [("at", ">", head.until)] if head else [])
    newest = jobs.latest(store, mine, audit_job.TYPE)
    job = dict(newest.body) if newest else None
    return {"head": head, "waiting": waiting, "job": job, "working": bool(job and job["state"] in jobs.OPEN)}


@blueprint.get("/settings/audit/export")
def export() -> Response:
    """Every entry as a CloudEvent, JSON lines, as the database hands them over."""
    lines = audit_export.lines(audit_export.exported(services().store, tenant()))
    headers = {"Content-Disposition": 'attachment; filename="audit.jsonl"'}
    return Response((line + "\n" for line in lines), mimetype="application/jsonl", headers=headers)
