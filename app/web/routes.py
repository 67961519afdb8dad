"""The pages of routes: which events go where as they are, and how many of the last day's a filter would take."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response, request

from app import author, routes
from app.web.forms.values import BARE, OPERATORS, Kind, meant, shown
from app.web.pages import actor, go, now, page, services, tenant
from app.web.picker import KINDS
from rules import english
from rules.ports import ABSENT, Conflict
from rules.route import EVERY, as_rule, problems_of
from rules.rule import Problem, RuleError, parse

blueprint = Blueprint("routes", __name__)
Row = dict[str, Any]
NEW = "new"
ROWS = 3  # of conditions at least, so that there is always an empty one
WORDS = ("equal to", "not equal to", "one of", "greater than", "less than", "contains", "starts with", "ends with")
OFFERED = tuple(dict.fromkeys([*WORDS, *(one for kind in OPERATORS.values() for one in kind)]))


@blueprint.get("/settings/routes/<name>")
def look(name: str) -> Response:
    if name == NEW:
        return _form(NEW, {"name": "", "types": [], "only_if": None})
    return _form(name, _route(name))


@blueprint.post("/settings/routes/<name>")
def save(name: str) -> Response:
    body, ports = _given(name), services()
    expect = ABSENT if name == NEW else request.form.get("expect") or None
    try:
        given = routes.tokenised(body, ports.vault, ports.catalogue, tenant())
        kept = author.save_connection(
            ports.store, ports.secrets, tenant(), given, actor(), now(), ports.settings.development, expect
        )
    except RuleError as error:
        return _form(name, {**body, "version": expect}, error.problems, 422)
    except Conflict as error:
        return _form(name, {**body, "version": expect}, [Problem("name", str(error))], 409)
    if kept.get("secret"):  # shown this once, so it is no redirect
        return page("connection_made.html", connection=kept)
    return go(f"/settings/routes/{kept['name']}", "The route is saved. It is in force at once.")


@blueprint.post("/settings/routes/<name>/count")
def count(name: str) -> Response:
    """What the filter would have taken of the last day, beside the form while it is typed."""
    body = _given(name)
    if request.headers.get("HX-Request") == "true":
        return page("route.html", "count", counted=_counted(body))
    return _form(name, {**body, "version": request.form.get("expect")})


@blueprint.get("/settings/routes/<name>/delete")
def ask_delete(name: str) -> Response:
    return _confirm(name)


@blueprint.post("/settings/routes/<name>/delete")
def delete(name: str) -> Response:
    why = request.form.get("reason", "").strip()[:2000]
    if not why:
        return _confirm(name, "A few words are enough.", 422)
    waiting = routes.delete(services().store, tenant(), name, actor(), why, now())
    return go("/settings#routes", f"The route {name} is gone; {waiting:,} waiting events are not forwarded.", "warn")


def _confirm(name: str, error: str | None = None, status: int = 200) -> Response:
    _route(name)
    return page(
        "confirm.html",
        status=status,
        title=f"Delete the route {name}?",
        verb="Delete the route",
        kind="danger",
        means=["Nothing more is forwarded by it, and what waits for it is not either.", "The events stay in the log."],
        action=f"/settings/routes/{name}/delete",
        back=f"/settings/routes/{name}",
        error=error,
    )


def _route(name: str) -> Row:
    found = author.connection(services().store, tenant(), name)
    if found["type"] != "route":
        raise LookupError(f"There is no route {name!r}.")
    return found


# ---- the form -------------------------------------------------------------------------------------------------------
def _form(name: str, body: Row, problems: Any = (), status: int = 200) -> Response:
    wrong = {one.path.partition("[")[0].partition(".")[0]: one.message for one in problems}
    rows = _rows(body.get("only_if"), body.get("types") or [])
    return page(
        "route.html",
        status=status,
        name=name,
        route=body,
        rows=rows,
        text=json.dumps(body.get("only_if"), indent=2, ensure_ascii=False) if rows is None else "",
        operators=OFFERED,
        fields=_fields(body.get("types") or []),
        events=[one.name for one in services().catalogue.event_types()],
        wrong=wrong,
        counted=_counted(body),
        development=services().settings.development,
    )


def _given(name: str) -> Row:
    form = request.form
    types = form.get("types", "").replace(",", "\n").split()
    body: Row = {
        "name": form.get("name", "").strip() if name == NEW else name,
        "type": "route",
        "url": form.get("url", "").strip(),
        "types": types,
        "only_if": _condition(form, types),
    }
    if form.get("in_order"):
        body["in_order"] = form["in_order"]
    return {**body, "secret": form["secret"].strip()} if form.get("secret", "").strip() else body


def _condition(form: Mapping[str, str], types: list[str]) -> Any:
    """The condition of the rows, all of which must hold, or of the JSON that stands in their place."""
    if form.get("only_if", "").strip():
        try:
            return json.loads(form["only_if"])
        except ValueError:
            return form["only_if"]
    parts = []
    for at in range(len([key for key in form if key.startswith("field-")])):
        path, operator, value = (form.get(f"{key}-{at}", "").strip() for key in ("field", "is", "value"))
        if not path:
            continue
        test: Row = {"field": path, "is": operator}
        if operator not in BARE:
            first, _, second = value.partition(" and ") if operator == "between" else (value, "", "")
            number, _, unit = value.partition(" ")
            test["value"] = (
                meant(number, "", unit or "days", operator, Kind())
                if operator in ("in the last", "in the next")
                else meant(first, second, "", operator, _kind(types, path))
            )
        parts.append(test)
    return {"all": parts} if parts else None


def _rows(condition: Any, types: list[str]) -> list[Row] | None:
    """The condition as rows; None when it is more than that and is edited as JSON."""
    parts = condition.get("all", [condition]) if isinstance(condition, dict) else [] if condition is None else None
    if parts is None or not all(isinstance(one, dict) and set(one) <= {"field", "is", "value"} for one in parts):
        return None
    if any(isinstance(one.get("value"), dict) for one in parts):
        return None
    rows = [{"field": one.get("field", ""), "is": one.get("is", ""), "value": _said(one, types)} for one in parts]
    return [*rows, *[{"field": "", "is": "equal to", "value": ""}] * max(1, ROWS - len(rows))]


def _said(test: Row, types: list[str]) -> str:
    value, second, unit = shown(test.get("value"), test.get("is", ""), _kind(types, str(test.get("field"))))
    return f"{value} and {second}" if second else f"{value} {unit}".strip()


def _kind(types: list[str], path: str) -> Kind:
    """Money is typed in minor units, as the document has it."""
    catalogue = services().catalogue
    found = next((info for one in types if one != EVERY and (info := catalogue.field(one, path))), None)
    name = KINDS.get(found.type, "text") if found else "text"
    return Kind("number" if name == "money" else name, tuple(found.enum) if found else ())


def _fields(types: list[str]) -> list[str]:
    catalogue = services().catalogue
    known = [one for one in types if catalogue.event_type(one)]
    return [field.path for field in catalogue.fields(known[0])][:400] if known else []


def _counted(body: Row) -> Row | None:
    """What the filter would have taken; None while it cannot be read."""
    types, only_if = body.get("types") or [], body.get("only_if")
    if not types or problems_of(types, only_if, services().catalogue):
        return None
    found = routes.count(services().store, tenant(), types, only_if, now())
    return {**found, "said": said(types, only_if)}


def said(types: list[str], only_if: Any) -> str:
    """The condition in words."""
    if not only_if:
        return ""
    shown_types = ["any.event"] if types == [EVERY] else types
    told = english.sentences(parse(as_rule(shown_types, only_if)), services().catalogue)
    return " ".join(one["text"] for one in told if one["part"] == "only_if")
