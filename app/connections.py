"""The types of connections: what each asks for in Settings, and what cannot be. Keeping them is app.author_lists'.

A connection's document always has `url`, which pages show: the address itself, or what may be shown of it. Where the
address is the secret (Slack) or is made of parts (SMTP), it is derived from what was given.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from rules.ports import Field
from rules.rule import Problem

Given = Mapping[str, Any]
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
HEADERS = frozenset({"host", "content-length", "content-type", "connection", "transfer-encoding", "traceparent"})
ADDRESS = re.compile(r"[^\s@<>()\[\],;:\\\"]{1,64}@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")
SAID = "This is a test notice from Signalbox. Nothing happened at Stripe."
TLS = ("starttls", "tls", "none")


@dataclass(frozen=True, slots=True)
class ConnectionType:
    """title and lead: for people. fields: what is kept in the document. secret: what is kept apart; made: one is
    made when none is given. problems: what is wrong with the given values; shown: the document's `url`.
    action and trial: what a test does over a connection, with which parameters (app.trial)."""

    name: str
    title: str
    lead: str
    fields: tuple[Field, ...]
    secret: Field
    problems: Callable[[Given, bool], list[Problem]]
    shown: Callable[[Given], str]
    action: str
    trial: Callable[[Given], Mapping[str, Any]]
    made: bool = False
    headers: bool = False

    @property
    def known(self) -> tuple[str, ...]:
        names = (field.name for field in self.fields)
        return ("name", "type", "secret", *names, *(("headers",) if self.headers else ()))


def problems(given: Given, development: bool) -> list[Problem]:
    """Everything that is wrong with a connection as a person gave it."""
    type = TYPES.get(str(given.get("type", "webhook")), TYPES["webhook"])
    wrong = [Problem(key, f"unknown key {key!r}") for key in given if key not in type.known]
    if not NAME.fullmatch(str(given.get("name") or "")):
        wrong.append(Problem("name", "the name is up to 40 lower-case letters, digits and hyphens, such as crm"))
    if str(given.get("type", "webhook")) not in TYPES:
        wrong.append(Problem("type", f"no connection of type {given.get('type')!r}", "webhook"))
    return wrong + type.problems(given, development)


def values(given: Given) -> dict[str, Any]:
    """What of it the document keeps: the type's fields, and `url` to be shown."""
    type = TYPES[given.get("type", "webhook")]
    kept = {field.name: _value(field, given.get(field.name, field.default)) for field in type.fields}
    return {"type": type.name, **kept, "url": type.shown({**kept, **given})}


def _value(field: Field, value: Any) -> Any:
    return int(value) if field.type == "number" else value


# ---- signed webhooks ------------------------------------------------------------------------------------------------
def _webhook_problems(given: Given, development: bool) -> list[Problem]:
    wrong = [Problem("url", text) for text in url_problem(given.get("url"), development)]
    if given.get("secret"):
        wrong += [Problem("secret", text) for text in _signing_secret_problem(given["secret"])]
    headers = given.get("headers") or {}
    if not isinstance(headers, Mapping):
        return [*wrong, Problem("headers", "headers are names with texts")]
    return wrong + [Problem(f"headers.{key}", text) for key, value in headers.items() for text in _header(key, value)]


def url_problem(url: Any, development: bool) -> list[str]:
    """What is wrong with an address that a user gave, by its text alone."""
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return ["the address cannot be read; write https://crm.example.com/hooks/signalbox"]
    if parts.scheme not in ("https", "http") or not host or any(c.isspace() for c in str(url)):
        return ["write the whole address, https://crm.example.com/hooks/signalbox"]
    if parts.username or parts.password:
        return ["the address may hold no user name or password; send them as a header"]
    inside = _is_inside(host)
    if parts.scheme == "http" and not (development and inside == "loopback"):
        return ["notices go over https only; http is for this machine in development"]
    return _inside_problem(host, development)


def _inside_problem(host: str, development: bool) -> list[str]:
    inside = _is_inside(host)
    if inside and not (development and inside == "loopback"):
        return ["this address is inside the network where Signalbox runs; give one that the internet reaches"]
    return []


def _is_inside(host: str) -> str:
    """`loopback`, `private` or nothing, by the text alone; the name's addresses are checked when sending."""
    if host == "localhost" or host.endswith(".localhost"):
        return "loopback"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "private" if host.endswith((".internal", ".local")) or "." not in host else ""
    return "loopback" if address.is_loopback else "" if address.is_global else "private"


def _signing_secret_problem(secret: Any) -> list[str]:
    """Several, with spaces between, while one is replaced by another."""
    given = str(secret).split()
    good = bool(given) and all(24 <= len(_secret_bytes(one)) <= 64 for one in given)
    return [] if good else ["the secret is whsec_ and 24 to 64 bytes in base64; leave it empty to have one made"]


def _secret_bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text.removeprefix("whsec_"), validate=True) if text.startswith("whsec_") else b""
    except (binascii.Error, ValueError):
        return b""


def _header(key: Any, value: Any) -> list[str]:
    name = str(key)
    if not re.fullmatch(r"[A-Za-z0-9-]{1,60}", name) or name.lower() in HEADERS or name.lower().startswith("webhook-"):
        return [f"{name!r} cannot be set here"]
    return (
        [] if isinstance(value, str) and value.isprintable() and len(value) <= 2000 else ["the value is no plain text"]
    )


WEBHOOK = ConnectionType(
    "webhook",
    "Signed webhook",
    "Takes the signed notices of your rules: a CRM, a gateway, any receiver of Standard Webhooks.",
    (Field("url", "Address", required=True, help="Takes a POST with a CloudEvent, signed as Standard Webhooks say."),),
    Field("secret", "Signing secret", help="Leave it empty and one is made, and shown once."),
    _webhook_problems,
    lambda given: str(given["url"]),
    "crm.notify",
    lambda _: {"stage": "Test", "message": SAID},
    made=True,
    headers=True,
)


# ---- e-mail ---------------------------------------------------------------------------------------------------------
def _smtp_problems(given: Given, development: bool) -> list[Problem]:
    host, tls = str(given.get("host") or ""), given.get("tls", "starttls")
    wrong = (
        [] if re.fullmatch(r"[A-Za-z0-9.:-]{1,253}", host) else [Problem("host", "write the name of the mail server")]
    )
    wrong += [Problem("host", text) for text in _inside_problem(host, development)] if not wrong else []
    if not str(given.get("port", "587")).isdecimal() or not 0 < int(given.get("port", 587)) < 65536:
        wrong.append(Problem("port", "a port is a number from 1 to 65535; most servers take mail on 587"))
    if tls not in TLS:
        wrong.append(Problem("tls", "the encryption is starttls, tls or none", "starttls"))
    elif tls == "none" and not (development and _is_inside(host) == "loopback"):
        wrong.append(Problem("tls", "mail is encrypted; none is for this machine in development", "starttls"))
    if not ADDRESS.fullmatch(str(given.get("from") or "")):
        wrong.append(Problem("from", "write the sender's address, such as billing@example.com"))
    return wrong + [
        Problem(key, "this is no plain text") for key in ("user", "secret") if not _is_plain(given.get(key))
    ]


def _is_plain(value: Any) -> bool:
    return value is None or (isinstance(value, str) and len(value) <= 2000 and (value.isprintable() or not value))


SMTP = ConnectionType(
    "smtp",
    "E-mail (SMTP)",
    "Sends e-mail to customers through your mail server.",
    (
        Field("host", "Server", required=True, help="Such as smtp.example.com."),
        Field("port", "Port", "number", default=587, help="587 for STARTTLS, 465 for TLS from the start."),
        Field("tls", "Encryption", "choice", choices=TLS, default="starttls"),
        Field("from", "From", required=True, help="The sender's address, such as billing@example.com."),
        Field("user", "User", default="", help="Empty when the server asks for none."),
    ),
    Field("secret", "Password", help="Kept encrypted; it is never shown again."),
    _smtp_problems,
    lambda given: f"{'smtps' if given['tls'] == 'tls' else 'smtp'}://{given['host']}:{given['port']}",
    "mail.send",
    lambda connection: {"to": connection["from"], "subject": "Test from Signalbox", "text": SAID},
)


# ---- Slack ----------------------------------------------------------------------------------------------------------
def _slack_problems(given: Given, development: bool) -> list[Problem]:
    secret = given.get("secret")
    return [Problem("secret", text) for text in url_problem(secret, development)] if secret else []


SLACK = ConnectionType(
    "slack",
    "Slack",
    "Writes to a Slack channel through an incoming webhook.",
    (),
    Field(
        "secret",
        "Webhook address",
        required=True,
        help="https://hooks.slack.com/services/… Whoever has it can write to the channel, so it is kept encrypted.",
    ),
    _slack_problems,
    lambda _: "Slack incoming webhook",
    "slack.post",
    lambda _: {"text": SAID},
)

TYPES: Mapping[str, ConnectionType] = {type.name: type for type in (WEBHOOK, SMTP, SLACK)}
