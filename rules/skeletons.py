"""Skeletons: one realistic event of each of Stripe's types, checked in, from which the events of examples are built.

Instants in a skeleton are seconds from the event (`"@-86400"`), and the ids of what it is about stand-ins that all
skeletons share, so that the events of one example are about the same customer, subscription and invoice unless they
say otherwise. app.sample_data.skeletons makes them.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

JSON = Mapping[str, Any]
DATA = Path(__file__).with_name("skeletons.json.gz")
STAND_INS: Mapping[str, str] = MappingProxyType(
    {
        "customer": "cus_example",
        "subscription": "sub_example",
        "invoice": "in_example",
        "payment_intent": "pi_example",
        "charge": "ch_example",
        "card": "fp_example",
    }
)
API_VERSION = "2026-10-28.endive"
_INSTANT = re.compile(r"@(-?\d+)")


def types() -> tuple[str, ...]:
    """Every event type that an example can be built of."""
    return tuple(_texts())


def envelope(id: str, type: str, created: int, subjects: Mapping[str, str]) -> dict[str, Any]:
    """An event of this type as Stripe would send it at this second, its personal values already tokens.
    subjects: ids by subject name, in place of the stand-ins. KeyError for an unknown type.

    >>> envelope("evt_1", "invoice.paid", 1_800_000_000, {"customer": "cus_2"})["data"]["object"]["customer"]
    'cus_2'
    """
    named = {STAND_INS[subject]: id for subject, id in subjects.items()}

    def text(value: str) -> Any:
        if instant := _INSTANT.fullmatch(value):
            return created + int(instant[1])
        for stand_in, id in named.items():
            value = value.replace(stand_in, id)
        return value

    return {
        "id": id,
        "object": "event",
        "api_version": API_VERSION,
        "created": created,
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None},
        "type": type,
        "data": _mapped(json.loads(_texts()[type]), text),
    }


def put(into: Any, path: Sequence[str], value: Any) -> None:
    """Write a value into an event, in place. A number goes into a list by its place; what is not there is made."""
    key: Any = path[0]
    if isinstance(into, list):
        key = int(key)
        into.extend({} for _ in range(key + 1 - len(into)))
    if len(path) == 1:
        into[key] = value
        return
    inner = into[key] if isinstance(into, list) else into.get(key)
    if not isinstance(inner, (dict, list)):
        inner = into[key] = {}
    put(inner, path[1:], value)


def _mapped(value: Any, text: Callable[[str], Any]) -> Any:
    if isinstance(value, dict):
        return {key: _mapped(part, text) for key, part in value.items()}
    if isinstance(value, list):
        return [_mapped(part, text) for part in value]
    return text(value) if isinstance(value, str) else value


@lru_cache(maxsize=1)
def _texts() -> dict[str, str]:
    """The data of each type's event as JSON text: each example gets its own copy."""
    found = json.loads(gzip.decompress(DATA.read_bytes()))
    return {type: json.dumps(data) for type, data in found.items()}
