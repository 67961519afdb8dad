"""API calls that ask what if, and why: backtests, which are jobs, and explanations."""

from __future__ import annotations

from app import explaining, inquire, jobs
from app.web.openapi import (
    MONEY,
    NUMBER,
    TIME,
    Answer,
    Call,
    Operation,
    closed,
    define,
    moment,
    nullable,
    record,
    text,
)

BACKTEST = define(
    "Backtest",
    record(
        ("id", "status", "progress"),
        "What a rule would have done.",
        id=text(),
        status=text(enum=["queued", "running", "done", "failed", "cancelled"]),
        progress={"type": "number", "minimum": 0, "maximum": 1},
        error=nullable(text()),
        summary=record(runs=NUMBER, subjects=NUMBER, amount=MONEY),
        runs={
            "type": "array",
            "items": record(
                ("subject", "at"),
                subject=text(),
                at=TIME,
                events={"type": "array", "items": text()},
                steps={"type": "array"},
                stopped={},
            ),
        },
    ),
)
EXPLANATION = define(
    "Explanation",
    record(
        ("fired", "sentence", "gate", "tree"),
        "Why a rule fired, or why not.",
        fired={"type": "boolean"},
        sentence=text("One sentence."),
        gate=nullable(text("The first thing that stood in the way.")),
        tree={"type": ["object", "null"], "description": "Each condition, needed and actual."},
        nearest={
            "type": ["object", "null"],
            "description": "The nearest miss, and the smallest edit with which it would have fired.",
        },
        trigger=nullable(text("The event that it is about.")),
        run=nullable(text("The run that came of it.")),
    ),
)
RULE = {"type": ["string", "object"], "description": "A rule's id, or a document."}
WHEN = {"anyOf": [TIME, {"type": "null"}]}
NEW_BACKTEST = closed(("rule",), "", rule=RULE, since=WHEN, until=WHEN)
EXPLAIN = {
    **closed(
        ("rule",),
        "A subject or an event.",
        rule=RULE,
        subject=text("`sub_...`, `cus_...`, or a subject key.", maxLength=300),
        event=text("An event's id.", maxLength=300),
        at=WHEN,
        version={"type": ["integer", "null"], "minimum": 1, "description": "Of a rule's id: one of its versions."},
    ),
    "oneOf": [{"required": ["subject"]}, {"required": ["event"]}],
}


# ---- handlers -------------------------------------------------------------------------------------------------------
def start_backtest(call: Call) -> Answer:
    s, rule = call.services, call.body["rule"]
    since, until = moment("since", call.body.get("since")), moment("until", call.body.get("until"))
    id = inquire.start_backtest(s.store, s.vault, s.catalogue, s.connectors, call.tenant, rule, since, until, call.now)
    return Answer({"id": id}, 202, {"Location": f"/api/v1/backtests/{id}"})


def get_backtest(call: Call) -> Answer:
    return Answer(inquire.backtest(call.services.store, call.tenant, call.path["id"]))


def cancel_backtest(call: Call) -> Answer:
    inquire.backtest(call.services.store, call.tenant, call.path["id"])
    jobs.cancel(call.services.store, call.tenant, call.path["id"], call.now)
    return get_backtest(call)


def explain(call: Call) -> Answer:
    s, body = call.services, call.body
    answer = explaining.explain(
        s.store,
        s.vault,
        s.catalogue,
        s.connectors,
        call.tenant,
        body["rule"],
        call.now,
        subject=body.get("subject"),
        event=body.get("event"),
        at=moment("at", body.get("at")),
        number=body.get("version"),
    )
    return Answer(answer)


OPERATIONS = (
    Operation(
        "POST",
        "/backtests",
        "startBacktest",
        "What a rule would have done in the past; nothing is sent",
        "rules",
        start_backtest,
        (202, "It is queued; ask for it by its id.", record(("id",), id=text())),
        body=NEW_BACKTEST,
        errors=(422,),
    ),
    Operation(
        "GET",
        "/backtests/{id}",
        "getBacktest",
        "A backtest: how far it is, and what came of it",
        "rules",
        get_backtest,
        (200, "The backtest.", BACKTEST),
    ),
    Operation(
        "POST",
        "/backtests/{id}/cancel",
        "cancelBacktest",
        "Stop a backtest",
        "rules",
        cancel_backtest,
        (200, "The backtest.", BACKTEST),
        errors=(409,),
    ),
    Operation(
        "POST",
        "/explain",
        "explain",
        "Why a rule fired for a subject or at an event, or why not",
        "rules",
        explain,
        (200, "The explanation.", EXPLANATION),
        body=EXPLAIN,
        errors=(422,),
    ),
)
