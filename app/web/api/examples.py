"""API calls on saved examples: run those of a rule, and save a real event as one."""

from __future__ import annotations

from app import author
from app.author import real_examples
from app.web.api.openapi import (
    ANYTHING,
    NUMBER,
    Answer,
    Call,
    Operation,
    closed,
    define,
    listed,
    nullable,
    record,
    text,
)
from app.web.api.rules import IF_MATCH, RULE, examples, expected, shown
from rules.example import FIRES

RESULT = define(
    "ExampleResult",
    record(
        ("example", "holds", "expected", "happened", "gate"),
        "What came of a saved example, by the real decision on virtual time.",
        example={**NUMBER, "description": "Its place in `examples`, from 0."},
        holds={"type": "boolean", "description": "It came out as the example says."},
        expected=text("What the example says."),
        happened=text("What came of it, with the reason."),
        gate=nullable(text("The first closed gate; null when it fired.")),
        stands=text("The step that the run stood at, or how it had ended."),
        tree={"type": ["object", "null"], "description": "The conditions explained."},
        story={"type": "array", "items": ANYTHING, "description": "The run's story."},
    ),
)
REAL = closed(
    ("event",),
    "An event of the log. Without `then`, the example says what comes of it now.",
    event=text("evt_..."),
    then=text(enum=list(FIRES)),
    because=text("Words, or the gate that is closed.", maxLength=500),
)


def run_examples(call: Call) -> Answer:
    """The draft's, else those of what is in force."""
    row = author.rule(call.services.store, call.tenant, call.path["id"])
    return Answer({"items": examples(call, row["document"]), "next": None})


def add_example(call: Call) -> Answer:
    services, body = call.services, call.body
    wanted = {name: body[name] for name in ("then", "because") if name in body}
    row = real_examples.add(
        services.store,
        services.vault,
        services.catalogue,
        services.connectors,
        call.tenant,
        call.path["id"],
        body["event"],
        call.actor,
        call.now,
        wanted,
        expected(call),
    )
    return shown(call, row)


OPERATIONS = (
    Operation(
        "GET",
        "/rules/{id}/examples",
        "runExamples",
        "Run the saved examples of the draft, else of what is in force",
        "rules",
        run_examples,
        (200, "What came of each.", listed(RESULT)),
    ),
    Operation(
        "POST",
        "/rules/{id}/examples",
        "addExample",
        "Save a real event as an example, in the draft",
        "rules",
        add_example,
        (200, "The draft.", RULE),
        parameters=(IF_MATCH,),
        body=REAL,
        errors=(409, 412, 422),
    ),
)
