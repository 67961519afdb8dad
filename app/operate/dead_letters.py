"""Dead letters: what gave up, by filter; and the job that tries all of it again, or lets it go, in small steps.

There are two sorts: deliveries of events that could not be handled, and actions that their receiver will not have.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any, Literal

from app import jobs
from app.audit import entry
from app.operate import verbs as operate
from app.operate.verbs import Only
from rules.event import iso
from rules.ports import DeadDelivery, Document, Inbox, Page, Store

JOB = "dead_letters"
STEP = 50  # letters at one step
MOST_EVENTS = 10_000  # deliveries that are looked at
SHOWN = 20  # refusals that a job's summary keeps
Verb = Literal["replay", "discard"]
_IDS = re.compile(r"\b[A-Za-z]{2,8}_(?=\w*\d)\w+\b|\b[0-9a-f]{16,}\b")
_QUOTED = re.compile(r"'[^']*'|“[^”]*”|\"[^\"]*\"")
_NUMBERS = re.compile(r"\b\d{4,}\b")


def cause_of(reason: str) -> str:
    """What a reason has in common with others of its kind: without ids, quoted values and long numbers.

    >>> cause_of("Stripe: No such price: 'price_1Q2w3e'"), cause_of("crm refused the notice (400).")
    ("Stripe: No such price: '…'", 'crm refused the notice (400).')
    >>> cause_of("The subscription sub_1 has ended."), cause_of("line 123456 is bad")
    ('The subscription … has ended.', 'line … is bad')
    """
    return _NUMBERS.sub("…", _IDS.sub("…", _QUOTED.sub("'…'", reason)))[:200]


@dataclass(frozen=True, slots=True)
class Which:
    """A filter; empty parts ask for nothing. only: one sort. cause: of `cause_of`. text: anywhere in the reason, the
    ids or the type."""

    only: Only | Literal[""] = ""
    connection: str = ""
    action: str = ""
    rule: str = ""
    cause: str = ""
    text: str = ""

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Which:
        only: Only | Literal[""] = next((name for name in _SORTS if name == given.get("only")), "")
        names = [field.name for field in fields(cls) if field.name != "only"]
        return cls(only, **{name: str(given.get(name) or "").strip() for name in names})

    def body(self) -> dict[str, str]:
        return {name: value for name, value in asdict(self).items() if value}

    def takes_event(self, dead: DeadDelivery) -> bool:
        if self.only == "actions" or self.connection or self.action or self.rule:
            return False
        return self._says(dead.reason, dead.id, dead.event_id, dead.event_type)

    def takes_action(self, body: Mapping[str, Any]) -> bool:
        wanted = (("connection", self.connection), ("action", self.action), ("rule_id", self.rule))
        if self.only == "events" or any(value and body[name] != value for name, value in wanted):
            return False
        return self._says(reason_of(body), body["id"], body["action"], str(body.get("customer") or ""))

    def _says(self, reason: str, *words: str) -> bool:
        if self.cause and cause_of(reason) != self.cause:
            return False
        low = self.text.lower()
        return not low or any(low in word.lower() for word in (reason, *words))


_SORTS: tuple[Only, ...] = ("events", "actions")


def reason_of(command: Mapping[str, Any]) -> str:
    """Why an action gave up."""
    attempts = command.get("attempts") or ()
    outcome = command.get("outcome") or {}
    return str(outcome.get("message") or (attempts[-1].get("message") if attempts else "") or "")


# ---- reading --------------------------------------------------------------------------------------------------------
def dead_events(inbox: Inbox, tenant: str, which: Which) -> list[DeadDelivery]:
    return [one for one in inbox.dead(MOST_EVENTS) if one.tenant in (tenant, "") and which.takes_event(one)]


def page_of_actions(
    store: Store, tenant: str, which: Which, after: str | None, limit: int, newest_first: bool = True
) -> Page:
    """One page of dead actions before the filter; the filter's connection is already in it."""
    where: list[Any] = [("connection", "==", which.connection)] if which.connection else []
    order = "-created_at" if newest_first else "created_at"
    return store.find(tenant, "command", [*where, ("state", "==", "dead")], order, after, limit)


def every_action(store: Store, tenant: str, which: Which, most: int) -> Iterator[Document]:
    """The dead actions that fit, newest first, among so many."""
    after, seen = None, 0
    while seen < most:
        page = page_of_actions(store, tenant, which, after, min(500, most - seen))
        yield from (one for one in page.items if which.takes_action(one.body))
        after, seen = page.next, seen + len(page.items)
        if after is None:
            return


def count(store: Store, inbox: Inbox, tenant: str, which: Which) -> dict[str, int]:
    """How many fit: what is shown before anything is done to them."""
    events = len(dead_events(inbox, tenant, which))
    if which.only == "events":
        return {"events": events, "actions": 0}
    return {"events": events, "actions": sum(1 for _ in every_action(store, tenant, which, 10**9))}


# ---- all of it at once ----------------------------------------------------------------------------------------------
def start(
    store: Store, inbox: Inbox, tenant: str, verb: Verb, which: Which, actor: str, why: str, now: datetime
) -> dict[str, Any]:
    """Queue the job: `{"id", "events", "actions"}` with the count as it is now. What dies later is not touched."""
    counted = count(store, inbox, tenant, which)
    params = {"verb": verb, "which": which.body(), "actor": actor, "why": why, "until": iso(now), **counted}
    id = jobs.enqueue(store, tenant, JOB, params, now)
    about = {"which": which.body(), **counted}
    store.commit(tenant, None, [entry(now, actor, f"{verb} dead letters", id, None, about, why)])
    return {"id": id, **counted}


def job(store: Store, inbox: Inbox) -> jobs.Run:
    """How the job takes a step."""

    def step(document: Document, now: datetime) -> jobs.Step:
        return _step(store, inbox, document, now)

    return step


def _step(store: Store, inbox: Inbox, document: Document, now: datetime) -> jobs.Step:
    params, tenant = document.body["params"], document.tenant
    cursor = document.body["cursor"] or {"after": None, "events": True}
    which = Which.of(params["which"])
    summary = {"done": 0, "refused": 0, "why": [], **document.body["summary"]}
    if cursor["events"]:
        _do_events(store, inbox, tenant, which, params, summary, now)
        return jobs.Step({"after": None, "events": False}, 0.0, summary, which.only == "events")
    page = page_of_actions(store, tenant, which, cursor["after"], STEP, newest_first=False)
    ids = [one.id for one in page.items if _died_before(one, params["until"]) and which.takes_action(one.body)]
    _do_actions(store, inbox, tenant, ids, params, summary, now)
    progress = (summary["done"] + summary["refused"]) / max(params["events"] + params["actions"], 1)
    return jobs.Step({"after": page.next, "events": False}, progress, summary, page.next is None)


def _died_before(command: Document, until: str) -> bool:
    return str((command.body.get("outcome") or {}).get("at") or command.body["created_at"]) <= until


def _do_events(
    store: Store, inbox: Inbox, tenant: str, which: Which, params: Any, summary: dict[str, Any], now: datetime
) -> None:
    ids = [one.id for one in dead_events(inbox, tenant, which) if iso(one.at) <= params["until"]]
    if not ids:
        return
    actor, why = params["actor"], params["why"]
    if params["verb"] == "replay":
        summary["done"] += operate.replay(store, inbox, tenant, ids, actor, why, now, "events")["events"]
    else:
        summary["done"] += operate.discard(store, inbox, tenant, ids, actor, why, now)["events"]


def _do_actions(
    store: Store, inbox: Inbox, tenant: str, ids: list[str], params: Any, summary: dict[str, Any], now: datetime
) -> None:
    if not ids:
        return
    actor, why = params["actor"], params["why"]
    if params["verb"] == "discard":
        summary["done"] += operate.discard(store, inbox, tenant, ids, actor, why, now)["actions"]
        return
    came = operate.replay(store, inbox, tenant, ids, actor, why, now, "actions")
    summary["done"] += came["actions"]
    summary["refused"] += len(came["refused"])
    summary["why"] = [*summary["why"], *came["refused"]][:SHOWN]
