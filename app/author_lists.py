"""Author: connections to the outside and lists of customers that rules leave alone. Every change is audited."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from secrets import token_bytes
from typing import Any
from urllib.parse import urlsplit

from app.audit import entry
from rules.event import iso
from rules.ports import ABSENT, ANY, Conflict, Delete, Document, Put, Secrets, Store
from rules.rule import Problem, RuleError

Row = dict[str, Any]
MANY = 500
LONGEST_LIST = 10_000  # members; a list is one document
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
KNOWN = ("name", "type", "url", "secret", "headers")
HEADERS = frozenset({"host", "content-length", "content-type", "connection", "transfer-encoding", "traceparent"})


# ---- connections ----------------------------------------------------------------------------------------------------
def connections(store: Store, tenant: str) -> list[Row]:
    """Every connection, oldest first, without its secret."""
    return [dict(found.body) for found in store.find(tenant, "connection", order="created_at", limit=MANY).items]


def connection(store: Store, tenant: str, name: str) -> Row:
    """One connection, without its secret, with `version` to be sent back with a change. LookupError."""
    found = _connection(store, tenant, name)
    return {**found.body, "version": found.version}


def save_connection(
    store: Store,
    secrets: Secrets,
    tenant: str,
    body: Mapping[str, Any],
    actor: str,
    now: datetime,
    development: bool = False,
    expect: str | None = None,
) -> Row:
    """Make or change a connection `{"name", "type": "webhook", "url", "secret"?, "headers"?}`. Without a secret a new
    one gets its own, a known one keeps its. Returns the connection; `secret` is in it once, when it was made here.
    RuleError with every problem; Conflict when `expect` (a version, or ABSENT) is not what is there."""
    wrong = _connection_problems(body, development)
    if wrong:
        raise RuleError(wrong)
    name = str(body["name"])
    found = store.get(tenant, "connection", name)
    if expect == ABSENT and found:
        raise Conflict(f"There is a connection {name!r} already. Choose another name.")
    if expect not in (None, ABSENT) and (not found or found.version != expect):
        raise Conflict("Someone else changed this connection after you opened it. Open it again.")
    secret_name = f"connection/{tenant}/{name}"
    made = new_secret() if not body.get("secret") and secrets.get(secret_name) is None else ""
    kept = _connection_body(body, found, secret_name, now)
    before = _without_headers(found.body) if found else None
    change = entry(now, actor, "change connection" if found else "add connection", name, before, _without_headers(kept))
    if body.get("secret") or made:  # before the commit: a connection is never there without its secret
        secrets.put(secret_name, str(body.get("secret") or made))
    store.commit(tenant, None, [Put("connection", name, kept, found.version if found else ABSENT), change])
    return {**connection(store, tenant, name), **({"secret": made} if made else {})}


def pause_connection(store: Store, tenant: str, name: str, actor: str, why: str, now: datetime) -> Row:
    """Send nothing over it; what is due waits."""
    return _set_state(store, tenant, name, "paused", why, actor, now)


def resume_connection(store: Store, tenant: str, name: str, actor: str, why: str, now: datetime) -> Row:
    """Send again, what waited first."""
    return _set_state(store, tenant, name, "on", why, actor, now)


def new_secret() -> str:
    """A Standard Webhooks secret: `whsec_` and 32 random bytes."""
    return "whsec_" + base64.b64encode(token_bytes(32)).decode()


def _connection(store: Store, tenant: str, name: str) -> Document:
    found = store.get(tenant, "connection", name)
    if found is None:
        raise LookupError(f"There is no connection {name!r}.")
    return found


def _connection_body(body: Mapping[str, Any], found: Document | None, secret_name: str, now: datetime) -> Row:
    kept = dict(found.body) if found else {"name": body["name"], "state": "on", "reason": "", "created_at": iso(now)}
    moved = found is not None and found.body.get("url") != body["url"]
    if moved and kept["state"] == "failing":  # another address deserves another try
        kept.update(state="on", reason="")
    kept.update(type=body.get("type", "webhook"), url=body["url"], secret_name=secret_name, updated_at=iso(now))
    if "headers" in body:
        kept["headers"] = dict(body["headers"] or {})
    return kept


def _without_headers(body: Mapping[str, Any]) -> Row:
    """What the audit log may keep: a header may hold a credential."""
    return {key: value for key, value in body.items() if key not in ("headers", "updated_at")}


def _set_state(store: Store, tenant: str, name: str, state: str, why: str, actor: str, now: datetime) -> Row:
    found = _connection(store, tenant, name)
    if found.body["state"] == state:
        raise Conflict(f"The connection is {state} already.")
    body = {**found.body, "state": state, "reason": why if state == "paused" else "", "updated_at": iso(now)}
    verb = "pause connection" if state == "paused" else "resume connection"
    change = entry(now, actor, verb, name, found.body["state"], state, why)
    store.commit(tenant, None, [Put("connection", name, body, found.version), change])
    return connection(store, tenant, name)


def _connection_problems(body: Mapping[str, Any], development: bool) -> list[Problem]:
    wrong = [Problem(key, f"unknown key {key!r}") for key in body if key not in KNOWN]
    if not NAME.fullmatch(str(body.get("name") or "")):
        wrong.append(Problem("name", "the name is up to 40 lower-case letters, digits and hyphens, such as crm"))
    if body.get("type", "webhook") != "webhook":
        wrong.append(Problem("type", f"no connection of type {body.get('type')!r}", "webhook"))
    wrong += [Problem("url", text) for text in _url_problem(body.get("url"), development)]
    if body.get("secret"):
        wrong += [Problem("secret", text) for text in _secret_problem(body["secret"])]
    headers = body.get("headers") or {}
    if not isinstance(headers, Mapping):
        return [*wrong, Problem("headers", "headers are names with texts")]
    return wrong + [Problem(f"headers.{key}", text) for key, value in headers.items() for text in _header(key, value)]


def _url_problem(url: Any, development: bool) -> list[str]:
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return ["the address cannot be read; write https://crm.example.com/hooks/signalbox"]
    if parts.scheme not in ("https", "http") or not host or any(c.isspace() for c in str(url)):
        return ["write the whole address, https://crm.example.com/hooks/signalbox"]
    if parts.username or parts.password:
        return ["the address may hold no user name or password; send them as a header"]
    inside = _is_inside(host)
    if parts.scheme == "http" and not (development and inside == "loopback"):
        return ["notices go over https only; http is for this machine in development"]
    if inside and not (development and inside == "loopback"):
        return ["this address is inside the network where Signalbox runs; give one that the internet reaches"]
    return []


def _is_inside(host: str) -> str:
    """`loopback`, `private` or nothing, by the text alone; the name's addresses are checked when sending."""
    if host == "localhost" or host.endswith(".localhost"):
        return "loopback"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "private" if host.endswith((".internal", ".local")) or "." not in host else ""
    return "loopback" if address.is_loopback else "" if address.is_global else "private"


def _secret_problem(secret: Any) -> list[str]:
    """Several, with spaces between, while one is replaced by another."""
    given = str(secret).split()
    good = bool(given) and all(24 <= len(_secret_bytes(one)) <= 64 for one in given)
    return [] if good else ["the secret is whsec_ and 24 to 64 bytes in base64; leave it empty to have one made"]


def _secret_bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text.removeprefix("whsec_"), validate=True) if text.startswith("whsec_") else b""
    except (binascii.Error, ValueError):
        return b""


def _header(key: Any, value: Any) -> list[str]:
    name = str(key)
    if not re.fullmatch(r"[A-Za-z0-9-]{1,60}", name) or name.lower() in HEADERS or name.lower().startswith("webhook-"):
        return [f"{name!r} cannot be set here"]
    return (
        [] if isinstance(value, str) and value.isprintable() and len(value) <= 2000 else ["the value is no plain text"]
    )


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
) -> Row:
    """Make or replace a list. members: Stripe ids, `cus_...` or `sub_...`; order and repeats do not matter."""
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
    store.commit(tenant, None, [put, *_bump(store, tenant, now), change])
    return body


def delete_list(store: Store, tenant: str, name: str, actor: str, why: str, now: datetime) -> None:
    """Remove a list; rules that name it leave nobody alone because of it."""
    found = store.get(tenant, "list", name)
    if found is None:
        raise LookupError(f"There is no list {name!r}.")
    change = entry(now, actor, "delete list", name, list(found.body["members"]), None, why)
    store.commit(tenant, None, [Delete("list", name, found.version), *_bump(store, tenant, now), change])


def _bump(store: Store, tenant: str, now: datetime) -> list[Put]:
    """Lists belong to what is in force: workers read them again when the revision moves."""
    found = store.get(tenant, "ruleset", "current")
    revision = int(found.body["revision"]) + 1 if found else 1
    expect = found.version if found else ABSENT
    return [Put("ruleset", "current", {"revision": revision, "changed_at": iso(now)}, expect or ANY)]


def _difference(before: Sequence[str], after: Sequence[str]) -> tuple[Row, Row]:
    gone, come = sorted(set(before) - set(after)), sorted(set(after) - set(before))
    return {"members": len(before), "removed": gone[:200]}, {"members": len(after), "added": come[:200]}


def _list_problems(name: str, members: Sequence[str]) -> list[Problem]:
    wrong = []
    if not NAME.fullmatch(name):
        wrong.append(Problem("name", "the name is up to 40 lower-case letters, digits and hyphens, such as contracts"))
    if len(members) > LONGEST_LIST:
        wrong.append(Problem("members", f"a list holds at most {LONGEST_LIST:,} members, not {len(members):,}"))
    odd = [member for member in members if not re.fullmatch(r"[A-Za-z]+_[A-Za-z0-9_]+", member)]
    if odd:
        shown = ", ".join(odd[:3]) + (" ..." if len(odd) > 3 else "")
        wrong.append(Problem("members", f"write Stripe ids such as cus_... or sub_..., one a line; not: {shown}"))
    return wrong
