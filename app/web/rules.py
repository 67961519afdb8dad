"""The rules: the list, one rule read back with its controls and versions, and what is asked before a control acts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from flask import Blueprint, Response, request

from app import approvals, author, browse, declared
from app.approvals import Change, Outcome
from app.author import lint, planned
from app.inquire import backtests
from app.numbers import whole
from app.operate import bulk
from app.web import example_words, planning, proposed, second
from app.web.backtests import effect_of
from app.web.pages import actor, go, now, page, services, tenant
from rules import english
from rules.event import iso
from rules.rule import Rule, RuleError, parse
from rules.words import amount, counted

blueprint = Blueprint("rules", __name__)
WEEK = timedelta(days=7)
Row = dict[str, Any]


# ---- looking --------------------------------------------------------------------------------------------------------
@blueprint.get("/rules")
def index() -> Response:
    archived = request.args.get("state") == "archived"
    found = author.rules(services().store, tenant())
    shown = [row for row in found if (row["state"] == "archived") == archived]
    since = iso(now() - WEEK)
    for row in shown:
        where = [("rule_id", "==", row["id"]), ("created_at", ">=", since)]
        row["week"] = services().store.count(tenant(), "run", where)  # type: ignore[arg-type]
    plans = planned.waiting(services().store, tenant())
    return page("rules.html", rows=shown, archived=archived, any_archived=len(shown) < len(found), plans=plans)


@blueprint.get("/rules/<id>")
def look(id: str) -> Response:
    store, mine = services().store, tenant()
    row = author.rule(store, mine, id)
    versions = author.versions(store, mine, id)
    latest = browse.runs(store, mine, rule=id, limit=8)["items"]
    return page(
        "rule.html",
        rule=row,
        said=sentences(row["in_force"] or row["document"]),
        example_words=example_words.sentences((row["in_force"] or row["document"] or {}).get("examples")),
        draft_diff=difference(row["in_force"], row["draft"]) if row["in_force"] and row["draft"] else [],
        problems=_problems(row["document"]),
        asked=approvals.of_rule(store, mine, id),
        plan=planned.row(store, mine, id),
        versions=_with_differences(versions),
        runs=latest,
        week=store.count(mine, "run", [("rule_id", "==", id), ("created_at", ">=", iso(now() - WEEK))]),
    )


@blueprint.get("/rules/<id>/export")
def export(id: str) -> Response:
    """The document as a file, which `New rule` and the command line take back."""
    document = author.rule(services().store, tenant(), id)["document"]
    body = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    headers = {"Content-Disposition": f'attachment; filename="{id}.json"'}
    return Response(body, mimetype="application/json", headers=headers)


def read(document: Mapping[str, Any] | None) -> Rule | None:
    """The rule of a document, or None while it has errors."""
    try:
        ports = services()
        known = declared.paths_of(ports.store, tenant())
        return parse(document or {}, ports.catalogue, ports.connectors, known)
    except RuleError:
        return None


def sentences(document: Mapping[str, Any] | None) -> list[Row]:
    """The document in plain English, `{"part", "text"}`, beside the name that pages show as their heading; nothing
    while it has errors."""
    rule = read(document)
    found = english.sentences(rule, services().catalogue) if rule else []
    return [dict(one) for one in found if one["part"] != "name"]


def difference(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> list[str]:
    """What changed from one document to the other, in sentences."""
    before, after = read(old), read(new)
    return list(english.diff(before, after, services().catalogue)) if before and after else []


def _problems(document: Mapping[str, Any] | None) -> list[Any]:
    if document is None:
        return []
    ports = services()
    return author.problems(ports.store, ports.catalogue, ports.connectors, tenant(), document)


def _with_differences(versions: list[Row]) -> list[Row]:
    """Each version, newest first, with what changed from the one before it."""
    older = [version["document"] for version in versions[1:]]
    pairs = zip(versions, [*older, None], strict=False)  # a rule that was never published has none
    return [{**version, "changed": difference(before, version["document"])} for version, before in pairs]


# ---- the controls ---------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Verb:
    """title: of the page that asks. button: what it says. kind: danger or nothing. done: said afterwards."""

    title: str
    button: str
    done: str
    kind: str = ""
    ask: str = "Why?"


VERBS = {
    "publish": Verb("Put “{name}” live?", "Go live", "It is live.", ask="What does this version do, or why now?"),
    "watch": Verb("Watch with “{name}” only?", "Watch only", "It watches now.", ask="What do you want to find out?"),
    "pause": Verb("Pause “{name}”?", "Pause", "It is paused."),
    "resume": Verb("Resume “{name}”?", "Resume", "It goes on."),
    "archive": Verb("Archive “{name}”?", "Archive", "It is in the archive.", "danger"),
    "restore": Verb("Take “{name}” out of the archive?", "Take it out", "It is back, and off."),
    "rollback": Verb("Put version {number} of “{name}” in force again?", "Roll back", "Version {number} is in force."),
    "withdraw": Verb("Withdraw the plan of “{name}”?", "Withdraw the plan", "The plan is withdrawn.", "danger"),
    "discard": Verb("Discard the draft of “{name}”?", "Discard the draft", "The draft is gone.", "danger"),
}


ASKED = ("publish", "watch", "rollback", "resume")  # what may take a second person
# what becomes of the matches of a pause: the form's value, its words
IN_LINE = (
    ("keep", "Keep them, and I choose among them: they are under Runs, held back"),
    ("start", "Start all of them; the rule’s limits are asked"),
    ("drop", "Drop all of them: no run of theirs starts"),
)


def _stands_in_line(row: Row) -> bool:
    return bool(bulk.counted(services().store, tenant(), bulk.in_line(row["id"]))["count"])


@blueprint.get("/rules/<id>/<any(publish, watch, pause, resume, archive, restore, rollback, withdraw, discard):verb>")
def ask(id: str, verb: str) -> Response:
    return _ask(author.rule(services().store, tenant(), id), verb, _number())


@blueprint.post("/rules/<id>/<any(publish, watch, pause, resume, archive, restore, rollback, withdraw, discard):verb>")
def act(id: str, verb: str) -> Response:
    why, number = request.form.get("reason", "").strip()[:2000], _number()
    if not why:
        row = author.rule(services().store, tenant(), id)
        return _ask(row, verb, number, "A few words are enough; who looks later will be glad of them.", 422)
    if verb == "publish":
        row = author.rule(services().store, tenant(), id)
        if missing := proposed.answered(row):
            return _ask(row, verb, number, missing, 422)
    if verb in planning.MODES and planning.is_later():
        return _plan(id, verb, why)
    came = CONTROLS[verb](id, why, number)
    done = VERBS[verb].done.format(number=number)
    return go(f"/rules/{id}", *(second.said(came, done) if isinstance(came, Outcome) else (done,)))


def _plan(id: str, verb: str, why: str) -> Response:
    """Read the plan back; keep it, or ask for it, once it was read."""
    try:
        phases = planning.read()
        told = planning.read_back(id, verb, phases)
    except RuleError as error:
        wrong = " ".join(f"{one.message[:1].upper()}{one.message[1:]}." for one in error.problems)
        return _ask(author.rule(services().store, tenant(), id), verb, 0, None, 422, wrong=wrong)
    if not planning.was_read_back():
        return _ask(author.rule(services().store, tenant(), id), verb, 0, told=told, read=planning.entered())
    expect = request.form.get("expect") or None
    came = second.change(planning.change(id, verb, phases), why, expect, second.is_emergency(), _seen(id))
    return go(f"/rules/{id}", *second.said(came, "It is planned."))


def _number() -> int:
    return whole(request.values.get("number")) or 0


def _ask(row: Row, verb: str, number: int, error: str | None = None, status: int = 200, **plan: Any) -> Response:
    """plan: told and read, the plan that is read back; or wrong, why there can be none."""
    words = VERBS[verb]
    asks = verb in ASKED and second.asks(verb, row["id"], number=number, queued="start")
    return page(
        "confirm.html",
        status=status,
        title=words.title.format(name=row["name"], number=number),
        verb="Ask for approval" if asks and verb != "resume" else "Plan it" if plan.get("told") else words.button,
        asks=asks,
        starts=verb == "resume",
        kind=words.kind,
        ask=words.ask,
        means=meaning(row, verb, number),
        action=f"/rules/{row['id']}/{verb}",
        back=f"/rules/{row['id']}",
        fields={"number": number, "expect": row["version"]},
        choices=IN_LINE if verb == "resume" and _stands_in_line(row) else None,
        error=error,
        **({"measured": True, **effect_of(row), **odd_about(row)} if verb in ("publish", "watch") else {}),
        reason=request.form.get("reason", ""),
        **proposed.asked(row, verb),
        **planning.asked(verb),
        **plan,
    )


def odd_about(row: Row) -> Row:
    """What lint finds about what is to be put in force."""
    ports = services()
    looked = lint.looked(ports.store, ports.catalogue, tenant(), now(), row["document"])
    return {"odd": looked.findings, "odd_rule": row["id"]}


def meaning(row: Row, verb: str, number: int) -> list[str]:
    """What the control does, in sentences."""
    if verb in ("publish", "watch"):
        return [*_publishing(row, verb), *_halts(row)]
    if verb == "rollback":
        chosen = author.version(services().store, tenant(), row["id"], number)
        return [*difference(row["in_force"], chosen["document"]), *_in_flight(row), *_from_now(), *_halts(row)]
    if verb == "withdraw":
        return _withdrawing(row)
    return {
        "pause": [
            "Matches are still recorded, and no new run starts.",
            "Open runs sleep until you resume.",
            *_halts(row),
        ],
        "resume": ["New matches start runs again, and open runs go on.", *_in_line(row)],
        "archive": [
            "No new run starts, and the rule leaves the list; its versions, runs and traces stay.",
            *_in_flight(row),
            *_halts(row),
        ],
        "restore": ["It is listed again and off: it does nothing until you put it live."],
        "discard": ["The changes that were not put in force are gone. The audit log keeps a copy.", *_keeps(row)],
    }[verb]


def _plan_of(row: Row) -> Row | None:
    """The plan that waits."""
    found = planned.row(services().store, tenant(), row["id"])
    return found if found and found["state"] == "waiting" else None


def _halts(row: Row) -> list[str]:
    found = _plan_of(row)
    return [f"The plan of {found['by']} halts and asks: it was made for what is in force now."] if found else []


def _keeps(row: Row) -> list[str]:
    found = _plan_of(row)
    return ["The plan that waits holds its own copy: withdraw it, too, if that is not to come."] if found else []


def _withdrawing(row: Row) -> list[str]:
    found = planned.row(services().store, tenant(), row["id"])
    if found is None or found["state"] not in ("waiting", "halted"):
        return ["There is no plan of this rule that waits."]
    if not any(step["version"] for step in found["steps"]):
        return ["Nothing of it goes in force. What is in force stays, and so does the draft."]
    return ["No later phase comes. What is in force stays as it is, and what was on its way is a draft again."]


def _in_line(row: Row) -> list[str]:
    """What stood in line while the rule was paused, with what it is about in money."""
    stood = bulk.counted(services().store, tenant(), bulk.in_line(row["id"]))
    if not stood["count"]:
        return ["Nothing stood in line during the pause."]
    money = ", ".join(amount(minor, currency) for currency, minor in (stood["money"] or {}).items())
    runs = counted(stood["count"], "run")
    return [f"{runs} stood in line during the pause" + (f", about {money}." if money else ".")]


def _publishing(row: Row, verb: str) -> list[str]:
    document = row["document"]
    changes = difference(row["in_force"], document) if row["in_force"] and row["draft"] else []
    told = changes or [one["text"] for one in sentences(document) if one["part"] != "examples"]
    if verb == "watch":
        return [*told, "It decides on live events and sends nothing: its runs say what it would have done."]
    return [*told, *_in_flight(row), *_from_now()]


def _from_now() -> list[str]:
    return ["Events from now on start runs; earlier ones only count in its windows."]


def _in_flight(row: Row) -> list[str]:
    store, mine = services().store, tenant()
    states = ("pending", "waiting", "acting", "needs_person", "parked")
    count = sum(store.count(mine, "run", [("rule_id", "==", row["id"]), ("state", "==", state)]) for state in states)
    if not count:
        return []
    runs = "1 run in flight ends" if count == 1 else f"{count:,} runs in flight end"
    return [f"{runs} on the version it started on." if count == 1 else f"{runs} on the version they started on."]


# ---- acting ---------------------------------------------------------------------------------------------------------
def _publish(verb: str) -> Callable[[str, str, int], object]:
    def run(id: str, why: str, number: int) -> object:
        took_limits = request.form.get("limits") == "proposed"  # kept just now, against the version that was read
        expect = None if took_limits else request.form.get("expect") or None
        return second.change(Change(verb, id, {}), why, expect, second.is_emergency(), _seen(id))

    return run


def _seen(id: str) -> Row | None:
    """The effect that whoever publishes has been shown, to be kept with the version."""
    document = author.rule(services().store, tenant(), id)["document"]
    if document and request.form.get("limits") == "proposed":  # it was measured before it took them
        document = {key: value for key, value in document.items() if key != "limits"}
    return backtests.effect(services().store, tenant(), document, now()) if document else None


def _simple(change: Callable[..., object]) -> Callable[[str, str, int], object]:
    return lambda id, why, number: change(services().store, tenant(), id, actor(), why, now())


def _resume(id: str, why: str, number: int) -> object:
    wanted = request.form.get("queued")
    queued: bulk.Queued = "start" if wanted == "start" else "drop" if wanted == "drop" else "keep"
    return second.change(Change("resume", id, {"queued": queued}), why, None, second.is_emergency())


def _rollback(id: str, why: str, number: int) -> object:
    return second.change(Change("rollback", id, {"number": number}), why, None, second.is_emergency())


def _withdraw(id: str, why: str, number: int) -> object:
    return planned.withdraw(services().store, tenant(), id, actor(), why, now())


CONTROLS: Mapping[str, Callable[[str, str, int], object]] = {
    "publish": _publish("publish"),
    "watch": _publish("watch"),
    "pause": _simple(author.pause),
    "resume": _resume,
    "archive": _simple(author.archive),
    "restore": _simple(author.restore),
    "discard": _simple(author.discard_draft),
    "rollback": _rollback,
    "withdraw": _withdraw,
}
