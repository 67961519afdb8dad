"""The envelope: the fields of the CloudEvent that stands for an event between our own processes, and its Avro schema.

One table says them; `Event.to_cloudevent` writes exactly these, and a topic with the schema takes nothing else. The
payload travels as JSON text: Stripe's objects have no fixed shape that Avro could say (their own shapes are
`rules.registry`'s business). Fields may be added with a default and never change their type, so that processes of two
releases read each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

NAME: Final = "Event"
NAMESPACE: Final = "signalbox"
Kind = Literal["text", "optional text", "texts", "json", "reception"]


@dataclass(frozen=True, slots=True)
class EnvelopeField:
    """kind: json is JSON written as text; reception the span of the reception, or nothing."""

    name: str
    kind: Kind
    says: str


FIELDS: Final = (
    EnvelopeField("specversion", "text", "Of CloudEvents: 1.0."),
    EnvelopeField("id", "text", "Stripe's event id."),
    EnvelopeField("source", "text", "stripe/ and the tenant."),
    EnvelopeField("type", "text", "Stripe's event type."),
    EnvelopeField("time", "text", "When it happened at Stripe, ISO 8601."),
    EnvelopeField("datacontenttype", "text", "Of data: application/json."),
    EnvelopeField("recordedtime", "text", "When it was heard of, ISO 8601."),
    EnvelopeField("correlationid", "text", "The transaction id of the whole journey."),
    EnvelopeField("partitionkey", "text", "The ordering key: the customer where known."),
    EnvelopeField("tenant", "text", "Account and mode."),
    EnvelopeField("origin", "text", "webhook, or import for history."),
    EnvelopeField("keys", "texts", "Every subject key the event belongs to."),
    EnvelopeField("causationid", "optional text", "The command of ours that caused it."),
    EnvelopeField("received", "reception", "The span of its reception and the digest of what was received."),
    EnvelopeField("data", "json", "Stripe's event, personal values replaced by tokens."),
)
RECEPTION: Final = (
    ("span_id", "string", "Of the reception."),
    ("start", "long", "Unix nanoseconds."),
    ("end", "long", "Unix nanoseconds."),
    ("digest", "string", "SHA-256 of the raw body, hex."),
)
RECEPTION_NAME: Final = "Reception"


def avro_schema() -> dict[str, Any]:
    """The Avro schema of the envelope (https://avro.apache.org/docs/1.12.0/specification/)."""
    return {
        "type": "record",
        "name": NAME,
        "namespace": NAMESPACE,
        "doc": "A Stripe event as a CloudEvent 1.0, with Signalbox's extensions.",
        "fields": [_field(field) for field in FIELDS],
    }


def _field(field: EnvelopeField) -> dict[str, Any]:
    match field.kind:
        case "texts":
            return {"name": field.name, "type": {"type": "array", "items": "string"}, "doc": field.says}
        case "optional text":
            return {"name": field.name, "type": ["null", "string"], "default": None, "doc": field.says}
        case "reception":
            return {"name": field.name, "type": ["null", _reception()], "default": None, "doc": field.says}
    return {"name": field.name, "type": "string", "doc": field.says}


def _reception() -> dict[str, Any]:
    return {
        "type": "record",
        "name": RECEPTION_NAME,
        "fields": [
            {"name": name, "type": ["null", type], "default": None, "doc": says} for name, type, says in RECEPTION
        ],
    }
