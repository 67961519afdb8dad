"""Single calls of Pub/Sub: publish one message, take and settle those of a subscription; errors named as ports do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from google.api_core import exceptions
from google.api_core.retry import Retry, if_exception_type
from google.cloud.pubsub_v1.publisher.exceptions import PublishToPausedOrderingKeyException

from rules.ports import Unavailable

PATIENCE = 10.0  # seconds for one answer of Pub/Sub
_AGAIN = Retry(if_exception_type(exceptions.ServiceUnavailable), initial=0.1, maximum=2.0, timeout=PATIENCE)

_TAKEN_NAMES = ("topic", "data", "ordering_key", "retry", "timeout", "self")  # of the client's own parameters


def send(
    publisher: Any, topic: str, data: bytes, key: str, attributes: Mapping[str, str], patience: float = PATIENCE
) -> None:
    """Publish, and return when it is durable. Attributes that only Google may set are left out. Raises Unavailable."""
    own = {name: value for name, value in attributes.items() if name not in _TAKEN_NAMES and name[:4] != "goog"}
    with named():
        try:
            future = publisher.publish(topic, data, ordering_key=key, **own)
            future.result(timeout=patience)
        except PublishToPausedOrderingKeyException:  # an earlier failure of this customer stopped the key
            publisher.resume_publish(topic, key)
            publisher.publish(topic, data, ordering_key=key, **own).result(timeout=patience)
        except RuntimeError as error:  # the client's own: cancelled with an earlier message of the key, or stopped
            raise Unavailable(f"Pub/Sub: {error}") from error


@dataclass(frozen=True, slots=True)
class Taken:
    """One message in this process's hands. message: with id, data, attributes, ordering key and time of publishing."""

    message: Any
    ack_id: str
    attempt: int


class Subscription:
    """A subscription by its full name, pulled by single calls. wait: seconds that a pull waits for a first message."""

    def __init__(self, subscriber: Any, name: str, wait: float) -> None:
        self._subscriber = subscriber
        self._name = name
        self._wait = wait

    def take(self, limit: int) -> list[Taken]:
        """Messages that are this process's until they are done, returned, or their lease is over. Raises
        Unavailable."""
        request = {"subscription": self._name, "max_messages": limit}
        with named():
            try:
                answer = self._subscriber.pull(request=request, timeout=self._wait, retry=None)
            except exceptions.DeadlineExceeded:  # nothing came
                return []
        return [Taken(got.message, got.ack_id, max(got.delivery_attempt, 1)) for got in answer.received_messages]

    def done(self, messages: Sequence[Taken]) -> None:
        """They do not come again. Raises Unavailable."""
        if messages:
            request = {"subscription": self._name, "ack_ids": [taken.ack_id for taken in messages]}
            with named(), _too_late():
                self._subscriber.acknowledge(request=request, timeout=PATIENCE, retry=_AGAIN)

    def again(self, messages: Sequence[Taken]) -> None:
        """Hand them back, to come again when the retry policy says. Raises Unavailable."""
        if messages:
            ack_ids = [taken.ack_id for taken in messages]
            request = {"subscription": self._name, "ack_ids": ack_ids, "ack_deadline_seconds": 0}
            with named(), _too_late():
                self._subscriber.modify_ack_deadline(request=request, timeout=PATIENCE, retry=_AGAIN)


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
def named() -> Iterator[None]:
    """Pub/Sub's errors, named for the caller. `TimeoutError` is a publish that was not confirmed in time."""
    try:
        yield
    except (exceptions.GoogleAPICallError, exceptions.RetryError, TimeoutError) as error:
        raise Unavailable(f"Pub/Sub: {error}") from error
