"""Virtual time: what runs do between the events of a backtest, by the same workflow that moves live ones.

Actions succeed at once and reach nobody, approvals are given at once, and nobody releases a parked run. Limits, caps
and business hours hold as they would have. What is due in a second waits for its events: a stop wins it.
"""

from __future__ import annotations

import heapq
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from rules import caps, limits, workflow
from rules.event import instant, iso
from rules.model import Approve, Rule, Stop
from rules.ports import Outcome
from rules.run import OPEN, Command, Run, replace
from rules.steps import Advance, current_step, put_off, recorded, told
from rules.workflow import run_key

Rules = Mapping[tuple[str, int], Rule]
APPROVER = "backtest"
STOPS_RUNS = "runs.stop"


class Virtual:
    """The open runs of a backtest and their actions. changed: told of every run that moved. woken: what happens to a
    run whose time has come, where its conditions ask for more than it carries (rules.knowing)."""

    def __init__(
        self,
        rules: Rules,
        changed: Callable[[Run], object],
        woken: Callable[[Run, Rule, datetime], Advance] = workflow.woke,
    ) -> None:
        self.runs: dict[str, Run] = {}
        self._rules = rules
        self._changed = changed
        self._woken = woken
        self._commands: dict[str, Command] = {}
        self._due: list[tuple[float, int, str, str]] = []  # when, in which order, what, its `due_at`
        self._order = 0
        self._spent: dict[str, dict[str, object]] = {}
        self._used: dict[str, list[caps.JSON]] = {}
        self._longest = caps.spans(rules.values())

    @property
    def next(self) -> float:
        """When something is due next."""
        return self._due[0][0] if self._due else float("inf")

    def took(self, advance: Advance, now: datetime) -> None:
        """A run began or moved."""
        run = advance.run
        if run.state in OPEN:
            self.runs[run.id] = run
        else:
            self.runs.pop(run.id, None)
            run = _without_due(run, now)
        self._changed(run)
        for command in advance.commands:
            self._commands[command.id] = command
            self._push(command.id, command.due_at)
        if run.state not in OPEN:
            return
        if run.state == "needs_person" and isinstance(current_step(run, self._rule(run)), Approve):
            self.took(workflow.operate(run, self._rule(run), "approve", APPROVER, "", now), now)
        elif run.due_at:
            self._push(run.id, run.due_at)

    def until(self, before: float, most: int = sys.maxsize) -> bool:
        """Do what is due before this second, so many things at most; whether that was all."""
        while self._due and self._due[0][0] < before:
            if not most:
                return False
            most -= 1
            _, _, id, due = heapq.heappop(self._due)
            now = instant(due)
            if id in self._commands:
                self._perform(id, due, now)
            elif (run := self.runs.get(id)) is not None and run.due_at == due:
                self._wake(run, now)
        return True

    def _push(self, id: str, due: str | None) -> None:
        if due is not None:
            self._order += 1
            heapq.heappush(self._due, (instant(due).timestamp(), self._order, id, due))

    def _rule(self, run: Run) -> Rule:
        return self._rules[run.rule_id, run.version]

    # ---- runs -------------------------------------------------------------------------------------------------------
    def _wake(self, run: Run, now: datetime) -> None:
        rule = self._rule(run)
        self.took(self._admitted(run, rule, now) if run.state == "pending" else self._woken(run, rule, now), now)

    def _admitted(self, run: Run, rule: Rule, now: datetime) -> Advance:
        """The run goes ahead, or is parked where that would pass a limit of its rule; see app.perform.waking."""
        if rule.limits is None:
            return workflow.admit(run, rule, now)
        place = f"{rule.id}|{limits.window_of(rule.limits, now)}"
        why = limits.refusal(rule.limits, self._spent.get(place, {}), run.money)
        if why:
            parked = replace(run, state="parked", due_at=None, reason=f"Parked: {why}", updated_at=iso(now))
            return Advance(told(parked, now, f"Parked before its first step: {why}."))
        self._spent[place] = limits.counted(self._spent.get(place, {}), run.money)
        return workflow.admit(run, rule, now)

    # ---- actions ----------------------------------------------------------------------------------------------------
    def _perform(self, id: str, due: str, now: datetime) -> None:
        command = self._commands[id]
        if command.due_at != due:
            return
        run = self.runs.get(command.run_id)
        if run is None:
            del self._commands[id]
            return
        rule = self._rule(run)
        full = self._no_room(rule, command, now)
        if full and not caps.too_old(full, command.created_at, now):
            waiting, later = put_off(run, command, full.waits, full.at, now)
            self.took(Advance(waiting, (later,)), now)
            return
        del self._commands[id]
        if full:
            self.took(workflow.left_out(run, rule, command.step, full.why, now), now)
            return
        if command.action == STOPS_RUNS:
            self._stop_others(command, rule, now)
        done = Outcome.done(f"Would have done {command.action}", data={"params": command.params})
        self.took(workflow.settled(run, rule, command.step, done, now), now)

    def _no_room(self, rule: Rule, command: Command, now: datetime) -> caps.Room | None:
        """The cap that holds the action back; where none does, its place in the customer's count is taken."""
        tags = caps.tags_of(rule, command.action)
        if command.customer is None or not tags & self._longest.keys():
            return None
        used = self._used.get(command.customer, [])
        full = caps.room(rule, command.action, command.id, used, now)
        if full is None:
            self._used[command.customer] = caps.counted(used, command.id, tags, self._longest, now)
        return full

    def _stop_others(self, command: Command, rule: Rule, now: datetime) -> None:
        """End the open runs of rules with the tag that are about the same subject."""
        same = Stop((), str(command.params.get("same") or "customer"))
        key = run_key(same, command.subjects)
        for run in self._tagged(str(command.params.get("tag"))):
            if key and run.id != command.run_id and run_key(same, run.subjects) == key:
                self.took(workflow.stopped(run, f"{rule.name} ended it", now), now)

    def _tagged(self, tag: str) -> Iterable[Run]:
        return [run for run in self.runs.values() if tag in self._rule(run).tags]


def _without_due(run: Run, now: datetime) -> Run:
    """A run that has ended: what was still to be done is not done."""
    for name, record in run.steps.items():
        if record.get("state") == "due":
            run = recorded(run, name, now, state="skipped", message="Not done: the run had ended")
    return run
