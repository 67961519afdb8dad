"""Quarantine: payloads with a good signature whose shape is not their type's; whole in the vault, told without values.

The body is sealed first, then the topic is told (where there is one), then the entry is written, and only then Stripe
is answered 200: a crash in between repeats all of it under the same names. An entry is `waiting` until a person replays
it, through the same checks and onto the same bus, or discards it; then its body is cleared from the vault.
"""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any, Final, Literal

from app import logs
from app.audit import entry as audited
from app.digests import sha256
from app.receive.webhook import ID, check_depth, event_of, parse, tenant_of, unkeepable
from rules.conforming import Fault, shared
from rules.event import iso
from rules.personal_sorts import PAYLOAD
from rules.ports import ABSENT, Bus, Conflict, Document, Put, Refused, Store, Vault, Where
from rules.steps import NotPossible

KIND = "quarantine"
WAITING: Final = "waiting"
REPLAYED: Final = "replayed"
DISCARDED: Final = "discarded"
ERASED: Final = "erased"
State = Literal["waiting", "replayed", "discarded", "erased"]
PIECE = 600_000  # characters of one value in the vault; a Firestore document ends at 1 MiB
TRIES = 5
MOST_CUSTOMERS = 1_000
PAGE = 100
REPLAYING = "replaying a quarantined payload"
_CUSTOMER = re.compile(rb'"(cus_[A-Za-z0-9_]{1,60})"')

Row = Mapping[str, Any]
Tell = Callable[[str, Row], None]  # tenant, entry: says it on the quarantine topic; raises Unavailable


@dataclass(frozen=True, slots=True)
class Keeper:
    """What keeping needs. tell: None where there is no topic."""

    store: Store
    vault: Vault
    tell: Tell | None = None


# ---- coming in ------------------------------------------------------------------------------------------------------
def keep(
    keeper: Keeper, envelope: Mapping[str, Any], account: str, raw: bytes, faults: Sequence[Fault], now: datetime
) -> str:
    """Take a payload in; the id of its entry. What comes again is counted. Raises Unavailable: nothing was answered."""
    tenant, id = tenant_of(envelope, account), entry_id(envelope, raw)
    for _ in range(TRIES):
        try:
            return _keep(keeper, tenant, id, envelope, account, raw, faults, now)
        except Conflict:
            continue  # another delivery of it was taken at the same moment
    raise Conflict(f"the quarantined payload {id} is delivered too often at once")


def _keep(
    keeper: Keeper,
    tenant: str,
    id: str,
    envelope: Mapping[str, Any],
    account: str,
    raw: bytes,
    faults: Sequence[Fault],
    now: datetime,
) -> str:
    store = keeper.store
    known = store.get(tenant, KIND, id)
    if known is not None and known.body["state"] != ERASED and known.body["digest"] == sha256(raw):
        again = {**known.body, "deliveries": known.body["deliveries"] + 1, "last_at": iso(now)}
        store.commit(tenant, None, [Put(KIND, id, again, known.version)])
        return id
    body = _entry(id, envelope, account, raw, faults, now)
    if known is not None:
        first = {name: known.body[name] for name in ("received_at",)} if known.body["state"] == WAITING else {}
        body = {**body, **first, "deliveries": known.body["deliveries"] + 1}
    if not any(keeper.vault.is_barred(tenant, customer) for customer in body["customers"]):
        pieces = sealed_pieces(raw)
        body["pieces"] = keeper.vault.tokenise(tenant, subject_of(id), pieces, [PAYLOAD] * len(pieces))
        keeper.vault.flush()
    if keeper.tell is not None:
        keeper.tell(tenant, told(body))
    store.commit(tenant, None, [Put(KIND, id, body, known.version if known else ABSENT)])
    logs.line("event.quarantined", tenant=tenant, event=id, type=body["type"], faults=len(body["errors"]))
    return id


def entry_id(envelope: Mapping[str, Any], raw: bytes) -> str:
    """The event's id, so that what is delivered again meets its entry."""
    id = envelope.get("id")
    return id if isinstance(id, str) and ID.fullmatch(id) else f"digest-{sha256(raw)}"


def subject_of(id: str) -> str:
    """Under whom the vault files the body: by itself, so that it can be cleared alone."""
    return f"quarantine:{id}"


def _entry(
    id: str, envelope: Mapping[str, Any], account: str, raw: bytes, faults: Sequence[Fault], now: datetime
) -> dict[str, Any]:
    version = envelope.get("api_version")
    return {
        "id": id,
        "type": str(envelope["type"]),
        "account": account,
        "api_version": version if isinstance(version, str) and len(version) < 40 else None,
        "digest": sha256(raw),
        "bytes": len(raw),
        "errors": [fault.body() for fault in faults],
        "cause": cause_of(faults),
        "customers": customers_in(raw),
        "state": WAITING,
        "received_at": iso(now),
        "last_at": iso(now),
        "deliveries": 1,
        "tries": 0,
        "pieces": [],
    }


def cause_of(faults: Sequence[Fault]) -> str:
    """What an entry has in common with others: its first fault."""
    return f"{faults[0].path}: {faults[0].problem}"[:300] if faults else ""


def customers_in(raw: bytes) -> list[str]:
    """The ids of every customer that the body names, wherever it does: whoever erases one of them finds it. Those named
    first count first: whose the object is stands before what its free fields say."""
    return sorted([*dict.fromkeys(found.decode() for found in _CUSTOMER.findall(raw))][:MOST_CUSTOMERS])


def told(body: Row) -> dict[str, Any]:
    """The entry without where its body lies."""
    return {name: value for name, value in body.items() if name != "pieces"}


def sealed_pieces(raw: bytes) -> list[str]:
    """The body as texts that the vault takes, each small enough for one document."""
    text = base64.b64encode(zlib.compress(raw)).decode()
    return [text[at : at + PIECE] for at in range(0, len(text), PIECE)]


# ---- looking --------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Which:
    """A filter; empty parts ask for nothing. At most one of type and cause."""

    type: str = ""
    cause: str = ""

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Which:
        found = {field.name: str(given.get(field.name) or "").strip()[:300] for field in fields(cls)}
        return cls(**({**found, "type": ""} if found["cause"] else found))

    def body(self) -> dict[str, str]:
        return {name: value for name, value in asdict(self).items() if value}

    def where(self, state: str = WAITING) -> list[Where]:
        return [("state", "==", state), *((name, "==", value) for name, value in self.body().items())]


def entries(
    store: Store, tenant: str, which: Which = Which(), state: str = WAITING, after: str | None = None, limit: int = 50
) -> dict[str, Any]:
    """A page, the newest first: `{"items", "next"}`, none with values."""
    page = store.find(tenant, KIND, which.where(state), order="-received_at", after=after, limit=limit)
    return {"items": [told(one.body) for one in page.items], "next": page.next}


def one(store: Store, tenant: str, id: str) -> dict[str, Any]:
    """LookupError."""
    return told(_document(store, tenant, id).body)


def count(store: Store, tenant: str, which: Which = Which()) -> int:
    """How many wait."""
    return store.count(tenant, KIND, which.where())


def causes(store: Store, tenant: str, which: Which = Which(), most: int = 1_000) -> list[dict[str, Any]]:
    """Those that wait by cause, the largest group first: `{"cause", "types", "count", "oldest", "newest"}`."""
    groups: dict[str, dict[str, Any]] = {}
    for document in _every(store, tenant, which, most):
        body = document.body
        group = groups.setdefault(
            body["cause"],
            {
                "cause": body["cause"],
                "types": [],
                "count": 0,
                "oldest": body["received_at"],
                "newest": body["received_at"],
            },
        )
        group["count"] += 1
        group["types"] = sorted({*group["types"], body["type"]})
        group["oldest"] = min(group["oldest"], body["received_at"])
        group["newest"] = max(group["newest"], body["received_at"])
    return sorted(groups.values(), key=lambda group: (-group["count"], group["cause"]))


def _every(store: Store, tenant: str, which: Which, most: int) -> Iterator[Document]:
    after, seen = None, 0
    while seen < most:
        page = store.find(tenant, KIND, which.where(), order="-received_at", after=after, limit=min(500, most - seen))
        yield from page.items
        after, seen = page.next, seen + len(page.items)
        if after is None:
            return


def _document(store: Store, tenant: str, id: str) -> Document:
    found = store.get(tenant, KIND, id)
    if found is None:
        raise LookupError(f"There is no quarantined payload {id!r}.")
    return found


# ---- going on -------------------------------------------------------------------------------------------------------
def replay(
    keeper: Keeper, bus: Bus, tenant: str, id: str, actor: str, why: str, now: datetime, as_it_is: bool = False
) -> dict[str, Any]:
    """Take the payload in after all, by the checks of today; the entry as it is then, still waiting where it does not
    conform yet. as_it_is: a person answers for it that the schema is wrong; what is no event at all is refused even so.
    Raises LookupError, NotPossible, Conflict, Unavailable."""
    document = _waiting(store := keeper.store, tenant, id)
    raw = body_of(keeper.vault, tenant, document, actor)
    try:
        envelope = parse(raw)
        check_depth(envelope)
    except Refused as error:
        return told(_still(store, document, [Fault("the event", str(error))], now))
    faults = shared().faults(envelope)
    if faults and not as_it_is:
        return told(_still(store, document, faults, now))
    event = event_of(envelope, document.body["account"], keeper.vault, now, raw=raw)
    if refused := unkeepable(event, raw):
        return told(_still(store, document, refused, now))
    bus.publish(event)
    verb = "replay quarantined payload as it is" if faults else "replay quarantined payload"
    return _ended(keeper, document, REPLAYED, verb, actor, why, now)


def discard(keeper: Keeper, tenant: str, id: str, actor: str, why: str, now: datetime) -> dict[str, Any]:
    """Let the payload go for good, with its body. Raises LookupError, NotPossible, Conflict."""
    if not why.strip():
        raise NotPossible("say why: it is kept in the audit log")
    document = _waiting(keeper.store, tenant, id)
    return _ended(keeper, document, DISCARDED, "discard quarantined payload", actor, why, now)


def _waiting(store: Store, tenant: str, id: str) -> Document:
    document = _document(store, tenant, id)
    if document.body["state"] != WAITING:
        raise NotPossible(f"it is {document.body['state']} already")
    return document


def body_of(vault: Vault, tenant: str, document: Document, actor: str, reason: str = REPLAYING) -> bytes:
    """The payload as it came. Raises NotPossible when it was erased."""
    pieces = [vault.reveal(tenant, token, actor, reason) for token in document.body["pieces"]]
    if not pieces or any(piece is None for piece in pieces):
        raise NotPossible("its body was erased from the vault")
    return zlib.decompress(base64.b64decode("".join(piece or "" for piece in pieces)))


def _still(store: Store, document: Document, faults: Sequence[Fault], now: datetime) -> dict[str, Any]:
    body = {
        **document.body,
        "errors": [fault.body() for fault in faults],
        "cause": cause_of(faults),
        "tries": document.body["tries"] + 1,
        "tried_at": iso(now),
    }
    store.commit(document.tenant, None, [Put(KIND, document.id, body, document.version)])
    return body


def _ended(
    keeper: Keeper, document: Document, state: State, verb: str, actor: str, why: str, now: datetime
) -> dict[str, Any]:
    """Say that it is settled, then clear the body: a crash in between leaves it to `clear_settled`."""
    body = {**document.body, "state": state, "ended_at": iso(now), "ended_by": actor, "why": why}
    change = audited(now, actor, verb, document.id, WAITING, state, why)
    keeper.store.commit(document.tenant, None, [Put(KIND, document.id, body, document.version), change])
    return told(_cleared(keeper, document.tenant, document.id))


def _cleared(keeper: Keeper, tenant: str, id: str) -> dict[str, Any]:
    document = _document(keeper.store, tenant, id)
    if not document.body["pieces"] or document.body["state"] == WAITING:
        return dict(document.body)
    keeper.vault.erase(tenant, subject_of(id))
    body = {**document.body, "pieces": []}
    try:
        keeper.store.commit(tenant, None, [Put(KIND, id, body, document.version)])
    except Conflict:
        return _cleared(keeper, tenant, id)
    return body


def clear_settled(keeper: Keeper, tenant: str, limit: int = PAGE) -> int:
    """Clear what a crash left in the vault of the newest settled entries; how many."""
    left = [
        document.id
        for state in (REPLAYED, DISCARDED, ERASED)
        for document in keeper.store.find(
            tenant, KIND, [("state", "==", state)], order="-received_at", limit=limit
        ).items
        if document.body["pieces"]
    ]
    for id in left:
        _cleared(keeper, tenant, id)
    return len(left)


# ---- forgetting -----------------------------------------------------------------------------------------------------
def forget(store: Store, vault: Vault, tenant: str, customer: str, actor: str, why: str, now: datetime) -> int:
    """Erase the bodies that name this customer, whatever state they are in; how many. The entries stay, valueless."""
    keeper, gone, after = Keeper(store, vault), 0, None
    while True:
        page = store.find(tenant, KIND, [("customers", "has", customer)], order="-received_at", after=after, limit=PAGE)
        gone += sum(_forgotten(keeper, document, actor, why, now) for document in page.items)
        after = page.next
        if after is None:
            return gone


def _forgotten(keeper: Keeper, document: Document, actor: str, why: str, now: datetime) -> bool:
    if not document.body["pieces"]:
        return False
    if document.body["state"] == WAITING:
        _ended(keeper, document, ERASED, "erase quarantined payload", actor, why, now)
    else:
        _cleared(keeper, document.tenant, document.id)
    return True
