"""API calls on proposals: what waits for a second person, and the answers to it."""

from __future__ import annotations

from collections.abc import Callable

from app import approvals
from app.services import office_of
from app.web.api.log import PAGED
from app.web.api.openapi import TIME, Answer, Call, Operation, Parameter, closed, define, listed, nullable, record, text
from app.web.second import person

NOTE = closed(("note",), "Why; kept in the audit log.", note=text("Why.", minLength=1, maxLength=2000))
PROPOSAL = define(
    "Proposal",
    record(
        ("id", "change", "about", "title", "state", "asked_by", "note", "says", "created_at"),
        "A change that waits for a second person, or went past one.",
        id=text(),
        change=text("`publish`, `watch`, `plan`, `rollback`, `resume`, `connection`, `live actions`, `list`, ..."),
        about=text("The rule, connection or list."),
        title=text(),
        state=text(enum=list(approvals.STATES)),
        asked_by=text(),
        note=text(),
        says={"type": "array", "items": text(), "description": "What it changes, in sentences."},
        effect={"type": ["object", "null"], "description": "What it was measured to change."},
        hands={"type": "array", "items": text(), "description": "Who wrote it; none of them may approve it."},
        created_at=TIME,
        decided_by=nullable(text()),
        decided_at=nullable(TIME),
        decision=text(),
        acknowledged_by=text(),
        acknowledged_at=TIME,
    ),
)


def list_proposals(call: Call) -> Answer:
    q = call.query
    return Answer(approvals.proposals(call.services.store, call.tenant, q["state"], q["after"], q["limit"]))


def get_proposal(call: Call) -> Answer:
    return Answer(approvals.proposal(call.services.store, call.tenant, call.path["id"]))


def answering(verb: str) -> Callable[[Call], Answer]:
    """The handler of one answer."""

    def handler(call: Call) -> Answer:
        office, id, note = office_of(call.services), call.path["id"], call.body["note"]
        if verb in ("approve", "acknowledge"):
            second = approvals.approve if verb == "approve" else approvals.acknowledge
            who = person(call.services, call.actor)
            return Answer(second(office, call.tenant, id, call.actor, who, note, call.now))
        end = approvals.decline if verb == "decline" else approvals.withdraw
        return Answer(end(office, call.tenant, id, call.actor, note, call.now))

    return handler


def answer(verb: str, summary: str) -> Operation:
    """`POST /proposals/{id}/<verb>`."""
    return Operation(
        "POST",
        f"/proposals/{{id}}/{verb}",
        f"{verb}Proposal",
        summary,
        "rules",
        answering(verb),
        (200, "The proposal as it is then.", PROPOSAL),
        body=NOTE,
        errors=(409, 422),
    )


OPERATIONS = (
    Operation(
        "GET",
        "/proposals",
        "listProposals",
        "Changes that were asked for, newest first",
        "rules",
        list_proposals,
        (200, "A page of proposals.", listed(PROPOSAL)),
        parameters=(
            Parameter("state", "Only in this state.", {"type": "string", "enum": list(approvals.STATES)}),
            *PAGED,
        ),
    ),
    Operation(
        "GET",
        "/proposals/{id}",
        "getProposal",
        "One proposal",
        "rules",
        get_proposal,
        (200, "The proposal.", PROPOSAL),
    ),
    answer("approve", "Do what was asked for, as the second person; a token approves for the member who made it"),
    answer("decline", "Say no"),
    answer("withdraw", "Ask no longer"),
    answer("acknowledge", "Say that an emergency was seen; the banner goes"),
)
