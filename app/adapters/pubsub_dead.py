"""What a Pub/Sub queue gave up, filed in the store: a topic keeps a message for days, a dead letter waits for a person.

Messages of the dead letter topic become documents and are acknowledged only then. One document for each event, however
often it died; an event that was handled after all, as another copy of its message, is no dead letter.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app import logs
from app.adapters.pubsub_calls import Subscription, Taken
from rules.event import instant, iso
from rules.kinds import SYSTEM
from rules.ports import Conflict, DeadDelivery, Delete, Document, Put, Store, Unavailable

KIND = "dead_event"
AT_ONCE = 100  # messages of one look
UNNAMED = "given up by Pub/Sub after its last attempt"


@dataclass(frozen=True, slots=True)
class Tenants:
    """every: the ids of all of them. ensure: makes one known, so that its dead letters are listed."""

    every: Callable[[], Sequence[str]]
    ensure: Callable[[str, datetime], None]


class DeadEvents:
    """The dead letters of one queue. An id is `evt_1@default/test`; of a message that names no event or no tenant
    `message-17@`."""

    def __init__(self, subscription: Subscription, store: Store, tenants: Tenants) -> None:
        self._subscription = subscription
        self._store = store
        self._tenants = tenants

    def file(self, now: datetime) -> int:
        """Take what came since; how many. Raises Unavailable: what is not filed stays with Pub/Sub."""
        messages = self._subscription.take(AT_ONCE)
        filed: list[Taken] = []
        try:
            for taken in messages:
                if self._file(taken, now):
                    filed.append(taken)
        except Unavailable:
            self._subscription.again([taken for taken in messages if taken not in filed])
            raise
        finally:
            self._subscription.done(filed)
        return len(filed)

    def listed(self, limit: int) -> list[DeadDelivery]:
        """The dead letters of every tenant, what died first in front."""
        found: list[DeadDelivery] = []
        for tenant in (SYSTEM, *self._tenants.every()):
            after = None
            while len(found) < limit:
                page = self._store.find(tenant, KIND, order="at", after=after, limit=min(500, limit - len(found)))
                found += map(_dead_delivery, page.items)
                after = page.next
                if after is None:
                    break
        return sorted(found, key=lambda dead: dead.at)

    def found(self, ids: Sequence[str]) -> Iterator[Document]:
        """The documents of these ids; what is no dead letter any more is passed over."""
        for id in dict.fromkeys(ids):
            name, _, tenant = id.rpartition("@")
            document = self._store.get(tenant or SYSTEM, KIND, name) if name else None
            if document is not None:
                yield document

    def remove(self, document: Document) -> bool:
        """Whether it was still there as it was read."""
        try:
            self._store.commit(document.tenant, None, [Delete(KIND, document.id, document.version)])
        except Conflict:
            return False
        return True

    def _file(self, taken: Taken, now: datetime) -> bool:
        """Whether Pub/Sub may forget it."""
        body = body_of(taken)
        tenant, event = body["tenant"] or SYSTEM, body["event_id"]
        if event and self._store.get(tenant, "event", event) is not None:
            return True
        if body["tenant"]:
            self._tenants.ensure(tenant, now)
        id = event or f"message-{body['message']}"
        try:
            # written over what is there: a replay that removes the death before cannot remove this one
            self._store.commit(tenant, None, [Put(KIND, id, body)])
        except ValueError as error:  # too large for a document: Pub/Sub keeps it, and its age is watched
            logs.line("dead_event.not_filed", logging.ERROR, tenant=tenant, event=event, error=str(error))
            return False
        return True


def body_of(taken: Taken) -> dict[str, Any]:
    """The document of a dead message, whole: what it takes to publish it again, and what a person asks first."""
    message, attributes = taken.message, dict(taken.message.attributes)
    tenant, event = attributes.get("ce-tenant", ""), attributes.get("ce-id", "")
    named = bool(tenant and event)
    return {
        "tenant": tenant if named else "",
        "event_id": event if named else "",
        "type": attributes.get("ce-type", ""),
        "reason": attributes.get("reason", UNNAMED),
        "attempts": int(attributes.get("attempts") or attributes.get("CloudPubSubDeadLetterSourceDeliveryCount") or 0),
        "at": iso(message.publish_time),
        "message": str(message.message_id),
        "key": attributes.get("ce-partitionkey", ""),
        "attributes": {name: value for name, value in attributes.items() if name.startswith("ce-")},
        "data": base64.b64encode(message.data).decode(),
    }


def data_of(document: Document) -> bytes:
    return base64.b64decode(document.body["data"])


def _dead_delivery(document: Document) -> DeadDelivery:
    body = document.body
    return DeadDelivery(
        f"{document.id}@{body['tenant']}",
        body["tenant"],
        body["event_id"],
        body["type"],
        body["reason"],
        body["attempts"],
        instant(body["at"]),
    )
