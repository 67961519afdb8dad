"""`mail.send`: an e-mail to the customer through the operator's own mail server, as text and as HTML made of it.

The address is a token everywhere in Signalbox; the vault reveals it for the moment of sending. Every try of a command
has the same Message-ID and date, so that a mail server or reader that sees two copies can tell. Each e-mail carries a
link to unsubscribe (RFC 8058); who has, and an address that does not exist, is written to no more.
"""

from __future__ import annotations

import hashlib
import html
import io
import re
import smtplib
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as POLICY
from email.utils import format_datetime
from typing import Any, Protocol

from app import unsubscribe
from app.connections.types import ADDRESS
from app.connectors.delivery import CONNECT, Courier, Forbidden, TimedReader, Undelivered, left
from app.connectors.personal import TOKEN, connection_of, masked, revealed
from rules.event import instant
from rules.ports import Body, Field, Outcome, Secrets, Unconfigured, Vault
from rules.texts import ADDRESSES

TIMEOUT = 25.0  # seconds for the whole conversation, which is some ten round trips
# RFC 4954 and RFC 3207: the server wants other credentials, or an encryption, than the connection has
LOCKED = (530, 534, 535, 538, 523, 524)
# RFC 3463: the mailbox or its domain does not exist, has moved, or is disabled; without such a code, RFC 5321's
BOUNCED = re.compile(r"5\.(?:1\.[1236]|2\.1)\b")
NO_MAILBOX = (550, 551, 553)
UNWRITABLE = (ValueError, IndexError, MessageError)  # what the library says of addresses and texts that fit nowhere
LEAVE = "Get no more e-mail like this"
LINK = re.compile(r"https?://[^\s<>\"]+[^\s<>\".,;:!?)]")


class Suppressions(Protocol):
    """Who gets no e-mail, by the token of the address."""

    def has(self, tenant: str, token: str) -> bool: ...

    def add(self, tenant: str, token: str, why: str, now: datetime) -> None: ...


class _Refused(Exception):
    """The server does not offer what the connection asks for; the message says what."""


# ---- the message ----------------------------------------------------------------------------------------------------
def message_id(tenant: str, command: str, sender: str) -> str:
    """The same for every try of a command, and for no other."""
    digest = hashlib.blake2s(f"{tenant}\n{command}".encode(), digest_size=16).hexdigest()
    return f"<{digest}@{sender.rpartition('@')[2]}>"


def as_html(text: str, leave: str = "") -> str:
    """Plain text as HTML: paragraphs at empty lines, links that can be followed, nothing else. leave: the address of
    the page to unsubscribe."""
    paragraphs = [part.strip() for part in re.split(r"\n\s*\n", text.replace("\r\n", "\n")) if part.strip()]
    body = "".join(f"<p>{_linked(part)}</p>" for part in paragraphs)
    body += f'<p><small><a href="{html.escape(leave)}">{LEAVE}</a></small></p>' if leave else ""
    return f'<!doctype html><html><head><meta charset="utf-8"></head><body>{body}</body></html>'


def _linked(text: str) -> str:
    parts, at = [], 0
    for link in LINK.finditer(text):
        address = html.escape(link[0])
        parts += [html.escape(text[at : link.start()]), f'<a href="{address}">{address}</a>']
        at = link.end()
    return "".join([*parts, html.escape(text[at:])]).replace("\n", "<br>")


def message(task: Body, sender: str, to: str, subject: str, text: str, leave: str = "") -> EmailMessage:
    """The whole e-mail. leave: the address of the page to unsubscribe; "" where there is none."""
    made = EmailMessage(POLICY)
    made["From"] = Address(addr_spec=sender)
    made["To"] = Address(addr_spec=to)
    made["Subject"] = " ".join(subject.split())
    made["Date"] = format_datetime(instant(task["created_at"]))
    made["Message-ID"] = message_id(task["tenant"], task["id"], sender)
    made["Auto-Submitted"] = "auto-generated"  # RFC 3834: no answering machine answers it
    if leave:
        made["List-Unsubscribe"] = f"<{leave}>"
        made["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    made.set_content(f"{text.rstrip()}\n\n{LEAVE}: {leave}\n" if leave else text)
    made.add_alternative(as_html(text, leave), subtype="html")
    return made


# ---- the conversation -----------------------------------------------------------------------------------------------
class _Conversation(smtplib.SMTP):
    """SMTP with an address that was checked, over TLS as asked, and one deadline for all of it."""

    def __init__(self, courier: Courier, host: str, port: int, tls: str) -> None:
        self._courier, self._tls = courier, tls
        self._deadline = time.monotonic() + TIMEOUT
        super().__init__(host, port, local_hostname="signalbox.invalid", timeout=CONNECT)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        last: OSError = OSError("no address")
        for address in self._courier.addresses(host, port, plain=self._tls == "none"):
            try:
                plain = socket.create_connection((address, port), min(timeout, left(self._deadline)))
                return plain if self._tls != "tls" else self._courier.context().wrap_socket(plain, server_hostname=host)
            except OSError as error:
                last = error
        raise last

    def getreply(self) -> tuple[int, bytes]:
        sock = self.sock
        if sock is not None:
            sock.settimeout(left(self._deadline))
            if self.file is None:
                self.file = io.BufferedReader(TimedReader(sock, self._deadline))
        return super().getreply()

    def open(self, user: str, password: str | None) -> None:
        """Greet, encrypt and sign in, as far as the connection asks for it."""
        self.ehlo_or_helo_if_needed()
        if self._tls == "starttls":
            if not self.has_extn("starttls"):
                raise _Refused("the mail server offers no STARTTLS")
            self.starttls(context=self._courier.context())
            self.ehlo()
        if user:
            if not self.has_extn("auth"):
                raise _Refused("the mail server takes no user and password")
            self.login(user, password or "")


# ---- the action -----------------------------------------------------------------------------------------------------
@dataclass
class SendMail:
    """See rules.ports.ActionExecutor."""

    courier: Courier
    secrets: Secrets
    vault: Vault
    suppressions: Suppressions | None = None
    public_url: str = ""
    name: str = "mail.send"
    title: str = "Send an e-mail to the customer"
    undo: str = "Cannot be undone: an e-mail that was sent stays sent."
    fields: tuple[Field, ...] = (
        Field("connection", "Connection", "connection", required=True, choices=("smtp",),
              help="A mail server: see Settings."),
        Field("subject", "Subject", "template", required=True),
        Field("text", "Text", "template", required=True,
              help="Empty lines part paragraphs; {{ data.object.hosted_invoice_url }} puts a field of the event in."),
        Field("to", "To", "template", help="As usual, the customer's address in the event."),
    )  # fmt: skip

    def preview(self, params: Body) -> Body:
        return {
            "method": "SMTP",
            "to": f"connection {params.get('connection', '')}",
            "headers": {
                "To": params.get("to") or "{the customer's address}",
                "Subject": params.get("subject", ""),
                "Message-ID": "<(made from the run and the step)@(the sender's domain)>",
                **({"List-Unsubscribe": f"<{self._example}>"} if self.public_url else {}),
            },
            "body": {"text": params.get("text", ""), "html": as_html(str(params.get("text", "")), self._example)},
            "undo": self.undo,
        }

    @property
    def _example(self) -> str:
        return f"{self.public_url}{unsubscribe.PATH}(the customer)" if self.public_url else ""

    def execute(self, task: Body, now: datetime) -> Outcome:
        connection = connection_of(task, "smtp")
        params = task["params"]
        token = str(params.get("to") or _address(task["run"].get("facts", {})))
        if not token:
            return Outcome("person", "The event names no e-mail address: write the field that holds it into the step.")
        told: list[str] = []
        wanted = (token, params.get("subject"), params.get("text"))
        to, subject, text = (self._clear(part, task, told) for part in wanted)
        if TOKEN.fullmatch(to):
            return Outcome("branch", "The customer's address was erased; nothing was sent.", {"result": "erased"})
        if not ADDRESS.fullmatch(to):
            return Outcome("person", "The customer's e-mail address cannot be written to.")
        known = token if TOKEN.fullmatch(token) else self._token(task, to)
        if self.suppressions and self.suppressions.has(task["tenant"], known):
            return Outcome("branch", "The customer gets no e-mail: see Settings.", {"result": "suppressed"})
        request = _kept_request(connection, task, token)
        leave = unsubscribe.link(self.public_url, self.secrets, task["tenant"], known)
        try:
            made = message(task, connection["from"], to, subject, text, leave)
            made.as_bytes()
        except UNWRITABLE:
            return Outcome("person", "The customer's e-mail address or the text cannot be written as an e-mail.")
        outcome = self._sent(connection, made, (to, *told), request)
        return self._told(outcome, task, known, now)

    def _token(self, task: Body, to: str) -> str:
        """The token of an address that somebody typed; the same as the one that events have."""
        subject = task["customer"] or f"run:{task['run_id']}"
        return self.vault.tokenise(task["tenant"], subject, [to])[0]

    def _told(self, outcome: Outcome, task: Body, token: str, now: datetime) -> Outcome:
        """After a hard bounce nothing more is written to the address."""
        if outcome.kind != "dead" or not outcome.data.get("bounced"):
            return outcome
        if self.suppressions:
            self.suppressions.add(task["tenant"], token, f"bounced: {task['id']}", now)
        return outcome

    def _clear(self, text: Any, task: Body, told: list[str]) -> str:
        reason = f"e-mail {task['id']} over {task['connection']}"
        return revealed(str(text or ""), self.vault, task, reason, told=told)

    def _sent(self, connection: Body, made: EmailMessage, told: Sequence[str], request: Body) -> Outcome:
        name = connection["name"]
        try:
            self._deliver(connection, made)
        except (Forbidden, _Refused) as refused:
            return Outcome.retry(f"Not sent: {refused}.", request=request, pause_connection=True)
        except smtplib.SMTPRecipientsRefused as refused:
            code, text = next(iter(refused.recipients.values()))
            outcome = outcome_of(code, text, told, name, request)
            return replace(outcome, data={"bounced": True}) if _is_bounce(code, text) else outcome
        except smtplib.SMTPResponseException as answer:
            return outcome_of(answer.smtp_code, answer.smtp_error, told, name, request)
        except smtplib.SMTPNotSupportedError:
            return Outcome.dead(f"{name} cannot write to such an address.", request=request)
        except TimeoutError:
            return Outcome.retry(f"No answer from {name} in time.", request=request)
        except (Undelivered, smtplib.SMTPException, OSError) as lost:
            what = str(lost) if isinstance(lost, Undelivered | ssl.SSLError) else type(lost).__name__
            return Outcome.retry(f"No answer from {name}: {what}.", request=request)
        return Outcome.done(f"{name} took the e-mail.", data={"sent": True}, request=request, response={"status": 250})

    def _deliver(self, connection: Body, made: EmailMessage) -> None:
        password = self.secrets.get(connection["secret_name"])
        if connection.get("user") and not password:
            raise Unconfigured(f"Connection {connection['name']} has no password: give it one under Settings.")
        talk = _Conversation(self.courier, connection["host"], int(connection["port"]), connection["tls"])
        try:
            talk.open(connection.get("user") or "", password)
            talk.send_message(made)
        finally:
            talk.close()  # without QUIT: what was said after the message was taken must not undo that it was


def _address(facts: Body) -> str:
    """The first address that the trigger names."""
    for path in ADDRESSES:
        value: Any = facts
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        if isinstance(value, str) and value:
            return value
    return ""


def outcome_of(code: int, text: bytes | str, told: Sequence[str], connection: str, request: Body) -> Outcome:
    """4xx: later. 5xx: never. Credentials or an encryption refused: the connection is held until a person mends it."""
    said = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    said = masked(said, told)[:300]
    kept: dict[str, Any] = {"request": request, "response": {"status": code, "body": said}}
    if code in LOCKED:
        return Outcome.retry(f"{connection} refused our credentials ({code}).", pause_connection=True, **kept)
    if 500 <= code < 600:
        return Outcome.dead(f"{connection} refused the e-mail ({code}): {said}", **kept)
    return Outcome.retry(f"{connection} cannot take the e-mail now ({code}): {said}", **kept)


def _is_bounce(code: int, text: bytes | str) -> bool:
    """Whether a recipient was refused for good, and not our right to write to them."""
    said = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    enhanced = re.match(r"[245]\.\d{1,3}\.\d{1,3}\b", said.strip())
    return bool(BOUNCED.match(said.strip())) if enhanced else code in NO_MAILBOX


def _kept_request(connection: Body, task: Body, token: str) -> dict[str, Any]:
    """What may be shown: tokens as they are, an address that somebody typed masked."""
    params = task["params"]
    headers = {
        "From": connection["from"],
        "To": masked(token),
        "Message-ID": message_id(task["tenant"], task["id"], connection["from"]),
    }
    body = {name: masked(str(params.get(name) or "")) for name in ("subject", "text")}
    return {"method": "SMTP", "url": connection["url"], "headers": headers, "body": body}
