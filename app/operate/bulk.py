"""Many runs at once: chosen by filter, counted before anything is done, named, audited one by one, a job when large.

The count is the total at the time of asking; what begins later is left alone. Also what goes with it: a customer who is
excluded, and what stood in line while a rule was paused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from app import author, jobs
from app.audit import entry
from app.author import parts
from app.operate import verbs as operate
from rules.event import iso
from rules.model import EXCLUDED
from rules.ports import Document, Page, Store, Where, Write
from rules.run import OPEN, QUEUED
from rules.steps import NotPossible

JOB = "bulk"
AT_ONCE = 100  # runs; more of them are a job
PAGE = 50  # runs of one step of the job
ADDED_UP = 2000  # runs whose money is added up before a person decides
REFUSED = 20  # refusals told with their reasons
VERBS = ("cancel", "skip", "retry", "again", "approve", "decline", "release", "discard", "start", "undo")
Queued = Literal["start", "keep", "drop"]
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which runs: by state and rule, or those about one customer. queued: only what stood in line during a pause.
    until: those begun up to then."""

    state: str = ""
    rule: str = ""
    customer: str = ""
    queued: bool = False
    until: str = ""

    def where(self) -> list[Where]:
        if self.customer:
            return [("customer", "==", self.customer)]
        rule: list[Where] = [("rule_id", "==", self.rule)] if self.rule else []
        return [*rule, *([("state", "==", self.state)] if self.state else [])]  # type: ignore[list-item]

    def keeps(self, found: Document) -> bool:
        body = found.body
        fits = (not self.state or body["state"] == self.state) and (not self.rule or body["rule_id"] == self.rule)
        return fits and (not self.queued or body["reason"] == QUEUED)

    @property
    def indexed(self) -> bool:
        """Whether an index alone says how many there are."""
        return not self.queued and not (self.customer and (self.state or self.rule))

    def page(self, store: Store, tenant: str, after: str | None, limit: int = PAGE) -> Page:
        until: list[Where] = [("created_at", "<=", self.until)] if self.until else []
        return store.find(tenant, "run", [*self.where(), *until], "created_at", after, limit)


# ---- counting -------------------------------------------------------------------------------------------------------
def counted(store: Store, tenant: str, chosen: Chosen) -> Row:
    """`{"count", "money": minor units by currency, or None when there are too many to add up}`."""
    if chosen.indexed and (count := store.count(tenant, "run", chosen.where())) > ADDED_UP:
        return {"count": count, "money": None}
    count, money = 0, dict[str, int]()
    for found in every(store, tenant, chosen):
        count += 1
        for currency, minor in found.body["money"].items():
            money[currency] = money.get(currency, 0) + minor
    return {"count": count, "money": money}


def every(store: Store, tenant: str, chosen: Chosen) -> Iterator[Document]:
    after = None
    while True:
        page = chosen.page(store, tenant, after, 500)
        yield from (found for found in page.items if chosen.keeps(found))
        after = page.next
        if after is None:
            return


# ---- doing ----------------------------------------------------------------------------------------------------------
def act(
    store: Store, tenant: str, chosen: Chosen | Sequence[str], verb: str, actor: str, why: str, name: str, now: datetime
) -> Row:
    """One verb to all that are chosen (or to these ids): `{"count", "done", "refused", "job"}`. Few are done at once;
    many become a job, whose id is answered. name: what people call it, "Incident 1234"; it is in every audit entry.
    """
    if verb not in VERBS:
        raise NotPossible(f"there is no {verb!r} for many runs; choose one of {', '.join(VERBS)}")
    why = f"{name}: {why}" if name else why
    if not isinstance(chosen, Chosen):
        return _at_once(store, tenant, list(chosen), verb, actor, why, now)
    chosen = Chosen(**{**asdict(chosen), "until": iso(now)})
    count = counted(store, tenant, chosen)["count"]
    about = name or f"{verb} runs"
    change = entry(now, actor, f"{verb} many runs", about, None, {**asdict(chosen), "count": count}, why)
    store.commit(tenant, None, [change])
    if count <= AT_ONCE:
        return _at_once(store, tenant, [found.id for found in every(store, tenant, chosen)], verb, actor, why, now)
    params = {"chosen": asdict(chosen), "verb": verb, "actor": actor, "why": why, "name": name, "total": count}
    return {"count": count, "done": 0, "refused": [], "job": jobs.enqueue(store, tenant, JOB, params, now)}


def _at_once(store: Store, tenant: str, ids: list[str], verb: str, actor: str, why: str, now: datetime) -> Row:
    with store.batch():
        found = operate.act_on_many(store, tenant, ids, verb, actor, why, now)
    return {"count": len(ids), **found, "job": None}


def job(store: Store) -> jobs.Run:
    """How the job takes a step: a page of runs, each by itself."""

    def step(document: Document, now: datetime) -> jobs.Step:
        params, known = document.body["params"], document.body["summary"]
        chosen = Chosen(**params["chosen"])
        page = chosen.page(store, document.tenant, document.body["cursor"])
        ids = [found.id for found in page.items if chosen.keeps(found)]
        with store.batch():
            came = operate.act_on_many(store, document.tenant, ids, params["verb"], params["actor"], params["why"], now)
        done, refused = known.get("done", 0) + came["done"], known.get("refused_count", 0) + len(came["refused"])
        summary = {
            "done": done,
            "refused_count": refused,
            "refused": [*known.get("refused", ()), *came["refused"]][:REFUSED],
        }
        return jobs.Step(page.next, (done + refused) / max(1, params["total"]), summary, done=page.next is None)

    return step


# ---- a customer who is left alone -----------------------------------------------------------------------------------
def exclude(store: Store, tenant: str, customer: str, list_name: str, actor: str, why: str, now: datetime) -> Row:
    """Put a customer on a suppression list and cancel what is open for it. Every rule leaves alone who is on
    `excluded`, the list unless another is named; a rule leaves alone who is on a list that it names: `{"list",
    "cancelled", "refused", "honoured_by": rules that leave alone who is on the list, "not_by": the others}`."""
    name = list_name or EXCLUDED
    if name.startswith(parts.ROLE):  # whoever may exclude a customer must not make people approvers
        raise NotPossible(f"the list {name} says who may approve; customers go on another")
    found = store.get(tenant, "list", name)
    members = list(found.body["members"]) if found else []
    if customer not in members:
        author.save_list(store, tenant, name, [*members, customer], actor, now, why=why)
    store.commit(tenant, None, [entry(now, actor, "exclude customer", customer, None, name, why)])
    open_runs = [run.id for run in every(store, tenant, Chosen(customer=customer)) if run.body["state"] in OPEN]
    came = operate.act_on_many(store, tenant, open_runs, "cancel", actor, why, now)
    honoured, ignored = _honouring(store, tenant, name)
    return {
        "list": name,
        "cancelled": came["done"],
        "refused": came["refused"],
        "honoured_by": honoured,
        "not_by": ignored,
    }


def _honouring(store: Store, tenant: str, name: str) -> tuple[list[str], list[str]]:
    """The rules in force that leave alone who is on the list, and those that do not."""
    honoured: list[str] = []
    ignored: list[str] = []
    for state in ("live", "watch", "paused"):
        for rule in store.find(tenant, "rule", [("state", "==", state)], "updated_at", limit=500).items:
            document = author.version(store, tenant, rule.id, rule.body["number"])["document"]
            listed: Iterable[str] = (document.get("never_for") or {}).get("lists") or ()
            (honoured if name == EXCLUDED or name in listed else ignored).append(rule.body["name"])
    return honoured, ignored


# ---- what stood in line ---------------------------------------------------------------------------------------------
def in_line(rule_id: str) -> Chosen:
    """What was queued while the rule was paused."""
    return Chosen(state="parked", rule=rule_id, queued=True)


def resume_rule(
    store: Store,
    tenant: str,
    rule_id: str,
    actor: str,
    note: str,
    now: datetime,
    queued: Queued = "keep",
    expect: str | None = None,
    more: Sequence[Write] = (),
) -> Row:
    """Go on as before the pause. queued: what becomes of the matches that stood in line: all start (their rule's limits
    are asked), all are dropped, or they are kept for a person to choose among. Answers `author.resume`'s row with
    `queued`, how many there were."""
    count = counted(store, tenant, in_line(rule_id))["count"]
    row = author.resume(store, tenant, rule_id, actor, note, now, expect, more)
    verbs: Mapping[str, str] = {"start": "start", "drop": "discard"}
    if count and queued in verbs:
        act(store, tenant, in_line(rule_id), verbs[queued], actor, note, f"Resume {rule_id}", now)
    return {**row, "queued": count}
