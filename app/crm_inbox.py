"""The built-in CRM inbox: it receives the notices of a connection as any receiver would, verifies and keeps them.

For the sample and for trying a rule: it shows what a CRM gets, but for personal values, which a CRM gets in the clear
and the vault alone may keep. Notices are kept once by their id; each delivery of one is counted.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from secrets import token_bytes
from typing import Any

from app.audit import entry
from rules import personal
from rules.event import iso
from rules.ports import ABSENT, Conflict, Put, Refused, Secrets, Store

TOLERANCE = 300  # seconds that a notice's time stamp may be off, either way
LARGEST = 64 * 1024  # bytes of a notice
LONGEST_ID = 200
CONFLICTS = 5
KEPT = timedelta(days=90)  # after its last delivery
NAME = "crm"
PATH = "/crm-inbox"
HIDDEN = "[e-mail]"
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kept:
    """A notice that was accepted. new: its id was not known."""

    id: str
    new: bool
    deliveries: int


# ---- receiving ------------------------------------------------------------------------------------------------------
def receive(
    store: Store,
    secrets: Secrets,
    tenant: str,
    headers: Mapping[str, str],
    body: bytes,
    now: datetime,
    connection: str = NAME,
) -> Kept:
    """Verify one delivery and keep its notice. Raises Refused for everything that is no genuine notice."""
    given = {name.lower(): value for name, value in headers.items()}
    secret = secrets.get(f"connection/{tenant}/{connection}")
    if not secret:
        raise Refused("This inbox has no connection yet: make one named crm under Settings.")
    verify(secret, given, body, now)
    return _keep(store, tenant, given, _kept_notice(store, tenant, given["webhook-id"], _parsed(body)), now)


def verify(secret: str, headers: Mapping[str, str], body: bytes, now: datetime) -> None:
    """Check a Standard Webhooks signature (https://www.standardwebhooks.com); headers by lower-case name. secret: one
    or several `whsec_` with spaces. Raises Refused, whatever was sent."""
    id, stamp, signatures = (headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature"))
    if not id or not stamp or not signatures:
        raise Refused("The headers webhook-id, webhook-timestamp and webhook-signature are needed.")
    if len(body) > LARGEST:
        raise Refused(f"The notice is larger than {LARGEST} bytes.")
    if not (stamp.isascii() and stamp.isdigit()) or len(stamp) > 12:
        raise Refused("webhook-timestamp is no number of seconds.")
    if abs(int(stamp) - now.timestamp()) > TOLERANCE:
        raise Refused(f"webhook-timestamp is more than {TOLERANCE // 60} minutes off.")
    signed = f"{id}.{stamp}.".encode("utf-8", "surrogateescape") + body
    wanted = [hmac.digest(key, signed, sha256) for key in _keys(secret)]
    given = [_bytes_of(one) for one in signatures.split(" ")]
    # every pair is compared, so the time tells nothing about which one matched
    if not any([hmac.compare_digest(mine, theirs) for mine in wanted for theirs in given]):
        raise Refused("No signature matches: the secret is another, or the body was changed on its way.")


def _keys(secret: str) -> list[bytes]:
    try:
        return [base64.b64decode(one.removeprefix("whsec_"), validate=True) for one in secret.replace(",", " ").split()]
    except (binascii.Error, ValueError) as error:
        raise Refused("The secret of this connection cannot be read; set it again under Settings.") from error


def _bytes_of(signature: str) -> bytes:
    """The bytes of one `v1,...`; nothing for any other form, which matches nothing."""
    version, _, text = signature.partition(",")
    if version != "v1":
        return b""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _parsed(body: bytes) -> Row:
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused("The body is no JSON.") from error
    if not isinstance(parsed, dict) or parsed.get("specversion") != "1.0" or not isinstance(parsed.get("data"), dict):
        raise Refused("The body is no CloudEvent 1.0 with data.")
    return parsed


def _kept_notice(store: Store, tenant: str, id: str, notice: Row) -> Row:
    """The notice without personal values: our own message as its command has it, with tokens; of any other sender's
    texts at least the e-mail addresses are hidden."""
    command = store.get(tenant, "command", id) if len(id) <= LONGEST_ID else None
    if command is not None and "message" in notice["data"]:
        notice["data"]["message"] = command.body["params"].get("message", "")
    personal.replace_emails(notice, lambda found: [HIDDEN] * len(found))
    return notice


def _keep(store: Store, tenant: str, headers: Mapping[str, str], body: Row, now: datetime) -> Kept:
    id = headers["webhook-id"]
    if len(id) > LONGEST_ID or not id.isascii() or not id.isprintable():
        raise Refused("webhook-id is too long or not plain text.")
    for _ in range(CONFLICTS):
        known = store.get(tenant, "notice", id)
        times = int(known.body["deliveries"]) + 1 if known else 1
        fresh = {
            "id": id,
            "received_at": iso(now),
            "correlation": str(body.get("correlationid", "")),
            "traceparent": headers.get("traceparent", "")[:100],
            "notice": body,
        }
        times_of_it = {"deliveries": times, "last_at": iso(now), "expires_at": iso(now + KEPT)}
        kept = {**(known.body if known else fresh), **times_of_it}
        try:
            store.commit(tenant, None, [Put("notice", id, kept, known.version if known else ABSENT)])
            return Kept(id, known is None, times)
        except Conflict:
            continue
    raise Refused("This notice is being delivered by many at once; send it again.")


# ---- looking --------------------------------------------------------------------------------------------------------
def notices(store: Store, tenant: str, after: str | None = None, limit: int = 50) -> Row:
    """The notices, newest first: `{"items": [...], "next": cursor | None}`."""
    page = store.find(tenant, "notice", order="-received_at", after=after, limit=limit)
    return {"items": [_row(document.body) for document in page.items], "next": page.next}


def notice(store: Store, tenant: str, id: str) -> Row:
    """One notice whole. Raises LookupError."""
    found = store.get(tenant, "notice", id)
    if found is None:
        raise LookupError(f"There is no notice {id!r}.")
    return {**_row(found.body), "notice": found.body["notice"]}


def _row(body: Mapping[str, Any]) -> Row:
    """What a list shows; what a foreign sender left out stands as nothing."""
    data = body["notice"]["data"]
    rule = data.get("rule")
    parts = body["traceparent"].split("-")
    return {
        "id": body["id"],
        "received_at": body["received_at"],
        "last_at": body["last_at"],
        "deliveries": body["deliveries"],
        "correlation": body["correlation"],
        "trace": parts[1] if len(parts) == 4 else None,
        "type": body["notice"].get("type"),
        "rule": rule.get("name") if isinstance(rule, dict) else None,
        "event": body["notice"].get("causationid"),
        **{name: data.get(name) for name in ("run", "step", "stage", "message", "customer", "subscription", "invoice")},
        "amounts": data["amounts"] if isinstance(data.get("amounts"), dict) else {},
        "because": data.get("because", ""),
    }


# ---- the connection to it -------------------------------------------------------------------------------------------
def ensure_sample_connection(store: Store, secrets: Secrets, tenant: str, base_url: str, now: datetime) -> None:
    """Make the connection `crm` that points to this inbox, unless there is one of that name. Idempotent."""
    if store.get(tenant, "connection", NAME) is not None:
        return
    secret_name = f"connection/{tenant}/{NAME}"
    if not secrets.get(secret_name):
        secrets.put(secret_name, "whsec_" + base64.b64encode(token_bytes(32)).decode())
    body = {
        "name": NAME,
        "type": "webhook",
        "url": base_url.rstrip("/") + PATH + f"?tenant={tenant}",
        "state": "on",
        "reason": "",
        "created_at": iso(now),
        "secret_name": secret_name,
    }
    made = entry(now, "signalbox", "add connection", NAME, None, {key: body[key] for key in ("name", "type", "url")})
    try:
        store.commit(tenant, None, [Put("connection", NAME, body, ABSENT), made])
    except Conflict:
        return  # another process was first
