"""API calls about what needs a person: the queue and whose each thing is, dead letters, and where alerts go."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from app import browse, jobs, operate, tenant_settings
from app.approvals import Change
from app.operate import cases, dead_letters, reviews
from app.operate.dead_letters import Which
from app.tenant_settings import TenantSettings
from app.web import second
from app.web.api.log import ID, PAGED
from app.web.api.openapi import (
    NUMBER,
    TIME,
    Answer,
    Call,
    Operation,
    Parameter,
    closed,
    define,
    listed,
    nullable,
    record,
    text,
)
from app.web.api.rules import note
from app.web.api.runs import REFUSED

WHY = {"note": text("Why; kept in the audit log.", maxLength=2000)}
CASE = define(
    "Case",
    record(
        ("id", "owner", "note", "due"),
        "Whose a thing is, what they noted, and by when it is to be settled.",
        id=text("What it is about: `run:run_...`, `command:...`, `event:...`, `connection:...`, `rule:...`."),
        owner=text(),
        note=text(),
        due=text("An instant, or empty."),
        updated_at=TIME,
    ),
)
CASE_OR_NONE = {"anyOf": [CASE, {"type": "null"}]}
GROUP = record(
    ("kind", "title", "count", "items"),
    "",
    kind=text(),
    title=text(),
    count=NUMBER,
    items={"type": "array", "items": record(("about", "overdue"), about=text(), case=CASE_OR_NONE)},
)
NEEDS = define(
    "NeedsYou",
    record(
        ("at", "count", "groups"),
        "What waits for a person.",
        at=TIME,
        count=NUMBER,
        groups={"type": "array", "items": GROUP},
    ),
)
REVIEW = define(
    "Review",
    record(
        ("id", "state", "text", "run_id", "rule_id", "created_at"),
        "What a rule asked a person to look at.",
        id=text(),
        state=text(enum=["open", "closed"]),
        text=text(),
        run_id=text(),
        rule_id=text(),
        rule_name=text(),
        customer=nullable(text()),
        created_at=TIME,
        closed_at=TIME,
        closed_by=text(),
        closed_why=text(),
    ),
)
DEAD_LETTER = define(
    "DeadLetter",
    record(
        ("kind", "id", "reason", "cause", "at"),
        "What gave up.",
        kind=text(enum=["event", "command"]),
        id=text(),
        reason=text(),
        cause=text("The reason without ids and values: what it shares with others."),
        tries=NUMBER,
        at=TIME,
    ),
)
CAUSE = define(
    "Cause",
    record(
        ("kind", "cause", "count", "oldest", "newest"),
        "Dead letters of one cause.",
        kind=text(enum=["event", "command"]),
        cause=text(),
        connection=text(),
        action=text(),
        count=NUMBER,
        oldest=TIME,
        newest=TIME,
    ),
)
DONE = define(
    "Replayed",
    record(
        ("events", "actions", "refused"),
        "How many are tried again or let go; with a filter, how many will be, by the job.",
        events=NUMBER,
        actions=NUMBER,
        refused=REFUSED,
        job=text("The job that does it; ask for it by its id."),
    ),
)


def many_job(name: str, **told: Any) -> dict[str, Any]:
    """The component of a job that replays or discards many. told: what its summary says beside the counts."""
    return define(
        name,
        record(
            ("id", "status", "progress", "summary"),
            "A replay or discard of many.",
            id=text(),
            status=text(enum=["queued", "running", "done", "failed", "cancelled"]),
            progress={"type": "number", "minimum": 0, "maximum": 1},
            error=nullable(text()),
            summary=record(("done", "refused"), done=NUMBER, refused=NUMBER, **told),
        ),
    )


JOB = many_job("DeadLetterJob", why=REFUSED)
FILTER = closed(
    (),
    "All that fit; empty parts ask for nothing.",
    only=text(enum=["events", "actions"]),
    connection=text(maxLength=300),
    action=text(maxLength=300),
    rule=text(maxLength=300),
    cause=text(maxLength=300),
    text=text("Anywhere in the reason, the ids or the type.", maxLength=300),
)
MANY = closed(
    (),
    "By ids, or by filter as a job. Without either, all that gave up.",
    ids={"type": "array", "items": text(maxLength=300), "maxItems": 1000},
    only=text(enum=["events", "actions"]),
    filter=FILTER,
    **WHY,
)
SETTINGS = define(
    "Settings",
    record(
        [field.name for field in fields(TenantSettings) if field.name != "version"],
        "What this tenant has set.",
        zone=text("The time zone that `account` means in business hours."),
        not_on={"type": "array", "items": text("A day of pause, 2026-12-25.")},
        alert_connection=text("Where alerts go: a connection of type slack, smtp or webhook; empty for nowhere."),
        alert_to=text("The address, where that is e-mail."),
        oldest_minutes=NUMBER,
        dead_letters=NUMBER,
        needs_you=NUMBER,
        second_person={"type": "boolean", "description": "What lets more happen takes one; in production always."},
    ),
)
FILTERS = (
    Parameter("only", "Only one sort.", {"type": "string", "enum": ["events", "actions"]}),
    *(Parameter(name, f"Only of this {name}.", ID) for name in ("connection", "action", "rule", "cause")),
    Parameter("text", "Only with this in the reason, the ids or the type.", ID),
)


# ---- the queue ------------------------------------------------------------------------------------------------------
def get_needs(call: Call) -> Answer:
    s, q = call.services, call.query
    return Answer(
        browse.needs_you(s.store, s.inbox, call.tenant, call.now, q.get("owner"), bool(q.get("overdue", False)))
    )


def assign(call: Call) -> Answer:
    body = dict(call.body)
    about = body.pop("about")
    done = cases.assign(call.services.store, call.tenant, about, body, call.actor, call.now)
    return Answer({"items": done, "next": None})


def close_review(call: Call) -> Answer:
    return Answer(reviews.close(call.services.store, call.tenant, call.path["id"], call.actor, note(call), call.now))


# ---- dead letters ---------------------------------------------------------------------------------------------------
def list_dead_letters(call: Call) -> Answer:
    s, q = call.services, call.query
    found = browse.dead_letters(s.store, s.inbox, call.tenant, Which.of(q), after=q["after"], limit=q["limit"])
    return Answer(found)


def list_causes(call: Call) -> Answer:
    s = call.services
    return Answer({"items": browse.causes(s.store, s.inbox, call.tenant, Which.of(call.query)), "next": None})


def replay(call: Call) -> Answer:
    s, body = call.services, call.body
    if "filter" in body:
        return _begun(call, "replay")
    ids, only = body.get("ids"), body.get("only")
    return Answer(operate.replay(s.store, s.inbox, call.tenant, ids, call.actor, note(call), call.now, only))


def discard(call: Call) -> Answer:
    s, body = call.services, call.body
    if "ids" not in body:
        return _begun(call, "discard")
    done = operate.discard(s.store, s.inbox, call.tenant, body["ids"], call.actor, note(call), call.now)
    return Answer({**done, "refused": []})


def _begun(call: Call, verb: dead_letters.Verb) -> Answer:
    s, which = call.services, Which.of({"only": call.body.get("only"), **call.body.get("filter", {})})
    begun = dead_letters.start(s.store, s.inbox, call.tenant, verb, which, call.actor, note(call), call.now)
    return Answer({"events": begun["events"], "actions": begun["actions"], "refused": [], "job": begun["id"]}, 202)


def get_job(call: Call) -> Answer:
    return Answer(_job(call))


def cancel_job(call: Call) -> Answer:
    _job(call)
    jobs.cancel(call.services.store, call.tenant, call.path["id"], call.now)
    return Answer(_job(call))


def _job(call: Call) -> dict[str, Any]:
    found = call.services.store.get(call.tenant, "job", call.path["id"])
    if found is None or found.body["type"] != dead_letters.JOB:
        raise LookupError(f"There is no such job {call.path['id']!r}.")
    body = found.body
    summary = {"done": 0, "refused": 0, "why": [], **body["summary"]}
    return {"id": body["id"], "status": body["state"], "progress": body["progress"], "error": body["error"]} | {
        "summary": summary
    }


# ---- settings -------------------------------------------------------------------------------------------------------
def get_settings(call: Call) -> Answer:
    return Answer(tenant_settings.read(call.services.store, call.tenant).body())


def put_settings(call: Call) -> Answer:
    given = dict(call.body)
    why = str(given.pop("note", ""))
    came = second.change(Change("settings", tenant_settings.ID, given), why)
    return second.answered(came, came.done or tenant_settings.read(call.services.store, call.tenant).body())


# ---- the declarations -----------------------------------------------------------------------------------------------
OPERATIONS = (
    Operation(
        "GET",
        "/needs-you",
        "getNeedsYou",
        "What waits for a person, in groups, with whose each thing is",
        "runs",
        get_needs,
        (200, "The queue.", NEEDS),
        parameters=(
            Parameter("owner", "Only what is theirs; empty for what is nobody's.", {"type": "string"}),
            Parameter("overdue", "Only what is past its time.", {"type": "boolean"}),
        ),
    ),
    Operation(
        "POST",
        "/needs-you/assign",
        "assign",
        "Say whose several things are, with a note and a time",
        "runs",
        assign,
        (200, "The cases.", listed(CASE)),
        body=closed(
            ("about",),
            "What is not given stays as it was.",
            about={"type": "array", "items": text(maxLength=300), "minItems": 1, "maxItems": 200},
            owner=text(maxLength=100),
            note=text(maxLength=2000),
            due=text("An instant, or empty.", maxLength=40),
        ),
        errors=(422,),
    ),
    Operation(
        "POST",
        "/reviews/{id}/close",
        "closeReview",
        "Close what a rule flagged for review",
        "runs",
        close_review,
        (200, "The review as it is then.", REVIEW),
        body=closed(("note",), "", **WHY),
        errors=(404, 409),
    ),
    Operation(
        "GET",
        "/dead-letters",
        "listDeadLetters",
        "What gave up: events that could not be handled, actions that were refused",
        "runs",
        list_dead_letters,
        (200, "A page of dead letters.", listed(DEAD_LETTER)),
        parameters=(*FILTERS, *PAGED),
    ),
    Operation(
        "GET",
        "/dead-letters/causes",
        "listCauses",
        "What gave up, counted by cause",
        "runs",
        list_causes,
        (200, "The causes, the largest first.", listed(CAUSE)),
        parameters=FILTERS,
    ),
    Operation(
        "POST",
        "/dead-letters/replay",
        "replay",
        "Try again what gave up",
        "runs",
        replay,
        (200, "How many are tried again.", DONE),
        description="Answers 202 with a job when it is by filter.",
        also=(202,),
        body=MANY,
        body_required=False,
        errors=(409,),
    ),
    Operation(
        "POST",
        "/dead-letters/discard",
        "discard",
        "Let go for good what gave up; actions keep their tries, and the audit log keeps the rest",
        "runs",
        discard,
        (200, "How many were let go.", DONE),
        description="Answers 202 with a job when it is by filter.",
        also=(202,),
        body=MANY | {"required": ["note"]},
        errors=(409,),
    ),
    Operation(
        "GET",
        "/dead-letters/jobs/{id}",
        "getDeadLetterJob",
        "How far a replay or discard of many is",
        "runs",
        get_job,
        (200, "The job.", JOB),
    ),
    Operation(
        "POST",
        "/dead-letters/jobs/{id}/cancel",
        "cancelDeadLetterJob",
        "Stop a replay or discard of many; what was done stays done",
        "runs",
        cancel_job,
        (200, "The job.", JOB),
        errors=(409,),
    ),
    Operation(
        "GET",
        "/settings",
        "getSettings",
        "The account's time zone, and where alerts go",
        "connections",
        get_settings,
        (200, "The settings.", SETTINGS),
    ),
    Operation(
        "PUT",
        "/settings",
        "putSettings",
        "Change the settings that are given",
        "connections",
        put_settings,
        (200, "The settings.", SETTINGS),
        body=closed(
            (),
            "",
            zone=text(maxLength=60),
            not_on={"type": "array", "items": text(maxLength=10), "maxItems": 100},
            alert_connection=text(maxLength=40),
            alert_to=text(maxLength=320),
            oldest_minutes=NUMBER,
            dead_letters=NUMBER,
            needs_you=NUMBER,
            second_person={"type": "boolean"},
            note=text("Why; where a second person is asked for.", maxLength=2000),
        ),
        also=(202,),
        checked=False,
        errors=(409, 422),
    ),
)
