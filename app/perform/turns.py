"""Turns: over a connection that keeps order, a customer's actions go one after the other, the oldest first.

The order is that in which they were decided; of those decided in one go, that in which their events came. An action
that gave up keeps its place: those behind it wait, and say so, until a person replays or discards it. Within one run
the steps' own order holds, so a step that may fail does not hold up the next one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from rules.event import iso
from rules.ports import Conflict, Document, Put, Store, Where
from rules.run import Command

UNFINISHED = {
    "due": "is not done yet",
    "person": "asks for a person",
    "dead": "gave up: replay it or discard it",
}
LOOKED_AT = 50  # unfinished actions of one customer in each state
Place = tuple[str, str, str]


def waits_for(store: Store, command: Command) -> str:
    """Why it is not this action's turn yet; empty when it is."""
    alone = not command.run_id  # what a route forwards belongs to no run
    unfinished = [one for one in _unfinished(store, command) if one.id != command.id]
    others = [one for one in unfinished if alone or one.body["run_id"] != command.run_id]
    if not others:
        return ""
    mine = _place(store, command.tenant, command.created_at, command.trigger, command.id)
    before = [(place, one) for one in others if (place := _place_of(store, one)) < mine]
    if not before:
        return ""
    _, first = min(before, key=lambda pair: pair[0])
    return f"in order: waits for {first.id}, which {UNFINISHED[first.body['state']]}"


def let_next(store: Store, command: Command, now: datetime) -> None:
    """The customer's next action that waits for its turn is due now; its hold would end it too, only later."""
    waiting = [
        one
        for one in _unfinished(store, command, ("due",))
        if one.body["outcome"].get("kind") == "held" and one.id != command.id
    ]
    if not waiting:
        return
    found = min(waiting, key=lambda one: _place_of(store, one))
    put = Put("command", found.id, {**found.body, "due_at": iso(now)}, found.version)
    try:
        store.commit(command.tenant, None, [put])
    except Conflict:
        return  # it is looked at just now


def _unfinished(store: Store, command: Command, states: Sequence[str] = tuple(UNFINISHED)) -> Iterator[Document]:
    for state in states if command.customer is not None else ():
        where: list[Where] = [("customer", "==", command.customer), ("state", "==", state)]
        page = store.find(command.tenant, "command", where, "created_at", limit=LOOKED_AT)
        yield from (one for one in page.items if one.body["connection"] == command.connection)


def _place_of(store: Store, one: Document) -> Place:
    return _place(store, one.tenant, one.body["created_at"], one.body["trigger"], one.id)


def _place(store: Store, tenant: str, created_at: str, trigger: str, id: str) -> Place:
    event = store.get(tenant, "event", trigger) if trigger else None
    return created_at, str(event.body["recorded"]) if event else "", id
