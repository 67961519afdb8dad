"""Access tokens for services that take OAuth 2: kept with the secrets, refreshed by one thread at a time.

A connection without a client id has one token that does not end (a HubSpot private app). A refresh that the service
refuses is a failed authentication: nothing over the connection can work until a person mends it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from app.connections.types import private_of
from app.connectors.delivery import Courier, Forbidden, Undelivered
from app.connectors.signed import retry_after
from rules.event import iso
from rules.ports import Body, Outcome, Secrets, Unconfigured

ACCESS = "/access"  # after the secret's name: `{"token", "until", "base", "of"}`
EARLY = timedelta(seconds=60)  # a token is not used in its last minute
USUAL = timedelta(minutes=30)  # how long a token is good where the service does not say
LARGEST = 8 * 1024
LONGEST = 365 * 86400  # seconds that a token is believed to last


class Refused(Exception):
    """No token now; the outcome says whether that can mend itself."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.message)
        self.outcome = outcome


@dataclass(frozen=True, slots=True)
class Access:
    """base: where the service said that this account lives ("" when it says nothing)."""

    token: str
    base: str = ""


@dataclass
class Tokens:
    courier: Courier
    secrets: Secrets
    _locks: dict[str, threading.Lock] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def get(self, connection: Body, url: str, now: datetime, stale: str = "") -> Access:
        """A token for the connection. url: where it is refreshed. stale: one that the service takes no more. Raises
        Refused, Unconfigured."""
        name = connection["secret_name"]
        if not connection.get("client_id"):
            return self._for_ever(connection, stale)
        with self._lock(name):  # whoever waited here finds the token that the other one has fetched
            known = self._known(name, now, self._print(connection), stale)
            if known:
                return known
            try:
                return self._refreshed(connection, url, now)
            except Refused:  # another process may have been quicker, with a refresh token that is good once
                known = self._known(name, now, self._print(connection), stale)
                if known is None:
                    raise
                return known

    def _for_ever(self, connection: Body, stale: str) -> Access:
        token = self.secrets.get(connection["secret_name"])
        if not token:
            raise Unconfigured(f"Connection {connection['name']} has no access token: give it one under Settings.")
        if token == stale:
            raise Refused(_locked(connection, "took the access token no more"))
        return Access(token)

    def _lock(self, name: str) -> threading.Lock:
        with self._guard:
            return self._locks.setdefault(name, threading.Lock())

    @staticmethod
    def _print(connection: Body) -> str:
        """A token fetched before the connection was changed is not used after."""
        return str(connection.get("updated_at", ""))

    def _known(self, name: str, now: datetime, of: str, stale: str) -> Access | None:
        kept = json.loads(self.secrets.get(name + ACCESS) or "{}")
        good = kept and kept["of"] == of and kept["token"] != stale and kept["until"] > iso(now + EARLY)
        return Access(kept["token"], kept["base"]) if good else None

    def _refreshed(self, connection: Body, url: str, now: datetime) -> Access:
        name = connection["secret_name"]
        answer = self._asked(connection, url, now)
        lasts = answer.get("expires_in")
        until = now + (timedelta(seconds=min(lasts, LONGEST)) if isinstance(lasts, int) and lasts > 0 else USUAL)
        access = Access(str(answer["access_token"]), str(answer.get("instance_url") or ""))
        kept = {"token": access.token, "base": access.base, "until": iso(until), "of": self._print(connection)}
        self.secrets.put(name + ACCESS, json.dumps(kept))
        if answer.get("refresh_token"):  # some services hand out another one with each refresh
            self.secrets.put(name, str(answer["refresh_token"]))
        return access

    def _asked(self, connection: Body, url: str, now: datetime) -> Mapping[str, Any]:
        form = self._form(connection)
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        who = connection["name"]
        try:
            reply = self.courier.post(url, headers, urlencode(form).encode())
        except Forbidden as error:
            raise Refused(Outcome.retry(f"Not sent: {error}.", pause_connection=True)) from error
        except Undelivered as error:
            raise Refused(Outcome.retry(f"No answer from {who} about a token: {error}.")) from error
        if reply.status in (400, 401, 403):
            raise Refused(_locked(connection, f"refused the refresh of our token ({_reason(reply.body)})"))
        answer = _object(reply.body)
        if not 200 <= reply.status < 300 or not answer.get("access_token"):
            after = retry_after(reply.headers.get("retry-after"), now)
            raise Refused(Outcome.retry(f"{who} gave no token ({reply.status}).", after=after))
        return answer

    def _form(self, connection: Body) -> dict[str, str]:
        secret = private_of(connection, self.secrets).get("client_secret")
        if not secret:
            raise Unconfigured(f"Connection {connection['name']} has no client secret: give it one under Settings.")
        form = {"client_id": str(connection["client_id"]), "client_secret": str(secret)}
        refresh = self.secrets.get(connection["secret_name"])
        if refresh:
            return {**form, "grant_type": "refresh_token", "refresh_token": refresh}
        return {**form, "grant_type": "client_credentials"}


def _locked(connection: Body, what: str) -> Outcome:
    return Outcome.retry(f"{connection['name']} {what}.", pause_connection=True)


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body[:LARGEST])
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _reason(body: bytes) -> str:
    """The error's code: a description might repeat what was sent."""
    found = _object(body)
    code = str(found.get("error") or found.get("status") or "no reason given")
    return code if code.replace("_", "").isalnum() and len(code) < 60 else "no reason given"
