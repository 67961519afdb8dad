"""API calls on plans: when a rule goes in force by itself, and for which share of its subjects."""

from __future__ import annotations

from typing import Any

from app.approvals import Change
from app.author import planned
from app.author.timetable import MOST
from app.web import second
from app.web.api.openapi import (
    NUMBER,
    TIME,
    Answer,
    Call,
    Operation,
    Parameter,
    closed,
    define,
    nullable,
    record,
    text,
)
from app.web.api.rules import EMERGENCY, IF_MATCH, expected, note, seen

SHARE = {**NUMBER, "minimum": 1, "maximum": 100, "default": 100, "description": "Percent of the subjects."}
STEP = record(
    ("at", "share", "version", "done_at", "says"),
    "A phase.",
    at=TIME,
    share=SHARE,
    version=nullable({**NUMBER, "description": "The version that it put in force."}),
    done_at=nullable(TIME),
    passed={"type": "boolean", "description": "A later phase was due already."},
    says=text("Time and share in words, in the office's zone."),
)
PLAN = define(
    "Plan",
    record(
        ("state", "steps"),
        "What goes in force of a rule by itself, and when.",
        id=text(),
        rule_id=text(),
        mode=text(enum=["live", "watch"]),
        state=text(
            "`asked` with 202: it waits for a second person; `halted`: `why` says what a person should see first.",
            enum=["asked", *planned.STATES],
        ),
        why=text("Why it halted or was withdrawn."),
        note=text(),
        by=text(),
        approved_by=nullable(text()),
        due_at=nullable({**TIME, "description": "When the next phase comes."}),
        created_at=TIME,
        document={"type": "object", "description": "The copy of the draft that it puts in force."},
        steps={"type": "array", "items": STEP},
        proposal={"description": "With 202: what waits for a second person.", "type": "object"},
    ),
)
WANTED = closed(
    ("steps",),
    "The phases, one after the other; the last is for 100 percent.",
    steps={
        "type": "array",
        "minItems": 1,
        "maxItems": MOST,
        "items": closed(
            (),
            "",
            at=nullable({**TIME, "description": "When; without it at once, which only the first can."}),
            share=SHARE,
        ),
    },
    mode=text("Live, or only watching.", enum=["live", "watch"], default="live"),
    note=text("Why.", maxLength=2000),
    emergency=EMERGENCY,
)
NOTE = Parameter("note", "Why; kept in the audit log.", text(maxLength=2000, default=""))


def make_plan(call: Call) -> Answer:
    steps = [{"at": one.get("at"), "share": one.get("share", 100)} for one in call.body["steps"]]
    wanted = Change("plan", call.path["id"], {"steps": steps, "mode": call.body.get("mode", "live")})
    came = second.change(wanted, note(call), expected(call), bool(call.body.get("emergency")), seen(call))
    if came.proposal is not None:
        return second.answered(came, {"rule_id": call.path["id"], "state": "asked", "steps": []})
    return Answer(came.done, 201, {"Location": f"/api/v1/rules/{call.path['id']}/plan"})


def get_plan(call: Call) -> Answer:
    found: dict[str, Any] | None = planned.row(call.services.store, call.tenant, call.path["id"])
    if found is None:
        raise LookupError(f"The rule {call.path['id']!r} has no plan.")
    return Answer(found)


def withdraw_plan(call: Call) -> Answer:
    why = call.query["note"]
    return Answer(planned.withdraw(call.services.store, call.tenant, call.path["id"], call.actor, why, call.now))


OPERATIONS = (
    Operation(
        "POST",
        "/rules/{id}/plan",
        "planRule",
        "Put the draft in force at a time, or in phases for a growing share of its subjects",
        "rules",
        make_plan,
        (201, "The plan.", PLAN),
        parameters=(IF_MATCH,),
        body=WANTED,
        also=(202,),
        errors=(409, 412, 422),
    ),
    Operation(
        "GET",
        "/rules/{id}/plan",
        "getPlan",
        "The newest plan of a rule, and what became of it",
        "rules",
        get_plan,
        (200, "The plan.", PLAN),
    ),
    Operation(
        "DELETE",
        "/rules/{id}/plan",
        "withdrawPlan",
        "Let no later phase come; what is in force stays",
        "rules",
        withdraw_plan,
        (200, "The plan as it is then.", PLAN),
        parameters=(NOTE,),
        errors=(409,),
    ),
)
