"""Texts in the editor: a field is put in by a press, and the text stands filled in beside the form."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from app import author
from app.inquire.step_previews import texts
from app.services import Services
from app.web import create_app
from rules.event import iso
from rules.ports import ABSENT, Put
from tests.builders import NOON, TENANT, event, services_in_memory
from tests.web.html import form

TEXT = "Pay {{ data.object.id }}, {{ fact.customer.mrr }}"


@pytest.fixture
def services() -> Services:
    s = services_in_memory()
    told = event()
    body = {"event": told.to_cloudevent(), "type": told.type, "created": told.created, "recorded": iso(NOON),
            "keys": [], "correlation": "", "trace": "", "customer": None, "fired": False, "origin": ""}  # fmt: skip
    s.store.commit(TENANT, None, [Put("event", told.id, body, ABSENT)])
    steps = [{"name": "write", "do": "mail.send", "with": {"connection": "mail", "subject": "Hello", "text": TEXT}}]
    document = {"id": "dunning", "name": "Dunning", "when": {"event": ["invoice.payment_failed"]}, "steps": steps}
    author.save_draft(s.store, s.vault, s.catalogue, s.connectors, TENANT, document, "ada", NOON)
    return s


@pytest.fixture
def browser(services: Services) -> FlaskClient:
    return create_app(services).test_client()


def test_the_text_stands_filled_in_beside_the_form(browser: FlaskClient) -> None:
    page = browser.get("/rules/dunning/edit").text
    assert "Pay in_1, [fact.customer.mrr]" in page


def test_a_press_puts_a_field_at_the_end_of_the_text(browser: FlaskClient) -> None:
    found = form(browser.get("/rules/dunning/edit").text, "/rules/dunning/edit")
    sent = found.sent(do="put:steps-0.with.subject=data.object.currency")
    page = browser.post(found.action, data=sent).text
    assert "Hello {{ data.object.currency }}" in page
    assert "Hello usd" in page
    odd = browser.post(found.action, data=found.sent(do="put:steps-9.with.subject=data.object.id"))
    assert odd.status_code == 200


def test_a_text_that_is_not_written_rightly_yet_is_left_out(services: Services) -> None:
    steps = [{"name": "write", "do": "mail.send", "with": {"subject": "{{ data..x }}", "text": 7}}, "odd"]
    assert texts({"steps": steps}, services.connectors, {}) == []
    assert texts({"steps": "odd"}, services.connectors, {}) == []


def test_a_new_step_goes_over_the_one_connection_of_its_type(browser: FlaskClient, services: Services) -> None:
    for body in (
        {"name": "mail", "type": "smtp", "host": "smtp.example.com", "from": "a@example.com", "secret": "x"},
        {"name": "crm", "type": "webhook", "url": "https://crm.example.com/hook"},
    ):
        author.save_connection(services.store, services.secrets, TENANT, body, "ada", NOON)
    found = form(browser.get("/rules/dunning/edit").text, "/rules/dunning/edit")
    page = browser.post(found.action, data=found.sent(do="add:step", new_step="crm.notify")).text
    assert form(page, "/rules/dunning/edit").sent()["steps-1.with.connection"] == ["crm"]
