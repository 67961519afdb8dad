"""What is sent to the outside: every action with its tries, and the connections they go through."""

from __future__ import annotations

from datetime import datetime

from app.browse.rows import JSON, Row, command_row, listing
from rules.event import instant, iso
from rules.ports import Store, Where

STATES = ("due", "done", "person", "dead", "cancelled")
CONNECTIONS = 100  # connections that one page shows


def commands(
    store: Store,
    tenant: str,
    *,
    state: str | None = None,
    connection: str | None = None,
    after: str | None = None,
    limit: int = 50,
) -> Row:
    """The actions, newest first, by state and connection."""
    where: list[Where] = []
    if connection:
        where.append(("connection", "==", connection))
    if state:
        where.append(("state", "==", state))
    return listing(store.find(tenant, "command", where, order="-created_at", after=after, limit=limit), command_row)


def command(store: Store, tenant: str, id: str) -> Row:
    """One action whole: parameters, key, and every try with its request and response. LookupError."""
    document = store.get(tenant, "command", id)
    if document is None:
        raise LookupError(f"There is no action {id!r}.")
    return whole_command(document.body)


def whole_command(body: JSON) -> Row:
    return {
        **command_row(body),
        "params": dict(body.get("params") or {}),
        "attempts": [_attempt(attempt) for attempt in body.get("attempts") or ()],
        "outcome": dict(body.get("outcome") or {}),
    }


def _attempt(attempt: JSON) -> Row:
    """A try, with how long it took in seconds and the request id that its answer carried."""
    response = attempt.get("response") or {}
    headers = {str(name).lower(): value for name, value in (response.get("headers") or {}).items()}
    ended = attempt.get("ended_at")
    took = (instant(ended) - instant(attempt["at"])).total_seconds() if ended else None
    return {**attempt, "took": took, "request_id": response.get("request_id") or headers.get("request-id")}


def connections(store: Store, tenant: str) -> list[Row]:
    """Every connection with its state; their secrets are elsewhere and never shown."""
    found = store.find(tenant, "connection", order="created_at", limit=CONNECTIONS)
    return [dict(document.body) for document in found.items]


def day_start(now: datetime) -> str:
    """Midnight UTC as documents write instants."""
    return iso(now.replace(hour=0, minute=0, second=0, microsecond=0))
