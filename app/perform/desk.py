"""One command's way: may it be done, do it, write down what came of it. Threads and their number are crew's.

`prepare` and `settle` read and write the store; `attempt` only speaks to the outside and may run in any thread.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from app import logs
from app.connections import live_actions
from app.perform import breaker, dry_run, holds, loops, turns
from app.perform.capped import take_place
from app.perform.glance import Reads
from app.perform.just_before import Memo, look_again
from app.perform.lanes import Lane, Lanes, Line, settings_of
from app.perform.ledger import NOTHING_SEEN, Attempt, Connectors, Ledger, Ready, bare
from app.perform.outbox import issued, write_command, write_run
from app.perform.tries import cancelled, nanoseconds, task_of, tries_of
from app.rulesets import RuleSets
from rules import workflow
from rules.caps import too_old
from rules.event import iso, span_id, trace_id
from rules.hours import opening, waits_for
from rules.model import Rule
from rules.ports import (
    Conflict,
    Document,
    Guard,
    Outcome,
    Put,
    Span,
    Store,
    TooLarge,
    Tracer,
    Unavailable,
    Unconfigured,
    Write,
)
from rules.run import Command, Run
from rules.steps import put_off
from rules.undoing import PREFIX as UNDO

LEASE = timedelta(
    seconds=120
)  # longer than a connector takes at most (three calls to Stripe) and the wait for a thread
ENOUGH = timedelta(seconds=60)  # what must be left of the lease to begin
HELD = timedelta(seconds=60)  # how often a held command is looked at again; operators' verbs release it at once
CONFLICTS = 6  # re-reads when what was read has changed
ALERTS = "alert_"  # how the ids of app.operate.alerts' messages begin


@dataclass(frozen=True, slots=True)
class Desk:
    """now: of this look. elapsed: a stopwatch for spans; it decides nothing. lanes: how each connection does."""

    store: Store
    rulesets: RuleSets
    connectors: Connectors
    tracer: Tracer
    now: datetime
    elapsed: Callable[[], float] = time.perf_counter
    lanes: Lanes = field(default_factory=Lanes)
    guard: Guard | None = None

    @property
    def _ledger(self) -> Ledger:
        return Ledger(self.store, self.connectors, self.now)

    def claim(self, limit: int) -> list[Document]:
        return self.store.claim("command", self.now, LEASE, limit)

    def lane(self, line: Line) -> Lane:
        """The connection's lane, by its settings as they are."""

        def read() -> Mapping[str, Any] | None:
            found = self.store.get(line[0], "connection", line[1])
            return found.body if found else None

        return self.lanes.refreshed(line, self.now, read, self.store.share())

    # ---- may it be done ---------------------------------------------------------------------------------------------
    def prepare(self, document: Document, glance: Reads | None = None) -> Ready | None:
        """The command ready to be done, with the run and the switches read again just now; None when it was put off,
        refused or left to somebody else. glance: what reads the switches, where several are prepared at once."""
        if document.body["due_at"] < iso(self.now + ENOUGH):
            return None
        try:
            return self._checked(document, Command.from_body(document.body), glance or self.store)
        except Unavailable:
            raise
        except Exception as surprise:  # one that cannot be read must not stop the others; its lease brings it back
            logs.failed("command.unreadable", surprise, command=document.id)
            return None

    def _checked(self, document: Document, command: Command, glance: Reads) -> Ready | None:
        try:
            return self._ready(document, command, glance)
        except _Refused as refused:
            self._cancel(document, command, str(refused))
        except holds.Held as held:
            self._hold(document, command, str(held), held.until)
        except _Later as later:
            self._put_off(document, command, later)
        except _Full as full:
            self._leave_out(document, command, full)
        except loops.Loop as loop:
            loops.park(self.store, document, command, loop, self.now)
        except Conflict:
            logs.line("command.overtaken", logging.DEBUG, about=[command.customer])  # its lease brings it back
        return None

    def _ready(self, document: Document, command: Command, glance: Reads) -> Ready:
        tenant, run, rule = document.tenant, None, None
        if command.run_id:
            run = self.store.get(tenant, "run", command.run_id)
            if run is None:
                raise _Refused("its run is gone")
            _check_run(Run.from_body(run.body), command)
        if self.rulesets.is_dry(self.store, self.now):
            raise holds.Held(dry_run.WHY)
        connection = holds.check(glance, tenant, command.rule_id, command.connection)
        if not command.id.startswith(ALERTS):  # Signalbox's own word about what waits reaches no customer
            live_actions.check(connection)
        if command.action not in self.connectors:
            raise holds.Held(f"this installation has no action {command.action}")
        self._check_connection(connection, command)
        if run is not None:
            rule = self.rulesets.rule(self.store, tenant, command.rule_id, command.version)
            if not command.step.startswith(UNDO):  # taking back waits for no office hours, and reaches nobody
                self._check_rule(run, rule, command)
        connection = breaker.probed(self.store, connection, command.id, self.now)
        span = self._begun(tenant, command)
        return Ready(document, command, run, rule, connection, task_of(command, run, rule, connection, span), span)

    def _check_connection(self, connection: Document | None, command: Command) -> None:
        """Whether it rests after failures, and whether it is this action's turn where it keeps order."""
        body = connection.body if connection else None
        rests = breaker.rests_until(body, command.id, self.now)
        if rests is not None:
            raise holds.Held(f"connection {command.connection} rests, because it failed again and again", rests)
        if settings_of(body).in_order and (why := turns.waits_for(self.store, command)):
            raise holds.Held(why)

    def _check_rule(self, run: Document, rule: Rule, command: Command) -> None:
        loops.check(self.store, run, rule, self.now)
        if rule.hours and (opens := opening(rule, command.action, self.now)) > self.now:
            raise _Later(run, waits_for(rule.hours, opens), opens)
        self._check_caps(run, rule, command)

    def _cancel(self, document: Document, command: Command, why: str) -> None:
        """The command will not be done; its run says so at its step, and goes on with its undo."""
        writes: list[Write] = [write_command(cancelled(command, why), document)]
        found = self.store.get(document.tenant, "run", command.run_id) if command.run_id else None
        if found:
            run = Run.from_body(found.body)
            advance = workflow.refused(run, command.step, why, self.now, self._ledger.lost(command))
            if advance.run is not run:
                writes.append(write_run(advance.run, found))
                writes += issued(self.store, found, advance.commands)
        self._commit(document.tenant, writes)
        logs.line(
            "command.cancelled", tenant=command.tenant, correlationid=command.correlation, command=command.id, why=why
        )

    def _hold(self, document: Document, command: Command, why: str, until: datetime | None = None) -> None:
        """Look again later. Written only when there is something new to say: the lease puts it off as well."""
        if command.outcome.get("kind") == "held" and command.outcome.get("message") == why:
            return
        due = iso(until or self.now + HELD)
        outcome = {**command.outcome, "kind": "held", "message": why, "at": iso(self.now)}
        self._commit(document.tenant, [write_command(replace(command, due_at=due, outcome=outcome), document)])

    def _check_caps(self, run: Document, rule: Rule, command: Command) -> None:
        """Take the action's place in its customer's count, or wait for one, or be left out (rules.caps)."""
        ruleset = self.rulesets.current(self.store, command.tenant, self.now)
        full = take_place(self.store, ruleset, rule, command, self.now)
        if full and not command.attempts and too_old(full, command.created_at, self.now):
            raise _Full(run, rule, full.left_out)
        if full:
            raise _Later(run, full.waits, full.at)

    def _put_off(self, document: Document, command: Command, later: _Later) -> None:
        """Outside its hours, or over a cap: due when it may be, and the run says so."""
        told, waiting = put_off(Run.from_body(later.run.body), command, later.why, later.due, self.now)
        self._commit(document.tenant, [write_command(waiting, document), write_run(told, later.run)])

    def _leave_out(self, document: Document, command: Command, full: _Full) -> None:
        """Over a cap for too long: it is not done, and the run goes on behind it."""
        run = Run.from_body(full.run.body)
        advance = workflow.left_out(run, full.rule, command.step, full.why, self.now)
        writes: list[Write] = [write_command(cancelled(command, full.why), document), write_run(advance.run, full.run)]
        self._commit(document.tenant, [*writes, *issued(self.store, full.run, advance.commands)])
        logs.line(
            "command.left_out",
            tenant=command.tenant,
            correlationid=command.correlation,
            command=command.id,
            why=full.why,
        )

    def put_back(self, document: Document, after: timedelta) -> None:
        """Not now: there is no free line to its connection."""
        body = {**document.body, "due_at": iso(self.now + after)}
        self._commit(document.tenant, [Put("command", document.id, body, document.version)])

    def _begun(self, tenant: str, command: Command) -> Span:
        number = len(command.attempts) + 1
        start = nanoseconds(self.now)
        return Span(
            trace_id(tenant, command.correlation),
            span_id(tenant, command.id, str(number)),
            span_id(tenant, command.trigger, "handle") if command.trigger else None,
            command.action,
            start,
            start,
            "client",
            {"tenant": tenant, "command.id": command.id, "run.id": command.run_id, "attempt": number},
        )

    # ---- do it ------------------------------------------------------------------------------------------------------
    def attempt(self, ready: Ready) -> Attempt:
        """Execute. A surprise of the connector is logged and tried again later, like any other failure."""
        started = self.elapsed()
        held, seen = False, NOTHING_SEEN
        try:
            seen = look_again(self.guard, ready.rule, ready.command)
            outcome = self._executed(ready) if not seen.stop else Outcome("branch", f"Not done: {seen.stop}.")
        except Unavailable as silence:
            outcome = Outcome.retry(f"{silence}.")
        except Unconfigured as missing:
            outcome, held = Outcome.retry(str(missing)), True
        except Exception as surprise:
            logs.failed("command.surprise", surprise, command=ready.command.id, action=ready.command.action)
            outcome = Outcome.retry(f"A fault of ours: {type(surprise).__name__}.")
        end = ready.span.start + int((self.elapsed() - started) * 1e9)
        status = outcome.response.get("status")
        facts = {**ready.span.attributes, "outcome": outcome.kind, **({"http.status": status} if status else {})}
        good = outcome.kind in ("done", "branch")
        return Attempt(ready, outcome, replace(ready.span, end=end, ok=good, attributes=facts), held, seen)

    def _executed(self, ready: Ready) -> Outcome:
        action, memo = self.connectors[ready.command.action], Memo(self.store, ready.document)
        memo.begin(action)
        return action.execute({**ready.task, "remember": memo.remember}, self.now)

    # ---- write it down ----------------------------------------------------------------------------------------------
    def settle(self, attempts: Sequence[Attempt]) -> None:
        """Write down what was done, each in one commit with its run and what follows, all durable together."""
        if not attempts:
            return
        with self.store.batch():
            self.write(attempts)
        self.tell(attempts)

    def write(self, attempts: Sequence[Attempt]) -> None:
        """The same inside a batch of the caller's, who tells of it when the batch is durable."""
        for attempt in attempts:
            self._settle(attempt)

    def tell(self, attempts: Sequence[Attempt]) -> None:
        """To the tracer and the log."""
        if attempts:
            self.tracer.export([_sent_span(attempt) for attempt in attempts if not attempt.held])
        for attempt in attempts:
            _report(attempt)

    def _settle(self, attempt: Attempt) -> None:
        ready = attempt.ready
        if attempt.held:
            return self._hold(ready.document, ready.command, attempt.outcome.message)
        document, run = ready.document, ready.run
        for _ in range(CONFLICTS):
            try:
                self.store.commit(document.tenant, None, self._ledger.writes(attempt, document, run))
                return self._tell(attempt)
            except TooLarge:
                attempt = bare(attempt)
            except Conflict:  # a stop, an operator, or another worker after our lease: see what is there now
                document = self.store.get(document.tenant, "command", document.id) or document
                run = run and (self.store.get(document.tenant, "run", run.id) or run)
        logs.line("command.unsettled", logging.ERROR, command=document.id, outcome=attempt.outcome.kind)
        return None

    def _tell(self, attempt: Attempt) -> None:
        """Let the connection know, and the customer's next action where it keeps order."""
        ready, outcome = attempt.ready, attempt.outcome
        lane = self.lanes.lane(ready.line)
        lane.heard(outcome)
        tries = holds.Tries(tries_of(ready.command) + 1, lane.failures)
        if holds.tell(self.store, ready.connection, ready.line, outcome, tries, self.now, ready.command.id):
            self.lanes.recovered.add(ready.line)
        if outcome.kind in ("done", "branch") and lane.settings.in_order:
            turns.let_next(self.store, ready.command, self.now)

    def _commit(self, tenant: str, writes: Sequence[Write]) -> None:
        """A write that somebody else may have been quicker with: then theirs stands."""
        try:
            self.store.commit(tenant, None, writes)
        except Conflict:
            logs.line("command.overtaken", logging.DEBUG, about=[write.id for write in writes])


class _Refused(Exception):
    """The command must not be done any more."""


class _Later(Exception):
    """The command is put off: its business hours are not open, or a cap has no room."""

    def __init__(self, run: Document, why: str, due: datetime) -> None:
        super().__init__(why)
        self.run, self.why, self.due = run, why, due


class _Full(Exception):
    """The command has met a full cap for so long that it is left out."""

    def __init__(self, run: Document, rule: Rule, why: str) -> None:
        super().__init__(why)
        self.run, self.rule, self.why = run, rule, why


def _check_run(run: Run, command: Command) -> None:
    """Stops, operators, undo and later steps are seen here, just before acting."""
    if command.outcome.get("replayed") and run.state not in ("stopped", "cancelled") and not run.undo:
        return  # an operator asked for this effect alone
    if why := workflow.may_do(run, command.step):
        raise _Refused(why)


def _sent_span(attempt: Attempt) -> Span:
    """The span as it is sent away: with the call that was made, which the store keeps beside it."""
    request = {name: attempt.outcome.request[name] for name in ("method", "url") if name in attempt.outcome.request}
    return replace(attempt.span, attributes={**attempt.span.attributes, "request": request})


def _report(attempt: Attempt) -> None:
    command = attempt.ready.command
    logs.line(
        "command.performed" if not attempt.held else "command.held",
        tenant=command.tenant,
        correlationid=command.correlation,
        span=attempt.span.span_id,
        command=command.id,
        action=command.action,
        outcome=attempt.outcome.kind,
        status=attempt.outcome.response.get("status"),
        seconds=round((attempt.span.end - attempt.span.start) / 1e9, 3),
    )
