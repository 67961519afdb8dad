"""The sealer: links the audit log's entries into a chain, some at a time, so that none can be changed or let go unseen.

A seal lists the ids and digests of entries and carries the digest of the seal before it. Entries are written by anyone
at any moment and name no predecessor, so no writer waits for another; a seal is made once a minute at most, together
with the head that points at it, in one commit: two sealers cannot both succeed, and a crash leaves nothing half-done.

An entry bears the time at which its work began and may arrive later. So a seal also looks back, as far as LATE: what
bears an earlier time than that and is in no seal was put in by somebody else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from app import logs, tenants
from app.audit.entries import KIND, digest, entry_hash
from rules.event import instant, iso
from rules.kinds import SYSTEM
from rules.ports import ABSENT, Conflict, Document, Put, Store

SEAL, HEAD, ID = "audit_seal", "audit_head", "head"
SETTLED = timedelta(seconds=30)  # an entry this old is sealed with those of its time
LATE = timedelta(minutes=30)  # how long after its time an entry may arrive
APART = timedelta(minutes=1)  # between seals of one tenant, unless many entries wait
IDLE = timedelta(days=1)  # a log in which nothing happened is sealed once a day all the same
MOST = 500  # entries of one seal
PAGE = 500
JSON = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Head:
    """The newest seal: its number, its digest, and up to when entries are sealed. An anchor is `number:digest`.
    more: entries of that time were left for the next."""

    number: int
    hash: str
    until: str
    at: str
    more: bool = False
    version: str = ABSENT

    @property
    def anchor(self) -> str:
        return f"{self.number}:{self.hash}"


def genesis(tenant: str) -> str:
    """What the first seal of a tenant follows."""
    return digest(["signalbox audit log", tenant])


def head(store: Store, tenant: str) -> Head | None:
    """The newest seal; None when nothing was sealed yet."""
    found = store.get(tenant, HEAD, ID)
    return Head(**found.body, version=found.version) if found else None


# ---- sealing --------------------------------------------------------------------------------------------------------
def seal_due(store: Store, now: datetime) -> int:
    """Seal what is due, of every tenant; how many entries."""
    return sum(seal(store, tenant, now) for tenant in (SYSTEM, *tenants.every(store)))


def seal(store: Store, tenant: str, now: datetime) -> int:
    """Seal what has settled; how many entries. Does nothing when another sealer was quicker, or it is too early."""
    known = head(store, tenant)
    if known and not known.more and now - instant(known.at) < APART:
        return 0
    fresh = _fresh(store, tenant, known, now)
    if not fresh and not (known and _is_idle(known, now)):
        return 0
    made = _made(tenant, known, fresh, now)
    try:
        store.commit(tenant, None, _writes(made, known))
    except Conflict:
        return 0
    if known is None or known.at[:10] != made["at"][:10]:  # elsewhere: whoever keeps the log has the anchor of each day
        logs.line("audit.head", tenant=tenant, number=made["number"], hash=made["hash"])
    return len(fresh)


def _fresh(store: Store, tenant: str, known: Head | None, now: datetime) -> list[Document]:
    """The oldest entries that have settled and are in no seal; nothing while only late ones may wait."""
    until = iso(now - SETTLED)
    if known is None:
        return list(store.find(tenant, KIND, [("at", "<=", until)], order="at", limit=MOST).items)
    newer = store.find(tenant, KIND, [("at", ">", known.until), ("at", "<=", until)], order="at", limit=1).items
    if not (newer or known.more or _is_idle(known, now)):
        return []
    since = iso(instant(known.until) - LATE)
    sealed = {id for one in seals(store, tenant, since) for id, _ in one["entries"]}
    return _unsealed(store, tenant, since, until, sealed)


def _is_idle(known: Head, now: datetime) -> bool:
    return now - instant(known.at) >= IDLE


def _unsealed(store: Store, tenant: str, since: str, until: str, sealed: set[str]) -> list[Document]:
    found: list[Document] = []
    for document in entries(store, tenant, since, until):
        if document.id not in sealed:
            found.append(document)
        if len(found) == MOST:
            break
    return found


def _made(tenant: str, known: Head | None, fresh: list[Document], now: datetime) -> dict[str, Any]:
    settled = iso(now - SETTLED)
    last = fresh[-1].body["at"] if len(fresh) == MOST else settled
    body: dict[str, Any] = {
        "number": known.number + 1 if known else 1,
        "at": iso(now),
        "until": max(last, known.until if known else ""),
        "previous": known.hash if known else genesis(tenant),
        "entries": [[document.id, entry_hash(document.body)] for document in fresh],
    }
    return {**body, "hash": seal_hash(body)}


def _writes(made: JSON, known: Head | None) -> list[Put]:
    pointer = {name: made[name] for name in ("number", "hash", "until", "at")}
    pointer["more"] = len(made["entries"]) == MOST
    return [
        Put(SEAL, seal_id(made["number"]), made, ABSENT),
        Put(HEAD, ID, pointer, known.version if known else ABSENT),
    ]


# ---- reading --------------------------------------------------------------------------------------------------------
def seal_id(number: int) -> str:
    return f"{number:012}"


def seal_hash(body: JSON) -> str:
    return digest({name: value for name, value in body.items() if name != "hash"})


def seals(store: Store, tenant: str, since: str = "") -> Iterator[dict[str, Any]]:
    """The bodies of the seals that may hold entries from `since` on, in their order, each with the `id` it stands
    under."""
    after = None
    while True:
        page = store.find(tenant, SEAL, [("until", ">=", since)], order="until", after=after, limit=50)
        yield from ({**document.body, "id": document.id} for document in page.items)
        after = page.next
        if after is None:
            return


def entries(store: Store, tenant: str, since: str = "", until: str = "~") -> Iterator[Document]:
    """The entries that bear a time from `since` to `until`, oldest first."""
    after = None
    while True:
        page = store.find(tenant, KIND, [("at", ">=", since), ("at", "<=", until)], "at", after, PAGE)
        yield from page.items
        after = page.next
        if after is None:
            return
