"""What one event does to runs that are open, and the working copies of what was read: documents, runs and commands.

rules.deciding goes on with the rules. Nothing here waits or writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rules import memory as remember
from rules import trace
from rules.decision import Match
from rules.event import Event
from rules.memory import Memory
from rules.money import currency_of
from rules.ports import ABSENT
from rules.ruleset import RuleSet, document_of
from rules.run import OPEN, Command, Run
from rules.words import happening
from rules.workflow import begin_undo, heard, stopped

JSON = Mapping[str, Any]


class Hearing:
    """One decision in the making: working copies of the memory documents, the runs, and the trace so far."""

    def __init__(self, event: Event, ruleset: RuleSet, memory: Memory, now: datetime, telling: bool = True) -> None:
        self.telling = telling
        self.event = event
        self.ruleset = ruleset
        self.memory = memory
        self.now = now
        self.currency = currency_of(event)
        self.truths: dict[int, bool] = {}  # of parts of conditions, about the event
        self.subjects: dict[str | None, str | None] = {}  # by `same`; many rules ask for the same few
        known = memory.candidates
        self.candidates = ruleset.program.candidates(event.type, event.data) if known is None else known
        self.bodies: dict[str, JSON] = {id: read.body for id, read in memory.documents.items()}
        self.touched: dict[str, None] = {}
        self.runs: dict[str, tuple[Run, str]] = {}
        self.commands: list[Command] = []
        self.entries: list[trace.Entry] = []
        self.heard: list[JSON] = []
        self.matches: list[Match] = []
        self.begun = 0  # runs started or queued by this event
        for home in ruleset.stop_homes.get(event.type, ()):
            if document := document_of(event, home):
                self.touched[document] = None

    # ---- open runs --------------------------------------------------------------------------------------------------
    def hear(self) -> None:
        """Stop the open runs that this event stops, undo those that it undoes, and tell the others what they wait
        for."""
        for what in ("stops", "undo", "waits"):
            for id in {id: None for body in self.bodies.values() for id in self.listening(body, what)}:
                run = self.run(id)
                if what == "undo":
                    self.undo(id, run)
                elif run is None or run.state not in OPEN:
                    self.close(id)
                elif what == "stops":
                    self.stop(run)
                else:
                    self.tell(run)

    def listening(self, body: JSON, what: str) -> list[str]:
        return remember.listening(body, self.event.type, self.event.keys, what)

    def stop(self, run: Run) -> None:
        if self.event.created < run.triggered or self.event.id in run.events:
            return
        self.save(stopped(run, self.event.type, self.now, self.event.id).run)
        self.close(run.id)
        self.note(run, "stopped", f"It stops the run of {run.rule_name!r} that {happening(self.event.type)}.")

    def undo(self, id: str, run: Run | None) -> None:
        """Take back what the run did, when the event came within its span; once."""
        if run is None or run.undo:
            self.not_undoable(id)
            return
        until = next(body["undo"][id]["until"] for body in self.bodies.values() if id in body.get("undo", {}))
        if not run.triggered <= self.event.created <= until or self.event.id in run.events:
            return
        advance = begin_undo(run, self.event.type, self.now, self.event.id)
        self.save(advance.run)
        self.commands.extend(advance.commands)
        self.close(id)
        self.not_undoable(id)
        self.note(run, "undone", f"It undoes the run of {run.rule_name!r} that {happening(self.event.type)}.")

    def tell(self, run: Run) -> None:
        advance = heard(run, self.memory.rule(run.rule_id, run.version), self.event, self.now)
        if advance.run is not run:
            self.save(advance.run)
            self.commands.extend(advance.commands)
            self.note(run, "heard", f"The run of {run.rule_name!r} waits for this: {happening(self.event.type)}.")
        if advance.run.state not in OPEN:
            self.close(run.id)

    def note(self, run: Run, what: str, sentence: str) -> None:
        self.heard.append({"run": run.id, "rule": run.rule_id, "what": what, "sentence": sentence})

    # ---- state ------------------------------------------------------------------------------------------------------
    def run(self, id: str) -> Run | None:
        """The run as it stands in this decision."""
        if id in self.runs:
            return self.runs[id][0]
        found = self.memory.run(id)
        return found[0] if found else None

    def save(self, run: Run, expect: str | None = None) -> None:
        known = self.runs.get(run.id) or self.memory.runs.get(run.id)
        self.runs[run.id] = (run, expect or (known[1] if known else ABSENT))

    def close(self, id: str) -> None:
        for document, body in self.bodies.items():
            if id in body.get("open", {}):
                self.bodies[document] = remember.closed(body, [id])

    def not_undoable(self, id: str) -> None:
        for document, body in self.bodies.items():
            if id in body.get("undo", {}):
                self.bodies[document] = remember.undo_heard(body, id)
