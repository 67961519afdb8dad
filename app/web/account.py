"""My account: who I am here, what I may do, my password, my sessions and the tokens that I made."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flask import Blueprint, Response, abort, current_app, g, request

from app.access import api_tokens, attempts, members, sessions
from app.access.members import Member
from app.web.gate import identity, roles
from app.web.pages import actor, go, now, page, services
from rules.rule import RuleError

blueprint = Blueprint("account", __name__)
Row = dict[str, Any]


@blueprint.get("/account")
def look() -> Response:
    return _look({})


@blueprint.post("/account/password")
def set_password() -> Response:
    """One's own, with the one before; every other session ends."""
    s, me = services(), _me()
    if not me.password or g.caller.way != "session":
        abort(409, "You sign in without a password. An administrator can set one for you.")
    attempt = attempts.begin(
        s.store, str(current_app.secret_key), now(), account=me.email, address=identity.address(s.settings)
    )
    if isinstance(attempt, timedelta):
        return _look(
            {"current": f"Too many tries. Try again in {-(-int(attempt.total_seconds()) // 60)} minutes."}, 429
        )
    if not s.passwords.holds(me.password, request.form.get("current", "")[: members.LONGEST + 1]):
        return _look({"current": "That is not your password."}, 422)
    attempts.forgive(s.store, attempt)
    try:
        members.set_password(
            s.store, s.passwords, me.id, request.form.get("password", ""), actor(), now(), g.caller.session
        )
    except RuleError as error:
        return _look({one.path: one.message for one in error.problems}, 422)
    return go("/account", "Your password is changed. Every other session of yours has ended.")


@blueprint.post("/account/sessions")
def end_sessions() -> Response:
    members.end_sessions(services().store, _me().id, actor(), now(), keep=g.caller.session)
    return go("/account", "Every other session of yours has ended.")


def _me() -> Member:
    if not g.caller.member:
        abort(409, "You are no member here, so there is no account to change.")
    return members.read(services().store, g.caller.member)


def _look(wrong: Row, status: int = 200) -> Response:
    store, caller = services().store, g.caller
    me = _me() if caller.member else None
    lasting = sessions.of_member(store, me.id, now()) if me else []
    return page(
        "account.html",
        status=status,
        me=me.shown() if me else None,
        asker=caller,  # `caller` is a word of Jinja
        rights=[roles.SAYS[right] for right in roles.RIGHTS if right in caller.rights],
        sessions=[{**session.shown(), "own": session.id == caller.session} for session in lasting],
        tokens=[one.shown(now()) for one in api_tokens.every(store) if one.made_by == caller.actor] if me else [],
        idle=sessions.IDLE,
        longest=sessions.LONGEST,
        wrong=wrong,
    )
