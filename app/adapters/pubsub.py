"""The Bus and the Inbox on Pub/Sub: an event is published in the CloudEvents binary form, ordered by its partition.

At least once, as everywhere: a publish that timed out may still have happened, and an event published twice is two
messages. Back-off between tries is the subscription's retry policy; a delivery that is given up goes to the dead
letter topic with its reason.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import orjson
from google.api_core import exceptions
from google.api_core.retry import Retry, if_exception_type
from google.cloud.pubsub_v1.publisher.exceptions import PublishToPausedOrderingKeyException

from app.adapters.delivery import given_up, settle
from rules.event import Event
from rules.ports import DeadDelivery, Delivery, Disposition, Unavailable

PATIENCE = 10.0  # seconds for one answer of Pub/Sub
PIECE = 1_000  # bytes of an attribute's value; Pub/Sub takes 1,024
_PLAIN = ("specversion", "id", "source", "type", "time", "recordedtime", "correlationid", "partitionkey", "tenant")
_PLAIN_TOO = ("origin", "causationid", "datacontenttype")
_LISTED = ("keys", "received")


# ---- the message ----------------------------------------------------------------------------------------------------
def attributes_of(event: Event) -> dict[str, str]:
    """The `ce-` attributes of an event (https://github.com/cloudevents/spec, Pub/Sub binding, binary mode); what is no
    text is JSON, and what is too long for one attribute goes on in `name-2`, `name-3`."""
    body = event.to_cloudevent()
    found = {f"ce-{name}": str(body[name]) for name in (*_PLAIN, *_PLAIN_TOO) if name in body}
    for name in _LISTED:
        if name in body:
            found.update(_pieces(f"ce-{name}", orjson.dumps(body[name]).decode()))
    return found


def event_of(attributes: dict[str, str], data: bytes) -> Event:
    """The inverse of `attributes_of`; raises KeyError or ValueError on what it did not write."""
    body: dict[str, Any] = {name: attributes[f"ce-{name}"] for name in _PLAIN}
    for name in _PLAIN_TOO:
        if f"ce-{name}" in attributes:
            body[name] = attributes[f"ce-{name}"]
    for name in _LISTED:
        if f"ce-{name}" in attributes:
            body[name] = orjson.loads(_joined(f"ce-{name}", attributes))
    return Event.from_cloudevent({**body, "data": orjson.loads(data)})


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
    concurrent callers publish into one request. topic: its full name."""

    def __init__(self, publisher: Any, topic: str, patience: float = PATIENCE) -> None:
        self._publisher = publisher
        self._topic = topic
        self._patience = patience

    def publish(self, event: Event) -> None:
        key = event.partition[:PIECE]
        data = orjson.dumps(event.data)
        with _named():
            try:
                self._send(data, key, event)
            except PublishToPausedOrderingKeyException:  # an earlier failure of this customer stopped the key
                self._publisher.resume_publish(self._topic, key)
                self._send(data, key, event)

    def _send(self, data: bytes, key: str, event: Event) -> None:
        future = self._publisher.publish(self._topic, data, ordering_key=key, **attributes_of(event))
        future.result(timeout=self._patience)


# ---- the inbox ------------------------------------------------------------------------------------------------------
class PubSubInbox:
    """Inbox on a subscription, by pulling. dead_topic, dead_subscription: where what was given up lies.

    `now` counts nothing here: Pub/Sub keeps the time between tries. wait: seconds that a pull waits for a first
    message. `oldest` knows only what this process was handed; the topic's age is Cloud Monitoring's to tell.
    """

    def __init__(
        self,
        subscriber: Any,
        publisher: Any,
        subscription: str,
        topic: str,
        dead_topic: str,
        dead_subscription: str,
        wait: float = 1.0,
    ) -> None:
        self._subscriber = subscriber
        self._publisher = publisher
        self._subscription = subscription
        self._topic = topic
        self._dead_topic = dead_topic
        self._dead_subscription = dead_subscription
        self._wait = wait
        self._handed: dict[str, datetime] = {}
        self._lock = threading.Lock()

    def drain(
        self, handler: Callable[[Sequence[Delivery]], Sequence[Disposition]], now: datetime, limit: int = 256
    ) -> int:
        messages = self._pull(self._subscription, limit)
        with self._lock:
            self._handed.update((m.message.message_id, m.message.publish_time) for m in messages)
        readable = [(message, delivery) for message in messages if (delivery := _delivery(message)) is not None]
        try:
            said = settle(handler, [delivery for _, delivery in readable])
        except Unavailable:
            self._return(self._subscription, messages)
            raise
        answers = dict(zip([message.ack_id for message, _ in readable], said, strict=True))
        unreadable = Disposition("dead", "this is no event that this version can read")
        self._settle([(message, answers.get(message.ack_id, unreadable)) for message in messages])
        return len(messages)

    def oldest(self) -> datetime | None:
        with self._lock:
            return min(self._handed.values(), default=None)

    def dead(self, limit: int = 100) -> list[DeadDelivery]:
        found = self._pull(self._dead_subscription, limit)
        self._return(self._dead_subscription, found)
        return sorted((_dead_delivery(message) for message in found), key=lambda dead: dead.at)

    def replay(self, ids: Sequence[str], now: datetime) -> int:
        """Publish dead deliveries anew. now: not used; they are due at once."""
        found = self._pull(self._dead_subscription, 1_000)
        chosen = [message for message in found if message.message.message_id in ids]
        for message in chosen:
            kept = {name: value for name, value in message.message.attributes.items() if name.startswith("ce-")}
            self._publish(self._topic, message, kept)
        self._acknowledge(self._dead_subscription, chosen)
        self._return(self._dead_subscription, [message for message in found if message not in chosen])
        return len(chosen)

    def _settle(self, settled: Sequence[tuple[Any, Disposition]]) -> None:
        done, again = [], []
        for message, disposition in settled:
            if disposition.kind == "done":
                done.append(message)
            elif given_up(disposition, max(message.delivery_attempt, 1)):
                self._bury(message, disposition.reason)
                done.append(message)
            else:
                again.append(message)
        self._acknowledge(self._subscription, done)
        self._return(self._subscription, again)
        with self._lock:
            for message in done:
                self._handed.pop(message.message.message_id, None)

    def _bury(self, message: Any, reason: str) -> None:
        attempts = str(max(message.delivery_attempt, 1))
        attributes = {**message.message.attributes, "reason": reason[: PIECE // 4], "attempts": attempts}
        self._publish(self._dead_topic, message, attributes)

    def _publish(self, topic: str, message: Any, attributes: dict[str, str]) -> None:
        key = message.message.ordering_key
        with _named():
            future = self._publisher.publish(topic, message.message.data, ordering_key=key, **attributes)
            future.result(timeout=PATIENCE)

    def _pull(self, subscription: str, limit: int) -> list[Any]:
        request = {"subscription": subscription, "max_messages": limit}
        with _named():
            try:
                return list(self._subscriber.pull(request=request, timeout=self._wait, retry=None).received_messages)
            except exceptions.DeadlineExceeded:  # nothing came
                return []

    def _acknowledge(self, subscription: str, messages: Sequence[Any]) -> None:
        if messages:
            request = {"subscription": subscription, "ack_ids": [message.ack_id for message in messages]}
            with _named():
                self._subscriber.acknowledge(request=request, timeout=PATIENCE, retry=_AGAIN)

    def _return(self, subscription: str, messages: Sequence[Any]) -> None:
        """Hand messages back, to come again when the retry policy says."""
        if messages:
            ack_ids = [message.ack_id for message in messages]
            request = {"subscription": subscription, "ack_ids": ack_ids, "ack_deadline_seconds": 0}
            with _named():
                self._subscriber.modify_ack_deadline(request=request, timeout=PATIENCE, retry=_AGAIN)


_AGAIN = Retry(if_exception_type(exceptions.ServiceUnavailable), initial=0.1, maximum=2.0, timeout=PATIENCE)


def _delivery(message: Any) -> Delivery | None:
    try:
        event = event_of(dict(message.message.attributes), message.message.data)
    except (KeyError, ValueError, TypeError):
        return None
    return Delivery(message.message.message_id, event, max(message.delivery_attempt, 1))


def _dead_delivery(message: Any) -> DeadDelivery:
    found = dict(message.message.attributes)
    return DeadDelivery(
        message.message.message_id,
        found.get("ce-tenant", ""),
        found.get("ce-id", ""),
        found.get("ce-type", ""),
        found.get("reason", "given up by Pub/Sub after its last attempt"),
        int(found.get("attempts") or found.get("CloudPubSubDeadLetterSourceDeliveryCount") or 0),
        message.message.publish_time,
    )


@contextmanager
def _named() -> Iterator[None]:
    """Pub/Sub's errors, named for the caller. `TimeoutError` is a publish that was not confirmed in time."""
    try:
        yield
    except (exceptions.GoogleAPICallError, exceptions.RetryError, TimeoutError) as error:
        raise Unavailable(f"Pub/Sub: {error}") from error
