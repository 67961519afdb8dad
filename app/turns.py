"""Turns: over a connection that keeps order, a customer's actions go one after the other, the oldest first.

An action that gave up keeps its place: those behind it wait, and say so, until a person replays or discards it. Within
one run the steps' own order holds, so a step that may fail does not hold up the next one.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from rules.event import iso
from rules.ports import Conflict, Document, Put, Store
from rules.run import Command

UNFINISHED = {
    "due": "is not done yet",
    "person": "asks for a person",
    "dead": "gave up: replay it or discard it",
}
LOOKED_AT = 50  # unfinished actions of one customer in each state


def waits_for(store: Store, command: Command) -> str:
    """Why it is not this action's turn yet; empty when it is."""
    if command.customer is None:
        return ""
    mine = (command.created_at, command.id)
    before = (
        one
        for one in _unfinished(store, command)
        if (one.body["created_at"], one.id) < mine and (not command.run_id or one.body["run_id"] != command.run_id)
    )
    first = min(before, key=lambda one: (str(one.body["created_at"]), one.id), default=None)
    return f"in order: waits for {first.id}, which {UNFINISHED[first.body['state']]}" if first else ""


def let_next(store: Store, command: Command, now: datetime) -> None:
    """The customer's next action that waits for its turn is due now; its hold would end it too, only later."""
    waiting = (
        one
        for one in _unfinished(store, command, ("due",))
        if one.body["outcome"].get("kind") == "held" and one.id != command.id
    )
    found = min(waiting, key=lambda one: (str(one.body["created_at"]), one.id), default=None)
    if found is None:
        return
    try:
        store.commit(
            command.tenant, None, [Put("command", found.id, {**found.body, "due_at": iso(now)}, found.version)]
        )
    except Conflict:
        return  # it is looked at just now


def _unfinished(store: Store, command: Command, states: tuple[str, ...] = tuple(UNFINISHED)) -> Iterator[Document]:
    for state in states if command.customer is not None else ():
        where = [("customer", "==", command.customer), ("state", "==", state)]
        page = store.find(command.tenant, "command", where, "created_at", limit=LOOKED_AT)  # type: ignore[arg-type]
        yield from (one for one in page.items if one.body["connection"] == command.connection)
