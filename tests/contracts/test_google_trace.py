"""One trace from the webhook over Pub/Sub to the CRM: the message carries it, spans link to it, the CRM is told it."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from app import tenants
from app.adapters import otel, pubsub_topics
from app.adapters.pubsub import PubSubBus, PubSubInbox
from app.adapters.pubsub_dead import Tenants
from app.handle import handle
from app.perform.due import perform
from app.receive.webhook import receive
from app.services import Services
from rules.event import span_id, trace_id
from rules.ports import Put
from tests.builders import TENANT, body_of, envelope, services_in_memory, signed
from tests.contracts.bus import drain_all
from tests.fakes.collector import Collector, collecting
from tests.fakes.receiver import Receiver

pytestmark = pytest.mark.emulator
NOW = datetime.now(UTC).replace(microsecond=0)
PROJECT = f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def collector() -> Iterator[tuple[Collector, str]]:
    with collecting() as found:
        yield found


@pytest.fixture
def on_pubsub(pubsub_emulator: None, collector: tuple[Collector, str]) -> Iterator[Services]:
    publisher, subscriber = pubsub_topics.clients()
    names = pubsub_topics.names(PROJECT)
    pubsub_topics.create(publisher, subscriber, names)
    memory = services_in_memory(now=NOW, google_project=PROJECT)
    known = Tenants(partial(tenants.every, memory.store), partial(tenants.ensure, memory.store))
    yield replace(
        memory,
        bus=PubSubBus(publisher, names.topic),
        inbox=PubSubInbox(subscriber, publisher, names, memory.store, known, wait=0.5),
        tracer=otel.OtelTracer(otel.otlp(collector[1]), queue=otel.pubsub_names(PROJECT)),
    )
    publisher.stop()
    subscriber.close()


def forward_to(services: Services, url: str) -> None:
    """A route to the CRM, signed."""
    secret = f"connection/{TENANT}/crm"
    services.secrets.put(secret, "whsec_" + base64.b64encode(b"k" * 32).decode())
    crm = {"name": "crm", "type": "route", "url": url, "types": ["invoice.payment_failed"], "state": "on",
           "reason": "", "secret_name": secret, "created_at": "2026", "only_if": None}  # fmt: skip
    services.store.commit(TENANT, None, [Put("connection", "crm", crm)])


def attributes(span: Any) -> dict[str, Any]:
    return {one.key: one.value.string_value or one.value.int_value for one in span.attributes}


def test_one_trace_goes_from_the_webhook_over_pubsub_to_the_crm(
    on_pubsub: Services, collector: tuple[Collector, str]
) -> None:
    s, receiver, body = on_pubsub, Receiver(), body_of(envelope(time=NOW))
    with receiver.running() as url:
        forward_to(s, f"{url}/crm")
        assert receive(signed(body, NOW), body, s.bus, s.vault, s.verifier, NOW).status == 200
        drain_all(s.inbox, partial(handle, store=s.store, rulesets=s.rulesets, tracer=s.tracer, now=NOW), NOW, 1)
        perform(s.store, s.rulesets, s.connectors, s.tracer, NOW.replace(microsecond=9))
    s.tracer.close()  # type: ignore[attr-defined]
    spans = {span.kind: span for span in collector[0].spans}
    server, client, producer, consumer = (spans[kind] for kind in (2, 3, 4, 5))
    assert {span.trace_id.hex() for span in spans.values()} == {trace_id(TENANT, "in_1")}
    assert producer.parent_span_id == consumer.parent_span_id == server.span_id
    assert producer.span_id.hex() == span_id(TENANT, "evt_1", "send")
    (link,) = consumer.links
    assert link.span_id == producer.span_id
    assert client.parent_span_id == consumer.span_id
    (got,) = receiver.got
    assert got.headers["traceparent"] == f"00-{client.trace_id.hex()}-{client.span_id.hex()}-01"
    assert attributes(consumer)["messaging.message.id"] == attributes(producer)["messaging.message.id"]
    assert attributes(consumer)["messaging.destination.name"] == "signalbox-events"
    assert attributes(client)["http.response.status_code"] == 200
    assert attributes(client)["url.full"] == f"{url}/crm"


def test_a_message_says_its_trace_to_whoever_reads_the_topic(on_pubsub: Services) -> None:
    from google.cloud import pubsub_v1

    s, body = on_pubsub, body_of(envelope("evt_2", time=NOW))
    receive(signed(body, NOW), body, s.bus, s.vault, s.verifier, NOW)
    with pubsub_v1.SubscriberClient() as subscriber:
        name = pubsub_topics.names(PROJECT).subscription
        answer = subscriber.pull(subscription=name, max_messages=5, timeout=20)
        (found,) = [one.message for one in answer.received_messages if one.message.attributes["ce-id"] == "evt_2"]
    wanted = f"00-{trace_id(TENANT, 'in_1')}-{span_id(TENANT, 'evt_2', 'send')}-01"
    assert found.attributes["ce-traceparent"] == wanted
