"""The envelope on Pub/Sub: its schema is current, takes every message that we write, and the topic refuses others."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import uuid
from collections.abc import Iterator
from typing import Any

import fastavro
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.adapters.memory import MemoryVault
from app.adapters.pubsub import attributes_of, event_of
from app.adapters.pubsub_envelope import FILE, decoded, definition, encoded, plain
from app.adapters.stripe_verifier import StripeVerifier
from app.receive.webhook import event_of as received
from app.receive.webhook import receive
from rules.envelope import FIELDS, avro_schema
from rules.event import Event
from rules.ports import Unavailable
from tests.builders import NOON, SHARED, WEBHOOK_SECRET, body_of, envelope, signed, thin
from tests.contracts.bus import event

SCHEMA = fastavro.parse_schema(avro_schema())


def sent() -> Iterator[Event]:
    """One event of every type that is known, and every 40th of the story, as receive publishes them."""
    with (
        gzip.open(SHARED / "data" / "catalog.jsonl.gz") as catalog,
        lzma.open(SHARED / "data" / "story.jsonl.xz") as story,
    ):
        lines = [*catalog, *list(story)[::40]]
    for body in (*map(json.loads, lines), thin()):
        yield received(body, "default", MemoryVault(), NOON, raw=body_of(body))


def taken(data: bytes) -> Any:
    """What the schema makes of a message; raises when it does not conform."""
    (found,) = fastavro.json_reader(io.StringIO(data.decode()), SCHEMA)
    return found


def test_the_schema_in_deploy_is_the_one_in_use() -> None:
    assert FILE.read_text() == definition()


def test_an_event_has_the_fields_of_the_envelope_and_no_others() -> None:
    whole = event(causation="run_1/step", received={"span_id": "1"}).to_cloudevent()
    assert set(whole) == {field.name for field in FIELDS}


def test_the_schema_takes_every_event_that_is_received() -> None:
    count = 0
    for one in sent():
        found = taken(encoded(one))
        assert (found["id"], found["type"], found["tenant"]) == (one.id, one.type, one.tenant)
        assert json.loads(found["data"]) == one.data
        count += 1
    assert count > 500


texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=50)
events = st.builds(
    event,
    id=texts,
    type=texts,
    keys=st.lists(texts, max_size=4).map(tuple),
    causation=st.none() | texts,
    received=st.none()
    | st.fixed_dictionaries(
        {"span_id": texts, "start": st.integers(0, 2**62), "end": st.integers(0, 2**62)}, optional={"digest": texts}
    ),
    data=st.dictionaries(texts, st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts, max_size=4),
)


@settings(max_examples=200, deadline=None)
@given(events)
def test_an_event_is_the_same_after_its_envelope(found: Event) -> None:
    data = encoded(found)
    assert Event.from_cloudevent(decoded(orjson.loads(data))) == found
    assert event_of({}, data) == found
    assert taken(data)["id"] == found.id


def test_a_message_of_an_earlier_release_is_still_read() -> None:
    found = event(causation="run_1/step", received={"span_id": "1", "start": 1})
    assert event_of(attributes_of(found), plain(found)) == found


# ---- on the emulator ------------------------------------------------------------------------------------------------
@pytest.fixture
def project(pubsub_emulator: None) -> Iterator[tuple[Any, Any, Any]]:
    from app.adapters import pubsub_topics

    publisher, subscriber = pubsub_topics.clients()
    names = pubsub_topics.names(f"test-{uuid.uuid4().hex[:12]}")
    pubsub_topics.create(publisher, subscriber, names)
    yield publisher, subscriber, names
    publisher.stop()
    subscriber.close()


@pytest.mark.emulator
def test_the_topic_takes_a_message_of_every_type(project: tuple[Any, Any, Any]) -> None:
    publisher, _, names = project
    futures = [
        publisher.publish(names.topic, encoded(one), ordering_key=one.partition, **attributes_of(one)) for one in sent()
    ]
    assert len({future.result(timeout=30) for future in futures}) == len(futures)


@pytest.mark.emulator
def test_what_the_topic_refuses_is_unavailable_and_stripe_is_asked_to_send_it_again(
    project: tuple[Any, Any, Any],
) -> None:
    from app.adapters.pubsub import PubSubBus

    publisher, _, names = project
    with pytest.raises(Unavailable, match="Pub/Sub"):
        PubSubBus(publisher, names.topic, data=plain).publish(event())
    raw = body_of(envelope())
    bus, verifier = (
        PubSubBus(publisher, names.topic, data=plain),
        StripeVerifier(lambda: {"default": (WEBHOOK_SECRET,)}),
    )
    assert receive(signed(raw), raw, bus, MemoryVault(), verifier, NOON).status == 503
    PubSubBus(publisher, names.topic).publish(event())  # the customer's key is not stopped by it


@pytest.mark.emulator
def test_a_changed_schema_and_a_topic_without_one_are_told_and_mended(project: tuple[Any, Any, Any]) -> None:
    from google.cloud import pubsub_v1
    from google.protobuf import field_mask_pb2
    from google.pubsub_v1.types import Schema

    from app.cli import google

    publisher, _, names = project
    name = names.topic.split("/")[1]
    assert list(google.topics(name, False)) == []
    older = {**avro_schema(), "fields": [one for one in avro_schema()["fields"] if one["name"] != "causationid"]}
    with pubsub_v1.SchemaServiceClient() as client:
        revised = {"name": names.schema, "type_": Schema.Type.AVRO, "definition": json.dumps(older)}
        client.commit_schema(request={"name": names.schema, "schema": revised})
    (line,) = google.topics(name, False)
    assert line.endswith("signalbox-event: definition")
    list(google.topics(name, True))
    assert list(google.topics(name, False)) == []
    publisher.update_topic(
        request={"topic": {"name": names.topic}, "update_mask": field_mask_pb2.FieldMask(paths=["schema_settings"])}
    )
    (line,) = google.topics(name, False)
    assert line.endswith("signalbox-events: schema_settings")
    list(google.topics(name, True))
    assert list(google.topics(name, False)) == []


@pytest.mark.emulator
def test_the_quarantine_topic_tells_the_entry_and_no_value(project: tuple[Any, Any, Any]) -> None:
    from app.adapters.pubsub_quarantine import teller

    publisher, subscriber, names = project
    entry = {"id": "evt_1", "type": "invoice.paid", "errors": [{"path": "data.object.id", "problem": "is missing"}]}
    teller(publisher, names.quarantine_topic)("default/test", entry)
    request = {"subscription": names.quarantine_subscription, "max_messages": 10}
    (got,) = subscriber.pull(request=request, timeout=10).received_messages
    assert orjson.loads(got.message.data) == entry
    assert dict(got.message.attributes) == {"tenant": "default/test", "event": "evt_1", "type": "invoice.paid"}
