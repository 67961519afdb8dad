"""The Store contract on Google's Firestore emulator, and the indexes that it does not enforce."""

from __future__ import annotations

import base64
import json
import os
import random
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from app.adapters.documents import MAX_BODY
from app.adapters.firestore_indexes import firestore_indexes, text
from rules.kinds import KINDS
from rules.ports import Put, Store, Unavailable
from tests.contracts.store import MINUTE, NOON, QUERIES, A, StoreContract, got, logged, rule

CONTAINS, ASCENDING = {"arrayConfig": "CONTAINS"}, {"order": "ASCENDING"}
INDEXES = Path(__file__).parents[2] / "deploy" / "firestore.indexes.json"


@pytest.fixture
def client(firestore_emulator: None) -> Iterator[Any]:
    """It fails the test when a query was asked that production would refuse for want of an index."""
    from tests.firestore_calls import recording_client

    client, calls = recording_client(f"test-{uuid.uuid4().hex[:12]}", os.environ["FIRESTORE_EMULATOR_HOST"])
    yield client
    client.close()
    check_indexes(calls)


def check_indexes(calls: Any) -> None:
    """Every composite index that these queries need is in the file that is deployed."""
    from tests.firestore_calls import index_of, same_index

    there = json.loads(INDEXES.read_text())["indexes"]
    needed = [index for query in calls.queries if (index := index_of(query))]
    lacking = [index for index in needed if not any(same_index(index, found) for found in there)]
    assert not lacking, f"deploy/firestore.indexes.json lacks {lacking[0]}"


@pytest.fixture
def firestore_store(client: Any) -> Store:
    from app.adapters.firestore import FirestoreStore

    return FirestoreStore(client)


@pytest.mark.emulator
class TestFirestoreStore(StoreContract):
    increments = 20

    @pytest.fixture
    def store(self, firestore_store: Store) -> Store:
        return firestore_store


@pytest.mark.emulator
def test_the_largest_document_that_is_not_refused_fits_in_firestore(firestore_store: Store) -> None:
    keys = [f"path:{i}" + "x" * 80 for i in range(100)]
    noise = base64.b64encode(random.Random(1).randbytes(MAX_BODY)).decode()
    body = {**logged(keys=keys).body, "noise": noise}
    while (over := len(zlib.compress(orjson.dumps(body), 1)) - MAX_BODY) > 0:
        body["noise"] = body["noise"][: -over - 200]
    firestore_store.commit(A, Put("event", "x" * 900, body), [])
    assert got(firestore_store, A, "event", "x" * 900).body["noise"] == body["noise"]


@pytest.mark.emulator
def test_a_database_that_is_away_is_unavailable(client: Any) -> None:
    from app.adapters.firestore import FirestoreStore

    client.close()
    store = FirestoreStore(nowhere(), patience=0.5)
    for ask in (
        lambda: store.commit(A, None, [rule("r1", 1)]),
        lambda: store.get(A, "rule", "r1"),
        lambda: store.find(A, "rule"),
        lambda: store.count(A, "rule"),
        lambda: store.claim("run", NOON, MINUTE, 1),
    ):
        with pytest.raises(Unavailable):
            ask()


def nowhere() -> Any:
    """A client of a Firestore that does not answer."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import firestore

    host = os.environ["FIRESTORE_EMULATOR_HOST"]
    os.environ["FIRESTORE_EMULATOR_HOST"] = "127.0.0.1:9"
    try:
        return firestore.Client(project="away", credentials=AnonymousCredentials())
    finally:
        os.environ["FIRESTORE_EMULATOR_HOST"] = host


def test_the_index_file_is_what_the_declared_queries_need() -> None:
    mend = "python -m app.adapters.firestore_indexes > deploy/firestore.indexes.json"
    assert INDEXES.read_text() == text(), f"run: {mend}"


@pytest.mark.parametrize(("kind", "query"), [(kind, query) for kind, query in QUERIES if len(query) > 1])
@pytest.mark.parametrize("direction", ["ASCENDING", "DESCENDING"])
def test_every_declared_query_has_its_composite_index(kind: str, query: tuple[str, ...], direction: str) -> None:
    *leading, last = query
    lists = KINDS[kind].lists
    needed = [{"fieldPath": name, **(CONTAINS if name in lists else ASCENDING)} for name in leading]
    needed.append({"fieldPath": last, "order": direction})
    found = json.loads(INDEXES.read_text())["indexes"]
    assert needed in [index["fields"] for index in found if index["collectionGroup"] == kind]


def test_no_index_reads_the_body() -> None:
    overrides = firestore_indexes()["fieldOverrides"]
    assert {o["collectionGroup"] for o in overrides if o["fieldPath"] == "body" and not o["indexes"]} == set(KINDS)
