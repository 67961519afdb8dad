"""Plans: a rule's draft goes in force by itself, at a time or in phases for a growing share of its subjects.

A plan holds a copy of the document: what is edited meanwhile stays a draft. The worker does what is due, one commit for
each phase: the rule, its version, the revision, the plan and the audit entry, so a repeat finds it done and of two
workers one is refused. A plan that meets what a person should see first halts, with a sentence, under Needs you.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from app import logs, tenant_settings, tenants
from app.audit import entry
from app.author import timetable
from app.author.drafts import Actions, Row, authors_of_draft, meet, refuse_errors, version
from app.author.drafts import read as read_rule
from app.author.force import Mode, follow, turn
from app.author.timetable import ALL, Phase
from rules.event import instant, iso
from rules.fields import Catalogue
from rules.ports import ABSENT, Conflict, Document, Put, Store, Unavailable, Write
from rules.rule import RuleError
from rules.words import counted, moment

KIND = "plan"
STATES = ("waiting", "done", "withdrawn", "halted")
ACTOR = "signalbox"
MANY = 50  # plans at one look
TRIES = 5
_DID = {
    "publish": "put another version live",
    "watch": "put a version in force as watch-only",
    "roll back": "rolled back",
    "pause": "paused it",
    "resume": "resumed it",
    "archive": "archived it",
    "restore": "took it out of the archive",
}


@dataclass(frozen=True, slots=True)
class Desk:
    """The ports that a phase takes."""

    store: Store
    catalogue: Catalogue
    actions: Actions


# ---- planning -------------------------------------------------------------------------------------------------------
def plan(
    desk: Desk,
    tenant: str,
    rule_id: str,
    phases: Sequence[Phase],
    mode: Mode,
    actor: str,
    note: str,
    now: datetime,
    expect: str | None = None,
    effect: Mapping[str, Any] | None = None,
    asked_by: str = "",
    more: Sequence[Write] = (),
) -> Row:
    """Keep the plan, and do its first phase where that is at once. As publish: expect, effect, asked_by, more.
    RuleError for times and shares that cannot be, or a document with errors; Conflict when a plan waits already."""
    found = read_rule(desk.store, tenant, rule_id)
    meet(expect, found, rule_id)
    document, latest = _checked(desk, tenant, found, phases, mode, now)
    number = int(latest.body["number"]) + 1 if latest else 1
    body = {
        "id": f"{rule_id}@{number}",
        "rule_id": rule_id,
        "number": number,
        "name": document["name"],
        "document": dict(document),
        "mode": mode,
        "steps": [_step(phase, now) for phase in phases],
        "due_at": iso(phases[0].at or now),
        "state": "waiting",
        "why": "",
        "note": note,
        "by": asked_by or actor,
        "approved_by": actor if asked_by else None,
        "authors": authors_of_draft(found.body) or _authors(desk.store, tenant, found),
        "expects": _standing(found.body),
        "effect": dict(effect) if effect else None,
        "created_at": iso(now),
        "updated_at": iso(now),
    }
    told = entry(now, actor, "plan", rule_id, None, _told(body), note)
    same = Put("rule", rule_id, found.body, found.version)  # nobody may change it just before
    writes: list[Write] = [Put(KIND, body["id"], body, ABSENT), same, told, *more]
    if latest and latest.body["state"] == "halted":
        writes.append(_ended(latest, "withdrawn", f"{actor} planned anew.", now))
    try:
        desk.store.commit(tenant, None, writes)
    except Conflict as error:
        raise Conflict("Somebody else planned it, or changed it, just now. Look again.") from error
    if phases[0].at is None:
        go_on(desk, tenant, body["id"], now)
    return row(desk.store, tenant, rule_id) or {}


def check(desk: Desk, tenant: str, rule_id: str, phases: Sequence[Phase], mode: str, now: datetime) -> None:
    """Raises what planning it now would raise."""
    _checked(desk, tenant, read_rule(desk.store, tenant, rule_id), phases, mode, now)


def _checked(
    desk: Desk, tenant: str, found: Document, phases: Sequence[Phase], mode: str, now: datetime
) -> tuple[Mapping[str, Any], Document | None]:
    """What would be planned, and the rule's newest plan before it."""
    document = _to_come(desk.store, tenant, found)
    timetable.refuse(phases, document, now)
    refuse_errors(desk.store, tenant, document, desk.catalogue, desk.actions)
    if found.body["state"] == "archived":
        raise Conflict("The rule is archived: take it out of the archive first.")
    if not found.body["draft"] and found.body["state"] == mode:
        raise Conflict(f"Version {found.body['number']} is in force already, and there is no draft.")
    latest = _latest(desk.store, tenant, found.id)
    if latest and latest.body["state"] == "waiting":
        raise Conflict(f"{latest.body['by']} has planned it already. Withdraw that plan first.")
    return document, latest


def says(store: Store, tenant: str, rule_id: str, phases: Sequence[Phase], mode: str) -> list[str]:
    """What planning these phases means, in sentences."""
    found = read_rule(store, tenant, rule_id)
    zone = tenant_settings.read(store, tenant).zone
    acts = found.body["state"] in ("live", "watch", "paused")
    return timetable.says(phases, _to_come(store, tenant, found), zone, mode, acts)


def _to_come(store: Store, tenant: str, found: Document) -> Mapping[str, Any]:
    """The draft, else what is in force and changes its mode."""
    body = found.body
    document: Mapping[str, Any] | None = body["draft"]
    if document is None and body["number"]:
        document = version(store, tenant, found.id, body["number"])["document"]
    if document is None:
        raise Conflict("There is nothing to plan: the rule has neither a draft nor a version.")
    return document


def _authors(store: Store, tenant: str, found: Document) -> list[str]:
    return list(version(store, tenant, found.id, found.body["number"]).get("authors", ()))


def _step(phase: Phase, now: datetime) -> Row:
    return {"at": iso(phase.at or now), "share": phase.share, "version": None, "done_at": None}


def _standing(body: Mapping[str, Any]) -> Row:
    """How a rule stands: another one later says that somebody was here."""
    return {"state": body["state"], "number": body["number"], "turn": turn(body)}


def _told(body: Mapping[str, Any]) -> Row:
    """What the audit log keeps of a plan."""
    steps = [{name: step[name] for name in ("at", "share", "version")} for step in body["steps"]]
    return {"plan": body["number"], "mode": body["mode"], "state": body["state"], "steps": steps}


# ---- what is due ----------------------------------------------------------------------------------------------------
def do_due(desk: Desk, now: datetime) -> int:
    """Go on with every plan that is due, of every tenant; how many moved. One that fails leaves the others alone."""
    count = 0
    for tenant in tenants.every(desk.store):
        due = desk.store.find(tenant, KIND, [("due_at", "<=", iso(now))], order="due_at", limit=MANY).items
        for found in due:
            try:
                count += go_on(desk, tenant, found.id, now)
            except Unavailable:
                raise
            except Exception as error:  # one that surprises must not keep the others back
                logs.failed("plan.failed", error, tenant=tenant, plan=found.id)
    return count


def go_on(desk: Desk, tenant: str, id: str, now: datetime) -> bool:
    """The phase of one plan that is due, or its halt; whether this look did it. Of several that became due while nobody
    worked, the latest is put in force, and the ones before it are marked as passed over."""
    found = desk.store.get(tenant, KIND, id)
    if found is None or found.body["state"] != "waiting" or found.body["due_at"] > iso(now):
        return False
    rule = desk.store.get(tenant, "rule", found.body["rule_id"])
    try:
        if why := _why_not(desk, tenant, found.body, rule):
            _halt(desk.store, found, rule, why, now)
        else:
            _in_force(desk.store, tenant, found, cast("Document", rule), now)
    except Conflict:
        return False  # somebody was quicker; the next look sees what they did
    return True


def _in_force(store: Store, tenant: str, found: Document, rule: Document, now: datetime) -> None:
    body, place = found.body, _due(found.body, now)
    share = body["steps"][place]["share"]
    document = timetable.phased(body["document"], share)
    is_drafted = rule.body["draft"] == body["document"]
    made = follow(
        store, tenant, rule, document, body["mode"], _version_says(body, place), is_drafted, now,
        lambda number, turned: [_moved(found, place, number, turned, now)],
    )  # fmt: skip
    logs.line("plan.phase", tenant=tenant, plan=found.id, phase=place + 1, share=share, version=made)


def _due(body: Mapping[str, Any], now: datetime) -> int:
    """The place of the latest phase that is due."""
    due = [n for n, step in enumerate(body["steps"]) if step["done_at"] is None and step["at"] <= iso(now)]
    return due[-1]


def _version_says(body: Mapping[str, Any], place: int) -> Row:
    share, count = body["steps"][place]["share"], len(body["steps"])
    phase = f"phase {place + 1} of {count}, {share} %" if count > 1 else "as planned"
    told: Row = {"published_by": body["by"], "note": f"{body['note']} ({phase})".strip(), "authors": body["authors"]}
    told |= {"approved_by": body["approved_by"]} if body["approved_by"] else {}
    told |= {"effect": body["effect"]} if body["effect"] and share == ALL else {}
    return {**told, "plan": body["id"]}


def _moved(found: Document, place: int, number: int, turned: int, now: datetime) -> Put:
    """The plan with this phase done, and those before it that nobody did passed over."""
    body = found.body
    steps = [dict(step) for step in body["steps"]]
    for at, step in enumerate(steps[: place + 1]):
        if step["done_at"] is None:
            step |= {"done_at": iso(now), "version": number if at == place else None}
    is_over = place == len(steps) - 1
    after = {
        "steps": steps,
        "due_at": None if is_over else steps[place + 1]["at"],
        "state": "done" if is_over else "waiting",
        "expects": {"state": body["mode"], "number": number, "turn": turned},
        "updated_at": iso(now),
    }
    return Put(KIND, found.id, {**body, **after}, found.version)


def _ended(found: Document, state: str, why: str, now: datetime) -> Put:
    body = {**found.body, "state": state, "why": why, "due_at": None, "updated_at": iso(now)}
    return Put(KIND, found.id, body, found.version)


# ---- halting --------------------------------------------------------------------------------------------------------
def _why_not(desk: Desk, tenant: str, body: Mapping[str, Any], rule: Document | None) -> str:
    """What a person should see before the plan goes on; empty for nothing."""
    if rule is None:
        return "The rule is not there any more."
    if _standing(rule.body) != body["expects"]:
        return _changed(desk.store, tenant, body)
    switch = desk.store.get(tenant, "switch", "switches")
    stopped: Mapping[str, Any] = switch.body if switch else {}
    if stopped.get("all") or rule.id in stopped.get("rules", ()):
        return "The emergency stop is on: nothing new goes in force by itself."
    if parked := _parked(desk.store, tenant, body):
        runs = counted(parked, "run")
        return f"A limit holds {runs} of the last phase back. What asks for help already does not grow by itself."
    try:
        refuse_errors(desk.store, tenant, body["document"], desk.catalogue, desk.actions)
    except RuleError as error:
        return f"The rule has errors now: {'; '.join(one.message for one in error.problems[:3])}."
    return ""


def _changed(store: Store, tenant: str, body: Mapping[str, Any]) -> str:
    """Who changed what is in force meanwhile, from the audit log."""
    since = max([body["created_at"], *(step["done_at"] for step in body["steps"] if step["done_at"])])
    where: list[Any] = [("about", "==", body["rule_id"]), ("at", ">=", since)]
    entries = [one.body for one in store.find(tenant, "audit", where, order="at", limit=500).items]
    did = [one for one in entries if one["verb"] in _DID and one["actor"] != ACTOR]
    if not did:
        return "What is in force of the rule was changed after this was planned."
    last = did[-1]
    return f"{last['actor']} {_DID[last['verb']]} on {moment(instant(last['at']))}, after this was planned."


def _parked(store: Store, tenant: str, body: Mapping[str, Any]) -> int:
    """Runs that began in the phase in force and that a limit holds back now."""
    done = [step["done_at"] for step in body["steps"] if step["done_at"]]
    if not done:
        return 0
    where: list[Any] = [("rule_id", "==", body["rule_id"]), ("state", "==", "parked"), ("created_at", ">=", done[-1])]
    return store.count(tenant, "run", where)


def _halt(store: Store, found: Document, rule: Document | None, why: str, now: datetime) -> None:
    told = entry(now, ACTOR, "halt plan", found.body["rule_id"], _told(found.body), "halted", why)
    writes = [_ended(found, "halted", why, now), told, *_draft_again(found.body, rule, now)]
    store.commit(found.tenant, None, writes)
    logs.line("plan.halted", logging.WARNING, tenant=found.tenant, plan=found.id, why=why)


def _draft_again(body: Mapping[str, Any], rule: Document | None, now: datetime) -> list[Write]:
    """What was on its way is a draft again, where the plan has put a part of it in force and nobody was here since."""
    if rule is None or rule.body["draft"] is not None or _standing(rule.body) != body["expects"]:
        return []
    if not any(step["version"] for step in body["steps"]):
        return []
    kept = {"draft": body["document"], "draft_by": body["by"], "draft_authors": body["authors"], "problems": 0}
    return [Put("rule", rule.id, {**rule.body, **kept, "updated_at": iso(now)}, rule.version)]


# ---- withdrawing ----------------------------------------------------------------------------------------------------
def withdraw(store: Store, tenant: str, rule_id: str, actor: str, why: str, now: datetime) -> Row:
    """No phase comes any more, and a plan that halted leaves Needs you. What is in force stays. Conflict for none."""
    for _ in range(TRIES):
        found = _latest(store, tenant, rule_id)
        if found is None or found.body["state"] not in ("waiting", "halted"):
            raise Conflict("There is no plan of this rule that waits.")
        rule = store.get(tenant, "rule", rule_id) if found.body["state"] == "waiting" else None
        told = entry(now, actor, "withdraw plan", rule_id, _told(found.body), "withdrawn", why)
        writes = [_ended(found, "withdrawn", why, now), told, *_draft_again(found.body, rule, now)]
        try:
            store.commit(tenant, None, writes)
        except Conflict:
            continue
        return row(store, tenant, rule_id) or {}
    raise Conflict("It changed again and again meanwhile. Try once more.")


# ---- reading --------------------------------------------------------------------------------------------------------
def row(store: Store, tenant: str, rule_id: str) -> Row | None:
    """The rule's newest plan, whatever became of it, with `says`: each phase in words; None for none."""
    found = _latest(store, tenant, rule_id)
    return _shown(found.body, tenant_settings.read(store, tenant).zone) if found else None


def waiting(store: Store, tenant: str) -> dict[str, Row]:
    """The plans that wait, by rule: those that come next."""
    found = store.find(tenant, KIND, [("state", "==", "waiting")], order="-created_at", limit=500).items
    zone = tenant_settings.read(store, tenant).zone if found else "UTC"
    return {one.body["rule_id"]: _shown(one.body, zone) for one in found}


def halted(store: Store, tenant: str, limit: int) -> list[Row]:
    """The newest that halted and that nobody has looked after."""
    found = store.find(tenant, KIND, [("state", "==", "halted")], order="-created_at", limit=limit).items
    names = ("name", "rule_id", "why", "by", "note", "updated_at")
    return [{"id": one.body["rule_id"], **{name: one.body[name] for name in names}} for one in found]


def count_halted(store: Store, tenant: str) -> int:
    return store.count(tenant, KIND, [("state", "==", "halted")])


def _latest(store: Store, tenant: str, rule_id: str) -> Document | None:
    found = store.find(tenant, KIND, [("rule_id", "==", rule_id)], order="-number", limit=1).items
    return found[0] if found else None


def _shown(body: Mapping[str, Any], zone: str) -> Row:
    steps = []
    for step in body["steps"]:
        when = timetable.clock(instant(step["at"]), zone)
        what = f"{when}, {timetable.for_whom(step['share'], body['document'])}"
        steps.append({**step, "says": what, "passed": bool(step["done_at"]) and step["version"] is None})
    return {**{name: value for name, value in body.items() if name != "expects"}, "steps": steps}
