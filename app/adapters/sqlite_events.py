"""Events read back from their documents: only the part that is the event, and each at most once while it is in hand.

Reading JSON is nearly all that a window costs. A stored event never changes under its version, so one that was read
lately is handed out again; and of one that was not, the decision and the spans beside it are left unread.
"""

from __future__ import annotations

import orjson

from app.adapters.documents import decode
from rules.event import Event

IN_HAND = 4_000_000  # bytes as stored; two generations of them, each about three times that as objects
_OPENING = b'{"event":'


class EventsInHand:
    """The events that were read lately, by their document's version. Safe from any thread: a race reads one twice."""

    def __init__(self, most: int = IN_HAND) -> None:
        self._most = most
        self._young: dict[int, Event] = {}
        self._old: dict[int, Event] = {}
        self._bytes = 0

    def event(self, version: int, type: str, created: int, stored: bytes, keep: bool) -> Event:
        """keep: false for a version that a failed transaction may still give to another document."""
        if not keep:
            return event_in(stored, type, created)
        found = self._young.get(version)
        if found is None:
            found = self._old.get(version) or event_in(stored, type, created)
            self._put(version, found, len(stored))
        return found

    def _put(self, version: int, event: Event, size: int) -> None:
        if self._bytes + size > self._most:
            self._old, self._young, self._bytes = self._young, {}, 0
        self._young[version] = event
        self._bytes += size


def event_in(stored: bytes, type: str, created: int) -> Event:
    """The event of a stored document. type, created: as searched, which is how the end of the event is found."""
    end = stored.find(b'},"type":"%b","created":%d,"recorded":"' % (type.encode(), created))
    if end > 0 and stored.startswith(_OPENING):
        try:
            return Event.from_cloudevent(orjson.loads(stored[len(_OPENING) : end + 1]))
        except ValueError:  # the same words stood inside the event
            pass
    return Event.from_cloudevent(decode(stored)["event"])
