"""The second person: what lets money move more freely is asked for by one and approved by another.

In production always, elsewhere where the tenant's setting "Second person" is on. Whoever wrote or asked for a change
never approves it, nor does a name that several may use (a token, the command line). What was changed after it was
asked for is stale and refused. An emergency goes past the second person, with a reason: it is an entry of its own in
the audit log, an alert, and a banner until a second person has acknowledged it.
"""

from __future__ import annotations

import logging
import secrets as random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app import logs, tenant_settings
from app.access import api_tokens
from app.approvals.changes import (
    RULE_VERBS,
    Change,
    Doing,
    Office,
    basis,
    check,
    effect,
    forget,
    hands,
    is_freer,
    keep,
    kept,
    perform,
    read_version,
    says,
)
from app.approvals.meanwhile import meanwhile
from app.audit import entry
from rules.event import iso
from rules.ports import ABSENT, Conflict, Document, Put, Store, Write
from rules.rule import Problem, RuleError
from rules.steps import NotPossible

__all__ = [
    "Change",
    "Office",
    "Outcome",
    "acknowledge",
    "approve",
    "asks",
    "change",
    "decline",
    "needed",
    "withdraw",
]

KIND = "proposal"
STATES = ("open", "approved", "declined", "withdrawn", "stale", "emergency", "acknowledged")
LONGEST = 2000  # characters of a note
MANY = 200
_TITLES = {
    "publish": "Put {about} live",
    "watch": "Put {about} in force, watching only",
    "plan": "Put {about} in force by a plan",
    "rollback": "Put version {number} of {about} in force again",
    "resume": "Resume {about} with what stood in line",
    "connection": "Change the connection {about}",
    "live actions": "Allow live actions over {about}",
    "list": "Change the list {about}",
    "delete list": "Delete the list {about}",
    "settings": "Do without a second person",
    "webhook secret": "Take events that are signed with one more secret",
}
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a change: the row of what was done, or the proposal that waits."""

    done: Row | None = None
    proposal: Row | None = None


def needed(office: Office, tenant: str) -> bool:
    """Whether a second person is asked for here."""
    return office.production or tenant_settings.read(office.store, tenant).second_person


def asks(office: Office, tenant: str, wanted: Change) -> bool:
    """Whether this very change is asked for, and not done at once."""
    return needed(office, tenant) and is_freer(office, tenant, wanted)


# ---- asking ---------------------------------------------------------------------------------------------------------
def change(
    office: Office,
    tenant: str,
    wanted: Change,
    actor: str,
    note: str,
    now: datetime,
    expect: str | None = None,
    emergency: bool = False,
    measured: Mapping[str, Any] | None = None,
) -> Outcome:
    """Do it where nobody else is needed, else ask for it. emergency: do it all the same; the caller has made sure that
    an administrator asks. measured: the effect that was shown, where it is not the newest one. Raises as the change
    does, RuleError without a reason where one is needed."""
    if not asks(office, tenant, wanted):
        seen = measured or effect(office, tenant, wanted, now)
        return Outcome(done=perform(office, tenant, wanted, Doing(actor, note, now, "", expect, seen)))
    check(office, tenant, wanted, now)
    read = read_version(office, tenant, wanted)
    if expect not in (None, ABSENT) and expect != read:
        raise Conflict("Someone else changed it after you opened it. Open it again.")
    _said(note)
    if emergency:
        return Outcome(done=_emergency(office, tenant, wanted, actor, note, now))
    return Outcome(proposal=_ask(office, tenant, wanted, actor, note, now))


def _ask(office: Office, tenant: str, wanted: Change, actor: str, note: str, now: datetime) -> Row:
    _refuse_second(office, tenant, wanted)
    body = _body(office, tenant, wanted, actor, note, now, "open")
    asked = entry(now, actor, "ask for approval", wanted.about, None, _told(body), note[:LONGEST])
    office.store.commit(tenant, None, [Put(KIND, body["id"], body, ABSENT), asked])
    return proposal(office.store, tenant, body["id"])


def _refuse_second(office: Office, tenant: str, wanted: Change) -> None:
    """One at a time about one thing; what has become stale makes room."""
    for found in _about(office.store, tenant, wanted.about):
        same_sort = (found.body["change"] in RULE_VERBS) == (wanted.verb in RULE_VERBS)
        if found.body["state"] == "open" and same_sort and found.body["basis"] == basis(office, tenant, wanted):
            raise Conflict(f"{found.body['asked_by']} has asked already: {found.body['title']}. Withdraw it first.")


def _body(
    office: Office, tenant: str, wanted: Change, actor: str, note: str, now: datetime, state: str
) -> dict[str, Any]:
    id = f"prop_{random.token_hex(10)}"
    return {
        "id": id,
        "change": wanted.verb,
        "about": wanted.about,
        "title": _title(office.store, tenant, wanted),
        "given": keep(office, f"proposal/{tenant}/{id}", wanted),
        "basis": basis(office, tenant, wanted),
        "says": says(office, tenant, wanted),
        "effect": effect(office, tenant, wanted, now),
        "hands": hands(office, tenant, wanted),
        "asked_by": actor,
        "note": note[:LONGEST],
        "state": state,
        "created_at": iso(now),
        "decided_by": None,
        "decided_at": None,
        "decision": "",
    }


def _title(store: Store, tenant: str, wanted: Change) -> str:
    """What it is in a few words, a rule by its name."""
    rule = store.get(tenant, "rule", wanted.about) if wanted.verb in RULE_VERBS else None
    about = f"“{rule.body['name']}”" if rule and rule.body["name"] else wanted.about
    return _TITLES[wanted.verb].format(about=about, number=wanted.given.get("number"))


def _emergency(office: Office, tenant: str, wanted: Change, actor: str, note: str, now: datetime) -> Row:
    """Done at once by one alone, and told to everybody."""
    version = read_version(office, tenant, wanted)
    body = _body(office, tenant, wanted, actor, note, now, "emergency")
    loud = entry(now, actor, f"emergency {wanted.verb}", wanted.about, None, _told(body), note[:LONGEST])
    more: list[Write] = [Put(KIND, body["id"], {**body, "decided_by": actor, "decided_at": iso(now)}, ABSENT), loud]
    doing = Doing(actor, note, now, expect=version, effect=body["effect"], more=more)
    done = perform(office, tenant, wanted, doing)
    forget(office, body["given"])
    logs.line("approval.emergency", logging.WARNING, tenant=tenant, proposal=body["id"], change=wanted.verb)
    return done


# ---- deciding -------------------------------------------------------------------------------------------------------
def approve(office: Office, tenant: str, id: str, actor: str, person: str, note: str, now: datetime) -> Row:
    """Do what was asked for, as the second person. person: the name of the human being whom `actor` is or acts for,
    empty where nobody can tell. NotPossible when it may not be this one; Conflict when it is not open any more, or was
    changed since."""
    found = _in_state(office.store, tenant, id, "open")
    _said(note)
    wanted = kept(office, found.body["change"], found.body["about"], found.body["given"])
    version = read_version(office, tenant, wanted)
    _check_second(office, tenant, found, hands(office, tenant, wanted), actor, person)
    if basis(office, tenant, wanted) != found.body["basis"]:
        _outdated(office, found, actor, now)
        said = f"{wanted.about} was changed after this was asked for. What you read is not what would come."
        raise Conflict(f"{said} {meanwhile(office.store, tenant, found.body)}".strip())
    told = entry(now, actor, "approve", wanted.about, None, _told(found.body), note[:LONGEST])
    more = [_decided(found, "approved", actor, note, now), told]
    asked = found.body["asked_by"]
    doing = Doing(actor, found.body["note"], now, asked, version, found.body["effect"], more)
    perform(office, tenant, wanted, doing)
    forget(office, found.body["given"])
    return proposal(office.store, tenant, id)


def decline(office: Office, tenant: str, id: str, actor: str, note: str, now: datetime) -> Row:
    """Say no, and why."""
    return _end(office, tenant, id, "declined", "decline", actor, note, now)


def withdraw(office: Office, tenant: str, id: str, actor: str, note: str, now: datetime) -> Row:
    """Ask no longer; whoever asked may."""
    found = _in_state(office.store, tenant, id, "open")
    if actor != found.body["asked_by"]:
        raise NotPossible(f"only {found.body['asked_by']}, who asked, withdraws it; others decline it")
    return _end(office, tenant, id, "withdrawn", "withdraw", actor, note or "Withdrawn.", now)


def acknowledge(office: Office, tenant: str, id: str, actor: str, person: str, note: str, now: datetime) -> Row:
    """Say, as a second person, that an emergency was seen and what is to be thought of it."""
    found = _in_state(office.store, tenant, id, "emergency")
    _said(note)
    _check_second(office, tenant, found, [], actor, person)
    told = entry(now, actor, "acknowledge emergency", found.body["about"], None, _told(found.body), note[:LONGEST])
    body = {**found.body, "state": "acknowledged", "acknowledged_by": actor, "acknowledged_at": iso(now)}
    put = Put(KIND, id, {**body, "decision": note[:LONGEST]}, found.version)
    office.store.commit(tenant, None, [put, told])
    return proposal(office.store, tenant, id)


def _check_second(office: Office, tenant: str, found: Document, hands: Sequence[str], actor: str, person: str) -> None:
    if not person:
        raise NotPossible(f"nobody can tell who {actor} is: sign in under your own name to be the second person")
    if api_tokens.people(office.store, {found.body["asked_by"], *found.body["hands"], *hands}) & {actor, person}:
        raise NotPossible(f"{person} wrote it or asked for it: somebody else has to look at it")


def _end(office: Office, tenant: str, id: str, state: str, verb: str, actor: str, note: str, now: datetime) -> Row:
    found = _in_state(office.store, tenant, id, "open")
    _said(note)
    told = entry(now, actor, verb, found.body["about"], None, _told(found.body), note[:LONGEST])
    office.store.commit(tenant, None, [_decided(found, state, actor, note, now), told])
    forget(office, found.body["given"])
    return proposal(office.store, tenant, id)


def _outdated(office: Office, found: Document, actor: str, now: datetime) -> None:
    note = "It was changed after it was asked for."
    told = entry(now, actor, "refuse stale", found.body["about"], None, _told(found.body), note)
    office.store.commit(found.tenant, None, [_decided(found, "stale", actor, note, now), told])
    forget(office, found.body["given"])


def _decided(found: Document, state: str, actor: str, note: str, now: datetime) -> Put:
    body = {**found.body, "state": state, "decided_by": actor, "decided_at": iso(now), "decision": note[:LONGEST]}
    return Put(KIND, found.id, body, found.version)


def _told(body: Mapping[str, Any]) -> Row:
    """What the audit log keeps of a proposal."""
    return {name: body[name] for name in ("id", "change", "title", "asked_by", "says")}


def _said(note: str) -> None:
    if not note.strip():
        raise RuleError([Problem("note", "say why: the other person decides by it, and the audit log keeps it")])


# ---- reading --------------------------------------------------------------------------------------------------------
def proposal(store: Store, tenant: str, id: str) -> Row:
    """One proposal. LookupError."""
    return _row(_read(store, tenant, id).body)


def proposals(store: Store, tenant: str, state: str | None = None, after: str | None = None, limit: int = 50) -> Row:
    """The newest first: `{"items", "next"}`."""
    page = store.find(tenant, KIND, [("state", "==", state)] if state else [], "-created_at", after, limit)
    return {"items": [_row(found.body) for found in page.items], "next": page.next}


def of_rule(store: Store, tenant: str, rule_id: str) -> list[Row]:
    """What waits about a rule."""
    found = _about(store, tenant, rule_id)
    return [_row(one.body) for one in found if one.body["state"] == "open" and one.body["change"] in RULE_VERBS]


def waiting(store: Store, tenant: str, state: str = "open") -> int:
    return store.count(tenant, KIND, [("state", "==", state)])


def _about(store: Store, tenant: str, about: str) -> Sequence[Document]:
    return store.find(tenant, KIND, [("about", "==", about)], "-created_at", limit=MANY).items


def _row(body: Mapping[str, Any]) -> Row:
    """As pages and the API have it: without what was given, which may stand among the secrets."""
    return {name: value for name, value in body.items() if name not in ("given", "basis")}


def _read(store: Store, tenant: str, id: str) -> Document:
    found = store.get(tenant, KIND, id)
    if found is None:
        raise LookupError(f"There is no proposal {id!r}.")
    return found


def _in_state(store: Store, tenant: str, id: str, state: str) -> Document:
    found = _read(store, tenant, id)
    if found.body["state"] != state:
        raise Conflict(f"The proposal is {found.body['state']} already.")
    return found
