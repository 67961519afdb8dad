"""API calls on the audit log: search it, have it as CloudEvents, and hold it against its chain."""

from __future__ import annotations

from app import browse
from app.audit import export, verify
from app.web.api.log import ID, PAGED
from app.web.api.openapi import (
    ANYTHING,
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
from rules.event import iso

AUDIT = define(
    "AuditEntry",
    record(
        ("id", "at", "actor", "verb", "about"),
        "Who changed what, when, from what to what, and why.",
        id=text(),
        at=TIME,
        actor=text(),
        verb=text(),
        about=text(),
        to=ANYTHING,
        why=nullable(text()),
        hash=text("SHA-256 of the entry as canonical JSON without this field; the chain of seals holds it."),
        **{"from": ANYTHING},
    ),
)
AUDIT_EVENT = define(
    "AuditCloudEvent",
    record(
        ("specversion", "id", "source", "type", "time", "data"),
        "The same as a CloudEvent 1.0.",
        specversion=text(enum=["1.0"]),
        id=text(),
        source=text(),
        type=text("`dev.signalbox.audit.` and the verb."),
        subject=text("What it was done to."),
        time=TIME,
        datacontenttype=text(),
        audithash=text(),
        data=ANYTHING,
    ),
)
AUDIT_REPORT = define(
    "AuditReport",
    record(
        ("tenant", "whole", "entries", "sealed", "unsealed", "broken", "anchor"),
        "Whether the audit log is as it was written.",
        tenant=text(),
        whole={"type": "boolean"},
        entries=NUMBER,
        sealed=NUMBER,
        unsealed={**NUMBER, "description": "Entries that the chain does not hold yet."},
        oldest_unsealed=nullable(TIME),
        late={**NUMBER, "description": "Entries that were sealed long after the time they bear."},
        seals=NUMBER,
        until=nullable(TIME),
        anchor=text("The head of the chain, to be kept elsewhere."),
        anchors={**NUMBER, "description": "How many anchors were held against the chain."},
        wrong=NUMBER,
        broken={
            "type": "array",
            "description": "What is not as it was written, the first found first.",
            "items": record(
                ("what", "about", "says"),
                what=text(enum=["changed", "removed", "inserted"]),
                about=text("The id of an entry, or a seal."),
                says=text(),
            ),
        },
    ),
)


# ---- handlers -------------------------------------------------------------------------------------------------------
def list_audit(call: Call) -> Answer:
    q = call.query
    found = browse.audit(
        call.services.store,
        call.tenant,
        **{name: q[name] for name in ("about", "actor", "verb", "after", "limit")},
        since=_asked("since", q["since"]),
        until=_asked("until", q["until"]),
    )
    if q["format"] == "cloudevents":
        found["items"] = [export.cloudevent(call.tenant, one["id"], one) for one in found["items"]]
    return Answer(found)


def _asked(name: str, given: str | None) -> str | None:
    found = moment(name, given)
    return iso(found) if found else None


def verify_audit(call: Call) -> Answer:
    anchors = [verify.read_anchor(text) for text in (call.query["anchor"] or "").split(",") if text]
    since = moment("since", call.query["since"])
    return Answer(verify.verify(call.services.store, call.tenant, since, anchors).body())


OPERATIONS = (
    Operation(
        "GET",
        "/audit",
        "listAudit",
        "Who changed what, newest first",
        "log",
        list_audit,
        (200, "A page of entries.", listed({"anyOf": [AUDIT, AUDIT_EVENT]})),
        parameters=(
            Parameter("about", "Only about this rule, run, action or connection.", ID),
            Parameter("actor", "Only what this person or program did.", ID),
            Parameter("verb", "Only this, such as `publish`.", ID),
            Parameter("since", "Not before this moment.", TIME),
            Parameter("until", "Not after this moment.", TIME),
            Parameter(
                "format",
                "`cloudevents` answers each entry as a CloudEvent 1.0.",
                {"type": "string", "enum": list(export.FORMATS), "default": "json"},
            ),
            *PAGED,
        ),
    ),
    Operation(
        "GET",
        "/audit:verify",
        "verifyAudit",
        "Walk the audit log's chain: is every entry as it was written",
        "log",
        verify_audit,
        (200, "What was found.", AUDIT_REPORT),
        parameters=(
            Parameter("since", "Only entries of this time and later; a long log takes a while otherwise.", TIME),
            Parameter("anchor", "Heads that were kept elsewhere, `number:digest`, by commas.", text(maxLength=4000)),
        ),
    ),
)
