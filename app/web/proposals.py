"""Proposals: one change that waits for a second person, with what it would do, and the answers to it."""

from __future__ import annotations

from flask import Blueprint, Response, request

from app import approvals
from app.web.addresses import chosen
from app.web.pages import actor, go, now, page, services, tenant
from app.web.second import Row, office, person
from rules.rule import RuleError

blueprint = Blueprint("proposals", __name__)
STATES = approvals.STATES
SAID = {
    "approve": ("Approved: it is done.", "good"),
    "decline": ("Declined.", "warn"),
    "withdraw": ("Withdrawn.", "warn"),
    "acknowledge": ("Acknowledged.", "good"),
}


@blueprint.get("/proposals")
def many() -> Response:
    state = chosen("state", STATES)
    found = approvals.proposals(services().store, tenant(), state, request.args.get("after") or None)
    return page("proposals.html", rows=found["items"], next=found["next"], state=state, states=STATES)


@blueprint.get("/proposals/<id>")
def one(id: str) -> Response:
    return _shown(approvals.proposal(services().store, tenant(), id))


@blueprint.post("/proposals/<id>/<any(approve, decline, withdraw, acknowledge):verb>")
def answer(id: str, verb: str) -> Response:
    note = request.form.get("note", "").strip()
    try:
        decide(id, verb, note)
    except RuleError as error:
        problems = error.problems
        if [one.path for one in problems] != ["note"]:
            raise
        return _shown(approvals.proposal(services().store, tenant(), id), problems[0].message, 422)
    return go(f"/proposals/{id}", *SAID[verb])


def decide(id: str, verb: str, note: str) -> Row:
    """One answer, in the name of who is asking now."""
    name = actor()
    if verb == "approve":
        return approvals.approve(office(), tenant(), id, name, person(services(), name), note, now())
    if verb == "acknowledge":
        return approvals.acknowledge(office(), tenant(), id, name, person(services(), name), note, now())
    end = approvals.decline if verb == "decline" else approvals.withdraw
    return end(office(), tenant(), id, name, note, now())


def _shown(proposal: Row, error: str | None = None, status: int = 200) -> Response:
    return page("proposal.html", status=status, proposal=proposal, error=error, mine=proposal["asked_by"] == actor())
