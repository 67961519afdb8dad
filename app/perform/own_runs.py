"""Actions on our own runs: a rule stops or undoes what other rules do for the same customer or subscription.

A dispute stops every dunning run of its customer; a payment undoes what dunning did. Which runs are meant is said by a
tag of their rules. Each run is moved by a commit of its own: a repeat after a crash goes on where the last try ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.operate import reviews
from app.perform.outbox import advanced
from app.rulesets import RuleSets
from rules import workflow
from rules.event import instant
from rules.model import duration
from rules.ports import ActionExecutor, Body, Conflict, Document, Field, Outcome, Store, Unavailable, Where
from rules.run import OPEN, Run
from rules.steps import Advance
from rules.subjects import PREFIX

WITHIN = "P60D"
CONFLICTS = 6
PAGE = 100
TAG = Field("tag", "Runs tagged", required=True, help="A tag of the other rules, such as dunning.")
SAME = Field("same", "For the same", "choice", choices=("subscription", "customer"), default="subscription")
WHOSE = Field(
    "subject",
    "Whose",
    "template",
    help="An id, or a fact such as {{ fact.charge.customer }} where the event names none. Empty: the event's.",
)


@dataclass(frozen=True, slots=True)
class _Others:
    """The runs of other rules for the subject of this one."""

    store: Store
    rulesets: RuleSets

    def move(
        self, task: Body, wanted: Callable[[Run], bool], move: Callable[[Run], Advance], mine: Callable[[Run], bool]
    ) -> list[str]:
        """Move each run that is wanted; the ids of those that were. mine: whether this very command moved it already,
        in a try whose answer was lost: what came of it is told all the same, because the rule's next step may ask."""
        return [found.id for found in self.found(task) if self.moved(found, wanted, move, mine)]

    def found(self, task: Body) -> Iterator[Document]:
        same, tag = task["params"].get("same") or "subscription", task["params"]["tag"]
        prefix = PREFIX[same]
        subject = task["params"].get("subject") or task["subjects"].get(prefix)
        customer = subject if same == "customer" else task["customer"]
        where: Where = ("customer", "==", customer) if customer else ("key", "==", f"{prefix}:{subject}")
        after = None
        while subject:
            page = self.store.find(task["tenant"], "run", [where], "-created_at", after, PAGE)
            yield from (one for one in page.items if self.is_other(one, task, prefix, subject, tag))
            after = page.next
            if after is None:
                return

    def is_other(self, found: Document, task: Body, prefix: str, subject: str, tag: str) -> bool:
        body = found.body
        if body["mode"] != "live" or found.id == task["run_id"] or body["subjects"].get(prefix) != subject:
            return False
        return tag in self.rulesets.rule(self.store, found.tenant, body["rule_id"], body["version"]).tags

    def moved(
        self,
        found: Document,
        wanted: Callable[[Run], bool],
        move: Callable[[Run], Advance],
        mine: Callable[[Run], bool],
    ) -> bool:
        for _ in range(CONFLICTS):
            run = Run.from_body(found.body)
            if not wanted(run):
                return mine(run)
            try:
                self.store.commit(found.tenant, None, advanced(self.store, found, move(run)))
                return True
            except Conflict:
                found = self.store.get(found.tenant, "run", found.id) or found
        raise Unavailable(f"The run {found.id} changed {CONFLICTS} times in a row")


class StopRuns:
    """See rules.ports.ActionExecutor."""

    name = "runs.stop"
    title = "Stop other runs of the same customer or subscription"
    undo = "Cannot be undone: a run that was stopped does not start again."
    fields: tuple[Field, ...] = (TAG, SAME, WHOSE)

    def __init__(self, store: Store, rulesets: RuleSets) -> None:
        self.others = _Others(store, rulesets)

    def preview(self, params: Body) -> Body:
        return _preview("stop", params, self.undo)

    def execute(self, task: Body, now: datetime) -> Outcome:
        why = f"{task['rule']['name']} stops it"

        def wanted(run: Run) -> bool:
            return run.state in OPEN and not workflow.is_undoing(run)

        def mine(run: Run) -> bool:
            return any(told["text"].endswith(f"({task['id']}).") for told in run.story)

        moved = self.others.move(task, wanted, lambda run: workflow.stopped(run, why, now, task["id"]), mine)
        return Outcome.done(_said("Stopped", moved, task), data={"runs": moved, "count": len(moved)})


class UndoRuns:
    """See rules.ports.ActionExecutor. Open runs are stopped first; each run is undone once."""

    name = "runs.undo"
    title = "Take back what other runs of the same customer or subscription did"
    undo = "Cannot be undone: what was taken back is not done again."
    fields: tuple[Field, ...] = (
        TAG,
        SAME,
        WHOSE,
        Field("within", "Begun within", default=WITHIN, help="P60D: runs of the last sixty days."),
    )

    def __init__(self, store: Store, rulesets: RuleSets) -> None:
        self.others = _Others(store, rulesets)

    def preview(self, params: Body) -> Body:
        return _preview("undo", params, self.undo)

    def execute(self, task: Body, now: datetime) -> Outcome:
        try:
            since = now - duration(str(task["params"].get("within") or WITHIN))
        except ValueError as problem:
            return Outcome("person", f"How far back is not clear: {problem}.")
        why = f"{task['rule']['name']} takes it back"

        def wanted(run: Run) -> bool:
            young = instant(run.created_at) >= since - timedelta(seconds=1)
            return young and not run.undo and (workflow.may_undo(run) or run.state in OPEN)

        def mine(run: Run) -> bool:
            return bool(run.undo) and run.undo["event"] == task["id"]

        moved = self.others.move(task, wanted, lambda run: workflow.begin_undo(run, why, now, task["id"]), mine)
        return Outcome.done(_said("Took back what was done by", moved, task), data={"runs": moved, "count": len(moved)})


def own_actions(store: Store, rulesets: RuleSets) -> tuple[ActionExecutor, ...]:
    return StopRuns(store, rulesets), UndoRuns(store, rulesets), reviews.Flag(store), reviews.Close(store)


def _preview(verb: str, params: Body, undo: str) -> Body:
    same = params.get("same") or "subscription"
    body = {"runs tagged": params.get("tag", ""), "for the same": same}
    more = {"begun within": params.get("within") or WITHIN} if verb == "undo" else {}
    return {"method": verb, "to": "the runs here", "headers": {}, "body": {**body, **more}, "undo": undo}


def _said(verb: str, moved: list[str], task: Body) -> str:
    same = task["params"].get("same") or "subscription"
    count = f"{len(moved)} run" + ("" if len(moved) == 1 else "s") if moved else "no run"
    return f"{verb} {count} tagged {task['params']['tag']} for the same {same}."
