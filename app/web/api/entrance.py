"""The JSON API of version 1: a token, one way in for every operation, checked input, problems as RFC 9457."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import orjson
from flask import Blueprint, Response, g, request

from app.web import pages
from app.web.api import (
    audit,
    examples,
    inquire,
    log,
    members,
    needs,
    personal,
    plans,
    proposals,
    rules,
    runs,
    safety,
    schemas,
    scores,
    starters,
    subjects,
    work,
)
from app.web.api.openapi import JSON_TYPE, Answer, Call, Operation, Parameter, document, problems_of, read_parameter
from rules.ports import Conflict, RefusedQuery
from rules.steps import NotPossible

VERSION = "1"
DEEPEST = 100  # levels of a body; the deepest rule has some thirty
blueprint = Blueprint("api", __name__)


def openapi(call: Call) -> Answer:
    return Answer(document(OPERATIONS, VERSION))


OPERATIONS: tuple[Operation, ...] = (
    *rules.OPERATIONS,
    *plans.OPERATIONS,
    *proposals.OPERATIONS,
    *examples.OPERATIONS,
    *inquire.OPERATIONS,
    *log.OPERATIONS,
    *audit.OPERATIONS,
    *work.OPERATIONS,
    *safety.OPERATIONS,
    *runs.OPERATIONS,
    *needs.OPERATIONS,
    *personal.OPERATIONS,
    *schemas.OPERATIONS,
    *subjects.OPERATIONS,
    *scores.OPERATIONS,
    *starters.OPERATIONS,
    *members.OPERATIONS,
    Operation(
        "GET",
        "/openapi.json",
        "openapi",
        "This document",
        "meta",
        openapi,
        (200, "The OpenAPI 3.1 document.", {"type": "object"}),
        open=True,
    ),
)


class Problem(Exception):
    """A refusal before the handler ran."""

    def __init__(self, status: int, title: str, detail: str, problems: list[dict[str, Any]] | None = None) -> None:
        super().__init__(detail)
        self.status, self.title, self.detail = status, title, detail
        self.problems = problems


@blueprint.errorhandler(Problem)
def refuse(error: Problem) -> Response:
    more = {"problems": error.problems} if error.problems is not None else {}
    return pages.problem(error.status, error.title, error.detail, **more)


def view(operation: Operation) -> Callable[..., Response]:
    """The Flask view of an operation."""

    def run(**path: str) -> Response:
        return perform(operation, path)

    return run


def perform(operation: Operation, path: dict[str, str]) -> Response:
    query = read_query(operation)
    body = read_body(operation)
    call = Call(
        services=pages.services(),
        tenant="" if operation.open else pages.tenant(),
        actor=g.actor or "",
        now=pages.now(),
        path=path,
        query=query,
        body=body,
        if_match=request.headers.get("If-Match"),
    )
    try:
        answer = operation.handler(call)
    except Conflict as error:
        raise changed(call, error) from error
    except NotPossible as error:
        raise Problem(409, "Not now", sentence(error)) from error
    except RefusedQuery as error:
        raise refused_query(call) from error
    return respond(answer)


def refused_query(call: Call) -> Problem:
    """Stores refuse a cursor that they did not hand out, and filters that no index serves together."""
    cursor = bool(call.query.get("after"))
    message = "this is no cursor of this list" if cursor else "these filters cannot be used together"
    wrong = [{"path": "after" if cursor else "query", "message": message, "suggestion": None}]
    return Problem(400, "The query cannot be read", summary(wrong), wrong)


def sentence(error: Exception) -> str:
    """The message as a sentence of its own."""
    said = str(error)
    return said[:1].upper() + said[1:] + ("" if said.endswith((".", "!", "?")) else ".")


def changed(call: Call, error: Conflict) -> Problem:
    if call.if_match:
        return Problem(412, "It changed meanwhile", f"{error}. Read it again and repeat with its new ETag.")
    return Problem(409, "Not now", str(error))


# ---- what was sent --------------------------------------------------------------------------------------------------
def read_query(operation: Operation) -> dict[str, Any]:
    """The query's values by name, typed, defaults filled in; 400 with every problem."""
    known = {parameter.name: parameter for parameter in operation.all_parameters if parameter.where == "query"}
    problems = [unknown(name, known) for name in request.args if name not in known]
    values: dict[str, Any] = {}
    for name, parameter in known.items():
        given = request.args.get(name)
        values[name] = parameter.schema.get("default")
        if given is not None:
            values[name], wrong = read_parameter(parameter, given)
            if wrong:
                problems.append({"path": name, "message": wrong, "suggestion": None})
    if problems:
        raise Problem(400, "The query cannot be read", summary(problems), problems)
    return values


def unknown(name: str, known: dict[str, Parameter]) -> dict[str, Any]:
    import difflib

    near = difflib.get_close_matches(name, known, 1)
    return {"path": name, "message": f"unknown parameter {name!r}", "suggestion": near[0] if near else None}


def read_body(operation: Operation) -> Any:
    """The body as the declaration wants it: None, raw bytes, or checked JSON."""
    if operation.body is None:
        return None
    raw = read_bytes(operation.limit)
    if operation.raw:
        return raw
    if not raw and not operation.body_required:
        return {}
    if request.mimetype not in (JSON_TYPE, ""):
        raise Problem(415, "Send JSON", f"Send `Content-Type: {JSON_TYPE}`, not {request.mimetype!r}.")
    body = parse(raw)
    problems = problems_of(operation, body) if operation.checked or not isinstance(body, dict) else []
    if problems:
        raise Problem(400, "The body cannot be accepted", summary(problems), problems)
    return body


def read_bytes(limit: int) -> bytes:
    """The body, refused as soon as it is known to be too large."""
    if (request.content_length or 0) > limit:
        too_large(limit)
    request.max_content_length = limit + 1  # in place of the one for pages
    raw = request.stream.read(limit + 1)
    if len(raw) > limit:
        too_large(limit)
    return raw


def too_large(limit: int) -> NoReturn:
    raise Problem(413, "Too large", f"The body is larger than {limit:,} bytes. Send it in parts.")


def parse(raw: bytes) -> Any:
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        where = {"path": f"line {error.lineno}, column {error.colno}", "message": error.msg, "suggestion": None}
        raise Problem(400, "The body is no JSON", summary([where]), [where]) from error
    if nests_deeper(found, DEEPEST):
        where = {"path": "body", "message": f"it nests more than {DEEPEST} levels deep", "suggestion": None}
        raise Problem(400, "The body cannot be accepted", summary([where]), [where])
    return found


def nests_deeper(value: Any, levels: int) -> bool:
    """Whether anything stands within more lists and objects than that; asked level by level, since what nests too
    deeply to be checked nests too deeply to be walked."""
    level = [value]
    for _ in range(levels + 1):
        level = [
            part
            for one in level
            for part in (one.values() if isinstance(one, dict) else one if isinstance(one, list) else ())
            if isinstance(part, dict | list)
        ]
        if not level:
            return False
    return True


def summary(problems: list[dict[str, Any]]) -> str:
    return "; ".join(f"{problem['path']}: {problem['message']}" for problem in problems[:5])


# ---- what is answered -----------------------------------------------------------------------------------------------
def respond(answer: Answer) -> Response:
    body = orjson.dumps(answer.body, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_APPEND_NEWLINE)
    response = Response(body, answer.status, mimetype=JSON_TYPE)
    response.headers.update(dict(answer.headers))
    return response


for _operation in OPERATIONS:
    blueprint.add_url_rule(
        _operation.flask_path, endpoint=_operation.name, view_func=view(_operation), methods=[_operation.method]
    )
