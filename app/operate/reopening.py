"""A run that a person opens again is known again where its stops and waits are heard: in the memory documents."""

from __future__ import annotations

from rules import memory
from rules.event import Event
from rules.model import Rule
from rules.ports import ABSENT, Put, Store
from rules.registering import open_record, registered_in
from rules.ruleset import listens
from rules.run import OPEN, Run


def registered_again(store: Store, tenant: str, rule: Rule, before: Run, after: Run) -> list[Put]:
    """The writes that let events find a run that had ended and is open again; none for any other. Who ends an open run
    need not take it out: the next event that finds it there does."""
    trigger = store.get(tenant, "event", after.trigger)
    if before.state in OPEN or after.state not in OPEN or after.undo or trigger is None:
        return []
    listening = listens(rule)
    record = open_record(after, rule, listening)
    writes = []
    for id in dict.fromkeys(registered_in(listening, Event.from_cloudevent(trigger.body["event"]))):
        found = store.get(tenant, "memory", id)
        body = memory.opened(found.body if found else {}, after.id, record)
        writes.append(Put("memory", id, body, found.version if found else ABSENT))
    return writes
