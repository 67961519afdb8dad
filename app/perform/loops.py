"""The loop breaker, the last line: a rule whose own actions start it again and again for one subject is stopped.

`ignore_own` keeps a rule from firing at what it caused; where that was switched off, or Stripe's event did not bring
our key back, the chain is seen here, just before the next effect: more runs for the subject within an hour than a
person would start, and the trigger of this one caused by an action of ours. The run is parked and its rule paused, so
there is one thing to decide, and nothing more goes out.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from app import author, logs
from app.browse.causation import cause_of
from app.perform.outbox import write_command, write_run
from rules.event import iso
from rules.model import Rule
from rules.ports import Conflict, Document, Store, Where
from rules.run import Command, Run
from rules.steps import told

MOST = 10  # runs of one rule for one subject within the span
SPAN = timedelta(hours=1)
ACTOR = "signalbox"


class Loop(Exception):
    """The rule goes round in a circle; the message says how."""

    def __init__(self, run: Document, why: str) -> None:
        super().__init__(why)
        self.run = run


def check(store: Store, run: Document, rule: Rule, now: datetime) -> None:
    """Raises Loop. Asked at a run's first step; rules that may not start again within the hour are not asked about."""
    body, tenant = run.body, run.tenant
    if rule.again.after is None or rule.again.after >= SPAN.total_seconds() or len(body["steps"]) > 1:
        return
    if any(said["text"].startswith("Released by") for said in body["story"]):
        return  # a person has decided
    where: list[Where] = [("key", "==", body["key"]), ("created_at", ">=", iso(now - SPAN))]
    if store.count(tenant, "run", where, MOST + 1) <= MOST:
        return  # of all rules together: the usual case, and no run is read
    same = store.find(tenant, "run", where, "created_at", limit=200)
    count = sum(1 for one in same.items if one.body["rule_id"] == body["rule_id"])
    if count <= MOST:
        return
    trigger = store.get(tenant, "event", body["trigger"])
    cause = cause_of(store, tenant, trigger.body) if trigger else None
    if cause:
        how = "caused" if cause["sure"] else "probably caused"
        raise Loop(run, f"a loop: {count} runs for {body['key']} within an hour, this one {how} by {cause['command']}")


def park(store: Store, document: Document, command: Command, loop: Loop, now: datetime) -> None:
    """The run waits for a person, its action is not done, and the rule starts nothing more."""
    run, why = Run.from_body(loop.run.body), str(loop)
    parked = replace(run, state="parked", due_at=None, reason=f"Parked: {why}", updated_at=iso(now))
    parked = told(parked, now, f"Parked: {why}. The rule is paused.")
    gone = replace(command, state="cancelled", due_at=None, outcome={"kind": "cancelled", "message": why})
    with suppress(Conflict, LookupError):  # somebody is at it, or it is paused already
        store.commit(document.tenant, None, [write_command(gone, document), write_run(parked, loop.run)])
        author.pause(store, document.tenant, run.rule_id, ACTOR, f"Parked: {why}", now)
    logs.line("rule.looped", logging.WARNING, tenant=document.tenant, rule=run.rule_id, run=run.id, why=why)
