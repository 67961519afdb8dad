"""Who unsubscribed, and whose address bounced, gets no more e-mail; the link holds no personal value."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st

from app import suppressions, unsubscribe
from app.adapters.memory import MemorySecrets
from app.connectors import actions
from app.connectors.delivery import Courier
from app.services import Services
from app.suppressions import StoredSuppressions
from app.web import create_app
from rules.caps import USUAL, caps_of, room
from rules.event import iso
from rules.model import Cap, Do
from rules.ports import Outcome, Refused
from tests.app.test_mail import connection
from tests.builders import DAY, NOON, TENANT, services_in_memory, task
from tests.fakes.mail_server import MailServer
from tests.rules.world import rule
from tests.web.html import form

ADA = "ada.oneil@example.com"
PUBLIC = "https://signalbox.example.com"


@pytest.fixture
def server() -> MailServer:
    return MailServer()


@pytest.fixture
def port(server: MailServer) -> Iterator[int]:
    with server.running() as port:
        yield port


@pytest.fixture
def services() -> Services:
    return services_in_memory(public_url=PUBLIC, environment="production")


@pytest.fixture
def reader(services: Services) -> FlaskClient:
    """A stranger: no session, no token."""
    return create_app(services).test_client()


def token_of(services: Services, address: str = ADA) -> str:
    return services.vault.tokenise(TENANT, "cus:cus_1", [address])[0]


def sent(services: Services, port: int, to: str | None = None, public: str = PUBLIC) -> Outcome:
    stored, courier = StoredSuppressions(services.store), Courier(True, timeout=5)
    mail = actions("", "", services.secrets, services.vault, True, public, courier, stored)["mail.send"]
    params = {"subject": "Your payment failed", "text": "Please pay.", "to": to or token_of(services)}
    return mail.execute({**task("mail.send", params, connection(port)), "connection": "mail"}, NOON)


def link(server: MailServer) -> str:
    """The path in the header of the latest e-mail."""
    return urlsplit(server.got[-1]["List-Unsubscribe"].strip("<>")).path


def known(services: Services) -> list[dict[str, Any]]:
    return list(suppressions.suppressed(services.store, TENANT)[1])


# ---- the link -------------------------------------------------------------------------------------------------------
def test_every_mail_says_how_to_get_no_more_as_mail_programs_understand_it(
    server: MailServer, port: int, services: Services
) -> None:
    assert sent(services, port).kind == "done"
    (mail,) = server.got
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert mail["List-Unsubscribe"].startswith(f"<{PUBLIC}/unsubscribe/")
    text, html = (mail.get_body([kind]) for kind in ("plain", "html"))
    assert text is not None
    assert html is not None
    assert link(server) in text.get_content()
    assert link(server) in html.get_content()


def test_the_link_holds_a_token_and_no_personal_value(server: MailServer, port: int, services: Services) -> None:
    sent(services, port)
    said = link(server).removeprefix("/unsubscribe/").partition(".")[0]
    clear = base64.urlsafe_b64decode(said + "=" * (-len(said) % 4)).decode()
    assert token_of(services) in clear
    assert "ada" not in clear.lower()


def test_without_a_public_address_there_is_no_link(server: MailServer, port: int, services: Services) -> None:
    assert sent(services, port, public="").kind == "done"
    assert "List-Unsubscribe" not in server.got[0]


def test_looking_changes_nothing_and_pressing_the_button_ends_it(
    server: MailServer, port: int, services: Services, reader: FlaskClient
) -> None:
    sent(services, port)
    page = reader.get(link(server))
    assert (page.status_code, known(services)) == (200, [])
    assert form(page.text, "").method == "post"
    assert "no more e-mail from here" in reader.post(link(server)).text
    again = sent(services, port)
    assert (again.kind, again.data, len(server.got)) == ("branch", {"result": "suppressed"}, 1)
    audit = services.store.find(TENANT, "audit", order="-at").items[0].body
    assert (audit["verb"], audit["actor"], audit["about"]) == ("suppress e-mail", "the reader", token_of(services))


def test_a_mail_program_presses_the_button_by_itself_and_twice_is_once(
    server: MailServer, port: int, services: Services, reader: FlaskClient
) -> None:
    sent(services, port)
    for _ in range(2):
        assert reader.post(link(server), data={"List-Unsubscribe": "One-Click"}).status_code == 200
    assert [row["token"] for row in known(services)] == [token_of(services)]


@pytest.mark.parametrize("change", ["", "x", ".x", "é", "A" * 3000])
def test_a_link_that_we_did_not_sign_does_nothing(
    server: MailServer, port: int, services: Services, reader: FlaskClient, change: str
) -> None:
    sent(services, port)
    odd = link(server)[:-3] + change
    assert (reader.post(odd).status_code, reader.get(odd).status_code) == (400, 400)
    assert known(services) == []


def test_a_link_of_one_tenant_says_nothing_about_another(services: Services) -> None:
    text = unsubscribe.link(PUBLIC, services.secrets, "other/test", "tok_12345678").rpartition("/")[2]
    assert unsubscribe.opened(services.secrets, text) == ("other/test", "tok_12345678")
    with pytest.raises(Refused):
        unsubscribe.opened(services_in_memory().secrets, text)


def test_the_page_for_strangers_shows_nothing_of_the_installation(
    server: MailServer, port: int, services: Services, reader: FlaskClient
) -> None:
    sent(services, port)
    assert "/settings" not in reader.get(link(server)).text
    assert reader.get("/settings/no-email").status_code == 303


# ---- bounces --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("answer", "stays"),
    [
        ("550 5.1.1 no such user", True),
        ("550 no such user", True),
        ("550 5.2.1 disabled", True),
        ("550 5.7.1 relaying denied", False),
        ("552 5.2.2 mailbox full", False),
        ("450 4.2.1 later", False),
    ],
)
def test_an_address_that_does_not_exist_is_written_to_no_more(
    server: MailServer, port: int, services: Services, answer: str, stays: bool
) -> None:
    server.rcpt = answer
    sent(services, port)
    server.rcpt = ""
    assert sent(services, port).kind == ("branch" if stays else "done")
    assert [row["why"] for row in known(services)] == (["bounced: run_1/step"] if stays else [])


def test_a_message_that_is_called_spam_is_no_bounce(server: MailServer, port: int, services: Services) -> None:
    server.data = "554 5.7.1 spam"
    assert sent(services, port).kind == "dead"
    assert known(services) == []


def test_an_address_that_somebody_typed_is_the_same_person(server: MailServer, port: int, services: Services) -> None:
    suppressions.suppress(services.store, TENANT, token_of(services), "asked by phone", "ada", NOON)
    assert sent(services, port, to=ADA).data == {"result": "suppressed"}


def test_who_asks_for_it_gets_e_mail_again(server: MailServer, port: int, services: Services) -> None:
    suppressions.suppress(services.store, TENANT, token_of(services), "unsubscribed", "the reader", NOON)
    browser = create_app(services_in_memory()).test_client()
    assert browser.get("/settings/no-email").status_code == 200
    suppressions.lift(services.store, TENANT, token_of(services), "Asked for it on 23 November", "ada", NOON)
    assert sent(services, port).kind == "done"
    with pytest.raises(LookupError):
        suppressions.lift(services.store, TENANT, token_of(services), "again", "ada", NOON)


def test_the_page_lists_who_gets_none_and_lifts_with_a_reason() -> None:
    services = services_in_memory()
    token = token_of(services)
    suppressions.suppress(services.store, TENANT, token, "unsubscribed", "the reader", NOON)
    browser = create_app(services).test_client()
    assert token in browser.get("/settings/no-email").text
    address = f"/settings/no-email/{token}/lift"
    assert browser.post(address, data={"reason": ""}).status_code == 422
    assert browser.post(address, data={"reason": "Asked for it"}).status_code == 303
    assert not suppressions.is_suppressed(services.store, TENANT, token)


# ---- one a day ------------------------------------------------------------------------------------------------------
def test_a_customer_gets_one_e_mail_a_day_unless_the_rule_says_otherwise() -> None:
    write = Do("write", "mail.send", {})
    used = [{"command": "other/write", "tags": ["email"], "at": iso(NOON)}]
    full = room(rule(steps=(write,)), "mail.send", "run_1/write", used, NOON)
    assert full is not None
    assert (full.cap, full.at) == (USUAL, NOON + DAY)
    assert room(rule(steps=(write,)), "mail.send", "run_1/write", used, NOON + DAY) is None
    often = rule(steps=(write,), caps=(Cap("email", 5, 3600),))
    assert room(often, "mail.send", "run_1/write", used, NOON) is None
    assert caps_of(rule(caps=(Cap("crm", 1, 60),)), "mail.send")[-1] == USUAL
    assert caps_of(rule(), "crm.notify") == caps_of(rule(), "stripe.send_invoice") == ()


@given(st.text(max_size=80), st.integers(0, 200), st.characters(codec="ascii"))
def test_no_link_but_ours_opens(text: str, at: int, letter: str) -> None:
    secrets = MemorySecrets()
    whole = unsubscribe.link(PUBLIC, secrets, TENANT, "tok_12345678@example.com").rpartition("/")[2]
    changed = whole[: at % len(whole)] + letter + whole[at % len(whole) + 1 :]
    for odd in (text, changed):
        try:
            assert unsubscribe.opened(secrets, odd) == (TENANT, "tok_12345678@example.com")
            assert odd.rstrip("=").partition(".")[0] == whole.partition(".")[0]
        except Refused:
            pass
