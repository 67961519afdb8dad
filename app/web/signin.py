"""Signing in with the admin token, and out again."""

from __future__ import annotations

from flask import Blueprint, Response, redirect, request, session

from app.web import access
from app.web.pages import go, page, services

blueprint = Blueprint("signin", __name__)


@blueprint.get("/sign-in")
def form() -> Response:
    return _form(request.args.get("next", "/"))


@blueprint.post("/sign-in")
def sign_in() -> Response:
    settings = services().settings
    target = access.safe_target(request.form.get("next", "/"))
    if not access.token_matches(settings, request.form.get("token", "").strip()):
        return _form(target, "That is not the admin token of this Signalbox.", 401)
    access.sign_in(settings, request.form.get("name", "").strip()[:80])
    return redirect(target, 303)  # type: ignore[return-value]


@blueprint.post("/sign-out")
def sign_out() -> Response:
    session.clear()
    return go("/sign-in", "You are signed out.")


def _form(target: str, error: str | None = None, status: int = 200) -> Response:
    return page(
        "sign_in.html",
        status=status,
        next=access.safe_target(target),
        configured=bool(services().settings.admin_token),
        error=error,
        name=request.form.get("name", ""),
    )
