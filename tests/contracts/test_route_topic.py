"""A route to another Pub/Sub topic: what arrives there, on Google's emulator, is the event as it is kept."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import orjson
import pytest

from app.handle import handle
from app.perform.due import perform
from app.services import connectors
from rules.ports import Delivery, Put
from tests.builders import NOON, TENANT, event, services_in_memory

pytestmark = pytest.mark.emulator


@pytest.fixture
def project(pubsub_emulator: None) -> str:
    return f"test-{uuid.uuid4().hex[:12]}"


def routed(project: str, topic: str) -> Any:
    """A route to the topic, an event that it takes, and one look of the worker; the command as it is then."""
    s = services_in_memory(google_project=project)
    connection = {"name": "mesh", "type": "route", "url": topic, "types": ["invoice.payment_failed"], "state": "on",
                  "reason": "", "secret_name": "none", "created_at": "2026", "only_if": None}  # fmt: skip
    s.store.commit(TENANT, None, [Put("connection", "mesh", connection)])
    handle([Delivery("d", event(), 1)], s.store, s.rulesets, s.tracer, NOON)
    perform(
        s.store, s.rulesets, connectors(s.settings, s.secrets, s.vault, s.store), s.tracer, NOON + timedelta(seconds=1)
    )
    return s.store.get(TENANT, "command", "route/mesh/evt_1")


def test_a_topic_gets_the_event_with_its_order_and_its_cloudevent_attributes(project: str) -> None:
    from google.cloud import pubsub_v1

    topic, subscription = f"projects/{project}/topics/provisioning", f"projects/{project}/subscriptions/provisioning"
    with pubsub_v1.PublisherClient() as publisher, pubsub_v1.SubscriberClient() as subscriber:
        publisher.create_topic(name=topic)
        asked = {"name": subscription, "topic": topic, "enable_message_ordering": True}
        subscriber.create_subscription(request=asked)
        assert routed(project, topic).body["state"] == "done"
        answer = subscriber.pull(subscription=subscription, max_messages=5, timeout=20)
        (found,) = [one.message for one in answer.received_messages]
    assert orjson.loads(found.data) == event().data
    assert found.ordering_key == event().partition
    assert (found.attributes["ce-id"], found.attributes["ce-type"]) == ("evt_1", "invoice.payment_failed")


def test_a_topic_that_does_not_exist_holds_the_route_until_somebody_mends_it(project: str) -> None:
    command = routed(project, f"projects/{project}/topics/nowhere")
    assert command.body["state"] == "due"
    assert command.body["attempts"][0]["outcome"] == "retry"
