"""Pub/Sub's failures through the real client, over the network: no event is lost, and none fires twice."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from google.pubsub_v1.types import ModifyAckDeadlineRequest, StreamingPullRequest

from app import tenants
from app.adapters import pubsub_topics
from app.adapters.memory import MemoryStore, MemoryTracer
from app.adapters.pubsub import PubSubBus, PubSubInbox
from app.adapters.pubsub_calls import Subscription
from app.adapters.pubsub_dead import Tenants
from app.adapters.pubsub_stream import HELD, LONGEST, StreamInbox
from app.handle import handle
from rules.event import Event
from rules.model import Again
from rules.ports import Delivery, Disposition, Unavailable
from tests.app.test_handle import NOW, fixed
from tests.fakes.grpc_proxy import Proxy, in_front_of
from tests.rules.world import TENANT, event, rule
from tests.running import until

pytestmark = pytest.mark.emulator
RULES = fixed(rule(again=Again(while_open=True, after=0)))  # every event starts a run


@dataclass
class World:
    """Bus and inbox of a project of its own behind the proxy, and what handling the events led to."""

    proxy: Proxy
    publisher: Any
    subscriber: Any
    names: Any
    store: MemoryStore = field(default_factory=MemoryStore)
    delivered: list[str] = field(default_factory=list)
    inboxes: list[StreamInbox] = field(default_factory=list)

    def bus(self, patience: float = 10.0) -> PubSubBus:
        return PubSubBus(self.publisher, self.names.topic, patience)

    def inbox(self) -> PubSubInbox:
        return PubSubInbox(self.subscriber, self.publisher, self.names, *self._filing(), wait=1.0)

    def streamed(self) -> StreamInbox:
        self.inboxes.append(StreamInbox(self.subscriber, self.publisher, self.names, *self._filing(), wait=0.2))
        return self.inboxes[-1]

    def _filing(self) -> tuple[Any, Any]:
        known = Tenants(partial(tenants.every, self.store), partial(tenants.ensure, self.store))
        return self.store, known

    def handle(self, batch: Any) -> list[Disposition]:
        self.delivered += [delivery.event.id for delivery in batch]
        return handle(batch, self.store, RULES, MemoryTracer(), NOW)

    def drain_until(self, inbox: PubSubInbox, wanted: Callable[[], bool]) -> int:
        """Drain as the worker does; how often the inbox was unavailable."""
        away = 0

        def look() -> bool:
            nonlocal away
            try:
                inbox.drain(self.handle, NOW)
            except Unavailable:
                away += 1
            return wanted()

        until(look, 40)
        return away

    def is_handled(self, *events: Event) -> Callable[[], bool]:
        return lambda: all(self.store.get(TENANT, "event", one.id) is not None for one in events)

    @property
    def runs(self) -> int:
        return self.store.count(TENANT, "run")


@pytest.fixture
def world(pubsub_emulator: None) -> Iterator[World]:
    with in_front_of("PUBSUB_EMULATOR_HOST") as proxy:
        publisher, subscriber = pubsub_topics.clients()
        names = pubsub_topics.names(f"test-{uuid.uuid4().hex[:12]}")
        pubsub_topics.create(publisher, subscriber, names)
        made = World(proxy, publisher, subscriber, names)
        yield made
        for inbox in made.inboxes:
            inbox.close()
        publisher.stop()
        subscriber.close()


def numbered(count: int) -> list[Event]:
    return [event(f"evt_{n}", keys=(f"cus:cus_{n}", f"sub:sub_{n}")) for n in range(count)]


# ---- publishing -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("code", ["UNAVAILABLE", "ABORTED", "RESOURCE_EXHAUSTED", "INTERNAL"])
def test_a_publish_that_fails_for_a_moment_is_made(world: World, code: str) -> None:
    world.proxy.faults += [("Publish", code, "before")] * 2
    world.bus().publish(event("evt_1"))
    assert len(world.proxy.requests("Publish")) == 3
    world.drain_until(world.inbox(), world.is_handled(event("evt_1")))
    assert (world.delivered, world.runs) == (["evt_1"], 1)


@pytest.mark.parametrize("code", ["DEADLINE_EXCEEDED", "UNAVAILABLE", "ABORTED"])
def test_a_publish_that_happened_though_nobody_was_told_makes_two_messages_and_one_run(world: World, code: str) -> None:
    world.proxy.faults.append(("Publish", code, "after"))
    world.bus().publish(event("evt_1"))
    world.drain_until(world.inbox(), lambda: len(world.delivered) == 2)
    assert (world.delivered, world.runs) == (["evt_1", "evt_1"], 1)


def test_a_publish_that_was_refused_is_unavailable_and_the_customers_next_one_goes_through(world: World) -> None:
    world.proxy.faults.append(("Publish", "FAILED_PRECONDITION", "after"))
    with pytest.raises(Unavailable):
        world.bus().publish(event("evt_1"))  # Stripe is answered 503, and sends it again
    world.bus().publish(event("evt_1"))
    world.bus().publish(event("evt_2"))
    world.drain_until(world.inbox(), world.is_handled(event("evt_1"), event("evt_2")))
    assert world.runs == 2


# ---- pulling --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("code", ["UNAVAILABLE", "ABORTED", "INTERNAL"])
def test_a_pull_that_fails_is_unavailable_and_the_next_one_brings_the_event(world: World, code: str) -> None:
    world.bus().publish(event("evt_1"))
    world.proxy.faults.append(("Pull", code, "before"))
    assert world.drain_until(world.inbox(), world.is_handled(event("evt_1"))) == 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_acknowledgement_that_was_not_answered_leads_to_no_second_run(world: World, when: str) -> None:
    world.bus().publish(event("evt_1"))
    world.proxy.faults.append(("Acknowledge", "INTERNAL", when))
    world.drain_until(world.inbox(), world.is_handled(event("evt_1")))
    with pytest.raises(AssertionError):
        until(lambda: world.inbox().drain(world.handle, NOW) > 0, 1)
    assert world.runs == 1


def test_an_acknowledgement_too_late_is_refused_by_exactly_once_delivery_and_the_message_comes_again(
    world: World,
) -> None:
    world.bus().publish(event("evt_1"))
    queue = Subscription(world.subscriber, world.names.subscription, 1.0)
    first = until(lambda: queue.take(5))
    queue.again(first)
    queue.done(first)  # too late: it is somebody else's by now
    (again,) = until(lambda: queue.take(5))
    assert again.message.message_id == first[0].message.message_id


# ---- the stream -----------------------------------------------------------------------------------------------------
def test_a_stream_asks_for_a_bounded_number_of_messages(world: World) -> None:
    inbox = world.streamed()
    inbox.drain(world.handle, NOW)
    (body,) = until(lambda: world.proxy.requests("StreamingPull"))
    asked = StreamingPullRequest.deserialize(body)
    assert asked.max_outstanding_messages == HELD
    assert asked.subscription == world.names.subscription
    assert LONGEST >= 600


def test_the_lease_of_what_is_worked_on_is_extended(world: World) -> None:
    inbox, seen = world.streamed(), []

    def slow(batch: list[Delivery]) -> list[Disposition]:
        seen.append(until(lambda: [m for m in map(extension, world.proxy.requests("ModifyAckDeadline")) if m >= 10]))
        return world.handle(batch)

    world.bus().publish(event("evt_1"))
    until(lambda: inbox.drain(slow, NOW) > 0)
    assert seen


def extension(body: bytes) -> int:
    return int(ModifyAckDeadlineRequest.deserialize(body).ack_deadline_seconds)


@pytest.mark.parametrize("code", ["UNAVAILABLE", "ABORTED", "INTERNAL"])
def test_a_stream_that_breaks_is_opened_again_and_every_event_comes_and_fires_once(world: World, code: str) -> None:
    inbox, events = world.streamed(), numbered(20)
    for one in events[:10]:
        world.bus().publish(one)
    world.drain_until(inbox, world.is_handled(*events[:5]))
    world.proxy.break_stream(code)
    for one in events[10:]:
        world.bus().publish(one)
    world.drain_until(inbox, world.is_handled(*events))
    assert world.proxy.streams >= 2
    assert world.runs == len(events)


def test_a_stream_that_ended_for_good_is_told_and_opened_anew(world: World) -> None:
    inbox = world.streamed()
    world.bus().publish(event("evt_1"))
    world.drain_until(inbox, world.is_handled(event("evt_1")))
    world.proxy.break_stream("NOT_FOUND")
    world.bus().publish(event("evt_2", keys=("cus:cus_2", "sub:sub_2")))
    assert world.drain_until(inbox, world.is_handled(event("evt_2"))) == 1
    assert world.runs == 2


# ---- two workers ----------------------------------------------------------------------------------------------------
def test_two_workers_on_one_subscription_lose_nothing_and_fire_once(world: World) -> None:
    events, gate = numbered(30), threading.Barrier(2)
    for one in [*events, *events]:  # each twice, as a bus may
        world.bus().publish(one)

    def work(inbox: PubSubInbox) -> None:
        gate.wait()
        world.drain_until(inbox, lambda: world.is_handled(*events)() and len(world.delivered) >= 60)

    threads = [threading.Thread(target=work, args=(world.inbox(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert world.runs == len(events)
    assert sorted(set(world.delivered)) == sorted(one.id for one in events)
