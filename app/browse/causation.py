"""What our own actions caused at Stripe: the step behind an event, and the events behind a step.

Stripe sends the key of the request that caused an event along, and ours names the step. Where no key came back (Stripe
does part of its work later, by itself), an action on the same object within the minutes before is the probable cause,
and is called so; nothing is decided by it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from app.browse.rows import JSON, Row, event_row
from rules.event import instant, iso, seconds
from rules.ports import Document, Store, Where

WITHIN = timedelta(minutes=10)  # after the action, for a cause that is only probable
CLOCKS = timedelta(minutes=1)  # Stripe's clock and ours may differ by so much
LOOKED_AT = 50
ACTED_ON = ("in", "sub", "pi", "ch")


def cause_of(store: Store, tenant: str, body: JSON, among: Sequence[Document] | None = None) -> Row | None:
    """`{"command", "run", "step", "sure"}` of the action that caused the event; None when it was none of ours.
    among: the actions that may be the probable cause; else those of its customer are read."""
    own = body["event"].get("causationid")
    if own:
        return _cause(str(own), True)
    if _has_another_key(body["event"]["data"]) or not body.get("customer"):
        return None
    happened = seconds(body["created"])
    commands = _latest(store, tenant, body["customer"], happened) if among is None else among
    ids = {key.partition(":")[2] for key in body.get("keys") or () if not key.startswith(("cus:", "acct:"))}
    found = [one for one in commands if ids & objects_of(one.body) and _was_done_before(one.body, happened, body)]
    return _cause(max(found, key=lambda one: _done_at(one.body)).id, False) if found else None


def _latest(store: Store, tenant: str, customer: str, until: datetime) -> Sequence[Document]:
    where: list[Where] = [("customer", "==", customer), ("created_at", "<=", iso(until + CLOCKS))]
    return store.find(tenant, "command", where, order="-created_at", limit=LOOKED_AT).items


def caused_by(store: Store, tenant: str, commands: Sequence[Document]) -> list[Row]:
    """The events that the actions of a run caused, oldest first, each with its `cause`."""
    found: dict[str, Row] = {}
    for key in sorted({key for command in commands for key in _keys_of(command.body)}):
        for body in _around(store, tenant, key, commands):
            cause = cause_of(store, tenant, body, commands)
            if cause and any(cause["command"] == command.id for command in commands):
                found[body["event"]["id"]] = {**event_row(body), "cause": cause}
    return sorted(found.values(), key=lambda row: (row["created"], row["id"]))


def objects_of(command: JSON) -> set[str]:
    """The ids at Stripe that an action was about: its subjects but the customer, what its step names, what it made."""
    if command["connection"] != "stripe":
        return set()
    subjects = {
        value for prefix, value in (command.get("subjects") or {}).items() if prefix in ("in", "sub", "pi", "ch")
    }
    data = (command.get("outcome") or {}).get("data") or {}
    named = {data.get(name) for name in ("invoice", "subscription", "made")}
    return {str(one) for one in (*subjects, *named) if one}


def _keys_of(command: JSON) -> set[str]:
    return {f"{id.partition('_')[0]}:{id}" for id in objects_of(command)}


def _around(store: Store, tenant: str, key: str, commands: Sequence[Document]) -> Iterator[Mapping[str, Any]]:
    """The events about this object from the first action until some minutes after the last."""
    times = [_done_at(command.body) for command in commands if command.body.get("attempts")]
    if not times:
        return
    since, until = instant(min(times)) - CLOCKS, instant(max(times)) + WITHIN
    where: list[Where] = [
        ("keys", "has", key),
        ("created", ">=", int(since.timestamp())),
        ("created", "<=", int(until.timestamp())),
    ]
    for document in store.find(tenant, "event", where, order="created", limit=LOOKED_AT).items:
        yield document.body


def _cause(command: str, sure: bool) -> Row:
    run, _, step = command.partition("/")
    return {"command": command, "run": run, "step": step, "sure": sure}


def _has_another_key(envelope: JSON) -> bool:
    """Somebody else's request caused it: theirs has a key, or was made in the dashboard."""
    request = envelope.get("request")
    return isinstance(request, Mapping) and bool(request.get("idempotency_key"))


def _was_done_before(command: JSON, happened: datetime, event: JSON) -> bool:
    """What was heard of before the action began cannot have come of it."""
    at = instant(_done_at(command)) if command.get("attempts") else None
    return at is not None and at - CLOCKS <= happened <= at + WITHIN and event["recorded"] >= iso(at)


def _done_at(command: JSON) -> str:
    attempts = command.get("attempts") or ()
    return str(attempts[-1]["at"]) if attempts else ""
