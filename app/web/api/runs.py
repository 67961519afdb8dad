"""API calls on runs: undo with its preview, from a step again, many at once, and a customer who is left alone."""

from __future__ import annotations

from typing import Any, get_args

from app import browse, operate
from app.operate import bulk
from app.web.api.log import RUN
from app.web.api.openapi import NUMBER, Answer, Call, Operation, closed, define, nullable, record, text
from app.web.api.rules import note
from app.web.gate import access, roles
from rules.run import RunState

WHY = {"note": text("Why; kept in the audit log.", maxLength=2000)}
REFUSED = {"type": "array", "items": record(("id", "why"), id=text(), why=text())}
BACK = define(
    "UndoStep",
    record(
        ("step",),
        "What an undo does with one step; `cannot` instead of the rest where it stays as it is.",
        step=text(),
        says=text("What it comes to."),
        action=text(),
        id=text("The inverse's command id, `run/undo/step`."),
        call={"type": "object", "description": "The exact call."},
        cannot=text("Why it stays as it is."),
    ),
)
CHOSEN: dict[str, Any] = closed(
    (),
    "Which runs; without anything, all of them.",
    state=text(enum=list(get_args(RunState))),
    rule=text(maxLength=200),
    customer=text(maxLength=200),
    queued={"type": "boolean", "description": "Only what stood in line while its rule was paused."},
)
MANY = define(
    "ManyRuns",
    record(
        ("count",),
        "What one verb to many runs came to.",
        count=NUMBER,
        money={"type": ["object", "null"], "description": "Minor units by currency; null when too many to add up."},
        done=NUMBER,
        refused=REFUSED,
        job=nullable(text("Where it is done when there are many: GET /runs:many/{job}.")),
    ),
)
WORK = define(
    "ManyRunsWork",
    record(
        ("id", "state", "progress"),
        "How far the work on many runs has come.",
        id=text(),
        state=text(enum=["queued", "running", "done", "failed", "cancelled"]),
        progress={"type": "number", "minimum": 0, "maximum": 1},
        done=NUMBER,
        refused_count=NUMBER,
        refused=REFUSED,
        error=nullable(text()),
    ),
)
EXCLUDED = define(
    "Excluded",
    record(
        ("list", "cancelled"),
        "A customer who is left alone.",
        list=text(),
        cancelled={**NUMBER, "description": "Open runs that were cancelled."},
        refused=REFUSED,
        honoured_by={
            "type": "array",
            "items": text(),
            "description": "Rules in force that leave alone who is on the list: all, for `excluded`.",
        },
        not_by={"type": "array", "items": text(), "description": "Rules in force that do not, and go on as before."},
    ),
)


def preview_undo(call: Call) -> Answer:
    s = call.services
    return Answer({"items": operate.undo_preview(s.store, s.connectors, call.tenant, call.path["id"]), "next": None})


def undo(call: Call) -> Answer:
    store, id = call.services.store, call.path["id"]
    operate.act(store, call.tenant, id, "undo", call.actor, note(call), call.now)
    return Answer(browse.run(store, call.tenant, id))


def from_step(call: Call) -> Answer:
    store, id = call.services.store, call.path["id"]
    operate.act(store, call.tenant, id, "from", call.actor, note(call), call.now, call.body["step"])
    return Answer(browse.run(store, call.tenant, id))


def many(call: Call) -> Answer:
    store, body = call.services.store, call.body
    access.require(roles.run_verb(body))
    given = body.get("runs", {})
    which = bulk.Chosen(**given)
    counted = bulk.counted(store, call.tenant, which)
    if body.get("dry_run"):
        return Answer({**counted, "done": 0, "refused": [], "job": None})
    name = body.get("name", "")
    came = bulk.act(store, call.tenant, body.get("ids") or which, body["verb"], call.actor, note(call), name, call.now)
    return Answer({**came, "money": counted["money"]}, 202 if came["job"] else 200)


def look_at_many(call: Call) -> Answer:
    found = call.services.store.get(call.tenant, "job", call.path["id"])
    if found is None or found.body["type"] != bulk.JOB:
        raise LookupError(f"There is no such work as {call.path['id']!r}.")
    names = ("id", "state", "progress", "error")
    return Answer({**{name: found.body[name] for name in names}, **found.body["summary"]})


def exclude(call: Call) -> Answer:
    store, body = call.services.store, call.body
    listed = body.get("list", "")
    return Answer(bulk.exclude(store, call.tenant, call.path["id"], listed, call.actor, note(call), call.now))


def _post(path: str, name: str, summary: str, handler: Any, answer: Any, **more: Any) -> Operation:
    return Operation("POST", path, name, summary, "runs", handler, answer, **{"errors": (409,), **more})


OPERATIONS = (
    Operation(
        "GET",
        "/runs/{id}/undo",
        "previewUndo",
        "What an undo of the run would do: exactly which calls, the newest step first",
        "runs",
        preview_undo,
        (200, "The steps.", record(("items",), items={"type": "array", "items": BACK}, next=nullable(text()))),
    ),
    _post(
        "/runs/{id}/undo",
        "undoRun",
        "Stop the run and take back what it did",
        undo,
        (200, "The run as it is then.", RUN),
        body=closed((), "", **WHY),
        body_required=False,
    ),
    _post(
        "/runs/{id}/from",
        "goFrom",
        "Go from a step again, each action from there on as a new effect",
        from_step,
        (200, "The run as it is then.", RUN),
        body=closed(("step",), "", step=text("The step's name.", maxLength=60), **WHY),
    ),
    _post(
        "/runs:many",
        "manyRuns",
        "One verb to many runs, counted first with `dry_run`",
        many,
        (200, "What it came to.", MANY),
        description="Answers 202 with a job when there are many. The count is the total at the time of asking.",
        also=(202,),
        body=closed(
            ("verb",),
            "",
            verb=text(enum=list(bulk.VERBS)),
            runs=CHOSEN,
            ids={"type": "array", "items": text(maxLength=300), "maxItems": 1000},
            name=text("What people call it, such as Incident 1234.", maxLength=200),
            dry_run={"type": "boolean", "description": "Only count."},
            **WHY,
        ),
    ),
    Operation(
        "GET",
        "/runs:many/{id}",
        "lookAtManyRuns",
        "How far the work on many runs has come",
        "runs",
        look_at_many,
        (200, "The work.", WORK),
    ),
    _post(
        "/customers/{id}/exclude",
        "excludeCustomer",
        "Put a customer on a suppression list and cancel what is open for it",
        exclude,
        (200, "What came of it.", EXCLUDED),
        body=closed((), "", list=text("Without it `excluded`.", maxLength=80), **WHY),
        body_required=False,
        errors=(409, 422),
    ),
)
