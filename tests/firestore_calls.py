"""What the real Firestore client asks of the server: every query, and how many documents are read and written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.auth.credentials import AnonymousCredentials
from google.cloud import firestore
from google.cloud.firestore_v1.services.firestore import FirestoreClient
from google.cloud.firestore_v1.services.firestore.transports import FirestoreGrpcTransport
from google.cloud.firestore_v1.types import StructuredQuery


@dataclass
class Calls:
    """reads: documents returned, and one for a query that returns none, as they are billed. writes, deletes: of
    commits. written, read: the name
    of each document that was written or deleted, or asked for by name, in order. stored: bytes of what was put.
    faults: what the next calls of a method come to, `("Commit", "UNAVAILABLE", "before" or "after" it happened)`."""

    queries: list[StructuredQuery] = field(default_factory=list)
    reads: int = 0
    writes: int = 0
    deletes: int = 0
    stored: int = 0
    written: list[str] = field(default_factory=list)
    read: list[str] = field(default_factory=list)
    faults: list[tuple[str, str, str]] = field(default_factory=list)
    breaks: int | None = None  # the next answer to a query breaks off after so many documents

    def fault(self, method: str, when: str) -> None:
        """Raise the fault that is next for this method at this time, once."""
        for planned in self.faults:
            if planned[0] == method and planned[2] == when:
                self.faults.remove(planned)
                raise Fault(planned[1])
            if planned[0] == method:
                return

    @contextmanager
    def counted(self) -> Iterator[Calls]:
        """What is asked inside, by itself."""
        asked, names, read = len(self.queries), len(self.written), len(self.read)
        reads, writes, deletes, stored = self.reads, self.writes, self.deletes, self.stored
        inside = Calls()
        yield inside
        inside.reads, inside.writes, inside.deletes = self.reads - reads, self.writes - writes, self.deletes - deletes
        inside.queries, inside.written = self.queries[asked:], self.written[names:]
        inside.read = self.read[read:]
        inside.stored = self.stored - stored

    def commit(self, request: Any) -> None:
        """Count what a commit is about to write."""
        for write in request.writes:
            gone = write._pb.WhichOneof("operation") == "delete"
            self.deletes += gone
            self.writes += not gone
            self.stored += 0 if gone else write.update._pb.ByteSize()
            name = write.delete if gone else write.update.name
            self.written.append(name.partition("/documents/")[2])


class Fault(grpc.RpcError, grpc.Call):  # type: ignore[misc]
    """A status that the server did not send."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self._code = grpc.StatusCode[code]

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return f"a fault of the test: {self._code.name}"

    def result(self, timeout: float | None = None) -> Any:
        raise self

    def trailing_metadata(self) -> tuple[()]:
        return ()

    def initial_metadata(self) -> tuple[()]:
        return ()

    def is_active(self) -> bool:
        return False

    def time_remaining(self) -> None:
        return None

    def cancel(self) -> None:
        return None

    def add_callback(self, callback: Any) -> bool:
        return False


class _Recorder(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):  # type: ignore[misc]
    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        method = details.method.rsplit("/", 1)[-1]
        if method == "Commit":
            self._calls.commit(request)
        self._calls.fault(method, "before")
        answer = continuation(details, request)
        answer.result()  # it has happened
        self._calls.fault(method, "after")
        return answer

    def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        method = details.method.rsplit("/", 1)[-1]
        if method == "RunQuery":
            self._calls.queries.append(StructuredQuery(request.structured_query))
        elif method == "RunAggregationQuery":
            self._calls.queries.append(StructuredQuery(request.structured_aggregation_query.structured_query))
        elif method == "BatchGetDocuments":
            self._calls.read += [name.partition("/documents/")[2] for name in request.documents]
        self._calls.fault(method, "before")
        return self._answers(method, continuation(details, request))

    def _answers(self, method: str, stream: Any) -> Iterator[Any]:
        """Counted as they come: a client that has what it asked for reads no further."""
        found = 0
        for answer in stream:
            if method == "BatchGetDocuments" or answer._pb.HasField("document" if method == "RunQuery" else "result"):
                found += 1
                self._calls.reads += 1
            yield answer
            if method == "RunQuery" and found == self._calls.breaks:
                self._calls.breaks = None
                raise Fault("UNAVAILABLE")
        self._calls.reads += 0 if found else 1


def recording_client(project: str, host: str) -> tuple[Any, Calls]:
    """A client of the emulator at this host, with what it asks."""
    calls = Calls()
    channel = grpc.intercept_channel(grpc.insecure_channel(host), _Recorder(calls))
    client = firestore.Client(project=project, credentials=AnonymousCredentials())
    transport = FirestoreGrpcTransport(channel=channel, credentials=AnonymousCredentials())
    client._firestore_api_internal = FirestoreClient(transport=transport)
    return client, calls


# ---- the index that a query needs -----------------------------------------------------------------------------------
def index_of(query: StructuredQuery) -> dict[str, Any] | None:
    """The composite index that production would ask for, in the form of firestore.indexes.json; None where the index
    of a single field serves. https://cloud.google.com/firestore/docs/query-data/index-overview"""
    equal, contains, ranged = _filters(query.where)
    orders = [(order.field.field_path, order.direction.name) for order in query.order_by]
    sort = [(name, way) for name, way in orders if name != "__name__"]
    if not sort and ranged:
        sort = [(next(iter(ranged)), "ASCENDING")]
    names = {*equal, *contains, *(name for name, _ in sort)}
    collection = query.from_[0]
    scope = "COLLECTION_GROUP" if collection.all_descendants else "COLLECTION"
    if len(names) <= 1 or (not sort and not contains):  # equalities alone are merged from single-field indexes
        return None
    fields: list[dict[str, str]] = [{"fieldPath": name, "arrayConfig": "CONTAINS"} for name in contains]
    fields += [{"fieldPath": name, "order": "ASCENDING"} for name in equal]
    fields += [{"fieldPath": name, "order": way} for name, way in sort]
    return {"collectionGroup": collection.collection_id, "queryScope": scope, "fields": fields}


def _filters(where: Any) -> tuple[list[str], list[str], set[str]]:
    """(equality fields, array-contains fields, range fields)."""
    equal: list[str] = []
    contains: list[str] = []
    ranged: set[str] = set()
    for found in _leaves(where):
        name, op = found.field.field_path, found.op.name
        if op in ("EQUAL", "IN"):
            equal.append(name)
        elif op == "ARRAY_CONTAINS":
            contains.append(name)
        else:
            ranged.add(name)
    return equal, contains, ranged


def _leaves(where: Any) -> list[Any]:
    kind = where._pb.WhichOneof("filter_type")
    if kind == "composite_filter":
        return [leaf for part in where.composite_filter.filters for leaf in _leaves(part)]
    return [where.field_filter] if kind == "field_filter" else []


def same_index(needed: dict[str, Any], there: dict[str, Any]) -> bool:
    """Whether the index serves: the same fields, of which those before the order may come in any sequence."""
    if (needed["collectionGroup"], needed["queryScope"]) != (there["collectionGroup"], there["queryScope"]):
        return False
    key = lambda part: sorted(part.items())  # noqa: E731
    if len(needed["fields"]) != len(there["fields"]) or needed["fields"][-1] != there["fields"][-1]:
        return False
    return sorted(needed["fields"][:-1], key=key) == sorted(there["fields"][:-1], key=key)
