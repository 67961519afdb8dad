"""A real SMTP server (aiosmtpd) that answers as told and keeps every message."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any, cast

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP as Server
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword, Session

from tests.running import free_port

USER, PASSWORD = "signalbox", "sesame"


@dataclass
class MailServer:
    """rcpt, data: the answer to a recipient or a message, nothing for the usual one."""

    rcpt: str = ""
    data: str = ""
    got: list[EmailMessage] = field(default_factory=list)
    to: list[str] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)

    async def handle_RCPT(self, server: Any, session: Session, envelope: Envelope, address: str, options: Any) -> str:
        if self.rcpt:
            return self.rcpt
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> str:
        if self.data:
            return self.data
        self.got.append(message_from_bytes(cast(bytes, envelope.content), policy=default))
        self.to += envelope.rcpt_tos
        self.encrypted.append(session.ssl is not None)
        return "250 taken"

    @contextmanager
    def running(self, tls: ssl.SSLContext | None = None, auth: bool = False) -> Iterator[int]:
        """Serve in a thread; the port. tls: STARTTLS is offered, and asked for. auth: so are user and password."""
        port = free_port()
        options: dict[str, Any] = {"tls_context": tls, "require_starttls": tls is not None}
        if auth:
            options |= {"authenticator": _judge, "auth_required": True, "auth_require_tls": tls is not None}
        controller = Controller(self, hostname="127.0.0.1", port=port, **options)
        controller.start()
        try:
            yield port
        finally:
            controller.stop()


def _judge(server: Server, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
    good = isinstance(data, LoginPassword) and (data.login, data.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=good, handled=False)
