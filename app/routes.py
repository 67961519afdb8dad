"""The event mesh: routes that forward events as they are, so that provisioning, reporting and older services each get
what they need. A route is a connection of type `route` with a filter (rules.route); a worker takes a change up within
a second.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from app import logs
from app.audit import entry
from app.author.parts import in_force_again
from rules.constants import personal_constants
from rules.event import Event, iso
from rules.fields import Catalogue
from rules.model import RuleError
from rules.personal import replace as replace_texts
from rules.ports import Conflict, Delete, Put, Store, Vault, Where
from rules.route import EVERY, ByType, as_rule, by_type, route, taking
from rules.run import Command

DAY = timedelta(days=1)
LOOKED_AT = 2000  # events that a live count looks at; a page waits for it
PAGE = 200
MANY = 500
Row = dict[str, Any]


def routes(store: Store, tenant: str) -> list[Row]:
    """Every route, oldest first."""
    found = store.find(tenant, "connection", order="created_at", limit=MANY).items
    return [dict(one.body) for one in found if one.body["type"] == "route"]


def routes_of(store: Store, tenant: str) -> ByType:
    """The routes by event type. One that an older release took and this one cannot read stops no other."""
    found = []
    for row in routes(store, tenant):
        try:
            found.append(route(row["name"], row["types"], row.get("only_if")))
        except RuleError as error:
            logs.line("route.unreadable", logging.ERROR, tenant=tenant, route=row["name"], error=str(error))
    return by_type(found)


def tokenised(body: Mapping[str, Any], vault: Vault, catalogue: Catalogue, tenant: str) -> Row:
    """A route as it may be kept: constants that are compared with personal fields are tokens, as events hold them."""
    if body.get("type") != "route" or not isinstance(body.get("only_if"), Mapping):
        return dict(body)
    types = body.get("types")
    every = [one.name for one in catalogue.event_types()] if types == [EVERY] else types
    document = deepcopy(as_rule(every, body["only_if"]))
    subject = f"route:{body.get('name')}"
    replace_texts(personal_constants(document, catalogue), lambda texts: vault.tokenise(tenant, subject, texts))
    return {**body, "only_if": document["only_if"]}


def count(store: Store, tenant: str, types: list[str], only_if: Mapping[str, Any] | None, now: datetime) -> Row:
    """How many events of the last day a filter takes: `{"matched", "looked", "more", "latest": [...]}`. Raises
    RuleError."""
    wanted = by_type([route("new", types, only_if)])
    matched, looked, more, latest = 0, 0, False, []
    for event_type in [None] if types == [EVERY] else types:
        where: list[Where] = [("type", "==", event_type)] if event_type else []
        since: Where = ("recorded", ">=", iso(now - DAY))
        after = None
        while True:
            left = min(PAGE, LOOKED_AT - looked)
            page = store.find(tenant, "event", [*where, since], "-recorded", after, max(left, 1))
            if left <= 0:
                more = more or bool(page.items)
                break
            looked += len(page.items)
            events = [Event.from_cloudevent(one.body["event"]) for one in page.items]
            found = [event for event in events if taking(wanted, event)]
            matched += len(found)
            latest += [{"id": event.id, "type": event.type, "recorded": iso(event.recorded)} for event in found[:5]]
            after = page.next
            if after is None:
                break
    newest = sorted(latest, key=lambda one: str(one["recorded"]), reverse=True)[:5]
    return {"matched": matched, "looked": looked, "more": more, "latest": newest}


def delete(store: Store, tenant: str, name: str, actor: str, why: str, now: datetime) -> int:
    """Take a route away; how many events that waited for it are not forwarded any more. LookupError."""
    found = store.get(tenant, "connection", name)
    if found is None or found.body["type"] != "route":
        raise LookupError(f"There is no route {name!r}.")
    change = entry(now, actor, "delete route", name, {"types": found.body["types"]}, None, why)
    gone = Delete("connection", name, found.version)
    store.commit(tenant, None, [gone, *in_force_again(store, tenant, now), change])
    cancelled = 0
    for _ in range(MANY):  # pages of what waits; an end to it should the store never run dry
        count = _cancelled(store, tenant, name, actor)
        cancelled += count or 0
        if count == 0:
            break
    return cancelled


def _cancelled(store: Store, tenant: str, name: str, actor: str) -> int | None:
    """Some of what still waits for the route, ended; 0 when nothing is left, None when a worker was quicker."""
    where = [("connection", "==", name), ("state", "==", "due")]
    waiting = store.find(tenant, "command", where, "created_at", limit=50).items  # type: ignore[arg-type]
    told = {"kind": "cancelled", "message": f"Not done: {actor} deleted the route"}
    ended = [
        (replace(Command.from_body(one.body), state="cancelled", due_at=None, outcome=told), one.version)
        for one in waiting
    ]
    if not ended:
        return 0
    try:
        store.commit(tenant, None, [Put("command", one.id, one.body(), version) for one, version in ended])
    except Conflict:
        return None
    return len(ended)
