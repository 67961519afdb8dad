"""`crm.notify`: tell the CRM, by a signed webhook (https://www.standardwebhooks.com) whose body is a CloudEvent.

The id is the command's on every try, so a receiver that remembers ids gets each notice once. The body says only what
was settled when the command was made, so every try sends the same bytes but for personal values erased meanwhile.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from app.connectors.delivery import Courier, Forbidden, Reply, Undelivered
from app.connectors.personal import connection_of, masked, revealed
from rules.ports import Body, Field, Outcome, Secrets, Unconfigured, Vault

TYPE = "signalbox.crm.notify"
REFUSED = (400, 413, 415, 422)  # the receiver has read it and will never take it
LOCKED = {401: "refused our credentials (401)", 403: "refused us (403)", 410: "said that it is gone for good (410)"}
LONGEST_WAIT = timedelta(days=1)
SENTENCES, EVENTS = 20, 50  # of the run that a notice tells, the latest; a notice stays under 20 kB
SHOWN = 1000  # characters of an answer that are kept


# ---- the signature --------------------------------------------------------------------------------------------------
def keys(secret: str) -> list[bytes]:
    """The signing keys in a stored secret: one `whsec_` and base64, or several with spaces while one is replaced."""
    return [key_of(one) for one in secret.replace(",", " ").split()]


def key_of(secret: str) -> bytes:
    """The bytes of one secret. Raises ValueError."""
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error as error:
        raise ValueError("a signing secret is whsec_ and base64") from error


def signature(key: bytes, id: str, timestamp: int, body: bytes) -> str:
    """One `v1,...` of the `webhook-signature` header."""
    signed = f"{id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def signed_headers(secret: str, id: str, now: datetime, body: bytes) -> dict[str, str]:
    """The three headers of Standard Webhooks; one signature for each key. Raises ValueError."""
    timestamp = int(now.timestamp())
    signatures = [signature(key, id, timestamp, body) for key in keys(secret)]
    return {"webhook-id": id, "webhook-timestamp": str(timestamp), "webhook-signature": " ".join(signatures)}


# ---- the notice -----------------------------------------------------------------------------------------------------
def notice(task: Body, public_url: str = "") -> dict[str, Any]:
    """The CloudEvent. Sentences and steps that came after the command was made are left out: see the top."""
    run, rule, subjects = task["run"], task["rule"], task["subjects"]
    before = [sentence for sentence in run["story"] if sentence["at"] <= task["created_at"]]
    return {
        "specversion": "1.0",
        "id": task["id"],
        "source": f"signalbox/{task['tenant']}",
        "type": TYPE,
        "subject": run["key"],
        "time": task["created_at"],
        "datacontenttype": "application/json",
        "correlationid": task["correlation"],
        "causationid": task["trigger"],
        "data": {
            "rule": {name: rule.get(name) for name in ("id", "name", "number", "why")},
            "run": run["id"],
            "step": task["step"],
            "stage": task["params"].get("stage", ""),
            "message": task["params"].get("message", ""),
            "customer": task["customer"],
            "subscription": subjects.get("sub"),
            "invoice": subjects.get("in"),
            "amounts": dict(run["money"]),
            "because": before[0]["text"] if before else "",
            "story": before[-SENTENCES:],
            "done": _done(run, task["created_at"]),
            "events": list(run["events"])[-EVENTS:],
            "links": {
                "run": f"{public_url}/runs/{run['id']}",
                "event": f"{public_url}/events/{task['trigger']}",
            },
        },
    }


def _done(run: Body, until: str) -> list[dict[str, Any]]:
    """What the run has done so far: `{"step", "state", "message"}`."""
    return [
        {"step": name, "state": step["state"], "message": step.get("message", "")}
        for name, step in run["steps"].items()
        if step.get("command") and step["state"] != "due" and step.get("at", "") <= until
    ]


# ---- the action -----------------------------------------------------------------------------------------------------
@dataclass
class Notify:
    """See rules.ports.ActionExecutor."""

    courier: Courier
    secrets: Secrets
    vault: Vault
    public_url: str = ""
    name: str = "crm.notify"
    title: str = "Notify the CRM"
    undo: str = "Cannot be undone: a notice that was received stays received."
    fields: tuple[Field, ...] = (
        Field(
            "connection",
            "Connection",
            "connection",
            required=True,
            choices=("webhook",),
            help="Where the notice goes: see Settings.",
        ),
        Field("stage", "Stage", help="What the CRM should show, such as: At risk - payment"),
        Field("message", "Message", "template", help="A text; {{ data.object.id }} puts a field of the event in."),
    )

    def preview(self, params: Body) -> Body:
        data = {"stage": params.get("stage", ""), "message": params.get("message", "")}
        return {
            "method": "POST",
            "to": f"connection {params.get('connection', '')}",
            "headers": {"webhook-id": "(run)/(step)", "webhook-signature": "v1,..."},
            "body": {"specversion": "1.0", "type": TYPE, "data": data},
            "undo": self.undo,
        }

    def execute(self, task: Body, now: datetime) -> Outcome:
        connection = connection_of(task, "webhook")
        body = notice(task, self.public_url)
        payload = json.dumps(self._revealed(body, task), separators=(",", ":")).encode()
        headers = {
            **connection.get("headers", {}),
            "Content-Type": "application/cloudevents+json; charset=utf-8",
            "traceparent": task["traceparent"],
            **self._signature(connection, task["id"], now, payload),
        }
        request = _kept_request(connection["url"], headers, body)
        try:
            reply = self.courier.post(connection["url"], headers, payload)
        except Forbidden as refused:
            return Outcome.retry(f"Not sent: {refused}.", request=request, pause_connection=True)
        except Undelivered as lost:
            return Outcome.retry(f"No answer from {task['connection']}: {lost}.", request=request)
        return outcome_of(reply, task["connection"], request, now)

    def _signature(self, connection: Body, id: str, now: datetime, payload: bytes) -> dict[str, str]:
        secret = self.secrets.get(connection["secret_name"])
        if not secret:
            raise Unconfigured(f"Connection {connection['name']} has no signing secret: give it one under Settings.")
        try:
            return signed_headers(secret, id, now, payload)
        except ValueError as error:
            raise Unconfigured(f"Connection {connection['name']}: {error}; mend it under Settings.") from error

    def _revealed(self, body: dict[str, Any], task: Body) -> dict[str, Any]:
        """The notice with the personal values of its message in the clear; only the receiver sees them."""

        reason = f"notice {task['id']} to {task['connection']}"
        message = revealed(str(body["data"]["message"]), self.vault, task["tenant"], self.name, reason)
        return {**body, "data": {**body["data"], "message": message}}


def outcome_of(reply: Reply, connection: str, request: Body, now: datetime) -> Outcome:
    """What an answer means. A redirect is a failure: the receiver must give its true address."""
    kept: dict[str, Any] = {"request": request, "response": kept_response(reply)}
    if 200 <= reply.status < 300:
        return Outcome.done(f"{connection} took the notice ({reply.status}).", **kept)
    if reply.status in LOCKED:
        return Outcome.retry(f"{connection} {LOCKED[reply.status]}.", pause_connection=True, **kept)
    if reply.status in REFUSED:
        return Outcome.dead(f"{connection} refused the notice ({reply.status}).", **kept)
    after = retry_after(reply.headers.get("retry-after"), now)
    return Outcome.retry(f"{connection} answered {reply.status}.", after=after, **kept)


def retry_after(text: str | None, now: datetime) -> timedelta | None:
    """How long a `Retry-After` header asks to wait, seconds or a date, at most a day; None when it says nothing."""
    if not text:
        return None
    if text.strip().isdigit():
        return min(timedelta(seconds=min(int(text), 10**6)), LONGEST_WAIT)
    try:
        asked = parsedate_to_datetime(text) - now
    except (TypeError, ValueError):
        return None
    return min(max(asked, timedelta(0)), LONGEST_WAIT)


def _kept_request(url: str, headers: Mapping[str, str], body: Body) -> dict[str, Any]:
    """What may be shown of a request: no signature; a query or header of the operator may be a credential."""
    shown = ("Content-Type", "traceparent", "webhook-id", "webhook-timestamp")
    address = url.partition("?")[0] + ("?..." if "?" in url else "")
    return {"method": "POST", "url": address, "headers": {name: headers[name] for name in shown}, "body": body}


def kept_response(reply: Reply) -> dict[str, Any]:
    """What may be kept of an answer: no addresses of people, no header that could be a credential."""
    text = masked(reply.body[: 4 * SHOWN].decode("utf-8", "replace"))
    shown = ("content-type", "retry-after", "location", "server")
    return {
        "status": reply.status,
        "headers": {name: reply.headers[name][:200] for name in shown if name in reply.headers},
        "body": text[:SHOWN],
        "seconds": round(reply.seconds, 3),
    }
