"""API tokens: named, with the rights they carry, an end, and a digest in place of the secret, which is shown once.

A token reads `sbx_<id>_<secret>`: the id finds its document, and the secret is random enough for a plain digest.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from secrets import token_hex, token_urlsafe
from typing import Any

from app.access import members
from app.access.members import Member
from app.audit import entry
from rules.event import instant, iso
from rules.kinds import SYSTEM
from rules.ports import ABSENT, Conflict, Document, Put, Store, Unavailable
from rules.rule import Problem, RuleError

RIGHTS = ("read", "author", "approve", "operate", "reveal", "admin")
LONGEST = 365  # days
USUAL = 90
MOST = 500
PREFIX = "sbx_"
_TOKEN = re.compile(r"sbx_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,59}")


@dataclass(frozen=True, slots=True)
class ApiToken:
    """used_on: the last day it was used, empty for never. made_by: whose it is."""

    id: str
    name: str
    rights: tuple[str, ...]
    made_by: str
    created_at: str
    until: str
    used_on: str
    revoked_at: str
    digest: str
    version: str

    @classmethod
    def read(cls, found: Document) -> ApiToken:
        return cls(**{**found.body, "id": found.id, "rights": tuple(found.body["rights"]), "version": found.version})

    @property
    def actor(self) -> str:
        """Its name in the audit log; no member's, because theirs are addresses."""
        return f"token {self.name}"

    def state(self, now: datetime) -> str:
        if self.revoked_at:
            return "revoked"
        return "expired" if now >= instant(self.until) else "active"

    def shown(self, now: datetime) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.name,
            "rights": list(self.rights),
            "state": self.state(now),
            "made_by": self.made_by,
            "created_at": self.created_at,
            "until": self.until,
            "used_on": self.used_on or None,
            "revoked_at": self.revoked_at or None,
        }


def make(store: Store, given: Mapping[str, Any], actor: str, now: datetime, why: str = "") -> tuple[ApiToken, str]:
    """A token `{"name", "rights", "days"?}`, and its text, which is nowhere kept. RuleError with every problem."""
    days, rights = given.get("days", USUAL), given.get("rights", ())
    wrong = _problems(str(given.get("name", "")), rights, days)
    if wrong:
        raise RuleError(wrong)
    id, secret = token_hex(8), token_urlsafe(32)
    body = {
        "name": str(given["name"]).strip(),
        "rights": [right for right in RIGHTS if right in rights],
        "made_by": actor,
        "created_at": iso(now),
        "until": iso(now + timedelta(days=int(days))),
        "used_on": "",
        "revoked_at": "",
        "digest": _digest(secret),
    }
    noted = {name: body[name] for name in ("name", "rights", "until")}
    store.commit(
        SYSTEM, None, [Put("api_token", id, body, ABSENT), entry(now, actor, "make token", id, None, noted, why)]
    )
    return _read(store, id), f"{PREFIX}{id}_{secret}"


def revoke(store: Store, id: str, actor: str, now: datetime, why: str = "") -> ApiToken:
    """It is worth nothing from the next request on; its document stays for the record."""
    found = _read(store, id)
    if found.revoked_at:
        return found
    body = {**_document(store, id).body, "revoked_at": iso(now)}
    change = entry(now, actor, "revoke token", id, found.name, "revoked", why)
    store.commit(SYSTEM, None, [Put("api_token", id, body, found.version), change])
    return _read(store, id)


def every(store: Store) -> list[ApiToken]:
    """Newest first."""
    return [ApiToken.read(one) for one in store.find(SYSTEM, "api_token", order="-created_at", limit=MOST).items]


def check(store: Store, text: str, now: datetime) -> ApiToken | None:
    """The token of this text, while it holds and everybody behind it may come in. Two reads; a write on the first use
    of a day."""
    parts = _TOKEN.fullmatch(text)
    found = store.get(SYSTEM, "api_token", parts[1]) if parts else None
    if parts is None or found is None:
        return None
    token = ApiToken.read(found)
    if not hmac.compare_digest(token.digest, _digest(parts[2])) or token.state(now) != "active":
        return None
    if not all(one.may_come_in for one in behind(store, token)):
        return None
    day = iso(now)[:10]
    if token.used_on != day:
        with suppress(Conflict, Unavailable):  # another request noted it, or it was revoked just now
            store.commit(SYSTEM, None, [Put("api_token", token.id, {**found.body, "used_on": day}, found.version)])
    return token


# ---- whose it is ----------------------------------------------------------------------------------------------------
def people(store: Store, names: Iterable[str]) -> set[str]:
    """These names and whoever stands behind the tokens among them: who made them, who made the tokens that they were
    made with, and so on."""
    known = set(names)
    if not any(map(_is_token, known)):
        return known
    made: dict[str, set[str]] = {}
    for token in _all(store):
        made.setdefault(token.actor, set()).add(token.made_by)
    new = known
    while new := {maker for name in new for maker in made.get(name, ())} - known:
        known |= new
    return known


def behind(store: Store, token: ApiToken) -> list[Member]:
    """The members behind a token: it may nothing that one of them may not."""
    names = people(store, [token.made_by])
    return [found for name in sorted(names) if not _is_token(name) and (found := members.by_email(store, name))]


def _is_token(name: str) -> bool:
    return name.startswith("token ")


def _all(store: Store) -> Iterator[ApiToken]:
    after = None
    while True:
        page = store.find(SYSTEM, "api_token", order="-created_at", after=after, limit=MOST)
        yield from map(ApiToken.read, page.items)
        after = page.next
        if after is None:
            return


def _problems(name: str, rights: Any, days: Any) -> list[Problem]:
    wrong = []
    if not _NAME.fullmatch(name.strip()):
        wrong.append(Problem("name", "name it after what uses it, such as nightly-import: up to 60 letters and digits"))
    if not isinstance(rights, Iterable) or isinstance(rights, str) or not rights or set(rights) - set(RIGHTS):
        wrong.append(Problem("rights", f"choose at least one of {', '.join(RIGHTS)}"))
    if not isinstance(days, int) or isinstance(days, bool) or not 1 <= days <= LONGEST:
        wrong.append(Problem("days", f"write a number of days from 1 to {LONGEST}"))
    return wrong


def _digest(secret: str) -> str:
    return hashlib.sha256(f"api token\n{secret}".encode()).hexdigest()


def _read(store: Store, id: str) -> ApiToken:
    return ApiToken.read(_document(store, id))


def _document(store: Store, id: str) -> Document:
    found = store.get(SYSTEM, "api_token", id)
    if found is None:
        raise LookupError(f"There is no token {id!r}.")
    return found
