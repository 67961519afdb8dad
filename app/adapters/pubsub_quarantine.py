"""Says on a topic what was quarantined, so that others can act on it: the entry as JSON, without a value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from app.adapters.pubsub_calls import send
from rules.ports import Body


def teller(publisher: Any, topic: str) -> Callable[[str, Body], None]:
    """publisher: google.cloud.pubsub_v1.PublisherClient. What it returns raises Unavailable."""

    def tell(tenant: str, entry: Body) -> None:
        attributes = {"tenant": tenant, "event": str(entry["id"])[:1000], "type": str(entry["type"])[:1000]}
        send(publisher, topic, orjson.dumps(entry), "", attributes)

    return tell
