"""What a rule sends, step by step, exactly as it would go out, and a test of its e-mail to a member's address."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, request

from app import author
from app.access import members
from app.connections import trial
from app.connections.checks import ADDRESS
from app.inquire import step_previews
from app.web.pages import actor, go, is_dry, now, page, services, tenant
from rules.rule import RuleError

blueprint = Blueprint("sends", __name__)
MAIL = "mail.send"
NOT_A_MEMBER = "Write the address of a member: what nobody has approved goes to nobody else."


@blueprint.get("/rules/<id>/sends")
def look(id: str) -> Response:
    return _page(id)


@blueprint.post("/rules/<id>/sends/<step>/test")
def test(id: str, step: str) -> Response:
    """Send the step's e-mail to the address that was typed, which is kept nowhere."""
    to = request.form.get("to", "").strip()
    if not ADDRESS.fullmatch(to):
        return _page(id, {step: "Write one e-mail address."}, 422)
    if not (services().settings.development or members.may_come_in(services().store, to)):
        return _page(id, {step: NOT_A_MEMBER}, 422)
    found = next((one for one in _previews(id)["steps"] if one["name"] == step and one["action"] == MAIL), None)
    if found is None:
        raise LookupError(f"The rule has no e-mail in a step {step!r}.")
    s = services()
    outcome = trial.send_test_mail(s.store, s.connectors, tenant(), found["params"], to, actor(), now(), is_dry())
    return go(_address(id), f"Test e-mail: {outcome.message}", "good" if outcome.kind == "done" else "bad")


def _page(id: str, wrong: dict[str, str] | None = None, status: int = 200) -> Response:
    rule, wrong = author.rule(services().store, tenant(), id), dict(wrong or {})
    found: dict[str, Any] = {"event": None, "steps": []}
    try:
        found = _previews(id)
    except RuleError:
        found["broken"] = True
    except LookupError as error:
        wrong["event"], status = str(error.args[0]), 404
    return page("sends.html", status=status, rule=rule, found=found, chosen=_chosen(), wrong=wrong)


def _previews(id: str) -> dict[str, Any]:
    s = services()
    document = author.rule(s.store, tenant(), id)["document"] or {}
    return step_previews.previews(s.store, s.catalogue, s.connectors, tenant(), document, now(), _chosen())


def _chosen() -> str:
    """The event that the page is to be filled in from; empty: the latest."""
    return request.values.get("event", "").strip()[:200]


def _address(id: str) -> str:
    return f"/rules/{id}/sends" + (f"?{urlencode({'event': _chosen()})}" if _chosen() else "")
