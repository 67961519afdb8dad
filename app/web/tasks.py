"""What Google calls: Pub/Sub pushes an event, Cloud Scheduler asks for what is due. Both show an identity token."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus

from flask import Blueprint, Response, jsonify, request

from app import logs
from app.handle import handle
from app.services import Services, job_types
from app.web.pages import problem, services
from app.worker import Work
from app.worker import tick as all_that_is_due
from rules.ports import Refused, Unavailable

blueprint = Blueprint("tasks", __name__)
AGAIN = 10  # seconds


@blueprint.post("/pubsub/push")
def push() -> Response:
    """One message of a push subscription: 204 acknowledges it, anything else brings it again."""
    s = services()
    if (refused := _refused(s)) is not None:
        return refused
    take = getattr(s.inbox, "pushed", None)
    if take is None:
        return _problem(404, "Nothing is pushed here: this installation keeps its events in SQLite.")
    now = s.clock.now()
    try:
        handler = partial(handle, store=s.store, rulesets=s.rulesets, tracer=s.tracer, now=now)
        settled = take(handler, request.get_json(silent=True))
    except Refused as error:
        return _problem(400, str(error))
    except Unavailable as error:
        logs.failed("push.unavailable", error)
        return _problem(503, "It could not be handled just now; push it again.")
    return Response(status=204) if settled else _problem(503, "It could not be handled; push it again.")


@blueprint.post("/tasks/tick")
def tick() -> Response:
    """Do what is due: for schedulers, where no worker runs. How much of each."""
    s = services()
    if (refused := _refused(s)) is not None:
        return refused
    try:
        return jsonify(all_that_is_due(Work(s, job_types(s)), s.clock.now()))
    except Unavailable as error:
        logs.failed("tick.unavailable", error)
        return _problem(503, "Not everything could be done just now; the next tick goes on.")


def _refused(s: Services) -> Response | None:
    """Why this caller may not call; None when it may."""
    if s.callers is None:
        return _problem(403, "No service account may call here: name it in SIGNALBOX_CALLERS.")
    base = s.settings.public_url or request.host_url.rstrip("/")
    try:
        s.callers.check(request.headers.get("Authorization", ""), base + request.path)
    except Refused as error:
        return _problem(403, str(error))
    except Unavailable as error:
        logs.failed("caller.unknown", error)
        return _problem(503, "Who calls could not be checked just now.")
    return None


def _problem(status: int, detail: str) -> Response:
    answer = problem(status, HTTPStatus(status).phrase, detail)
    if status == 503:
        answer.headers["Retry-After"] = str(AGAIN)
    return answer
