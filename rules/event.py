"""An Event is one Stripe event as Signalbox keeps it: a CloudEvent with its keys, its transaction and its times.

Instants are aware UTC datetimes, except `Event.created`, which stays Stripe's own whole seconds because windows
are counted in them. In documents an instant is fixed-width ISO 8601 text, so text order is time order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

JSON = Mapping[str, Any]
FIRST, LAST = -30_000_000_000, 220_000_000_000  # unix seconds, years 1019 and 8941: spans and zones still fit around


def iso(instant: datetime) -> str:
    """The fixed-width text of an instant: `2026-11-23T10:03:00.000000Z`.

    >>> iso(seconds(1_800_000_000))
    '2027-01-15T08:00:00.000000Z'
    """
    return _text(instant if instant.tzinfo is UTC else instant.astimezone(UTC))


@lru_cache(maxsize=256)  # one decision or step writes the same instant many times
def _text(instant: datetime) -> str:
    """Of an instant in UTC: elsewhere two that differ may compare equal, in the hour that the clock shows twice."""
    return instant.isoformat(timespec="microseconds")[:-6] + "Z"  # a tenth of strftime's time


def instant(text: str) -> datetime:
    """The instant that `iso` wrote."""
    return datetime.fromisoformat(text)


def seconds(created: int) -> datetime:
    """Stripe's whole seconds as an instant; a number that no calendar has becomes the nearest that one has."""
    return datetime.fromtimestamp(min(max(created, FIRST), LAST), UTC)


def within(instant: datetime) -> datetime:
    """An instant that somebody wrote, brought to where spans and zones still fit around it."""
    naive = instant.replace(tzinfo=None)
    return instant if _EARLIEST < naive < _LATEST else seconds(FIRST if naive < _LATEST else LAST)


_EARLIEST, _LATEST = (datetime.fromtimestamp(at, UTC).replace(tzinfo=None) for at in (FIRST, LAST))


@dataclass(frozen=True, slots=True)
class Event:
    """One Stripe event, personal values already replaced by tokens.

    id: Stripe's event id. type: Stripe's type. tenant: `account/mode`, part of every key.
    created: Stripe's event time, unix seconds. recorded: when we heard of it.
    data: the whole tokenised Stripe envelope (rule paths start here: `data.object...`, `type`, `created`).
    correlation: the transaction id of the whole journey. partition: the ordering key, `cus:cus_...` where known.
    keys: every subject key the event belongs to, such as `("cus:cus_1", "sub:sub_1", "in:in_1")`.
    causation: our own command id when our action caused it, else None.
    source: `webhook`, or `import` for history (no rule acts on history).
    received: the span of its reception, `{"span_id", "start", "end"}`, or empty.
    """

    id: str
    type: str
    tenant: str
    created: int
    recorded: datetime
    data: JSON
    correlation: str
    partition: str
    keys: tuple[str, ...] = ()
    causation: str | None = None
    source: str = "webhook"
    received: JSON | None = None

    def key(self, prefix: str) -> str | None:
        """The event's first key with this prefix (`cus`, `sub`, `in`, `pi`, `ch`, `card`, `acct`), or None."""
        start = prefix + ":"
        for key in self.keys:
            if key.startswith(start):
                return key
        return None

    @property
    def trace_id(self) -> str:
        return trace_id(self.tenant, self.correlation)

    def to_cloudevent(self) -> dict[str, Any]:
        """The CloudEvents 1.0 JSON form (https://cloudevents.io), with the extensions of this project."""
        body: dict[str, Any] = {
            "specversion": "1.0",
            "id": self.id,
            "source": f"stripe/{self.tenant}",
            "type": self.type,
            "time": seconds(self.created).isoformat()[:-6] + "Z",
            "datacontenttype": "application/json",
            "recordedtime": iso(self.recorded),
            "correlationid": self.correlation,
            "partitionkey": self.partition,
            "tenant": self.tenant,
            "origin": self.source,
            "keys": list(self.keys),
            "data": self.data,
        }
        if self.causation:
            body["causationid"] = self.causation
        if self.received:
            body["received"] = self.received
        return body

    @classmethod
    def from_cloudevent(cls, body: JSON) -> Event:
        """The inverse of `to_cloudevent`; raises KeyError or ValueError on what it did not write."""
        return cls(
            id=body["id"],
            type=body["type"],
            tenant=body["tenant"],
            created=int(datetime.fromisoformat(body["time"]).timestamp()),
            recorded=instant(body["recordedtime"]),
            data=body["data"],
            correlation=body["correlationid"],
            partition=body["partitionkey"],
            keys=tuple(body["keys"]),
            causation=body.get("causationid"),
            source=body["origin"],
            received=body.get("received"),
        )


def trace_id(tenant: str, correlation: str) -> str:
    """The W3C trace id of a transaction: 32 hex digits, derived, so that every station agrees without asking."""
    return hashlib.sha256(f"{tenant}\n{correlation}".encode()).hexdigest()[:32]


def span_id(*parts: str) -> str:
    """A W3C span id derived from what the span is about: 16 hex digits."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
