"""API calls on declared subjects: paths that rules may count by, and how far they are filled in."""

from __future__ import annotations

from app import declared
from app.web.api.openapi import NUMBER, TIME, Answer, Call, Operation, closed, define, listed, nullable, record, text
from app.web.api.rules import NOTE, note

SUBJECT = define(
    "Subject",
    record(
        ("name", "path", "state", "progress", "filled", "error", "used_by"),
        "A path that rules may count by (`same`), as a tenant declared it.",
        name=text(),
        path=text("Where an event holds it, such as `data.object.metadata.team`."),
        state=text("`filling` until every event that was there before has its key.", enum=["filling", "ready"]),
        progress={"type": "number", "minimum": 0, "maximum": 1},
        filled={**NUMBER, "description": "Past events that got the key."},
        error=nullable(text("Why filling in stopped.")),
        used_by={"type": "array", "items": text("The id of a rule that counts by it.")},
        created_at=TIME,
    ),
)


def list_subjects(call: Call) -> Answer:
    return Answer({"items": declared.declared(call.services.store, call.tenant), "next": None})


def declare(call: Call) -> Answer:
    s, given = call.services, call.body
    row = declared.declare(
        s.store, s.catalogue, call.tenant, given["name"], given["path"], call.actor, call.now, note(call)
    )
    return Answer(row, 201)


def look(call: Call) -> Answer:
    return Answer(declared.one(call.services.store, call.tenant, call.path["name"]))


def fill(call: Call) -> Answer:
    return Answer(declared.fill_again(call.services.store, call.tenant, call.path["name"], call.actor, call.now))


def withdraw(call: Call) -> Answer:
    store, name = call.services.store, call.path["name"]
    declared.withdraw(store, call.tenant, name, call.actor, note(call), call.now)
    return Answer({"items": declared.declared(store, call.tenant), "next": None})


OPERATIONS = (
    Operation(
        "GET",
        "/subjects",
        "listSubjects",
        "The paths that rules may count by",
        "subjects",
        list_subjects,
        (200, "The declared paths.", listed(SUBJECT)),
    ),
    Operation(
        "POST",
        "/subjects",
        "declareSubject",
        "Declare a path that rules may count by",
        "subjects",
        declare,
        (201, "The declaration; past events get their key in the background.", SUBJECT),
        description="A rule that counts by it can be published once `state` is `ready`.",
        body=closed(
            ("name", "path"),
            "",
            name=text("Lower-case letters, digits and hyphens.", maxLength=40),
            path=text(maxLength=300),
            note=text("Why; kept in the audit log.", maxLength=2000),
        ),
        errors=(409, 422),
    ),
    Operation(
        "GET",
        "/subjects/{name}",
        "readSubject",
        "One declared path",
        "subjects",
        look,
        (200, "The declaration and how far it is.", SUBJECT),
    ),
    Operation(
        "POST",
        "/subjects/{name}/fill",
        "fillSubject",
        "Fill it in again where that stopped",
        "subjects",
        fill,
        (200, "The declaration.", SUBJECT),
        errors=(409,),
    ),
    Operation(
        "POST",
        "/subjects/{name}/withdraw",
        "withdrawSubject",
        "Take the declaration back",
        "subjects",
        withdraw,
        (200, "The declarations that are left.", listed(SUBJECT)),
        description="Refused while a rule counts by the path.",
        body=NOTE,
        body_required=False,
        errors=(409,),
    ),
)
