"""The settings' pages of scores: numbers about customers that come from outside, typed in or uploaded as a CSV file."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request

from app import knowing, scores
from app.web.addresses import cursor, pages
from app.web.pages import actor, go, now, page, services, tenant
from rules.model import RuleError

blueprint = Blueprint("scores", __name__)
Row = dict[str, Any]
NEW = "new"


@blueprint.get("/settings/scores/<name>")
def look(name: str) -> Response:
    if name == NEW:
        return _new({"name": "", "title": ""})
    return _score(name)


@blueprint.post("/settings/scores/new")
def declare() -> Response:
    given = {part: request.form.get(part, "").strip() for part in ("name", "title")}
    try:
        scores.declare(services().store, tenant(), given["name"], given["title"], actor(), now())
    except RuleError as error:
        return _new(given, {one.path: _said(one.message, one.suggestion) for one in error.problems}, 422)
    return go(f"/settings/scores/{given['name']}", f"Rules can read score.{given['name']} now.")


@blueprint.post("/settings/scores/<name>/values")
def set_values(name: str) -> Response:
    """Lines of `customer, value`, typed in or from a file of two columns or with a header."""
    text = request.form.get("values", "")
    file = request.files.get("file")
    if file is not None and file.filename:
        text = file.read().decode("utf-8-sig", errors="replace")
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return _score(name, "Write a customer and a value on a line, such as cus_123, 0.7.", text)
    if not lines[0].lower().replace(" ", "").startswith("customer,"):
        lines.insert(0, f"customer,{name}")
    try:
        rows = scores.read_csv(lines).get(name, [])
        if not rows:
            return _score(name, f"No column of it is called {name}.", text)
        count = scores.set_values(services().store, tenant(), name, rows, f"page: {actor()}", actor(), now())
    except RuleError as error:
        return _score(name, "; ".join(f"{one.path}: {one.message}" for one in error.problems[:5]), text)
    return go(f"/settings/scores/{name}", f"{count:,} {'value is' if count == 1 else 'values are'} set, from now on.")


@blueprint.get("/settings/scores/<name>/delete")
def ask_delete(name: str) -> Response:
    return _confirm(name)


@blueprint.post("/settings/scores/<name>/delete")
def delete(name: str) -> Response:
    why = request.form.get("reason", "").strip()[:2000]
    if not why:
        return _confirm(name, "A few words are enough.", 422)
    scores.delete(services().store, tenant(), name, actor(), why, now())
    return go("/settings#scores", f"The score {name} is gone.", "warn")


@blueprint.get("/customers/<id>/known")
def known(id: str) -> Response:
    rows = knowing.of_customer(services().store, tenant(), id, now())
    return page("customer_known.html", customer=id, rows=rows, moment=now())


def _new(score: Row, wrong: Row | None = None, status: int = 200) -> Response:
    return page("score.html", status=status, name=NEW, score=score, wrong=wrong or {}, error=None, typed="")


def _score(name: str, error: str | None = None, typed: str = "") -> Response:
    found = scores.score(services().store, tenant(), name, cursor())
    links = pages(f"/settings/scores/{name}", found["next"])
    status = 422 if error else 200
    return page("score.html", status=status, name=name, score=found, wrong={}, error=error, typed=typed, **links)


def _confirm(name: str, error: str | None = None, status: int = 200) -> Response:
    count = scores.score(services().store, tenant(), name, limit=1)["values"]
    return page(
        "confirm.html",
        status=status,
        title=f"Delete the score {name}?",
        verb="Delete the score",
        kind="danger",
        means=[f"The values of {count:,} customers are gone.", "To rules that read it, it is absent from then on."],
        action=f"/settings/scores/{name}/delete",
        back=f"/settings/scores/{name}",
        error=error,
    )


def _said(message: str, suggestion: str | None) -> str:
    return f"{message}; perhaps {suggestion}" if suggestion else message
