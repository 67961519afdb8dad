"""The reference adapters: every port in plain Python, the shortest statement of what the others must do."""

from __future__ import annotations

import copy
import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from rules.event import Event, iso
from rules.kinds import CLAIMABLE, KINDS
from rules.ports import (
    ABSENT,
    ANY,
    AlreadyProcessed,
    Conflict,
    DeadDelivery,
    Delivery,
    Disposition,
    Document,
    Page,
    Put,
    RefusedQuery,
    Span,
    Where,
    Write,
)

BACK_OFF = (1, 5, 30, 120, 600)  # seconds after the 1st, 2nd, ... failed attempt
MAX_ATTEMPTS = 6


class ManualClock:
    """A clock that the test sets."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now

    def set(self, now: datetime) -> None:
        self._now = now

    def forward(self, by: timedelta) -> datetime:
        self._now += by
        return self._now


def check_query(kind: str, where: Sequence[Where], order: str | None) -> None:
    """Raise RefusedQuery unless rules.kinds declares a query that serves this one."""
    if kind not in KINDS:
        raise RefusedQuery(f"no kind {kind!r}")
    field_ = (order or "").lstrip("-")
    equal = [name for name, op, _ in where if op in ("==", "has")]
    ranged = {name for name, op, _ in where if op not in ("==", "has")}
    if not equal and not ranged and not field_:
        return
    for query in KINDS[kind].queries:
        *leading, last = query
        if sorted(equal) == sorted(leading) and ranged <= {last} and field_ in ("", last):
            return
        if sorted(equal) == sorted(query) and not ranged and not field_:
            return
    raise RefusedQuery(f"{kind}: no declared index serves where {list(where)} order {order}")


class MemoryStore:
    """Store in a dict. Reads and writes copy, so no caller can change what is stored."""

    def __init__(self) -> None:
        self._documents: dict[tuple[str, str, str], tuple[Any, int]] = {}
        self._lock = threading.RLock()
        self._sequence = 0

    def get(self, tenant: str, kind: str, id: str) -> Document | None:
        with self._lock:
            found = self._documents.get((tenant, kind, id))
            return None if found is None else self._document(tenant, kind, id, found)

    def find(
        self,
        tenant: str,
        kind: str,
        where: Sequence[Where] = (),
        order: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> Page:
        check_query(kind, where, order)
        with self._lock:
            found = self._matching(tenant, kind, where)
        name = (order or "").lstrip("-")
        if name:
            found = [doc for doc in found if doc.body.get(name) is not None]
        found.sort(key=lambda doc: (doc.body[name] if name else "", doc.id), reverse=bool(order and order[0] == "-"))
        start = int(after or 0)
        items = tuple(found[start : start + limit])
        more = start + limit < len(found)
        return Page(items, str(start + limit) if more else None)

    def count(self, tenant: str, kind: str, where: Sequence[Where] = ()) -> int:
        check_query(kind, where, None)
        with self._lock:
            return len(self._matching(tenant, kind, where))

    def window(self, tenant: str, key: str, types: Sequence[str], since: int, until: int) -> list[Event]:
        with self._lock:
            found = [
                Event.from_cloudevent(copy.deepcopy(body["event"]))
                for (owner, kind, _), (body, _) in self._documents.items()
                if owner == tenant
                and kind == "event"
                and key in body["keys"]
                and body["type"] in types
                and since <= body["created"] <= until
            ]
        return sorted(found, key=lambda event: (event.created, event.id))

    def commit(self, tenant: str, event: Put | None, writes: Sequence[Write]) -> None:
        if len(writes) > 100:
            raise ValueError(f"a commit has at most 100 writes, not {len(writes)}")
        with self._lock:
            if event is not None and (tenant, "event", event.id) in self._documents:
                raise AlreadyProcessed(event.id)
            for write in writes:
                self._check(tenant, write)
            for write in [*([event] if event else []), *writes]:
                self._apply(tenant, write)

    def claim(self, kind: str, now: datetime, lease: timedelta, limit: int) -> list[Document]:
        if kind not in CLAIMABLE:
            raise ValueError(f"{kind!r} is not claimable")
        with self._lock:
            due = sorted(
                (body["due_at"], tenant, id)
                for (tenant, k, id), (body, _) in self._documents.items()
                if k == kind and body.get("due_at") is not None and body["due_at"] <= iso(now)
            )
            claimed = []
            for _, tenant, id in due[:limit]:
                body, _ = self._documents[tenant, kind, id]
                self._apply(tenant, Put(kind, id, {**body, "due_at": iso(now + lease)}))
                claimed.append(self._document(tenant, kind, id, self._documents[tenant, kind, id]))
            return claimed

    @contextmanager
    def batch(self) -> Iterator[None]:
        yield

    def wipe(self, tenant: str) -> None:
        with self._lock:
            for key in [key for key in self._documents if key[0] == tenant]:
                del self._documents[key]

    def _matching(self, tenant: str, kind: str, where: Sequence[Where]) -> list[Document]:
        return [
            self._document(tenant, kind, id, found)
            for (owner, k, id), found in self._documents.items()
            if owner == tenant and k == kind and all(_holds(found[0], test) for test in where)
        ]

    def _check(self, tenant: str, write: Write) -> None:
        found = self._documents.get((tenant, write.kind, write.id))
        if write.expect == ANY:
            return
        if write.expect == ABSENT and found is None:
            return
        if found is None or write.expect != str(found[1]):
            raise Conflict(f"{write.kind} {write.id}")

    def _apply(self, tenant: str, write: Write) -> None:
        key = (tenant, write.kind, write.id)
        if isinstance(write, Put):
            self._sequence += 1
            self._documents[key] = (copy.deepcopy(dict(write.body)), self._sequence)
        else:
            self._documents.pop(key, None)

    @staticmethod
    def _document(tenant: str, kind: str, id: str, found: tuple[Any, int]) -> Document:
        return Document(tenant, kind, id, copy.deepcopy(found[0]), str(found[1]))


def _holds(body: Mapping[str, Any], test: Where) -> bool:
    name, op, wanted = test
    actual = body.get(name)
    if op == "==":
        return bool(actual == wanted)
    if actual is None:
        return False
    if op == "has":
        return wanted in actual
    return bool({"<": actual < wanted, "<=": actual <= wanted, ">": actual > wanted, ">=": actual >= wanted}[op])


@dataclass
class _Queued:
    event: Event
    published: datetime
    attempts: int = 0
    due: datetime | None = None
    dead: str | None = None


class MemoryBus:
    """Bus and Inbox in one list. The clock says when a delivery was published."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._queue: dict[str, _Queued] = {}
        self._lock = threading.RLock()

    def publish(self, event: Event) -> None:
        with self._lock:
            self._queue.setdefault(f"{event.tenant}\n{event.id}", _Queued(event, self._now()))

    def drain(
        self, handler: Callable[[Sequence[Delivery]], Sequence[Disposition]], now: datetime, limit: int = 256
    ) -> int:
        with self._lock:
            due = [(id, q) for id, q in self._queue.items() if q.dead is None and (q.due is None or q.due <= now)]
            batch = [Delivery(id, q.event, q.attempts + 1) for id, q in due[:limit]]
        for delivery, disposition in zip(batch, settle(handler, batch), strict=True):
            self._settle(delivery, disposition, now)
        return len(batch)

    def oldest(self) -> datetime | None:
        return min((q.published for q in self._queue.values() if q.dead is None), default=None)

    def dead(self, limit: int = 100) -> list[DeadDelivery]:
        return [
            DeadDelivery(id, q.event.tenant, q.event.id, q.event.type, q.dead, q.attempts, q.published)
            for id, q in self._queue.items()
            if q.dead is not None
        ][:limit]

    def replay(self, ids: Sequence[str], now: datetime) -> int:
        chosen = [self._queue[id] for id in ids if id in self._queue and self._queue[id].dead is not None]
        for queued in chosen:
            queued.dead, queued.attempts, queued.due = None, 0, now
        return len(chosen)

    def _settle(self, delivery: Delivery, disposition: Disposition, now: datetime) -> None:
        with self._lock:
            queued = self._queue[delivery.id]
            if disposition.kind == "done":
                del self._queue[delivery.id]
                return
            queued.attempts += 1
            queued.due = now + timedelta(seconds=BACK_OFF[min(queued.attempts, len(BACK_OFF)) - 1])
            if disposition.kind == "dead" or queued.attempts >= MAX_ATTEMPTS:
                queued.dead = disposition.reason


def settle(
    handler: Callable[[Sequence[Delivery]], Sequence[Disposition]], batch: Sequence[Delivery]
) -> list[Disposition]:
    """The dispositions of a batch; when the batch raises, each delivery is tried alone, so one bad one harms no other."""
    if not batch:
        return []
    try:
        return list(handler(batch))
    except Exception as error:  # a handler's surprise must not lose the rest
        if len(batch) == 1:
            return [Disposition("retry", f"{type(error).__name__}: {error}")]
        return [settle(handler, [delivery])[0] for delivery in batch]


class MemoryVault:
    """Tokens are hashes, values sit in a dict."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str], tuple[str, str]] = {}
        self.looks: list[tuple[str, str, str]] = []

    def tokenise(self, tenant: str, subject: str, values: Sequence[str]) -> list[str]:
        tokens = []
        for value in values:
            token = "tok_" + hashlib.sha256(f"{tenant}\n{value}".encode()).hexdigest()[:24]
            if "@" in value:
                token += "@" + value.rsplit("@", 1)[1]
            self._values.setdefault((tenant, token), (subject, value))
            tokens.append(token)
        return tokens

    def reveal(self, tenant: str, token: str, actor: str, reason: str) -> str | None:
        self.looks.append((token, actor, reason))
        found = self._values.get((tenant, token))
        return found[1] if found else None

    def erase(self, tenant: str, subject: str) -> int:
        gone = [key for key, (owner, _) in self._values.items() if key[0] == tenant and owner == subject]
        for key in gone:
            del self._values[key]
        return len(gone)


class MemorySecrets:
    def __init__(self, values: Mapping[str, str] | None = None) -> None:
        self._values = dict(values or {})

    def get(self, name: str) -> str | None:
        return self._values.get(name)

    def put(self, name: str, value: str) -> None:
        self._values[name] = value


@dataclass
class MemoryTracer:
    spans: list[Span] = field(default_factory=list)

    def export(self, spans: Sequence[Span]) -> None:
        self.spans.extend(spans)
