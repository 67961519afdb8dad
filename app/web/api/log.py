"""API calls that look: the event log, runs, actions and journeys."""

from __future__ import annotations

from typing import get_args

from app import browse
from app.web.api.openapi import (
    MONEY,
    NUMBER,
    TIME,
    Answer,
    Call,
    Operation,
    Parameter,
    define,
    listed,
    moment,
    nullable,
    record,
    text,
)
from rules.workflow import CommandState, RunState

AFTER = Parameter("after", "The `next` of the page before.", {"type": "string", "maxLength": 1000})
LIMIT = Parameter("limit", "How many at most.", {"type": "integer", "minimum": 1, "maximum": 200, "default": 50})
PAGED = (AFTER, LIMIT)
ID = {"type": "string", "maxLength": 300}

AMOUNT = define("Amount", record(("minor", "currency"), minor=NUMBER, currency=text("ISO 4217, lower case.")))
EVENT = define(
    "Event",
    record(
        ("id", "type", "created", "recorded", "correlation", "fired"),
        "One Stripe event as kept: personal values are tokens.",
        id=text("Stripe's event id."),
        type=text("Stripe's type."),
        created={**TIME, "description": "Stripe's event time."},
        recorded={**TIME, "description": "When it was heard of."},
        correlation=text("The transaction id of its journey."),
        customer=nullable(text()),
        origin=text("`webhook`, or `import` for history."),
        caused_by={"type": ["string", "null"], "description": "Our own action that caused it."},
        fired={"type": "boolean", "description": "A rule matched at it."},
        keys={"type": "array", "items": text()},
        object=nullable(text("The id of the object it is about.")),
        money={"anyOf": [AMOUNT, {"type": "null"}]},
    ),
)
RUN = define(
    "Run",
    record(
        ("id", "rule_id", "version", "mode", "state", "key", "trigger"),
        "What was done about one match of a rule.",
        id=text(),
        rule_id=text(),
        rule_name=text(),
        version=NUMBER,
        mode=text(enum=["live", "watch"]),
        state=text(enum=list(get_args(RunState))),
        reason=text("Why it stands there."),
        key=text("The subject it is for, such as `sub:sub_1`."),
        customer=nullable(text()),
        trigger=text("The event that made the match."),
        correlation=text(),
        created_at=TIME,
        updated_at=TIME,
        due_at=nullable(TIME),
        money=MONEY,
    ),
)
COMMAND = define(
    "Command",
    record(
        ("id", "run_id", "action", "state"),
        "One outside effect with every try to make it.",
        id=text("`run/step`, for ever; the receiver's `webhook-id`."),
        run_id=text(),
        rule_id=text(),
        step=text(),
        action=text("Such as `stripe.change_plan`."),
        connection=text(),
        state=text(enum=list(get_args(CommandState))),
        customer=nullable(text()),
        correlation=text(),
        created_at=TIME,
        due_at=nullable(TIME),
        idempotency_key=text("Stripe's Idempotency-Key."),
        tries=NUMBER,
    ),
)
JOURNEY = define(
    "Journey",
    record(
        ("correlation", "trace", "events", "runs", "commands", "rows"),
        "One transaction from the webhook to the CRM.",
        correlation=text(),
        trace=text("W3C trace id."),
        customer=nullable(text()),
        events={"type": "array", "items": EVENT},
        runs={"type": "array", "items": RUN},
        commands={"type": "array", "items": COMMAND},
        rows={"type": "array", "items": record((), "One span of the waterfall.")},
    ),
)


# ---- handlers -------------------------------------------------------------------------------------------------------
def list_events(call: Call) -> Answer:
    q = call.query
    found = browse.events(
        call.services.store,
        call.tenant,
        type=q["type"],
        key=q["key"],
        fired=q["fired"],
        before=moment("before", q["before"]),
        after=q["after"],
        limit=q["limit"],
    )
    return Answer(found)


def get_event(call: Call) -> Answer:
    return Answer(browse.event(call.services.store, call.tenant, call.path["id"]))


def list_runs(call: Call) -> Answer:
    q = call.query
    found = browse.runs(
        call.services.store,
        call.tenant,
        state=q["state"],
        rule=q["rule"],
        customer=q["customer"],
        after=q["after"],
        limit=q["limit"],
    )
    return Answer(found)


def get_run(call: Call) -> Answer:
    return Answer(browse.run(call.services.store, call.tenant, call.path["id"]))


def list_commands(call: Call) -> Answer:
    q = call.query
    found = browse.commands(
        call.services.store,
        call.tenant,
        state=q["state"],
        connection=q["connection"],
        after=q["after"],
        limit=q["limit"],
    )
    return Answer(found)


def get_command(call: Call) -> Answer:
    return Answer(browse.command(call.services.store, call.tenant, call.path["id"]))


def get_trace(call: Call) -> Answer:
    return Answer(browse.journey(call.services.store, call.tenant, call.path["id"]))


OPERATIONS = (
    Operation(
        "GET",
        "/events",
        "listEvents",
        "The event log, newest first",
        "log",
        list_events,
        (200, "A page of events.", listed(EVENT)),
        parameters=(
            Parameter("type", "Stripe's type.", {"type": "string", "maxLength": 200}),
            Parameter("key", "A subject: `cus_...`, `sub_...`, `in_...`, or a key such as `card:...`.", ID),
            Parameter("fired", "Only those at which a rule matched (or none did).", {"type": "boolean"}),
            Parameter("before", "At or before this instant.", TIME),
            *PAGED,
        ),
    ),
    Operation(
        "GET",
        "/events/{id}",
        "getEvent",
        "One event: payload, every rule's verdict, what it led to",
        "log",
        get_event,
        (200, "The event.", EVENT),
    ),
    Operation(
        "GET",
        "/runs",
        "listRuns",
        "Runs, newest first",
        "runs",
        list_runs,
        (200, "A page of runs.", listed(RUN)),
        parameters=(
            Parameter("state", "Only in this state.", {"type": "string", "enum": list(get_args(RunState))}),
            Parameter("rule", "Only of this rule.", ID),
            Parameter("customer", "Only of this customer.", ID),
            *PAGED,
        ),
    ),
    Operation(
        "GET",
        "/runs/{id}",
        "getRun",
        "One run: its story, steps, decision and actions",
        "runs",
        get_run,
        (200, "The run.", RUN),
    ),
    Operation(
        "GET",
        "/commands",
        "listCommands",
        "Actions, newest first",
        "runs",
        list_commands,
        (200, "A page of actions.", listed(COMMAND)),
        parameters=(
            Parameter("state", "Only in this state.", {"type": "string", "enum": list(get_args(CommandState))}),
            Parameter("connection", "Only through this connection.", ID),
            *PAGED,
        ),
    ),
    Operation(
        "GET",
        "/commands/{id}",
        "getCommand",
        "One action with every try",
        "runs",
        get_command,
        (200, "The action.", COMMAND),
    ),
    Operation(
        "GET",
        "/traces/{id}",
        "getTrace",
        "The journey of one transaction, by its id or trace id",
        "log",
        get_trace,
        (200, "The journey.", JOURNEY),
    ),
)
