"""The Inbox of a worker on Pub/Sub: a streaming pull with flow control, whose client extends the leases meanwhile."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Sequence
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as NotInTime
from contextlib import suppress
from typing import Any

from google.api_core import exceptions
from google.cloud import pubsub_v1

from app.adapters.pubsub import Names, PubSubInbox
from app.adapters.pubsub_calls import PATIENCE, Taken
from app.adapters.pubsub_dead import Tenants
from rules.ports import Store, Unavailable

HELD = 1_024  # messages in this process's hands at most; the others stay with Pub/Sub, for other workers
LONGEST = 600  # seconds that a lease is extended; a handler that takes longer has lost its message


class StreamInbox(PubSubInbox):
    """One open stream; one that ends (a subscription made anew) is opened again at the next drain. With exactly-once
    delivery an acknowledgement that came too late is answered so, and the message comes again: handling it twice is
    harmless. Not for the emulator: when a stream ends there (0.8.20), its subscription delivers nothing more, neither
    by a new stream nor by pulling.
    """

    def __init__(
        self, subscriber: Any, publisher: Any, names: Names, store: Store, tenants: Tenants, wait: float = 0.05
    ) -> None:
        super().__init__(subscriber, publisher, names, store, tenants, wait=1.0)
        self._first = wait  # seconds that a drain waits for a first message
        self._came: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._stream: Any = None
        self._rung = threading.Event()

    def wait(self, seconds: float) -> bool:
        """Wait for a message, at most so long; whether one came."""
        if self._came.empty():
            self._rung.wait(seconds)
        self._rung.clear()
        return not self._came.empty()

    def close(self) -> None:
        """End the stream, then hand back what waits here: an open stream would only be given it again."""
        if self._stream is not None:
            self._stream.cancel()
            with suppress(exceptions.GoogleAPICallError, NotInTime, CancelledError):
                self._stream.result(timeout=PATIENCE)
            self._stream = None
        with suppress(Unavailable):  # then it comes again when its lease is over
            self._queue.again(self._waiting())

    # ---- how messages come and go -----------------------------------------------------------------------------------
    def _take(self, limit: int) -> list[Taken]:
        self._open()
        end = time.monotonic() + self._first
        found: list[Any] = []
        while len(found) < limit:
            try:
                found.append(self._came.get(timeout=0 if found else max(0.0, end - time.monotonic())))
            except queue.Empty:
                break
        return [_taken(message) for message in found]

    def _done(self, messages: Sequence[Taken]) -> None:
        _answered([taken.message.ack_with_response() for taken in messages])

    def _again(self, messages: Sequence[Taken]) -> None:
        _answered([taken.message.nack_with_response() for taken in messages])

    def _open(self) -> None:
        """See to it that the stream is open. Raises Unavailable with why the last one ended; the next drain opens a
        new one."""
        ended = self._stream is not None and self._stream.done()
        why = self._stream.exception(timeout=0) if ended else None
        if self._stream is None or ended:
            flow = pubsub_v1.types.FlowControl(max_messages=HELD, max_lease_duration=LONGEST)
            self._stream = self._subscriber.subscribe(self._names.subscription, self._heard, flow_control=flow)
        if why is not None:
            raise Unavailable(f"Pub/Sub ended the stream: {why}")

    def _heard(self, message: Any) -> None:
        self._came.put(message)
        self._rung.set()

    def _waiting(self) -> list[Taken]:
        found = []
        while not self._came.empty():
            found.append(_taken(self._came.get()))
        return found


def _taken(message: Any) -> Taken:
    return Taken(message, message.ack_id, message.delivery_attempt or 1)


def _answered(futures: Sequence[Any]) -> None:
    """Wait for Pub/Sub's answers. One that failed is no harm: the message comes again."""
    end = time.monotonic() + PATIENCE
    for future in futures:
        try:
            future.result(timeout=max(0.0, end - time.monotonic()))
        except (pubsub_v1.subscriber.exceptions.AcknowledgeError, exceptions.GoogleAPICallError, NotInTime):
            continue
