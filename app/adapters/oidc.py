"""Google's signed identity tokens, as Pub/Sub and Cloud Scheduler send them: signature, issuer, audience, account.

https://cloud.google.com/pubsub/docs/authenticate-push-subscriptions
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from google.auth import exceptions, jwt

from rules.ports import Refused, Unavailable

CERTIFICATES = "https://www.googleapis.com/oauth2/v1/certs"
ISSUERS = ("https://accounts.google.com", "accounts.google.com")
FRESH = 3600.0  # seconds that Google's certificates are kept; it changes them every few days, and overlaps them
SOONEST = 60.0  # seconds between fetches for a key that we do not know: a stranger could ask for many
SKEW = 30  # seconds that clocks may differ

Certificates = Mapping[str, str]  # PEM by key id


class Callers:
    """Who may call. accounts: addresses of service accounts. fetch: gets Google's certificates. elapsed: seconds."""

    def __init__(
        self,
        accounts: Sequence[str],
        fetch: Callable[[], Certificates] | None = None,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        self._accounts = frozenset(accounts)
        self._fetch = fetch or fetched
        self._elapsed = elapsed
        self._at = float("-inf")
        self._known: Certificates = {}
        self._lock = threading.Lock()

    def check(self, authorization: str, audience: str) -> str:
        """The account that calls, from an Authorization header. audience: the address that was called. Raises Refused
        with what is wrong, Unavailable when the certificates cannot be had."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Refused("Send an OpenID Connect token of the service account as a bearer token.")
        claims = self._claims(token.strip(), audience)
        if claims.get("iss") not in ISSUERS:
            raise Refused("The token was not issued by Google.")
        if claims.get("email_verified") is not True or claims.get("email") not in self._accounts:
            raise Refused("The token is of another account than SIGNALBOX_CALLERS names.")
        return str(claims["email"])

    def _claims(self, token: str, audience: str) -> Mapping[str, Any]:
        try:
            key = jwt.decode_header(token).get("kid")
            certificates = self._certificates(key)
            if key not in certificates:
                raise Refused("The token is signed with a key that is not Google's.")
            found: Mapping[str, Any] = jwt.decode(
                token, certs={key: certificates[key]}, audience=audience, clock_skew_in_seconds=SKEW
            )
        except (exceptions.GoogleAuthError, ValueError) as error:
            raise Refused(f"The token does not hold: {_short(error)}") from None
        return found

    def _certificates(self, key: object) -> Certificates:
        with self._lock:
            age = self._elapsed() - self._at
            if age > FRESH or (key not in self._known and age > SOONEST):
                self._known, self._at = self._fetch(), self._elapsed()
            return self._known


def fetched() -> Certificates:
    """Google's certificates, now. Raises Unavailable."""
    import requests

    try:
        answer = requests.get(CERTIFICATES, timeout=5)
        answer.raise_for_status()
        found: Certificates = answer.json()
    except (requests.RequestException, ValueError) as error:
        raise Unavailable(f"Google's certificates cannot be had: {type(error).__name__}") from error
    return found


def _short(error: Exception) -> str:
    """What is wrong, without the token."""
    text = str(error.args[0]) if error.args else type(error).__name__
    return text.split(":")[0][:100]
