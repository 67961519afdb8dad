"""The changes that let money move more freely: what each is about, says and does, and who had a hand in it.

Second person, please: putting a version in force (live, watching, an earlier one, or by a plan), resuming a rule with
the runs that stood in line, allowing live actions over a connection, sending over a connection elsewhere, as somebody
else or faster, taking members off a list that rules leave alone or putting any on one that says who answers, and doing
without the second person. Not: whatever stops, slows or narrows, or goes on as it was approved (resume, letting go of a
switch); a new connection, over which nothing goes until a rule that names it is approved; replacing a signing secret.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app import author, declared, tenant_settings
from app.audit import digest
from app.author import parts, planned, timetable
from app.connections import live_actions, types
from app.inquire import backtests
from app.operate import bulk
from app.receive import signing
from rules import english
from rules.fields import Catalogue
from rules.ports import ActionExecutor, Conflict, Secrets, Store, Write
from rules.rule import Rule, RuleError, parse

Row = dict[str, Any]
JSON = Mapping[str, Any]
RULE_VERBS = ("publish", "watch", "plan", "rollback", "resume")
_COMES = ("publish", "watch", "plan")  # the draft, or what is in force in another mode
_FASTER = ("rate", "at_once")  # of a connection: more, or no bound, lets more happen


@dataclass(frozen=True, slots=True)
class Office:
    """The ports of whoever changes what is in force. production: everything here takes a second person.
    development: connections may go to this machine."""

    store: Store
    secrets: Secrets
    catalogue: Catalogue
    actions: Mapping[str, ActionExecutor]
    production: bool = False
    development: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """What somebody wants. verb: one of VERBS. about: the rule, connection or list. given: what the verb needs beside;
    it may hold secrets, and is kept among them while it waits."""

    verb: str
    about: str
    given: JSON


@dataclass(frozen=True, slots=True)
class Doing:
    """How a change is done: by whom and why, asked for by whom, against the version that was read, and with what in the
    same commit."""

    actor: str
    note: str
    now: datetime
    asked_by: str = ""
    expect: str | None = None
    effect: JSON | None = None
    more: Sequence[Write] = ()


# ---- what it says ---------------------------------------------------------------------------------------------------
def is_freer(office: Office, tenant: str, change: Change) -> bool:
    """Whether it lets more happen than before."""
    tests: Mapping[str, Callable[[], bool]] = {
        "resume": lambda: change.given.get("queued") == "start",
        "connection": lambda: _connection_freer(office, tenant, change),
        "live actions": lambda: bool(change.given["on"]),
        "list": lambda: _list_freer(office.store, tenant, change.about, change.given["members"]),
        "delete list": lambda: (
            change.about.startswith(parts.ROLE) or _list_freer(office.store, tenant, change.about, ())
        ),
        "webhook secret": lambda: signing.is_begun(office.store, office.secrets),
        "settings": lambda: _settings_freer(office.store, tenant, change.given),
    }
    return tests[change.verb]() if change.verb in tests else True


def says(office: Office, tenant: str, change: Change) -> list[str]:
    """The difference it makes, in sentences; no secret."""
    if change.verb == "plan":
        return _plan_says(office, tenant, change)
    if change.verb in RULE_VERBS:
        return _rule_says(office, tenant, change)
    if change.verb == "connection":
        return [f"{name}: {before} → {after}" for name, before, after in _connection_changes(office, tenant, change)]
    if change.verb == "live actions":
        return [f"Actions go out over {change.about} for real from then on."]
    if change.verb == "settings":
        return ["Changes go live without a second person from then on."]
    if change.verb == "webhook secret":
        return ["Events that are signed with one more secret are taken for Stripe's from then on, for every account."]
    gone, come = _members(office.store, tenant, change.about, change.given.get("members", ()))
    off, on = (f"{len(gone):,} off the list: {', '.join(gone[:20])}", f"{len(come):,} on it: {', '.join(come[:20])}")
    frees = change.verb == "delete list" and change.about.startswith(parts.ROLE)
    left = ["Whoever has the right to approve may answer in their place."] if frees else []
    return [*([off] if gone else []), *([on] if come else []), *left]


def check(office: Office, tenant: str, change: Change, now: datetime) -> None:
    """Raises what doing it now would raise, where that can be told before: LookupError, Conflict, RuleError."""
    if change.verb == "plan":
        phases, mode = timetable.read(change.given["steps"]), change.given["mode"]
        planned.check(_desk(office), tenant, change.about, phases, mode, now)
    elif change.verb in RULE_VERBS:
        row = author.rule(office.store, tenant, change.about)
        document = _document(office, tenant, change, row)
        if change.verb in ("publish", "watch") and not row["draft"] and row["state"] == _MODE[change.verb]:
            raise Conflict(f"Version {row['number']} is in force already, and there is no draft.")
        if change.verb == "rollback" and change.given["number"] == row["number"]:
            raise Conflict(f"Version {row['number']} is the one in force.")
        if change.verb == "rollback" and row["state"] not in ("live", "watch", "paused"):
            raise Conflict(f"The rule is {row['state']}, so it cannot be rolled back.")
        if change.verb == "resume" and row["state"] != "paused":
            raise Conflict(f"The rule is {row['state']}, so it cannot be resumed.")
        author.refuse_errors(office.store, tenant, document, office.catalogue, office.actions)
    elif change.verb == "connection" and (wrong := types.problems(change.given, office.development)):
        raise RuleError(wrong)
    elif change.verb == "webhook secret":
        signing.check(str(change.given["secret"]))


def basis(office: Office, tenant: str, change: Change) -> str:
    """The digest of what it would change: another one later says that somebody was here meanwhile."""
    store = office.store
    if change.verb in RULE_VERBS:
        body = author.rule(store, tenant, change.about)
        return digest([body["state"], body["number"], body["draft"]])
    if change.verb in ("connection", "live actions"):
        row = author.connection(store, tenant, change.about)
        passing = ("version", "state", "reason", "held", "breaker", "updated_at")
        return digest({name: value for name, value in row.items() if name not in passing})
    if change.verb == "settings":
        return digest(tenant_settings.read(store, tenant).body())
    if change.verb == "webhook secret":
        return digest(len(signing.stored(office.secrets)))
    found = store.get(tenant, "list", change.about)
    return digest(sorted(found.body["members"]) if found else None)


def hands(office: Office, tenant: str, change: Change) -> list[str]:
    """Whoever wrote what would come into force: none of them may be the second person."""
    if change.verb not in RULE_VERBS:
        return []
    row = author.rule(office.store, tenant, change.about)
    if change.verb in _COMES and row["draft"]:
        return author.authors_of_draft(row)
    number = change.given.get("number") or row["number"]
    version = author.version(office.store, tenant, change.about, number) if number else {}
    return list(version.get("authors", ()))


def effect(office: Office, tenant: str, change: Change, now: datetime) -> JSON | None:
    """What it was measured to change."""
    if change.verb not in _COMES:
        return None
    document = author.rule(office.store, tenant, change.about)["document"]
    return backtests.effect(office.store, tenant, document, now) if document else None


# ---- what it does ---------------------------------------------------------------------------------------------------
def perform(office: Office, tenant: str, change: Change, doing: Doing) -> Row:
    """Do it: the row of what was changed. Raises as the use case behind it does."""
    return _PERFORM[change.verb](office, tenant, change, doing)


def _publish(office: Office, tenant: str, change: Change, doing: Doing) -> Row:
    o, d = office, doing
    mode: author.Mode = "live" if change.verb == "publish" else "watch"
    measured = d.effect or change.given.get("effect")
    return author.publish(
        o.store,
        o.catalogue,
        o.actions,
        tenant,
        change.about,
        d.actor,
        d.note,
        d.now,
        mode,
        d.expect,
        measured,
        d.asked_by,
        d.more,
    )


def _plan(office: Office, tenant: str, change: Change, doing: Doing) -> Row:
    desk, d, phases, mode = _desk(office), doing, timetable.read(change.given["steps"]), change.given["mode"]
    return planned.plan(
        desk, tenant, change.about, phases, mode, d.actor, d.note, d.now, d.expect, d.effect, d.asked_by, d.more
    )


def _rollback(office: Office, tenant: str, change: Change, doing: Doing) -> Row:
    o, d, number = office, doing, int(change.given["number"])
    return author.rollback(
        o.store, o.catalogue, o.actions, tenant, change.about, number, d.actor, d.note, d.now, d.expect, d.more
    )


def _resume(office: Office, tenant: str, change: Change, doing: Doing) -> Row:
    d = doing
    queued = change.given.get("queued", "keep")
    return bulk.resume_rule(office.store, tenant, change.about, d.actor, d.note, d.now, queued, d.expect, d.more)


def _connection(office: Office, tenant: str, change: Change, doing: Doing) -> Row:
    o, d = office, doing
    return parts.save_connection(
        o.store, o.secrets, tenant, change.given, d.actor, d.now, o.development, d.expect, d.more
    )


def _live_actions(office: Office, tenant: str, change: Change, doing: Doing) -> Row:
    d, on = doing, bool(change.given["on"])
    return live_actions.switch(office.store, tenant, change.about, on, d.actor, d.note, d.now, d.more, d.expect)


def _list(office: Office, tenant: str, change: Change, doing: Doing) -> Row:
    d, members = doing, change.given["members"]
    return parts.save_list(office.store, tenant, change.about, members, d.actor, d.now, d.expect, d.note, d.more)


def _delete_list(office: Office, tenant: str, change: Change, doing: Doing) -> Row:
    d = doing
    parts.delete_list(office.store, tenant, change.about, d.actor, d.note, d.now, d.more, d.expect)
    return {"name": change.about}


def _settings(office: Office, tenant: str, change: Change, doing: Doing) -> Row:
    d = doing
    return tenant_settings.save(office.store, tenant, change.given, d.actor, d.now, d.expect, d.more).body()


def _webhook_secret(office: Office, tenant: str, change: Change, doing: Doing) -> Row:
    o, d = office, doing
    secret = str(change.given["secret"])
    return {"secrets": signing.add(o.store, o.secrets, tenant, secret, d.actor, d.now, d.note, d.more)}


_MODE = {"publish": "live", "watch": "watch"}
_PERFORM: Mapping[str, Callable[[Office, str, Change, Doing], Row]] = {
    "publish": _publish,
    "watch": _publish,
    "plan": _plan,
    "rollback": _rollback,
    "resume": _resume,
    "connection": _connection,
    "live actions": _live_actions,
    "list": _list,
    "delete list": _delete_list,
    "settings": _settings,
    "webhook secret": _webhook_secret,
}
VERBS = tuple(_PERFORM)
_KINDS = {  # of the document that a change is of
    "connection": "connection",
    "live actions": "connection",
    "list": "list",
    "delete list": "list",
    "settings": "setting",
}


# ---- the parts ------------------------------------------------------------------------------------------------------
def read_version(office: Office, tenant: str, change: Change) -> str | None:
    """The version of the document that the change is of, to be compared in its commit."""
    if change.verb == "webhook secret":
        return None  # kept among the secrets, in no document
    kind = "rule" if change.verb in RULE_VERBS else _KINDS[change.verb]
    found = office.store.get(tenant, kind, tenant_settings.ID if kind == "setting" else change.about)
    return found.version if found else None


def _desk(office: Office) -> planned.Desk:
    return planned.Desk(office.store, office.catalogue, office.actions)


def _document(office: Office, tenant: str, change: Change, row: JSON) -> JSON:
    if change.verb == "rollback":
        found: JSON = author.version(office.store, tenant, change.about, int(change.given["number"]))["document"]
        return found
    document: JSON | None = row["in_force"] if change.verb == "resume" else row["document"]
    if document is None:
        raise Conflict("There is nothing to publish: the rule has neither a draft nor a version.")
    return document


def _rule_says(office: Office, tenant: str, change: Change) -> list[str]:
    row = author.rule(office.store, tenant, change.about)
    old, new = row["in_force"], _document(office, tenant, change, row)
    if change.verb == "resume":
        count = bulk.counted(office.store, tenant, bulk.in_line(change.about))["count"]
        return [f"It goes on, and the {count:,} runs that stood in line during the pause start."]
    before, after = _read(office, tenant, old), _read(office, tenant, new)
    if after is None:
        return []
    if before is None or row["state"] in ("off", "archived"):
        return [one["text"] for one in english.sentences(after, office.catalogue) if one["part"] != "name"]
    changed = list(english.diff(before, after, office.catalogue))
    if change.verb == "publish" and row["state"] != "live":
        changed.append("It acts from then on; until now it only watched or stood still.")
    if change.verb == "watch" and row["state"] == "live":
        changed.append("It only watches from then on, and sends nothing.")
    return changed


def _plan_says(office: Office, tenant: str, change: Change) -> list[str]:
    """When it comes and for whom, then what comes."""
    phases, mode = timetable.read(change.given["steps"]), change.given["mode"]
    what = Change("publish" if mode == "live" else "watch", change.about, {})
    return [*planned.says(office.store, tenant, change.about, phases, mode), *_rule_says(office, tenant, what)]


def _read(office: Office, tenant: str, document: JSON | None) -> Rule | None:
    if document is None:
        return None
    try:
        return parse(document, office.catalogue, office.actions, declared.paths_of(office.store, tenant))
    except RuleError:
        return None


def _connection_freer(office: Office, tenant: str, change: Change) -> bool:
    """A new one lets nothing happen by itself; one that is slowed down lets less."""
    is_new = office.store.get(tenant, "connection", change.about) is None
    is_route = change.given.get("type") == "route"  # what it carries is told, and moves no money
    if is_new or is_route or types.problems(change.given, office.development):
        return False
    return any(
        name not in _FASTER or after is None or (before is not None and float(after) > float(before))
        for name, before, after in _connection_changes(office, tenant, change)
    )


def _connection_changes(office: Office, tenant: str, change: Change) -> list[tuple[str, Any, Any]]:
    found = office.store.get(tenant, "connection", change.about)
    kept, given = (found.body if found else {}), types.values(change.given)
    changes = [(name, kept.get(name), value) for name, value in given.items() if kept.get(name) != value]
    before = types.private_of(kept, office.secrets) if found else {}
    after = types.private_parts(change.given, before)
    hidden = [(name, "kept", "given anew") for name in after if after[name] and after[name] != before.get(name)]
    secret = [("secret", "kept", "given anew")] if change.given.get("secret") else []
    return [*changes, *hidden, *secret]


def _list_freer(store: Store, tenant: str, name: str, members: Sequence[str]) -> bool:
    gone, come = _members(store, tenant, name, members)
    return bool(come) if name.startswith(parts.ROLE) and store.get(tenant, "list", name) else bool(gone)


def _members(store: Store, tenant: str, name: str, members: Sequence[str]) -> tuple[list[str], list[str]]:
    """Who would leave the list, and who would come."""
    found = store.get(tenant, "list", name)
    before, after = set(found.body["members"]) if found else set(), {one.strip() for one in members if one.strip()}
    return sorted(before - after), sorted(after - before)


def _settings_freer(store: Store, tenant: str, given: JSON) -> bool:
    return given.get("second_person") is False and tenant_settings.read(store, tenant).second_person


# ---- while it waits -------------------------------------------------------------------------------------------------
def keep(office: Office, name: str, change: Change) -> JSON:
    """What a document may hold of what was given; what may be a secret goes among the secrets, under this name."""
    if change.verb not in ("connection", "webhook secret"):
        return dict(change.given)
    office.secrets.put(name, json.dumps(dict(change.given)))
    return {"kept as": name}


def kept(office: Office, verb: str, about: str, given: JSON) -> Change:
    """The change that was kept. Raises Conflict when its secret is gone."""
    if "kept as" not in given:
        return Change(verb, about, given)
    text = office.secrets.get(given["kept as"])
    if not text:
        raise Conflict("What was asked for is not kept any more: ask again.")
    return Change(verb, about, json.loads(text))


def forget(office: Office, given: JSON) -> None:
    """What was given is done or declined."""
    if "kept as" in given:
        office.secrets.put(given["kept as"], "")
