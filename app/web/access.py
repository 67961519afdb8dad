"""Who may come in: the same-origin check and sign-in. Denied unless listed here.

In development a request from this machine to a loopback name is the local operator's; everything else shows the
admin token, in a sign-in form (pages) or as a bearer (API).
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets as random
from datetime import timedelta
from urllib.parse import urlencode, urlsplit

from flask import Flask, Response, abort, g, redirect, request, session

from app.services import Services
from app.settings import Settings
from app.web import headers
from rules.ports import Secrets

SESSION_KEY = "web/session"  # the name of the signing key among the secrets
OPEN = (  # (method or *, path, whole path or prefix): these check for themselves, or have nothing to protect
    ("POST", "/webhooks/", "prefix"),
    ("POST", "/crm-inbox", "prefix"),
    ("POST", "/pubsub/push", "whole"),
    ("POST", "/tasks/tick", "whole"),
    ("GET", "/healthz", "whole"),
    ("GET", "/readyz", "whole"),
    ("GET", "/api/v1/openapi.json", "whole"),
    ("GET", "/static/", "prefix"),
    ("*", "/unsubscribe/", "prefix"),  # the link is signed
    ("GET", "/favicon.ico", "whole"),
    ("*", "/sign-in", "whole"),
    ("*", "/api/v1/", "prefix"),  # asks every caller for the bearer token itself (app.web.api)
)


def install(flask: Flask, services: Services) -> None:
    production = services.settings.environment == "production"
    flask.secret_key = _signing_key(services.secrets)
    flask.config.update(
        SESSION_COOKIE_NAME="signalbox",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=production,
        PERMANENT_SESSION_LIFETIME=timedelta(hours=12),
        MAX_CONTENT_LENGTH=8 * 1024 * 1024,
        MAX_FORM_MEMORY_SIZE=2 * 1024 * 1024,
        MAX_FORM_PARTS=5000,
    )
    flask.before_request(lambda: guard(services.settings))
    headers.install(flask, production)


def guard(settings: Settings) -> Response | None:
    """Let the request pass (None) with `g.actor` set, or say what stops it."""
    if request.method not in ("GET", "HEAD", "OPTIONS") and not same_origin():
        abort(403, "This form was sent from another site, so nothing was done. Open the page here and send it again.")
    g.actor = actor_of(settings)
    if g.actor or is_open(request.method, request.path):
        return None
    if request.headers.get("HX-Request") == "true":  # a part of a page: the whole page has to go
        return Response(status=401, headers={"HX-Redirect": "/sign-in"})
    if request.method != "GET":
        abort(401, "Sign in first.")
    query = "?" + request.query_string.decode() if request.query_string else ""
    return redirect("/sign-in?" + urlencode({"next": request.path + query}), 303)  # type: ignore[return-value]


def actor_of(settings: Settings) -> str | None:
    """The name that the audit log gets, or None for a stranger."""
    header = request.headers.get("Authorization", "")
    if header.startswith("Bearer ") and token_matches(settings, header.removeprefix("Bearer ").strip()):
        return "admin token"
    if settings.admin_token and hmac.compare_digest(str(session.get("token", "")), _digest(settings.admin_token)):
        return str(session.get("actor") or "admin")
    return "local operator" if _is_local(settings) else None


def is_open(method: str, path: str) -> bool:
    method = "GET" if method == "HEAD" else method
    return any(
        wanted in ("*", method) and (path == where or (how == "prefix" and path.startswith(where)))
        for wanted, where, how in OPEN
    )


def same_origin() -> bool:
    """Browsers name where a request comes from; a client that is no browser names nothing and carries no cookie."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("Origin")
    return origin is None or urlsplit(origin).netloc == request.host


def token_matches(settings: Settings, given: str) -> bool:
    return bool(settings.admin_token) and hmac.compare_digest(given.encode(), settings.admin_token.encode())


def sign_in(settings: Settings, name: str) -> None:
    session.clear()
    session.permanent = True
    session["token"] = _digest(settings.admin_token)  # a new admin token ends every session
    session["actor"] = name or "admin"


def safe_target(target: str) -> str:
    """A path of this site; anything else becomes the first page."""
    good = target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable()
    return target if good else "/"


def _is_local(settings: Settings) -> bool:
    """A loopback peer AND a loopback name: a name that was re-pointed at this machine (DNS rebinding) is a stranger."""
    if settings.environment != "development":
        return False
    return _is_loopback(request.remote_addr or "") and _is_loopback(urlsplit(f"//{request.host}").hostname or "")


def _is_loopback(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _signing_key(secrets: Secrets) -> str:
    """Kept among the secrets, so sessions survive a restart and are shared by processes."""
    key = secrets.get(SESSION_KEY)
    if key is None:
        key = random.token_hex(32)
        secrets.put(SESSION_KEY, key)
    return key


def _digest(token: str) -> str:
    return hashlib.sha256(f"signalbox session\n{token}".encode()).hexdigest()
