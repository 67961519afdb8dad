"""What every page needs: services, tenant, actor, rendering of a page or of one block of it, and errors as answers."""

from __future__ import annotations

import gzip
import hashlib
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from flask import Flask, Response, current_app, flash, g, jsonify, make_response, redirect, render_template, request
from flask_htmx import HTMX
from werkzeug.exceptions import HTTPException

from app import approvals, browse, operate
from app.services import Services
from app.web.gate import offered
from rules.kinds import SYSTEM
from rules.ports import Conflict, Refused, RefusedQuery, Unavailable
from rules.rule import RuleError
from rules.steps import NotPossible

DEFAULT_TENANT = "default/test"
OWN = "default/"
YEAR = 365 * 86400
SQUEEZED = ("text/html", "text/css", "text/javascript", "application/javascript", "application/json", "image/svg+xml")

htmx = HTMX()


def install(flask: Flask) -> None:
    htmx.init_app(flask)
    flask.context_processor(_frame)
    flask.after_request(_remember_tenant)
    flask.after_request(_squeeze)
    flask.register_error_handler(RuleError, _rule_error)
    flask.register_error_handler(Conflict, lambda error: problem(409, "Someone else was here first", str(error)))
    flask.register_error_handler(NotPossible, lambda error: problem(409, "Not just now", str(error)))
    flask.register_error_handler(Refused, lambda error: problem(400, "That cannot be accepted", str(error)))
    flask.register_error_handler(RefusedQuery, lambda error: problem(400, "No such page of this list", str(error)))
    flask.register_error_handler(LookupError, _lookup)
    flask.register_error_handler(Unavailable, _unavailable)
    flask.register_error_handler(HTTPException, _http_error)
    flask.register_error_handler(Exception, _surprise)


# ---- what a view asks for -------------------------------------------------------------------------------------------
def services() -> Services:
    return cast(Services, current_app.extensions["services"])


def now() -> datetime:
    """The one moment that this request calls now."""
    if "now" not in g:
        g.now = services().clock.now()
    return cast(datetime, g.now)


def actor() -> str:
    """Who is asking, for the audit log."""
    return cast(str, g.actor)


def is_dry() -> bool:
    """Whether this is a dry run, in which nothing is sent."""
    if "is_dry" not in g:
        g.is_dry = services().rulesets.is_dry(services().store, now())
    return cast(bool, g.is_dry)


def tenants() -> list[str]:
    """Every tenant that has been heard of: our own account before connected ones, so that what a request without
    `?tenant=` means never moves to an account that has just begun to send events; the live ones first."""
    if g.get("calm"):
        return [DEFAULT_TENANT]
    if "tenants" not in g:
        found = services().store.find(SYSTEM, "tenant", order="created_at")
        names = [document.id for document in found.items] or [DEFAULT_TENANT]
        g.tenants = sorted(names, key=lambda name: (not name.startswith(OWN), not name.endswith("/live"), name))
    return cast("list[str]", g.tenants)


def tenant() -> str:
    """The tenant of this request: `?tenant=`, else the last one chosen, else the only or first one.
    One that does not exist is a 404 when it was asked for, so a mistyped address never shows another's data."""
    if "tenant" not in g:
        asked = request.args.get("tenant")
        remembered = request.cookies.get("tenant")
        usual = remembered if remembered in tenants() else tenants()[0]
        g.tenant = asked if asked in tenants() else usual
        if asked and asked != g.tenant and not g.get("calm"):
            raise LookupError(f"There is no tenant {asked!r}.")
    return cast(str, g.tenant)


# ---- answers --------------------------------------------------------------------------------------------------------
def page(template: str, block: str | None = None, status: int = 200, **context: Any) -> Response:
    """The page; for an htmx request that names a block, only that block of the same template, so they cannot drift."""
    if block and wants_fragment():
        text = fragment(template, block, **context)
    else:
        text = render_template(template, **context)
    response = make_response(offered.fitting(text, services().settings.read_only), status)
    response.vary.add("HX-Request")
    return response


def fragment(template: str, block: str, **context: Any) -> str:
    """One block of a template as text. Macros have to be imported inside the block."""
    found = current_app.jinja_env.get_template(template)
    current_app.update_template_context(context)
    return "".join(found.blocks[block](found.new_context(context)))


def wants_fragment() -> bool:
    return bool(htmx) and not htmx.boosted and not htmx.history_restore_request


def go(location: str, said: str = "", tone: str = "good") -> Response:
    """After a POST: look at `location`, which says what was done. tone: good, warn or bad."""
    if said:
        flash(said, tone)
    if wants_fragment():
        return Response(status=204, headers={"HX-Redirect": location})
    return cast(Response, redirect(location, 303))


def problem(status: int, title: str, detail: str, **more: Any) -> Response:
    """A refusal: RFC 9457 problem+json for the API and webhooks, a calm page for people."""
    if request.path.startswith(("/api/", "/webhooks/", "/pubsub/", "/tasks/")) or _prefers_json():
        answer = jsonify({"type": "about:blank", "title": title, "status": status, "detail": detail, **more})
        answer.content_type = "application/problem+json"
        answer.status_code = status
        return answer
    g.calm = True  # the page about an error asks the store nothing
    block = "problem" if wants_fragment() else None
    return page("problem.html", block, status, title=title, detail=detail, status_code=status, **more)


def _prefers_json() -> bool:
    return request.accept_mimetypes.best_match(["text/html", "application/json"], "text/html") == "application/json"


# ---- errors become answers, once ------------------------------------------------------------------------------------
def _rule_error(error: RuleError) -> Response:
    problems = [found.body() for found in error.problems]
    return problem(422, "The rule has problems", "; ".join(str(p["message"]) for p in problems), problems=problems)


def _lookup(error: LookupError) -> Response:
    if isinstance(error, KeyError | IndexError):  # a slip of ours, not a missing page
        return _surprise(error)
    return problem(404, "Not here", str(error) or "There is nothing at this address.")


def _unavailable(error: Unavailable) -> Response:
    answer = problem(503, "Not available just now", "The store did not answer. Nothing was changed; try again shortly.")
    answer.headers["Retry-After"] = "5"
    return answer


WORDS = {
    401: ("Sign in first", ""),
    403: ("Not allowed", ""),
    404: ("Not here", "There is nothing at this address. The find box takes any id: event, invoice, customer, run."),
    405: ("Not that way", "This address does not answer that method."),
    413: ("Too large", "What was sent is larger than this page accepts."),
}


def _http_error(error: HTTPException) -> Response:
    if error.code is None or error.code < 400:
        return cast(Response, error.get_response())
    title, detail = WORDS.get(error.code, (error.name, ""))
    own = error.description or ""
    default = type(error).description or ""
    return problem(error.code, title, own if own and own != default else detail or own)


def _surprise(error: Exception) -> Response:
    current_app.logger.exception("page.failed", exc_info=error)
    return problem(500, "Something went wrong here", "It was written to the log. Nothing you entered was half-saved.")


# ---- the frame of every page ----------------------------------------------------------------------------------------
def _frame() -> dict[str, Any]:
    """What base.html needs. Functions, so that a fragment which does not use them costs nothing."""
    return {
        "this_tenant": tenant,
        "all_tenants": tenants,
        "this_moment": now,
        "who": lambda: g.get("actor"),
        "signed_in": lambda: bool(g.get("actor")) and g.actor != "local operator",
        "asset": asset,
        "needs_you_count": needs_you_count,
        "is_dry": lambda: not g.get("calm") and is_dry(),
        "emergencies": emergencies,
        "stopped": lambda: not g.get("calm") and operate.switches(services().store, tenant())["all"],
    }


def emergencies() -> list[dict[str, Any]]:
    """What one alone did and no second person has acknowledged yet: told on every page."""
    if g.get("calm"):
        return []
    found = approvals.proposals(services().store, tenant(), "emergency", limit=3)
    return cast("list[dict[str, Any]]", found["items"])


def needs_you_count() -> int:
    """How many things wait for a person."""
    return browse.waiting(services().store, services().inbox, tenant())


def asset(name: str) -> str:
    """The address of a static file; its content is part of it, so browsers may keep it for ever."""
    return f"/static/{name}?v={_digest(str(current_app.static_folder), name)}"


@lru_cache(maxsize=64)
def _digest(folder: str, name: str) -> str:
    return hashlib.sha256(Path(folder, name).read_bytes()).hexdigest()[:12]


def _remember_tenant(response: Response) -> Response:
    asked = request.args.get("tenant")
    if asked and g.get("tenant") == asked and response.status_code < 400:
        secure = not services().settings.development  # TLS may end before us
        response.set_cookie("tenant", asked, max_age=YEAR, httponly=True, samesite="Lax", secure=secure)
    if request.path.startswith("/static/") and request.args.get("v") and response.status_code == 200:
        response.headers["Cache-Control"] = f"public, max-age={YEAR}, immutable"
    return response


def _squeeze(response: Response) -> Response:
    """gzip of text, so that the first page stays small over the wire."""
    response.vary.add("Accept-Encoding")
    takes = "gzip" in request.headers.get("Accept-Encoding", "")
    plain = response.status_code == 200 and not response.is_streamed and "Content-Encoding" not in response.headers
    if response.direct_passthrough and response.mimetype in SQUEEZED and takes and request.method == "GET":
        response.direct_passthrough = False  # a static file: read it, so that it can be squeezed
        plain = response.status_code == 200
    if not (takes and plain and response.mimetype in SQUEEZED):
        return response
    body = response.get_data()
    if len(body) > 1000:
        response.set_data(_zipped(body) if request.path.startswith("/static/") else gzip.compress(body, 5))
        response.headers["Content-Encoding"] = "gzip"
        response.headers.pop("ETag", None)
    return response


@lru_cache(maxsize=32)
def _zipped(body: bytes) -> bytes:
    return gzip.compress(body, 9)
