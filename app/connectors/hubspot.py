"""HubSpot over its HTTP API (CRM v3): contacts and companies by a unique property, their stage, and tasks once each.

A record is found by a property that is unique in the account, such as stripe_customer_id; HubSpot's own upsert makes it
where there is none. Tasks carry the command's id in the property signalbox_id, and are looked for by it first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from app.connectors.delivery import Reply
from app.connectors.oauth import Access
from app.connectors.params import time_of
from app.connectors.rest import (
    Api,
    RestAction,
    Service,
    Settled,
    Talk,
    due_of,
    key_of,
    named,
    parsed,
    settings,
    unless_changed,
)
from app.connectors.signed import retry_after
from rules.ports import Body, Field, Inverse, Outcome

BASE = "https://api.hubapi.com"
UNIQUE = "stripe_customer_id"
MARK = "signalbox_id"
TO_CONTACT = 204  # HubSpot's type of the association from a task to a contact
OURS = "HUBSPOT_DEFINED"
LATER = (409, 423, 429, 477)  # conflict, locked, too many, being moved to another data centre
DAILY = timedelta(hours=1)  # how often the daily limit is asked again: it ends at midnight in the account's zone
PRIORITY = {"low": "LOW", "normal": "MEDIUM", "high": "HIGH"}
CONNECTION = Field("connection", "Connection", "connection", required=True, choices=("hubspot",),
                   help="Your HubSpot: see Settings.")  # fmt: skip
BY = Field("by", "Found by", default=UNIQUE, help="The internal name of a property whose values are unique.")
KEY = Field("key", "Value of it", "template", help="Empty: the customer's id at Stripe, cus_...")


def meaning(reply: Reply, name: str, now: datetime) -> Outcome:
    """What an answer that is no success comes to (https://developers.hubspot.com/docs/api/error-handling)."""
    found = parsed(reply.body)
    said: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
    category = str(said.get("category") or "")
    text = f"{name}: {said.get('message') or f'HubSpot answered {reply.status}'}"
    if reply.status in (401, 403):
        return Outcome.retry(f"{name} refused our credentials ({category or reply.status}).", pause_connection=True)
    if reply.status in LATER or reply.status >= 500:
        after = retry_after(reply.headers.get("retry-after"), now)
        daily = DAILY if said.get("policyName") == "DAILY" else None
        return Outcome.retry(f"{name} asks to wait ({category or reply.status}).", after=daily or after)
    if "PROPERTY_DOESNT_EXIST" in str(found):
        return Outcome("person", f"{text} Make the property in HubSpot, then try again.")
    return Outcome.dead(text, data={"category": category})


def _base(connection: Body, access: Access) -> str:
    return str(connection.get("base") or BASE).rstrip("/")


SERVICE = Service(_base, lambda connection: f"{_base(connection, Access(''))}/oauth/v1/token", meaning)


class HubSpotAction(RestAction):
    type = "hubspot"
    service = SERVICE

    def given(self, params: Body) -> Body:
        return {**params, "by": named(params.get("by") or UNIQUE)}

    def trial(self, talk: Talk) -> Outcome:
        talk.ask("GET", "/crm/v3/objects/contacts?limit=1")
        return talk.done(f"{talk.connection['name']} lets us read its contacts.")

    def shown(self, params: Body, method: str, path: str, body: Any) -> dict[str, Any]:
        to = f"connection {params.get('connection', '')}"
        return {"method": method, "to": to, "url": path, "headers": {}, "body": body, "undo": self.undo}


def found(talk: Talk, kind: str, params: Body, names: tuple[str, ...]) -> dict[str, Any] | None:
    """A record as `{"id", "properties"}`; None when there is none."""
    query = f"?idProperty={params['by']}" + "".join(f"&properties={name}" for name in names)
    key = key_of(params, talk.task)
    status, record = talk.ask("GET", f"/crm/v3/objects/{kind}/{{key}}{query}", also=(404,), key=key)
    return None if status == 404 or not isinstance(record, dict) else record


# ---- records --------------------------------------------------------------------------------------------------------
class Upsert(HubSpotAction):
    """kind: the object's name in the API."""

    kind: str
    word: str
    undo = "the properties go back to what they were; a record that was made stays"
    fields: tuple[Field, ...] = (
        CONNECTION,
        BY,
        KEY,
        Field("properties", "Properties", "template", required=True, help="One a line: lifecyclestage = customer"),
    )

    def preview(self, params: Body) -> Body:
        given = {"by": UNIQUE, "key": "{customer}", **{k: v for k, v in params.items() if v}}
        try:
            values = settings(given.get("properties"))
        except Settled:
            values = {"{properties}": str(given.get("properties"))}
        return self.shown(params, "POST", f"/crm/v3/objects/{self.kind}/batch/upsert", self._body(given, values, ""))

    @staticmethod
    def _body(params: Body, values: Body, trace: str) -> dict[str, Any]:
        one = {"id": params["key"], "idProperty": params["by"], "properties": dict(values)}
        return {"inputs": [{**one, "objectWriteTraceId": trace or "(run)/(step)"}]}

    def act(self, talk: Talk, params: Body) -> Outcome:
        params = {**params, "key": key_of(params, talk.task)}
        values = settings(params.get("properties"))
        record = found(talk, self.kind, params, tuple(values))
        now = talk.hidden({name: (record or {}).get("properties", {}).get(name) for name in values})
        unless_changed(now, params.get("expect"))
        left = talk.hidden(values)
        if record and all((now[name] or "") == value for name, value in left.items()):
            return talk.done(f"The {self.word} {record['id']} says so already.", already=True, record=record["id"])
        before = {name: now[name] or "" for name in values} if record else {}
        talk.remember(left=left, key=params["key"], before=before)
        path = f"/crm/v3/objects/{self.kind}/batch/upsert"
        _, answer = talk.ask("POST", path, self._body(params, values, talk.task["id"]))
        made = self._made(talk, answer)
        word = "Changed" if record else "Made"
        return talk.done(f"{word} the {self.word} {made} in {talk.connection['name']}.", record=made, **talk.known)

    @staticmethod
    def _made(talk: Talk, answer: Any) -> str:
        """The record's id. HubSpot answers 207 when it refused an input."""
        results = answer.get("results") if isinstance(answer, dict) else None
        if results:
            return str(results[0].get("id"))
        errors = (answer or {}).get("errors") or [{}]
        text = f"{talk.connection['name']}: {errors[0].get('message') or 'nothing was changed'}"
        raise Settled(Outcome.dead(text[:300], request=talk.request, response=talk.response))

    def inverse(self, command: Body) -> Inverse | None:
        data = command["outcome"].get("data", {})
        if not data.get("before"):
            return None
        kept = {name: command["params"][name] for name in ("connection", "by") if name in command["params"]}
        params = {**kept, "key": data["key"], "properties": dict(data["before"]), "expect": data["left"]}
        return Inverse(self.name, params, f"the {self.word} in HubSpot says what it said before")


class UpsertContact(Upsert):
    name = "hubspot.upsert_contact"
    title = "Make or change a contact in HubSpot"
    kind, word = "contacts", "contact"


class UpsertCompany(Upsert):
    name = "hubspot.upsert_company"
    title = "Make or change a company in HubSpot"
    kind, word = "companies", "company"


class SetStage(HubSpotAction):
    """HubSpot takes a lifecycle stage backwards only when it was cleared before."""

    name = "hubspot.set_stage"
    title = "Move the stage in HubSpot"
    undo = "the stage goes back to what it was"
    fields: tuple[Field, ...] = (
        CONNECTION,
        Field("of", "Of which record", "choice", choices=("contacts", "companies", "deals"), default="contacts"),
        BY,
        KEY,
        Field("property", "Property", default="lifecyclestage", help="lifecyclestage, or dealstage for deals."),
        Field("stage", "Stage", "template", required=True, help="The stage's internal name, such as customer."),
    )

    def preview(self, params: Body) -> Body:
        kind, name = params.get("of") or "contacts", params.get("property") or "lifecyclestage"
        path = f"/crm/v3/objects/{kind}/{params.get('key') or '{customer}'}?idProperty={params.get('by') or UNIQUE}"
        return self.shown(params, "PATCH", path, {"properties": {name: params.get("stage") or "{stage}"}})

    def act(self, talk: Talk, params: Body) -> Outcome:
        kind, name = params.get("of") or "contacts", named(params.get("property") or "lifecyclestage")
        key, stage = key_of(params, talk.task), str(params["stage"])
        record = found(talk, kind, {**params, "key": key}, (name,))
        if record is None:
            raise Settled(Outcome("branch", f"{talk.connection['name']} has no such record.", {"result": "absent"}))
        before = record.get("properties", {}).get(name) or ""
        unless_changed({name: before}, params.get("expect"))
        if before == stage:
            return talk.done(f"The stage is {stage} already.", already=True, record=record["id"])
        talk.remember(record=record["id"], stage=stage, before={name: before}, key=key)
        self._move(talk, f"/crm/v3/objects/{kind}/{record['id']}", name, stage)
        return talk.done(f"Moved the stage of {record['id']} from {before or 'none'} to {stage}.", **talk.known)

    @staticmethod
    def _move(talk: Talk, path: str, name: str, stage: str) -> None:
        _, answer = talk.ask("PATCH", path, {"properties": {name: stage}})
        if ((answer or {}).get("properties") or {}).get(name, stage) == stage:
            return
        talk.ask("PATCH", path, {"properties": {name: ""}})
        talk.ask("PATCH", path, {"properties": {name: stage}})

    def inverse(self, command: Body) -> Inverse | None:
        data = command["outcome"].get("data", {})
        ((name, before),) = (data.get("before") or {"": ""}).items()
        if not before:
            return None
        left = {name: data["stage"]}
        params = {**command["params"], "key": data["key"], "property": name, "stage": before, "expect": left}
        return Inverse(self.name, params, f"the stage in HubSpot is {before} again")


# ---- tasks ----------------------------------------------------------------------------------------------------------
class CreateTask(HubSpotAction):
    name = "hubspot.create_task"
    title = "Open a task in HubSpot"
    undo = "the task is completed"
    fields: tuple[Field, ...] = (
        CONNECTION,
        Field("subject", "Subject", "template", required=True),
        Field("text", "Text", "template"),
        Field("due", "Due", "template", help="2026-12-01T09:00:00Z, or a field with a time. Empty: now."),
        Field("priority", "Priority", "choice", choices=("low", "normal", "high"), default="normal"),
        Field("owner", "Owner's id", "template", help="The number of a HubSpot user. Empty: nobody's."),
        BY,
        KEY,
    )

    def preview(self, params: Body) -> Body:
        given = {**params, "due": None}
        return self.shown(
            params, "POST", "/crm/v3/objects/tasks", {"properties": self._told(given, "(run)/(step)", "")}
        )

    @staticmethod
    def _told(params: Body, id: str, due: str) -> dict[str, Any]:
        told = {
            MARK: id,
            "hs_task_subject": str(params.get("subject") or ""),
            "hs_task_body": str(params.get("text") or ""),
            "hs_timestamp": due or "(when it is due)",
            "hs_task_status": "NOT_STARTED",
            "hs_task_priority": PRIORITY.get(str(params.get("priority")), "MEDIUM"),
        }
        return {**told, "hubspot_owner_id": str(params["owner"])} if params.get("owner") else told

    def act(self, talk: Talk, params: Body) -> Outcome:
        id = talk.task["id"]
        known = self._known(talk, id)
        if known:
            return talk.done(f"The task {known} was opened already.", already=True, task=known)
        due = due_of(params) or time_of(talk.task["created_at"])
        contact = found(talk, "contacts", params, ()) if params.get("key") or talk.task["customer"] else None
        told = self._told(params, id, f"{due:%Y-%m-%dT%H:%M:%SZ}")
        _, answer = talk.ask("POST", "/crm/v3/objects/tasks", {"properties": told, **_beside(contact)}, once=True)
        made = str((answer or {}).get("id"))
        beside = f" beside contact {contact['id']}" if contact else "; no contact has this key"
        return talk.done(f"Opened the task {made}{beside}.", task=made)

    @staticmethod
    def _known(talk: Talk, id: str) -> str | None:
        filters = [{"propertyName": MARK, "operator": "EQ", "value": id}]
        asked = {"filterGroups": [{"filters": filters}], "properties": [MARK], "limit": 1}
        _, answer = talk.ask("POST", "/crm/v3/objects/tasks/search", asked)
        results = (answer or {}).get("results") or []
        return str(results[0]["id"]) if results else None

    def inverse(self, command: Body) -> Inverse | None:
        made = command["outcome"].get("data", {}).get("task")
        params = {"connection": command["connection"], "task": made}
        return Inverse(CloseTask.name, params, f"the task {made} in HubSpot is completed") if made else None


def _beside(contact: Body | None) -> dict[str, Any]:
    if contact is None:
        return {}
    types = [{"associationCategory": OURS, "associationTypeId": TO_CONTACT}]
    return {"associations": [{"to": {"id": contact["id"]}, "types": types}]}


class CloseTask(HubSpotAction):
    name = "hubspot.close_task"
    title = "Complete a task in HubSpot"
    undo = "Cannot be undone: open another task."
    fields: tuple[Field, ...] = (
        CONNECTION,
        Field("task", "Task", "template", required=True, help="As the step that opened it said: {{ step.open.task }}"),
    )

    def preview(self, params: Body) -> Body:
        path = f"/crm/v3/objects/tasks/{params.get('task') or '{task}'}"
        return self.shown(params, "PATCH", path, {"properties": {"hs_task_status": "COMPLETED"}})

    def act(self, talk: Talk, params: Body) -> Outcome:
        id = str(params["task"])
        body = {"properties": {"hs_task_status": "COMPLETED"}}
        status, _ = talk.ask("PATCH", "/crm/v3/objects/tasks/{key}", body, also=(404,), key=id)
        if status == 404:
            return replace(talk.done(""), kind="branch", message=f"The task {id} is gone.", data={"result": "gone"})
        return talk.done(f"Completed the task {id}.", task=id)


def hubspot_actions(api: Api) -> list[Any]:
    return [UpsertContact(api), UpsertCompany(api), SetStage(api), CreateTask(api), CloseTask(api)]
