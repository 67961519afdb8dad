"""Signing in: with a password, at an issuer of OpenID Connect, or with the admin token; out again; and set-up.

What is refused is refused in the same words and after the same work, whoever was asked for.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, current_app, g, redirect, request, session

from app import logs
from app.access import attempts, members, sessions
from app.access.attempts import Attempt
from app.web import pages
from app.web.gate import access, identity
from app.web.gate.roles import EVERY_ROLE
from app.web.pages import go, now, page, services
from rules.event import instant, iso
from rules.ports import Begun, Conflict, OpenId, Refused, Unavailable
from rules.rule import RuleError
from rules.words import counted

blueprint = Blueprint("signin", __name__)
CALLBACK = "/sign-in/openid/back"
WAITING = timedelta(minutes=10)  # for the issuer to send somebody back
OPENID = "openid"  # in the signed cookie, while somebody is at the issuer
WRONG = "That e-mail address and password do not belong together."
WRONG_TOKEN = "That is not the admin token of this Signalbox."  # noqa: S105  a name or a sentence, not a secret


@blueprint.get("/sign-in")
def form() -> Response:
    return _form(request.args.get("next", "/"))


@blueprint.post("/sign-in")
def sign_in() -> Response:
    """With the admin token when there is one in the form, else with e-mail address and password."""
    target = access.safe_target(request.form.get("next", "/"))
    return _with_token(target) if request.form.get("token") else _with_password(target)


def _with_password(target: str) -> Response:
    email, password = members.folded(request.form.get("email", ""))[:254], request.form.get("password", "")
    attempt = _counted(account=email)
    if isinstance(attempt, timedelta):
        return _too_many(target, attempt)
    found = members.with_password(services().store, services().passwords, email, password)
    if found is None:
        return _form(target, {"password": WRONG}, 401)
    attempts.forgive(services().store, attempt)
    return _in(sessions.begin(services().store, found, "password", now()), target)


def _with_token(target: str) -> Response:
    settings = services().settings
    attempt = _counted()
    if isinstance(attempt, timedelta):
        return _too_many(target, attempt)
    if not identity.token_matches(settings, request.form.get("token", "").strip()):
        return _form(target, {"token": WRONG_TOKEN}, 401)
    attempts.forgive(services().store, attempt)
    mark = identity.mark(settings)
    return _in(
        sessions.begin_with_token(services().store, identity.ADMIN_TOKEN, sorted(EVERY_ROLE), mark, now()), target
    )


@blueprint.post("/sign-out")
def sign_out() -> Response:
    secret = session.get(identity.SECRET)
    found = sessions.find(services().store, secret, now()) if isinstance(secret, str) else None
    if found:
        sessions.end(services().store, found, now())
    session.clear()
    if g.caller and g.caller.way == "proxy":
        return go("/", "Identity-Aware Proxy signs you in with every request: sign out at Google.", "warn")
    return go("/sign-in", "You are signed out.")


# ---- OpenID Connect -------------------------------------------------------------------------------------------------
@blueprint.get("/sign-in/openid")
def begin_openid() -> Response:
    """By a link: browsers hold the redirect of a form to `form-action`, which names this site alone."""
    try:
        begun = _issuer().begin(_callback())
    except Unavailable as error:
        return _unreachable(error)
    session[OPENID] = {
        "state": begun.state,
        "nonce": begun.nonce,
        "verifier": begun.verifier,
        "next": access.safe_target(request.args.get("next", "/")),
        "at": iso(now()),
    }
    return redirect(begun.url, 303)  # type: ignore[return-value]


@blueprint.get(CALLBACK)
def finish_openid() -> Response:
    """Back from the issuer: what this browser took along is good once, for ten minutes."""
    begun = session.pop(OPENID, None)
    state, code = request.args.get("state", ""), request.args.get("code", "")
    fits = begun is not None and access.same(state, begun["state"]) and now() - instant(begun["at"]) < WAITING
    if not fits:
        return _form("/", {"openid": "This sign-in was not begun here, or too long ago. Begin it again."}, 400)
    if not code:
        return _form(begun["next"], {"openid": f"{_issuer().name} did not sign you in. Try again."}, 401)
    attempt = _counted()
    if isinstance(attempt, timedelta):
        return _too_many(begun["next"], attempt)
    return _come_back(begun, code, attempt)


def _come_back(begun: dict[str, str], code: str, attempt: Attempt) -> Response:
    went = Begun("", begun["state"], begun["nonce"], begun["verifier"])
    try:
        who = _issuer().finish(_callback(), code, went, now())
        member = members.of_identity(services().store, who)
        secret = sessions.begin(services().store, member, "openid", now(), who)
    except Refused as error:
        logs.line("signin.refused", way="openid", why=type(error).__name__)
        return _form(begun["next"], {"openid": str(error)}, 403)
    except Unavailable as error:
        return _unreachable(error)
    attempts.forgive(services().store, attempt)
    return _in(secret, begun["next"])


def _issuer() -> OpenId:
    found = services().openid
    if found is None:
        raise LookupError("Nobody signs in by OpenID Connect here: SIGNALBOX_OIDC_ISSUER is not set.")
    return found


def _callback() -> str:
    return (services().settings.public_url or request.host_url.rstrip("/")) + CALLBACK


def _unreachable(error: Unavailable) -> Response:
    logs.failed("signin.unavailable", error)
    return _form("/", {"openid": f"{_issuer().name} does not answer just now. Try again in a minute."}, 503)


# ---- the first set-up -----------------------------------------------------------------------------------------------
@blueprint.get("/set-up")
def ask_set_up() -> Response:
    if not members.is_empty(services().store):
        return go("/sign-in", "Signalbox is set up: sign in.")
    return _set_up({}, {})


@blueprint.post("/set-up")
def set_up() -> Response:
    """The first member, an administrator, made by whoever has the admin token, or sits at this machine."""
    s, given = services(), request.form
    if s.settings.read_only:
        return pages.problem(403, "Read-only", access.READ_ONLY)
    if not members.is_empty(s.store):
        return go("/sign-in", "Signalbox is set up: sign in.")
    if not (g.caller and "admin" in g.rights):
        attempt = _counted()
        if isinstance(attempt, timedelta):
            return _too_many("/", attempt)
        if not identity.token_matches(s.settings, given.get("token", "").strip()):
            return _set_up(given, {"token": WRONG_TOKEN}, 401)
        attempts.forgive(s.store, attempt)
    if not given.get("password"):
        return _set_up(given, {"password": "Choose a password."}, 422)
    asked = {**{name: given.get(name, "") for name in ("email", "name", "password")}, "roles": ["admin"]}
    try:
        made = members.add(s.store, s.passwords, asked, "set-up", now(), first=True)
    except RuleError as error:
        return _set_up(given, {one.path: one.message for one in error.problems}, 422)
    except Conflict as error:
        return go("/sign-in", str(error), "warn")
    return _in(sessions.begin(s.store, made, "password", now()), "/settings/members")


def _set_up(given: Any, wrong: dict[str, str], status: int = 200) -> Response:
    trusted = bool(g.caller and "admin" in g.rights)
    return page("set_up.html", status=status, given=given, wrong=wrong, trusted=trusted)


# ---- what they share ------------------------------------------------------------------------------------------------
def _in(secret: str, target: str) -> Response:
    """A new session: nothing of the one before it is left, so nobody can have put it there."""
    session.clear()
    session.permanent = True
    session[identity.SECRET] = secret
    return redirect(target, 303)  # type: ignore[return-value]


def _counted(**more: str) -> Attempt | timedelta:
    s = services()
    pepper = str(current_app.secret_key)
    return attempts.begin(s.store, pepper, now(), address=identity.address(s.settings), **more)


def _too_many(target: str, wait: timedelta) -> Response:
    minutes = max(1, -(-int(wait.total_seconds()) // 60))
    logs.line("signin.limited", minutes=minutes)
    said = f"Too many tries. Try again in {counted(minutes, 'minute')}."
    answer = _form(target, {"limit": said}, 429)
    answer.headers["Retry-After"] = str(max(1, int(wait.total_seconds())))
    return answer


def _form(target: str, wrong: dict[str, str] | None = None, status: int = 200) -> Response:
    s = services()
    return page(
        "sign_in.html",
        status=status,
        next=access.safe_target(target),
        has_token=bool(s.settings.admin_token),
        issuer=s.openid.name if s.openid else "",
        nobody=members.is_empty(s.store),
        wrong=wrong or {},
        email=request.form.get("email", ""),
        set_up="/set-up?" + urlencode({"next": access.safe_target(target)}),
    )
