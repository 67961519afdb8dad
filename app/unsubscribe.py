"""The signed link in every e-mail by which its reader gets no more of them. It holds a token, no personal value."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets as random

from rules.ports import Refused, Secrets

PATH = "/unsubscribe/"
KEY = "mail/unsubscribe"  # the name of the signing key among the secrets
LONGEST = 1000


def link(public_url: str, secrets: Secrets, tenant: str, token: str) -> str:
    """The address of the page; "" where this installation has no public address."""
    if not public_url:
        return ""
    said = _encoded(json.dumps([tenant, token], separators=(",", ":")).encode())
    return f"{public_url}{PATH}{said}.{_encoded(_signature(_key(secrets), said))}"


def opened(secrets: Secrets, text: str) -> tuple[str, str]:
    """The tenant and the token of a link. Raises Refused for whatever we did not sign."""
    said, dot, signed = text.partition(".")
    key = secrets.get(KEY)
    try:
        good = bool(key and dot) and len(text) <= LONGEST
        if good and hmac.compare_digest(_signature(str(key), said), _decoded(signed)):
            tenant, token = json.loads(_decoded(said))
            return str(tenant), str(token)
    except (ValueError, binascii.Error):
        pass
    raise Refused("This link is not whole. Open it again from the e-mail.")


def _key(secrets: Secrets) -> str:
    """Made when there is none; of two that are made at once, the one stored last signs."""
    key = secrets.get(KEY)
    if key is None:
        secrets.put(KEY, random.token_hex(32))
        key = secrets.get(KEY)
    return key or ""


def _signature(key: str, said: str) -> bytes:
    return hmac.digest(key.encode(), said.encode(), hashlib.sha256)[:16]


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
