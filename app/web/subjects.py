"""The settings' page of declared subjects: paths that rules may count by, and how far past events are filled in."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request

from app import declared
from app.web.pages import actor, go, now, page, services, tenant
from rules.model import RuleError
from rules.ports import Conflict

blueprint = Blueprint("subjects", __name__)
Row = dict[str, Any]
NEW = "new"


@blueprint.get("/settings/subjects/<name>")
def look(name: str) -> Response:
    if name == NEW:
        return _form({"name": "", "path": ""})
    return page("subject.html", "progress", name=name, subject=declared.one(services().store, tenant(), name), wrong={})


@blueprint.post("/settings/subjects/new")
def declare() -> Response:
    given = {part: request.form.get(part, "").strip() for part in ("name", "path")}
    ports = services()
    try:
        declared.declare(ports.store, ports.catalogue, tenant(), given["name"], given["path"], actor(), now())
    except RuleError as error:
        return _form(given, {one.path: _said(one.message, one.suggestion) for one in error.problems}, 422)
    except Conflict as error:
        return _form(given, {"path": str(error)}, 409)
    return go(f"/settings/subjects/{given['name']}", "New events are counted by it from now on.")


@blueprint.post("/settings/subjects/<name>/fill")
def fill_again(name: str) -> Response:
    declared.fill_again(services().store, tenant(), name, actor(), now())
    return go(f"/settings/subjects/{name}", "It begins again.")


@blueprint.get("/settings/subjects/<name>/withdraw")
def ask_withdraw(name: str) -> Response:
    return _confirm(name)


@blueprint.post("/settings/subjects/<name>/withdraw")
def withdraw(name: str) -> Response:
    why = request.form.get("reason", "").strip()[:2000]
    if not why:
        return _confirm(name, "A few words are enough.", 422)
    declared.withdraw(services().store, tenant(), name, actor(), why, now())
    return go("/settings#subjects", f"Nothing is counted by {name} any more.", "warn")


def _confirm(name: str, error: str | None = None, status: int = 200) -> Response:
    path = declared.one(services().store, tenant(), name)["path"]
    return page(
        "confirm.html",
        status=status,
        title=f"Stop counting by {name}?",
        verb="Take it back",
        kind="danger",
        means=[f"No rule can count by {path} until it is declared and filled in again."],
        action=f"/settings/subjects/{name}/withdraw",
        back=f"/settings/subjects/{name}",
        error=error,
    )


def _form(subject: Row, wrong: Row | None = None, status: int = 200) -> Response:
    return page("subject.html", "progress", status=status, name=NEW, subject=subject, wrong=wrong or {})


def _said(message: str, suggestion: str | None) -> str:
    return f"{message}; perhaps {suggestion}" if suggestion else message
