"""Salesforce over its REST API: records by an external id field, and tasks once each.

An upsert by an external id is idempotent by nature; a task's external id is the command's, in Signalbox_Id__c. Keys are
quoted: an id such as a/b?c is one value. The answer to a token's refresh says where the organisation lives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from app.connectors.delivery import Reply
from app.connectors.oauth import Access
from app.connectors.rest import (
    Api,
    RestAction,
    Service,
    Settled,
    Talk,
    due_of,
    key_of,
    line_text,
    named,
    parsed,
    settings,
    unless_changed,
)
from app.connectors.signed import retry_after
from rules.ports import Body, Field, Inverse, Outcome

LOGIN = "https://login.salesforce.com"
VERSION = "62.0"
EXTERNAL = "Stripe_Customer__c"
MARK = "Signalbox_Id__c"
PRIORITY = {"low": "Low", "normal": "Normal", "high": "High"}
# 400 and 403 answers that a later try may not get
LATER = ("UNABLE_TO_LOCK_ROW", "REQUEST_RUNNING_TOO_LONG", "QUERY_TIMEOUT", "SERVER_UNAVAILABLE", "DUPLICATE_VALUE")
LIMITED = ("REQUEST_LIMIT_EXCEEDED", "TOO_MANY_API_REQUESTS")
LIMITED_FOR = timedelta(minutes=15)  # the allocation rolls over 24 hours; Salesforce says no Retry-After
FOR_A_PERSON = ("DUPLICATES_DETECTED", "INVALID_FIELD", "INVALID_TYPE", "NOT_FOUND", "ENTITY_IS_DELETED")
CONNECTION = Field("connection", "Connection", "connection", required=True, choices=("salesforce",),
                   help="Your Salesforce: see Settings.")  # fmt: skip
BY = Field("by", "Found by", default=EXTERNAL, help="The API name of an external id field.")
KEY = Field("key", "Value of it", "template", help="Empty: the customer's id at Stripe, cus_...")


def meaning(reply: Reply, name: str, now: datetime) -> Outcome:
    """What an answer that is no success comes to (REST API Developer Guide, status codes and error responses)."""
    code, text = _error(reply)
    said = f"{name}: {text or f'Salesforce answered {reply.status}'} ({code or reply.status})"
    if reply.status == 300:
        return Outcome("person", f"{name} has more than one record with this external id.")
    if code in LIMITED:
        return Outcome.retry(said, after=LIMITED_FOR)
    if code in LATER or reply.status in (408, 409, 420, 429) or reply.status >= 500:
        return Outcome.retry(said, after=retry_after(reply.headers.get("retry-after"), now))
    if reply.status in (401, 403):
        return Outcome.retry(f"{name} refused our credentials ({code or reply.status}).", pause_connection=True)
    if code in FOR_A_PERSON or reply.status == 404:
        return Outcome("person", said)
    return Outcome.dead(said, data={"code": code})


def _error(reply: Reply) -> tuple[str, str]:
    """`errorCode` and `message` of the first error; upserts answer a list, others sometimes an object."""
    found = parsed(reply.body)
    first = found[0] if isinstance(found, list) and found else found
    if not isinstance(first, Mapping):
        return "", ""
    return str(first.get("errorCode") or ""), str(first.get("message") or "")


def _base(connection: Body, access: Access) -> str:
    root = access.base or str(connection.get("base") or LOGIN)
    return f"{root.rstrip('/')}/services/data/v{connection.get('version') or VERSION}"


SERVICE = Service(
    _base, lambda connection: f"{str(connection.get('base') or LOGIN).rstrip('/')}/services/oauth2/token", meaning
)


class SalesforceAction(RestAction):
    type = "salesforce"
    service = SERVICE

    def trial(self, talk: Talk) -> Outcome:
        talk.ask("GET", "/limits")
        return talk.done(f"{talk.connection['name']} answers us.")

    def shown(self, params: Body, path: str, body: Any) -> dict[str, Any]:
        to = f"connection {params.get('connection', '')}"
        url = f"/services/data/v{VERSION}/sobjects/{path}"
        return {"method": "PATCH", "to": to, "url": url, "headers": {}, "body": body, "undo": self.undo}


# ---- records --------------------------------------------------------------------------------------------------------
class Upsert(SalesforceAction):
    name = "salesforce.upsert"
    title = "Make or change a record in Salesforce"
    undo = "the fields go back to what they were; a record that was made stays"
    fields: tuple[Field, ...] = (
        CONNECTION,
        Field("object", "Object", default="Contact", help="Its API name: Contact, Account, Invoice__c."),
        BY,
        KEY,
        Field("fields", "Fields", "template", required=True, help="One a line: Billing_Stage__c = At risk"),
    )

    def preview(self, params: Body) -> Body:
        try:
            values = settings(params.get("fields"))
        except Settled:
            values = {"{fields}": str(params.get("fields"))}
        path = "/".join((params.get("object") or "Contact", params.get("by") or EXTERNAL, params.get("key") or "{key}"))
        return self.shown(params, path, values)

    def act(self, talk: Talk, params: Body) -> Outcome:
        kind, key = named(params.get("object") or "Contact"), key_of(params, talk.task)
        path = f"/sobjects/{kind}/{named(params.get('by') or EXTERNAL)}/{{key}}"
        values = settings(params.get("fields"))
        status, record = talk.ask("GET", f"{path}?fields={','.join(['Id', *values])}", also=(404,), key=key)
        record = record if status == 200 and isinstance(record, dict) else None
        now = talk.hidden({name: (record or {}).get(name) for name in values})
        unless_changed(now, params.get("expect"))
        left = talk.hidden(values)
        if record and all(line_text(now[name]) == value for name, value in left.items()):
            return talk.done(f"The {kind} {record['Id']} says so already.", already=True, record=record["Id"])
        before = {name: line_text(now[name]) for name in values} if record else {}
        talk.remember(left=left, key=key, before=before)
        _, answer = talk.ask("PATCH", path, {name: value or None for name, value in values.items()}, key=key)
        made = str((answer or {}).get("id") or (record or {}).get("Id") or "")
        word = "Changed" if record else "Made"
        return talk.done(f"{word} the {kind} {made} in {talk.connection['name']}.", record=made, **talk.known)

    def inverse(self, command: Body) -> Inverse | None:
        data, params = command["outcome"].get("data", {}), command["params"]
        if not data.get("before"):
            return None
        kept = {name: params[name] for name in ("connection", "object", "by") if name in params}
        back = {**kept, "key": data["key"], "fields": dict(data["before"]), "expect": data["left"]}
        return Inverse(self.name, back, "the record in Salesforce says what it said before")


# ---- tasks ----------------------------------------------------------------------------------------------------------
class CreateTask(SalesforceAction):
    name = "salesforce.create_task"
    title = "Open a task in Salesforce"
    undo = "the task is completed"
    fields: tuple[Field, ...] = (
        CONNECTION,
        Field("subject", "Subject", "template", required=True),
        Field("text", "Text", "template"),
        Field("due", "Due", "template", help="2026-12-01T09:00:00Z, or a field with a time."),
        Field("priority", "Priority", "choice", choices=("low", "normal", "high"), default="normal"),
        Field("owner", "Owner's id", "template", help="005... Empty: the user of the connection."),
        Field("on", "On the", "choice", choices=("Contact", "Account", "nothing"), default="Contact"),
        BY,
        KEY,
    )

    def preview(self, params: Body) -> Body:
        return self.shown(params, f"Task/{MARK}/(run)/(step)", self._told(params, ""))

    @staticmethod
    def _told(params: Body, due: str) -> dict[str, Any]:
        told = {
            "Subject": str(params.get("subject") or ""),
            "Description": str(params.get("text") or ""),
            "Priority": PRIORITY.get(str(params.get("priority")), "Normal"),
            "Status": "Not Started",
        }
        more = {"ActivityDate": due, "OwnerId": params.get("owner")}
        return told | {name: value for name, value in more.items() if value}

    def act(self, talk: Talk, params: Body) -> Outcome:
        id = talk.task["id"]
        path = f"/sobjects/Task/{MARK}/{{key}}"
        status, known = talk.ask("GET", f"{path}?fields=Id", also=(404,), key=id)
        if status == 200:
            return talk.done(f"The task {known['Id']} was opened already.", already=True, task=id)
        due = due_of(params)
        told = {**self._told(params, f"{due:%Y-%m-%d}" if due else ""), **self._beside(talk, params)}
        talk.ask("PATCH", path, told, key=id)
        return talk.done(f"Opened a task in {talk.connection['name']}.", task=id)

    @staticmethod
    def _beside(talk: Talk, params: Body) -> dict[str, Any]:
        """The person or the company that the task is about, where Salesforce knows it."""
        kind = params.get("on") or "Contact"
        if kind == "nothing" or not (params.get("key") or talk.task["customer"]):
            return {}
        path = f"/sobjects/{named(kind)}/{named(params.get('by') or EXTERNAL)}/{{key}}?fields=Id"
        status, record = talk.ask("GET", path, also=(404,), key=key_of(params, talk.task))
        return {"WhoId" if kind == "Contact" else "WhatId": record["Id"]} if status == 200 else {}

    def inverse(self, command: Body) -> Inverse | None:
        made = command["outcome"].get("data", {}).get("task")
        params = {"connection": command["connection"], "task": made}
        return Inverse(CloseTask.name, params, "the task in Salesforce is completed") if made else None


class CloseTask(SalesforceAction):
    name = "salesforce.close_task"
    title = "Complete a task in Salesforce"
    undo = "Cannot be undone: open another task."
    fields: tuple[Field, ...] = (
        CONNECTION,
        Field("task", "Task", "template", required=True, help="As the step that opened it said: {{ step.open.task }}"),
    )

    def preview(self, params: Body) -> Body:
        return self.shown(params, f"Task/{MARK}/{params.get('task') or '{task}'}", {"Status": "Completed"})

    def act(self, talk: Talk, params: Body) -> Outcome:
        id, path = str(params["task"]), f"/sobjects/Task/{MARK}/{{key}}"
        status, _ = talk.ask("GET", f"{path}?fields=Id", also=(404,), key=id)  # an upsert would make another one
        if status == 404:
            return replace(talk.done(""), kind="branch", message="The task is gone.", data={"result": "gone"})
        talk.ask("PATCH", path, {"Status": "Completed"}, key=id)
        return talk.done(f"Completed the task in {talk.connection['name']}.", task=id)


def salesforce_actions(api: Api) -> list[Any]:
    return [Upsert(api), CreateTask(api), CloseTask(api)]
