"""Send a signed CloudEvent over a connection and read the answer: https://www.standardwebhooks.com.

The id is the command's on every try, so a receiver that remembers ids gets each event once. The body says only what
was settled when the command was made, so every try sends the same bytes but for personal values erased meanwhile.
While a secret is replaced, both sign.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from app.connections.types import opened
from app.connectors.delivery import Courier, Forbidden, Reply, Undelivered
from app.connectors.personal import masked, revealed
from app.numbers import whole
from rules.event import iso
from rules.ports import Body, Outcome, Secrets, Unconfigured, Vault

REFUSED = (400, 413, 415, 422)  # the receiver has read it and will never take it
LOCKED = {401: "refused our credentials (401)", 403: "refused us (403)", 410: "said that it is gone for good (410)"}
LONGEST_WAIT = timedelta(days=1)
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


def in_force(secret: str, both_until: str | None, now: datetime) -> str:
    """The stored secret without the one that was replaced, once its time is over."""
    return secret.split()[0] if both_until and secret.split() and iso(now) >= both_until else secret


def signed_headers(secret: str, id: str, now: datetime, body: bytes) -> dict[str, str]:
    """The three headers of Standard Webhooks; one signature for each key. Raises ValueError."""
    timestamp = int(now.timestamp())
    signatures = [signature(key, id, timestamp, body) for key in keys(secret)]
    return {"webhook-id": id, "webhook-timestamp": str(timestamp), "webhook-signature": " ".join(signatures)}


# ---- sending --------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Signer:
    """Sends events over connections that have a signing secret. public_url: of this installation, for links."""

    courier: Courier
    secrets: Secrets
    vault: Vault
    public_url: str = ""

    def send(
        self,
        task: Body,
        connection: Body,
        event: Body,
        now: datetime,
        texts: tuple[str, ...] = (),
        shown: Body | None = None,
    ) -> Outcome:
        """One try. texts: the keys of `event["data"]` whose personal values the receiver gets in the clear. shown:
        what is kept of the body where that is not all of it."""
        name = connection["name"]
        told: list[str] = []
        payload = json.dumps(self._revealed(event, texts, task, told), separators=(",", ":")).encode()
        url, own = opened(connection, self.secrets)
        headers = {
            **own,
            "Content-Type": "application/cloudevents+json; charset=utf-8",
            "traceparent": task["traceparent"],
            **self._signature(connection, task["id"], now, payload),
        }
        request = kept_request(url, headers, shown or event)
        try:
            reply = self.courier.post(url, headers, payload)
        except Forbidden as refused:
            return Outcome.retry(f"Not sent: {refused}.", request=request, pause_connection=True)
        except Undelivered as lost:
            return Outcome.retry(f"No answer from {name}: {lost}.", request=request)
        return outcome_of(reply, name, request, now, told)

    def _signature(self, connection: Body, id: str, now: datetime, payload: bytes) -> dict[str, str]:
        secret = self.secrets.get(connection["secret_name"])
        if not secret:
            raise Unconfigured(f"Connection {connection['name']} has no signing secret: give it one under Settings.")
        try:
            return signed_headers(in_force(secret, connection.get("both_until"), now), id, now, payload)
        except ValueError as error:
            raise Unconfigured(f"Connection {connection['name']}: {error}; mend it under Settings.") from error

    def _revealed(self, event: Body, texts: tuple[str, ...], task: Body, told: list[str]) -> Body:
        """The event with the personal values of its texts in the clear; only the receiver sees them."""
        reason = f"notice {task['id']} to {task['connection']}"
        clear = {
            name: revealed(str(event["data"].get(name, "")), self.vault, task, reason, task["action"], told)
            for name in texts
        }
        return {**event, "data": {**event["data"], **clear}}


class SignedAction(ABC):
    """See rules.ports.ActionExecutor. type: of the event."""

    name: str
    type: str
    undo: str

    def __init__(self, courier: Courier, secrets: Secrets, vault: Vault, public_url: str = "") -> None:
        self.signer = Signer(courier, secrets, vault, public_url)

    @abstractmethod
    def data(self, params: Body, id: str) -> dict[str, Any]:
        """What the event says beside its circumstances. id: the command's."""

    def preview(self, params: Body) -> Body:
        return preview_of(params, self.type, self.data(params, "(run)/(step)"), self.undo)


def event_of(task: Body, type: str, data: Body) -> dict[str, Any]:
    """The CloudEvent of a command."""
    return {
        "specversion": "1.0",
        "id": task["id"],
        "source": f"signalbox/{task['tenant']}",
        "type": type,
        "subject": task["run"]["key"],
        "time": task["created_at"],
        "datacontenttype": "application/json",
        "correlationid": task["correlation"],
        "causationid": task["trigger"],
        "data": dict(data),
    }


def circumstances(task: Body, public_url: str = "") -> dict[str, Any]:
    """What every event to a receiver says of its cause. Sentences that came after the command are left out."""
    run, rule, subjects = task["run"], task["rule"], task["subjects"]
    because = next((sentence["text"] for sentence in run["story"] if sentence["at"] <= task["created_at"]), "")
    return {
        "rule": {name: rule.get(name) for name in ("id", "name", "number", "why")},
        "run": run["id"],
        "step": task["step"],
        "customer": task["customer"],
        "subscription": subjects.get("sub"),
        "invoice": subjects.get("in"),
        "amounts": dict(run["money"]),
        "because": because,
        "links": {"run": f"{public_url}/runs/{run['id']}", "event": f"{public_url}/events/{task['trigger']}"},
    }


def preview_of(params: Body, type: str, data: Body, undo: str) -> dict[str, Any]:
    """The call, with what only the run says left out."""
    return {
        "method": "POST",
        "to": f"connection {params.get('connection', '')}",
        "headers": {"webhook-id": "(run)/(step)", "webhook-signature": "v1,..."},
        "body": {"specversion": "1.0", "type": type, "data": dict(data)},
        "undo": undo,
    }


# ---- the answer -----------------------------------------------------------------------------------------------------
def outcome_of(reply: Reply, connection: str, request: Body, now: datetime, told: Sequence[str] = ()) -> Outcome:
    """What an answer means. A redirect is a failure: the receiver must give its true address. told: the personal values
    that it was sent."""
    kept: dict[str, Any] = {"request": request, "response": kept_response(reply, told)}
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
    seconds = whole(text)
    if seconds is not None:
        return min(timedelta(seconds=min(seconds, 10**6)), LONGEST_WAIT)
    try:
        asked = parsedate_to_datetime(text[:100]) - now
    except (TypeError, ValueError, OverflowError, IndexError):  # the parser of dates lets all of them out
        return None
    return min(max(asked, timedelta(0)), LONGEST_WAIT)


def kept_request(url: str, headers: Mapping[str, str], body: Body) -> dict[str, Any]:
    """What may be shown of a request: no signature; a query or header of the operator may be a credential."""
    shown = ("Content-Type", "traceparent", "webhook-id", "webhook-timestamp")
    address = url.partition("?")[0] + ("?..." if "?" in url else "")
    return {"method": "POST", "url": address, "headers": {name: headers[name] for name in shown}, "body": body}


def kept_response(reply: Reply, told: Sequence[str] = ()) -> dict[str, Any]:
    """What may be kept of an answer: no addresses of people, no echo of what it was told, no header that could be a
    credential."""
    text = masked(reply.body[: 4 * SHOWN].decode("utf-8", "replace"), told)
    shown = ("content-type", "retry-after", "location", "server")
    return {
        "status": reply.status,
        "headers": {name: masked(reply.headers[name][:400], told)[:200] for name in shown if name in reply.headers},
        "body": text[:SHOWN],
        "seconds": round(reply.seconds, 3),
    }
