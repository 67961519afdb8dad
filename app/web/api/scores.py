"""API calls on what is known beyond the payload: scores that are set from outside, and facts folded from the log."""

from __future__ import annotations

from app import knowing, scores
from app.web.api.log import AFTER, LIMIT
from app.web.api.openapi import (
    ANYTHING,
    NEXT,
    NUMBER,
    TIME,
    Answer,
    Call,
    Operation,
    Parameter,
    closed,
    define,
    listed,
    moment,
    nullable,
    record,
    text,
)
from app.web.api.rules import NOTE, note

NAMED = {"name": text("As rules write it after `score.`."), "title": text("What people call it.")}
SCORE = define(
    "Score",
    record(
        ("name", "title", "values", "updated_at"),
        "A number about each customer that comes from outside; rules read it as `score.<name>`.",
        **NAMED,
        values={**NUMBER, "description": "How many customers have one."},
        updated_at=TIME,
    ),
)
SCORE_VALUE = define(
    "ScoreValue",
    record(
        ("customer", "value", "at", "source", "history"),
        "A customer's score, and the short history that decisions about the past read.",
        score=text(),
        customer=text("The id at Stripe, `cus_...`."),
        value={"type": "number"},
        at={**NUMBER, "description": "Since when it counts, unix seconds."},
        source=text("Who set it."),
        updated_at=TIME,
        history={"type": "array", "items": ANYTHING, "description": "Values with `at` and `source`, oldest first."},
    ),
)
SCORE_PAGE = define(
    "ScoreWithValues",
    record(
        ("name", "title", "values", "items", "next"),
        "A score with a page of its values, last set first.",
        **NAMED,
        values=NUMBER,
        updated_at=TIME,
        items={"type": "array", "items": SCORE_VALUE},
        next=NEXT,
    ),
)
FACT = define(
    "Fact",
    record(
        ("name", "title", "type", "says", "sources"),
        "Something known beyond an event's payload, folded from the recorded events.",
        name=text("As rules write it, such as `fact.customer.mrr`."),
        title=text("In plain words."),
        type=text(enum=["number", "amount", "text", "id", "enum", "time", "boolean", "list"]),
        says=text("What it is."),
        enum={"type": "array", "items": text()},
        empty={"description": "What it is when nothing is known; null is absent."},
        sources={"type": "array", "items": text("An event type that it is folded from.")},
    ),
)
KNOWN = define(
    "KnownOfCustomer",
    record(
        ("name", "title", "value", "text", "event", "path"),
        "A fact or a score of one customer, with the event that it came from.",
        name=text(),
        title=text(),
        says=text(),
        type=text(),
        value={"description": "Null when it is not known. Money is minor units of `currency`, times are unix seconds."},
        text=text("The value as people write it."),
        event=nullable(text("The event that said so.")),
        path=text("Where in it."),
        currency=text(),
        at=text("Since when a score counts."),
        source=text("Who set a score."),
    ),
)


# ---- handlers -------------------------------------------------------------------------------------------------------
def list_scores(call: Call) -> Answer:
    return Answer({"items": scores.scores(call.services.store, call.tenant), "next": None})


def read_score(call: Call) -> Answer:
    store, query = call.services.store, call.query
    return Answer(scores.score(store, call.tenant, call.path["name"], query["after"], query["limit"]))


def put_score(call: Call) -> Answer:
    store, name, given = call.services.store, call.path["name"], call.body
    scores.declare(store, call.tenant, name, given.get("title", ""), call.actor, call.now)
    if given.get("values"):
        scores.set_values(store, call.tenant, name, given["values"], f"api: {call.actor}", call.actor, call.now)
    return Answer(scores.score(store, call.tenant, name, limit=50))


def delete_score(call: Call) -> Answer:
    store = call.services.store
    scores.delete(store, call.tenant, call.path["name"], call.actor, note(call), call.now)
    return Answer({"items": scores.scores(store, call.tenant), "next": None})


def list_facts(call: Call) -> Answer:
    return Answer({"items": knowing.table(), "next": None})


def known_of_customer(call: Call) -> Answer:
    at = moment("at", call.query["at"]) or call.now
    return Answer({"items": knowing.of_customer(call.services.store, call.tenant, call.path["id"], at), "next": None})


VALUE = closed(
    ("customer", "value"),
    "",
    customer=text("The id at Stripe, `cus_...`.", maxLength=200),
    value={"type": "number"},
    at={
        "type": ["string", "integer"],
        "description": "Since when it counts: ISO 8601 or unix seconds, else now.",
    },
)
OPERATIONS = (
    Operation(
        "GET",
        "/facts",
        "listFacts",
        "The facts that rules may ask for",
        "facts",
        list_facts,
        (200, "Every fact with what it is folded from.", listed(FACT)),
    ),
    Operation(
        "GET",
        "/customers/{id}/facts",
        "readCustomerFacts",
        "What rules know of a customer",
        "facts",
        known_of_customer,
        (200, "Every fact and score, as of then.", listed(KNOWN)),
        parameters=(Parameter("at", "As of this instant, by Stripe's time; now without it.", TIME),),
    ),
    Operation(
        "GET",
        "/scores",
        "listScores",
        "The scores that are declared",
        "scores",
        list_scores,
        (200, "The scores.", listed(SCORE)),
    ),
    Operation(
        "GET",
        "/scores/{name}",
        "readScore",
        "One score with its values",
        "scores",
        read_score,
        (200, "The score and a page of its values.", SCORE_PAGE),
        parameters=(AFTER, LIMIT),
    ),
    Operation(
        "PUT",
        "/scores/{name}",
        "putScore",
        "Declare a score and set values of customers",
        "scores",
        put_score,
        (200, "The score with the values that were set last.", SCORE_PAGE),
        description="Values that are not named stay as they are. With a value that is none, nothing is set.",
        body=closed(
            (),
            "",
            title=text("What people call it.", maxLength=120),
            values={"type": "array", "items": VALUE, "maxItems": 10_000},
        ),
        errors=(409, 422),
        limit=4 * 1024 * 1024,
    ),
    Operation(
        "POST",
        "/scores/{name}/delete",
        "deleteScore",
        "Remove a score with all its values",
        "scores",
        delete_score,
        (200, "The scores that are left.", listed(SCORE)),
        body=NOTE,
        body_required=False,
    ),
)
