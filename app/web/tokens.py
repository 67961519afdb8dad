"""API tokens on the settings: made for one purpose, shown once, revoked at once."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request

from app.access import api_tokens
from app.web.gate import roles
from app.web.pages import actor, go, now, page, services
from rules.rule import RuleError

blueprint = Blueprint("tokens", __name__)
Row = dict[str, Any]


@blueprint.get("/settings/tokens")
def many() -> Response:
    return _many({"days": api_tokens.USUAL, "rights": ["read"]}, {})


@blueprint.post("/settings/tokens")
def make() -> Response:
    days = request.form.get("days", "").strip()
    given = {
        "name": request.form.get("name", "").strip(),
        "rights": request.form.getlist("rights"),
        "days": int(days) if days.isascii() and days.isdecimal() and len(days) < 6 else days,
    }
    try:
        made, text = api_tokens.make(services().store, given, actor(), now())
    except RuleError as error:
        return _many(given, {one.path: one.message for one in error.problems}, 422)
    return page("token_made.html", token=made.shown(now()), text=text)


@blueprint.get("/settings/tokens/<id>/revoke")
def ask_revoke(id: str) -> Response:
    return _asking(id)


@blueprint.post("/settings/tokens/<id>/revoke")
def revoke(id: str) -> Response:
    why = request.form.get("reason", "").strip()[:500]
    if not why:
        return _asking(id, "A few words are enough.", 422)
    found = api_tokens.revoke(services().store, id, actor(), now(), why)
    return go("/settings/tokens", f"The token {found.name} is worth nothing any more.", "warn")


def _asking(id: str, error: str | None = None, status: int = 200) -> Response:
    found = next((one for one in api_tokens.every(services().store) if one.id == id), None)
    if found is None:
        raise LookupError("There is no such token.")
    return page(
        "confirm.html",
        status=status,
        title=f"Revoke the token {found.name}?",
        verb="Revoke it",
        kind="danger",
        means=["What uses it is refused from the next request on.", "It stays on the list, and cannot come back."],
        action=f"/settings/tokens/{id}/revoke",
        back="/settings/tokens",
        error=error,
    )


def _many(given: Row, wrong: Row, status: int = 200) -> Response:
    rows = [token.shown(now()) for token in api_tokens.every(services().store)]
    says = [(right, roles.SAYS[right]) for right in roles.RIGHTS]
    return page("tokens.html", status=status, rows=rows, given=given, wrong=wrong, rights=says)
