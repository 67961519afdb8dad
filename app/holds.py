"""What keeps an action from being done now: switches, a paused rule, a connection that a person must mend.

A held action waits in the store and counts no try. A connection is marked once, not by each action that meets it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from app import logs
from app.audit import entry
from rules.event import iso
from rules.ports import ABSENT, Conflict, Document, Outcome, Put, Store

FAILING = 3  # tries of one action in a row after which its connection is called failing
ACTOR = "signalbox"


class Held(Exception):
    """Not now; the message says why."""


def check(store: Store, tenant: str, rule_id: str, connection: str) -> Document | None:
    """The connection as it is now (Stripe's has a document only once it was held). Raises Held."""
    _check_switches(store, tenant, rule_id, connection)
    if is_paused(store, tenant, rule_id):
        raise Held("the rule is paused")
    found = store.get(tenant, "connection", connection)
    if found is None and connection != "stripe":
        raise Held(f"there is no connection {connection} yet: make it under Settings")
    if found and _is_held(found.body):
        raise Held(f"connection {connection} is held: {found.body.get('reason') or 'paused'}")
    return found


def is_paused(store: Store, tenant: str, rule_id: str) -> bool:
    """Whether the rule's open runs sleep. Read from the rule itself, so a pause holds at the very next look."""
    found = store.get(tenant, "rule", rule_id)
    return found is not None and found.body["state"] == "paused"


def _check_switches(store: Store, tenant: str, rule_id: str, connection: str) -> None:
    found = store.get(tenant, "switch", "switches")
    switches: Mapping[str, Any] = found.body if found else {}
    if switches.get("all"):
        raise Held("everything is stopped")
    if rule_id in switches.get("rules", ()):
        raise Held("the rule is stopped")
    if connection in switches.get("connections", ()):
        raise Held(f"connection {connection} is stopped")


def _is_held(connection: Mapping[str, Any]) -> bool:
    """Paused by a person, or failing so that only a person can mend it."""
    return connection["state"] == "paused" or (connection["state"] == "failing" and bool(connection.get("held")))


# ---- the connection's state -----------------------------------------------------------------------------------------
def tell(
    store: Store, known: Document | None, line: tuple[str, str], outcome: Outcome, tries: int, now: datetime
) -> None:
    """Let the connection know of an outcome: held when nothing can work until a person mends it, failing after
    several tries in a row, on again after a success. known: as it was before the try. line: its tenant and name."""
    tenant, name = line
    state = known.body["state"] if known else "on"
    if outcome.pause_connection:
        _mark(store, tenant, name, outcome.message, True, now)
    elif outcome.kind == "retry" and state == "on" and known and tries >= FAILING:
        _mark(store, tenant, name, outcome.message, False, now)
    elif outcome.kind in ("done", "branch") and state == "failing":
        _mark(store, tenant, name, "", False, now)


def _mark(store: Store, tenant: str, name: str, reason: str, held: bool, now: datetime) -> None:
    found = store.get(tenant, "connection", name)
    new = {"name": name, "type": "stripe", "url": "", "state": "on", "reason": "", "created_at": iso(now)}
    body = dict(found.body) if found else new
    state = "failing" if reason else "on"
    if body["state"] == "paused" or (body["state"] == state and bool(body.get("held")) == held):
        return
    if body["state"] == "failing" and body.get("held") and not held:
        return  # only a person takes that back
    changed = {**body, "state": state, "reason": reason, "held": held, "updated_at": iso(now)}
    change = entry(now, ACTOR, f"call connection {state}", name, body["state"], state, reason)
    try:
        store.commit(tenant, None, [Put("connection", name, changed, found.version if found else ABSENT), change])
    except Conflict:
        return  # somebody else was quicker: theirs stands
    logs.line("connection.marked", logging.WARNING, connection=name, state=state, held=held or None, why=reason)
