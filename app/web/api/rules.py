"""API calls on rules: drafts with their ETag, and putting versions in force, out of force and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, get_args

from app import author, declared
from app.approvals import Change
from app.author import examples as author_examples
from app.author import lint
from app.inquire import backtests
from app.web import second
from app.web.api.openapi import (
    ANYTHING,
    NUMBER,
    TIME,
    Answer,
    Call,
    Operation,
    Parameter,
    closed,
    define,
    hoist,
    listed,
    nullable,
    record,
    ref,
    text,
)
from rules.english import read_back
from rules.lint import Kind
from rules.model import RuleError
from rules.ports import ABSENT
from rules.rule import Problem, parse
from rules.schema import rule_schema

STATES = ["off", "watch", "live", "paused", "archived"]
DOCUMENT = hoist("RuleDocument", rule_schema())
PLACED = ref("PlacedProblem")
EXAMPLE = ref("ExampleResult")
SUMMARY = {
    "id": text(),
    "name": text(),
    "state": text(enum=STATES),
    "number": nullable({**NUMBER, "description": "The version in force."}),
    "problems": {**NUMBER, "description": "Errors in the draft."},
    "draft_by": nullable(text()),
    "created_at": TIME,
    "updated_at": TIME,
    "live_from": nullable(TIME),
    "version": text("Opaque; the ETag."),
}
RULE_ROW = define("RuleSummary", record(("id", "name", "state", "number"), "A rule in a list.", **SUMMARY))
RULE = define(
    "Rule",
    record(
        ("id", "name", "state", "number", "document", "findings"),
        "A rule with its draft and what is in force.",
        **SUMMARY,
        draft={"description": "The draft's document, or null.", "type": ["object", "null"]},
        in_force={"description": "The document in force, or null.", "type": ["object", "null"]},
        document={"description": "The draft, else what is in force.", "type": ["object", "null"]},
        english={"type": ["string", "null"], "description": "The document read back in plain English."},
        findings={"type": "array", "items": PLACED, "description": "Errors and advice about `document`."},
        examples={"type": "array", "items": EXAMPLE, "description": "What came of its saved examples."},
        proposal={"description": "With 202: what waits for a second person.", "type": "object"},
    ),
)
RULE_VERSION = define(
    "RuleVersion",
    record(
        ("rule_id", "number", "document"),
        "A published version; it never changes.",
        rule_id=text(),
        number=NUMBER,
        document=ANYTHING,
        published_at=TIME,
        published_by=text(),
        note=text(),
        mode=text(enum=["live", "watch"]),
    ),
)
CHECKED = define(
    "Checked",
    record(
        ("ok", "problems"),
        "What is to be said about a document.",
        ok={"type": "boolean", "description": "It can be published."},
        english={"type": ["string", "null"]},
        problems={"type": "array", "items": PLACED},
        examples={"type": "array", "items": EXAMPLE},
    ),
)
ODDITY = define(
    "Oddity",
    record(
        ("kind", "severity", "rules", "path", "sentence", "witness"),
        "Something odd about the rules in force, with constructed events that show it.",
        kind=text(enum=list(get_args(Kind))),
        severity=text(enum=["advice"]),
        rules={"type": "array", "items": text(), "description": "Ids; the one to change first."},
        path=text("Where in the first of the rules."),
        others={"type": "array", "items": text(), "description": "Other places, in it or in the second rule."},
        sentence=text("Plain English."),
        witness={"type": "array", "items": ANYTHING, "description": "Events, in order, that show it; real ones by id."},
        overlap={**NUMBER, "description": "Of how many subjects of the recorded history it is true."},
        seen={"type": "array", "items": ANYTHING, "description": "Some of them: subject, customer, events, at."},
    ),
)
NOTE = closed((), "Why; kept in the audit log.", note=text("Why.", maxLength=2000))
EMERGENCY = {
    "type": "boolean",
    "default": False,
    "description": "Do it now, without the second person, for the reason in `note`; takes the right `admin`. Loud.",
}
FREER = closed((), "Why; kept in the audit log.", note=text("Why.", maxLength=2000), emergency=EMERGENCY)
ROLLBACK = closed(
    ("number",), "", number={**NUMBER, "minimum": 1}, note=text("Why.", maxLength=2000), emergency=EMERGENCY
)
IF_MATCH = Parameter("If-Match", "The ETag that was read; 412 when the rule has changed since.", text(), "header")
INCOMPLETE = Parameter(
    "incomplete",
    "Keep a document that has errors as a draft; it cannot be published until they are mended.",
    {"type": "boolean", "default": False},
)
BODY = {"type": "object", "description": "A rule document.", "allOf": [DOCUMENT]}


# ---- handlers -------------------------------------------------------------------------------------------------------
def list_rules(call: Call) -> Answer:
    found = author.rules(call.services.store, call.tenant)
    chosen = [row for row in found if call.query["state"] in (None, row["state"])]
    return Answer({"items": [{name: row.get(name) for name in SUMMARY} for row in chosen], "next": None})


def create_rule(call: Call) -> Answer:
    answer = saved(call, document_of(call), ABSENT)
    return Answer(answer.body, 201, {**answer.headers, "Location": f"/api/v1/rules/{answer.body['id']}"})


def get_rule(call: Call) -> Answer:
    return shown(call, author.rule(call.services.store, call.tenant, call.path["id"]))


def put_rule(call: Call) -> Answer:
    document = document_of(call)
    if document.setdefault("id", call.path["id"]) != call.path["id"]:
        raise RuleError([Problem("id", f"the address says {call.path['id']!r}", call.path["id"])])
    return saved(call, document, expected(call))


def list_versions(call: Call) -> Answer:
    author.rule(call.services.store, call.tenant, call.path["id"])
    return Answer({"items": author.versions(call.services.store, call.tenant, call.path["id"]), "next": None})


def lint_rules(call: Call) -> Answer:
    services = call.services
    asked = call.query.get("rule")
    document = author.rule(services.store, call.tenant, asked)["document"] if asked else None
    found = lint.looked(services.store, services.catalogue, call.tenant, call.now, document)
    return Answer({"items": [one.body() for one in found.findings], "next": None})


def check_rule(call: Call) -> Answer:
    document = document_of(call)
    found = problems(call, document)
    errors = [one for one in found if one.severity == "error"]
    body = {"ok": not errors, "english": english(call, document), "problems": [one.body() for one in found]}
    return Answer({**body, "examples": examples(call, document)})


def publish_rule(call: Call) -> Answer:
    return asked_or_done(call, "publish", {}, seen(call))


def watch_rule(call: Call) -> Answer:
    return asked_or_done(call, "watch", {}, seen(call))


def asked_or_done(call: Call, verb: str, given: Mapping[str, Any], measured: Mapping[str, Any] | None = None) -> Answer:
    """The rule after the change; or 202 with the proposal beside the rule, where a second person has to approve."""
    wanted, emergency = Change(verb, call.path["id"], given), bool(call.body.get("emergency"))
    came = second.change(wanted, note(call), expected(call), emergency, measured)
    answer = shown(call, came.done or author.rule(call.services.store, call.tenant, call.path["id"]))
    told = second.answered(came, answer.body)
    return Answer(told.body, told.status, {**answer.headers, **told.headers})


def seen(call: Call) -> author.Row | None:
    """What putting the rule in force was measured to change, when somebody has measured it."""
    document = author.rule(call.services.store, call.tenant, call.path["id"])["document"]
    return backtests.effect(call.services.store, call.tenant, document, call.now) if document else None


def changing(change: Callable[..., author.Row]) -> Callable[[Call], Answer]:
    """The handler of a change of state that needs nothing but a note."""

    def handler(call: Call) -> Answer:
        store, id = call.services.store, call.path["id"]
        return shown(call, change(store, call.tenant, id, call.actor, note(call), call.now))

    return handler


def rollback_rule(call: Call) -> Answer:
    return asked_or_done(call, "rollback", {"number": call.body["number"]})


# ---- the parts ------------------------------------------------------------------------------------------------------
def document_of(call: Call) -> dict[str, Any]:
    """The body, which must at least be an object; `author` says the rest in its own words."""
    if not isinstance(call.body, dict):
        raise RuleError([Problem("", "a rule document is a JSON object")])
    return dict(call.body)


def saved(call: Call, document: Mapping[str, Any], expect: str | None) -> Answer:
    services = call.services
    errors = [one for one in problems(call, document) if one.severity == "error"]
    if errors and not call.query["incomplete"]:
        raise RuleError(errors)
    row = author.save_draft(
        services.store,
        services.vault,
        services.catalogue,
        services.connectors,
        call.tenant,
        document,
        call.actor,
        call.now,
        expect,
    )
    return shown(call, row)


def problems(call: Call, document: Mapping[str, Any]) -> list[Problem]:
    services = call.services
    return author.problems(services.store, services.catalogue, services.connectors, call.tenant, document)


def examples(call: Call, document: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """What comes of each of its saved examples."""
    services = call.services
    found = author_examples.results(services.store, services.catalogue, call.tenant, document or {})
    return [one.body() for one in found]


def english(call: Call, document: Mapping[str, Any] | None) -> str | None:
    if document is None:
        return None
    try:
        s = call.services
        rule = parse(document, s.catalogue, s.connectors, declared.paths_of(s.store, call.tenant))
        return read_back(rule, s.catalogue)
    except RuleError:
        return None


def shown(call: Call, row: Mapping[str, Any]) -> Answer:
    """A rule as answered: with its read-back, what is to be said about it, and its ETag."""
    document = row["document"]
    findings = [one.body() for one in problems(call, document)] if document is not None else []
    body = {**row, "english": english(call, document), "findings": findings, "examples": examples(call, document)}
    return Answer(body, headers={"ETag": f'"{row["version"]}"'})


def expected(call: Call) -> str | None:
    """The version named in If-Match; None for `*` or nothing."""
    given = (call.if_match or "").strip()
    return None if given in ("", "*") else given.removeprefix("W/").strip('"')


def note(call: Call) -> str:
    return str((call.body or {}).get("note") or "")


def resume_rule(call: Call) -> Answer:
    return asked_or_done(call, "resume", {"queued": call.body.get("queued", "keep")})


def change(path: str, name: str, summary: str, handler: Callable[[Call], Answer], **more: Any) -> Operation:
    """`POST /rules/{id}/<path>`."""
    return Operation(
        "POST",
        f"/rules/{{id}}/{path}",
        name,
        summary,
        "rules",
        handler,
        (200, "The rule as it is now.", RULE),
        **{"body": NOTE, "body_required": False, "errors": (409, 422), **more},
    )


OPERATIONS = (
    Operation(
        "GET",
        "/rules",
        "listRules",
        "Every rule, last changed first",
        "rules",
        list_rules,
        (200, "The rules.", listed(RULE_ROW)),
        parameters=(Parameter("state", "Only in this state.", {"type": "string", "enum": STATES}),),
    ),
    Operation(
        "POST",
        "/rules",
        "createRule",
        "A new rule, as a draft",
        "rules",
        create_rule,
        (201, "The draft.", RULE),
        parameters=(INCOMPLETE,),
        body=BODY,
        checked=False,
        errors=(409, 422),
    ),
    Operation(
        "POST",
        "/rules:check",
        "checkRule",
        "What is to be said about a document; nothing is kept",
        "rules",
        check_rule,
        (200, "Errors, advice and the read-back.", CHECKED),
        body=BODY,
        checked=False,
        errors=(422,),
    ),
    Operation(
        "GET",
        "/rules:lint",
        "lintRules",
        "What is odd about the rules in force, with events that show it",
        "rules",
        lint_rules,
        (200, "Every finding, those that the history shows most often first.", listed(ODDITY)),
        parameters=(
            Parameter("rule", "Only what concerns the rule of this id: its draft, else what is in force.", text()),
        ),
    ),
    Operation(
        "GET",
        "/rules/{id}",
        "getRule",
        "One rule: its draft and what is in force",
        "rules",
        get_rule,
        (200, "The rule; its ETag goes into If-Match.", RULE),
    ),
    Operation(
        "PUT",
        "/rules/{id}",
        "putRule",
        "Save the draft of a rule",
        "rules",
        put_rule,
        (200, "The draft.", RULE),
        parameters=(IF_MATCH, INCOMPLETE),
        body=BODY,
        checked=False,
        errors=(409, 412, 422),
    ),
    Operation(
        "GET",
        "/rules/{id}/versions",
        "listVersions",
        "Every published version, newest first",
        "rules",
        list_versions,
        (200, "The versions.", listed(RULE_VERSION)),
    ),
    change(
        "publish",
        "publishRule",
        "Put the draft live as the next version",
        publish_rule,
        parameters=(IF_MATCH,),
        body=FREER,
        also=(202,),
        errors=(409, 412, 422),
    ),
    change(
        "watch",
        "watchRule",
        "Put the draft in force as watch-only: it decides and sends nothing",
        watch_rule,
        parameters=(IF_MATCH,),
        body=FREER,
        also=(202,),
        errors=(409, 412, 422),
    ),
    change("pause", "pauseRule", "Start no runs until resumed", changing(author.pause)),
    change(
        "resume",
        "resumeRule",
        "Go on as before the pause; say what becomes of the matches that stood in line",
        resume_rule,
        also=(202,),
        body=closed(
            (),
            "",
            emergency=EMERGENCY,
            note=text("Why; kept in the audit log.", maxLength=2000),
            queued=text("What becomes of the matches that stood in line.", enum=["keep", "start", "drop"]),
        ),
    ),
    change("archive", "archiveRule", "Take the rule out of force and out of the lists", changing(author.archive)),
    change("restore", "restoreRule", "Take it out of the archive, not in force", changing(author.restore)),
    change(
        "rollback",
        "rollbackRule",
        "Put an earlier version in force",
        rollback_rule,
        also=(202,),
        body=ROLLBACK,
        body_required=True,
    ),
)
