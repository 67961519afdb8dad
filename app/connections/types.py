"""The types of connections: what each asks for in Settings, and what cannot be. Keeping them is app.author.parts'.

A connection's document always has `url`, which pages show: the address itself, or what may be shown of it. Where the
address is the secret (Slack) or is made of parts (SMTP), it is derived from what was given. The query of an address and
the values of headers may be credentials: the document says HIDDEN in their place, and they are kept with the secrets.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from app.connections.checks import (
    ADDRESS,
    header_problem,
    inside_problem,
    is_inside,
    is_plain,
    signing_secret_problem,
    url_problem,
)
from app.numbers import whole
from rules.fields import Catalogue
from rules.ports import Body, Field, Secrets
from rules.route import problems_of
from rules.rule import Problem

__all__ = [
    "ADDRESS",
    "TYPES",
    "ConnectionType",
    "opened",
    "problems",
    "shown",
    "signing_secret_problem",
    "values",
]

Given = Mapping[str, Any]
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
SAID = "This is a test notice from Signalbox. Nothing happened at Stripe."
TLS = ("starttls", "tls", "none")
HIDDEN = "…"  # stands in a document for what is kept with the secrets
PRIVATE = "/private"  # after the secret's name: `{"query", "headers"}`
# how much may go over a connection (app.perform.lanes)
PACE: tuple[Field, ...] = (
    Field("rate", "At most a second", "number", help="Starts in one second. Empty: as fast as it answers."),
    Field("at_once", "At the same time", "number", help="1 to 16 in flight. Empty: 4."),
    Field("in_order", "In order for each customer", "boolean", default=False,
          help="yes: a customer's next one waits for the one before, also behind one that gave up."),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ConnectionType:
    """title and lead: for people. fields: what is kept in the document. secret: what is kept apart; made: one is
    made when none is given. problems: what is wrong with the given values; shown: the document's `url`.
    action and trial: what a test does over a connection, with which parameters (app.connections.trial)."""

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
    more: tuple[Field, ...] = ()  # what else is kept with the secrets

    @property
    def known(self) -> tuple[str, ...]:
        names = (field.name for field in (*self.fields, *self.more, *PACE))
        return ("name", "type", "secret", *names, *(("headers",) if self.headers else ()))


def problems(given: Given, development: bool) -> list[Problem]:
    """Everything that is wrong with a connection as a person gave it."""
    type = type_of(given)
    wrong = [Problem(key, f"unknown key {key!r}") for key in given if key not in type.known]
    if not NAME.fullmatch(str(given.get("name") or "")):
        wrong.append(Problem("name", "the name is up to 40 lower-case letters, digits and hyphens, such as crm"))
    if (given.get("name") == STRIPE.name) != (type is STRIPE):
        wrong.append(Problem("name", "stripe is the name of the connection to Stripe, and of no other"))
    if str(given.get("type", "webhook")) not in (*TYPES, STRIPE.name):
        wrong.append(Problem("type", f"no connection of type {given.get('type')!r}", "webhook"))
    return wrong + _pace_problems(given) + type.problems(given, development)


def _pace_problems(given: Given) -> list[Problem]:
    wrong = []
    for name, most in (("rate", 1000), ("at_once", 16)):
        value = given.get(name)
        if value not in (None, "") and not (_is_number(value) and 0 < float(value) <= most):
            wrong.append(Problem(name, f"write a number from 1 to {most}, or nothing"))
    if given.get("in_order") not in (None, "", True, False, "true", "false"):
        wrong.append(Problem("in_order", "write true or false", "false"))
    return wrong


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and re.fullmatch(r"\d{1,4}(\.\d{1,3})?", str(value)) is not None


def values(given: Given) -> dict[str, Any]:
    """What of it the document keeps: the type's fields, and `url` to be shown."""
    type = type_of(given)
    kept = {field.name: _value(field, given.get(field.name, field.default)) for field in type.fields}
    pace = {field.name: _pace(field, given[field.name]) for field in PACE if field.name in given}
    hidden = {field.name: HIDDEN for field in type.more if given.get(field.name)}
    return {"type": type.name, **kept, **hidden, "url": shown_url(type.shown({**kept, **given})), **pace}


def _value(field: Field, value: Any) -> Any:
    return int(value) if field.type == "number" else value


def _pace(field: Field, value: Any) -> Any:
    if field.type == "boolean":
        return value in (True, "true")
    return None if value in (None, "") else float(value) if field.name == "rate" else int(float(value))


# ---- what is not shown ----------------------------------------------------------------------------------------------
def shown_url(url: str) -> str:
    """The address without its query."""
    base, mark, _ = url.partition("?")
    return base + (mark and mark + HIDDEN)


def shown(document: Body) -> dict[str, Any]:
    """A connection's document as pages, API and audit log may have it."""
    headers = document.get("headers")
    hidden = {"headers": dict.fromkeys(headers, HIDDEN)} if headers else {}
    return {**document, "url": shown_url(str(document.get("url", ""))), **hidden}


def private_parts(given: Given, earlier: Given) -> dict[str, Any]:
    """What is kept with the secrets, `{"query", "headers"}`; what is given as HIDDEN stays as it was earlier."""
    query = str(given.get("url") or "").partition("?")[2]
    known = earlier.get("headers", {})
    headers = given.get("headers", known)
    kept = {name: known.get(name, "") if value == HIDDEN else value for name, value in (headers or {}).items()}
    own = {"query": earlier.get("query", "") if query == HIDDEN else query, "headers": kept}
    more = {field.name: given[field.name] for field in type_of(given).more if given.get(field.name)}
    return {**earlier, **own, **{name: value for name, value in more.items() if value != HIDDEN}}


def private_of(document: Body, secrets: Secrets) -> dict[str, Any]:
    """The private parts of a connection; `{}` when it has none."""
    if HIDDEN not in document.values() and HIDDEN not in document.get("url", "") and not document.get("headers"):
        return {}
    found = json.loads(secrets.get(document["secret_name"] + PRIVATE) or "{}")
    clear = {name: value for name, value in (document.get("headers") or {}).items() if value != HIDDEN}
    return {**found, "headers": {**found.get("headers", {}), **clear}}


def opened(document: Body, secrets: Secrets) -> tuple[str, dict[str, str]]:
    """The whole address of a connection and its own headers, for the moment of sending."""
    private = private_of(document, secrets)
    url = str(document["url"])
    if url.endswith("?" + HIDDEN):
        url = url.removesuffix(HIDDEN) + str(private.get("query", ""))
    return url, dict(private.get("headers", {}))


# ---- signed webhooks ------------------------------------------------------------------------------------------------
def _webhook_problems(given: Given, development: bool) -> list[Problem]:
    wrong = [Problem("url", text) for text in url_problem(given.get("url"), development)]
    if given.get("secret"):
        wrong += [Problem("secret", text) for text in signing_secret_problem(given["secret"])]
    headers = given.get("headers") or {}
    if not isinstance(headers, Mapping):
        return [*wrong, Problem("headers", "headers are names with texts")]
    return wrong + [
        Problem(f"headers.{key}", text) for key, value in headers.items() for text in header_problem(key, value)
    ]


SIGNING = Field("secret", "Signing secret", help="Leave it empty and one is made, and shown once.")
WEBHOOK = ConnectionType(
    "webhook",
    "Signed webhook",
    "Takes the signed notices of your rules: a CRM, a gateway, any receiver of Standard Webhooks.",
    (Field("url", "Address", required=True, help="Takes a POST with a CloudEvent, signed as Standard Webhooks say."),),
    SIGNING,
    _webhook_problems,
    lambda given: str(given["url"]),
    "crm.notify",
    lambda _: {"stage": "Test", "message": SAID},
    made=True,
    headers=True,
)
ACCESS = ConnectionType(
    "access",
    "API access",
    "Tells the gateway of your API whom to lock out and whom to let in, by signed webhooks.",
    (Field("url", "Address", required=True, help="Takes signalbox.access.suspended and signalbox.access.resumed."),),
    SIGNING,
    _webhook_problems,
    lambda given: str(given["url"]),
    "access.resume",
    lambda _: {"reason": SAID},
    made=True,
    headers=True,
)


# ---- e-mail ---------------------------------------------------------------------------------------------------------
def _smtp_problems(given: Given, development: bool) -> list[Problem]:
    host, tls = str(given.get("host") or ""), given.get("tls", "starttls")
    wrong = (
        [] if re.fullmatch(r"[A-Za-z0-9.:-]{1,253}", host) else [Problem("host", "write the name of the mail server")]
    )
    wrong += [Problem("host", text) for text in inside_problem(host, development)] if not wrong else []
    if not 0 < (whole(str(given.get("port", 587))) or 0) < 65536:
        wrong.append(Problem("port", "a port is a number from 1 to 65535; most servers take mail on 587"))
    if tls not in TLS:
        wrong.append(Problem("tls", "the encryption is starttls, tls or none", "starttls"))
    elif tls == "none" and not (development and is_inside(host) == "loopback"):
        wrong.append(Problem("tls", "mail is encrypted; none is for this machine in development", "starttls"))
    if not ADDRESS.fullmatch(str(given.get("from") or "")):
        wrong.append(Problem("from", "write the sender's address, such as billing@example.com"))
    return wrong + [Problem(key, "this is no plain text") for key in ("user", "secret") if not is_plain(given.get(key))]


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


# ---- CRMs -----------------------------------------------------------------------------------------------------------
def _oauth_problems(given: Given, development: bool) -> list[Problem]:
    wrong = [Problem("base", text) for text in url_problem(given["base"], development)] if given.get("base") else []
    names = ("client_id", "client_secret", "secret")
    wrong += [Problem(key, "this is no plain text") for key in names if not is_plain(given.get(key))]
    if given.get("client_secret") and not given.get("client_id"):
        wrong.append(Problem("client_id", "a client secret goes with a client id"))
    return wrong


def _salesforce_problems(given: Given, development: bool) -> list[Problem]:
    wrong = _oauth_problems(given, development)
    if not given.get("client_id"):
        wrong.append(Problem("client_id", "write the consumer key of the connected app"))
    if not re.fullmatch(r"[1-9]\d\.0", str(given.get("version") or "62.0")):
        wrong.append(Problem("version", "a version is written 62.0", "62.0"))
    return wrong


CLIENT_SECRET = Field("client_secret", "Client secret", help="Kept encrypted; it is never shown again.")
HUBSPOT = ConnectionType(
    "hubspot",
    "HubSpot",
    "Changes contacts and companies, moves stages and opens tasks in HubSpot.",
    (
        Field("base", "Address", default="https://api.hubapi.com", help="Leave it, unless you go through a proxy."),
        Field("client_id", "Client id", default="", help="Of an OAuth app. Empty: a private app."),
    ),
    Field("secret", "Access token", required=True,
          help="The private app's access token, or with a client id the refresh token."),
    _oauth_problems,
    lambda given: str(given["base"]),
    "hubspot.upsert_contact",
    lambda _: {},
    more=(CLIENT_SECRET,),
)  # fmt: skip
SALESFORCE = ConnectionType(
    "salesforce",
    "Salesforce",
    "Makes and changes records and opens tasks in Salesforce.",
    (
        Field("base", "Address", default="https://login.salesforce.com",
              help="https://YOURDOMAIN.my.salesforce.com, where tokens are fetched."),
        Field("client_id", "Consumer key", required=True, help="Of the connected app."),
        Field("version", "API version", default="62.0"),
    ),
    Field("secret", "Refresh token", help="Empty: the client credentials flow of the connected app."),
    _salesforce_problems,
    lambda given: str(given["base"]),
    "salesforce.upsert",
    lambda _: {},
    more=(replace(CLIENT_SECRET, label="Consumer secret"),),
)  # fmt: skip

# ---- routes ---------------------------------------------------------------------------------------------------------
TOPIC = re.compile(r"projects/([a-z][a-z0-9.:-]{4,62})/topics/([A-Za-z][A-Za-z0-9._~+%-]{2,254})")
OWN_TOPICS = "signalbox-"  # what comes back from there would go round for ever


def is_topic(url: str) -> bool:
    return url.startswith("projects/")


def _route_problems(given: Given, development: bool) -> list[Problem]:
    url = str(given.get("url") or "")
    if is_topic(url):
        found = TOPIC.fullmatch(url)
        good = found is not None and not found[2].startswith(OWN_TOPICS)
        wrong = [] if good else [Problem("url", "write projects/PROJECT/topics/TOPIC, and none of Signalbox's own")]
    else:
        wrong = [Problem("url", text) for text in url_problem(url, development)]
    if given.get("secret"):
        wrong += [Problem("secret", text) for text in signing_secret_problem(given["secret"])]
    return wrong + problems_of(given.get("types"), given.get("only_if"), Catalogue.load())


ROUTE = ConnectionType(
    "route",
    "Route",
    "Forwards events as they are, those that its filter takes, to an address or to a Pub/Sub topic.",
    (
        Field("url", "Where to", required=True, help="https://… or projects/PROJECT/topics/TOPIC"),
        Field("types", "Event types", required=True, default=(), help="One a line, or * for every event."),
        Field("only_if", "Only if", default=None, help="A condition of the rule language."),
    ),
    SIGNING,
    _route_problems,
    lambda given: str(given["url"]),
    "route.forward",
    lambda _: {},
    made=True,
)

TYPES: Mapping[str, ConnectionType] = {
    type.name: type for type in (WEBHOOK, ACCESS, SMTP, SLACK, HUBSPOT, SALESFORCE, ROUTE)
}
# Stripe's has no address or secret of its own (STRIPE_API_KEY is set where Signalbox is started): only its pace
STRIPE = ConnectionType(
    "stripe",
    "Stripe",
    "What your rules do at Stripe goes over it, with the key that Signalbox was started with.",
    (),
    Field("secret", ""),
    lambda given, development: [],
    lambda _: "",
    "",
    lambda _: {},
)


def type_of(given: Given) -> ConnectionType:
    """The type that a connection says; a signed webhook where it says none that is known."""
    name = str(given.get("type", "webhook"))
    return STRIPE if name == STRIPE.name else TYPES.get(name, WEBHOOK)
