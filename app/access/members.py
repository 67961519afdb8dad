"""Members: the people who may come in, with their roles; who they are at an issuer, and their passwords as hashes.

A member is known by the e-mail address, which is also the name in the audit log. Members are of the installation and
not of a tenant, and so are the entries about them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, cast

from app.audit import entry
from rules.event import iso
from rules.kinds import SYSTEM
from rules.ports import ABSENT, Conflict, Delete, Document, Identity, Passwords, Put, Refused, Store, Write
from rules.rule import Problem, RuleError

ROLES = ("viewer", "author", "approver", "operator", "admin")
State = Literal["active", "disabled"]
SHORTEST, LONGEST = 12, 200  # characters of a password
MOST = 1000
TRIES = 5  # when somebody else changes the same member
_EMAIL = re.compile(r"[^@\s\x00-\x1f<>\"',;:]{1,64}@[^@\s\x00-\x1f<>\"',;:]{1,189}")


@dataclass(frozen=True, slots=True)
class Member:
    """password: its hash, empty where none is set. subjects: `issuer subject` of each issuer that has named the member
    by the address; from then on that subject alone is the member there."""

    id: str
    email: str
    name: str = ""
    roles: tuple[str, ...] = ()
    state: State = "active"
    password: str = field(default="", repr=False)
    subjects: tuple[str, ...] = ()
    created_at: str = ""
    signed_in_at: str = ""
    version: str = ABSENT

    @classmethod
    def read(cls, found: Document) -> Member:
        body = found.body
        return cls(
            found.id,
            body["email"],
            body["name"],
            tuple(body["roles"]),
            cast(State, body["state"]),
            body["password"],
            tuple(body["subjects"]),
            body["created_at"],
            body["signed_in_at"],
            found.version,
        )

    @property
    def may_come_in(self) -> bool:
        return self.state == "active" and bool(self.roles)

    def put(self) -> Put:
        body = {
            "email": self.email,
            "name": self.name,
            "roles": list(self.roles),
            "state": self.state,
            "password": self.password,
            "subjects": list(self.subjects),
            "created_at": self.created_at,
            "signed_in_at": self.signed_in_at,
        }
        return Put("member", self.id, body, self.version)

    def shown(self) -> dict[str, Any]:
        """What pages, the API and the audit log show: no hash."""
        return {
            "id": self.id,
            "email": self.email,
            "name": self.name,
            "roles": list(self.roles),
            "state": self.state,
            "has_password": bool(self.password),
            "issuers": [subject.split(" ", 1)[0] for subject in self.subjects],
            "created_at": self.created_at or None,
            "signed_in_at": self.signed_in_at or None,
        }


def member_id(email: str) -> str:
    """Made of the address, so that no two members can have the same."""
    return "mem_" + hashlib.sha256(folded(email).encode()).hexdigest()[:20]


def folded(email: str) -> str:
    return email.strip().lower()


# ---- reading --------------------------------------------------------------------------------------------------------
def read(store: Store, id: str) -> Member:
    found = store.get(SYSTEM, "member", id)
    if found is None:
        raise LookupError("There is no such member.")
    return Member.read(found)


def by_email(store: Store, email: str) -> Member | None:
    found = store.get(SYSTEM, "member", member_id(email))
    return Member.read(found) if found else None


def may_come_in(store: Store, email: str) -> bool:
    """Whether this is a member's address, and the member not disabled."""
    found = by_email(store, email)
    return found is not None and found.may_come_in


def every(store: Store) -> list[Member]:
    """Oldest first."""
    return [Member.read(found) for found in store.find(SYSTEM, "member", order="created_at", limit=MOST).items]


def is_empty(store: Store) -> bool:
    """Whether nobody is a member yet."""
    return not store.find(SYSTEM, "member", order="created_at", limit=1).items


# ---- changing -------------------------------------------------------------------------------------------------------
def add(
    store: Store,
    passwords: Passwords,
    given: Mapping[str, Any],
    actor: str,
    now: datetime,
    why: str = "",
    first: bool = False,
) -> Member:
    """A new member `{"email", "name"?, "roles", "password"?}`. first: only while there is none. RuleError with every
    problem; Conflict when there is one of this address."""
    email, password = folded(str(given.get("email", ""))), str(given.get("password", ""))
    wrong = [*_given_problems(given), *(_password_problems(password, email) if password else [])]
    if not _EMAIL.fullmatch(email):
        wrong.insert(0, Problem("email", "write the e-mail address that the person signs in with"))
    if wrong:
        raise RuleError(wrong)
    member = Member(
        id=member_id(email),
        email=email,
        name=str(given.get("name", "")).strip(),
        roles=_ordered(given["roles"]),
        password=passwords.hash(password) if password else "",
        created_at=iso(now),
    )
    writes: list[Write] = [member.put(), entry(now, actor, "add member", member.id, None, _noted(member), why)]
    if first:  # two at once: one of them is first
        writes.append(Put("setting", "set-up", {"at": iso(now), "member": member.id}, ABSENT))
    try:
        store.commit(SYSTEM, None, writes)
    except Conflict:
        raise Conflict(
            "Signalbox was set up meanwhile: sign in." if first else f"{email} is a member already."
        ) from None
    return read(store, member.id)


def change(
    store: Store, id: str, given: Mapping[str, Any], actor: str, now: datetime, why: str = "", expect: str | None = None
) -> Member:
    """Change what is given of `{"name", "roles", "state"}`. Sessions follow in the same commit: new roles are theirs
    at once, and who is disabled has none any more. RuleError; Conflict when `expect` is not there."""
    wrong = _given_problems(given)
    if wrong:
        raise RuleError(wrong)

    def changed(before: Member) -> Member:
        if before.email == actor and (
            "admin" not in given.get("roles", before.roles) or given.get("state") == "disabled"
        ):
            raise RuleError([Problem("roles", "nobody takes the own right away: ask another administrator")])
        if expect is not None and before.version != expect:
            raise Conflict("Someone else changed this member after you opened the page. Open it again.")
        return replace(
            before,
            name=str(given.get("name", before.name)).strip(),
            roles=_ordered(given.get("roles", before.roles)),
            state=cast(State, given.get("state", before.state)),
        )

    return _commit(store, id, changed, actor, "change member", now, why)


def set_password(
    store: Store, passwords: Passwords, id: str, password: str, actor: str, now: datetime, keep: str = ""
) -> Member:
    """A new password; every session of the member ends but `keep`. RuleError."""
    wrong = _password_problems(password, read(store, id).email)
    if wrong:
        raise RuleError(wrong)
    hashed = passwords.hash(password)
    return _commit(store, id, lambda before: replace(before, password=hashed), actor, "set password", now, end_but=keep)


def forget_issuers(store: Store, id: str, actor: str, now: datetime, why: str = "") -> Member:
    """The next sign-in at an issuer decides again who the member is there, by the address."""
    return _commit(
        store, id, lambda before: replace(before, subjects=()), actor, "forget issuers", now, why, end_but=""
    )


def end_sessions(store: Store, id: str, actor: str, now: datetime, why: str = "", keep: str = "") -> Member:
    """Sign the member out everywhere (but in the session `keep`)."""
    return _commit(store, id, lambda before: before, actor, "end sessions", now, why, end_but=keep)


def _commit(
    store: Store,
    id: str,
    changed: Any,
    actor: str,
    verb: str,
    now: datetime,
    why: str = "",
    end_but: str | None = None,
) -> Member:
    """Write the member and what it means for the sessions, all or nothing; who signs in meanwhile writes the member
    too, so that no session is missed."""
    for _ in range(TRIES):
        before = read(store, id)
        after: Member = changed(before)
        change = entry(now, actor, verb, id, _noted(before), _noted(after), why)
        sessions = store.find(SYSTEM, "session", [("member", "==", id)], "created_at", limit=90).items
        try:
            store.commit(SYSTEM, None, [after.put(), change, *_follow(sessions, after, end_but)])
        except Conflict:
            continue
        return read(store, id)
    raise Conflict("Somebody else changes this member just now. Try again.")


def _follow(sessions: Iterable[Document], after: Member, end_but: str | None) -> list[Write]:
    writes: list[Write] = []
    for found in sessions:
        if not after.may_come_in or (end_but is not None and found.id != end_but):
            writes.append(Delete("session", found.id))
        elif tuple(found.body["roles"]) != after.roles or found.body["name"] != after.name:
            body = {**found.body, "roles": list(after.roles), "name": after.name}
            writes.append(Put("session", found.id, body, found.version))
    return writes


# ---- who somebody is ------------------------------------------------------------------------------------------------
def with_password(store: Store, passwords: Passwords, email: str, password: str) -> Member | None:
    """The member of this address and password. Where there is none a password is checked all the same, so that the
    time tells nothing."""
    found = by_email(store, email)
    usable = found is not None and found.may_come_in and bool(found.password)
    holds = passwords.holds(found.password if found and usable else passwords.decoy, password[: LONGEST + 1])
    return found if usable and holds else None


def of_identity(store: Store, identity: Identity) -> Member:
    """The member whom an issuer names: by its subject, else by the verified address. Raises Refused with a sentence."""
    key = subject_key(identity)
    named = store.find(SYSTEM, "member", [("subjects", "has", key)], "created_at", limit=1).items
    found = Member.read(named[0]) if named else by_email(store, identity.email) if identity.email else None
    who = identity.email or "This account, whose e-mail address the issuer has not verified,"
    if found is None or not found.may_come_in:
        raise Refused(f"{who} is no member here. Ask an administrator of this Signalbox to add you.")
    if not named and any(subject.split(" ", 1)[0] == identity.issuer for subject in found.subjects):
        raise Refused(f"{who} was another account when it signed in before. Ask an administrator to look at it.")
    return found


def subject_key(identity: Identity) -> str:
    return f"{identity.issuer} {identity.subject}"


def bound(member: Member, identity: Identity) -> Member:
    """The member, from now on this subject at the issuer."""
    key = subject_key(identity)
    return member if key in member.subjects else replace(member, subjects=(*member.subjects, key))


# ---- checks ---------------------------------------------------------------------------------------------------------
def _noted(member: Member) -> dict[str, Any]:
    shown = member.shown()
    return {name: shown[name] for name in ("email", "name", "roles", "state", "issuers")}


def _ordered(roles: Iterable[str]) -> tuple[str, ...]:
    chosen = set(roles)
    return tuple(role for role in ROLES if role in chosen)


def _given_problems(given: Mapping[str, Any]) -> list[Problem]:
    wrong = []
    roles = given.get("roles")
    if roles is not None and (not isinstance(roles, Sequence) or isinstance(roles, str) or set(roles) - set(ROLES)):
        wrong.append(Problem("roles", f"choose of {', '.join(ROLES)}"))
    elif (roles is not None and not roles) or ("email" in given and roles is None):
        wrong.append(Problem("roles", "choose at least one role; who should not come in any more is disabled instead"))
    if len(str(given.get("name", ""))) > 80 or not str(given.get("name", "")).isprintable():
        wrong.append(Problem("name", "a name has at most 80 letters"))
    if given.get("state", "active") not in ("active", "disabled"):
        wrong.append(Problem("state", "write active or disabled"))
    return wrong


def _password_problems(password: str, email: str) -> list[Problem]:
    if not SHORTEST <= len(password) <= LONGEST:
        return [
            Problem("password", f"a password has {SHORTEST} to {LONGEST} characters; several words are easy to keep")
        ]
    if len(set(password)) < 5 or (email.split("@")[0] in password.lower() and len(password) < len(email) + 6):
        return [Problem("password", "that can be guessed: take several words that have nothing to do with you")]
    return []
