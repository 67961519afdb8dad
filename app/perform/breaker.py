"""The circuit breaker of a connection: after failures in a row it rests; then one action, and no herd, tries it.

It is kept in the connection's document (`breaker`), so every process and page sees it, and the one probe is the one
whose commit came first. Each failed probe doubles the rest. See https://martinfowler.com/bliki/CircuitBreaker.html.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from rules.backoff import part
from rules.event import instant, iso
from rules.ports import Conflict, Document, Put, Store

OPEN_AFTER = 8  # failures in a row, of whatever actions
FIRST = timedelta(seconds=2)
LONGEST = timedelta(minutes=5)
PROBING = timedelta(seconds=120)  # a probe that was not settled by then has died with its worker
JSON = Mapping[str, Any]


def opened(name: str, before: JSON | None, now: datetime) -> dict[str, Any]:
    """The breaker after one failure more. The rest is derived from its number and so is the same on every machine."""
    opens = int((before or {}).get("opens", 0)) + 1
    rest = min(LONGEST, FIRST * 2 ** min(opens - 1, 10))
    spread = 1 + part(name, opens) / 10
    return {"opens": opens, "until": iso(now + rest * spread), "probe": "", "probe_until": ""}


def rests_until(connection: JSON | None, command: str, now: datetime) -> datetime | None:
    """Until when this action must leave the connection alone; None when it may go, or may be the probe."""
    breaker = (connection or {}).get("breaker")
    if not breaker:
        return None
    if iso(now) < breaker["until"]:
        return instant(breaker["until"])
    if breaker["probe"] not in ("", command) and iso(now) < breaker["probe_until"]:
        return instant(breaker["probe_until"])
    return None


def probed(store: Store, connection: Document | None, command: str, now: datetime) -> Document | None:
    """The connection with this action as its probe, where it has a breaker. Raises Conflict when another is it."""
    if connection is None or not connection.body.get("breaker"):
        return connection
    if connection.body["breaker"]["probe"] == command:
        return connection
    breaker = {**connection.body["breaker"], "probe": command, "probe_until": iso(now + PROBING)}
    body = {**connection.body, "breaker": breaker}
    store.commit(connection.tenant, None, [Put("connection", connection.id, body, connection.version)])
    found = store.get(connection.tenant, "connection", connection.id)
    if found is None:
        raise Conflict(f"connection {connection.id}")
    return found
