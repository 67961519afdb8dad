"""A try of a command as its document keeps it: what the connector is given, what came of it, and how it is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from rules.backoff import TRIES
from rules.event import iso
from rules.model import Rule
from rules.ports import Document, Outcome, Span
from rules.run import Command

WHOLE = 6  # attempts kept with request and response: the first and the latest
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NO_RUN = {"id": "", "key": "signalbox", "story": (), "money": {}, "steps": {}, "events": (), "facts": {}}


def task_of(
    command: Command, run: Document | None, rule: Rule | None, connection: Document | None, span: Span
) -> dict[str, Any]:
    """What the connector is given (app.connectors)."""
    about = {"id": "", "name": "Signalbox", "number": 0, "why": ""}
    return {
        **command.body(),
        "idempotency_key": command.idempotency_key,
        "attempt": len(command.attempts) + 1,
        "traceparent": f"00-{span.trace_id}-{span.span_id}-01",
        "connection_document": connection.body if connection else None,
        "run": run.body if run else _NO_RUN,
        "rule": {"id": rule.id, "name": rule.name, "number": command.version, "why": rule.why} if rule else about,
    }


def cancelled(command: Command, why: str) -> Command:
    return replace(command, state="cancelled", due_at=None, outcome={"kind": "cancelled", "message": why})


def given_up(outcome: Outcome, command: Command) -> Outcome:
    """A retry too many is a dead letter: nothing is dropped silently."""
    if outcome.kind != "retry" or outcome.data.get("postponed") or tries_of(command) + 1 < TRIES:
        return outcome
    return replace(outcome, kind="dead", message=f"Gave up after {TRIES} tries. {outcome.message}")


def tries_of(command: Command) -> int:
    return int(command.outcome.get("tries", 0))


def outcome_body(outcome: Outcome, now: datetime, tries: int) -> dict[str, Any]:
    data = dict(outcome.data)
    kept = {"kind": outcome.kind, "message": outcome.message, "data": data, "tries": tries, "at": iso(now)}
    return kept | ({"asked": True} if outcome.after is not None else {})


def trimmed(attempts: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    """Only the first and the latest keep what was sent and answered: forty of them would fill a document."""
    last = len(attempts) - WHOLE + 1
    return tuple(
        attempt if index == 0 or index >= last else {**attempt, "request": {}, "response": {}}
        for index, attempt in enumerate(attempts)
    )


def nanoseconds(instant: datetime) -> int:
    return (instant - _EPOCH) // timedelta(microseconds=1) * 1000


def moment_of(nanoseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=nanoseconds // 1000)
