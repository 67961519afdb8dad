"""Schemas: the types of Stripe's events with their fields, and what another API version means for the rules."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, abort, current_app, request

from app import schemas
from app.web.addresses import address, asked
from app.web.editor import COUNTS
from app.web.pages import now, page, services, tenant
from app.web.picker import Seen, example, newest
from rules import registry
from rules.compatibility import BREAKING

blueprint = Blueprint("schemas", __name__)
SHOWN = 150  # fields of a type that a page shows at once


@blueprint.app_template_global()
def has_schema(type: str) -> bool:
    """Whether events of this type are checked."""
    return registry.newest().knows(type)


@blueprint.get("/schemas")
def types() -> Response:
    s, mine = services(), tenant()
    rules = schemas.rules_of(s.store, mine)
    words, show = (asked("q") or "").lower(), asked("show")
    rows = schemas.types(s.catalogue, schemas.listened(rules), _seen())
    kept = [row for row in rows if _fits(row, words, show)]
    return page(
        "schemas.html",
        "list",
        rows=kept,
        total=len(rows),
        unknown=schemas.unknown(s.store, mine),
        versions=schemas.versions(),
        mismatch=schemas.mismatch(s.store, mine),
        names=schemas.names_of(rules),
        filters={"q": words, "show": show},
        moment=now(),
    )


def _fits(row: dict[str, Any], words: str, show: str | None) -> bool:
    if (show == "seen" and not row["seen"]) or (show == "rules" and not row["rules"]):
        return False
    return all(word in f"{row['name']} {row['title']} {row['object']}".lower() for word in words.split())


def _seen() -> Any:
    s = services()
    counter: Seen = current_app.extensions.setdefault("seen", Seen(COUNTS.get(s.settings.backend, 1)))
    return counter.counts(s.store, s.catalogue, tenant(), now())


@blueprint.get("/schemas/compare")
def compare() -> Response:
    s, stored = services(), registry.versions()
    old, new = asked("from") or stored[-2], asked("to") or stored[-1]
    if old not in stored or new not in stored:
        abort(404)
    type = asked("type")
    rules = schemas.rules_of(s.store, tenant())
    found = schemas.compared(old, new, rules, [type] if type else None)
    kept = [row for row in found["changes"] if row["kind"] != "added" or "all" in request.args]
    return page(
        "schemas_compare.html",
        "list",
        found=found,
        changes=kept,
        left_out=len(found["changes"]) - len(kept),
        everything_at=address("/schemas/compare", **{"from": old, "to": new, "type": type or "", "all": "1"}),
        names=schemas.names_of(rules),
        versions=stored,
        types=registry.of(new).event_types(),
        filters={"from": old, "to": new, "type": type},
        breaking=BREAKING,
    )


@blueprint.get("/schemas/<type>")
def one(type: str) -> Response:
    s = services()
    version = asked("version") or registry.versions()[-1]
    shapes = registry.of(version) if version in registry.versions() else abort(404)
    if not shapes.knows(type):
        abort(404)
    rules = schemas.rules_of(s.store, tenant())
    real = newest(s.store, tenant(), [type])
    rows = schemas.fields(s.catalogue, type, version, rules, real or example([type]))
    words, everything = (asked("q") or "").lower(), "all" in request.args
    fitting = [row for row in rows if _says(row, words)]
    return page(
        "schema.html",
        "list",
        type=type,
        event=s.catalogue.event_type(type),
        rows=fitting if everything else fitting[:SHOWN],
        total=len(fitting),
        everything_at=address(f"/schemas/{type}", version=version, q=words, all="1"),
        real=bool(real),
        names=schemas.names_of(rules),
        version=version,
        versions=[one for one in reversed(registry.versions()) if registry.of(one).knows(type)],
        words=words,
        seen=_seen().get(type, 0),
    )


def _says(row: dict[str, Any], words: str) -> bool:
    return all(word in f"{row['path']} {row['label']} {row['meaning']}".lower() for word in words.split())
