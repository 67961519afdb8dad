"""The Bus contract on Google's Pub/Sub emulator, and the CloudEvents form of a message."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from app.adapters.delivery import MAX_ATTEMPTS
from rules.event import Event
from rules.ports import Disposition, Unavailable
from tests.contracts.bus import NOON, RETRY, A, Both, BusContract, Seen, drain_all, event

pytestmark = pytest.mark.emulator


@pytest.fixture
def pubsub(pubsub_emulator: None) -> Iterator[Both]:
    """A topic with its subscription, and a dead letter topic with its own, in a project of their own."""
    from google.cloud import pubsub_v1
    from google.cloud.pubsub_v1.types import PublisherOptions

    from app.adapters.pubsub import PubSubBus, PubSubInbox

    project = f"test-{uuid.uuid4().hex[:12]}"
    publisher = pubsub_v1.PublisherClient(publisher_options=PublisherOptions(enable_message_ordering=True))
    subscriber = pubsub_v1.SubscriberClient()
    topic, dead_topic = (publisher.topic_path(project, name) for name in ("events", "events-dead"))
    events, dead = (subscriber.subscription_path(project, name) for name in ("worker", "dead"))
    publisher.create_topic(request={"name": topic})
    publisher.create_topic(request={"name": dead_topic})
    policy = {"dead_letter_topic": dead_topic, "max_delivery_attempts": 20}
    subscriber.create_subscription(
        request={"name": events, "topic": topic, "enable_message_ordering": True, "dead_letter_policy": policy}
    )
    subscriber.create_subscription(request={"name": dead, "topic": dead_topic})
    yield (
        PubSubBus(publisher, topic),
        PubSubInbox(subscriber, publisher, events, topic, dead_topic, dead, wait=0.5),
    )
    publisher.stop()
    subscriber.close()


class TestPubSub(BusContract):
    @pytest.fixture
    def both(self, pubsub: Both) -> Both:
        return pubsub


def test_a_delivery_given_up_lies_in_the_dead_letters_with_its_reason_and_can_be_replayed(pubsub: Both) -> None:
    bus, inbox = pubsub
    bus.publish(event("evt_1"))
    bus.publish(event("evt_2", partition="cus:cus_2"))
    drain_all(inbox, Seen(evt_1=Disposition("dead", "schema 9 is unknown")), NOON, 2)
    (dead,) = listed(inbox, 1)
    assert (dead.tenant, dead.event_id, dead.event_type) == (A, "evt_1", "invoice.payment_failed")
    assert (dead.reason, dead.attempts) == ("schema 9 is unknown", 1)
    (dead,) = listed(inbox, 1)  # looking takes nothing away
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


def listed(inbox: Any, wanted: int) -> list[Any]:
    """The dead letters, once they have come through."""
    for _ in range(20):
        found = inbox.dead()
        if len(found) >= wanted:
            return list(found)
    raise AssertionError("the dead letters did not come")
