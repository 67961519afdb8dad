"""The second person, as pages and API ask for one: who is asking, as which human being, and what a change takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import g, request

from app import approvals
from app.access import api_tokens
from app.approvals import Change, Office, Outcome
from app.services import Services, office_of
from app.web.api.openapi import Answer
from app.web.gate.access import require
from app.web.gate.roles import Rights
from app.web.pages import actor, now, services, tenant

Row = dict[str, Any]
# what doing it at once takes; the routes let in whoever may ask for it, too
_AT_ONCE: Mapping[str, Rights] = {
    "publish": ("approve",),
    "plan": ("approve",),
    "rollback": ("approve",),
    "resume": ("approve",),
    "watch": ("author", "approve"),
    "webhook secret": ("admin",),
}


def office() -> Office:
    return office_of(services())


def person(ports: Services, name: str) -> str:
    """The human being who asks: a member, or the member who made the token; empty where nobody can tell."""
    caller = g.get("caller")
    if caller is not None and caller.member:
        return name
    made = api_tokens.people(ports.store, [name]) - {name}
    found = made.pop() if len(made) == 1 else ""
    return found if "@" in found else ""  # a member's name is an address


def is_needed() -> bool:
    """Whether a second person is asked for here."""
    return approvals.needed(office(), tenant())


def reason() -> str:
    """Why, as the form says."""
    return request.form.get("reason", "").strip()[: approvals.LONGEST]


def is_emergency() -> bool:
    return request.form.get("emergency") == "on"


def asks(verb: str, about: str, **given: Any) -> bool:
    return approvals.asks(office(), tenant(), Change(verb, about, given))


def change(
    wanted: Change,
    why: str,
    expect: str | None = None,
    emergency: bool = False,
    measured: Mapping[str, Any] | None = None,
) -> Outcome:
    """Do it or ask for it, in the name of who is asking now. Aborts with 403 when that takes another right."""
    if not approvals.asks(office(), tenant(), wanted):
        require(_AT_ONCE.get(wanted.verb, ("admin", "author", "approve")))
    if emergency:
        require(("admin",))
    return approvals.change(office(), tenant(), wanted, actor(), why, now(), expect, emergency, measured)


def answered(outcome: Outcome, row: Mapping[str, Any], status: int = 200) -> Answer:
    """The API's answer: the row; 202 with the proposal beside it where somebody else has to approve."""
    if outcome.proposal is None:
        return Answer(row, status)
    where = {"Location": f"/api/v1/proposals/{outcome.proposal['id']}"}
    return Answer({**row, "proposal": outcome.proposal}, 202, where)


def said(outcome: Outcome, done: str) -> tuple[str, str]:
    """What the page says then, and its tone."""
    if outcome.proposal:
        return "You have asked for approval. Somebody else finds it under Needs you.", "warn"
    return done, "good"
