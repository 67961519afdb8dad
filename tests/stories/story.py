"""The sample history of the shared data: 12,484 events and the 12,901 deliveries in which they came."""

from __future__ import annotations

import gzip
import json
import lzma
from functools import lru_cache
from typing import Any

from rules.event import Event, seconds
from rules.model import RuleVersion
from rules.rule import parse
from rules.subjects import correlation_of, keys_of, partition_of
from tests.builders import SHARED

TENANT = "default/test"
DATA = SHARED / "data"


@lru_cache(maxsize=1)
def events() -> dict[str, Event]:
    """Every event of the story by id, recorded at its own time."""
    with lzma.open(DATA / "story.jsonl.xz") as lines:
        return {event.id: event for event in map(_event, lines)}


def _event(line: bytes) -> Event:
    envelope = json.loads(line)
    keys = keys_of(envelope, "default")
    return Event(
        id=envelope["id"],
        type=envelope["type"],
        tenant=TENANT,
        created=envelope["created"],
        recorded=seconds(envelope["created"]),
        data=envelope,
        correlation=correlation_of(envelope),
        partition=partition_of(keys),
        keys=keys,
    )


@lru_cache(maxsize=1)
def deliveries() -> tuple[str, ...]:
    """Event ids as they were delivered, with duplicates and inversions."""
    with gzip.open(DATA / "deliveries.jsonl.gz") as lines:
        return tuple(json.loads(line)["event"] for line in lines)


def example_document(renewals_only: bool = False) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((DATA / "example_rule.json").read_text())
    if renewals_only:
        document["only_if"]["all"].append(
            {"field": "data.object.billing_reason", "is": "equal to", "value": "subscription_cycle"}
        )
    return document


def example_version(renewals_only: bool = False) -> RuleVersion:
    return RuleVersion(TENANT, parse(example_document(renewals_only)), 1, "live", "")
