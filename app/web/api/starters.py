"""API calls on the starter library: what there is, and the rule that a starter becomes with given values."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, get_args

from app.starters import Kind, Starter, find, library
from app.web.api.openapi import ANYTHING, NUMBER, Answer, Call, Operation, closed, define, listed, record, text
from app.web.api.rules import EXAMPLE, PLACED, english, examples, problems
from rules.model import RuleError

PARAMETER = define(
    "StarterParameter",
    record(
        ("name", "label", "type", "default", "help"),
        "What a starter asks for.",
        name=text(),
        label=text(),
        type=text("money: minor units. span: ISO 8601. list: texts.", enum=list(get_args(Kind))),
        default={"description": "Empty text: it must be given."},
        help=text(),
        of=text("The type of a connection."),
    ),
)
STARTER = define(
    "Starter",
    record(
        ("id", "group", "name", "why", "parameters"),
        "A ready rule to begin from.",
        id=text(),
        number={**NUMBER, "description": "In the starter library."},
        group=text(),
        name=text(),
        why=text(),
        parameters={"type": "array", "items": PARAMETER},
    ),
)
FILLED = define(
    "FilledStarter",
    record(
        ("document", "problems", "examples"),
        "The rule with the values; nothing is kept. Send it to `PUT /rules/{id}`.",
        document=ANYTHING,
        english={"type": ["string", "null"]},
        problems={"type": "array", "items": PLACED},
        examples={"type": "array", "items": EXAMPLE, "description": "What came of its saved examples."},
    ),
)
VALUES = closed((), "Values by the parameters' names; defaults for the rest.", values={"type": "object"})


def list_starters(call: Call) -> Answer:
    return Answer({"items": [_row(one) for one in library()], "next": None})


def fill_starter(call: Call) -> Answer:
    one, values = find(call.path["id"]), (call.body or {}).get("values", {})
    if wrong := one.checked(values):
        raise RuleError(wrong)
    document = one.filled(values)
    found = [problem.body() for problem in problems(call, document)]
    body = {"document": document, "english": english(call, document), "problems": found}
    return Answer({**body, "examples": examples(call, document)})


def _row(one: Starter) -> dict[str, Any]:
    said = {"name": one.document["name"], "why": one.document["why"]}
    parameters = [asdict(parameter) for parameter in one.parameters]
    return {"id": one.id, "number": one.number, "group": one.group, **said, "parameters": parameters}


OPERATIONS = (
    Operation(
        "GET",
        "/starters",
        "listStarters",
        "The ready rules, and what each asks for",
        "rules",
        list_starters,
        (200, "The starters.", listed(STARTER)),
    ),
    Operation(
        "POST",
        "/starters/{id}",
        "fillStarter",
        "The rule that a starter becomes with these values; nothing is kept",
        "rules",
        fill_starter,
        (200, "The rule.", FILLED),
        body=VALUES,
        body_required=False,
        errors=(422,),
    ),
)
