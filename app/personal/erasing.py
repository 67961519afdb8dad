"""Erase a customer: every value that the vault keeps of them goes, the log stays what it is, with tokens for ever.

First the customer is barred: what Stripe says of them from then on (late deliveries, imports, new events) gets the
same tokens, and none of its values is kept, until a person lifts it. Then a job goes through what was recorded: the
values of the customer and of their transactions, payloads in quarantine, notices of the CRM inbox, what receivers
answered. At the end, when every running process knows of the bar, it looks once more. No decision reads a value, so
none changes.

A value that somebody else has as well, such as a shared address, stays theirs; for this customer it is never shown nor
sent again. The suppression list, lists and scores hold tokens and ids, and stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from app import jobs
from app.audit import entry
from app.personal.revealing import reason_of
from app.receive import quarantine
from rules.event import instant, iso
from rules.ports import HEARD_WITHIN, Conflict, Document, Put, Refused, Store, Vault

JOB = "erase"
PAGE = 50  # events or actions looked at in one step
SURE = timedelta(seconds=HEARD_WITHIN + 5)  # after the bar; then no process keeps a value of the customer any more
GONE = "[erased]"
OURS = ("id", "run", "step", "stage", "customer", "subscription", "invoice", "amounts", "rule", "links")  # of a notice
FAILED = ("retry", "dead", "person")  # outcomes whose message may quote who answered
PHASES = ("events", "actions", "quarantine", "rest", "again")
Row = Mapping[str, Any]


# ---- before ---------------------------------------------------------------------------------------------------------
def preview(store: Store, vault: Vault, tenant: str, customer: str) -> dict[str, Any]:
    """What an erasure would remove: counts only. Raises LookupError for one of whom nothing is known."""
    events = store.count(tenant, "event", [("keys", "has", f"cus:{customer}")])
    values, shared = vault.kept(tenant, customer)
    quarantined = store.count(tenant, "quarantine", [("customers", "has", customer)])
    actions = store.count(tenant, "command", [("customer", "==", customer)])
    barred = vault.is_barred(tenant, customer)
    if not any((events, values, quarantined, actions, barred)):
        raise LookupError(f"Nothing is known of the customer {customer!r}.")
    last = _last(store, tenant, customer)
    return {
        "customer": customer,
        "values": values,
        "shared": shared,
        "events": events,
        "actions": actions,
        "quarantined": quarantined,
        "erased": barred,
        "job": last,
    }


def _last(store: Store, tenant: str, customer: str) -> dict[str, Any] | None:
    found = store.find(tenant, "job", [("type", "==", JOB)], order="-created_at", limit=200).items
    mine = (one.body for one in found if one.body["params"]["customer"] == customer)
    shown = ("id", "state", "progress", "error", "summary", "created_at", "updated_at")
    return next(({name: body[name] for name in shown} for body in mine), None)


# ---- asking ---------------------------------------------------------------------------------------------------------
def start(store: Store, vault: Vault, tenant: str, customer: str, actor: str, reason: str, now: datetime) -> str:
    """Bar the customer and queue the job; its id. Asked again while it is under way it is the same one. Raises Refused,
    LookupError."""
    why, found = reason_of(reason), preview(store, vault, tenant, customer)
    if found["job"] and found["job"]["state"] in jobs.OPEN:
        return str(found["job"]["id"])
    counts = {name: found[name] for name in ("values", "shared", "events", "actions", "quarantined")}
    store.commit(tenant, None, [entry(now, actor, "erase customer", customer, None, counts, why)])
    vault.bar(tenant, [customer])
    params = {"customer": customer, "actor": actor, "why": why, "events": found["events"]}
    return jobs.enqueue(store, tenant, JOB, params, now)


def lift(store: Store, vault: Vault, tenant: str, customer: str, actor: str, reason: str, now: datetime) -> None:
    """Keep what is heard of the customer again, who does business with us anew. What was erased does not come back.
    Raises Refused, also while the erasure is under way."""
    why, last = reason_of(reason), _last(store, tenant, customer)
    if not vault.is_barred(tenant, customer):
        raise Refused("The values of this customer are kept: there is nothing to lift.")
    if last and last["state"] in jobs.OPEN:
        raise Refused("The erasure is still under way: wait for its end.")
    store.commit(tenant, None, [entry(now, actor, "keep values again", customer, None, None, why)])
    vault.bar(tenant, [customer, *_transactions(store, tenant, customer)], barred=False)


def _transactions(store: Store, tenant: str, customer: str) -> list[str]:
    after, found = None, set()
    while True:
        page = store.find(tenant, "event", [("keys", "has", f"cus:{customer}")], "created", after, 500)
        found |= {str(one.body["correlation"]) for one in page.items}
        after = page.next
        if after is None:
            return sorted(found - {customer})


# ---- doing it -------------------------------------------------------------------------------------------------------
def job(store: Store, vault: Vault) -> jobs.Run:
    """How the job takes a step; each may be repeated."""

    def step(document: Document, now: datetime) -> jobs.Step:
        cursor = document.body["cursor"] or {"phase": "events", "after": None, "barred": iso(now)}
        summary = {"values": 0, "quarantined": 0, "notices": 0, "actions": 0, **document.body["summary"]}
        take: Phase = _STEPS[cursor["phase"]]
        return take(_Erasure(store, vault, document), cursor, summary, now)

    return step


class _Erasure:
    """What a step of one job needs."""

    def __init__(self, store: Store, vault: Vault, document: Document) -> None:
        self.store, self.vault, self.tenant = store, vault, document.tenant
        self.params: Row = document.body["params"]
        self.customer = str(self.params["customer"])

    def events(self, cursor: Row, summary: dict[str, Any], now: datetime) -> jobs.Step:
        """The values of a page of the customer's events: theirs, and those of transactions that name nobody else."""
        where: Any = [("keys", "has", f"cus:{self.customer}")]
        page = self.store.find(self.tenant, "event", where, "created", cursor["after"], PAGE)
        journeys = sorted({str(one.body["correlation"]) for one in page.items} - {self.customer})
        if journeys:
            self.vault.bar(self.tenant, journeys)
        subjects = [self.customer, f"cus:{self.customer}", *journeys]
        summary["values"] += sum(self.vault.erase(self.tenant, subject) for subject in subjects)
        summary["notices"] += sum(self._notices(journey) for journey in journeys)
        if page.next is not None:
            return jobs.Step({**cursor, "after": page.next}, 0.3, summary)
        return self._next(cursor, summary, 0.5)

    def actions(self, cursor: Row, summary: dict[str, Any], now: datetime) -> jobs.Step:
        """What receivers answered to what was done for the customer."""
        where: Any = [("customer", "==", self.customer)]
        page = self.store.find(self.tenant, "command", where, "created_at", cursor["after"], PAGE)
        summary["actions"] += sum(self._without_answers(one) for one in page.items)
        if page.next is not None:
            return jobs.Step({**cursor, "after": page.next}, 0.6, summary)
        return self._next(cursor, summary, 0.7)

    def quarantine(self, cursor: Row, summary: dict[str, Any], now: datetime) -> jobs.Step:
        actor, why = str(self.params["actor"]), str(self.params["why"])
        gone = quarantine.forget(self.store, self.vault, self.tenant, self.customer, actor, why, now)
        summary["quarantined"] += gone
        return self._next(cursor, summary, 0.8)

    def rest(self, cursor: Row, summary: dict[str, Any], now: datetime) -> jobs.Step:
        """Wait until every process has heard of the bar."""
        until = instant(cursor["barred"]) + SURE
        if now < until:
            return jobs.Step(cursor, 0.9, summary, due=until)
        return self._next(cursor, summary, 0.9)

    def again(self, cursor: Row, summary: dict[str, Any], now: datetime) -> jobs.Step:
        """What came in between, and then what was done is told, without a value."""
        journeys = _transactions(self.store, self.tenant, self.customer)
        self.vault.bar(self.tenant, journeys)  # those that began meanwhile, too
        subjects = (self.customer, f"cus:{self.customer}", *journeys)
        summary["values"] += sum(self.vault.erase(self.tenant, subject) for subject in subjects)
        actor, why = str(self.params["actor"]), str(self.params["why"])
        summary["quarantined"] += quarantine.forget(self.store, self.vault, self.tenant, self.customer, actor, why, now)
        change = entry(now, actor, "erased customer", self.customer, None, dict(summary), why)
        self.store.commit(self.tenant, None, [change])
        return jobs.Step(cursor, 1.0, summary, done=True)

    def _next(self, cursor: Row, summary: Row, progress: float) -> jobs.Step:
        phase = PHASES[PHASES.index(cursor["phase"]) + 1]
        return jobs.Step({**cursor, "phase": phase, "after": None}, progress, summary)

    def _notices(self, journey: str) -> int:
        """Of a notice in the CRM inbox only what it is about stays; our own hold tokens and are left as they are."""
        found = self.store.find(self.tenant, "notice", [("correlation", "==", journey)], "received_at", limit=500)
        return sum(self._without_text(one) for one in found.items if not self._is_ours(one))

    def _is_ours(self, notice: Document) -> bool:
        return self.store.get(self.tenant, "command", notice.id) is not None

    def _without_text(self, notice: Document) -> bool:
        data = notice.body["notice"]["data"]
        kept = {name: data[name] for name in OURS if name in data}
        if kept == data:
            return False
        body = {**notice.body, "notice": {**notice.body["notice"], "data": kept}}
        return self._written(Put("notice", notice.id, body, notice.version))

    def _without_answers(self, command: Document) -> bool:
        """Whether there was something to forget."""
        before = list(command.body.get("attempts") or ())
        attempts = [_silent(attempt) for attempt in before]
        if attempts == before:
            return False
        outcome = command.body.get("outcome") or {}
        if outcome.get("kind") in FAILED:
            outcome = {**outcome, "message": GONE}
        return self._written(
            Put("command", command.id, {**command.body, "attempts": attempts, "outcome": outcome}, command.version)
        )

    def _written(self, put: Put) -> bool:
        try:
            self.store.commit(self.tenant, None, [put])
        except Conflict:
            raise jobs.TryLater("an action of the customer is just being done") from None
        return True


Phase = Callable[[_Erasure, Row, dict[str, Any], datetime], jobs.Step]
_STEPS: Mapping[str, Phase] = {
    "events": _Erasure.events,
    "actions": _Erasure.actions,
    "quarantine": _Erasure.quarantine,
    "rest": _Erasure.rest,
    "again": _Erasure.again,
}


def _silent(attempt: Row) -> dict[str, Any]:
    """A try without the words of who answered; ids, times and results stay."""
    response = attempt.get("response")
    if not isinstance(response, Mapping) or response.get("body") in (None, "", GONE):
        return dict(attempt)
    message = {"message": GONE} if attempt.get("outcome") in FAILED else {}
    return {**attempt, **message, "response": {**response, "body": GONE}}


def erased(store: Store, tenant: str, limit: int = 50) -> Sequence[dict[str, Any]]:
    """The newest erasures: whom, when, and how far each is."""
    return list(_recent(store, tenant, limit))


def _recent(store: Store, tenant: str, limit: int) -> Iterator[dict[str, Any]]:
    for one in store.find(tenant, "job", [("type", "==", JOB)], order="-created_at", limit=limit).items:
        body = one.body
        yield {"customer": body["params"]["customer"], **{name: body[name] for name in ("state", "created_at")}}
