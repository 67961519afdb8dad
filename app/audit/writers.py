"""Who wrote an entry, and as which of its entries: so one that is missing is named even before it was sealed.

Each process is a writer, and one more for each thread that would have to wait for another's commit. A number is given
when its commit has succeeded, else to the next; where nobody knows what became of a commit (the store did not answer,
a batch was undone) the next entry says `after`: the last number that is sure. No document is shared, so none is hot.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from app.audit.entries import Entry, numbered
from rules.ports import AlreadyProcessed, Conflict, Put, Refused, Store, TooLarge, Write

READS = ("get", "find", "count", "window", "claim", "share")  # asked of the store itself: some are asked very often
NOTHING_HAPPENED = (AlreadyProcessed, Conflict, Refused, TooLarge)


@dataclass(slots=True)
class _Writer:
    """given: the last number of each tenant; sure: the last one whose commit is known to have succeeded."""

    name: str
    lock: threading.Lock = field(default_factory=threading.Lock)
    given: dict[str, int] = field(default_factory=dict)
    sure: dict[str, int] = field(default_factory=dict)

    def numbered(self, tenant: str, writes: Sequence[Write]) -> tuple[list[Write], int]:
        """The writes with their numbers, and the last of these."""
        last, sure = self.given.get(tenant, 0), self.sure.get(tenant, 0)
        after = sure if sure < last else None
        found: list[Write] = []
        for write in writes:
            if isinstance(write, Entry):
                last += 1
                found.append(numbered(write, self.name, last, after))
                after = None
            else:
                found.append(write)
        return found, last


def numbering(store: Store) -> Store:
    """The store, whose entries of the audit log are numbered as they are committed. Documents that are moved from
    elsewhere (app.moving) are no entries of this process and stay as they are."""
    return cast(Store, _Numbering(store))


class _Numbering:
    def __init__(self, store: Store) -> None:
        self._store = store
        self.__dict__ |= {name: getattr(store, name) for name in READS}
        self._name = secrets.token_hex(6)
        self._writers: list[_Writer] = []
        self._lock = threading.Lock()
        self._batch = threading.local()  # the writer that this thread's open batch has, and what was sure before

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def commit(self, tenant: str, event: Put | None, writes: Sequence[Write]) -> None:
        if not any(isinstance(write, Entry) for write in writes):
            self._store.commit(tenant, event, writes)
            return
        with self._writer() as writer:
            told, last = writer.numbered(tenant, writes)
            try:
                self._store.commit(tenant, event, told)
            except NOTHING_HAPPENED:
                raise
            except BaseException:
                writer.given[tenant] = last
                raise
            writer.given[tenant] = writer.sure[tenant] = last

    @contextmanager
    def batch(self) -> Iterator[None]:
        """What is committed in it is sure at its end."""
        self._batch.open, self._batch.writer = True, None
        try:
            with self._store.batch():
                yield
        except BaseException:
            if self._batch.writer:
                self._batch.writer.sure = self._batch.sure
            raise
        finally:
            if self._batch.writer:
                self._batch.writer.lock.release()
            self._batch.open, self._batch.writer = False, None

    @contextmanager
    def _writer(self) -> Iterator[_Writer]:
        """One that nobody else has just now; in a batch the same to its end."""
        is_open = getattr(self._batch, "open", False)
        found = (self._batch.writer if is_open else None) or self._free()
        if is_open and not self._batch.writer:
            self._batch.writer, self._batch.sure = found, dict(found.sure)
        try:
            yield found
        finally:
            if not is_open:
                found.lock.release()

    def _free(self) -> _Writer:
        """The first that is free, so that what is missing of it shows at the next entry; its lock is held."""
        with self._lock:
            for writer in self._writers:
                if writer.lock.acquire(blocking=False):
                    return writer
            made = _Writer(f"{self._name}-{len(self._writers)}")
            made.lock.acquire()
            self._writers.append(made)
            return made
