"""`mail.send` against a real SMTP server: what arrives, what is kept, and what every refusal means."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from app.adapters.memory import MemorySecrets, MemoryVault
from app.connectors.delivery import Courier
from app.connectors.mail import SendMail, as_html, message_id
from rules.ports import Outcome, Unconfigured
from rules.rule import Do
from rules.texts import facts_of
from tests.app.test_delivery import certificate
from tests.builders import NOON, TENANT, task
from tests.fakes.mail_server import PASSWORD, USER, MailServer
from tests.rules.world import rule

ADA = "ada.o'neil@example.com"


pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH")


@pytest.fixture
def server() -> MailServer:
    return MailServer()


@pytest.fixture
def port(server: MailServer) -> Iterator[int]:
    with server.running() as port:
        yield port


@pytest.fixture
def vault() -> MemoryVault:
    return MemoryVault()


def token_of(vault: MemoryVault) -> str:
    return vault.tokenise(TENANT, "cus_1", [ADA])[0]


def sender(vault: MemoryVault, password: str | None = None, **courier: Any) -> SendMail:
    secrets = MemorySecrets({f"connection/{TENANT}/mail": password} if password else {})
    return SendMail(Courier(development=True, timeout=5, **courier), secrets, vault)


def connection(port: int, **more: Any) -> dict[str, Any]:
    return {
        "name": "mail", "type": "smtp", "host": "127.0.0.1", "port": port, "tls": "none", "user": "",
        "from": "billing@acme.example", "url": f"smtp://127.0.0.1:{port}", "state": "on",
        "secret_name": f"connection/{TENANT}/mail",
    } | more  # fmt: skip


def letter(vault: MemoryVault, address: str | None = None, **params: Any) -> dict[str, Any]:
    """A task to write; address: the one in the event, a token as usual."""
    made = task("mail.send", {"subject": "Your payment failed", "text": "Please pay.\n\nThank you.", **params})
    facts = {"data": {"object": {"customer_email": token_of(vault) if address is None else address}}}
    return {**made, "connection": "mail", "run": {**made["run"], "facts": facts}}


def sent(vault: MemoryVault, to: int | dict[str, Any], mail: SendMail | None = None, /, **given: Any) -> Outcome:
    """to: a port, or a connection."""
    document = connection(to) if isinstance(to, int) else to
    return (mail or sender(vault)).execute({**letter(vault, **given), "connection_document": document}, NOON)


def test_a_mail_goes_to_the_customer_of_the_event_as_text_and_html(
    server: MailServer, port: int, vault: MemoryVault
) -> None:
    outcome = sent(vault, port)
    assert (outcome.kind, outcome.message) == ("done", "mail took the e-mail.")
    (mail,) = server.got
    assert server.to == [ADA]
    assert (mail["From"], mail["Subject"]) == ("billing@acme.example", "Your payment failed")
    assert mail.get_content_type() == "multipart/alternative"
    text, html = (mail.get_body([kind]) for kind in ("plain", "html"))
    assert text is not None
    assert html is not None
    assert "Please pay." in text.get_content()
    assert "<p>Please pay.</p><p>Thank you.</p>" in html.get_content()


def test_every_try_has_the_message_id_and_date_of_its_command(
    server: MailServer, port: int, vault: MemoryVault
) -> None:
    sent(vault, port)
    sender(vault).execute({**letter(vault), "connection_document": connection(port)}, NOON + timedelta(hours=3))
    first, second = server.got
    assert first["Message-ID"] == second["Message-ID"] == message_id(TENANT, "run_1/step", "billing@acme.example")
    assert first["Date"] == second["Date"]
    assert message_id(TENANT, "run_1/other", "a@b.example") != message_id(TENANT, "run_1/step", "a@b.example")
    assert message_id("other/test", "run_1/step", "a@b.example") != message_id(TENANT, "run_1/step", "a@b.example")


def test_the_address_is_revealed_to_the_command_for_a_reason_and_kept_nowhere(
    server: MailServer, port: int, vault: MemoryVault
) -> None:
    token = token_of(vault)
    outcome = sent(vault, port, text=f"We write to {token}.")
    text = server.got[0].get_body(["plain"])
    assert text is not None
    assert f"We write to {ADA}." in text.get_content()
    assert set(vault.looks) == {(token, "run_1/step", "e-mail run_1/step over mail")}
    kept = json.dumps([outcome.request, outcome.response, outcome.message])
    assert "neil" not in kept
    assert outcome.request["headers"]["To"] == token


@pytest.mark.parametrize(
    ("rcpt", "data", "kind", "pauses"),
    [
        ("451 4.7.1 greylisted, come again", "", "retry", False),
        ("550 5.1.1 no such user ada.o'neil@example.com", "", "dead", False),
        ("530 5.7.0 sign in first", "", "retry", True),
        ("", "452 4.3.1 full", "retry", False),
        ("", "554 5.7.1 spam", "dead", False),
        ("421 4.3.2 going down", "", "retry", False),
    ],
)
def test_answers_are_classified(
    server: MailServer, port: int, vault: MemoryVault, rcpt: str, data: str, kind: str, pauses: bool
) -> None:
    server.rcpt, server.data = rcpt, data
    outcome = sent(vault, port)
    assert (outcome.kind, outcome.pause_connection) == (kind, pauses)
    assert outcome.response["status"] == int((rcpt or data)[:3])
    assert "neil" not in json.dumps([outcome.message, outcome.request, outcome.response])


def test_a_wrong_password_holds_the_connection_and_the_right_one_signs_in(
    server: MailServer, vault: MemoryVault
) -> None:
    with server.running(auth=True) as port:
        signed = connection(port, user=USER)
        wrong = sent(vault, signed, sender(vault, "guess"))
        right = sent(vault, signed, sender(vault, PASSWORD))
        with pytest.raises(Unconfigured, match="no password"):
            sent(vault, signed)
    assert (wrong.kind, wrong.pause_connection, right.kind) == ("retry", True, "done")
    assert "guess" not in json.dumps([wrong.request, wrong.response, wrong.message])


def test_starttls_is_checked_against_the_name(server: MailServer, vault: MemoryVault, tmp_path: Path) -> None:
    pem = certificate(tmp_path, "mail.example.com")
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(pem)
    action = sender(vault, resolve=lambda host, port: ["127.0.0.1"], tls=ssl.create_default_context(cafile=str(pem)))
    with server.running(tls=serving) as port:
        named = {host: connection(port, host=host, tls="starttls") for host in ("mail.example.com", "x.example.com")}
        good = sent(vault, named["mail.example.com"], action)
        bad = sent(vault, named["x.example.com"], action)
    assert (good.kind, bad.kind) == ("done", "retry")
    assert "certificate" in bad.message
    assert server.encrypted == [True]


def test_a_server_without_starttls_is_not_written_to_in_the_clear(
    server: MailServer, port: int, vault: MemoryVault
) -> None:
    outcome = sent(vault, connection(port, tls="starttls"))
    assert (outcome.kind, outcome.pause_connection) == ("retry", True)
    assert server.got == []


@pytest.mark.parametrize(
    ("address", "tls"), [("10.0.0.8", "starttls"), ("169.254.169.254", "tls"), ("8.8.8.8", "none")]
)
def test_servers_inside_the_network_and_the_clear_are_refused(vault: MemoryVault, address: str, tls: str) -> None:
    action = sender(vault, resolve=lambda host, port: [address])
    outcome = sent(vault, connection(25, host="mail.example.com", tls=tls), action)
    assert (outcome.kind, outcome.pause_connection) == ("retry", True)


def test_a_server_that_does_not_answer_is_asked_again(vault: MemoryVault) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert sent(vault, port).kind == "retry"


def test_without_an_address_a_person_is_asked_and_an_erased_one_is_left_alone(
    server: MailServer, port: int, vault: MemoryVault
) -> None:
    assert sent(vault, port, address="").kind == "person"
    assert sent(vault, port, address="not an address\nBcc: x@example.com").kind == "person"
    waiting = letter(vault)
    vault.erase(TENANT, "cus_1")
    outcome = sender(vault).execute({**waiting, "connection_document": connection(port)}, NOON)
    assert (outcome.kind, outcome.data["result"]) == ("branch", "erased")
    assert server.got == []


def test_a_subject_of_several_lines_makes_no_header(server: MailServer, port: int, vault: MemoryVault) -> None:
    sent(vault, port, subject="Hello\r\nBcc: eve@example.com")
    assert server.to == [ADA]
    assert server.got[0]["Bcc"] is None


def test_a_step_may_name_another_address(server: MailServer, port: int, vault: MemoryVault) -> None:
    outcome = sent(vault, port, to="billing@customer.example")
    assert server.to == ["billing@customer.example"]
    assert outcome.request["headers"]["To"] == "[e-mail]"


def test_a_connection_of_another_type_waits_for_the_right_one(vault: MemoryVault) -> None:
    with pytest.raises(Unconfigured, match="type webhook"):
        sent(vault, connection(25, type="webhook"))


def test_html_escapes_what_the_text_says_and_links_addresses() -> None:
    made = as_html("Pay <now> at https://pay.example.com/?a=1&b=2.\nThanks")
    assert '&lt;now&gt; at <a href="https://pay.example.com/?a=1&amp;b=2">' in made
    assert "</a>.<br>Thanks</p>" in made


def test_a_run_that_will_write_keeps_the_address_token_of_its_trigger() -> None:
    invoice = {"id": "evt_1", "type": "t", "data": {"object": {"customer_email": "tok_12345678@x.example", "paid": 1}}}
    writing = facts_of(rule(steps=(Do("write", "mail.send", {"connection": "mail"}),)), invoice)
    assert writing["data"]["object"] == {"customer_email": "tok_12345678@x.example"}
    assert facts_of(rule(steps=(Do("tell", "crm.notify", {}),)), invoice).get("data", {}).get("object", {}) == {}


def test_the_preview_shows_both_parts_and_sends_nothing(vault: MemoryVault) -> None:
    shown = sender(vault).preview({"connection": "mail", "subject": "Hi", "text": "A\n\nB"})
    assert (shown["headers"]["Subject"], shown["to"]) == ("Hi", "connection mail")
    assert "<p>A</p><p>B</p>" in shown["body"]["html"]
