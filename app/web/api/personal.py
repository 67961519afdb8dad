"""API calls on personal values: which tokens a thing holds, one value for a reason, erasure, retention, the key."""

from __future__ import annotations

from typing import Any

from app.personal import erasing, retention, revealing, rotating
from app.personal.revealing import ON, On
from app.web.api.openapi import (
    NUMBER,
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
from rules.personal_sorts import SORTS
from rules.ports import Refused

HELD = define(
    "HeldValue",
    record(
        ("token", "path", "sort"),
        "A token where a personal value would stand.",
        token=text("The same value has the same token throughout the tenant."),
        path=text("Where it stands."),
        sort=text(enum=list(SORTS)),
    ),
)
SHOWN = define(
    "ShownValue",
    record(
        ("token", "path", "value"),
        "One personal value.",
        token=text(),
        path=text(),
        value=nullable(text("Null when it is not kept any more.")),
    ),
)
JOB = {"type": ["object", "null"], "description": "The last job, with `state`, `progress` and `summary`."}
ERASURE = define(
    "Erasure",
    record(
        ("customer", "values", "shared", "events", "actions", "quarantined", "erased", "job"),
        "What an erasure removes, or how far it is. Counts only.",
        customer=text(),
        values={**NUMBER, "description": "Values that are kept of the customer."},
        shared={**NUMBER, "description": "How many of them somebody else has as well; those stay theirs."},
        events={**NUMBER, "description": "Events, which stay with tokens."},
        actions=NUMBER,
        quarantined=NUMBER,
        erased={"type": "boolean", "description": "Nothing is kept of the customer any more."},
        job=JOB,
    ),
)
DAYS = {"type": ["integer", "null"], "minimum": 1, "maximum": retention.LONGEST}
RETENTION = define(
    "Retention",
    record(
        ("sorts", "job"),
        "How long personal values are kept, in days since they were last heard.",
        sorts={
            "type": "array",
            "items": record(
                ("sort", "title", "days", "due"),
                sort=text(enum=list(SORTS)),
                title=text(),
                days={**DAYS, "description": "Null: for ever."},
                due={**NUMBER, "description": "How many would be removed now."},
            ),
        },
        job=JOB,
    ),
)
KEYS = define(
    "VaultKeys",
    record(
        ("key", "old", "job"),
        "The key that seals the vault's values, and those that only open until the rotation ends.",
        key=text("Its id."),
        old={"type": "array", "items": text()},
        job=JOB,
    ),
)
REASON = text("Why; kept in the audit log. Write no personal value into it.", minLength=1, maxLength=2000)
_ON = Parameter("on", "What holds the token.", {"type": "string", "enum": list(ON)}, "path")


# ---- handlers -------------------------------------------------------------------------------------------------------
def list_held(call: Call) -> Answer:
    found = revealing.held(call.services.store, call.tenant, _on(call), call.path["id"])
    return Answer({"items": [{"token": o.token, "path": o.path, "sort": o.sort} for o in found], "next": None})


def reveal(call: Call) -> Answer:
    s, given = call.services, call.body
    shown = revealing.show(
        s.store, s.vault, call.tenant, _on(call), call.path["id"], given["token"], call.actor, given["reason"], call.now
    )
    body = {"token": shown.token, "path": shown.path, "value": shown.value}
    return Answer(body, headers={"Cache-Control": "no-store"})


def _on(call: Call) -> On:
    found = next((on for on in ON if on == call.path["on"]), None)
    if found is None:
        raise LookupError(f"Tokens stand on {', '.join(ON)}.")
    return found


def get_erasure(call: Call) -> Answer:
    return Answer(_erasure(call))


def erase(call: Call) -> Answer:
    s, customer = call.services, call.path["id"]
    if call.body["confirm"] != customer:
        raise Refused("`confirm` must be the customer's id.")
    erasing.start(s.store, s.vault, call.tenant, customer, call.actor, call.body["reason"], call.now)
    return Answer(_erasure(call), 202)


def lift_erasure(call: Call) -> Answer:
    s = call.services
    erasing.lift(s.store, s.vault, call.tenant, call.path["id"], call.actor, call.body["reason"], call.now)
    return Answer(_erasure(call))


def _erasure(call: Call) -> dict[str, Any]:
    return erasing.preview(call.services.store, call.services.vault, call.tenant, call.path["id"])


def get_retention(call: Call) -> Answer:
    return Answer(_retention(call))


def put_retention(call: Call) -> Answer:
    retention.save(call.services.store, call.tenant, call.body["days"], call.actor, call.now)
    return Answer(_retention(call))


def run_retention(call: Call) -> Answer:
    retention.start(call.services.store, call.tenant, call.now, call.actor)
    return Answer(_retention(call), 202)


def _retention(call: Call) -> dict[str, Any]:
    found = retention.look(call.services.store, call.services.vault, call.tenant, call.now)
    return {name: found[name] for name in ("sorts", "job")}


def get_keys(call: Call) -> Answer:
    if call.services.rotation is None:
        raise LookupError("Values are not sealed here.")
    return Answer(rotating.status(call.services.store, call.services.rotation))


OPERATIONS = (
    Operation(
        "GET",
        "/personal/{on}/{id}",
        "listPersonalValues",
        "The tokens of an event, a customer or a run",
        "personal",
        list_held,
        (200, "Each token once, with its place; no values.", listed(HELD)),
        parameters=(_ON,),
    ),
    Operation(
        "POST",
        "/personal/{on}/{id}",
        "revealPersonalValue",
        "Show one personal value",
        "personal",
        reveal,
        (200, "The value. The look is in the audit log before it is answered.", SHOWN),
        description="Takes the right `reveal`. The token must stand on what is named.",
        parameters=(_ON,),
        body=closed(("token", "reason"), "", token=text(maxLength=400), reason=REASON),
    ),
    Operation(
        "GET",
        "/customers/{id}/erasure",
        "getErasure",
        "What erasing a customer would remove",
        "personal",
        get_erasure,
        (200, "Counts, and how far an erasure is.", ERASURE),
    ),
    Operation(
        "POST",
        "/customers/{id}/erasure",
        "eraseCustomer",
        "Erase a customer's personal values",
        "personal",
        erase,
        (202, "It has begun; the worker does it.", ERASURE),
        body=closed(("confirm", "reason"), "", confirm=text("The customer's id again.", maxLength=300), reason=REASON),
    ),
    Operation(
        "POST",
        "/customers/{id}/erasure/lift",
        "liftErasure",
        "Keep what is heard of an erased customer again",
        "personal",
        lift_erasure,
        (200, "From now on values are kept; what was erased does not come back.", ERASURE),
        body=closed(("reason",), "", reason=REASON),
    ),
    Operation(
        "GET",
        "/retention",
        "getRetention",
        "How long personal values are kept",
        "personal",
        get_retention,
        (200, "By sort, with what would go now and the last removal.", RETENTION),
    ),
    Operation(
        "PUT",
        "/retention",
        "putRetention",
        "Set how long personal values are kept",
        "personal",
        put_retention,
        (200, "As it is now.", RETENTION),
        body=closed(
            ("days",),
            "",
            days=closed(
                (), "Days by sort; a sort that is left out or null is kept for ever.", **dict.fromkeys(SORTS, DAYS)
            ),
        ),
        errors=(422,),
    ),
    Operation(
        "POST",
        "/retention/run",
        "runRetention",
        "Remove now what is older than its time",
        "personal",
        run_retention,
        (202, "It has begun; the worker does it.", RETENTION),
    ),
    Operation(
        "GET",
        "/vault/keys",
        "getVaultKeys",
        "The vault's key and its rotation",
        "personal",
        get_keys,
        (200, "Ids of keys, never keys.", KEYS),
    ),
)
