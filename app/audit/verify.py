"""Verify the audit log: walk the chain and the entries together, and name what was changed, removed or put in.

Without an anchor this finds whatever was done to the store that did not also make the whole chain anew. With one
(`audit head`, kept elsewhere) it finds that too, and a tail that was cut off together with its head.
"""

from __future__ import annotations

import heapq
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from app.audit.entries import entry_hash, is_whole
from app.audit.gaps import Numbers
from app.audit.seal import LATE, Head, entries, genesis, head, seal_hash, seal_id, seals
from rules.event import instant, iso
from rules.ports import Document, Refused, Store

What = Literal["changed", "removed", "inserted"]
PART = 2_000  # entries between two looks at how far it is
SHOWN = 100  # findings that are told one by one
STAMP = len("2026-11-23T10:03:00.000000Z")  # of the time that an id begins with
UNREADABLE = (ValueError, TypeError, KeyError, zlib.error)  # of a body that is no document any more
_ANCHOR = re.compile(r"(?:(?P<tenant>[^=\s]+)=)?(?P<number>[1-9]\d{0,11}):(?P<hash>[0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Broken:
    """Something that is not as it was written. about: the id of an entry, or `seal 12`."""

    what: What
    about: str
    says: str

    def body(self) -> dict[str, str]:
        return {"what": self.what, "about": self.about, "says": self.says}


@dataclass(frozen=True, slots=True)
class Anchor:
    """A head as somebody kept it elsewhere. tenant: empty when there is but one."""

    number: int
    hash: str
    tenant: str = ""


@dataclass(slots=True)
class Report:
    """What was found in the log of one tenant. broken: what is not as it was written, the first found first, at most
    SHOWN of `wrong`. late: entries that were sealed long after the time they bear. until: sealed up to then."""

    tenant: str
    entries: int = 0
    sealed: int = 0
    unsealed: int = 0
    oldest_unsealed: str | None = None
    late: int = 0
    seals: int = 0
    anchor: str = ""
    anchors: int = 0
    until: str | None = None
    wrong: int = 0
    broken: list[Broken] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        return not self.wrong

    def found(self, what: What, about: str, says: str) -> None:
        self.wrong += 1
        if len(self.broken) < SHOWN:
            self.broken.append(Broken(what, about, says))

    def body(self) -> dict[str, Any]:
        names = ("tenant", "entries", "sealed", "unsealed", "oldest_unsealed", "late", "seals", "anchor", "anchors")
        told = {name: getattr(self, name) for name in names}
        broken = [one.body() for one in self.broken]
        return {**told, "until": self.until, "whole": self.whole, "wrong": self.wrong, "broken": broken}


def read_anchor(text: str) -> Anchor:
    """What `audit head` printed: `number:digest`, or `tenant=number:digest`. Raises Refused."""
    found = _ANCHOR.fullmatch(text.strip())
    if found is None:
        raise Refused(f"{text.strip()[:100]!r} is no anchor; `audit head` prints one: default/live=12:5f2c...")
    return Anchor(int(found["number"]), found["hash"], found["tenant"] or "")


def verify(store: Store, tenant: str, since: datetime | None = None, anchors: Sequence[Anchor] = ()) -> Report:
    """Walk the log. since: only entries that bear this time or a later one, on the chain from there; anchors are held
    against the whole of it. Entries written meanwhile count as not yet sealed."""
    for report in walk(store, tenant, since, anchors):  # noqa: B007 - the last one is the answer
        pass
    return report


def walk(store: Store, tenant: str, since: datetime | None = None, anchors: Sequence[Anchor] = ()) -> Iterator[Report]:
    """The same a part at a time: the report so far, after every PART entries, and at the end. One object throughout."""
    known = head(store, tenant)
    report = Report(tenant, anchor=known.anchor if known else "")
    start = iso(since) if since else ""
    for _ in _Walk(store, report, known, start).go():
        yield report
    _hold(store, tenant, anchors, known, report)
    yield report


class _Walk:
    """Entries by their time, with the seals that may hold them read just far enough ahead; so a long log needs no more
    memory than half an hour of it."""

    def __init__(self, store: Store, report: Report, known: Head | None, start: str) -> None:
        self._store, self._head, self._start = store, known, start
        self.report = report
        self._expected: dict[str, str] = {}  # sealed ids that were not met yet, with their digests
        self._order: list[str] = []  # the same as a heap: an id begins with its time
        self._seals = self._chain()
        self._ahead = ""  # the seals read so far hold every entry that bears an earlier time than this
        self._all_read = False
        self._numbers, self._settled = Numbers(not start), later(start) if start else ""

    def go(self) -> Iterator[None]:
        met = "the first"
        try:
            for document in self._read():
                self._meet(document.id, document.body)
                met = document.id
                if not self.report.entries % PART:
                    yield
        except UNREADABLE as error:  # what follows it cannot be told apart
            self.report.found("changed", met, f"What follows the entry {met} cannot be read ({type(error).__name__}).")
            return
        self._read_seals(None)
        self._miss_before(None)
        for writer, first, last in self._numbers.missing(one.body for one in self._read()):
            if first == last:
                says = f"The entry {first} of the writer {writer} was written and is not there any more."
            else:
                says = f"Of the entries {first} to {last} of the writer {writer}, the last was written; none is there."
            self.report.found("removed", f"{writer} {first}" if first == last else f"{writer} {first}-{last}", says)

    def _read(self) -> Iterator[Document]:
        return entries(self._store, self.report.tenant, self._start)

    def _meet(self, id: str, body: Any) -> None:
        at = str(body.get("at") or id[:STAMP])
        self._read_seals(later(at))
        self._miss_before(id)
        self._numbers.add(body, at < self._settled)
        self.report.entries += 1
        sealed = self._expected.pop(id, None)
        if sealed is not None:
            self._compare(id, body, sealed)
        else:
            self._not_sealed(id, body, at)

    def _compare(self, id: str, body: Any, sealed: str) -> None:
        self.report.sealed += 1
        if entry_hash(body) != sealed or not is_whole(id, body):
            self.report.found("changed", id, f"The entry {id} says something else than when it was sealed.")

    def _not_sealed(self, id: str, body: Any, at: str) -> None:
        if self._head and at <= earlier(self._head.until):
            self.report.found("inserted", id, f"The entry {id} bears a time whose entries are sealed, without it.")
            return
        if not is_whole(id, body):
            self.report.found("changed", id, f"The entry {id}, not yet sealed, is not as it was written.")
        self.report.unsealed += 1
        self.report.oldest_unsealed = self.report.oldest_unsealed or at

    def _read_seals(self, until: str | None) -> None:
        """Read on until a seal reaches past `until`; None reads all."""
        while not self._all_read and (until is None or self._ahead <= until):
            found = next(self._seals, None)
            if found is None:
                self._all_read = True
                return
            self._ahead = found["until"]
            for id, sealed in found["entries"]:
                if id >= self._start:
                    self._expected[id] = sealed
                    heapq.heappush(self._order, id)

    def _miss_before(self, id: str | None) -> None:
        while self._order and (id is None or self._order[0] < id):
            gone = heapq.heappop(self._order)
            if self._expected.pop(gone, None) is not None:
                self.report.found("removed", gone, f"The entry {gone} was sealed and is not there any more.")

    def _chain(self) -> Iterator[dict[str, Any]]:
        """The seals up to the head as it was at the start, each held against the one before it."""
        report, last = self.report, self._head.number if self._head else 0
        before = self._base()
        number = before["number"] if before else 0
        previous = before["hash"] if before else genesis(report.tenant)
        for found in seals(self._store, report.tenant, self._start):
            if not _is_seal(found):
                report.found("changed", f"seal {found['id'].lstrip('0')}", f"The seal {found['id']} cannot be read.")
                continue
            if before and found["number"] <= before["number"]:
                continue
            if self._head and found["number"] > last:
                break  # made since the walk began
            number = self._link(found, number, previous)
            previous = found["hash"]
            report.seals, report.until = report.seals + 1, found["until"]
            report.late += sum(1 for id, _ in found["entries"] if id[:STAMP] < earlier(found["at"]))
            yield found
        self._end(number, previous)

    def _base(self) -> dict[str, Any] | None:
        """The last seal before those that are looked at, whose digest they go on from."""
        if not self._start:
            return None
        found = self._store.find(self.report.tenant, "audit_seal", [("until", "<", self._start)], "-until", limit=1)
        return dict(found.items[0].body) if found.items else None

    def _link(self, found: dict[str, Any], number: int, previous: str) -> int:
        """Hold a seal against itself and the one before it; its number."""
        name, mine = f"seal {found['number']}", {key: value for key, value in found.items() if key != "id"}
        if found["id"] != seal_id(found["number"]) or seal_hash(mine) != found["hash"]:
            self.report.found("changed", name, f"The {name} is not as it was made.")
        elif found["number"] > number + 1:
            gone = _numbers(number + 1, found["number"] - 1)
            self.report.found("removed", f"seal {number + 1}", f"The {gone} is not there any more.")
        elif found["number"] <= number:
            self.report.found("inserted", name, f"The {name} stands where another had been.")
        elif found["previous"] != previous:
            self.report.found(
                "changed", name, f"The {name} does not follow the one before it: one of them was changed."
            )
        return int(found["number"])

    def _end(self, number: int, hash: str) -> None:
        """The head points at the last seal; a tail that was cut off leaves it pointing beyond."""
        report, known = self.report, self._head
        if known is None:
            if number:
                report.found("removed", "head", "The head of the chain is not there any more.")
        elif number < known.number:
            gone = _numbers(number + 1, known.number)
            report.found("removed", f"seal {number + 1}", f"The {gone} is not there any more: the tail was cut off.")
        elif hash != known.hash:
            report.found("changed", f"seal {number}", f"The head of the chain is another than the seal {number}.")


def _hold(store: Store, tenant: str, anchors: Sequence[Anchor], known: Head | None, report: Report) -> None:
    """Hold heads that were kept elsewhere against the chain."""
    for one in anchors:
        if one.tenant not in ("", tenant):
            continue
        report.anchors += 1
        name = f"seal {one.number}"
        found = store.get(tenant, "audit_seal", seal_id(one.number))
        if found is None:
            last = f"the chain ends at seal {known.number}" if known else "there is no chain"
            report.found("removed", name, f"The {name}, which was kept as an anchor, is gone: {last}.")
        elif found.body["hash"] != one.hash:
            report.found("changed", name, f"The {name} is another than the anchor says: the chain was made anew.")


def earlier(at: str) -> str:
    """The time that an entry may at least bear which arrives at this one."""
    return iso(instant(at) - LATE)


def later(at: str) -> str:
    try:
        return iso(instant(at) + LATE)
    except ValueError:  # somebody wrote nonsense where the time stood
        return at


def _is_seal(found: dict[str, Any]) -> bool:
    texts = all(isinstance(found.get(name), str) for name in ("at", "until", "previous", "hash"))
    listed = found.get("entries")
    pairs = isinstance(listed, list) and all(
        isinstance(one, list) and len(one) == 2 and all(isinstance(part, str) for part in one) for one in listed
    )
    return texts and pairs and isinstance(found.get("number"), int) and len(found["at"]) == STAMP


def _numbers(first: int, last: int) -> str:
    return f"seal {first}" if first == last else f"seals {first} to {last}"
