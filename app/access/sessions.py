"""Sessions: one document each, so that signing out, a new password or an administrator ends them wherever they are.

The browser holds a random text; the store knows its digest, with a copy of the member's roles that
app.access.members keeps in step. One read tells who is asking.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from secrets import token_urlsafe
from typing import Any

from app.access.members import TRIES, Member, bound, read
from app.audit import entry
from rules.event import instant, iso
from rules.kinds import SYSTEM
from rules.ports import ABSENT, Conflict, Delete, Document, Identity, Put, Refused, Store, Unavailable, Write

IDLE = timedelta(hours=2)  # without a request
LONGEST = timedelta(hours=12)
NOTED = timedelta(minutes=5)  # between two notes that it is in use: a request seldom writes
MOST = 20  # of one member; the oldest gives way


@dataclass(frozen=True, slots=True)
class Session:
    """id: digest of what the browser holds. member: its id, or empty for who showed the admin token, whose digest is
    `mark`. way: how the person signed in."""

    id: str
    member: str
    actor: str
    name: str
    roles: tuple[str, ...]
    way: str
    created_at: str
    seen_at: str
    mark: str = ""
    version: str = ABSENT

    @classmethod
    def read(cls, found: Document) -> Session:
        body = {name: value for name, value in found.body.items() if name != "until"}
        return cls(**{**body, "id": found.id, "roles": tuple(body["roles"]), "version": found.version})

    def put(self) -> Put:
        body = {name: value for name, value in asdict(self).items() if name not in ("id", "version")}
        until = iso(instant(self.created_at) + LONGEST)  # from then on every store lets it go
        return Put("session", self.id, {**body, "roles": list(self.roles), "until": until}, self.version)

    def is_over(self, now: datetime) -> bool:
        return now - instant(self.seen_at) >= IDLE or now - instant(self.created_at) >= LONGEST

    def shown(self) -> dict[str, Any]:
        return {"id": self.id[:16], "way": self.way, "created_at": self.created_at, "seen_at": self.seen_at}


def begin(store: Store, member: Member, way: str, now: datetime, identity: Identity | None = None) -> str:
    """A session of a member; what the browser has to hold. The member is written as well: whoever changes the roles at
    the same moment sees the session, or this sees the new roles. Raises Refused when the member may not come in."""
    for _ in range(TRIES):
        current = read(store, member.id)
        if not current.may_come_in or current.password != member.password:
            raise Refused("You may not come in any more. Ask an administrator.")
        secret = token_urlsafe(32)
        made = Session(digest(secret), current.id, current.email, current.name, current.roles, way, iso(now), iso(now))
        after = bound(current, identity) if identity else current
        note = entry(now, current.email, "sign in", current.id, after={"way": way})
        put = _signed_in(after, now)
        try:
            store.commit(SYSTEM, None, [made.put(), put, note, *_room(store, current.id, now)])
        except Conflict:
            continue
        return secret
    raise Conflict("You are being changed just now. Try again.")


def begin_with_token(store: Store, actor: str, roles: Sequence[str], mark: str, now: datetime) -> str:
    """A session of whoever showed the admin token; another token ends it, because the mark differs then."""
    secret = token_urlsafe(32)
    made = Session(digest(secret), "", actor, actor, tuple(roles), "admin token", iso(now), iso(now), mark)
    note = entry(now, actor, "sign in", actor, after={"way": "admin token"})
    store.commit(SYSTEM, None, [made.put(), note, *_room(store, "", now)])
    return secret


def find(store: Store, secret: str, now: datetime) -> Session | None:
    """The session that a browser holds, while it lasts."""
    found = store.get(SYSTEM, "session", digest(secret))
    if found is None:
        return None
    session = Session.read(found)
    if session.is_over(now):
        return None
    if now - instant(session.seen_at) >= NOTED:
        _note(store, session, now)
    return session


def end(store: Store, session: Session, now: datetime) -> None:
    """Sign out: a copy of the cookie is worth nothing from now on."""
    note = entry(now, session.actor, "sign out", session.member or session.actor)
    store.commit(SYSTEM, None, [Delete("session", session.id), note])


def of_member(store: Store, member: str, now: datetime) -> list[Session]:
    """Those that last, newest first."""
    found = store.find(SYSTEM, "session", [("member", "==", member)], "-created_at", limit=90).items
    return [session for session in map(Session.read, found) if not session.is_over(now)]


def digest(secret: str) -> str:
    return hashlib.sha256(f"session\n{secret}".encode()).hexdigest()


def note_proxy(store: Store, member: Member, identity: Identity, now: datetime) -> None:
    """The first request of a day that a proxy vouches for, and from the very first on the subject that it named."""
    note = entry(now, member.email, "sign in", member.id, after={"way": "proxy"})
    with suppress(Conflict):  # several requests of one page: one of them notes it
        store.commit(SYSTEM, None, [_signed_in(bound(member, identity), now), note])


def _signed_in(member: Member, now: datetime) -> Put:
    put = member.put()
    return Put(put.kind, put.id, {**put.body, "signed_in_at": iso(now)}, put.expect)


def _note(store: Store, session: Session, now: datetime) -> None:
    put = session.put()
    with suppress(Conflict, Unavailable):  # somebody was quicker, perhaps to end it
        store.commit(SYSTEM, None, [Put("session", session.id, {**put.body, "seen_at": iso(now)}, session.version)])


def _room(store: Store, member: str, now: datetime) -> list[Write]:
    """The end of those that are over, and of the oldest ones where there are too many."""
    found = store.find(SYSTEM, "session", [("member", "==", member)], "-created_at", limit=90).items
    lasting = [one for one in found if not Session.read(one).is_over(now)][: MOST - 1]
    kept = {one.id for one in lasting}
    return [Delete("session", one.id) for one in found if one.id not in kept]
