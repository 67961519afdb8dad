"""API calls that ask what if, and why: backtests, which are jobs, and explanations."""

from __future__ import annotations

from app.inquire import backtests, explaining
from app.services import lab_of
from app.web.api.openapi import (
    MONEY,
    NUMBER,
    TIME,
    Answer,
    Call,
    Operation,
    Parameter,
    closed,
    define,
    moment,
    nullable,
    record,
    text,
)

PART = record(customers=NUMBER, runs=NUMBER, amount=MONEY)
SUMMARY = record(
    ("runs", "subjects", "amount"),
    "What all of its runs come to.",
    runs=NUMBER,
    subjects=NUMBER,
    customers=NUMBER,
    amount=MONEY,
    paid={"type": "object", "description": "Three bounds: paid before any action, after one, never; and still open."},
    busiest={"type": ["object", "null"], "description": "The day with most runs, and the most money of a day."},
    proposed_limits={"type": "object", "description": "Three times the busiest day, as a rule's `limits` say it."},
    versus=record((), "Against another version, by customer.", enter=PART, leave=PART, stay=PART, before=PART),
    limits={"type": "array", "items": text(), "description": "What it covers and what it cannot know."},
    rule_hash=text(),
    dataset=text("A digest of the events that were read."),
    digest=text("The same for the same rules, history and span."),
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
        rules={"type": "array", "items": text()},
        summary=SUMMARY,
        runs={
            "type": "array",
            "items": record(
                ("subject", "at"),
                subject=text(),
                customer=nullable(text()),
                at=TIME,
                events={"type": "array", "items": text()},
                steps={"type": "array", "description": "Each with its virtual date."},
                state=text(enum=["done", "stopped", "failed", "parked", "needs_person", "open"]),
                stopped={},
                money=MONEY,
                paid={"type": ["object", "null"], "description": "The first payment afterwards, in the history."},
                outcome=nullable(text("without_action, after_action, never, open; null where nothing is owed.")),
                change=nullable(text("Beside another version: enters, stays, leaves.")),
            ),
        },
        more=NUMBER,
        next={"type": ["integer", "null"], "description": "`after` of the next page of runs."},
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
NEW_BACKTEST = {
    **closed(
        (),
        "One rule, or several that run together.",
        rule=RULE,
        rules={"type": "array", "items": RULE, "minItems": 1, "maxItems": 20},
        since=WHEN,
        until=WHEN,
        against={
            "type": ["string", "object", "null"],
            "description": "Compare with `live` (what is in force), a version (`rule@3`), or a document.",
        },
        together={"type": "boolean", "description": "Let all other rules in force run along."},
    ),
    "oneOf": [{"required": ["rule"]}, {"required": ["rules"]}],
}
AFTER = Parameter("after", "Where the page of runs begins.", {"type": "integer", "minimum": 0})
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
    body = call.body
    rules = body["rules"] if "rules" in body else [body["rule"]]
    since, until = moment("since", body.get("since")), moment("until", body.get("until"))
    asked = backtests.Question(call.tenant, rules, since, until, body.get("against"), body.get("together", False))
    id = backtests.start(lab_of(call.services), asked, call.now)
    return Answer({"id": id}, 202, {"Location": f"/api/v1/backtests/{id}"})


def get_backtest(call: Call) -> Answer:
    after = call.query.get("after") or 0
    return Answer(backtests.backtest(call.services.store, call.tenant, call.path["id"], after))


def cancel_backtest(call: Call) -> Answer:
    backtests.cancel(call.services.store, call.tenant, call.path["id"], call.now)
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
        errors=(409, 422),
    ),
    Operation(
        "GET",
        "/backtests/{id}",
        "getBacktest",
        "A backtest: how far it is, and what came of it",
        "rules",
        get_backtest,
        (200, "The backtest.", BACKTEST),
        parameters=(AFTER,),
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
