"""Quarantine: payloads that do not conform, by cause and one by one, and what a person makes of them."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, abort, request

from app import jobs
from app.receive import quarantine, quarantine_job
from app.receive.quarantine import Which
from app.services import keeper_of
from app.web.addresses import address, chosen, cursor, pages
from app.web.pages import actor, go, now, page, services, tenant
from rules.words import counted

blueprint = Blueprint("quarantine", __name__, url_prefix="/deliveries/quarantine")

STATES = ("waiting", "replayed", "discarded", "erased")
MEANS = {
    "replay": "Each is checked again as if Stripe had just sent it. What conforms goes on to the rules, under its own "
    "id, so nothing happens twice. What still does not conform stays here with what is wrong now.",
    "take": "Each goes on to the rules as it is, though its shape is not what the registry says. Choose this when the "
    "registry is wrong and not the payload. Conditions on the fields named under “What is wrong” may not hold.",
    "discard": "Each is given up for good, and its body is cleared from the vault. No rule ever sees it.",
}
CALLED = {"replay": "Replay", "take": "Take as it is", "discard": "Discard"}


@blueprint.get("")
def look() -> Response:
    s, mine, which = services(), tenant(), Which.of(request.args)
    state = chosen("state", STATES) or "waiting"
    found = quarantine.entries(s.store, mine, which, state, after=cursor())
    return page(
        "quarantine.html",
        "list",
        found=found,
        causes=quarantine.causes(s.store, mine, which) if state == "waiting" else [],
        filters=which,
        state=state,
        states=STATES,
        asking=lambda verb, **more: address(f"/deliveries/quarantine/all/{verb}", **{**which.body(), **more}),
        moment=now(),
        **pages("/deliveries/quarantine", found["next"], state=state, **which.body()),
    )


@blueprint.get("/one/<path:id>")
def one(id: str) -> Response:
    return page("quarantine_one.html", entry=quarantine.one(services().store, tenant(), id), moment=now())


# ---- one ------------------------------------------------------------------------------------------------------------
@blueprint.get("/<any(replay, take, discard):verb>/<path:id>")
def ask(verb: str, id: str) -> Response:
    return _asking_one(verb, id)


@blueprint.post("/<any(replay, take, discard):verb>/<path:id>")
def act(verb: str, id: str) -> Response:
    why = request.form.get("reason", "").strip()
    if not why:
        return _asking_one(verb, id, "Say why: it is kept in the audit log.")
    s, keeper = services(), keeper_of(services())
    if verb == "discard":
        quarantine.discard(keeper, tenant(), id, actor(), why, now())
        return go("/deliveries/quarantine", "It was given up, and its body was cleared.")
    found = quarantine.replay(keeper, s.bus, tenant(), id, actor(), why, now(), verb == "take")
    if found["state"] == "waiting":
        return go(f"/deliveries/quarantine/one/{id}", f"It still does not conform. {found['cause']}.", "warn")
    return go(f"/deliveries/quarantine/one/{id}", "It goes on to the rules.")


def _asking_one(verb: str, id: str, error: str | None = None) -> Response:
    entry = quarantine.one(services().store, tenant(), id)
    return page(
        "confirm.html",
        status=422 if error else 200,
        title=f"{CALLED[verb]}: {entry['id']}",
        verb=CALLED[verb],
        action=f"/deliveries/quarantine/{verb}/{id}",
        back=f"/deliveries/quarantine/one/{id}",
        means=[f"{entry['type']}: {entry['cause']}.", MEANS[verb]],
        fields={},
        kind="danger" if verb == "discard" else "primary",
        error=error,
    )


# ---- many -----------------------------------------------------------------------------------------------------------
@blueprint.get("/all/<any(replay, take, discard):verb>")
def ask_many(verb: str) -> Response:
    return _asking(verb, Which.of(request.args))


@blueprint.post("/all/<any(replay, take, discard):verb>")
def act_on_many(verb: str) -> Response:
    which, why = Which.of(request.form), request.form.get("reason", "").strip()
    if not why:
        return _asking(verb, which, "Say why: it is kept in the audit log.")
    done: quarantine_job.Verb = "discard" if verb == "discard" else "replay"
    begun = quarantine_job.start(services().store, tenant(), done, which, actor(), why, now(), verb == "take")
    return go(f"/deliveries/quarantine/jobs/{begun['id']}")


def _asking(verb: str, which: Which, error: str | None = None) -> Response:
    count = quarantine.count(services().store, tenant(), which)
    if not count:
        return go("/deliveries/quarantine", "Nothing fits any more.", "warn")
    noun = counted(count, "payload")
    about = [f"{name.capitalize()}: {value}" for name, value in which.body().items()]
    return page(
        "confirm.html",
        status=422 if error else 200,
        title=f"{CALLED[verb]}: {noun}",
        verb=f"{CALLED[verb]}: {noun}",
        action=f"/deliveries/quarantine/all/{verb}",
        back=address("/deliveries/quarantine", **which.body()),
        means=[*about, MEANS[verb]],
        fields=which.body(),
        kind="danger" if verb == "discard" else "primary",
        error=error,
    )


@blueprint.get("/jobs/<id>")
def progress(id: str) -> Response:
    return page("quarantine_job.html", "progress", job=_job(id))


@blueprint.post("/jobs/<id>/stop")
def stop(id: str) -> Response:
    jobs.cancel(services().store, tenant(), _job(id)["id"], now())
    return go(f"/deliveries/quarantine/jobs/{id}", "It stops. What was done stays done.", "warn")


def _job(id: str) -> dict[str, Any]:
    found = services().store.get(tenant(), "job", id)
    if found is None or found.body["type"] != quarantine_job.JOB:
        abort(404)
    return dict(found.body)
