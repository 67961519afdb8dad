"""Author: connections to the outside and lists of customers that rules leave alone. Every change is audited."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from secrets import token_bytes
from typing import Any

from app.audit import entry
from app.connections import live_actions
from app.connections import types as kinds
from rules.event import iso
from rules.ports import ABSENT, ANY, Conflict, Delete, Document, Put, Secrets, Store, Write
from rules.route import MOST as MOST_ROUTES
from rules.rule import Problem, RuleError

Row = dict[str, Any]
MANY = 500
MOST_HOURS = 24 * 30  # that a replaced secret goes on signing
LONGEST_LIST = 10_000  # members; a list is one document
ROLE = "role-"  # of the lists that say who has a role
_MEMBER = re.compile(r"[A-Za-z]+_[A-Za-z0-9_]+")
_PERSON = re.compile(r"[^\s\x00-\x1f][^\x00-\x1f]{0,99}")


# ---- connections ----------------------------------------------------------------------------------------------------
def connections(store: Store, tenant: str) -> list[Row]:
    """Every connection, oldest first, without its secrets."""
    return [kinds.shown(found.body) for found in store.find(tenant, "connection", order="created_at", limit=MANY).items]


def connection(store: Store, tenant: str, name: str) -> Row:
    """One connection, without its secret, with `version` to be sent back with a change. LookupError."""
    found = _connection(store, tenant, name)
    return {**kinds.shown(found.body), "version": found.version}


def save_connection(
    store: Store,
    secrets: Secrets,
    tenant: str,
    body: Mapping[str, Any],
    actor: str,
    now: datetime,
    development: bool = False,
    expect: str | None = None,
    also: Sequence[Write] = (),
) -> Row:
    """Make or change a connection `{"name", "type", "secret"?, ...}` with what its type asks for
    (app.connections.types). Without a secret a known one keeps its, and a new one gets its own where the type has it
    so. Returns the connection; `secret` is in it once, when it was made here. RuleError with every problem; Conflict
    when `expect` (a version, or ABSENT) is not what is there."""
    wrong = kinds.problems(body, development)
    if wrong:
        raise RuleError(wrong)
    name = str(body["name"])
    type = kinds.type_of(body)
    found = store.get(tenant, "connection", name)
    if expect == ABSENT and found:
        raise Conflict(f"There is a connection {name!r} already. Choose another name.")
    if type.name == "route" and not found and _count_of(store, tenant, "route") >= MOST_ROUTES:
        raise RuleError([Problem("name", f"there are {MOST_ROUTES} routes already, which is as many as there may be")])
    if expect not in (None, ABSENT) and (not found or found.version != expect):
        raise Conflict("Someone else changed this connection after you opened it. Open it again.")
    if found and found.body["type"] != type.name:
        raise RuleError(
            [Problem("type", f"{name!r} is of type {found.body['type']}; make another connection for this")]
        )
    secret_name = f"connection/{tenant}/{name}"
    missing = not body.get("secret") and secrets.get(secret_name) is None
    if missing and type.secret.required:
        raise RuleError([Problem("secret", f"the {type.secret.label.lower()} is missing")])
    made = new_secret() if missing and type.made and not kinds.is_topic(str(body.get("url", ""))) else ""
    kept = _connection_body(body, found, secret_name, now)
    if not found and type is not kinds.STRIPE:
        kept.update(live_actions.first(tenant))
    before = _told(found.body) if found else None
    change = entry(now, actor, "change connection" if found else "add connection", name, before, _told(kept))
    private = kinds.private_parts(body, _private(found, secrets))
    if body.get("secret") or made:  # before the commit: a connection is never there without its secret
        secrets.put(secret_name, str(body.get("secret") or made))
    if any(private.values()):
        secrets.put(secret_name + kinds.PRIVATE, json.dumps(private))
    more = in_force_again(store, tenant, now) if type.name == "route" else []
    put = Put("connection", name, kept, found.version if found else ABSENT)
    store.commit(tenant, None, [put, change, *more, *also])
    return {**connection(store, tenant, name), **({"secret": made} if made else {})}


def pause_connection(store: Store, tenant: str, name: str, actor: str, why: str, now: datetime) -> Row:
    """Send nothing over it; what is due waits."""
    return _set_state(store, tenant, name, "paused", why, actor, now)


def resume_connection(store: Store, tenant: str, name: str, actor: str, why: str, now: datetime) -> Row:
    """Send again, what waited first."""
    return _set_state(store, tenant, name, "on", why, actor, now)


def replace_secret(
    store: Store,
    secrets: Secrets,
    tenant: str,
    name: str,
    hours: int,
    actor: str,
    why: str,
    now: datetime,
    secret: str = "",
) -> Row:
    """Sign with another secret, and for so many hours with the one before as well, so that the receiver can change
    over without losing anything. Returns the connection; its new `secret` is in it once. RuleError, LookupError."""
    found = _connection(store, tenant, name)
    type = kinds.TYPES.get(found.body["type"])
    if type is None or not type.made:
        raise RuleError([Problem("type", f"a connection of type {found.body['type']} signs nothing")])
    wrong = kinds.signing_secret_problem(secret) if secret else []
    if not 0 <= hours <= MOST_HOURS:
        wrong.append(f"both secrets sign for 0 to {MOST_HOURS} hours")
    if wrong:
        raise RuleError([Problem("secret" if secret else "hours", text) for text in wrong])
    new = secret.split()[0] if secret else new_secret()
    before = (secrets.get(found.body["secret_name"]) or "").split()[:1]
    until = iso(now + timedelta(hours=hours))
    change = entry(now, actor, "replace secret", name, None, {"both_until": until}, why)
    secrets.put(found.body["secret_name"], " ".join([new, *before]))
    body = {**found.body, "both_until": until, "updated_at": iso(now)}
    store.commit(tenant, None, [Put("connection", name, body, found.version), change])
    return {**connection(store, tenant, name), "secret": new}


def new_secret() -> str:
    """A Standard Webhooks secret: `whsec_` and 32 random bytes."""
    return "whsec_" + base64.b64encode(token_bytes(32)).decode()


def _count_of(store: Store, tenant: str, type: str) -> int:
    return sum(1 for row in connections(store, tenant) if row["type"] == type)


def _connection(store: Store, tenant: str, name: str) -> Document:
    found = store.get(tenant, "connection", name)
    if found is None:
        raise LookupError(f"There is no connection {name!r}.")
    return found


def _connection_body(body: Mapping[str, Any], found: Document | None, secret_name: str, now: datetime) -> Row:
    kept = dict(found.body) if found else {"name": body["name"], "state": "on", "reason": "", "created_at": iso(now)}
    shown = kinds.values(body)
    moved = found is not None and (body.get("secret") or any(found.body.get(key) != shown[key] for key in shown))
    if moved and kept["state"] == "failing":  # another address or secret deserves another try
        kept.update(state="on", reason="", held=False)
        kept.pop("breaker", None)
    kept.update(shown, secret_name=secret_name, updated_at=iso(now))
    if "headers" in body or kept.get("headers"):
        kept["headers"] = dict.fromkeys(body.get("headers", kept.get("headers")) or {}, kinds.HIDDEN)
    if body.get("secret"):  # given anew: it alone signs
        kept.pop("both_until", None)
    return kept


def _private(found: Document | None, secrets: Secrets) -> Row:
    """The private parts as they are kept, or as an older document has them in the clear."""
    if found is None:
        return {}
    query = str(found.body.get("url", "")).partition("?")[2]
    known = kinds.private_of(found.body, secrets)
    clear = {} if query == kinds.HIDDEN else {"query": query}
    return {"headers": {}, "query": "", **known, **clear}


def _told(body: Mapping[str, Any]) -> Row:
    """What the audit log may keep: the query of an address or a header may hold a credential."""
    return {key: value for key, value in kinds.shown(body).items() if key not in ("headers", "updated_at")}


def _set_state(store: Store, tenant: str, name: str, state: str, why: str, actor: str, now: datetime) -> Row:
    found = _connection(store, tenant, name)
    if found.body["state"] == state:
        raise Conflict(f"The connection is {state} already.")
    body = {**found.body, "state": state, "reason": why if state == "paused" else "", "updated_at": iso(now)}
    body.pop("breaker", None)  # a person's word counts for more than the rest it was to take
    verb = "pause connection" if state == "paused" else "resume connection"
    change = entry(now, actor, verb, name, found.body["state"], state, why)
    store.commit(tenant, None, [Put("connection", name, body, found.version), change])
    return connection(store, tenant, name)


# ---- lists ----------------------------------------------------------------------------------------------------------
def lists(store: Store, tenant: str) -> list[Row]:
    """Every list with its members, last changed first."""
    found = store.find(tenant, "list", order="-updated_at", limit=MANY)
    return [{**document.body, "version": document.version} for document in found.items]


def save_list(
    store: Store,
    tenant: str,
    name: str,
    members: Sequence[str],
    actor: str,
    now: datetime,
    expect: str | None = None,
    why: str = "",
    also: Sequence[Write] = (),
) -> Row:
    """Make or replace a list. members: Stripe ids, `cus_...` or `sub_...`; order and repeats do not matter. The list
    `role-<role>` holds the e-mail addresses of the members who may answer the approvals of that role."""
    kept = sorted({member.strip() for member in members if member.strip()})
    wrong = _list_problems(name, kept)
    if wrong:
        raise RuleError(wrong)
    found = store.get(tenant, "list", name)
    if expect == ABSENT and found:
        raise Conflict(f"There is a list {name!r} already. Choose another name.")
    if expect not in (None, ABSENT) and (not found or found.version != expect):
        raise Conflict("Someone else changed this list after you opened it. Open it again.")
    before = list(found.body["members"]) if found else []
    body = {"name": name, "members": kept, "updated_at": iso(now)}
    change = entry(now, actor, "change list", name, *_difference(before, kept), why)
    put = Put("list", name, body, found.version if found else ABSENT)
    store.commit(tenant, None, [put, *in_force_again(store, tenant, now), change, *also])
    return body


def delete_list(
    store: Store,
    tenant: str,
    name: str,
    actor: str,
    why: str,
    now: datetime,
    also: Sequence[Write] = (),
    expect: str | None = None,
) -> None:
    """Remove a list; rules that name it leave nobody alone because of it. Conflict when it is not at the version
    `expect` any more."""
    found = store.get(tenant, "list", name)
    if found is None:
        raise LookupError(f"There is no list {name!r}.")
    if expect not in (None, found.version):
        count = len(found.body["members"])
        raise Conflict(f"Someone else changed the list {name} meanwhile: it has {count:,} members now. Look again.")
    change = entry(now, actor, "delete list", name, list(found.body["members"]), None, why)
    gone = Delete("list", name, found.version)
    store.commit(tenant, None, [gone, *in_force_again(store, tenant, now), change, *also])


def in_force_again(store: Store, tenant: str, now: datetime) -> list[Put]:
    """Lists and declared paths belong to what is in force: workers read them again when the revision moves."""
    found = store.get(tenant, "ruleset", "current")
    revision = int(found.body["revision"]) + 1 if found else 1
    expect = found.version if found else ABSENT
    return [Put("ruleset", "current", {"revision": revision, "changed_at": iso(now)}, expect or ANY)]


def _difference(before: Sequence[str], after: Sequence[str]) -> tuple[Row, Row]:
    gone, come = sorted(set(before) - set(after)), sorted(set(after) - set(before))
    return {"members": len(before), "removed": gone[:200]}, {"members": len(after), "added": come[:200]}


def _list_problems(name: str, members: Sequence[str]) -> list[Problem]:
    wrong = []
    if not kinds.NAME.fullmatch(name):
        wrong.append(Problem("name", "the name is up to 40 lower-case letters, digits and hyphens, such as contracts"))
    if len(members) > LONGEST_LIST:
        wrong.append(Problem("members", f"a list holds at most {LONGEST_LIST:,} members, not {len(members):,}"))
    of_people = name.startswith(ROLE)
    odd = [member for member in members if not (_PERSON if of_people else _MEMBER).fullmatch(member)]
    if odd:
        shown = ", ".join(odd[:3]) + (" ..." if len(odd) > 3 else "")
        what = "the e-mail addresses of members" if of_people else "Stripe ids such as cus_... or sub_..."
        wrong.append(Problem("members", f"write {what}, one a line; not: {shown}"))
    return wrong


def suppressed(store: Store, tenant: str, names: Iterable[str]) -> dict[str, list[str]]:
    """The members of these lists; a list that is not there excludes nobody."""
    found = {name: store.get(tenant, "list", name) for name in sorted(set(names))}
    return {name: list(document.body["members"]) for name, document in found.items() if document}
