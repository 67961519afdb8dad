"""Count what reaches a customer, in one document for each, where a cap of some rule counts it.

The place in the count is taken in a commit of its own, just before the action, by the worker that holds its lease. It
is compared and set, so of two workers with one place left one looks again; no event's commit ever touches it.
"""

from __future__ import annotations

from datetime import datetime

from rules.caps import Room, counted, room, spans, tags_of
from rules.model import Rule
from rules.ports import ABSENT, Conflict, Put, Store
from rules.ruleset import RuleSet
from rules.run import Command

CONFLICTS = 6


def take_place(store: Store, ruleset: RuleSet, rule: Rule, command: Command, now: datetime) -> Room | None:
    """Count the action, or say which of its rule's caps has no room; what a person asked for alone is counted and
    not held back. Raises Conflict when others keep being quicker."""
    longest = spans([rule, *(version.rule for version in ruleset.versions)])
    tags = tags_of(rule, command.action)
    if command.customer is None or not tags & longest.keys():
        return None
    for _ in range(CONFLICTS):
        found = store.get(command.tenant, "cap", command.customer)
        used = found.body["used"] if found else ()
        full = None if command.outcome.get("replayed") else room(rule, command.action, command.id, used, now)
        if full:
            return full
        body = {"used": counted(used, command.id, tags, longest, now)}
        try:
            store.commit(command.tenant, None, [Put("cap", command.customer, body, found.version if found else ABSENT)])
            return None
        except Conflict:
            continue
    raise Conflict(f"the count of {command.customer} changed {CONFLICTS} times in a row")
