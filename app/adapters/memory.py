"""The reference adapters: every port in plain Python, the shortest statement of what the others must do."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from app.adapters.delivery import given_up, next_try, settle
from app.adapters.documents import (
    check_commit,
    check_id,
    check_query,
    cursor_after,
    decode,
    encode,
    expectation,
    read_cursor,
    searched,
)
from app.adapters.keys import token_text
from rules.event import Event, iso
from rules.kinds import CLAIMABLE, KINDS
from rules.personal_sorts import sort_of_value
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
    Refused,
    Span,
    Where,
    Write,
)


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


@dataclass(frozen=True, slots=True)
class _Stored:
    """A document as kept: its bytes, from which every reader gets a copy of its own, and a body to search in."""

    stored: bytes
    body: Mapping[str, Any]
    version: int


_Key = tuple[str, str, str]  # tenant, kind, id
NEVER = "9999"


class MemoryStore:
    """Store in a dict. Bodies are kept as bytes, so no caller can change what is stored, nor store what is not JSON."""

    def __init__(self) -> None:
        self._documents: dict[tuple[str, str], dict[str, _Stored]] = {}
        self._lock = threading.RLock()
        self._sequence = 0
        self._undo: list[tuple[_Key, _Stored | None]] | None = None  # what an open batch has overwritten

    def get(self, tenant: str, kind: str, id: str) -> Document | None:
        with self._lock:
            found = self._kind(tenant, kind).get(id)
            return None if found is None else _document(tenant, kind, id, found)

    def find(
        self,
        tenant: str,
        kind: str,
        where: Sequence[Where] = (),
        order: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> Page:
        query = check_query(kind, where, order)
        name = query.order
        with self._lock:
            found = self._matching(tenant, kind, where)
            keyed = [(stored.body.get(name) if name else None, id) for id, stored in found.items()]
            keyed = sorted((key for key in keyed if not name or key[0] is not None), reverse=query.descending)
            if after is not None:
                last = read_cursor(query, after)
                keyed = [key for key in keyed if (key < last if query.descending else key > last)]
            items = tuple(_document(tenant, kind, id, found[id]) for _, id in keyed[:limit])
        return Page(items, cursor_after(query, *keyed[limit - 1]) if items and len(keyed) > limit else None)

    def count(self, tenant: str, kind: str, where: Sequence[Where] = (), most: int | None = None) -> int:
        check_query(kind, where, None)
        with self._lock:
            found = len(self._matching(tenant, kind, where))
        return found if most is None else min(found, most)

    def window(self, tenant: str, key: str, types: Sequence[str], since: int, until: int) -> list[Event]:
        with self._lock:
            found = [
                Event.from_cloudevent(decode(stored.stored)["event"])
                for stored in self._kind(tenant, "event").values()
                if key in stored.body["keys"]
                and stored.body["type"] in types
                and since <= stored.body["created"] <= until
            ]
        return sorted(found, key=lambda event: (event.created, event.id))

    def commit(self, tenant: str, event: Put | None, writes: Sequence[Write]) -> None:
        check_commit(event, writes)
        both: list[Write] = [*([event] if event else []), *writes]
        prepared = [_prepare(write) for write in both]
        with self._lock:
            if event is not None and event.id in self._kind(tenant, "event"):
                raise AlreadyProcessed(event.id)
            for write in writes:
                self._check(tenant, write)
            for write, stored in zip(both, prepared, strict=True):
                self._apply((tenant, write.kind, write.id), stored)

    def share(self) -> float:
        return 1.0

    def claim(self, kind: str, now: datetime, lease: timedelta, limit: int) -> list[Document]:
        if kind not in CLAIMABLE:
            raise ValueError(f"{kind!r} is not claimable")
        with self._lock:
            due = sorted(
                (stored.body["due_at"], tenant, id)
                for (tenant, k), documents in self._documents.items()
                for id, stored in documents.items()
                if k == kind and stored.body.get("due_at") is not None and stored.body["due_at"] <= iso(now)
            )
            return [self._lease((tenant, kind, id), iso(now + lease)) for _, tenant, id in due[:limit]]

    @contextmanager
    def batch(self) -> Iterator[None]:
        with self._lock:
            if self._undo is not None:
                raise RuntimeError("a batch is not re-entrant")
            self._undo = []
            try:
                yield
            except BaseException:
                for (tenant, kind, id), before in reversed(self._undo):
                    self._set(tenant, kind, id, before)
                raise
            finally:
                self._undo = None

    def expire(self, now: datetime) -> int:
        """Let go of what is of no use any more (Kind.expires); how many."""
        with self._lock:
            gone = [
                (tenant, kind, id)
                for (tenant, kind), documents in self._documents.items()
                if KINDS[kind].expires
                for id, stored in documents.items()
                if (stored.body.get(KINDS[kind].expires) or NEVER) <= iso(now)
            ]
            for key in gone:
                self._set(*key, None)
            return len(gone)

    def wipe(self, tenant: str) -> None:
        with self._lock:
            for key in [key for key in self._documents if key[0] == tenant]:
                del self._documents[key]

    def _kind(self, tenant: str, kind: str) -> dict[str, _Stored]:
        return self._documents.get((tenant, kind), {})

    def _matching(self, tenant: str, kind: str, where: Sequence[Where]) -> dict[str, _Stored]:
        return {
            id: stored
            for id, stored in self._kind(tenant, kind).items()
            if all(_holds(stored.body, test) for test in where)
        }

    def _check(self, tenant: str, write: Write) -> None:
        found = self._kind(tenant, write.kind).get(write.id)
        expect = expectation(write)
        if expect == ANY:
            return
        if expect == ABSENT and found is None:
            return
        if found is None or expect != str(found.version):
            raise Conflict(f"{write.kind} {write.id}")

    def _apply(self, key: _Key, stored: bytes | None) -> None:
        tenant, kind, id = key
        if self._undo is not None:
            self._undo.append((key, self._kind(tenant, kind).get(id)))
        self._sequence += 1
        self._set(tenant, kind, id, None if stored is None else _Stored(stored, decode(stored), self._sequence))

    def _set(self, tenant: str, kind: str, id: str, stored: _Stored | None) -> None:
        documents = self._documents.setdefault((tenant, kind), {})
        documents.pop(id, None)
        if stored is not None:
            documents[id] = stored

    def _lease(self, key: _Key, until: str) -> Document:
        tenant, kind, id = key
        self._apply(key, encode({**self._kind(tenant, kind)[id].body, "due_at": until}))
        return _document(tenant, kind, id, self._kind(tenant, kind)[id])


def _prepare(write: Write) -> bytes | None:
    """The bytes to store, or None for a delete; refuses what any backend would."""
    check_id(write.kind, write.id)
    if not isinstance(write, Put):
        return None
    searched(KINDS[write.kind], write.body)
    return encode(write.body)


def _document(tenant: str, kind: str, id: str, found: _Stored) -> Document:
    return Document(tenant, kind, id, decode(found.stored), str(found.version))


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
    died: datetime | None = None


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
            fresh = [(id, q) for id, q in due if not q.attempts]
            retries = [(id, q) for id, q in due if q.attempts][: max(limit - len(fresh), limit // 2, 1)]
            batch = [Delivery(id, q.event, q.attempts + 1) for id, q in (retries + fresh)[:limit]]
        for delivery, disposition in zip(batch, settle(handler, batch), strict=True):
            self._settle(delivery, disposition, now)
        return len(batch)

    def oldest(self) -> datetime | None:
        return min((q.published for q in self._queue.values() if q.dead is None), default=None)

    def dead(self, limit: int = 100) -> list[DeadDelivery]:
        return [
            DeadDelivery(id, q.event.tenant, q.event.id, q.event.type, q.dead, q.attempts, q.died or q.published)
            for id, q in self._queue.items()
            if q.dead is not None
        ][:limit]

    def discard(self, ids: Sequence[str]) -> int:
        with self._lock:
            chosen = [id for id in ids if id in self._queue and self._queue[id].dead is not None]
            for id in chosen:
                del self._queue[id]
            return len(chosen)

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
            queued.due = next_try(queued.attempts, now)
            if given_up(disposition, queued.attempts):
                queued.dead, queued.died = disposition.reason, now


class MemoryVault:
    """Tokens are hashes, values sit in a dict: (tenant, token) to the value of each subject that has it, with its sort
    and the day it was heard. day: since 1970."""

    def __init__(self, day: Callable[[], int] = lambda: 0) -> None:
        self._values: dict[tuple[str, str], dict[str, tuple[str, str, int]]] = {}
        self._barred: set[tuple[str, str]] = set()
        self._day = day
        self.looks: list[tuple[str, str, str]] = []

    def tokenise(self, tenant: str, subject: str, values: Sequence[str], sorts: Sequence[str] = ()) -> list[str]:
        tokens = []
        for at, value in enumerate(values):
            token = token_text(hashlib.sha256(f"{tenant}\n{value}".encode()).hexdigest(), value)
            if (tenant, subject) not in self._barred:
                sort = sorts[at] if sorts else sort_of_value(subject, value)
                self._values.setdefault((tenant, token), {})[subject] = (value, sort, self._day())
            tokens.append(token)
        return tokens

    def flush(self) -> None:
        """A value is kept at once."""

    def reveal(self, tenant: str, token: str, actor: str, reason: str, on: str = "", subject: str = "") -> str | None:
        if not actor.strip() or not reason.strip():
            raise Refused("Say who looks at a personal value, and why.")
        self.looks.append((token, actor, reason))
        if (tenant, subject) in self._barred:
            return None
        return next((value for value, _, _ in self._values.get((tenant, token), {}).values()), None)

    def erase(self, tenant: str, subject: str) -> int:
        return sum(values.pop(subject, None) is not None for values in self._of(tenant))

    def kept(self, tenant: str, subject: str) -> tuple[int, int]:
        mine = [values for values in self._of(tenant) if subject in values]
        return len(mine), sum(len(values) > 1 for values in mine)

    def bar(self, tenant: str, subjects: Sequence[str], barred: bool = True) -> None:
        pairs = {(tenant, subject) for subject in subjects}
        self._barred = self._barred | pairs if barred else self._barred - pairs

    def is_barred(self, tenant: str, subject: str) -> bool:
        return (tenant, subject) in self._barred

    def expiring(self, tenant: str, before: Mapping[str, int]) -> dict[str, int]:
        return dict(Counter(self._sort(values) for values in self._of(tenant) if self._gone(values, before)))

    def expire(
        self, tenant: str, before: Mapping[str, int], after: str | None, most: int
    ) -> tuple[dict[str, int], str | None]:
        old = [values for values in self._of(tenant) if self._gone(values, before)][:most]
        sorts = Counter(self._sort(values) for values in old)
        for values in old:
            values.clear()
        return dict(sorts), "more" if len(old) == most else None

    def _of(self, tenant: str) -> list[dict[str, tuple[str, str, int]]]:
        return [values for (owner, _), values in self._values.items() if owner == tenant and values]

    def _sort(self, values: Mapping[str, tuple[str, str, int]]) -> str:
        return max(values.values(), key=lambda kept: kept[2])[1]

    def _gone(self, values: Mapping[str, tuple[str, str, int]], before: Mapping[str, int]) -> bool:
        return max(day for _, _, day in values.values()) < before.get(self._sort(values), -1)


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
