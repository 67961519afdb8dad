"""The Firestore indexes of every query that rules.kinds declares, as `deploy/firestore.indexes.json` holds them.

`python -m app.adapters.firestore_indexes > deploy/firestore.indexes.json` writes the file; a test compares.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from app.adapters.firestore_claims import FIELD as SHARD
from rules.kinds import CLAIMABLE, EXPIRING, KINDS, Kind

DIRECTIONS = ("ASCENDING", "DESCENDING")
TTL = "ttl"  # the field whose time Firestore deletes a document by


def firestore_indexes() -> dict[str, list[dict[str, Any]]]:
    """The content of the file. A query of one field uses the index that Firestore makes of each field by itself; the
    body's is switched off, as is that of the time-to-live, which only grows, and `due_at` has two across tenants, for
    claims: of all shards, and of some."""
    kinds = list(KINDS.values())
    return {
        "indexes": [
            *(index for kind in kinds for query in kind.queries if len(query) > 1 for index in _both(kind, query)),
            *(_unordered(kind, query) for kind in kinds for query in kind.queries if _listed(kind, query)),
            *(_sharded(name) for name in CLAIMABLE),
        ],
        "fieldOverrides": [
            *({"collectionGroup": kind.name, "fieldPath": "body", "indexes": []} for kind in kinds),
            *({"collectionGroup": name, "fieldPath": "due_at", "indexes": _due()} for name in CLAIMABLE),
            *({"collectionGroup": name, "fieldPath": TTL, "ttl": True, "indexes": []} for name in EXPIRING),
        ],
    }


def _both(kind: Kind, query: tuple[str, ...]) -> list[dict[str, Any]]:
    return [
        {
            "collectionGroup": kind.name,
            "queryScope": "COLLECTION",
            "fields": [*(_leading(kind, name) for name in query[:-1]), {"fieldPath": query[-1], "order": direction}],
        }
        for direction in DIRECTIONS
    ]


def _listed(kind: Kind, query: tuple[str, ...]) -> bool:
    """Whether the query without its order still combines a list with something else, which needs an index too."""
    return len(query) > 2 and any(name in kind.lists for name in query[:-1])


def _unordered(kind: Kind, query: tuple[str, ...]) -> dict[str, Any]:
    fields = [_leading(kind, name) for name in query[:-1]]
    return {"collectionGroup": kind.name, "queryScope": "COLLECTION", "fields": fields}


def _sharded(name: str) -> dict[str, Any]:
    fields = [{"fieldPath": path, "order": "ASCENDING"} for path in (SHARD, "due_at")]
    return {"collectionGroup": name, "queryScope": "COLLECTION_GROUP", "fields": fields}


def _leading(kind: Kind, name: str) -> dict[str, str]:
    how = {"arrayConfig": "CONTAINS"} if name in kind.lists else {"order": "ASCENDING"}
    return {"fieldPath": name, **how}


def _due() -> list[dict[str, str]]:
    return [
        *({"order": direction, "queryScope": "COLLECTION"} for direction in DIRECTIONS),
        {"order": "ASCENDING", "queryScope": "COLLECTION_GROUP"},
    ]


def text() -> str:
    return json.dumps(firestore_indexes(), indent=2) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
