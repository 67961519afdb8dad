"""JSON Web Tokens of others: the issuer's published keys, kept a while, and the check of a token against them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from rules.ports import Refused, Unavailable

FRESH = 3600.0  # seconds that keys are kept; issuers change them every few days or weeks, and overlap them
SOONEST = 60.0  # seconds between fetches for a key that we do not know: a stranger could ask for many
SKEW = 30  # seconds that clocks may differ
TIMEOUT = 5  # seconds

Fetch = Callable[[], Mapping[str, Any]]


class Keys:
    """An issuer's JSON Web Key Set. fetch: gets it, or raises Unavailable. elapsed: seconds."""

    def __init__(self, fetch: Fetch, elapsed: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._elapsed = elapsed
        self._at = float("-inf")
        self._known: Mapping[str, Any] = {"keys": []}
        self._lock = threading.Lock()

    def knowing(self, key: object) -> Mapping[str, Any]:
        """The set, fetched again when it is old or does not hold this key."""
        with self._lock:
            age = self._elapsed() - self._at
            known = any(one.get("kid") == key for one in self._known["keys"])
            if age > FRESH or (not known and age > SOONEST):
                self._known, self._at = self._fetch(), self._elapsed()
            return self._known


def claims(
    token: str, keys: Keys, algorithms: Sequence[str], issuer: str, audience: str, now: datetime, **more: str
) -> Mapping[str, Any]:
    """What the token says, when its signature, issuer, audience and times hold, and `more` claims are exactly these.
    Raises Refused with what is wrong, without the token; Unavailable when the keys cannot be had."""
    from joserfc import jwt
    from joserfc.errors import JoseError
    from joserfc.jwk import GuestProtocol, KeySet

    def key(guest: GuestProtocol) -> KeySet:
        return KeySet.import_key_set(keys.knowing(guest.headers().get("kid")))  # type: ignore[arg-type]

    exact = {"iss": issuer, "aud": audience, **more}
    registry = jwt.JWTClaimsRegistry(
        now=int(now.timestamp()),
        leeway=SKEW,
        exp={"essential": True},
        iat={"essential": True},
        sub={"essential": True},
        **{name: {"essential": True, "value": value} for name, value in exact.items()},  # type: ignore[arg-type]
    )
    try:
        found = jwt.decode(token, key, algorithms=list(algorithms))
        registry.validate(found.claims)
    except (JoseError, ValueError, KeyError, TypeError) as error:
        raise Refused(f"The token does not hold: {_short(error)}") from None
    return found.claims


def fetched(address: str) -> dict[str, Any]:
    """A JSON object at an address that the operator has set; redirects are not followed. Raises Unavailable."""
    import requests

    try:
        answer = requests.get(address, timeout=TIMEOUT, allow_redirects=False)
        answer.raise_for_status()
        found = answer.json()
    except (requests.RequestException, ValueError) as error:
        raise Unavailable(f"{address} cannot be read: {type(error).__name__}") from error
    if answer.status_code != 200 or not isinstance(found, dict):
        raise Unavailable(f"{address} answered no JSON object")
    return found


def _short(error: Exception) -> str:
    """What is wrong: the name of a claim or of the error, never a part of the token."""
    claim = getattr(error, "claim", None)
    return f"its claim {claim}" if claim else type(error).__name__.removesuffix("Error").lower()
