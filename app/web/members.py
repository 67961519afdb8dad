"""Members: who may come in and what each may do, and the end of their sessions. Of the whole installation."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, g, request

from app import browse
from app.access import members, sessions
from app.access.members import ROLES
from app.web.gate import roles
from app.web.pages import actor, go, now, page, services
from rules.kinds import SYSTEM
from rules.ports import Conflict
from rules.rule import RuleError

blueprint = Blueprint("members", __name__)
Row = dict[str, Any]


@blueprint.get("/settings/members")
def many() -> Response:
    return _many({}, {})


@blueprint.post("/settings/members")
def add() -> Response:
    given = _given()
    try:
        made = members.add(services().store, services().passwords, given, actor(), now())
    except RuleError as error:
        return _many(given, {one.path: one.message for one in error.problems}, 422)
    except Conflict as error:
        return _many(given, {"email": str(error)}, 409)
    return go("/settings/members", f"{made.email} may come in.")


@blueprint.get("/settings/members/<id>")
def one(id: str) -> Response:
    return _one(id)


@blueprint.post("/settings/members/<id>")
def change(id: str) -> Response:
    given = {**_given(), "state": "active" if request.form.get("active") else "disabled"}
    why, expect = _why(), request.form.get("expect") or None
    try:
        found = members.change(services().store, id, given, actor(), now(), why, expect)
    except RuleError as error:
        return _one(id, {one.path: one.message for one in error.problems}, given, 422)
    except Conflict as error:
        return _one(id, {"expect": str(error)}, given, 409)
    return go("/settings/members", f"{found.email}: saved, and in force at once.")


@blueprint.post("/settings/members/<id>/password")
def set_password(id: str) -> Response:
    """A password that an administrator hands over; the member chooses another one then."""
    try:
        members.set_password(
            services().store, services().passwords, id, request.form.get("password", ""), actor(), now(), _own_session()
        )
    except RuleError as error:
        return _one(id, {one.path: one.message for one in error.problems}, status=422)
    return go(f"/settings/members/{id}", "The password is set, and every session with the old one has ended.")


@blueprint.post("/settings/members/<id>/sessions")
def end_sessions(id: str) -> Response:
    found = members.end_sessions(services().store, id, actor(), now(), _why())
    return go(f"/settings/members/{id}", f"{found.email} is signed out everywhere.", "warn")


@blueprint.post("/settings/members/<id>/issuers")
def forget_issuers(id: str) -> Response:
    found = members.forget_issuers(services().store, id, actor(), now(), _why())
    return go(f"/settings/members/{id}", f"The next sign-in as {found.email} decides which account that is.", "warn")


def _own_session() -> str:
    return g.caller.session if g.caller else ""


def _given() -> Row:
    found = {name: request.form.get(name, "") for name in ("email", "name", "password") if name in request.form}
    return {**found, "roles": request.form.getlist("roles")}


def _why() -> str:
    return request.form.get("reason", "").strip()[:500]


def _many(given: Row, wrong: Row, status: int = 200) -> Response:
    store = services().store
    log = browse.audit(store, SYSTEM, after=request.args.get("after") or None, limit=30)
    return page(
        "members.html",
        status=status,
        rows=[member.shown() for member in members.every(store)],
        given=given,
        wrong=wrong,
        log=log,
        **_words(),
    )


def _one(id: str, wrong: Row | None = None, given: Row | None = None, status: int = 200) -> Response:
    member = members.read(services().store, id)
    lasting = sessions.of_member(services().store, id, now())
    return page(
        "member.html",
        status=status,
        member=member.shown(),
        version=member.version,
        given={**member.shown(), **(given or {})},
        wrong=wrong or {},
        sessions=[session.shown() for session in lasting],
        **_words(),
    )


def _words() -> Row:
    """What each role means, in a sentence; and the ways in that there are."""
    means = [(role, "; ".join(_says(role))) for role in ROLES]
    s = services()
    ways = [s.openid.name] if s.openid else []
    return {"roles": means, "ways": [*ways, "Identity-Aware Proxy"] if s.front else ways}


def _says(role: str) -> list[str]:
    if role == "admin":
        return ["everything, and " + roles.SAYS["admin"]]
    more = [roles.SAYS[right] for right in roles.RIGHTS if right in roles.OF_ROLE[role] and right != "read"]
    return more or [roles.SAYS["read"]]
