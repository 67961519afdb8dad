"""The one gate of every request: the same-origin check, who is asking, and whether the table of rights lets them.

app.web.gate.identity finds out who asks, app.web.gate.roles says what takes which right; what neither allows is
refused.
"""

from __future__ import annotations

import hmac
import secrets as random
from datetime import timedelta
from typing import Any, cast
from urllib.parse import urlencode, urlsplit

from flask import Flask, Response, abort, current_app, g, redirect, request

from app.services import Services
from app.web import pages
from app.web.gate import headers, identity, limits, roles
from app.web.gate.identity import Caller
from app.web.gate.roles import Rights
from rules.ports import Refused, Secrets

SESSION_KEY = "web/session"  # the name of the signing key among the secrets
SAFE = ("GET", "HEAD", "OPTIONS")
NO_TOKEN = "Send `Authorization: Bearer <token>`; `python main.py token` prints the admin token in development."  # noqa: S105  a name or a sentence, not a secret
READ_ONLY = "Signalbox is read-only just now: nothing can be changed. Webhooks, runs and actions go on."


def install(flask: Flask, services: Services) -> None:
    production = services.settings.environment == "production"
    flask.secret_key = _signing_key(services.secrets)
    flask.config.update(
        SESSION_COOKIE_NAME="signalbox",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=production,
        PERMANENT_SESSION_LIFETIME=timedelta(hours=12),
    )
    limits.install(flask)
    flask.extensions["rights"] = dict(roles.RULES)
    flask.before_request(lambda: guard(services))
    flask.context_processor(_frame)
    headers.install(flask, production)


def guard(services: Services) -> Response | None:
    """Let the request pass (None) with `g.wanted`, `g.caller`, `g.actor`, `g.roles` and `g.rights` set, or say what
    stops it."""
    if request.method not in SAFE and not same_origin():
        abort(403, "This form was sent from another site, so nothing was done. Open the page here and send it again.")
    wanted = g.wanted = roles.needed(table(), request.method, request.endpoint, request.view_args or {})
    if wanted == ("open",):
        limits.for_strangers()
    if wanted == ("machine",) or request.endpoint == "static" or request.path == "/favicon.ico":
        _set(None)
        return None
    try:
        _set(identity.caller(services, pages.now()))
    except Refused as error:
        _set(None)
        return None if roles.is_free(wanted) else pages.problem(403, "You may not come in", str(error))
    if roles.is_free(wanted):
        return None
    if g.caller is None:
        return _stranger()
    return refusal(wanted) if request.endpoint else None


def refusal(wanted: Rights | None) -> Response | None:
    """Why this caller may not do what takes one of these rights; None when he may."""
    if not roles.is_allowed(g.rights, wanted):
        return pages.problem(403, "Not allowed", _explained(wanted))
    if roles.changes(request.method, request.endpoint, wanted) and pages.services().settings.read_only:
        return pages.problem(403, "Read-only", READ_ONLY)
    return None


def require(wanted: Rights) -> None:
    """For views in which the right depends on what was sent. Aborts with 403."""
    if not roles.is_allowed(g.rights, wanted):
        abort(403, _explained(wanted))


def require_changes() -> None:
    """For views that go on in read-only mode, where what was sent is a change all the same. Aborts with 403."""
    if pages.services().settings.read_only:
        abort(403, READ_ONLY)


def table() -> roles.Table:
    return cast(roles.Table, current_app.extensions["rights"])


def _set(caller: Caller | None) -> None:
    g.caller = caller
    g.actor = caller.actor if caller else None
    g.roles = caller.roles if caller else frozenset()
    g.rights = caller.rights if caller else frozenset()


def _stranger() -> Response:
    if identity.is_api(request.path):
        answer = pages.problem(401, "Send the token", NO_TOKEN)
        answer.headers["WWW-Authenticate"] = 'Bearer realm="signalbox"'
        return answer
    if request.headers.get("HX-Request") == "true":  # a part of a page: the whole page has to go
        return Response(status=401, headers={"HX-Redirect": "/sign-in"})
    if request.method not in SAFE:
        return pages.problem(401, "Sign in first", "Sign in first: your session has ended, or you never had one.")
    query = "?" + request.query_string.decode() if request.query_string else ""
    return redirect("/sign-in?" + urlencode({"next": request.path + query}), 303)  # type: ignore[return-value]


def _explained(wanted: Rights | None) -> str:
    if wanted is None:
        return "Nobody has been given the right to this address."
    what = " or ".join(roles.SAYS[right] for right in wanted if right in roles.SAYS)
    own = ", ".join(sorted(g.roles)) or "no role"
    who = " or ".join(roles.holders(wanted))
    return f"This takes the right to {what}: the role {who}. {g.actor} has {own}. An administrator gives roles."


def same_origin() -> bool:
    """Browsers name where a request comes from; a client that is no browser names nothing and carries no cookie."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("Origin")
    return origin is None or urlsplit(origin).netloc == request.host


def same(one: str, other: str) -> bool:
    """Compared in a time that tells nothing."""
    return hmac.compare_digest(one.encode(), other.encode())


def _frame() -> dict[str, Any]:
    """What templates ask about the caller."""
    return {
        "may": lambda right: right in g.get("rights", ()),
        "caller": lambda: g.get("caller"),
        "read_only": lambda: pages.services().settings.read_only,
    }


def safe_target(target: str) -> str:
    """A path of this site; anything else becomes the first page."""
    good = target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable()
    return target if good else "/"


def _signing_key(secrets: Secrets) -> str:
    """Kept among the secrets, so sessions survive a restart and are shared by processes."""
    key = secrets.get(SESSION_KEY)
    if key is None:
        key = random.token_hex(32)
        secrets.put(SESSION_KEY, key)
    return key
