"""Live actions: a connection that is made in a live tenant acts only after a person has allowed it, by name and reason.

What is due over it waits in the store meanwhile and asks on the page of what needs a person. Test mode asks for
nothing, and connections from before this was asked for (they do not say `live_actions`) go on acting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from app.audit import entry
from app.connections import types
from app.perform import holds
from rules.event import iso
from rules.ports import ABSENT, Conflict, Document, Put, Store, Write

Row = dict[str, Any]
LONGEST = 500  # characters of a reason
STRIPE = "stripe"  # acts over no address of ours, so its connection is made with the live tenant
MANY = 500


def is_live(tenant: str) -> bool:
    return tenant.endswith("/live")


def first(tenant: str) -> dict[str, bool]:
    """What a new connection of the tenant says."""
    return {"live_actions": False} if is_live(tenant) else {}


def may_act(connection: Mapping[str, Any]) -> bool:
    return connection.get("live_actions", True) is not False


def check(connection: Document | None) -> None:
    """Raises Held while nobody has allowed what would go over the connection."""
    if connection is not None and not may_act(connection.body):
        raise holds.Held(f"live actions over {connection.id} are not switched on yet: see Needs you")


def begin(store: Store, tenant: str, now: datetime) -> None:
    """A tenant is heard of for the first time: what goes to Stripe for it asks, too, where it is live."""
    if not is_live(tenant) or store.get(tenant, "connection", STRIPE) is not None:
        return
    body = {"name": STRIPE, "type": STRIPE, "url": "", "state": "on", "reason": "", "created_at": iso(now)}
    try:
        store.commit(tenant, None, [Put("connection", STRIPE, {**body, **first(tenant)}, ABSENT)])
    except Conflict:
        return  # another process was first


def switch(
    store: Store,
    tenant: str,
    name: str,
    on: bool,
    actor: str,
    why: str,
    now: datetime,
    also: Sequence[Write] = (),
    expect: str | None = None,
) -> Row:
    """Allow live actions over a connection, or ask again before the next. What waited goes out, the oldest first.
    LookupError for no such connection; Conflict in test mode, when it is so already, and when the connection is not at
    the version `expect` any more."""
    found = store.get(tenant, "connection", name)
    if found is None:
        raise LookupError(f"There is no connection {name!r}.")
    if not is_live(tenant):
        raise Conflict("This is test mode: nothing is live, so there is nothing to switch.")
    if may_act(found.body) == on:
        raise Conflict(f"Live actions over {name} are {'on' if on else 'off'} already.")
    if expect not in (None, found.version):
        where = types.shown_url(str(found.body.get("url", ""))) or "Stripe"
        raise Conflict(f"Someone else changed the connection {name} meanwhile: it goes to {where} now. Look again.")
    short = why.strip()[:LONGEST]
    told = {"live_actions": on, "live_by": actor, "live_at": iso(now), "live_why": short}
    verb = "switch live actions on" if on else "switch live actions off"
    change = entry(now, actor, verb, name, may_act(found.body), on, short)
    body = {**found.body, **told, "updated_at": iso(now)}
    store.commit(tenant, None, [Put("connection", name, body, found.version), change, *also])
    if on:
        holds.release(store, tenant, now, name)
    return body


def asking(store: Store, tenant: str) -> list[Row]:
    """The connections over which something waits to be allowed, each with how much: `{"name", "waits", ...}`."""
    if not is_live(tenant):
        return []
    found = store.find(tenant, "connection", order="created_at", limit=MANY).items
    off = [dict(one.body) for one in found if not may_act(one.body)]
    counted = [{**row, "waits": _waiting(store, tenant, row["name"])} for row in off]
    return [row for row in counted if row["waits"]]


def _waiting(store: Store, tenant: str, name: str) -> int:
    return store.count(tenant, "command", [("connection", "==", name), ("state", "==", "due")])
