"""Writes of commands and runs: a command that is asked for again keeps its tries, and carries the version it had."""

from __future__ import annotations

from collections.abc import Sequence

from rules.ports import ABSENT, Document, Put, Store
from rules.run import Command, Run
from rules.steps import Advance
from rules.undoing import PREFIX as UNDO


def write_run(run: Run, read: Document) -> Put:
    return Put("run", run.id, run.body(), read.version)


def write_command(command: Command, read: Document) -> Put:
    return Put("command", command.id, command.body(), read.version)


def issued(store: Store, read: Document, commands: Sequence[Command]) -> list[Put]:
    """The writes of new commands. One that exists (an operator's retry) keeps its tries and the time it was made.
    read: the run as it was, which says of a step whether it has had a command; a step's first needs no reading."""
    writes = []
    for command in commands:
        known = store.get(read.tenant, "command", command.id) if _may_exist(read, command.step) else None
        body = command.body()
        if known:
            body |= {"attempts": known.body["attempts"], "created_at": known.body["created_at"]}
        writes.append(Put("command", command.id, body, known.version if known else ABSENT))
    return writes


def _may_exist(run: Document, step: str) -> bool:
    return step.startswith(UNDO) or step in run.body["steps"]


def advanced(store: Store, read: Document, advance: Advance) -> list[Put]:
    """The writes of an advance over the run as it was read."""
    return [write_run(advance.run, read), *issued(store, read, advance.commands)]
