"""Claim what is due in Firestore: one query over all tenants and, where several workers run, each over its own shards.

A claimable document that is due carries the number of its shard, a hash of its id. Each worker writes every few seconds
that it lives, and those that live share the shards out in the order of their names, without asking one another. Who
reads an older list than another meets it at some documents for a moment: the lease is a write with the version that
was read, so one of the two gets each. A worker that is gone leaves its shards to the others after `GONE`.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from google.cloud.firestore_v1.base_query import FieldFilter

from app.adapters.firestore_errors import named
from rules.event import iso
from rules.ports import Conflict, Document, Unavailable

SHARDS = 60  # half of them is what one query may name (30): a worker that is alone names none
FIELD = "shard"
AT_ONCE = 100  # claims in one batch of writes
BEAT = timedelta(seconds=10)  # between two signs of life
SOON = timedelta(seconds=1)  # and when another worker was met where none should be
GONE = timedelta(seconds=30)  # without one a worker is gone
FORGOTTEN = timedelta(hours=1)  # then its name goes too
SWEEP = timedelta(seconds=60)  # between two looks over all shards, at what is overdue by as much

Made = Callable[[Any, str, Any], Document]  # from a snapshot, its new `due_at` and its new update time


def shard_of(id: str) -> int:
    """The shard of a document, for ever."""
    return zlib.crc32(id.encode()) % SHARDS


class Workers:
    """One worker among those that claim in a database. id: its own, unlike any other's."""

    def __init__(self, client: Any, id: str) -> None:
        self._workers = client.collection("workers")
        self._id = id
        self._beat: datetime | None = None
        self._mine: tuple[int, ...] | None = None
        self._doubts = False
        self._lock = threading.Lock()

    def shards(self, now: datetime, limits: dict[str, Any]) -> tuple[int, ...] | None:
        """Those that are this worker's; None for all of them. Where they cannot be told now: those it had."""
        with self._lock:
            if self._beat is None or not timedelta(0) <= now - self._beat < (SOON if self._doubts else BEAT):
                with suppress(Unavailable, Conflict), named():
                    self._mine = self._shared(now, limits)
                self._beat, self._doubts = now, False
            return self._mine

    def doubt(self) -> None:
        """Another worker was at the same document: look again soon who lives."""
        self._doubts = True

    @property
    def share(self) -> float:
        return 1.0 if self._mine is None else len(self._mine) / SHARDS

    def leave(self, limits: dict[str, Any]) -> None:
        """The others take over at their next look; where this cannot be said now, once no sign of life comes."""
        if self._beat is not None:
            with suppress(Unavailable), named():
                self._workers.document(self._id).delete(**limits)

    def _shared(self, now: datetime, limits: dict[str, Any]) -> tuple[int, ...] | None:
        self._workers.document(self._id).set({"seen_at": iso(now)}, **limits)
        seen = {found.id: found.to_dict()["seen_at"] for found in self._workers.stream(**limits)}
        for id in (id for id, at in seen.items() if at < iso(now - FORGOTTEN)):
            self._workers.document(id).delete(**limits)
        alive = sorted(id for id, at in seen.items() if at > iso(now - GONE) or id == self._id)
        return tuple(range(alive.index(self._id), SHARDS, len(alive))) if len(alive) > 1 else None


class Claims:
    """workers: None where this process alone claims, or only now and then. idle: how long to believe that nothing is
    due, unless this process itself made something due: each look that finds nothing is a billed read.
    lost: how many batches met another claimer."""

    def __init__(
        self, client: Any, limits: dict[str, Any], made: Made, workers: Workers | None, idle: timedelta
    ) -> None:
        self.lost = 0
        self._client = client
        self._limits = limits
        self._made = made
        self._workers = workers
        self._idle = idle
        self._quiet: dict[str, datetime] = {}
        self._swept: dict[str, datetime] = {}

    def claim(self, kind: str, now: datetime, lease: timedelta, limit: int) -> list[Document]:
        since = self._quiet.get(kind)
        if since is not None and timedelta(0) <= now - since < self._idle:
            return []
        mine = self._workers.shards(now, self._limits) if self._workers else None
        due = self._due(kind, now, mine, limit)
        if mine is not None and not due and self._is_time_to_sweep(kind, now):
            due = self._due(kind, now - SWEEP, None, limit)
        if not due:
            self._quiet[kind] = now
        return self._lease_all(due, iso(now + lease))

    def stirred(self, kinds: set[str]) -> None:
        """Documents of these kinds were made due here."""
        for kind in kinds:
            self._quiet.pop(kind, None)

    def share(self) -> float:
        """As of the last claim; it asks nothing."""
        return self._workers.share if self._workers else 1.0

    def leave(self) -> None:
        if self._workers:
            self._workers.leave(self._limits)

    def _is_time_to_sweep(self, kind: str, now: datetime) -> bool:
        """For what has no shard (written by an older release) or lies in that of a worker that only seems to live."""
        last = self._swept.setdefault(kind, now)
        if timedelta(0) <= now - last < SWEEP:
            return False
        self._swept[kind] = now
        return True

    def _due(self, kind: str, now: datetime, shards: tuple[int, ...] | None, limit: int) -> list[Any]:
        query = self._client.collection_group(kind)
        if shards is not None:
            query = query.where(filter=FieldFilter(FIELD, "in", list(shards)))
        query = query.where(filter=FieldFilter("due_at", "<=", iso(now))).order_by("due_at")
        with named():
            return list(query.limit(limit).stream(**self._limits))

    def _lease_all(self, due: Sequence[Any], until: str) -> list[Document]:
        claimed: list[Document] = []
        for start in range(0, len(due), AT_ONCE):
            try:
                claimed += self._lease(due[start : start + AT_ONCE], until)
            except Unavailable:
                if not claimed:
                    raise
                return claimed  # these are ours; whatever became of the others comes again when its lease is over
        return claimed

    def _lease(self, due: Sequence[Any], until: str) -> list[Document]:
        """Move all at once; where another claimer was at one of them, each half by itself."""
        try:
            return self._move(due, until)
        except Conflict:
            self.lost += 1
            if self._workers:
                self._workers.doubt()
            if len(due) == 1:
                return []
        middle = len(due) // 2
        return self._lease(due[:middle], until) + self._lease(due[middle:], until)

    def _move(self, due: Sequence[Any], until: str) -> list[Document]:
        batch = self._client.batch()
        for snapshot in due:
            option = self._client.write_option(last_update_time=snapshot.update_time)
            batch.update(snapshot.reference, {"due_at": until}, option=option)
        with named():
            results = batch.commit(**self._limits)
        return [self._made(snapshot, until, result.update_time) for snapshot, result in zip(due, results, strict=True)]
