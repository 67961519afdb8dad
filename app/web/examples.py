"""Saving a real event as an example of a rule, from the event's page and from the answer to why."""

from __future__ import annotations

from urllib.parse import quote

from flask import Blueprint, Response, request

from app.author import real_examples
from app.web.pages import actor, go, now, services, tenant
from rules.example import FIRES
from rules.rule import RuleError

blueprint = Blueprint("examples", __name__)


@blueprint.post("/examples")
def add() -> Response:
    """Into the rule's draft, and on to where it stands there."""
    rule, event = request.form.get("rule", ""), request.form.get("event", "")
    then, because = request.form.get("then", ""), request.form.get("because", "").strip()[:500]
    wanted = {"because": because, **({"then": then} if then in FIRES else {})}
    ports = services()
    try:
        row = real_examples.add(
            ports.store, ports.vault, ports.catalogue, ports.connectors, tenant(), rule, event, actor(), now(), wanted
        )
    except RuleError as error:
        said = "; ".join(one.message for one in error.problems)
        return go(f"/events/{quote(event)}", f"It was not kept as an example of {rule}: {said}.", "bad")
    count = len(row["document"]["examples"])
    return go(f"/rules/{quote(rule)}/edit#part-examples", f"Kept as example {count} in the draft of “{row['name']}”.")
