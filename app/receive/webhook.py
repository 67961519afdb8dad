"""Receive: verify a webhook on its raw bytes, replace personal values by tokens, make one Event durable. No rule runs.

The answer is 2xx only when the bus has the event; everything that is no event of Stripe's is a 4xx with its mend, and
what could not be made durable a 503, so that Stripe sends it again. Of the raw body only a digest is kept; a payload
whose shape is not its type's goes to the quarantine instead, and the answer is 200 all the same.
"""

from __future__ import annotations

import logging
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from app import logs
from app.digests import sha256
from rules import personal
from rules.conforming import Fault, shared
from rules.event import Event, span_id
from rules.ports import Bus, Clock, Refused, Unavailable, Unconfigured, Unsigned, Vault, Verifier
from rules.subjects import correlation_of, keys_of, partition_of

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
LIMIT = 1024 * 1024  # bytes; Stripe's largest events are a tenth of it
RETRY_AFTER = 10  # seconds
LATEST = 253402300799  # the last second of the year 9999
OWN_KEY = re.compile(r"(run_[0-9a-f]{24}/[^/\s]{1,100})/\d{1,6}")  # the Idempotency-Key of our own commands
ID = re.compile(r"[A-Za-z0-9_.:-]{1,255}")
TYPE = re.compile(r"[A-Za-z0-9_.\[\]-]{1,255}")  # `v2.core.account[requirements].updated`
ACCOUNT = re.compile(r"acct_[A-Za-z0-9]{1,60}")
LONGEST_KEY = 300  # characters of a subject key or transaction id; Stripe's ids have at most 255
FEW = 16
LARGE, LARGEST = 600_000, 800_000  # bytes of a body that is looked at, and of what can be kept of it beside its trace

# (envelope, account, raw body, what is wrong, now): keeps it durably or raises Unavailable; the entry's id
Quarantine = Callable[[Mapping[str, Any], str, bytes, Sequence[Fault], datetime], str]


@dataclass(frozen=True, slots=True)
class Receipt:
    """The answer to Stripe. status: 200, 400, 413 or 503. problem: what was wrong and its mend, free of secrets and
    personal values."""

    status: int
    problem: str | None = None
    event_id: str | None = None
    retry_after: int | None = None
    unsigned: bool = False  # whoever sent it does not know the secret; not logged yet, since such come in floods


def receive(
    headers: Mapping[str, str],
    body: bytes,
    bus: Bus,
    vault: Vault,
    verifier: Verifier,
    now: datetime,
    clock: Clock | None = None,
    quarantine: Quarantine | None = None,
) -> Receipt:
    """Take one webhook. now: when the request began; clock: tells the end of the reception's span. quarantine: takes
    what does not conform; without one no shapes are checked. Never raises for bad input; what it raises is a fault of
    ours."""
    if len(body) > LIMIT:
        return _refuse(Receipt(413, f"The body is larger than {LIMIT} bytes; Stripe sends no such event."))
    try:
        signer = verifier.verify(headers, body, now)
        envelope = parse(body)
        account = account_of(signer, envelope)
        faults = shared().faults(envelope) if quarantine else ()
        if not faults:
            event = event_of(envelope, account, vault, now, raw=body, clock=clock)
            faults = unkeepable(event, body) if quarantine else ()
        if quarantine and faults:
            return Receipt(200, event_id=quarantine(envelope, account, body, faults, now))
        bus.publish(event)
    except Unconfigured as error:
        return _refuse(Receipt(503, str(error), retry_after=60))
    except Unsigned as error:
        return Receipt(400, str(error), unsigned=True)
    except Refused as error:
        return _refuse(Receipt(400, str(error)))
    except (RecursionError, TypeError, ValueError) as error:  # perhaps it nests too deeply: asking each time is slow
        return _too_deep(body, error)
    except Unavailable as error:
        logs.line("event.not_durable", logging.ERROR, error=str(error))
        return Receipt(503, "The event could not be made durable; send it again.", retry_after=RETRY_AFTER)
    logs.line(
        "event.received",
        correlationid=event.correlation,
        event=event.id,
        type=event.type,
        tenant=event.tenant,
        span=event.received["span_id"] if event.received else None,
    )
    return Receipt(200, event_id=event.id)


def _too_deep(body: bytes, failure: Exception) -> Receipt:
    """The refusal of what nests too deeply; the failure goes on when that is not why."""
    try:
        check_depth(orjson.loads(body))
    except Refused as error:
        return _refuse(Receipt(400, str(error)))
    raise failure


def _refuse(receipt: Receipt) -> Receipt:
    logs.line("event.refused", logging.WARNING, status=receipt.status, problem=receipt.problem)
    return receipt


# ---- what an event is -----------------------------------------------------------------------------------------------
def parse(body: bytes | str) -> dict[str, Any]:
    """The event of a body, snapshot or thin, checked as far as everything downstream relies on. Raises Refused."""
    try:
        envelope: dict[str, Any] = orjson.loads(body)
    except ValueError:
        raise Refused("The body is not JSON.") from None
    check(envelope)
    return envelope


def check_depth(envelope: Any) -> None:
    """Raise Refused for what nests deeper than JSON can be written again: 254 levels; Stripe's deepest event has 12."""
    try:
        orjson.dumps({"data": envelope})
    except (TypeError, RecursionError):
        raise Refused("The event is nested too deeply; Stripe sends no such event.") from None


def check(envelope: Any) -> None:
    """Raise Refused for what is no Stripe event."""
    if not isinstance(envelope, dict):
        raise Refused("The body is JSON but no event: an object is expected.")
    if envelope.get("object") not in ("event", "v2.core.event"):
        raise Refused('The body is no Stripe event: "object" is neither "event" nor "v2.core.event".')
    for name, form in (("id", ID), ("type", TYPE)):
        value = envelope.get(name)
        if not (isinstance(value, str) and form.fullmatch(value)):
            raise Refused(f'The event has no usable "{name}".')
    if not isinstance(envelope.get("livemode"), bool):
        raise Refused('The event does not say its mode: "livemode" must be true or false.')
    created_of(envelope)
    if envelope["object"] == "event":
        data = envelope.get("data")
        if not (isinstance(data, dict) and isinstance(data.get("object"), dict)):
            raise Refused('The event has no "data.object".')


def unkeepable(event: Event, raw: bytes) -> tuple[Fault, ...]:
    """What no store would take, though its shape is right."""
    found = []
    if max(map(len, (event.correlation, *event.keys))) > LONGEST_KEY:
        found.append(Fault("the event", f"one of its ids has more than {LONGEST_KEY} characters"))
    if len(raw) > LARGE and len(zlib.compress(orjson.dumps(event.data))) > LARGEST:
        found.append(Fault("the event", "is larger than can be kept"))
    return tuple(found)


def created_of(envelope: Mapping[str, Any]) -> int:
    """Stripe's event time in whole seconds; thin events write it as ISO 8601 text."""
    created = envelope.get("created")
    if isinstance(created, str) and envelope.get("object") == "v2.core.event":
        created = _seconds(created)
    if isinstance(created, bool) or not isinstance(created, int) or not 0 <= created <= LATEST:
        raise Refused('The event has no usable "created" time.')
    return created


def _seconds(text: str) -> int | None:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return None
    return int(instant.timestamp()) if instant.tzinfo else None


def account_of(signer: str, envelope: Mapping[str, Any]) -> str:
    """The account whose secret signed. signer: with a mode behind it, `default/test`, it signs no event of the other:
    the secret of a test endpoint is in many more hands. Raises Refused."""
    account, _, mode = signer.partition("/")
    if mode and (mode == "live") != envelope["livemode"]:
        raise Refused(f"The event is not of {mode} mode, for which the secret that signed it is set.")
    return account


def tenant_of(envelope: Mapping[str, Any], account: str) -> str:
    """`account/mode`. account: the one the signing secret is set for; an event of a connected account names its own."""
    connected = envelope.get("account") or envelope.get("context") or ""
    found = ACCOUNT.search(connected) if isinstance(connected, str) else None
    return f"{found[0] if found else account}/{'live' if envelope['livemode'] else 'test'}"


def causation_of(envelope: Mapping[str, Any]) -> str | None:
    """The id of our own command, when the request that caused the event carried its key."""
    reason = envelope.get("reason")
    request = envelope.get("request") or (reason.get("request") if isinstance(reason, dict) else None)
    key = request.get("idempotency_key") if isinstance(request, dict) else None
    found = OWN_KEY.fullmatch(key) if isinstance(key, str) else None
    return found[1] if found else None


def event_of(
    envelope: dict[str, Any],
    account: str,
    vault: Vault,
    now: datetime,
    raw: bytes | None = None,
    source: str = "webhook",
    clock: Clock | None = None,
) -> Event:
    """The Event of a checked envelope, its personal values in the vault; changes the envelope. raw: the bytes it was
    parsed from, when they are at hand. Raises Unavailable when the vault cannot take the values."""
    tenant = tenant_of(envelope, account)
    keys = keys_of(envelope, tenant.split("/")[0])
    correlation = correlation_of(envelope)
    subject = next((key[4:] for key in keys if key.startswith("cus:")), correlation)

    def replacing(values: Sequence[str], sorts: Sequence[str]) -> list[str]:
        return vault.tokenise(tenant, subject, values, sorts)

    if raw is None or b"tok_" in raw:
        personal.disarm(envelope, replacing)
    personal.cleanse(envelope, replacing, None if raw is None else _at_signs(raw))
    return Event(
        id=envelope["id"],
        type=envelope["type"],
        tenant=tenant,
        created=created_of(envelope),
        recorded=now,
        data=envelope,
        correlation=correlation,
        partition=partition_of(keys),
        keys=keys,
        causation=causation_of(envelope),
        source=source,
        received=_reception(tenant, envelope["id"], raw, now, clock),
    )


def _at_signs(raw: bytes) -> int:
    """How many there are, written in any way that is looked for."""
    return _count(raw, b"@", b"@") + _count(raw, b"\\", b"\\u0040") + _count(raw, b"%", b"%40")


def _count(raw: bytes, first: bytes, text: bytes) -> int:
    """`raw.count(text)`, in a twentieth of its time where the text's first byte is rare: finding one byte is quick."""
    found, at = 0, raw.find(first)
    for _ in range(FEW):
        if at < 0:
            return found
        found += raw.startswith(text, at)
        at = raw.find(first, at + 1)
    return found + (raw.count(text, at) if at >= 0 else 0)


def _reception(tenant: str, id: str, raw: bytes | None, now: datetime, clock: Clock | None) -> dict[str, Any] | None:
    """The span of the reception and the digest of what was received; None for history."""
    if raw is None:
        return None
    end = clock.now() if clock else now
    return {
        "span_id": span_id(tenant, id, "receive"),
        "start": nanoseconds(now),
        "end": nanoseconds(end),
        "digest": sha256(raw),
    }


def nanoseconds(instant: datetime) -> int:
    """Unix time, exactly: a float would lose the last digits."""
    return (instant - EPOCH) // MICROSECOND * 1000
