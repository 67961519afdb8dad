"""The dry run: every rule decides as if it were live, its runs are simulated, and nothing at all is sent.

Set for good by SIGNALBOX_DRY_RUN, or with a switch that is one document for all tenants; RuleSets reads it at most
once a second. A run that begins meanwhile is simulated to its end; what was due before waits and goes out afterwards.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from app import tenants
from app.audit import entry
from app.perform import holds
from rules.event import iso
from rules.kinds import SYSTEM
from rules.ports import ABSENT, Conflict, Put, Store

ID = "dry-run"
WHY = "this is a dry run, so nothing is sent"
LONGEST = 500  # characters of a reason


def read(store: Store) -> dict[str, Any]:
    """The switch: `{"on", "by", "at", "why"}`."""
    found = store.get(SYSTEM, "switch", ID)
    return {"on": False, "by": "", "at": "", "why": "", **(found.body if found else {})}


def switch(store: Store, tenant: str, on: bool, actor: str, why: str, now: datetime) -> dict[str, Any]:
    """Begin or end the dry run of every tenant, within a second; the tenant's audit log says who did it. Raises
    Conflict when it is so already."""
    found = store.get(SYSTEM, "switch", ID)
    before = read(store)
    if bool(before["on"]) == on:
        raise Conflict("The dry run is on already." if on else "There is no dry run to end.")
    short = why.strip()[:LONGEST]
    body = {"on": on, "by": actor, "at": iso(now), "why": short}
    verb = "begin dry run" if on else "end dry run"
    store.commit(tenant, None, [entry(now, actor, verb, "everything", bool(before["on"]), on, short)])
    store.commit(SYSTEM, None, [Put("switch", ID, body, found.version if found else ABSENT)])
    if not on:
        for one in tenants.every(store):
            holds.release(store, one, now)
    return body
