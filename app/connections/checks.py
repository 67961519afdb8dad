"""What cannot be in a connection as a person gave it: addresses, hosts, secrets, headers, by their text alone.

Where a name leads is checked again when something is sent (app.connectors.delivery).
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from typing import Any
from urllib.parse import urlsplit

HEADERS = frozenset({"host", "content-length", "content-type", "connection", "transfer-encoding", "traceparent"})
ADDRESS = re.compile(r"[^\s@<>()\[\],;:\\\"]{1,64}@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")


def url_problem(url: Any, development: bool) -> list[str]:
    """What is wrong with an address that a user gave, by its text alone."""
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return ["the address cannot be read; write https://crm.example.com/hooks/signalbox"]
    if parts.scheme not in ("https", "http") or not host or any(c.isspace() or not c.isprintable() for c in str(url)):
        return ["write the whole address, https://crm.example.com/hooks/signalbox"]
    if "%" in host or "\\" in host:
        return ["the name of the host is letters, digits, dots and hyphens"]
    if parts.username or parts.password:
        return ["the address may hold no user name or password; send them as a header"]
    inside = is_inside(host)
    if parts.scheme == "http" and not (development and inside == "loopback"):
        return ["notices go over https only; http is for this machine in development"]
    return inside_problem(host, development)


def inside_problem(host: str, development: bool) -> list[str]:
    inside = is_inside(host)
    if inside and not (development and inside == "loopback"):
        return ["this address is inside the network where Signalbox runs; give one that the internet reaches"]
    return []


def is_inside(host: str) -> str:
    """`loopback`, `private` or nothing, by the text alone; the name's addresses are checked when sending."""
    if host == "localhost" or host.endswith(".localhost"):
        return "loopback"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "private" if host.endswith((".internal", ".local")) or "." not in host else ""
    return "loopback" if address.is_loopback else "" if address.is_global else "private"


def signing_secret_problem(secret: Any) -> list[str]:
    """Several, with spaces between, while one is replaced by another."""
    given = str(secret).split()
    good = bool(given) and all(24 <= len(_secret_bytes(one)) <= 64 for one in given)
    return [] if good else ["the secret is whsec_ and 24 to 64 bytes in base64; leave it empty to have one made"]


def _secret_bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text.removeprefix("whsec_"), validate=True) if text.startswith("whsec_") else b""
    except (binascii.Error, ValueError):
        return b""


def header_problem(key: Any, value: Any) -> list[str]:
    name = str(key)
    if not re.fullmatch(r"[A-Za-z0-9-]{1,60}", name) or name.lower() in HEADERS or name.lower().startswith("webhook-"):
        return [f"{name!r} cannot be set here"]
    return (
        [] if isinstance(value, str) and value.isprintable() and len(value) <= 2000 else ["the value is no plain text"]
    )


def is_plain(value: Any) -> bool:
    return value is None or (isinstance(value, str) and len(value) <= 2000 and (value.isprintable() or not value))
