"""The audit log for other systems: each entry as a CloudEvent (https://cloudevents.io, 1.0), in the order of its time.

The proof goes along: `audithash` is the entry's digest, which the chain of seals holds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from app.audit.entries import TOLD, entry_hash
from app.audit.seal import entries
from rules.event import iso
from rules.ports import Store

FORMATS = ("cloudevents", "json")
PREFIX = "dev.signalbox.audit."
JSON = Mapping[str, Any]


def cloudevent(tenant: str, id: str, body: JSON) -> dict[str, Any]:
    """`type` names the verb, `subject` what it was done to, `data` is what the entry says.

    >>> body = {"at": "2026-11-23T12:00:00.000000Z", "actor": "ada", "verb": "roll back", "about": "two-failed",
    ...         "from": {"version": 3}, "to": {"version": 2}, "why": "too eager"}
    >>> found = cloudevent("default/live", "2026-11-23T12:00:00.000000Z-0123456789ab", body)
    >>> found["type"], found["source"], found["subject"]
    ('dev.signalbox.audit.roll_back', '/signalbox/default/live', 'two-failed')
    """
    return {
        "specversion": "1.0",
        "id": id,
        "source": "/signalbox/" + quote(tenant),
        "type": PREFIX + re.sub(r"[^a-z0-9]+", "_", str(body["verb"]).lower()).strip("_"),
        "subject": str(body["about"]) or "signalbox",
        "time": body["at"],
        "datacontenttype": "application/json",
        "audithash": body.get("hash") or entry_hash(body),
        "data": {name: body.get(name) for name in TOLD},
    }


def told(id: str, body: JSON) -> dict[str, Any]:
    """An entry as the API lists it."""
    return {"id": id, **body}


def exported(
    store: Store, tenant: str, form: str = "cloudevents", since: datetime | None = None, until: datetime | None = None
) -> Iterator[dict[str, Any]]:
    """Every entry that bears a time from `since` up to `until`, oldest first. form: one of FORMATS."""
    for document in entries(store, tenant, iso(since) if since else "", iso(until) if until else "~"):
        if form == "cloudevents":
            yield cloudevent(tenant, document.id, document.body)
        else:
            yield told(document.id, document.body)


def lines(found: Iterable[JSON], batch: bool = False) -> Iterator[str]:
    """JSON Lines; or one JSON batch (`application/cloudevents-batch+json`), line by line too."""
    if not batch:
        yield from (json.dumps(one, ensure_ascii=False) for one in found)
        return
    before = "["
    for one in found:
        yield f"{before} {json.dumps(one, ensure_ascii=False)}"
        before = ","
    yield "[]" if before == "[" else "]"
