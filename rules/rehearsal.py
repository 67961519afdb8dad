"""Rehearse a rule: play given events through the real decision and workflow, on virtual time. Nothing is sent.

Actions answer at once what they are told to, `done` for the rest; approvals are given; business hours hold. The
holdout, which is drawn by hash, is left out: made-up subjects must not fall into it by chance.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from rules import knowing
from rules.decide import Decision, decide, documents, reads
from rules.event import Event, instant, iso, seconds
from rules.matcher import PythonMatcher
from rules.memory import DocumentOf, Members, Memory, NotRead, Question, Read, RuleOf, RunOf, Window
from rules.model import Approve, Rule, RuleVersion
from rules.ports import ABSENT, Outcome, Put
from rules.ruleset import build, keyed
from rules.run import OPEN, Command, Run
from rules.steps import Advance, current_step
from rules.workflow import ABSENCE, admit, may_do, operate, refused, settled

TENANT = "example/test"
_NOTHING = Read({}, ABSENT)


class Rehearsal:
    """What came of the events so far. played: the events, by time, each with its decision. runs: by id."""

    def __init__(
        self,
        rule: Rule,
        lists: Mapping[str, Iterable[str]] | None = None,
        answers: Mapping[str, str] | None = None,
    ) -> None:
        self.version = RuleVersion(TENANT, replace(rule, holdout=0.0), 1, "live", "")
        self.played: list[tuple[Event, Decision]] = []
        self.runs: dict[str, Run] = {}
        self._answers = answers or {}
        self.lists = {name: frozenset(members) for name, members in (lists or {}).items()}
        self._ruleset = build(TENANT, [self.version], PythonMatcher())
        self._memory: dict[str, Read] = {}
        self._commands: dict[str, Command] = {}
        self._due: list[tuple[str, str]] = []  # when, which run or command

    def play(self, events: Iterable[Event], until: int) -> None:
        """Take the events up to this second, and do what is due by then."""
        for event in sorted(events, key=lambda one: (one.created, one.id)):
            if event.created > until:
                break
            # a stop wins its second, so what is due in it waits for the event
            self._pass(event.created)
            heard = replace(event, tenant=TENANT, source="webhook", recorded=seconds(event.created))
            self._take(keyed(heard, self._ruleset))
        self._pass(until + 1)

    @property
    def began(self) -> list[Run]:
        """The runs that came to a first step: an absence is decided at its deadline."""
        return [run for run in self.runs.values() if run.position != ABSENCE]

    # ---- time -------------------------------------------------------------------------------------------------------
    def _pass(self, before: int) -> None:
        """Do what is due before this second."""
        while self._due and self._due[0][0] < iso(seconds(before)):
            due, id = heapq.heappop(self._due)
            now, command, run = instant(due), self._commands.get(id), self.runs.get(id)
            if command and command.due_at == due:
                del self._commands[id]
                self._perform(command, now)
            elif run and run.due_at == due and run.state in OPEN:
                self._took(self._woken(run, now), now)

    def _woken(self, run: Run, now: datetime) -> Advance:
        rule = self.version.rule
        if run.state == "pending":
            return admit(run, rule, now)
        return knowing.settled(lambda memory: knowing.woken(run, rule, memory, now), self._answer)

    def _perform(self, command: Command, now: datetime) -> None:
        run, rule = self.runs[command.run_id], self.version.rule
        if why := may_do(run, command.step):
            self._took(refused(run, command.step, why, now), now)
            return
        kind = self._answers.get(command.step, "done")
        outcome = Outcome(kind, f"{command.action}: {kind}", data={"params": command.params})  # type: ignore[arg-type]
        back = {"action": command.action, "params": command.params, "says": f"{command.step} is taken back"}
        self._took(settled(run, rule, command.step, outcome, now, back if kind == "done" else None), now)

    def _took(self, advance: Advance, now: datetime) -> None:
        """A run began or moved."""
        run = advance.run
        self.runs[run.id] = run
        for command in advance.commands:
            self._commands[command.id] = command
            heapq.heappush(self._due, (str(command.due_at), command.id))
        if run.state == "needs_person" and isinstance(current_step(run, self.version.rule), Approve):
            self._took(operate(run, self.version.rule, "approve", "example", "", now), now)
        elif run.state in OPEN and run.due_at:
            heapq.heappush(self._due, (run.due_at, run.id))

    # ---- deciding ---------------------------------------------------------------------------------------------------
    def _take(self, event: Event) -> None:
        if any(event.id == known.id for known, _ in self.played):
            return  # a duplicate
        now = seconds(event.created)
        decision = self._decide(event, now)
        self.played.append((event, decision))
        commands: dict[str, list[Command]] = {}
        for write in decision.writes:
            if isinstance(write, Put) and write.kind == "memory":
                self._memory[write.id] = Read(write.body, "1")
            elif isinstance(write, Put) and write.kind == "command":
                command = Command.from_body(write.body)
                commands.setdefault(command.run_id, []).append(command)
        for run in decision.runs:
            self._took(Advance(run, tuple(commands.get(run.id, ()))), now)

    def _decide(self, event: Event, now: datetime) -> Decision:
        known = {id: self._memory.get(id, _NOTHING) for id in documents(event, self._ruleset)}
        plan = reads(event, self._ruleset, known)
        memory = Memory(documents=known, candidates=plan.candidates)
        questions: Sequence[Question] = plan.questions
        while True:
            if questions:
                memory = memory.answered({question: self._answer(question) for question in questions})
            try:
                return decide(event, self._ruleset, memory, now)
            except NotRead as missing:
                questions = missing.questions

    def _answer(self, question: Question) -> Any:
        match question:
            case Window():
                return self._window(question)
            case RunOf(id):
                return (self.runs[id], "1") if id in self.runs else None
            case Members(name):
                return self.lists.get(name, frozenset())
            case RuleOf():
                return self.version.rule
            case DocumentOf(id):
                return self._memory.get(id, _NOTHING)
        return None

    def _window(self, wanted: Window) -> list[Event]:
        known = (event for event, _ in self.played if wanted.key in event.keys and event.type in wanted.types)
        return [event for event in known if wanted.since <= event.created <= wanted.until]
