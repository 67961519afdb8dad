"""What a rule sends: every step's exact call from the latest event, and its e-mail as a test to one's own address."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from app import author, scores
from app.services import Services
from app.web import create_app
from rules.event import Event
from rules.ports import ABSENT, Put
from tests.app.test_mail import connection
from tests.builders import NOON, TENANT, event, invoice, services_in_memory
from tests.fakes.mail_server import MailServer
from tests.web.html import form


@pytest.fixture
def services() -> Services:
    return services_in_memory()


@pytest.fixture
def browser(services: Services) -> FlaskClient:
    return create_app(services).test_client()


@pytest.fixture
def server() -> MailServer:
    return MailServer()


@pytest.fixture
def port(server: MailServer, services: Services) -> Iterator[int]:
    with server.running() as port:
        services.store.commit(TENANT, None, [Put("connection", "mail", connection(port))])
        yield port


MAIL = {
    "connection": "mail",
    "subject": "Invoice {{ data.object.id }}",
    "text": "Dear {{ data.object.customer_name }},\n\nplease pay {{ data.object.id }}.",
}


def made(services: Services, *steps: dict[str, Any]) -> None:
    document = {
        "id": "dunning",
        "name": "Dunning",
        "when": {"event": ["invoice.payment_failed"]},
        "steps": list(steps) or [{"name": "write", "do": "mail.send", "with": MAIL}],
    }
    s = services
    author.save_draft(s.store, s.vault, s.catalogue, s.connectors, TENANT, document, "ada", NOON)


def happened(services: Services) -> str:
    """An event with a token in it; the token."""
    (token,) = services.vault.tokenise(TENANT, "cus:cus_1", ["Ada Example"])
    told = event(object=invoice(customer_name=token, customer_email="tok_12345678@x.example"))
    body = {
        "event": told.to_cloudevent(), "type": told.type, "created": told.created, "recorded": "2026", "keys": [],
        "correlation": "", "trace": "", "customer": "cus_1", "fired": False, "origin": "webhook", "decision": None,
    }  # fmt: skip
    services.store.commit(TENANT, None, [Put("event", told.id, body, ABSENT)])
    return token


def test_each_step_shows_its_call_filled_from_the_latest_event(browser: FlaskClient, services: Services) -> None:
    happened(services)
    made(
        services,
        {"name": "write", "do": "mail.send", "with": MAIL},
        {"name": "back", "do": "stripe.refund", "with": {"amount": "500"}},
        {"name": "task", "do": "crm.task", "with": {"connection": "crm", "title": "Call"}},
    )
    page = browser.get("/rules/dunning/sends").text
    for said in ("Invoice in_1", "/v1/refunds", "signalbox.crm.task.opened", "the task is closed", "Cannot be undone"):
        assert said in page
    assert "/rules/dunning/sends" in browser.get("/rules/dunning").text


def test_without_an_event_the_fields_stand_as_they_are_written(browser: FlaskClient, services: Services) -> None:
    made(services)
    assert "Invoice {{ data.object.id }}" in browser.get("/rules/dunning/sends").text


def test_a_test_goes_to_the_typed_address_alone_and_tells_nobody_s_values(
    browser: FlaskClient, services: Services, server: MailServer, port: int
) -> None:
    token = happened(services)
    made(services)
    page = browser.get("/rules/dunning/sends").text
    assert token in page
    found = form(page, "/rules/dunning/sends/write/test")
    answer = browser.post(found.action, data=found.sent(to="grace@example.com"))
    assert answer.status_code == 303
    assert server.to == ["grace@example.com"]
    (mail,) = server.got
    text = mail.get_body(["plain"])
    assert mail["Subject"] == "[Test] Invoice in_1"
    assert text is not None
    assert "Dear [personal value]," in text.get_content()
    audit = str([one.body for one in services.store.find(TENANT, "audit", order="at").items])
    assert "send test e-mail" in audit
    assert "grace@" not in audit


def recorded(services: Services, told: Event) -> None:
    body = {
        "event": told.to_cloudevent(), "type": told.type, "created": told.created, "recorded": told.id,
        "keys": list(told.keys), "correlation": "", "trace": "", "customer": told.key("cus"), "fired": False,
        "origin": "webhook", "decision": None,
    }  # fmt: skip
    services.store.commit(TENANT, None, [Put("event", told.id, body, ABSENT)])


KNOWN = {
    "subject": "You owe {{ fact.customer.open_amount }}",
    "text": "{{ fact.customer.failures_30_days }}, {{ score.risk }}.",
}


def test_facts_and_scores_are_filled_in_as_of_now_for_the_customer(browser: FlaskClient, services: Services) -> None:
    store, hour = services.store, timedelta(hours=1)
    for at, customer, owes in ((1, "cus_1", 4900), (2, "cus_2", 100), (3, "cus_1", 1000)):
        thing = invoice(f"in_{at}", customer=customer, amount_remaining=owes, amount_due=owes, status="open")
        recorded(services, event(f"evt_{at}", time=NOON - 9 * hour + at * hour, object=thing))
    scores.declare(store, TENANT, "risk", "Risk", "ada", NOON - hour)
    scores.set_values(store, TENANT, "risk", [{"customer": "cus_1", "value": 0.25}], "api", "ada", NOON - hour)
    made(services, {"name": "write", "do": "mail.send", "with": {"connection": "mail", **KNOWN}})

    latest = browser.get("/rules/dunning/sends").text
    chosen = browser.get("/rules/dunning/sends?event=evt_2").text

    assert "You owe $59.00" in latest
    assert "2, 0.25." in latest
    assert "/customers/cus_1/known" in latest
    assert "You owe $1.00" in chosen
    assert form(chosen, "/rules/dunning/sends/write/test").sent()["event"] == ["evt_2"]


def test_an_event_that_the_rule_is_not_about_is_told_beside_its_field(browser: FlaskClient, services: Services) -> None:
    made(services)
    recorded(services, event("evt_9", "invoice.paid", object=invoice()))
    for id, said in (("evt_0", "No event evt_0 is recorded"), ("evt_9", "the rule begins with invoice.payment_failed")):
        answer = browser.get(f"/rules/dunning/sends?event={id}")
        assert (answer.status_code, said in answer.text) == (404, True)


@pytest.mark.parametrize("to", ["", "nobody", "a@b.example, c@d.example"])
def test_what_is_no_address_stands_beside_its_field(browser: FlaskClient, services: Services, to: str) -> None:
    made(services)
    answer = browser.post("/rules/dunning/sends/write/test", data={"to": to})
    assert (answer.status_code, "Write one e-mail address." in answer.text) == (422, True)


def test_a_rule_with_problems_says_so_and_a_step_that_writes_nothing_is_not_sent(
    browser: FlaskClient, services: Services
) -> None:
    made(services, {"name": "write", "do": "mail.send", "with": {}})
    assert "The rule has problems" in browser.get("/rules/dunning/sends").text
    made(services, {"name": "pay", "do": "stripe.pay_invoice"})
    assert browser.post("/rules/dunning/sends/pay/test", data={"to": "a@b.example"}).status_code == 404
