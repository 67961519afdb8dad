"""Who is asking: the bearer of a token, whom the proxy in front names, a session, or this machine's own operator."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from urllib.parse import urlsplit

from flask import request, session

from app.access import api_tokens, members, sessions
from app.services import Services
from app.settings import Settings
from app.web.gate import floods, roles
from app.web.gate.roles import Right
from rules.ports import Identity, Store

ADMIN_TOKEN = "admin token"  # noqa: S105  a name or a sentence, not a secret
LOCAL = "local operator"
ASSERTION = "X-Goog-IAP-JWT-Assertion"
SECRET = "sid"  # noqa: S105  in the signed cookie: what finds the session
PASSED_ON = (
    "Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip", "Cf-Connecting-Ip",
)  # fmt: skip
Way = Literal["bearer", "proxy", "session", "local"]


@dataclass(frozen=True, slots=True)
class Caller:
    """actor: the name in the audit log, which nobody can choose. member: its id, where it is one. session: its id."""

    actor: str
    name: str
    roles: frozenset[str]
    rights: frozenset[Right]
    way: Way
    member: str = ""
    session: str = ""


def caller(services: Services, now: datetime) -> Caller | None:
    """The caller, or None for a stranger. Raises Refused when the proxy's word does not hold."""
    found = _bearer(services, now)
    if found or is_api(request.path):  # a cookie or a local address would let any page of the browser in
        return found
    assertion = request.headers.get(ASSERTION, "")
    if services.front and assertion:
        return _named(services.store, services.front.identity(assertion, now), now)
    return _in_session(services, now) or (_operator() if _is_local(services.settings) else None)


def is_api(path: str) -> bool:
    return path.startswith("/api/")


def token_matches(settings: Settings, given: str) -> bool:
    return bool(settings.admin_token) and hmac.compare_digest(given.encode(), settings.admin_token.encode())


def mark(settings: Settings) -> str:
    """What ties a session to the admin token that began it."""
    return hashlib.sha256(f"signalbox session\n{settings.admin_token}".encode()).hexdigest()


def address(settings: Settings) -> str:
    """Where the request comes from, by the word of our own proxies only; an IPv6 network counts as one."""
    return floods.address(request.remote_addr or "", request.headers.get("X-Forwarded-For", ""), settings.proxies)


# ---- each way -------------------------------------------------------------------------------------------------------
def _bearer(services: Services, now: datetime) -> Caller | None:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        return None
    if token_matches(services.settings, given.strip()):
        return _everything(ADMIN_TOKEN, "bearer")
    token = api_tokens.check(services.store, given.strip(), now)
    if token is None:
        return None
    rights = roles.of_scopes(token.rights)
    for member in api_tokens.behind(services.store, token):
        rights &= roles.of_roles(member.roles)
    return Caller(token.actor, token.actor, frozenset(), rights, "bearer") if rights else None


def _named(store: Store, identity: Identity, now: datetime) -> Caller:
    member = members.of_identity(store, identity)
    if members.subject_key(identity) not in member.subjects or member.signed_in_at[:10] != now.isoformat()[:10]:
        sessions.note_proxy(store, member, identity, now)
    rights = roles.of_roles(member.roles)
    return Caller(member.email, member.name, frozenset(member.roles), rights, "proxy", member.id)


def _in_session(services: Services, now: datetime) -> Caller | None:
    secret = session.get(SECRET)
    found = sessions.find(services.store, secret, now) if isinstance(secret, str) else None
    if found is None:
        return None
    if not found.member and not (services.settings.admin_token and _same(found.mark, mark(services.settings))):
        return None
    rights = roles.of_roles(found.roles)
    return Caller(found.actor, found.name, frozenset(found.roles), rights, "session", found.member, found.id)


def _operator() -> Caller:
    return _everything(LOCAL, "local")


def _everything(actor: str, way: Way) -> Caller:
    return Caller(actor, actor, roles.EVERY_ROLE, roles.EVERYTHING, way)


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def _is_local(settings: Settings) -> bool:
    """A loopback peer AND a loopback name: a name that was re-pointed at this machine (DNS rebinding) is a stranger. So
    is who comes through a tunnel or proxy, which connects from here and may write the name anew."""
    if settings.environment != "development" or any(name in request.headers for name in PASSED_ON):
        return False
    return _is_loopback(request.remote_addr or "") and _is_loopback(urlsplit(f"//{request.host}").hostname or "")


def _is_loopback(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
