"""An Operation declares one call of the JSON API; the OpenAPI 3.1 document is generated from the declarations.

The same declaration routes the call, checks what was sent and documents it, so the three cannot drift.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from typing import Any, Literal

import jsonschema_rs

from app.services import Services
from app.web.gate import roles
from rules.event import instant
from rules.ports import Refused

JSON = Mapping[str, Any]
PREFIX = "/api/v1"
JSON_TYPE = "application/json"
PROBLEM_TYPE = "application/problem+json"
EXPLAINED = {
    400: "What was sent cannot be read; `problems` says where and how to mend it.",
    401: "No token, or not the right one.",
    403: "The token does not carry the right to this, or Signalbox is read-only; `detail` says which.",
    404: "There is nothing of this id.",
    409: "It is not in a state for this, or somebody else changed it.",
    412: "It changed since the version named in `If-Match`; read it again.",
    413: "The body is too large.",
    415: "The body is not of the type that this call takes.",
    422: "It was understood, and it has problems; `problems` lists every one.",
    429: "So many of this caller's calls are under way that this one was not begun; send it again when one has ended.",
    503: "Nothing was changed; try again after `Retry-After` seconds.",
}
COMMON = (400, 401, 403, 404, 429, 503)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter in the query, the path or a header. schema: JSON Schema; an integer or boolean is read from text."""

    name: str
    description: str
    schema: JSON
    where: Literal["query", "path", "header"] = "query"
    required: bool = False

    def described(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "in": self.where,
            "required": self.required or self.where == "path",
            "description": self.description,
            "schema": dict(self.schema),
        }


@dataclass(frozen=True, slots=True)
class Call:
    """One request, checked: path and query hold typed values, body is what the declaration's schema accepts."""

    services: Services
    tenant: str
    actor: str
    now: datetime
    path: Mapping[str, str]
    query: Mapping[str, Any]
    body: Any = None
    if_match: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Operation:
    """answer: (status, description, schema) of success. errors: the problems it may answer beside the common ones.
    body: schema of the JSON body, or None; `raw` names another media type, whose bytes the handler gets as they are.
    also: other statuses of success, same body.
    checked: False leaves the body's check to the handler, which knows better words than a schema."""

    method: Literal["GET", "POST", "PUT", "DELETE"]
    path: str
    name: str
    summary: str
    tag: str
    handler: Callable[[Call], Answer]
    answer: tuple[int, str, JSON]
    description: str = ""
    parameters: tuple[Parameter, ...] = ()
    body: JSON | None = None
    body_required: bool = True
    raw: str = ""
    checked: bool = True
    errors: tuple[int, ...] = ()
    open: bool = False
    also: tuple[int, ...] = ()
    limit: int = 1024 * 1024

    @property
    def flask_path(self) -> str:
        return PREFIX + re.sub(r"{(\w+)}", r"<path:\1>", self.path)

    @property
    def all_parameters(self) -> tuple[Parameter, ...]:
        named = {parameter.name for parameter in self.parameters}
        ids = [name for name in re.findall(r"{(\w+)}", self.path) if name not in named]
        path = tuple(Parameter(name, f"The {name} of it.", {"type": "string"}, "path") for name in ids)
        return path + self.parameters + (() if self.open else (TENANT,))

    @cached_property
    def validator(self) -> jsonschema_rs.Draft202012Validator:
        return jsonschema_rs.Draft202012Validator(with_definitions(self.body or {}), validate_formats=True)


TENANT = Parameter(
    "tenant",
    "Account and mode, such as `default/live`; without it the only tenant, or the first.",
    {"type": "string", "maxLength": 100},
)


# ---- schemas --------------------------------------------------------------------------------------------------------
def ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def record(required: Sequence[str] = (), description: str = "", /, **properties: JSON) -> dict[str, Any]:
    """A JSON object; more properties than these may come."""
    schema: dict[str, Any] = {"type": "object", "properties": {name: dict(value) for name, value in properties.items()}}
    if required:
        schema["required"] = list(required)
    if description:
        schema["description"] = description
    return schema


def closed(required: Sequence[str] = (), description: str = "", /, **properties: JSON) -> dict[str, Any]:
    """A JSON object with these properties and no others: what a caller may send."""
    return {**record(required, description, **properties), "additionalProperties": False}


def listed(item: JSON) -> dict[str, Any]:
    """Every list: `{"items": [...], "next": cursor or null}`."""
    return record(("items", "next"), items={"type": "array", "items": item}, next=NEXT)


def text(description: str = "", **more: Any) -> dict[str, Any]:
    return {"type": "string", **({"description": description} if description else {}), **more}


def nullable(schema: JSON) -> dict[str, Any]:
    return {**schema, "type": [schema["type"], "null"]}


NEXT = {"type": ["string", "null"], "description": "Pass it as `after` for the next page; null at the end."}
TIME = {"type": "string", "format": "date-time"}
NUMBER = {"type": "integer"}
MONEY = {"type": "object", "additionalProperties": {"type": "integer"}, "description": "Minor units by currency."}
ANYTHING: dict[str, Any] = {}

_SCHEMAS: dict[str, dict[str, Any]] = {}


def define(name: str, schema: JSON) -> dict[str, Any]:
    """Name a schema under components; the reference to it."""
    _SCHEMAS[name] = dict(schema)
    return ref(name)


def hoist(name: str, schema: JSON) -> dict[str, Any]:
    """Name a schema whose parts stand under its own `$defs`: each part becomes a component too, since few tools follow
    references into a schema that has an address of its own."""
    parts = {f"#/$defs/{part}": f"{name}{part[:1].upper()}{part[1:]}" for part in schema.get("$defs", {})}
    for part, found in schema.get("$defs", {}).items():
        define(parts[f"#/$defs/{part}"], _pointed(found, parts))
    rest = {key: value for key, value in schema.items() if key not in ("$schema", "$id", "$defs")}
    return define(name, _pointed(rest, parts))


def _pointed(value: Any, parts: Mapping[str, str]) -> Any:
    """A copy in which references to `$defs` point to the components."""
    if isinstance(value, Mapping):
        return {
            key: f"#/components/schemas/{parts[item]}" if key == "$ref" and item in parts else _pointed(item, parts)
            for key, item in value.items()
        }
    return [_pointed(item, parts) for item in value] if isinstance(value, list | tuple) else value


def with_definitions(schema: JSON) -> dict[str, Any]:
    """The schema together with every named one, so that it can be checked by itself."""
    return {**schema, "components": {"schemas": _SCHEMAS}}


# ---- the document ---------------------------------------------------------------------------------------------------
def document(operations: Sequence[Operation], version: str) -> dict[str, Any]:
    """The OpenAPI 3.1 document of these operations."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(PREFIX + operation.path, {})[operation.method.lower()] = described(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Signalbox",
            "version": version,
            "summary": "A rules engine for revenue operations on Stripe events.",
            "description": "Lists answer `{items, next}`. Refusals are problems of RFC 9457, and say where and how "
            "to mend it. Instants are UTC, in ISO 8601; money is in minor units.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}],
        "tags": [{"name": tag} for tag in dict.fromkeys(operation.tag for operation in operations)],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(_SCHEMAS.items())),
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token from `POST /tokens` with the rights it was given: "
                    + "; ".join(f"`{right}` to {says}" for right, says in roles.SAYS.items())
                    + ". Or `SIGNALBOX_ADMIN_TOKEN`, which carries all; in development `python main.py token` "
                    "prints it. Each operation's `security` names the rights of which one is needed.",
                }
            },
        },
    }


def described(operation: Operation) -> dict[str, Any]:
    status, description, schema = operation.answer
    errors = [code for code in (*COMMON, *operation.errors) if not (operation.open and code in (400, 401, 403, 404))]
    good = {"description": description, "content": {JSON_TYPE: {"schema": dict(schema)}}}
    responses = {str(code): good for code in (status, *operation.also)}
    for code in sorted(set(errors) | ({413, 415} if operation.body is not None else set())):
        responses[str(code)] = {
            "description": EXPLAINED[code],
            "content": {PROBLEM_TYPE: {"schema": ref("Problem")}},
        }
    made: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": [parameter.described() for parameter in operation.all_parameters],
        "responses": responses,
    }
    if operation.description:
        made["description"] = operation.description
    if operation.body is not None:
        content = {operation.raw or JSON_TYPE: {"schema": dict(operation.body)}}
        made["requestBody"] = {"required": operation.body_required, "content": content}
    made["security"] = [] if operation.open else _security(operation)
    return made


def _security(operation: Operation) -> list[dict[str, list[str]]]:
    """The rights of which a token needs one; OpenAPI 3.1 names them beside a bearer scheme."""
    wanted = roles.needed(roles.RULES, operation.method, f"api.{operation.name}", {}) or ()
    return [{"bearer": [right]} for right in wanted]


define(
    "Problem",
    record(
        ("title", "status"),
        "A refusal, RFC 9457.",
        type=text(format="uri-reference"),
        title=text(),
        status=NUMBER,
        detail=text("What happened and what to do."),
        problems={"type": "array", "items": ref("PlacedProblem")},
    ),
)
define(
    "PlacedProblem",
    record(
        ("path", "message"),
        "One thing that is wrong: where, what, and the nearest right thing.",
        path=text("Where, such as `only_if.all[1].field`."),
        message=text(),
        suggestion={"type": ["string", "null"]},
    ),
)


# ---- checks of what was sent ----------------------------------------------------------------------------------------
def problems_of(operation: Operation, body: Any) -> list[dict[str, Any]]:
    """What the declared schema finds wrong with a body, every one placed, and told once."""
    errors = operation.validator.iter_errors(body)
    found = dict.fromkeys((place(error.instance_path), sentence(error.message)) for error in errors)
    return [{"path": path, "message": message, "suggestion": None} for path, message in found]


def place(path: Sequence[str | int]) -> str:
    """`["steps", 1, "with"]` as `steps[1].with`; the whole body is `body`."""
    made = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return made.lstrip(".") or "body"


def sentence(message: str) -> str:
    """The validator's message, shortened where it repeats a long value: what is wrong with it stands at its end."""
    return message if len(message) <= 300 else f"{message[:150]} ... {message[-145:]}"


def moment(name: str, given: str | None) -> datetime | None:
    """An instant that a schema's `date-time` let through. Raises Refused for the few that are none all the same."""
    try:
        return instant(given).astimezone(UTC) if given else None
    except (ValueError, OverflowError) as error:
        raise Refused(f"{name}: {given!r} is no instant; write 2026-11-23T10:00:00Z") from error


@lru_cache(maxsize=256)
def _parameter_validator(name: str, schema: str) -> jsonschema_rs.Draft202012Validator:
    import json

    return jsonschema_rs.Draft202012Validator(json.loads(schema), validate_formats=True)


def read_parameter(parameter: Parameter, given: str) -> tuple[Any, str | None]:
    """(value, None), or (None, what is wrong with it)."""
    import json

    value: Any = given
    kind = parameter.schema.get("type")
    if kind == "integer" and re.fullmatch(r"-?\d{1,15}", given):
        value = int(given)
    if kind == "boolean" and given in ("true", "false"):
        value = given == "true"
    validator = _parameter_validator(parameter.name, json.dumps(parameter.schema))
    wrong = next(iter(validator.iter_errors(value)), None)
    return (None, sentence(wrong.message)) if wrong else (value, None)
