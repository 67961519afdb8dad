"""The Bus and the Inbox on Pub/Sub: an event is published in the CloudEvents binary form, ordered by its partition.

At least once, as everywhere: a publish that timed out may still have happened, and an event published twice is two
messages. Back-off between tries is the subscription's retry policy; a delivery that is given up goes to the dead
letter topic with its reason.
"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import orjson

from app.adapters.delivery import given_up, settle
from app.adapters.pubsub_calls import PATIENCE, Subscription, Taken, send
from app.adapters.pubsub_dead import DeadEvents, Tenants, data_of
from app.adapters.pubsub_envelope import decoded, encoded, is_enveloped
from rules.event import Event, span_id
from rules.ports import DeadDelivery, Delivery, Disposition, Refused, Store, Unavailable

ELSEWHERE = 900.0  # seconds; the retry policy's longest wait is 600
LOOK = 0.5  # seconds that a look for dead letters waits for one
PIECE = 1_000  # bytes of an attribute's value; Pub/Sub takes 1,024
UNREADABLE = "this is no event that this version can read"
_PLAIN = ("specversion", "id", "source", "type", "time", "recordedtime", "correlationid", "partitionkey", "tenant")
_PLAIN_TOO = ("origin", "causationid", "datacontenttype")
_LISTED = ("keys", "received")


# ---- the message ----------------------------------------------------------------------------------------------------
def attributes_of(event: Event) -> dict[str, str]:
    """The `ce-` attributes of an event (https://github.com/cloudevents/spec, Pub/Sub binding, binary mode); what is no
    text is JSON, and what is too long for one attribute goes on in `name-2`, `name-3`. `ce-traceparent` is W3C's."""
    body = event.to_cloudevent()
    found = {f"ce-{name}": str(body[name]) for name in (*_PLAIN, *_PLAIN_TOO) if name in body}
    for name in _LISTED:
        if name in body:
            found.update(_pieces(f"ce-{name}", orjson.dumps(body[name]).decode()))
    found["ce-traceparent"] = f"00-{event.trace_id}-{span_id(event.tenant, event.id, 'send')}-01"
    return found


def event_of(attributes: dict[str, str], data: bytes) -> Event:
    """The event of a message; of one without the envelope, as releases before the topic's schema wrote it, by its
    attributes. Raises KeyError, ValueError or TypeError on what no release wrote."""
    parsed = orjson.loads(data)
    if is_enveloped(parsed):
        return Event.from_cloudevent(decoded(parsed))
    body: dict[str, Any] = {name: attributes[f"ce-{name}"] for name in _PLAIN}
    for name in _PLAIN_TOO:
        if f"ce-{name}" in attributes:
            body[name] = attributes[f"ce-{name}"]
    for name in _LISTED:
        if f"ce-{name}" in attributes:
            body[name] = orjson.loads(_joined(f"ce-{name}", attributes))
    return Event.from_cloudevent({**body, "data": parsed})


def _pieces(name: str, text: str) -> Iterator[tuple[str, str]]:
    size = PIECE // 4  # characters, of at most 4 bytes each
    for n, start in enumerate(range(0, len(text), size), start=1):
        yield (name if n == 1 else f"{name}-{n}"), text[start : start + size]


def _joined(name: str, attributes: dict[str, str]) -> str:
    text, n = attributes[name], 2
    while f"{name}-{n}" in attributes:
        text, n = text + attributes[f"{name}-{n}"], n + 1
    return text


# ---- the bus --------------------------------------------------------------------------------------------------------
class PubSubBus:
    """Bus on a topic. publisher: google.cloud.pubsub_v1.PublisherClient with message ordering on; it gathers what
    concurrent callers publish into one request. topic: its full name. data: of a message; our own topic takes only
    the envelope, by its schema."""

    def __init__(
        self, publisher: Any, topic: str, patience: float = PATIENCE, data: Callable[[Event], bytes] = encoded
    ) -> None:
        self._publisher = publisher
        self._topic = topic
        self._patience = patience
        self._data = data

    def publish(self, event: Event) -> None:
        key = event.partition[:PIECE]
        send(self._publisher, self._topic, self._data(event), key, attributes_of(event), self._patience)


# ---- the inbox ------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Names:
    """The full names of what an inbox reads and writes. dead_topic, dead_subscription: where what was given up lies.
    schema: what the topic holds its messages to. quarantine_...: where it is told what did not conform."""

    topic: str
    subscription: str
    dead_topic: str
    dead_subscription: str
    schema: str = ""
    quarantine_topic: str = ""
    quarantine_subscription: str = ""


class PubSubInbox:
    """Inbox on a subscription, by pulling, as suits a tick; app.adapters.pubsub_stream is for workers.

    `now` counts nothing here: Pub/Sub keeps the time between tries. wait: seconds that a pull waits for a first
    message. `oldest` knows only what this process was handed; the topic's age is Cloud Monitoring's to tell.
    """

    def __init__(
        self, subscriber: Any, publisher: Any, names: Names, store: Store, tenants: Tenants, wait: float = 1.0
    ) -> None:
        self._subscriber = subscriber
        self._publisher = publisher
        self._names = names
        self._queue = Subscription(subscriber, names.subscription, wait)
        self._dead = DeadEvents(Subscription(subscriber, names.dead_subscription, LOOK), store, tenants)
        self._handed: dict[str, tuple[datetime, float]] = {}  # when it was published, and when we had it last
        self._lock = threading.Lock()

    def drain(
        self, handler: Callable[[Sequence[Delivery]], Sequence[Disposition]], now: datetime, limit: int = 256
    ) -> int:
        messages = self._take(limit)
        with self._lock:
            at = time.monotonic()
            self._handed.update((taken.message.message_id, (taken.message.publish_time, at)) for taken in messages)
        readable = [(taken, delivery) for taken in messages if (delivery := _delivery(taken)) is not None]
        try:
            said = settle(handler, [delivery for _, delivery in readable])
        except Unavailable:
            self._again(messages)
            raise
        answers = dict(zip([taken.ack_id for taken, _ in readable], said, strict=True))
        unreadable = Disposition("dead", UNREADABLE)
        self._settle([(taken, answers.get(taken.ack_id, unreadable)) for taken in messages])
        return len(messages)

    def pushed(self, handler: Callable[[Sequence[Delivery]], Sequence[Disposition]], body: Any) -> bool:
        """Handle the message of a push request's body; whether it is settled and not to come again. Raises Refused
        for what is no such body, Unavailable."""
        taken = _pushed(body)
        delivery = _delivery(taken)
        said = settle(handler, [delivery])[0] if delivery else Disposition("dead", UNREADABLE)
        if said.kind == "done":
            return True
        if given_up(said, taken.attempt):
            self._bury(taken, said.reason)
            return True
        return False

    def oldest(self) -> datetime | None:
        """What was handed back and did not return in time went to another worker."""
        with self._lock:
            here = time.monotonic() - ELSEWHERE
            self._handed = {id: known for id, known in self._handed.items() if known[1] > here}
            return min((published for published, _ in self._handed.values()), default=None)

    def file_dead(self, now: datetime) -> int:
        """File what came to the dead letter topic, given up here or by Pub/Sub; how many."""
        return self._dead.file(now)

    def dead(self, limit: int = 100) -> list[DeadDelivery]:
        return self._dead.listed(limit)

    def replay(self, ids: Sequence[str], now: datetime) -> int:
        """Publish dead deliveries anew. now: not used; they are due at once."""
        count = 0
        for document in self._dead.found(ids):  # published before it is removed: a crash repeats it and loses nothing
            body = document.body
            data = _enveloped(body["attributes"], data_of(document))
            send(self._publisher, self._names.topic, data, body["key"][:PIECE], body["attributes"])
            count += self._dead.remove(document)
        return count

    def discard(self, ids: Sequence[str]) -> int:
        return sum(self._dead.remove(document) for document in self._dead.found(ids))

    # ---- how messages come and go -----------------------------------------------------------------------------------
    def _take(self, limit: int) -> list[Taken]:
        return self._queue.take(limit)

    def _done(self, messages: Sequence[Taken]) -> None:
        self._queue.done(messages)

    def _again(self, messages: Sequence[Taken]) -> None:
        self._queue.again(messages)

    def _settle(self, settled: Sequence[tuple[Taken, Disposition]]) -> None:
        done, again = [], []
        for taken, disposition in settled:
            if disposition.kind == "done":
                done.append(taken)
            elif given_up(disposition, taken.attempt):
                self._bury(taken, disposition.reason)
                done.append(taken)
            else:
                again.append(taken)
        self._done(done)
        self._again(again)
        with self._lock:
            for taken in done:
                self._handed.pop(taken.message.message_id, None)

    def _bury(self, taken: Taken, reason: str) -> None:
        """To the dead letter topic, in no order: a dead letter holds up nobody."""
        attributes = {**taken.message.attributes, "reason": reason[: PIECE // 4], "attempts": str(taken.attempt)}
        send(self._publisher, self._names.dead_topic, taken.message.data, "", attributes)


def _enveloped(attributes: dict[str, str], data: bytes) -> bytes:
    """What died before the topic had a schema is put into an envelope; what is no event stays as it is."""
    try:
        return encoded(event_of(dict(attributes), data))
    except (KeyError, ValueError, TypeError):
        return data


def _delivery(taken: Taken) -> Delivery | None:
    try:
        event = event_of(dict(taken.message.attributes), taken.message.data)
    except (KeyError, ValueError, TypeError):
        return None
    return Delivery(taken.message.message_id, event, taken.attempt, taken.message.publish_time)


def _pushed(body: Any) -> Taken:
    """The message of a push request (https://cloud.google.com/pubsub/docs/push#receive_push)."""
    try:
        message = body["message"]
        found = SimpleNamespace(
            message_id=str(message["messageId"]),
            data=base64.b64decode(message.get("data", ""), validate=True),
            attributes=dict(message.get("attributes") or {}),
            ordering_key=str(message.get("orderingKey") or ""),
            publish_time=datetime.fromisoformat(message["publishTime"]) if message.get("publishTime") else None,
        )
        return Taken(found, "", int(body.get("deliveryAttempt") or 1))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise Refused("This is no push request of Pub/Sub, with messageId, data and attributes.") from None
