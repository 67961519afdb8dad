"""API calls that work: verbs on runs, switches, connections, and loading events."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from app import author, browse, operate, routes
from app.approvals import Change
from app.audit import entry
from app.connections.types import TLS, TYPES
from app.receive import history
from app.web import second
from app.web.api.log import RUN
from app.web.api.openapi import NUMBER, TIME, Answer, Call, Operation, closed, define, listed, nullable, record, text
from app.web.api.rules import NOTE, note
from app.web.gate import access
from rules.ports import Refused
from rules.route import problems_of
from rules.rule import RuleError

MOST_LINES = 100_000  # of one request; events of Stripe take a kilobyte or more each
LARGEST_LOAD = 32 * 1024 * 1024  # bytes of JSON lines in one request; larger files come through the command line
WHY = {"note": text("Why; kept in the audit log.", maxLength=2000)}
CONNECTION = define(
    "Connection",
    record(
        ("name", "type", "url", "state"),
        "Where notices go. Its secret is never answered, but once when it was made here.",
        name=text(),
        type=text(enum=[*TYPES, "stripe"]),
        url=text("Its address, or what may be shown of it."),
        state=text(enum=["on", "paused", "failing"]),
        reason=text(),
        created_at=TIME,
        secret=text("Only in the answer that made it."),
        both_until=text("Until then the secret before signs as well."),
        live_actions={"type": "boolean", "description": "In a live account: whether it may act. Absent: it may."},
    ),
)
NEW_CONNECTION = closed(
    ("name",),
    "Each type has its own fields: webhook and access url and headers; smtp host, port, tls, from and user; hubspot "
    "and salesforce base, client_id, client_secret, and version for Salesforce; route url, types and only_if.",
    name=text("Lower-case letters, digits and hyphens.", maxLength=40),
    note=text("Why; where a second person is asked for.", maxLength=2000),
    type=text(enum=[*TYPES, "stripe"], default="webhook"),
    url=text("https; in development also http on this machine.", maxLength=2000),
    secret=text(
        "A webhook's: `whsec_` and base64; without it one is made and answered once. Mail's: the password. Slack's: "
        "the webhook address. HubSpot's: the access token, or with a client_id the refresh token, as Salesforce's.",
        maxLength=2000,
    ),
    host=text("The mail server.", maxLength=253),
    port={"type": "integer", "minimum": 1, "maximum": 65535},
    tls=text(enum=list(TLS)),
    user=text(maxLength=2000),
    **{"from": text("The sender's address.", maxLength=320)},
    base=text("HubSpot's or Salesforce's address.", maxLength=2000),
    client_id=text("Of an OAuth app.", maxLength=2000),
    client_secret=text("Of an OAuth app.", maxLength=2000),
    version=text("Salesforce's API version.", maxLength=10),
    headers={"type": "object", "additionalProperties": {"type": "string"}},
    types={"type": "array", "items": text(), "description": "A route's event types, or `*` for every event."},
    only_if={"type": ["object", "null"], "description": "A route's condition, in the rule language."},
    rate={"type": ["number", "null"], "description": "At most so many starts a second."},
    at_once={"type": ["integer", "null"], "description": "At most so many at the same time."},
    in_order={"type": "boolean", "description": "One after the other for each customer."},
)
SWITCHES = define(
    "Switches",
    record(
        ("all", "rules", "connections"),
        "What is stopped: nothing of it acts until it is let go.",
        all={"type": "boolean"},
        rules={"type": "array", "items": text()},
        connections={"type": "array", "items": text()},
    ),
)
LOADED = define(
    "Loaded",
    record(
        ("events", "refused_count", "refused"),
        "What a load came to.",
        events={**NUMBER, "description": "Taken; what was there already is among them."},
        refused_count=NUMBER,
        refused={"type": "array", "items": record(("line", "problem"), line=NUMBER, problem=text())},
        oldest=nullable(TIME),
        newest=nullable(TIME),
    ),
)


# ---- runs -----------------------------------------------------------------------------------------------------------
def operated(verb: str) -> Callable[[Call], Answer]:
    """The handler of a verb on a run."""

    def handler(call: Call) -> Answer:
        store, id = call.services.store, call.path["id"]
        operate.act(store, call.tenant, id, verb, call.actor, note(call), call.now)
        return Answer(browse.run(store, call.tenant, id))

    return handler


# ---- switches -------------------------------------------------------------------------------------------------------
def get_switches(call: Call) -> Answer:
    return Answer(operate.switches(call.services.store, call.tenant))


def set_switch(call: Call) -> Answer:
    what, stopped = call.body["what"], call.body["stopped"]
    if not stopped:
        access.require_changes()
    return Answer(operate.switch(call.services.store, call.tenant, what, stopped, call.actor, note(call), call.now))


# ---- connections ----------------------------------------------------------------------------------------------------
def list_connections(call: Call) -> Answer:
    found = author.connections(call.services.store, call.tenant)
    return Answer({"items": [without_internals(row) for row in found], "next": None})


def save_connection(call: Call) -> Answer:
    s = call.services
    known = any(row["name"] == call.body["name"] for row in author.connections(s.store, call.tenant))
    given = dict(routes.tokenised(call.body, s.vault, s.catalogue, call.tenant))
    why = str(given.pop("note", ""))
    came = second.change(Change("connection", str(given["name"]), given), why)
    row = came.done or author.connection(s.store, call.tenant, str(given["name"]))
    return second.answered(came, without_internals(row), 200 if known else 201)


def replace_secret(call: Call) -> Answer:
    s, given = call.services, call.body
    row = author.replace_secret(
        s.store,
        s.secrets,
        call.tenant,
        call.path["name"],
        given.get("hours", 24),
        call.actor,
        note(call),
        call.now,
        given.get("secret", ""),
    )
    return Answer(without_internals(row))


def delete_route(call: Call) -> Answer:
    waiting = routes.delete(call.services.store, call.tenant, call.path["name"], call.actor, note(call), call.now)
    return Answer({"cancelled": waiting})


def count_route(call: Call) -> Answer:
    types, only_if = call.body["types"], call.body.get("only_if")
    wrong = problems_of(types, only_if, call.services.catalogue)
    if wrong:
        raise RuleError(wrong)
    found = routes.count(call.services.store, call.tenant, types, only_if, call.now)
    return Answer({name: found[name] for name in ("matched", "looked", "more")})


def without_internals(row: author.Row) -> dict[str, Any]:
    """A header's value may be a credential, so only its name is answered."""
    shown = {key: value for key, value in row.items() if key not in ("secret_name", "headers")}
    return {**shown, "headers": sorted(row.get("headers") or {})}


# ---- events in ------------------------------------------------------------------------------------------------------
def load_events(call: Call) -> Answer:
    s = call.services
    account = call.tenant.split("/")[0]
    if call.body.count(b"\n") > MOST_LINES:
        raise Refused(f"The body has more than {MOST_LINES:,} lines. Load it through the command line.")
    loaded = history.load(io.BytesIO(call.body), s.bus, s.vault, call.now, account)
    told = {"events": loaded.events}
    s.store.commit(call.tenant, None, [entry(call.now, call.actor, "import events", "history", None, told)])
    return Answer(asdict(loaded))


# ---- the declarations -----------------------------------------------------------------------------------------------
def verb(name: str, summary: str) -> Operation:
    """`POST /runs/{id}/<verb>`."""
    return Operation(
        "POST",
        f"/runs/{{id}}/{name}",
        f"{name}Run",
        summary,
        "runs",
        operated(name),
        (200, "The run as it is then.", RUN),
        body=NOTE,
        body_required=False,
        errors=(409,),
    )


OPERATIONS = (
    verb("retry", "Do the failed step once more, under the same key"),
    verb("again", "Do the step as a new effect, under a new key"),
    verb("skip", "Leave out the step it stands at, or the rest of its wait"),
    verb("cancel", "End the run"),
    verb("approve", "Answer its approval with yes"),
    verb("decline", "Answer its approval with no"),
    verb("release", "Let a parked run go past its limit"),
    verb("discard", "End a parked run"),
    verb("start", "Let a parked run ask its rule's limits again"),
    Operation(
        "GET",
        "/switches",
        "getSwitches",
        "What is stopped",
        "runs",
        get_switches,
        (200, "The switches.", SWITCHES),
    ),
    Operation(
        "POST",
        "/switches",
        "setSwitch",
        "Stop everything, one rule or one connection, or let it go",
        "runs",
        set_switch,
        (200, "The switches as they are then.", SWITCHES),
        body=closed(
            ("what", "stopped"),
            "",
            what=text("`all`, `rule:<id>` or `connection:<name>`.", maxLength=200),
            stopped={"type": "boolean"},
            **WHY,
        ),
        errors=(409,),
    ),
    Operation(
        "GET",
        "/connections",
        "listConnections",
        "Where notices go",
        "connections",
        list_connections,
        (200, "The connections.", listed(CONNECTION)),
    ),
    Operation(
        "POST",
        "/connections",
        "saveConnection",
        "Make a connection, or change the one of this name",
        "connections",
        save_connection,
        (201, "The connection; `secret` is in it when it was made here.", CONNECTION),
        description="Answers 200 when it changed one that was there, and 202 with a proposal where that lets more "
        "happen and takes a second person.",
        also=(200, 202),
        body=NEW_CONNECTION,
        errors=(409, 422),
    ),
    Operation(
        "POST",
        "/routes:count",
        "countRoute",
        "How many events of the last day a route's filter takes",
        "connections",
        count_route,
        (
            200,
            "The count; `more` when only the newest were looked at.",
            record(("matched", "looked", "more"), matched=NUMBER, looked=NUMBER, more={"type": "boolean"}),
        ),
        body=closed(
            ("types",),
            "",
            types={"type": "array", "items": text(), "minItems": 1, "maxItems": 100},
            only_if={"type": ["object", "null"]},
        ),
        errors=(422,),
    ),
    Operation(
        "POST",
        "/routes/{name}/delete",
        "deleteRoute",
        "Delete a route, and forward nothing more that waits for it",
        "connections",
        delete_route,
        (200, "How many waiting events are not forwarded.", record(("cancelled",), cancelled=NUMBER)),
        body=NOTE,
        body_required=False,
    ),
    Operation(
        "POST",
        "/connections/{name}/secret",
        "replaceSecret",
        "Sign with another secret, and for some hours with both",
        "connections",
        replace_secret,
        (200, "The connection with its new `secret`, which is answered this once.", CONNECTION),
        body=closed(
            (),
            "",
            hours={"type": "integer", "minimum": 0, "maximum": 720, "default": 24},
            secret=text("`whsec_` and base64; without it one is made.", maxLength=2000),
            **WHY,
        ),
        errors=(404, 409, 422),
    ),
    Operation(
        "POST",
        "/events:import",
        "importEvents",
        "Load events as history; no rule acts on them",
        "log",
        load_events,
        (200, "What the load came to.", LOADED),
        description="JSON lines, one Stripe event each. Events that are there already are passed over.",
        body={"type": "string", "description": "JSON lines."},
        raw="application/jsonl",
        limit=LARGEST_LOAD,
    ),
)
