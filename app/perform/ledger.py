"""What came of a try, as the writes of one commit: the command with its try, its run moved on, and what follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any

from app.perform.inverses import inverse_of
from app.perform.lanes import Line
from app.perform.outbox import issued, write_command, write_run
from app.perform.tries import cancelled, given_up, moment_of, outcome_body, tries_of, trimmed
from rules import workflow
from rules.backoff import delay
from rules.event import iso
from rules.model import Rule
from rules.ports import ActionExecutor, Document, Outcome, Span, Standing, Store, Write
from rules.run import Command, CommandState, Run
from rules.run import replace as changed
from rules.steps import told
from rules.undoing import PREFIX as UNDO

_FINAL: Mapping[str, CommandState] = {"done": "done", "branch": "done", "person": "person", "dead": "dead"}
_SPAN = tuple(field.name for field in fields(Span))
NOTHING_SEEN = Standing()
Connectors = Mapping[str, ActionExecutor]


@dataclass(frozen=True, slots=True)
class Ready:
    """A command that may be done now, with everything that was read for it. run and rule: None for a message of
    Signalbox itself, which belongs to no run."""

    document: Document
    command: Command
    run: Document | None
    rule: Rule | None
    connection: Document | None
    task: Mapping[str, Any]
    span: Span  # begun; `attempt` ends it

    @property
    def line(self) -> Line:
        """Whose turn it takes: one slow receiver must not delay the others."""
        return self.document.tenant, self.command.connection


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of it. held: nothing was sent, because a setting is missing. seen: what was read again before."""

    ready: Ready
    outcome: Outcome
    span: Span
    held: bool = False
    seen: Standing = NOTHING_SEEN


@dataclass(frozen=True, slots=True)
class Ledger:
    """now: when it is written down."""

    store: Store
    connectors: Connectors
    now: datetime

    def writes(self, attempt: Attempt, document: Document, run_document: Document | None) -> list[Write]:
        command = Command.from_body(document.body)
        outcome = given_up(attempt.outcome, command)
        record = self._record(attempt, outcome)
        if record in command.attempts:  # written before a fault made us try again
            return []
        tried = changed(command, attempts=trimmed((*command.attempts, record)))
        if command.state in ("done", "dead", "person"):  # somebody else settled it: keep what we did beside theirs
            return [write_command(tried, document)]
        if outcome.kind == "retry":
            return [write_command(self._again(tried, outcome), document)]
        if command.state == "cancelled" and outcome.kind != "done":
            return [write_command(tried, document)]
        kept = outcome_body(outcome, self.now, tries_of(command))
        settled = changed(tried, state=_FINAL[outcome.kind], due_at=None, outcome=kept)
        if run_document is None or attempt.ready.rule is None:
            return [write_command(settled, document)]
        run = Run.from_body(run_document.body)
        if attempt.seen.stop:
            gone = write_command(cancelled(tried, attempt.seen.stop), document)
            advance = workflow.overtaken(run, command.step, attempt.seen.stop, self.now, self.lost(command))
            return [gone, write_run(advance.run, run_document), *issued(self.store, run_document, advance.commands)]
        if attempt.seen.says:
            run = told(run, self.now, f"{command.step}: read again just before: {attempt.seen.says}.")
        inverse = self._inverse(settled.body()) if outcome.kind == "done" else None
        advance = workflow.settled(run, attempt.ready.rule, command.step, outcome, self.now, inverse)
        return [
            write_command(settled, document),
            write_run(advance.run, run_document),
            *issued(self.store, run_document, advance.commands),
        ]

    def _inverse(self, command: Mapping[str, Any]) -> dict[str, Any] | None:
        """What would take this command back, kept with its step (rules.run)."""
        action = self.connectors.get(command["action"])
        return None if action is None or command["step"].startswith(UNDO) else inverse_of(action, command)

    def lost(self, command: Command) -> dict[str, Any] | None:
        """What takes back a try whose answer was lost, if there was one."""
        return self._inverse(command.body()) if command.attempts or command.outcome.get("data") else None

    def _again(self, command: Command, outcome: Outcome) -> Command:
        if command.state == "cancelled":
            return command
        tries = tries_of(command) + (0 if outcome.data.get("postponed") else 1)
        generation = command.generation + (1 if outcome.data.get("new_key") else 0)
        wait = (
            outcome.after or timedelta(0) if outcome.data.get("postponed") else delay(command.id, tries, outcome.after)
        )
        data = {**command.outcome.get("data", {}), **outcome.data}
        data.pop("new_key", None)
        kept = {**outcome_body(outcome, self.now, tries), "data": data}
        if command.outcome.get("replayed"):
            kept["replayed"] = True
        return changed(command, due_at=iso(self.now + wait), generation=generation, outcome=kept)

    def _record(self, attempt: Attempt, outcome: Outcome) -> dict[str, Any]:
        span = attempt.span
        return {
            "at": iso(moment_of(span.start)),
            "ended_at": iso(moment_of(span.end)),
            "outcome": outcome.kind,
            "message": outcome.message,
            "request": dict(outcome.request),
            "response": dict(outcome.response),
            "generation": attempt.ready.command.generation,
            "span": {name: getattr(span, name) for name in _SPAN},
        }


def bare(attempt: Attempt) -> Attempt:
    """Without what was sent and answered, where that is more than a document may hold."""
    outcome = attempt.outcome
    message = f"{outcome.message[:300]} (What came with it was too large to be kept.)"
    return replace(attempt, outcome=replace(outcome, message=message, data={}, request={}, response={}))
