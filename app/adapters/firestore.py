"""The Store on Firestore: a commit is one batch of writes with preconditions, never a contended transaction.

A document is `tenants/<tenant>/<kind>/<id>`: its searched fields, beside them the whole body as compressed bytes that
no index reads (Firestore would index every leaf of a map, and takes 20 levels at most). Versions are update times.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from urllib.parse import unquote

from google.api_core import exceptions
from google.api_core.retry import Retry, if_exception_type
from google.cloud import firestore
from google.cloud.firestore_v1.base_query import FieldFilter
from google.protobuf.timestamp_pb2 import Timestamp

from app.adapters.documents import (
    Query,
    check_commit,
    check_id,
    check_query,
    cursor_after,
    decode,
    encode,
    expectation,
    read_cursor,
    searched,
    searched_list,
)
from app.adapters.firestore_claims import FIELD as SHARD
from app.adapters.firestore_claims import Claims, Workers, shard_of
from app.adapters.firestore_errors import named
from app.adapters.firestore_indexes import TTL
from rules.event import Event, instant
from rules.kinds import CLAIMABLE, KINDS, Kind
from rules.ports import (
    ABSENT,
    ANY,
    AlreadyProcessed,
    Conflict,
    Document,
    Page,
    Put,
    TooLarge,
    Where,
    Write,
)

COMPRESS_FROM = 1_000  # bytes; here storage and reads cost money, CPU less
LONGEST_PATH = 1_500  # bytes of a document's name
MOST_TYPES = 30  # alternatives in one query
_BESIDE = (SHARD, TTL)
_OPERATORS = {"==": "==", "has": "array_contains", "<": "<", "<=": "<=", ">": ">", ">=": ">="}


class FirestoreStore:
    """Store in a Firestore database. client: google.cloud.firestore.Client. patience: seconds for one answer.
    worker: this one's name among several that claim, and idle: see firestore_claims."""

    def __init__(self, client: Any, patience: float = 10.0, worker: str = "", idle: timedelta = timedelta(0)) -> None:
        self._client = client
        again = Retry(if_exception_type(exceptions.ServiceUnavailable), initial=0.1, maximum=2.0, timeout=patience)
        self._limits: dict[str, Any] = {"retry": again, "timeout": patience}
        workers = Workers(client, worker) if worker else None
        self._claims = Claims(client, self._limits, _document, workers, idle)

    # ---- reading ----------------------------------------------------------------------------------------------------
    def get(self, tenant: str, kind: str, id: str) -> Document | None:
        with named():
            found = self._reference(tenant, kind, id).get(**self._limits)
        return _document(found) if found.exists else None

    def find(
        self,
        tenant: str,
        kind: str,
        where: Sequence[Where] = (),
        order: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> Page:
        checked = check_query(kind, where, order)
        query = self._ordered(tenant, checked, after)
        with named():
            items = [_document(found) for found in query.limit(limit + 1).stream(**self._limits)]
        if len(items) <= limit or not limit:
            return Page(tuple(items))
        last = items[limit - 1]
        value = last.body[checked.order] if checked.order else None
        return Page(tuple(items[:limit]), cursor_after(checked, value, last.id))

    def count(self, tenant: str, kind: str, where: Sequence[Where] = (), most: int | None = None) -> int:
        query = self._filtered(tenant, check_query(kind, where, None))
        if most is not None:
            query = query.limit(most)
        with named():
            return int(query.count().get(**self._limits)[0][0].value)

    def window(self, tenant: str, key: str, types: Sequence[str], since: int, until: int) -> list[Event]:
        found: list[Event] = []
        for start in range(0, len(types), MOST_TYPES):
            query = (
                self._collection(tenant, "event")
                .where(filter=FieldFilter("keys", "array_contains", key))
                .where(filter=FieldFilter("type", "in", list(types[start : start + MOST_TYPES])))
                .where(filter=FieldFilter("created", ">=", since))
                .where(filter=FieldFilter("created", "<=", until))
                .order_by("created")
            )
            with named():
                found += [
                    Event.from_cloudevent(_document(snapshot).body["event"])
                    for snapshot in query.stream(**self._limits)
                ]
        return sorted(found, key=lambda event: (event.created, event.id))

    # ---- writing ----------------------------------------------------------------------------------------------------
    def commit(self, tenant: str, event: Put | None, writes: Sequence[Write]) -> None:
        check_commit(event, writes)
        batch = self._client.batch()
        if event is not None:
            batch.create(self._reference(tenant, "event", event.id), _fields(event))
        for write in writes:
            self._add(batch, tenant, write)
        try:
            with named():
                batch.commit(**self._limits)
        except Conflict:
            if event is not None and self.get(tenant, "event", event.id) is not None:
                raise AlreadyProcessed(event.id) from None
            raise
        self._claims.stirred({write.kind for write in writes if write.kind in CLAIMABLE})

    def claim(self, kind: str, now: datetime, lease: timedelta, limit: int) -> list[Document]:
        if kind not in CLAIMABLE:
            raise ValueError(f"{kind!r} is not claimable")
        return self._claims.claim(kind, now, lease, limit)

    def share(self) -> float:
        return self._claims.share()

    def close(self) -> None:
        """Leave what is due to the other workers at once; they would wait for a sign of life first."""
        self._claims.leave()

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Nothing to gather here: each commit is durable by itself, which the port allows."""
        yield

    def wipe(self, tenant: str) -> None:
        for kind in KINDS:
            with named():
                names = [found.reference for found in self._collection(tenant, kind).select([]).stream(**self._limits)]
                for start in range(0, len(names), 400):
                    batch = self._client.batch()
                    for name in names[start : start + 400]:
                        batch.delete(name)
                    batch.commit(**self._limits)

    def _add(self, batch: Any, tenant: str, write: Write) -> None:
        """One write with its precondition."""
        reference = self._reference(tenant, write.kind, write.id)
        expect = expectation(write)
        option = self._option(write)
        if not isinstance(write, Put):
            batch.delete(reference, option=option)
        elif expect == ABSENT:
            batch.create(reference, _fields(write))
        elif expect == ANY:
            batch.set(reference, _fields(write))
        else:
            absent = dict.fromkeys((*KINDS[write.kind].fields, *_BESIDE), firestore.DELETE_FIELD)
            batch.update(reference, {**absent, **_fields(write)}, option=option)

    def _option(self, write: Write) -> Any:
        if write.expect == ANY:
            return None
        if write.expect == ABSENT:
            return self._client.write_option(exists=False)
        try:
            updated = Timestamp()
            updated.FromJsonString(write.expect)
        except ValueError:
            raise Conflict(f"{write.kind} {write.id}: {write.expect!r} is no version") from None
        return self._client.write_option(last_update_time=updated)

    # ---- names and queries ------------------------------------------------------------------------------------------
    def _collection(self, tenant: str, kind: str) -> Any:
        return self._client.collection("tenants", escaped(tenant), kind)

    def _reference(self, tenant: str, kind: str, id: str) -> Any:
        check_id(kind, id)
        return self._collection(tenant, kind).document(escaped(id))

    def _filtered(self, tenant: str, query: Query) -> Any:
        tests: list[Where] = [(name, "==", value) for name, value in query.equal]
        if query.has:
            tests.append((query.has[0], "has", query.has[1]))
        found = self._collection(tenant, query.kind.name)
        for name, op, value in [*tests, *query.ranges]:
            found = found.where(filter=FieldFilter(name, _OPERATORS[op], value))
        return found

    def _ordered(self, tenant: str, query: Query, after: str | None) -> Any:
        direction = "DESCENDING" if query.descending else "ASCENDING"
        found = self._filtered(tenant, query)
        if query.order:
            found = found.order_by(query.order, direction=direction)
        found = found.order_by("__name__", direction=direction)
        if after is None:
            return found
        value, id = read_cursor(query, after)
        name = self._reference(tenant, query.kind.name, id)
        return found.start_after({"__name__": name, **({query.order: value} if query.order else {})})


def escaped(id: str) -> str:
    """An id as a Firestore document id, which has no `/`, is not `.` or `..` and not of the form `__.*__`."""
    found = id.replace("%", "%25").replace("/", "%2F")
    if found in (".", ".."):
        found = found.replace(".", "%2E")
    elif found.startswith("__") and found.endswith("__"):
        found = "%5F" + found[1:]
    if len(found.encode()) > LONGEST_PATH:
        raise TooLarge(f"the id {id[:40]}... is too long once its slashes are escaped")
    return found


def _fields(put: Put) -> dict[str, Any]:
    """A document's fields: what is searched, without nulls (they would be in every ordered list), and the body."""
    kind = KINDS[put.kind]
    values = dict(zip(kind.fields, searched(kind, put.body), strict=True))
    found = {name: value for name, value in values.items() if value is not None and name in _queried(kind)}
    return {**found, **_lists(kind, put), **_beside(kind, put, values), "body": encode(put.body, COMPRESS_FROM)}


@cache
def _queried(kind: Kind) -> frozenset[str]:
    """The fields that some query asks for; each other one would be an index entry that nobody reads."""
    return frozenset(name for query in kind.queries for name in query)


def _beside(kind: Kind, put: Put, values: Mapping[str, Any]) -> dict[str, Any]:
    """What only Firestore needs: the shard of what is due, and the instant that its policy deletes by."""
    found: dict[str, Any] = {}
    if kind.name in CLAIMABLE and values["due_at"] is not None:
        found[SHARD] = shard_of(put.id)
    if kind.expires and values[kind.expires] is not None:
        found[TTL] = instant(values[kind.expires])
    return found


def _lists(kind: Kind, put: Put) -> dict[str, list[str]]:
    return {name: searched_list(kind, name, put.body) for name in kind.lists}


def _document(snapshot: Any, due_at: str | None = None, updated: Any = None) -> Document:
    """due_at, updated: what a claim has just made of the snapshot."""
    _, tenant, kind, id = snapshot.reference.path.split("/")
    fields = snapshot.to_dict()
    body = decode(fields["body"])
    if kind in CLAIMABLE and ("due_at" in fields or "due_at" in body):
        body["due_at"] = due_at or fields.get("due_at")  # a claim moves the field only
    version = (updated or snapshot.update_time).rfc3339()
    return Document(unquote(tenant), kind, unquote(id), body, version)
