"""What gave up on both sides: as a list by filter, and grouped by cause, so that one mend is seen to be one."""

from __future__ import annotations

from collections.abc import Iterator

from app.browse.rows import JSON, Row, command_row, gather
from app.operate.dead_letters import Which, cause_of, dead_events, every_action, page_of_actions, reason_of
from rules.event import iso
from rules.ports import DeadDelivery, Inbox, Page, Store

GROUPED = 5_000  # of the newest actions that are counted by cause
ALL = Which()


def dead_letters(
    store: Store, inbox: Inbox, tenant: str, which: Which = ALL, *, after: str | None = None, limit: int = 50
) -> Row:
    """A page: the events first, then the actions, newest first."""

    def read(cursor: str | None) -> Page:
        return page_of_actions(store, tenant, which, cursor, limit)

    received = [] if after else [_received(dead) for dead in dead_events(inbox, tenant, which)[:limit]]
    if which.only == "events":
        return {"items": received, "next": None}
    page = gather(read, lambda one: which.takes_action(one.body), after, 1 if which == ALL else limit)
    return {"items": received + [_sent(one.body) for one in page.items], "next": page.next}


def causes(store: Store, inbox: Inbox, tenant: str, which: Which = ALL) -> list[Row]:
    """The groups, the largest first: `{"kind", "cause", "connection", "action", "count", "oldest", "newest"}`."""
    groups: dict[tuple[str, ...], Row] = {}
    for kind, cause, connection, action, at in _members(store, inbox, tenant, which):
        key = (kind, cause, connection, action)
        group = groups.setdefault(
            key,
            {"kind": kind, "cause": cause, "connection": connection, "action": action, "count": 0}
            | {"oldest": at, "newest": at},
        )
        group["count"] += 1
        group["oldest"], group["newest"] = min(group["oldest"], at), max(group["newest"], at)
    return sorted(groups.values(), key=lambda group: (-group["count"], group["cause"]))


def _members(store: Store, inbox: Inbox, tenant: str, which: Which) -> Iterator[tuple[str, str, str, str, str]]:
    for dead in dead_events(inbox, tenant, which):
        yield "event", cause_of(dead.reason), "", "", iso(dead.at)
    for one in every_action(store, tenant, which, GROUPED):
        row = _sent(one.body)
        yield "command", cause_of(row["reason"]), row["connection"], row["action"], row["at"]


def _received(dead: DeadDelivery) -> Row:
    return {
        "kind": "event",
        "id": dead.id,
        "event_id": dead.event_id,
        "type": dead.event_type,
        "reason": dead.reason,
        "cause": cause_of(dead.reason),
        "tries": dead.attempts,
        "at": iso(dead.at),
    }


def _sent(body: JSON) -> Row:
    row, reason = command_row(body), reason_of(body)
    last = row["last"] or {}
    return {
        "kind": "command",
        **row,
        "reason": reason,
        "cause": cause_of(reason),
        "at": last.get("at") or row["created_at"],
    }
