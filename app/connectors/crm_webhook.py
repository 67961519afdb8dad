"""The generic CRM, over signed webhooks: `crm.notify` tells it something, `crm.task` and `crm.close_task` have it open
and close a task, `crm.stage` has it move a stage. How they are signed and sent is app.connectors.signed's.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from typing import Any

from app.connectors.personal import connection_of
from app.connectors.signed import SignedAction, circumstances, event_of
from rules.ports import Body, Field, Inverse, Outcome

TYPE = "signalbox.crm.notify"
OPENED, CLOSED, MOVED = "signalbox.crm.task.opened", "signalbox.crm.task.closed", "signalbox.crm.stage.changed"
SENTENCES, EVENTS = 20, 50  # of the run that a notice tells, the latest; a notice stays under 20 kB
CONNECTION = Field("connection", "Connection", "connection", required=True, choices=("webhook",),
                   help="Where the notice goes: see Settings.")  # fmt: skip


# ---- the notice -----------------------------------------------------------------------------------------------------
def notice(task: Body, public_url: str = "") -> dict[str, Any]:
    """The CloudEvent. Sentences and steps that came after the command was made are left out."""
    run = task["run"]
    before = [sentence for sentence in run["story"] if sentence["at"] <= task["created_at"]]
    data = {
        **circumstances(task, public_url),
        "stage": task["params"].get("stage", ""),
        "message": task["params"].get("message", ""),
        "story": before[-SENTENCES:],
        "done": _done(run, task["created_at"]),
        "events": list(run["events"])[-EVENTS:],
    }
    return event_of(task, TYPE, data)


def _done(run: Body, until: str) -> list[dict[str, Any]]:
    """What the run has done so far: `{"step", "state", "message"}`."""
    return [
        {"step": name, "state": step["state"], "message": step.get("message", "")}
        for name, step in run["steps"].items()
        if step.get("command") and step["state"] != "due" and step.get("at", "") <= until
    ]


# ---- the actions ----------------------------------------------------------------------------------------------------
class _ToTheCrm(SignedAction):
    """texts: what of its data may hold personal values."""

    texts: tuple[str, ...] = ()

    def event(self, task: Body) -> dict[str, Any]:
        data = {**circumstances(task, self.signer.public_url), **self.data(task["params"], task["id"])}
        return event_of(task, self.type, data)

    def execute(self, task: Body, now: datetime) -> Outcome:
        connection = connection_of(task, "webhook")
        return self.signer.send(task, connection, self.event(task), now, self.texts)


class Notify(_ToTheCrm):
    name = "crm.notify"
    title = "Notify the CRM"
    type = TYPE
    undo = "Cannot be undone: a notice that was received stays received."
    texts = ("message",)
    fields: tuple[Field, ...] = (
        CONNECTION,
        Field("stage", "Stage", help="What the CRM should show, such as: At risk - payment"),
        Field("message", "Message", "template", help="A text; {{ data.object.id }} puts a field of the event in."),
    )

    def data(self, params: Body, id: str) -> dict[str, Any]:
        return {"stage": params.get("stage", ""), "message": params.get("message", "")}

    def event(self, task: Body) -> dict[str, Any]:
        return notice(task, self.signer.public_url)


class OpenTask(_ToTheCrm):
    name = "crm.task"
    title = "Open a task in the CRM"
    type = OPENED
    undo = "the task is closed"
    texts = ("title", "text", "owner")
    fields: tuple[Field, ...] = (
        CONNECTION,
        Field("title", "Title", "template", required=True, help="Such as: Call about invoice {{ data.object.number }}"),
        Field("text", "Text", "template"),
        Field("owner", "Owner", "template", help="Whoever the CRM knows by this name."),
        Field("due", "Due", "template", help="2026-12-01T09:00:00Z, or a field with a time."),
        Field("priority", "Priority", "choice", choices=("low", "normal", "high"), default="normal"),
    )

    def data(self, params: Body, id: str) -> dict[str, Any]:
        """task: its id for ever, so that it is opened once and can be closed."""
        told = {name: params.get(name, "") for name in ("title", "text", "owner", "due")}
        return {"task": id, **told, "priority": params.get("priority") or "normal"}

    def execute(self, task: Body, now: datetime) -> Outcome:
        outcome = super().execute(task, now)
        return replace(outcome, data={"task": task["id"]}) if outcome.kind == "done" else outcome

    def inverse(self, command: Body) -> Inverse:
        params = {"connection": command["connection"], "task": command["id"]}
        return Inverse(CloseTask.name, params, "the task in the CRM is closed")


class CloseTask(_ToTheCrm):
    name = "crm.close_task"
    title = "Close a task in the CRM"
    type = CLOSED
    undo = "Cannot be undone: open another task."
    texts = ("note",)
    fields: tuple[Field, ...] = (
        CONNECTION,
        Field("task", "Task", "template", required=True, help="As the step that opened it said: {{ step.open.task }}"),
        Field("note", "Note", "template"),
    )

    def data(self, params: Body, id: str) -> dict[str, Any]:
        return {"task": params.get("task", ""), "note": params.get("note", "")}


class MoveStage(_ToTheCrm):
    name = "crm.stage"
    title = "Move the customer's stage in the CRM"
    type = MOVED
    undo = "the stage goes back to what it was, where the CRM answered that"
    fields: tuple[Field, ...] = (
        CONNECTION,
        Field("stage", "Stage", "template", required=True, help="Such as: At risk - payment"),
        Field("only_from", "Only from", "template", help="The CRM answers 409 when the stage is another one."),
    )

    def data(self, params: Body, id: str) -> dict[str, Any]:
        return {"stage": params.get("stage", ""), "only_from": params.get("only_from") or None}

    def execute(self, task: Body, now: datetime) -> Outcome:
        outcome = super().execute(task, now)
        if outcome.response.get("status") == 409 and task["params"].get("only_from"):
            return replace(outcome, kind="person", message=f"{task['connection']}: the stage is another one by now.")
        if outcome.kind != "done":
            return outcome
        before = _before(outcome.response.get("body", ""))
        told = {"stage": before} if before is not None else {}
        return replace(outcome, data={"stage": task["params"].get("stage", ""), "before": told})

    def inverse(self, command: Body) -> Inverse | None:
        data = command["outcome"].get("data", {})
        before = data.get("before", {}).get("stage")
        if before is None or before == data["stage"]:
            return None
        params = {"connection": command["connection"], "stage": before, "only_from": data["stage"]}
        return Inverse(MoveStage.name, params, f"the stage is {before} again")


def _before(answer: str) -> str | None:
    """`{"before": "..."}` of an answer, where the CRM says it."""
    try:
        found = json.loads(answer)
    except ValueError:
        return None
    before = found.get("before") if isinstance(found, dict) else None
    return before if isinstance(before, str) else None
