"""Manual reviews: a rule asks a person to look at something, which stands under Needs you until somebody closes it.

The entry is a document of its own, with a case beside it that says whose it is and by when; nothing is sent.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Any

from app.audit import entry
from rules.event import iso
from rules.ports import ABSENT, Body, Conflict, Document, Field, Inverse, Outcome, Put, Store, Unavailable, Write

Row = dict[str, Any]
LONGEST = 2000  # characters of what is asked
DAYS = 3  # until it is due, where the rule says nothing else
MOST_DAYS = 365
TRIES = 5


class Flag:
    """See rules.ports.ActionExecutor."""

    name = "review.flag"
    title = "Flag for manual review"
    undo = "The entry under Needs you is closed."
    fields: tuple[Field, ...] = (
        Field("text", "What to look at", "template", required=True,
              help="{{ data.object.id }} puts a field of the event in."),
        Field("owner", "Whose it is", help="A name as it stands under Needs you. Empty: nobody's yet."),
        Field("days", "Due in days", "number", default=DAYS, help="1 to 365."),
    )  # fmt: skip

    def __init__(self, store: Store) -> None:
        self.store = store

    def preview(self, params: Body) -> Body:
        asked = {name: params.get(name) for name in ("text", "owner", "days") if params.get(name) not in (None, "")}
        return {"method": "put under Needs you", "to": "this installation", "body": asked, "undo": self.undo}

    def execute(self, task: Body, now: datetime) -> Outcome:
        params, id = task["params"], review_id(task["id"])
        days = _days(params.get("days"))
        if days is None:
            return Outcome("person", "In how many days it is due is not clear: write 1 to 365.")
        body = {
            "id": id,
            "state": "open",
            "text": str(params["text"])[:LONGEST],
            "run_id": task["run_id"],
            "rule_id": task["rule"]["id"],
            "rule_name": task["rule"]["name"],
            "customer": task["customer"],
            "created_at": iso(now),
        }
        case = _case(id, str(params.get("owner") or "").strip()[:100], iso(now + timedelta(days=days)), task, now)
        try:
            self.store.commit(task["tenant"], None, [Put("review", id, body, ABSENT), case])
        except Conflict:
            return Outcome.done("It was flagged already.", data={"review": id})
        return Outcome.done("Flagged for review: it stands under Needs you.", data={"review": id})

    def inverse(self, command: Body) -> Inverse | None:
        id = command["outcome"].get("data", {}).get("review") or review_id(command["id"])
        return Inverse("review.close", {"review": id}, "The review is closed")


class Close:
    """See rules.ports.ActionExecutor."""

    name = "review.close"
    title = "Close a manual review"
    undo = "Cannot be undone: a review that was closed stays closed; flag it anew."
    fields: tuple[Field, ...] = (
        Field("review", "Review", required=True, help="{{ step.flag.data.review }} is that of the step named flag."),
    )

    def __init__(self, store: Store) -> None:
        self.store = store

    def preview(self, params: Body) -> Body:
        body = {"review": params.get("review", "")}
        return {"method": "close under Needs you", "to": "this installation", "body": body, "undo": self.undo}

    def execute(self, task: Body, now: datetime) -> Outcome:
        id, by = str(task["params"]["review"]), str(task["rule"]["name"])
        found = self.store.get(task["tenant"], "review", id)
        if found is None or found.body["state"] == "closed":
            return Outcome.done("There was no open review.")
        try:
            self.store.commit(task["tenant"], None, [_closed(found, by, "taken back by the rule", now)])
        except Conflict:
            raise Unavailable("The review was changed meanwhile") from None
        return Outcome.done("The review is closed.")


def review_id(command: str) -> str:
    """The same on every try, and fit for an address.

    >>> review_id("run_1/flag")
    'rev_25ba107ce4b55e46e70dcc5d'
    """
    return "rev_" + hashlib.sha256(command.encode()).hexdigest()[:24]


def _days(given: Any) -> int | None:
    text = str(DAYS if given in (None, "") else given).strip()
    days = int(text) if text.isascii() and text.isdigit() and len(text) <= 3 else 0
    return days if 1 <= days <= MOST_DAYS else None


def _case(id: str, owner: str, due: str, task: Body, now: datetime) -> Write:
    about = f"review:{id}"
    body = {"id": about, "owner": owner, "note": "", "due": due, "by": task["rule"]["name"], "updated_at": iso(now)}
    return Put("case", about, body, ABSENT)


def _closed(found: Document, by: str, why: str, now: datetime) -> Put:
    body = {**found.body, "state": "closed", "closed_at": iso(now), "closed_by": by, "closed_why": why}
    return Put("review", found.id, body, found.version)


# ---- what a person does ---------------------------------------------------------------------------------------------
def close(store: Store, tenant: str, id: str, actor: str, why: str, now: datetime) -> Row:
    """Somebody has looked. LookupError for none; Conflict when it is closed already."""
    for _ in range(TRIES):
        found = store.get(tenant, "review", id)
        if found is None:
            raise LookupError(f"There is no review {id!r}.")
        if found.body["state"] == "closed":
            raise Conflict(f"It was closed already by {found.body['closed_by']}.")
        put = _closed(found, actor, why.strip()[:500], now)
        change = entry(now, actor, "close review", id, "open", "closed", why.strip()[:500])
        try:
            store.commit(tenant, None, [put, change])
        except Conflict:
            continue
        return dict(put.body)
    raise Conflict("It changed again and again meanwhile. Try once more.")


def opened(store: Store, tenant: str, limit: int) -> list[Row]:
    """The newest that nobody has closed."""
    found = store.find(tenant, "review", [("state", "==", "open")], order="-created_at", limit=limit).items
    return [dict(one.body) for one in found]


def count(store: Store, tenant: str) -> int:
    return store.count(tenant, "review", [("state", "==", "open")])
