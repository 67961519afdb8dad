"""History as backtests read it: slim events in order, from the columns where there are some, else out of documents.

Columns are filed here a little at a time, so that nobody waits for it; until they are complete, and on stores that keep
none, documents are read, which takes several times as long and gives the same events.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from rules import patience
from rules.columns import Columns, Reads, Slim, slim_of
from rules.event import Event
from rules.ports import Store, Where

PAGE = 500


@dataclass(frozen=True, slots=True)
class History:
    """The recorded events of one tenant."""

    store: Store
    tenant: str
    columns: Columns | None = None

    def fill(self, reads: Reads, limit: int) -> int:
        """File up to so many events; 0 when what these rules read is all there, or is not kept here."""
        return 0 if self.columns is None or reads.whole else self.columns.fill(self.tenant, reads.paths, limit)

    def quick(self, reads: Reads) -> bool:
        """Whether what these rules read stands in columns, so that slim events hold no more."""
        return self.columns is not None and not reads.whole

    def slims(self, reads: Reads, since: int | None, until: int | None, quick: bool) -> Iterator[Slim]:
        """Every event of these types by (created, id): cut down, where `quick`, which asks for filled columns."""
        if quick and self.columns is not None:
            yield from patience.each(self._filed(self.columns, reads.types, since, until))
        else:
            events = (self._of_type(type, since, until) for type in sorted(reads.types))
            merged = heapq.merge(*events, key=lambda event: (event.created, event.id))
            yield from map(slim_of, patience.each(merged))

    def _filed(self, columns: Columns, types: Iterable[str], since: int | None, until: int | None) -> Iterator[Slim]:
        after: tuple[int, str] | None = None
        while page := columns.slims(self.tenant, types, since, until, after):
            yield from page
            after = page[-1].created, page[-1].id

    def _of_type(self, type: str, since: int | None, until: int | None) -> Iterator[Event]:
        after: str | None = None
        while True:
            page = self.store.find(self.tenant, "event", where(type, since, until), "created", after, limit=PAGE)
            yield from (Event.from_cloudevent(document.body["event"]) for document in page.items)
            after = page.next
            if after is None:
                return

    def event(self, id: str) -> Event | None:
        """The whole of an event."""
        found = self.store.get(self.tenant, "event", id)
        return Event.from_cloudevent(found.body["event"]) if found else None

    def count(self, types: Iterable[str], since: int | None, until: int | None) -> int:
        return sum(self.store.count(self.tenant, "event", where(type, since, until)) for type in types)

    def oldest(self, types: Iterable[str]) -> int | None:
        """`created` of the first recorded event of these types."""
        first = [self._first(type) for type in types]
        return min((created for created in first if created is not None), default=None)

    def _first(self, type: str) -> int | None:
        page = self.store.find(self.tenant, "event", where(type, None, None), "created", limit=1)
        return int(page.items[0].body["created"]) if page.items else None


def where(type: str, since: int | None, until: int | None) -> Sequence[Where]:
    tests: list[Where] = [("type", "==", type)]
    tests += [("created", ">=", since)] if since is not None else []
    return [*tests, ("created", "<=", until)] if until is not None else tests


def unix(at: datetime | None) -> int | None:
    return int(at.timestamp()) if at is not None else None
