"""Identity-Aware Proxy: the signed assertion that it adds to every request, checked.

https://cloud.google.com/iap/docs/signed-headers-howto
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from threading import Lock

from app.adapters import signed_tokens
from rules.ports import Identity

KEYS = "https://www.gstatic.com/iap/verify/public_key-jwk"
ISSUER = "https://cloud.google.com/iap"
MOST = 1000  # assertions remembered; the proxy sends the same one for minutes


class IdentityAwareProxy:
    """audience: which backend the assertions are for. fetch: gets the proxy's keys. elapsed: seconds."""

    def __init__(
        self,
        audience: str,
        fetch: signed_tokens.Fetch = lambda: signed_tokens.fetched(KEYS),
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        self._audience = audience
        self._keys = signed_tokens.Keys(fetch, elapsed)
        self._seen: OrderedDict[bytes, tuple[Identity, int]] = OrderedDict()
        self._lock = Lock()

    def identity(self, assertion: str, now: datetime) -> Identity:
        digest = hashlib.sha256(assertion.encode()).digest()
        with self._lock:
            known = self._seen.get(digest)
        if known and now.timestamp() < known[1]:
            return known[0]
        found = signed_tokens.claims(assertion, self._keys, ("ES256",), ISSUER, self._audience, now)
        email = str(found.get("email", "")).strip().lower()
        identity = Identity(ISSUER, str(found["sub"]), email if ":" not in email else "")
        with self._lock:
            self._seen[digest] = (identity, int(found["exp"]))
            while len(self._seen) > MOST:
                self._seen.popitem(last=False)
        return identity
