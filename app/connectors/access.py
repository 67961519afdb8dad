"""`access.suspend` and `access.resume`: have the gateway of an API lock a customer out, and let them in again.

Over a signed webhook (app.connectors.signed). A suspension has an id, its command's, for ever; who resumes names the
suspension it ends, or none to end every one that Signalbox began. The gateway keeps `until` itself: a suspension whose
end has come is over even when nobody says so.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from app.connectors.params import time_of
from app.connectors.personal import connection_of
from app.connectors.signed import SignedAction, circumstances, event_of
from rules.event import iso
from rules.ports import Body, Field, Inverse, Outcome

SUSPENDED, RESUMED, TEST = "signalbox.access.suspended", "signalbox.access.resumed", "signalbox.access.test"
CONNECTION = Field("connection", "Connection", "connection", required=True, choices=("access",),
                   help="The gateway of your API: see Settings.")  # fmt: skip
REASON = Field("reason", "Reason", "template", help="What the gateway may show or log.")


class _Access(SignedAction):
    def execute(self, task: Body, now: datetime) -> Outcome:
        connection = connection_of(task, "access")
        trial = bool(task.get("trial"))
        if not task["customer"] and not trial:
            return Outcome.dead("The event names no customer whose access it could be.")
        told = self.data(task["params"], task["id"])
        data = {**circumstances(task, self.signer.public_url), **told}
        event = event_of(task, TEST if trial else self.type, data)
        outcome = self.signer.send(task, connection, event, now, ("reason",))
        return replace(outcome, data={"suspension": told["suspension"]}) if outcome.kind == "done" else outcome


class Suspend(_Access):
    name = "access.suspend"
    title = "Suspend access to the API"
    type = SUSPENDED
    undo = "access is resumed"
    fields: tuple[Field, ...] = (
        CONNECTION,
        Field("until", "Until", "template", help="2026-12-01T09:00:00Z, or a field with a time. Empty: until resumed."),
        REASON,
    )

    def data(self, params: Body, id: str) -> dict[str, Any]:
        told = {"until": params.get("until") or None, "reason": params.get("reason", "")}
        return {"access": "suspended", "suspension": id, **told}

    def execute(self, task: Body, now: datetime) -> Outcome:
        try:
            until = time_of(task["params"].get("until"))
        except ValueError:
            return Outcome("person", f"Access cannot be suspended until {task['params']['until']!r}: that is no time.")
        if until and until <= now:
            data = {"result": "over", "suspension": task["id"]}
            return Outcome("branch", f"The suspension would have ended at {iso(until)} already.", data)
        params = {**task["params"], "until": iso(until) if until else None}
        return super().execute({**task, "params": params}, now)

    def inverse(self, command: Body) -> Inverse | None:
        data = command["outcome"].get("data", {})
        if data.get("result") == "over":
            return None
        params = {"connection": command["connection"], "suspension": command["id"], "reason": "Taken back"}
        return Inverse(Resume.name, params, "access to the API is resumed")


class Resume(_Access):
    name = "access.resume"
    title = "Resume access to the API"
    type = RESUMED
    undo = "access is suspended again, with no end set"
    fields: tuple[Field, ...] = (
        CONNECTION,
        Field(
            "suspension", "Suspension", "template", help="As its step said: {{ step.suspend.suspension }}. Empty: all."
        ),
        REASON,
    )

    def data(self, params: Body, id: str) -> dict[str, Any]:
        return {"access": "on", "suspension": params.get("suspension") or None, "reason": params.get("reason", "")}

    def inverse(self, command: Body) -> Inverse:
        params = {"connection": command["connection"], "reason": "Taken back"}
        return Inverse(Suspend.name, params, "access to the API is suspended again")
