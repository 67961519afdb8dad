"""Google's emulators paused, killed and started again in the middle of the work: it goes on, nothing fires twice."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from app import emulators, tenants
from app.adapters import pubsub_topics
from app.adapters.memory import MemoryBus, MemoryStore, MemoryTracer
from app.adapters.pubsub import PubSubBus
from app.adapters.pubsub_dead import Tenants
from app.adapters.pubsub_stream import StreamInbox
from app.handle import handle
from rules.event import Event
from rules.model import Again
from rules.ports import Inbox, Store, Unavailable
from tests.app.test_handle import NOW, fixed
from tests.emulators import lacking
from tests.rules.world import TENANT, event, rule
from tests.running import free_port, until

pytestmark = pytest.mark.emulator
RULES = fixed(rule(again=Again(while_open=True, after=0)))  # every event starts a run


@dataclass
class Emulator:
    """One of a test's own, on a port that it keeps."""

    which: str
    port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(emulators.command(self.which, self.port), **quiet)  # type: ignore[call-overload]
        assert emulators.wait_for(self.port, self.process)

    def kill(self) -> None:
        """At once, with all that it kept: an emulator keeps nothing on disk."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """It takes calls and does not answer; afterwards it does all of them."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)


@contextmanager
def own(which: str) -> Iterator[Emulator]:
    """An emulator of this test alone, for its clients only."""
    found, variable = Emulator(which, free_port()), emulators.VARIABLES[which]
    before = os.environ.get(variable)
    try:
        found.start()
    except emulators.Missing as error:
        lacking(error)
    os.environ[variable] = f"127.0.0.1:{found.port}"
    try:
        yield found
    finally:
        os.environ.pop(variable)
        if before is not None:
            os.environ[variable] = before
        found.kill()


def numbered(first: int, last: int) -> list[Event]:
    return [event(f"evt_{n}", keys=(f"cus:cus_{n}", f"sub:sub_{n}")) for n in range(first, last)]


def work(inbox: Inbox, store: Store, wanted: Callable[[], bool]) -> int:
    """Drain as the worker does, until it is so; how often the inbox or the store was away."""
    away = 0

    def look() -> bool:
        nonlocal away
        try:
            inbox.drain(lambda batch: handle(batch, store, RULES, MemoryTracer(), NOW), NOW)
            return wanted()
        except Unavailable:
            away += 1
            return False

    until(look, 120)
    return away


def are_handled(store: Store, events: list[Event]) -> Callable[[], bool]:
    return lambda: all(store.get(TENANT, "event", one.id) is not None for one in events)


def sent(bus: Any, one: Event) -> int:
    """Publish as Stripe sends: again after every answer that was no 2xx; how many were not."""
    for refused in range(50):
        try:
            bus.publish(one)
        except Unavailable:
            continue
        return refused
    raise AssertionError("never taken")


# ---- Pub/Sub --------------------------------------------------------------------------------------------------------
@dataclass
class Queue:
    emulator: Emulator
    publisher: Any
    subscriber: Any
    names: Any
    store: MemoryStore

    def create(self) -> None:
        pubsub_topics.create(self.publisher, self.subscriber, self.names)

    def bus(self, patience: float = 10.0) -> PubSubBus:
        return PubSubBus(self.publisher, self.names.topic, patience)

    def inbox(self) -> StreamInbox:
        known = Tenants(partial(tenants.every, self.store), partial(tenants.ensure, self.store))
        return StreamInbox(self.subscriber, self.publisher, self.names, self.store, known, wait=0.2)


@pytest.fixture
def queue() -> Iterator[Queue]:
    with own("pubsub") as emulator:
        publisher, subscriber = pubsub_topics.clients()
        names = pubsub_topics.names(f"test-{uuid.uuid4().hex[:12]}")
        made = Queue(emulator, publisher, subscriber, names, MemoryStore())
        made.create()
        yield made
        publisher.stop()
        subscriber.close()


def test_a_publish_that_was_not_confirmed_in_time_may_have_happened_and_fires_once(queue: Queue) -> None:
    (one,) = numbered(1, 2)
    with queue.emulator.paused(), pytest.raises(Unavailable):
        queue.bus(patience=0.5).publish(one)
    sent(queue.bus(), one)
    inbox = queue.inbox()
    work(inbox, queue.store, are_handled(queue.store, [one]))
    assert queue.store.count(TENANT, "run") == 1
    inbox.close()


def test_pubsub_killed_and_started_again_in_the_middle_loses_no_event_and_fires_none_twice(queue: Queue) -> None:
    before, after, inbox = numbered(0, 10), numbered(10, 20), queue.inbox()
    for one in before:
        sent(queue.bus(), one)
    work(inbox, queue.store, are_handled(queue.store, before))
    queue.emulator.kill()
    with pytest.raises(Unavailable):
        queue.bus(patience=0.5).publish(after[0])  # Stripe is answered 503
    sender = threading.Thread(target=lambda: [sent(queue.bus(patience=2.0), one) for one in after])
    sender.start()
    queue.emulator.start()
    queue.create()
    work(inbox, queue.store, are_handled(queue.store, after))
    sender.join()
    assert queue.store.count(TENANT, "run") == len(before) + len(after)
    inbox.close()


# ---- Firestore ------------------------------------------------------------------------------------------------------
@pytest.fixture
def database() -> Iterator[tuple[Emulator, Any]]:
    with own("firestore") as emulator:
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import firestore

        from app.adapters.firestore import FirestoreStore

        project = f"test-{uuid.uuid4().hex[:12]}"
        client = firestore.Client(project=project, credentials=AnonymousCredentials())
        yield emulator, FirestoreStore(client, patience=3.0)
        client.close()


def test_firestore_that_does_not_answer_for_a_while_costs_no_event_and_fires_none_twice(
    database: tuple[Emulator, Any],
) -> None:
    (emulator, store), bus = database, MemoryBus(lambda: NOW)
    events = numbered(0, 6)
    for one in events:
        bus.publish(one)
    with emulator.paused():
        said = handle_once(bus, store, limit=2)
    assert said <= {"retry"}
    work(Later(bus), store, lambda: bus.oldest() is None)
    assert are_handled(store, events)()
    assert store.count(TENANT, "run") == len(events)
    assert bus.dead() == []


def test_firestore_killed_and_started_again_in_the_middle_loses_no_event_that_waits(
    database: tuple[Emulator, Any],
) -> None:
    (emulator, store), bus = database, MemoryBus(lambda: NOW)
    events = numbered(0, 8)
    for one in events[:4]:
        bus.publish(one)
    work(Later(bus), store, lambda: bus.oldest() is None)
    for one in events[4:]:
        bus.publish(one)
    emulator.kill()
    assert handle_once(bus, store, limit=2) <= {"retry"}
    emulator.start()
    work(Later(bus), store, lambda: bus.oldest() is None)
    assert are_handled(store, events[4:])()
    assert store.count(TENANT, "run") == 4  # of the four after it: what it kept before, it has forgotten
    assert bus.dead() == []


class Later:
    """The queue an hour later each time, so that what waits is due."""

    def __init__(self, bus: MemoryBus) -> None:
        self._bus, self._hours = bus, 0

    def drain(self, handler: Any, now: Any, limit: int = 256) -> int:
        from datetime import timedelta

        self._hours += 1
        return self._bus.drain(handler, now + timedelta(hours=self._hours), limit)


def handle_once(bus: MemoryBus, store: Store, limit: int) -> set[str]:
    """One look while the store is away: what became of the deliveries."""
    said: set[str] = set()

    def handler(batch: Any) -> Any:
        found = handle(batch, store, RULES, MemoryTracer(), NOW)
        said.update(one.kind for one in found)
        return found

    try:
        bus.drain(handler, NOW, limit)
    except Unavailable:
        return set()
    return said
