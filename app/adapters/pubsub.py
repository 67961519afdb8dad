"""The Bus and the Inbox on Pub/Sub: an event is published in the CloudEvents binary form, ordered by its partition.

At least once, as everywhere: a publish that timed out may still have happened, and an event published twice is two
messages. Back-off between tries is the subscription's retry policy; a delivery that is given up goes to the dead
letter topic with its reason.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import orjson
from google.api_core import exceptions
from google.api_core.retry import Retry, if_exception_type
from google.cloud.pubsub_v1.publisher.exceptions import PublishToPausedOrderingKeyException

from app.adapters.delivery import given_up, settle
from rules.event import Event
from rules.ports import DeadDelivery, Delivery, Disposition, Refused, Unavailable

PATIENCE = 10.0  # seconds for one answer of Pub/Sub
PIECE = 1_000  # bytes of an attribute's value; Pub/Sub takes 1,024
UNREADABLE = "this is no event that this version can read"
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
@dataclass(frozen=True, slots=True)
class Names:
    """The full names of what an inbox reads and writes. dead_topic, dead_subscription: where what was given up lies."""

    topic: str
    subscription: str
    dead_topic: str
    dead_subscription: str


@dataclass(frozen=True, slots=True)
class Taken:
    """One message in this process's hands. message: with id, data, attributes, ordering key and time of publishing."""

    message: Any
    ack_id: str
    attempt: int


class PubSubInbox:
    """Inbox on a subscription, by pulling, as suits a tick; app.adapters.pubsub_stream is for workers.

    `now` counts nothing here: Pub/Sub keeps the time between tries. wait: seconds that a pull waits for a first
    message. `oldest` knows only what this process was handed; the topic's age is Cloud Monitoring's to tell.
    """

    def __init__(self, subscriber: Any, publisher: Any, names: Names, wait: float = 1.0) -> None:
        self._subscriber = subscriber
        self._publisher = publisher
        self._names = names
        self._wait = wait
        self._handed: dict[str, datetime] = {}
        self._lock = threading.Lock()

    def drain(
        self, handler: Callable[[Sequence[Delivery]], Sequence[Disposition]], now: datetime, limit: int = 256
    ) -> int:
        messages = self._take(limit)
        with self._lock:
            self._handed.update((taken.message.message_id, taken.message.publish_time) for taken in messages)
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
        with self._lock:
            return min(self._handed.values(), default=None)

    def dead(self, limit: int = 100) -> list[DeadDelivery]:
        found = self._pull(self._names.dead_subscription, limit)
        self._return(self._names.dead_subscription, found)
        return sorted((_dead_delivery(taken) for taken in found), key=lambda dead: dead.at)

    def replay(self, ids: Sequence[str], now: datetime) -> int:
        """Publish dead deliveries anew. now: not used; they are due at once."""
        return self._resolve(ids, self._publish_again)

    def discard(self, ids: Sequence[str]) -> int:
        return self._resolve(ids, lambda taken: None)

    def _resolve(self, ids: Sequence[str], what: Callable[[Taken], None]) -> int:
        """Do it with each of these dead deliveries, and take them out; the others stay. How many."""
        found = self._pull(self._names.dead_subscription, 1_000)
        chosen = [taken for taken in found if taken.message.message_id in ids]
        for taken in chosen:
            what(taken)
        self._acknowledge(self._names.dead_subscription, chosen)
        self._return(self._names.dead_subscription, [taken for taken in found if taken not in chosen])
        return len(chosen)

    def _publish_again(self, taken: Taken) -> None:
        kept = {name: value for name, value in taken.message.attributes.items() if name.startswith("ce-")}
        self._publish(self._names.topic, taken, kept)

    # ---- how messages come and go -----------------------------------------------------------------------------------
    def _take(self, limit: int) -> list[Taken]:
        return self._pull(self._names.subscription, limit)

    def _done(self, messages: Sequence[Taken]) -> None:
        self._acknowledge(self._names.subscription, messages)

    def _again(self, messages: Sequence[Taken]) -> None:
        """Hand messages back, to come again when the retry policy says."""
        self._return(self._names.subscription, messages)

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
        attributes = {**taken.message.attributes, "reason": reason[: PIECE // 4], "attempts": str(taken.attempt)}
        self._publish(self._names.dead_topic, taken, attributes)

    def _publish(self, topic: str, taken: Taken, attributes: dict[str, str]) -> None:
        key = taken.message.ordering_key
        with _named():
            future = self._publisher.publish(topic, taken.message.data, ordering_key=key, **attributes)
            future.result(timeout=PATIENCE)

    def _pull(self, subscription: str, limit: int) -> list[Taken]:
        request = {"subscription": subscription, "max_messages": limit}
        with _named():
            try:
                answer = self._subscriber.pull(request=request, timeout=self._wait, retry=None)
            except exceptions.DeadlineExceeded:  # nothing came
                return []
        return [Taken(got.message, got.ack_id, max(got.delivery_attempt, 1)) for got in answer.received_messages]

    def _acknowledge(self, subscription: str, messages: Sequence[Taken]) -> None:
        if messages:
            request = {"subscription": subscription, "ack_ids": [taken.ack_id for taken in messages]}
            with _named(), _too_late():
                self._subscriber.acknowledge(request=request, timeout=PATIENCE, retry=_AGAIN)

    def _return(self, subscription: str, messages: Sequence[Taken]) -> None:
        if messages:
            ack_ids = [taken.ack_id for taken in messages]
            request = {"subscription": subscription, "ack_ids": ack_ids, "ack_deadline_seconds": 0}
            with _named(), _too_late():
                self._subscriber.modify_ack_deadline(request=request, timeout=PATIENCE, retry=_AGAIN)


_AGAIN = Retry(if_exception_type(exceptions.ServiceUnavailable), initial=0.1, maximum=2.0, timeout=PATIENCE)


def _delivery(taken: Taken) -> Delivery | None:
    try:
        event = event_of(dict(taken.message.attributes), taken.message.data)
    except (KeyError, ValueError, TypeError):
        return None
    return Delivery(taken.message.message_id, event, taken.attempt)


def _pushed(body: Any) -> Taken:
    """The message of a push request (https://cloud.google.com/pubsub/docs/push#receive_push)."""
    try:
        message = body["message"]
        found = SimpleNamespace(
            message_id=str(message["messageId"]),
            data=base64.b64decode(message.get("data", ""), validate=True),
            attributes=dict(message.get("attributes") or {}),
            ordering_key=str(message.get("orderingKey") or ""),
        )
        return Taken(found, "", int(body.get("deliveryAttempt") or 1))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise Refused("This is no push request of Pub/Sub, with messageId, data and attributes.") from None


def _dead_delivery(taken: Taken) -> DeadDelivery:
    found = dict(taken.message.attributes)
    return DeadDelivery(
        taken.message.message_id,
        found.get("ce-tenant", ""),
        found.get("ce-id", ""),
        found.get("ce-type", ""),
        found.get("reason", "given up by Pub/Sub after its last attempt"),
        int(found.get("attempts") or found.get("CloudPubSubDeadLetterSourceDeliveryCount") or 0),
        taken.message.publish_time,
    )


@contextmanager
def _too_late() -> Iterator[None]:
    """With exactly-once delivery an answer is refused when the lease is over, or when an earlier message of the same
    key is still open. The message comes again, and handling it twice is harmless."""
    try:
        yield
    except exceptions.InvalidArgument as error:
        if "EXACTLY_ONCE_ACKID_FAILURE" not in str(error):
            raise


@contextmanager
def _named() -> Iterator[None]:
    """Pub/Sub's errors, named for the caller. `TimeoutError` is a publish that was not confirmed in time."""
    try:
        yield
    except (exceptions.GoogleAPICallError, exceptions.RetryError, TimeoutError) as error:
        raise Unavailable(f"Pub/Sub: {error}") from error
