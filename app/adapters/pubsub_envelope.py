"""The envelope on Pub/Sub: an event as the JSON encoding of its Avro record, and the schema that its topic holds it to.

`python -m app.adapters.pubsub_envelope > deploy/envelope.avsc` writes the schema.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from rules.envelope import FIELDS, NAMESPACE, RECEPTION, RECEPTION_NAME, EnvelopeField, avro_schema
from rules.event import Event

FILE = Path(__file__).parents[2] / "deploy" / "envelope.avsc"
_RECEPTION = f"{NAMESPACE}.{RECEPTION_NAME}"  # how the JSON encoding names the branch of a union
_TYPES = {name: type for name, type, _ in RECEPTION}


def definition() -> str:
    """The schema as text, the same bytes each time."""
    return orjson.dumps(avro_schema(), option=orjson.OPT_INDENT_2).decode() + "\n"


# ---- the message ----------------------------------------------------------------------------------------------------
def encoded(event: Event) -> bytes:
    """The data of the event's message."""
    body = event.to_cloudevent()
    return orjson.dumps({field.name: _encoded(field, body.get(field.name)) for field in FIELDS})


def plain(event: Event) -> bytes:
    """The data for a topic that holds it to no schema: Stripe's event as JSON, as CloudEvents' binary mode has it."""
    return orjson.dumps(event.data)


def decoded(data: Mapping[str, Any]) -> dict[str, Any]:
    """The CloudEvent of a message's parsed data; raises KeyError, ValueError or TypeError on what `encoded` did not
    write."""
    found = {field.name: _decoded(field, data[field.name]) for field in FIELDS}
    return {name: value for name, value in found.items() if value is not None}


def is_enveloped(data: Any) -> bool:
    """Whether parsed data is an envelope, and no event as such."""
    return isinstance(data, dict) and "specversion" in data and "recordedtime" in data


def _encoded(field: EnvelopeField, value: Any) -> Any:
    match field.kind:
        case "json":
            return orjson.dumps(value).decode()
        case "optional text":
            return {"string": value} if value is not None else None
        case "reception":
            return {_RECEPTION: _reception(value)} if value else None
        case "text":
            return str(value)
    return list(value)


def _reception(value: Mapping[str, Any]) -> dict[str, Any]:
    return {name: {type: value[name]} if value.get(name) is not None else None for name, type in _TYPES.items()}


def _decoded(field: EnvelopeField, value: Any) -> Any:
    match field.kind:
        case "json":
            return orjson.loads(value)
        case "optional text":
            return value["string"] if value is not None else None
        case "reception":
            return _read_reception(value[_RECEPTION]) if value is not None else None
    return value


def _read_reception(value: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value[name][type] for name, type in _TYPES.items() if value.get(name) is not None}


if __name__ == "__main__":
    sys.stdout.write(definition())
