"""Wake runs whose time has come: waits that are over, approvals without an answer, and runs that ask to be admitted.

Admission is where a rule's limits count. The count is a document of its own, compared and set in the commit that lets
the run go, so two admitters cannot both take the last place.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cache

from app import knowing, logs
from app.perform.holds import is_paused
from app.perform.outbox import advanced, write_run
from app.rulesets import RuleSets
from rules import workflow
from rules.event import iso
from rules.limits import counted, refusal, window_of
from rules.model import Rule
from rules.ports import ABSENT, Conflict, Document, Put, Store, Unavailable, Write
from rules.run import OPEN, Run, replace
from rules.steps import told

LEASE = timedelta(seconds=60)
IN_HAND = timedelta(seconds=120)  # the longest that a claimed command may be due ahead: app.perform.desk.LEASE
CONFLICTS = 6
COUNTED = timedelta(days=30)  # after its span, for whoever asks how much of a limit was used
Paused = Callable[[str, str], bool]  # by tenant and rule


def wake(store: Store, rulesets: RuleSets, now: datetime, limit: int = 256) -> int:
    """Move every due run that the store hands out; how many were moved. A run of a paused rule sleeps on."""
    paused = cache(lambda tenant, rule_id: is_paused(store, tenant, rule_id))  # a pause holds from the next look on
    with store.batch():  # with the claim in it: a lease that ends in the same commit needs no fsync of its own
        claimed = store.claim("run", now, LEASE, limit)
        return sum(_one(store, rulesets, document, paused, now) for document in claimed)


def _one(store: Store, rulesets: RuleSets, document: Document, paused: Paused, now: datetime) -> int:
    try:
        return _woken(store, rulesets, document, paused, now)
    except Conflict:
        return 0  # an event or a person moved it meanwhile
    except Unavailable:
        raise
    except Exception as surprise:  # one that cannot be read must not stop the others; its lease brings it back
        logs.failed("run.unreadable", surprise, run=document.id)
        return 0


def _woken(store: Store, rulesets: RuleSets, document: Document, paused: Paused, now: datetime) -> int:
    run = Run.from_body(document.body)
    if run.state not in OPEN:
        store.commit(document.tenant, None, [write_run(replace(run, due_at=None), document)])
        return 1
    if workflow.is_undoing(run):
        return _hurry(store, document, run, now)
    if paused(document.tenant, run.rule_id):
        return 0
    rule = rulesets.rule(store, document.tenant, run.rule_id, run.version)
    if run.state == "pending":
        return admit(store, document, rule, now)
    advance = knowing.woken(store, run, rule, now)
    store.commit(document.tenant, None, advanced(store, document, advance))
    logs.line("run.woke", tenant=run.tenant, correlationid=run.correlation, run=run.id, state=advance.run.state)
    return 1


def _hurry(store: Store, document: Document, run: Run, now: datetime) -> int:
    """An undo waits for what is in flight. What is due far ahead (a retry, business hours) is looked at now instead,
    and then refused; what a worker may have in hand is left to it, its lease is short."""
    writes: list[Write] = [write_run(replace(run, due_at=None), document)]
    for id in workflow.in_flight(run):
        command = store.get(document.tenant, "command", id)
        if command and (command.body["due_at"] or "") > iso(now + IN_HAND):
            writes.append(Put("command", id, {**command.body, "due_at": iso(now)}, command.version))
    store.commit(document.tenant, None, writes)
    return 1


def admit(
    store: Store, document: Document, rule: Rule, now: datetime, asked: bool = True, more: tuple[Write, ...] = ()
) -> int:
    """Let a pending run go, or park it when that would pass a limit. asked: whether limits are asked at all; a
    person's release is not held back, but counts. more: further writes of the same commit. Raises Conflict when the
    run has changed."""
    for _ in range(CONFLICTS):
        used = store.get(document.tenant, "limit", _limit_id(rule, now)) if rule.limits else None
        try:
            store.commit(document.tenant, None, [*_admission(store, document, rule, used, now, asked), *more])
            return 1
        except Conflict:
            current = store.get(document.tenant, "run", document.id)
            if current is None or current.version != document.version:
                raise
    raise Conflict(f"the count of {rule.id} changed {CONFLICTS} times in a row")


def _admission(
    store: Store, document: Document, rule: Rule, used: Document | None, now: datetime, asked: bool
) -> list[Write]:
    run = Run.from_body(document.body)
    if rule.limits is None:
        return [*advanced(store, document, workflow.admit(run, rule, now))]
    spent = used.body if used else {}
    why = refusal(rule.limits, spent, run.money) if asked else ""
    if why:
        return [write_run(_parked(run, why, now), document)]
    over = now + timedelta(seconds=rule.limits.per) + COUNTED
    known = {"rule_id": rule.id, "span": window_of(rule.limits, now), "expires_at": iso(over)}
    body = {**counted(spent, run.money), **known}
    count = Put("limit", _limit_id(rule, now), body, used.version if used else ABSENT)
    return [count, *advanced(store, document, workflow.admit(run, rule, now))]


def _limit_id(rule: Rule, now: datetime) -> str:
    assert rule.limits is not None
    return f"{rule.id}|{window_of(rule.limits, now)}"


def _parked(run: Run, why: str, now: datetime) -> Run:
    parked = replace(run, state="parked", due_at=None, reason=f"Parked: {why}", updated_at=iso(now))
    logs.line("run.parked", tenant=run.tenant, correlationid=run.correlation, run=run.id, rule=run.rule_id, why=why)
    return told(parked, now, f"Parked before its first step: {why}.")
