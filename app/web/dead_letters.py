"""Dead letters: what gave up, by cause and filter, and the job that tries all of it again or lets it go."""

from __future__ import annotations

from typing import Any, cast

from flask import Blueprint, Response, abort, request

from app import browse, jobs
from app.operate import dead_letters
from app.operate.dead_letters import Verb, Which
from app.web.addresses import address, cursor, pages
from app.web.pages import actor, go, now, page, services, tenant
from rules.words import counted

blueprint = Blueprint("dead_letters", __name__)

MEANS = {
    "replay": "Each is tried again under the id it had, so a receiver that has done it does not repeat it.",
    "discard": "Each is given up for good. It stays in the audit log and is never tried again.",
}


@blueprint.get("/dead-letters")
def look() -> Response:
    which = _which(request.args)
    s, mine = services(), tenant()
    found = browse.dead_letters(s.store, s.inbox, mine, which, after=cursor())
    return page(
        "dead_letters.html",
        "list",
        found=found,
        causes=browse.causes(s.store, s.inbox, mine, which),
        filters=which,
        here=lambda **more: address("/dead-letters", **{**which.body(), **more}),
        asking=lambda verb, **more: address(f"/dead-letters/{verb}", **{**which.body(), **more}),
        connections=[*(one["name"] for one in browse.connections(s.store, mine)), "stripe"],
        rules=browse.rule_names(s.store, mine),
        moment=now(),
        **pages("/dead-letters", found["next"], **which.body()),
    )


@blueprint.get("/dead-letters/<any(replay, discard):verb>")
def ask(verb: str) -> Response:
    return _asking(verb, _which(request.args))


@blueprint.post("/dead-letters/<any(replay, discard):verb>")
def act(verb: str) -> Response:
    which, why = _which(request.form), request.form.get("reason", "").strip()
    if not why:
        return _asking(verb, which, "Say why: it is kept in the audit log.")
    s = services()
    begun = dead_letters.start(s.store, s.inbox, tenant(), cast(Verb, verb), which, actor(), why, now())
    return go(f"/dead-letters/jobs/{begun['id']}")


@blueprint.get("/dead-letters/jobs/<id>")
def progress(id: str) -> Response:
    return page("dead_letters_job.html", "progress", job=_job(id))


@blueprint.post("/dead-letters/jobs/<id>/stop")
def stop(id: str) -> Response:
    jobs.cancel(services().store, tenant(), _job(id)["id"], now())
    return go(f"/dead-letters/jobs/{id}", "It stops. What was done stays done.", "warn")


def _job(id: str) -> dict[str, Any]:
    found = services().store.get(tenant(), "job", id)
    if found is None or found.body["type"] != dead_letters.JOB:
        abort(404)
    return dict(found.body)


def _which(given: Any) -> Which:
    return Which.of({name: str(value)[:300] for name, value in given.items()})


def _asking(verb: str, which: Which, error: str | None = None) -> Response:
    s = services()
    found = dead_letters.count(s.store, s.inbox, tenant(), which)
    total = found["events"] + found["actions"]
    if not total:
        return go(address("/dead-letters", **which.body()), "Nothing fits any more.", "warn")
    noun = counted(total, "dead letter")
    about = [f"{name.capitalize()}: {value}" for name, value in which.body().items()]
    return page(
        "confirm.html",
        status=422 if error else 200,
        title=f"{verb.capitalize()} {noun}",
        verb=f"{verb.capitalize()} {noun}",
        action=f"/dead-letters/{verb}",
        back=address("/dead-letters", **which.body()),
        means=[f"{found['events']:,} events and {found['actions']:,} actions.", *about, MEANS[verb]],
        fields=which.body(),
        kind="danger" if verb == "discard" else "primary",
        error=error,
    )
