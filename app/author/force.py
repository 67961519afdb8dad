"""What is in force: a draft becomes a version, and versions go out of force and back. Every change is audited.

A rule document is never changed once it is a version. What is in force changes together with the rule set's revision,
in one commit, so that no worker can see one without the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from app.audit import entry
from app.author.drafts import ELSEWHERE, Actions, Row, authors_of_draft, meet, read, refuse_errors, rule, version
from rules.event import iso
from rules.fields import Catalogue
from rules.ports import ABSENT, Conflict, Document, Put, Store, Write

Mode = Literal["live", "watch"]

TRIES = 5  # of a commit that raced with another rule's
VERBS: Mapping[Mode, str] = {"live": "publish", "watch": "watch"}  # in the audit log
NO_DRAFT: Mapping[str, Any] = {"draft": None, "draft_authors": [], "problems": 0}


def publish(
    store: Store,
    catalogue: Catalogue,
    actions: Actions,
    tenant: str,
    rule_id: str,
    actor: str,
    note: str,
    now: datetime,
    mode: Mode = "live",
    expect: str | None = None,
    effect: Mapping[str, Any] | None = None,
    asked_by: str = "",
    more: Sequence[Write] = (),
) -> Row:
    """Put the draft in force as the next version; without a draft, the version in force changes its mode.
    RuleError when the document has errors. Events recorded before `now` start no runs of it.
    effect: what it was measured to change (app.inquire.backtests.effect), kept with the version. asked_by: who asked
    for it, where `actor` approved. more: what becomes true in the same commit. Who may do this: app.approvals."""
    found = read(store, tenant, rule_id)
    meet(expect, found, rule_id)
    current = found.body["number"]
    draft = found.body["draft"]
    document = draft or (version(store, tenant, rule_id, current)["document"] if current else None)
    if document is None:
        raise Conflict("There is nothing to publish: the rule has neither a draft nor a version.")
    refuse_errors(store, tenant, document, catalogue, actions)
    if not draft and found.body["state"] == mode:
        raise Conflict(f"Version {current} is in force already, and there is no draft.")
    number = _next_number(store, tenant, rule_id) if draft else current
    writes: list[Write] = [*more]
    if draft:
        says: Row = {"published_by": asked_by or actor, "note": note, "authors": authors_of_draft(found.body)}
        says |= {"approved_by": actor} if asked_by else {}
        says |= {"effect": dict(effect)} if effect else {}
        writes.append(_version(document, rule_id, number, mode, now, says))
    body = {**_in_force(found, document, number, mode, now), **NO_DRAFT}
    _enforce(store, tenant, found, body, VERBS[mode], actor, note, now, writes)
    return rule(store, tenant, rule_id)


def pause(store: Store, tenant: str, rule_id: str, actor: str, note: str, now: datetime) -> Row:
    """Matches are still recorded; no run starts, and open ones sleep."""
    found = _in_state(store, tenant, rule_id, ("live", "watch"), "paused")
    body = {**found.body, "state": "paused", "paused_from": found.body["state"]}
    _enforce(store, tenant, found, body, "pause", actor, note, now)
    return rule(store, tenant, rule_id)


def resume(
    store: Store,
    tenant: str,
    rule_id: str,
    actor: str,
    note: str,
    now: datetime,
    expect: str | None = None,
    more: Sequence[Write] = (),
) -> Row:
    """Go on as before the pause, live or watching."""
    found = _in_state(store, tenant, rule_id, ("paused",), "resumed")
    meet(expect, found, rule_id)
    body = {**found.body, "state": found.body.get("paused_from") or "live", "paused_from": None}
    _enforce(store, tenant, found, body, "resume", actor, note, now, [*more])
    return rule(store, tenant, rule_id)


def archive(store: Store, tenant: str, rule_id: str, actor: str, note: str, now: datetime) -> Row:
    """Out of force and out of the lists. Its versions, runs and traces stay; open runs end on their version."""
    found = _in_state(store, tenant, rule_id, ("off", "live", "watch", "paused"), "archived")
    body = {**found.body, "state": "archived", "live_from": None, "paused_from": None}
    _enforce(store, tenant, found, body, "archive", actor, note, now)
    return rule(store, tenant, rule_id)


def restore(store: Store, tenant: str, rule_id: str, actor: str, note: str, now: datetime) -> Row:
    """Out of the archive, not in force."""
    found = _in_state(store, tenant, rule_id, ("archived",), "taken out of the archive")
    _enforce(store, tenant, found, {**found.body, "state": "off"}, "restore", actor, note, now)
    return rule(store, tenant, rule_id)


def rollback(
    store: Store,
    catalogue: Catalogue,
    actions: Actions,
    tenant: str,
    rule_id: str,
    number: int,
    actor: str,
    note: str,
    now: datetime,
    expect: str | None = None,
    more: Sequence[Write] = (),
) -> Row:
    """Put an earlier version in force again, in the rule's present mode. Runs in flight end on the version they
    started on; a draft stays a draft. RuleError when Stripe's fields have moved on since."""
    found = _in_state(store, tenant, rule_id, ("live", "watch", "paused"), "rolled back")
    meet(expect, found, rule_id)
    if number == found.body["number"]:
        raise Conflict(f"Version {number} is the one in force.")
    document = version(store, tenant, rule_id, number)["document"]
    refuse_errors(store, tenant, document, catalogue, actions)
    body = {**found.body, "number": number, "name": document["name"], "live_from": iso(now)}
    _enforce(store, tenant, found, body, "roll back", actor, note, now, [*more])
    return rule(store, tenant, rule_id)


def follow(
    store: Store,
    tenant: str,
    found: Document,
    document: Mapping[str, Any],
    mode: Mode,
    says: Mapping[str, Any],
    drops_draft: bool,
    now: datetime,
    done: Callable[[int, int], Sequence[Write]],
) -> int:
    """Put a planned document in force as the next version, or change the mode of the one that has it; its number.
    found: the rule as it was looked at. says: what the version tells of its making. done: what becomes true in the same
    commit, of the version's number and the rule's turn."""
    current = found.body["number"]
    is_new = not current or version(store, tenant, found.id, current)["document"] != document
    number = _next_number(store, tenant, found.id) if is_new else int(current)
    writes: list[Write] = [*done(number, turn(found.body) + 1)]
    if is_new:
        writes.append(_version(document, found.id, number, mode, now, says))
    body = {**_in_force(found, document, number, mode, now), **(NO_DRAFT if drops_draft else {})}
    _enforce(store, tenant, found, body, VERBS[mode], "signalbox", str(says["note"]), now, writes)
    return number


def turn(body: Mapping[str, Any]) -> int:
    """How often what is in force of a rule has changed: pausing and resuming leaves all else as it was."""
    return int(body.get("turn", 0))


# ---- the parts ------------------------------------------------------------------------------------------------------
def _in_state(store: Store, tenant: str, id: str, states: tuple[str, ...], verb: str) -> Document:
    found = read(store, tenant, id)
    if found.body["state"] not in states:
        raise Conflict(f"The rule is {found.body['state']}, so it cannot be {verb}.")
    return found


def _next_number(store: Store, tenant: str, id: str) -> int:
    newest = store.find(tenant, "rule_version", [("rule_id", "==", id)], order="-number", limit=1).items
    return int(newest[0].body["number"]) + 1 if newest else 1


def _version(
    document: Mapping[str, Any], rule_id: str, number: int, mode: Mode, now: datetime, says: Mapping[str, Any]
) -> Put:
    """says: who made it, why, and what it was measured to change."""
    made = {"rule_id": rule_id, "number": number, "document": dict(document), "published_at": iso(now), "mode": mode}
    return Put("rule_version", f"{rule_id}@{number}", {**made, **says}, ABSENT)


def _in_force(found: Document, document: Mapping[str, Any], number: int, mode: Mode, now: datetime) -> Row:
    """The rule with this version in force from now on."""
    now_so = {"name": document["name"], "state": mode, "number": number, "live_from": iso(now), "paused_from": None}
    return {**found.body, **now_so}


def _enforce(
    store: Store,
    tenant: str,
    found: Document,
    body: Row,
    verb: str,
    actor: str,
    note: str,
    now: datetime,
    writes: list[Write] | None = None,
) -> None:
    """Commit a change of what is in force: the rule, its new version if any, the revision, the audit entry."""
    body = {**body, "updated_at": iso(now), "turn": turn(found.body) + 1}
    audit = entry(now, actor, verb, found.id, _standing(found.body), _standing(body), note)
    for attempt in range(TRIES):
        revision = store.get(tenant, "ruleset", "current")
        number = int(revision.body["revision"]) + 1 if revision else 1
        changed = {"revision": number, "changed_at": iso(now)}
        bump = Put("ruleset", "current", changed, revision.version if revision else ABSENT)
        try:
            store.commit(tenant, None, [Put("rule", found.id, body, found.version), *(writes or ()), bump, audit])
            return
        except Conflict as error:
            if attempt == TRIES - 1 or read(store, tenant, found.id).version != found.version:
                raise Conflict(ELSEWHERE) from error


def _standing(body: Mapping[str, Any]) -> Row:
    return {"state": body["state"], "version": body["number"]}
