"""API calls about schemas: types, fields, versions and what they change; and the payloads that do not conform."""

from __future__ import annotations

from typing import Any

from app import jobs, schemas
from app.receive import quarantine, quarantine_job
from app.receive.quarantine import Which
from app.services import keeper_of
from app.web.api.log import AFTER, ID, PAGED
from app.web.api.needs import many_job
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
from rules import registry
from rules.ports import Refused

STATES = ["waiting", "replayed", "discarded", "erased"]
EVENT_TYPE = define(
    "EventType",
    record(
        ("name", "title", "schema", "rules", "versions"),
        "A type of Stripe event.",
        name=text("Such as `invoice.payment_failed`."),
        title=text("In plain words."),
        description=text(),
        object=nullable(text("The class of the object it carries.")),
        schema=text("Where its JSON Schema is.", format="uri-reference"),
        rules={**NUMBER, "description": "How many rules read it."},
        versions={"type": "array", "items": text(), "description": "The stored API versions that have it."},
    ),
)
UNKNOWN_TYPE = define(
    "UnknownType",
    record(
        ("type", "count"),
        "A type of event that came and is in no registry.",
        type=text(),
        count=NUMBER,
        api_version=nullable(text()),
        event=text("The first event of it."),
        last_at=TIME,
    ),
)
FIELD = define(
    "SchemaField",
    record(
        ("path", "type", "personal", "rules"),
        "A field of an event type.",
        path=text("As rules write it; `[]` stands for each item of a list."),
        type=text("In words."),
        meaning=text(),
        label=text(),
        personal={"type": "boolean", "description": "Kept as a token."},
        example=text("From the newest event of the type, personal values as tokens."),
        rules={"type": "array", "items": text(), "description": "The rules that read it."},
    ),
)
VERSION = define(
    "SchemaVersion",
    record(("version", "types"), "A stored API version.", version=text(), sdk=text("Of Stripe's SDK."), types=NUMBER),
)
CHANGES = define(
    "SchemaChanges",
    record(
        ("from", "to", "counts", "changes", "rules"),
        "What another API version means.",
        **{"from": text()},
        to=text(),
        counts={"type": "object", "additionalProperties": NUMBER, "description": "Changes of all types by kind."},
        changes={
            "type": "array",
            "items": record(
                ("kind", "type", "path"),
                kind=text(enum=["removed", "moved", "retyped", "may be null", "added", "type gone", "type new"]),
                type=text(),
                path=text(),
                was=text(),
                now=text("For what moved, the path where it stands."),
            ),
        },
        rules={
            "type": "array",
            "items": record(
                ("rule", "type", "path", "standing"),
                "What a rule reads and loses.",
                rule=text(),
                type=text(),
                path=text(),
                where=text("The part of the rule."),
                fact=text("The fact that is folded from it, or empty."),
                standing=text(enum=["there", "by another name", "missing"]),
                name=text("The name that is read instead; empty where it is worked out or missing."),
                was=text(),
            ),
        },
    ),
)
ENTRY = define(
    "QuarantinedPayload",
    record(
        ("id", "type", "state", "errors", "cause", "received_at", "deliveries"),
        "A payload that does not conform; without its values.",
        id=text("The event's id."),
        type=text(),
        state=text(enum=STATES),
        cause=text(),
        errors={"type": "array", "items": record(("path", "problem"), path=text(), problem=text())},
        customers={"type": "array", "items": text()},
        api_version=nullable(text()),
        digest=text("SHA-256 of the body."),
        bytes=NUMBER,
        deliveries=NUMBER,
        tries=NUMBER,
        received_at=TIME,
        last_at=TIME,
    ),
)
QUARANTINE_CAUSE = define(
    "QuarantineCause",
    record(
        ("cause", "types", "count", "oldest", "newest"),
        "Quarantined payloads of one cause.",
        cause=text(),
        types={"type": "array", "items": text()},
        count=NUMBER,
        oldest=TIME,
        newest=TIME,
    ),
)
SETTLED = define(
    "QuarantineSettled",
    record(
        ("done", "refused"),
        "How many went on or were given up, and what stays; by filter, how many the job will look at.",
        done=NUMBER,
        count=NUMBER,
        refused=REFUSED,
        job=text("The job that does it; ask for it by its id."),
    ),
)
JOB = many_job("QuarantineJob")
_WHICH = {"type": text(maxLength=300), "cause": text(maxLength=300)}
_MANY = {
    "ids": {"type": "array", "items": text(maxLength=300), "minItems": 1, "maxItems": 100},
    "filter": closed((), "All that fit; at most one of the two.", **_WHICH),
    "note": text("Why; kept in the audit log.", minLength=1, maxLength=2000),
}
AT_VERSION = Parameter("version", "The API version; without it the newest.", ID)


# ---- schemas --------------------------------------------------------------------------------------------------------
def list_schemas(call: Call) -> Answer:
    s = call.services
    rows = schemas.types(s.catalogue, schemas.listened(schemas.rules_of(s.store, call.tenant)), {})
    rest = [row for row in rows if row["name"] > (call.query["after"] or "")]
    page = rest[: call.query["limit"]]
    items = [
        {
            **{name: value for name, value in row.items() if name != "seen"},
            "schema": f"/api/v1/schemas/{row['name']}",
        }
        for row in page
    ]
    return Answer({"items": items, "next": page[-1]["name"] if len(rest) > len(page) else None})


def get_schema(call: Call) -> Answer:
    type, version = call.path["type"], _version(call)
    return Answer(schemas.shown_schema(call.services.catalogue, type, version))


def list_fields(call: Call) -> Answer:
    from app.web.picker import example, newest

    s, type = call.services, call.path["type"]
    sample = newest(s.store, call.tenant, [type]) or example([type])
    rules = schemas.rules_of(s.store, call.tenant)
    return Answer({"items": schemas.fields(s.catalogue, type, _version(call), rules, sample), "next": None})


def list_versions(call: Call) -> Answer:
    return Answer({"items": schemas.versions(), "next": None})


def list_unknown(call: Call) -> Answer:
    return Answer({"items": schemas.unknown(call.services.store, call.tenant), "next": None})


def compare(call: Call) -> Answer:
    q, kept = call.query, registry.versions()
    only = [q["type"]] if q["type"] else None
    rules = schemas.rules_of(call.services.store, call.tenant)
    return Answer(schemas.compared(q["from"] or kept[-2], q["to"] or kept[-1], rules, only))


def _version(call: Call) -> str:
    return call.query["version"] or registry.versions()[-1]


# ---- quarantine -----------------------------------------------------------------------------------------------------
def list_entries(call: Call) -> Answer:
    q = call.query
    state = q["state"] or quarantine.WAITING
    found = quarantine.entries(call.services.store, call.tenant, Which.of(q), state, q["after"], q["limit"])
    return Answer(found)


def get_entry(call: Call) -> Answer:
    return Answer(quarantine.one(call.services.store, call.tenant, call.path["id"]))


def list_causes(call: Call) -> Answer:
    found = quarantine.causes(call.services.store, call.tenant, Which.of(call.query))
    return Answer({"items": found, "next": None})


def replay(call: Call) -> Answer:
    return _settle(call, "replay")


def discard(call: Call) -> Answer:
    return _settle(call, "discard")


def _settle(call: Call, verb: quarantine_job.Verb) -> Answer:
    s, body = call.services, call.body
    if ("ids" in body) == ("filter" in body):
        raise Refused("Name the payloads by `ids` or by `filter`, one of them; an empty filter is all that wait.")
    as_it_is = bool(body.get("as_it_is"))
    if "filter" in body:
        which = Which.of(body["filter"])
        begun = quarantine_job.start(s.store, call.tenant, verb, which, call.actor, note(call), call.now, as_it_is)
        return Answer({"done": 0, "refused": [], "count": begun["count"], "job": begun["id"]}, 202)
    params = {"verb": verb, "as_it_is": as_it_is, "actor": call.actor, "why": note(call)}
    return Answer(quarantine_job.these(keeper_of(s), s.bus, call.tenant, body["ids"], params, call.now))


def get_job(call: Call) -> Answer:
    return Answer(_job(call))


def cancel_job(call: Call) -> Answer:
    _job(call)
    jobs.cancel(call.services.store, call.tenant, call.path["id"], call.now)
    return Answer(_job(call))


def _job(call: Call) -> dict[str, Any]:
    found = call.services.store.get(call.tenant, "job", call.path["id"])
    if found is None or found.body["type"] != quarantine_job.JOB:
        raise LookupError(f"There is no such job {call.path['id']!r}.")
    body = found.body
    return {"id": body["id"], "status": body["state"], "progress": body["progress"], "error": body["error"]} | {
        "summary": {"done": 0, "refused": 0, "why": [], **body["summary"]}
    }


# ---- the declarations -----------------------------------------------------------------------------------------------
OPERATIONS = (
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
        "The JSON Schema of one event type, as it is enforced",
        "schemas",
        get_schema,
        (200, "A JSON Schema; `x-fields` tells what the fields mean.", {"type": "object"}),
        parameters=(AT_VERSION,),
    ),
    Operation(
        "GET",
        "/schema-fields/{type}",
        "listSchemaFields",
        "The fields of one event type, with what they mean and which rules read them",
        "schemas",
        list_fields,
        (200, "The fields.", listed(FIELD)),
        parameters=(AT_VERSION,),
    ),
    Operation(
        "GET",
        "/schema-versions",
        "listSchemaVersions",
        "The API versions that are stored, the newest first",
        "schemas",
        list_versions,
        (200, "The versions.", listed(VERSION)),
    ),
    Operation(
        "GET",
        "/schema-changes",
        "compareSchemas",
        "What another API version changes, and which rules read what goes or moves",
        "schemas",
        compare,
        (200, "The changes.", CHANGES),
        parameters=(
            Parameter("from", "The version before; without it the last but one.", ID),
            Parameter("to", "The version after; without it the newest.", ID),
            Parameter("type", "Only of this type; without it of those that rules read.", ID),
        ),
    ),
    Operation(
        "GET",
        "/unknown-types",
        "listUnknownTypes",
        "The event types that came and are in no registry",
        "schemas",
        list_unknown,
        (200, "The types, the newest first.", listed(UNKNOWN_TYPE)),
    ),
    Operation(
        "GET",
        "/quarantine",
        "listQuarantine",
        "The payloads that do not conform, newest first",
        "schemas",
        list_entries,
        (200, "A page of payloads, without their values.", listed(ENTRY)),
        parameters=(
            Parameter("state", "In this state; without it those that wait.", {"type": "string", "enum": STATES}),
            Parameter("type", "Only of this type.", ID),
            Parameter("cause", "Only of this cause.", ID),
            *PAGED,
        ),
    ),
    Operation(
        "GET",
        "/quarantine/{id}",
        "getQuarantined",
        "One payload that does not conform, without its values",
        "schemas",
        get_entry,
        (200, "The payload.", ENTRY),
    ),
    Operation(
        "GET",
        "/quarantine-causes",
        "listQuarantineCauses",
        "The payloads that wait, counted by cause",
        "schemas",
        list_causes,
        (200, "The causes, the largest first.", listed(QUARANTINE_CAUSE)),
        parameters=(Parameter("type", "Only of this type.", ID), Parameter("cause", "Only this one.", ID)),
    ),
    Operation(
        "POST",
        "/quarantine/replay",
        "replayQuarantined",
        "Check payloads again and let those on that conform",
        "schemas",
        replay,
        (200, "What came of it.", SETTLED),
        description="By `ids` at once; by `filter` as a job, answered 202. `as_it_is` lets them on all the same.",
        also=(202,),
        body=closed(("note",), "", **_MANY, as_it_is={"type": "boolean"}),
    ),
    Operation(
        "POST",
        "/quarantine/discard",
        "discardQuarantined",
        "Give payloads up for good, and clear their bodies",
        "schemas",
        discard,
        (200, "What came of it.", SETTLED),
        description="By `ids` at once; by `filter` as a job, answered 202.",
        also=(202,),
        body=closed(("note",), "", **_MANY),
    ),
    Operation(
        "GET",
        "/quarantine-jobs/{id}",
        "getQuarantineJob",
        "How far a replay or discard of many is",
        "schemas",
        get_job,
        (200, "The job.", JOB),
    ),
    Operation(
        "POST",
        "/quarantine-jobs/{id}/cancel",
        "cancelQuarantineJob",
        "Stop a replay or discard of many",
        "schemas",
        cancel_job,
        (200, "The job as it is then.", JOB),
        errors=(409,),
    ),
)
