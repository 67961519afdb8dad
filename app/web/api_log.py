"""API calls that look: the event log, runs, actions, journeys and the schemas of Stripe's events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, get_args

from app import browse
from app.web.openapi import (
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
from rules.fields import FieldInfo
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
EVENT_TYPE = define(
    "EventType",
    record(
        ("name", "title", "schema"),
        "A type of Stripe event.",
        name=text("Such as `invoice.payment_failed`."),
        title=text("In plain words."),
        description=text(),
        object=nullable(text("The class of the object it carries.")),
        schema=text("Where its JSON Schema is.", format="uri-reference"),
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


def list_schemas(call: Call) -> Answer:
    types = sorted(call.services.catalogue.event_types(), key=lambda found: found.name)
    start = call.query["after"] or ""
    rest = [found for found in types if found.name > start]
    page = rest[: call.query["limit"]]
    items = [
        {
            "name": found.name,
            "title": found.title,
            "description": found.description,
            "object": found.object,
            "schema": f"/api/v1/schemas/{found.name}",
        }
        for found in page
    ]
    return Answer({"items": items, "next": page[-1].name if len(rest) > len(page) else None})


def get_schema(call: Call) -> Answer:
    name = call.path["type"]
    catalogue = call.services.catalogue
    if all(found.name != name for found in catalogue.event_types()):
        raise LookupError(f"Stripe's catalogue has no event type {name!r}.")
    return Answer(event_schema(name, catalogue.fields(name)))


# ---- the schema of an event type ------------------------------------------------------------------------------------
def event_schema(name: str, fields: Iterable[FieldInfo]) -> dict[str, Any]:
    """JSON Schema of the envelope of one event type: every known field with its words; unknown ones may come."""
    root: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": name,
        "type": "object",
        "properties": {},
    }
    for info in sorted(fields, key=lambda found: found.path):
        place_field(root, info.path.split("."), field_schema(info))
    return root


def place_field(node: dict[str, Any], path: list[str], schema: Mapping[str, Any]) -> None:
    """Hang a field's schema at its path, making the objects and lists on the way."""
    *parents, last = path
    for part in parents:
        node = child(node, part)
    name, is_list = last.removesuffix("[]"), last.endswith("[]")
    found = node.setdefault("properties", {}).setdefault(name, {})
    for key, value in schema.items():
        found.setdefault(key, value)
    if is_list:
        found.setdefault("items", {"type": "object"})


def child(node: dict[str, Any], part: str) -> dict[str, Any]:
    name = part.removesuffix("[]")
    found: dict[str, Any] = node.setdefault("properties", {}).setdefault(name, {"type": ["object", "null"]})
    if part.endswith("[]"):
        items: dict[str, Any] = found.setdefault("items", {"type": "object"})
        return items
    return found


JSON_TYPES: dict[str, tuple[str, ...]] = {
    "amount": ("integer",),
    "time": ("integer",),
    "number": ("number",),
    "boolean": ("boolean",),
    "text": ("string",),
    "enum": ("string",),
    "decimal": ("string",),
    "id": ("string", "object"),  # an object where it was expanded
    "object": ("object",),
    "map": ("object",),
    "list": ("array",),
}


def field_schema(info: FieldInfo) -> dict[str, Any]:
    schema: dict[str, Any] = {"title": info.label}
    if kinds := JSON_TYPES.get(info.type):
        schema["type"] = [*kinds, "null"] if info.nullable else list(kinds)
    if info.description:
        schema["description"] = info.description
    if info.enum:
        schema["examples"] = list(info.enum)  # Stripe adds values every month, so they are no closed list
    if info.type == "list" and info.item in JSON_TYPES:
        schema["items"] = {"type": list(JSON_TYPES[info.item])}
    if info.type in ("amount", "time"):
        schema["x-unit"] = "minor units" if info.type == "amount" else "unix seconds"
    if info.personal:
        schema["x-personal"] = True
    return schema


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
    Operation(
        "GET",
        "/schemas",
        "listSchemas",
        "The types of Stripe events that are known",
        "schemas",
        list_schemas,
        (200, "A page of event types.", listed(EVENT_TYPE)),
        parameters=(
            AFTER,
            Parameter("limit", "How many at most.", {"type": "integer", "minimum": 1, "maximum": 500, "default": 500}),
        ),
    ),
    Operation(
        "GET",
        "/schemas/{type}",
        "getSchema",
        "The JSON Schema of one event type",
        "schemas",
        get_schema,
        (200, "A JSON Schema.", {"type": "object"}),
    ),
)
