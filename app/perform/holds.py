"""What keeps an action from being done now: switches, a paused rule, a connection that a person must mend.

A held action waits in the store and counts no try. A connection is marked once, not by each action that meets it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app import logs
from app.audit import entry
from app.perform import breaker
from app.perform.glance import Reads
from app.perform.lanes import Line, is_failure
from rules.event import iso
from rules.ports import ABSENT, Conflict, Document, Outcome, Put, Store, Where
from rules.run import OURSELVES

FAILING = 3  # tries of one action, and failures in a row, after which a connection is called failing
ACTOR = "signalbox"
PAGE = 100


class Held(Exception):
    """Not now; the message says why. until: when to look again, where that is known."""

    def __init__(self, why: str, until: datetime | None = None) -> None:
        super().__init__(why)
        self.until = until


def check(store: Reads, tenant: str, rule_id: str, connection: str) -> Document | None:
    """The connection as it is now (Stripe's has a document only once it was held). Raises Held."""
    _check_switches(store, tenant, rule_id, connection)
    if is_paused(store, tenant, rule_id):
        raise Held("the rule is paused")
    found = store.get(tenant, "connection", connection)
    if found is None and connection not in ("stripe", OURSELVES):
        raise Held(f"there is no connection {connection} yet: make it under Settings")
    if found and _is_held(found.body):
        raise Held(f"connection {connection} is held: {found.body.get('reason') or 'paused'}")
    return found


def is_paused(store: Reads, tenant: str, rule_id: str) -> bool:
    """Whether the rule's open runs sleep. Read from the rule itself, so a pause holds at the very next look."""
    found = store.get(tenant, "rule", rule_id)
    return found is not None and found.body["state"] == "paused"


def _check_switches(store: Reads, tenant: str, rule_id: str, connection: str) -> None:
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
@dataclass(frozen=True, slots=True)
class Tries:
    """of_action: of the one action, with this one. in_a_row: failures over the connection, of whatever actions."""

    of_action: int
    in_a_row: int


def tell(
    store: Store, known: Document | None, line: Line, outcome: Outcome, tries: Tries, now: datetime, command: str = ""
) -> bool:
    """Let the connection know of an outcome: held when nothing can work until a person mends it, failing after
    several tries in a row and resting after more, on again after a success. known: as it was before the try.
    Whether it works again after it rested."""
    state = known.body["state"] if known else "on"
    rested = known.body.get("breaker") if known else None
    if outcome.pause_connection:
        _mark(store, line, outcome.message, now, held=True)
    elif is_failure(outcome) and (tries.in_a_row >= breaker.OPEN_AFTER or (rested and rested["probe"] == command)):
        _mark(store, line, outcome.message, now, breaker.opened(line[1], rested, now))
    elif outcome.kind == "retry" and state == "on" and known and min(tries.of_action, tries.in_a_row) >= FAILING:
        _mark(store, line, outcome.message, now)
    elif outcome.kind in ("done", "branch") and (state == "failing" or rested):
        _mark(store, line, "", now)
        return bool(rested)
    return False


def _mark(
    store: Store,
    line: Line,
    reason: str,
    now: datetime,
    rests: Mapping[str, Any] | None = None,
    held: bool = False,
) -> None:
    tenant, name = line
    found = store.get(tenant, "connection", name)
    new = {"name": name, "type": "stripe", "url": "", "state": "on", "reason": "", "created_at": iso(now)}
    body = dict(found.body) if found else new
    state = "failing" if reason else "on"
    if not _is_news(body, state, held, rests):
        return
    changed = {**body, "state": state, "reason": reason, "held": held, "updated_at": iso(now)}
    changed.pop("breaker", None)
    if rests:
        changed["breaker"] = dict(rests)
    writes = [Put("connection", name, changed, found.version if found else ABSENT)]
    if body["state"] != state or bool(body.get("held")) != held:
        writes.append(entry(now, ACTOR, f"call connection {state}", name, body["state"], state, reason))
    try:
        store.commit(tenant, None, writes)
    except Conflict:
        return  # somebody else was quicker: theirs stands
    rest = rests["until"] if rests else None
    marked = {"connection": name, "state": state, "held": held or None, "why": reason, "until": rest}
    logs.line("connection.marked", logging.WARNING, **marked)


def _is_news(body: Mapping[str, Any], state: str, held: bool, rests: Mapping[str, Any] | None) -> bool:
    """Whether there is something to write; only a person takes back a pause or a hold."""
    if body["state"] == "paused" or (body["state"] == "failing" and body.get("held") and not held):
        return False
    return body["state"] != state or bool(body.get("held")) != held or bool(rests) or bool(body.get("breaker"))


# ---- letting go -----------------------------------------------------------------------------------------------------
def release(
    store: Store,
    tenant: str,
    now: datetime,
    connection: str | None = None,
    recovered: bool = False,
    limit: int = 10**9,
) -> int:
    """Make held actions due at once instead of at their next look, the oldest first; how many. recovered: the
    connection works again, so what it failed at comes too, but for what it asked to send later."""
    where: list[Where] = [("connection", "==", connection)] if connection else []
    where.append(("state", "==", "due"))
    count, after = 0, None
    while count < limit:
        page = store.find(tenant, "command", where, "created_at", after, PAGE)
        waiting = [one for one in page.items if _waits(one.body["outcome"], recovered)]
        count += _released(store, waiting, now)
        after = page.next
        if after is None:
            break
    return count


def release_recovered(store: Store, lines: set[Line], now: datetime, limit: int) -> int:
    """The next part of what waits for connections that work again; a line that has no more leaves the set."""
    count = 0
    for line in sorted(lines):
        released = release(store, line[0], now, line[1], True, limit)
        count += released
        if released < limit:
            lines.discard(line)
    return count


def _waits(outcome: Mapping[str, Any], recovered: bool) -> bool:
    return outcome.get("kind") == "held" or (recovered and outcome.get("kind") == "retry" and not outcome.get("asked"))


def _released(store: Store, waiting: Sequence[Document], now: datetime) -> int:
    count = 0
    with store.batch():
        for one in waiting:
            outcome = {**one.body["outcome"], "kind": "released"}
            try:
                put = Put("command", one.id, {**one.body, "due_at": iso(now), "outcome": outcome}, one.version)
                store.commit(one.tenant, None, [put])
                count += 1
            except Conflict:
                continue  # it is being worked on
    return count
