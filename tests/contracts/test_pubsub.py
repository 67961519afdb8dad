"""The Bus contract on Google's Pub/Sub emulator, and the CloudEvents form of a message."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from app.adapters.delivery import MAX_ATTEMPTS
from rules.event import Event
from rules.ports import Disposition, Unavailable
from tests.contracts.bus import NOON, RETRY, A, Both, BusContract, Seen, drain_all, event

pytestmark = pytest.mark.emulator


@dataclass(frozen=True)
class Project:
    """A project of its own with everything Signalbox needs of Pub/Sub, made as `provision` makes it."""

    publisher: Any
    subscriber: Any
    names: Any


@pytest.fixture
def project(pubsub_emulator: None) -> Iterator[Project]:
    from app.adapters import pubsub_topics

    publisher, subscriber = pubsub_topics.clients()
    names = pubsub_topics.names(f"test-{uuid.uuid4().hex[:12]}")
    pubsub_topics.create(publisher, subscriber, names)
    yield Project(publisher, subscriber, names)
    publisher.stop()
    subscriber.close()


@pytest.fixture
def pubsub(project: Project) -> Both:
    from app.adapters.pubsub import PubSubBus, PubSubInbox

    inbox = PubSubInbox(project.subscriber, project.publisher, project.names, *filing(), wait=0.5)
    return PubSubBus(project.publisher, project.names.topic), inbox


@pytest.fixture
def streamed(project: Project) -> Iterator[Both]:
    from app.adapters.pubsub import PubSubBus
    from app.adapters.pubsub_stream import StreamInbox

    inbox = StreamInbox(project.subscriber, project.publisher, project.names, *filing(), wait=0.5)
    yield PubSubBus(project.publisher, project.names.topic), inbox
    inbox.close()


class TestPubSub(BusContract):
    @pytest.fixture
    def both(self, pubsub: Both) -> Both:
        return pubsub


class TestStreamingPull(BusContract):
    @pytest.fixture
    def both(self, streamed: Both) -> Both:
        return streamed


def test_a_worker_is_woken_by_a_message(streamed: Both) -> None:
    from app.adapters.pubsub_stream import StreamInbox

    bus, inbox = streamed
    assert isinstance(inbox, StreamInbox)
    inbox.drain(Seen(), NOON)  # opens the stream
    bus.publish(event())
    assert inbox.wait(10)


def test_dead_deliveries_can_be_let_go(pubsub: Both) -> None:
    bus, inbox = pubsub
    bus.publish(event())
    drain_all(inbox, Seen(evt_1=Disposition("dead", "no")), NOON, 1)
    (dead,) = listed(inbox, 1)
    assert inbox.discard([dead.id]) == 1
    assert inbox.dead() == []


def test_a_delivery_given_up_lies_in_the_dead_letters_with_its_reason_and_can_be_replayed(pubsub: Both) -> None:
    bus, inbox = pubsub
    bus.publish(event("evt_1"))
    bus.publish(event("evt_2", partition="cus:cus_2"))
    drain_all(inbox, Seen(evt_1=Disposition("dead", "schema 9 is unknown")), NOON, 2)
    (dead,) = listed(inbox, 1)
    assert (dead.tenant, dead.event_id, dead.event_type) == (A, "evt_1", "invoice.payment_failed")
    assert (dead.reason, dead.attempts) == ("schema 9 is unknown", 1)
    (dead,) = inbox.dead()  # looking takes nothing away
    assert inbox.replay([dead.id, "nonsense"], NOON) == 1
    seen = Seen()
    drain_all(inbox, seen, NOON, 1)
    assert seen.ids == ["evt_1"]
    assert inbox.dead() == []


def test_attempts_are_counted_until_the_last(pubsub: Both) -> None:
    bus, inbox = pubsub
    bus.publish(event())
    seen = Seen(evt_1=RETRY)
    drain_all(inbox, seen, NOON, MAX_ATTEMPTS)
    assert [delivery.attempt for delivery in seen.deliveries] == list(range(1, MAX_ATTEMPTS + 1))
    (dead,) = listed(inbox, 1)
    assert (dead.reason, dead.attempts) == ("not now", MAX_ATTEMPTS)


def test_pubsub_has_the_workers_subscription_as_it_is_meant(project: Project) -> None:
    there = project.subscriber.get_subscription(subscription=project.names.subscription)
    assert there.topic == project.names.topic
    assert (there.enable_exactly_once_delivery, there.enable_message_ordering) == (True, True)
    backoff = there.retry_policy
    assert (backoff.minimum_backoff.total_seconds(), backoff.maximum_backoff.total_seconds()) == (1, 600)
    assert there.dead_letter_policy.dead_letter_topic == project.names.dead_topic
    assert there.dead_letter_policy.max_delivery_attempts == 4 * MAX_ATTEMPTS
    assert (there.ack_deadline_seconds, there.message_retention_duration.days) == (30, 7)
    assert not there.expiration_policy.ttl  # never


def test_what_is_no_event_of_ours_is_taken_off_the_queue_and_listed_and_holds_up_nobody(project: Project) -> None:
    from app.adapters import pubsub_topics
    from app.adapters.pubsub import PubSubBus, PubSubInbox

    names = pubsub_topics.names(f"test-{uuid.uuid4().hex[:12]}")
    project.publisher.create_topic(request={"name": names.topic})  # before it had a schema
    pubsub_topics.create(project.publisher, project.subscriber, names)
    foreign = {"retry": "1", "topic": "x", "goog_x": "2", "note": "by hand"}
    from google.pubsub_v1.services.publisher import PublisherClient

    PublisherClient.publish(project.publisher, topic=names.topic, messages=[{"data": b"{}", "attributes": foreign}])
    PubSubBus(project.publisher, names.topic).publish(event())
    inbox, seen = PubSubInbox(project.subscriber, project.publisher, names, *filing(), wait=0.5), Seen()
    drain_all(inbox, seen, NOON, 2)
    assert seen.ids == ["evt_1"]
    (dead,) = listed(inbox, 1)
    assert (dead.tenant, dead.event_id) == ("", "")
    assert "no event that this version can read" in dead.reason


def test_what_waits_for_the_store_is_no_dead_letter_however_often_it_was_tried(pubsub: Both) -> None:
    bus, inbox = pubsub
    bus.publish(event())
    waits = Seen(evt_1=Disposition("retry", "the store is away", waits=True))
    drain_all(inbox, waits, NOON, 2 * MAX_ATTEMPTS)
    assert inbox.file_dead(NOON) == 0
    seen = Seen()
    drain_all(inbox, seen, NOON, 1)
    assert seen.ids == ["evt_1"]


def test_a_store_that_is_away_leaves_the_message_for_later(pubsub: Both) -> None:
    bus, inbox = pubsub
    bus.publish(event())
    with pytest.raises(Unavailable, match="disk full"):
        drain_all(inbox, Seen(evt_1=Unavailable("disk full")), NOON, 1)
    assert inbox.oldest() is not None
    seen = Seen()
    drain_all(inbox, seen, NOON, 1)
    assert seen.ids == ["evt_1"]
    assert inbox.oldest() is None


def test_a_topic_that_is_away_is_unavailable(pubsub_emulator: None) -> None:
    from google.cloud import pubsub_v1
    from google.cloud.pubsub_v1.types import PublisherOptions

    from app.adapters.pubsub import PubSubBus

    host = os.environ["PUBSUB_EMULATOR_HOST"]
    os.environ["PUBSUB_EMULATOR_HOST"] = "127.0.0.1:9"
    try:
        publisher = pubsub_v1.PublisherClient(publisher_options=PublisherOptions(enable_message_ordering=True))
    finally:
        os.environ["PUBSUB_EMULATOR_HOST"] = host
    with pytest.raises(Unavailable):
        PubSubBus(publisher, "projects/x/topics/y", patience=0.3).publish(event())


@pytest.mark.parametrize(
    "found",
    [
        event(),
        event("evt_2", keys=tuple(f"path:data.object.metadata.ü{i}=żółć" * 3 for i in range(60))),
        event("evt_3", causation="run/step", received={"span_id": "1", "start": 1}, source="import", keys=()),
        event("evt_4", data={}),
    ],
)
def test_an_event_is_the_same_after_its_message(found: Event) -> None:
    import orjson

    from app.adapters.pubsub import attributes_of, event_of

    attributes = attributes_of(found)
    assert event_of(attributes, orjson.dumps(found.data)) == found
    assert max(len(value.encode()) for value in attributes.values()) <= 1024
    assert len(attributes) <= 100
    assert attributes["ce-type"] == found.type


def filing() -> tuple[Any, Any]:
    """Where dead letters are filed: a store of its own, with the tenants that it knows."""
    from functools import partial

    from app import tenants
    from app.adapters.memory import MemoryStore
    from app.adapters.pubsub_dead import Tenants

    store = MemoryStore()
    return store, Tenants(partial(tenants.every, store), partial(tenants.ensure, store))


def listed(inbox: Any, wanted: int) -> list[Any]:
    """The dead letters, once they have come through."""
    for _ in range(20):
        inbox.file_dead(NOON)
        found = inbox.dead()
        if len(found) >= wanted:
            return list(found)
    raise AssertionError("the dead letters did not come")
