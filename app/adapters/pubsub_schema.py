"""The Avro schema of the events' topic: made, compared, given a new revision, and attached.

A topic without revisions named takes a message that any revision accepts, so a new one is committed before the release
that writes it is deployed. What does not conform is refused at publish, and the publisher sees an error: Unavailable.
"""

from __future__ import annotations

import json
from typing import Any

from google.api_core import exceptions
from google.cloud import pubsub_v1
from google.protobuf import field_mask_pb2
from google.pubsub_v1.types import Encoding, Schema, SchemaSettings

from app.adapters.pubsub import Names
from app.adapters.pubsub_envelope import definition

SETTING = "schema_settings"  # of a topic
CHANGED = "definition"


def settings(names: Names) -> SchemaSettings:
    return SchemaSettings(schema=names.schema, encoding=Encoding.JSON)


def is_attached(topic: Any, names: Names) -> bool:
    """Whether the topic, as it was read, holds its messages to the schema."""
    there = topic.schema_settings
    return bool(there.schema == names.schema and there.encoding == Encoding.JSON)


def create(names: Names) -> list[str]:
    """Make the schema where there is none; what was made."""
    parent, _, id = names.schema.partition("/schemas/")
    wanted = {"type_": Schema.Type.AVRO, "definition": definition()}
    try:
        with pubsub_v1.SchemaServiceClient() as client:
            client.create_schema(request={"parent": parent, "schema_id": id, "schema": wanted})
    except exceptions.AlreadyExists:
        return []
    return [names.schema]


def difference(names: Names) -> str:
    """`missing`, or that its newest revision says something else; empty when it is as wanted."""
    try:
        with pubsub_v1.SchemaServiceClient() as client:
            there = client.get_schema(request={"name": names.schema})
    except exceptions.NotFound:
        return "missing"
    return "" if json.loads(there.definition) == json.loads(definition()) else CHANGED


def correct(publisher: Any, names: Names, name: str) -> None:
    """Commit a new revision of the schema, or attach it to the topic."""
    if name == names.topic:
        wanted = {"name": names.topic, SETTING: settings(names)}
        publisher.update_topic(request={"topic": wanted, "update_mask": field_mask_pb2.FieldMask(paths=[SETTING])})
        return
    revised = {"name": names.schema, "type_": Schema.Type.AVRO, "definition": definition()}
    with pubsub_v1.SchemaServiceClient() as client:
        client.commit_schema(request={"name": names.schema, "schema": revised})
