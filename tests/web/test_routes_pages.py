"""The route pages: making one, its filter as rows or JSON, the live count, and taking it away."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from app import author
from app.services import Services
from app.web import create_app
from rules.event import iso
from rules.ports import ABSENT, Put
from tests.builders import NOON, TENANT, event, invoice, services_in_memory
from tests.web.html import form

ADDRESS = "https://provisioning.example.com/events"


@pytest.fixture
def services() -> Services:
    return services_in_memory()


@pytest.fixture
def browser(services: Services) -> FlaskClient:
    return create_app(services).test_client()


def happened(services: Services) -> None:
    for number in range(4):
        at = NOON - timedelta(hours=number)
        told = event(f"evt_{number}", time=at, recorded=at, object=invoice(amount_remaining=number * 1000))
        body = {"event": told.to_cloudevent(), "type": told.type, "created": told.created, "recorded": iso(at),
                "keys": [], "correlation": "", "trace": "", "customer": None, "fired": False, "origin": ""}  # fmt: skip
        services.store.commit(TENANT, None, [Put("event", told.id, body, ABSENT)])


def typed(browser: FlaskClient, name: str = "new", action: str = "", /, **fields: str) -> Any:
    address = f"/settings/routes/{name}"
    found = form(browser.get(address).text, address)
    return browser.post(address + action, data=found.sent(**fields))


NEW = {"name": "provisioning", "url": ADDRESS, "types": "invoice.payment_failed\ninvoice.paid"}
TEST = {"field-0": "data.object.amount_remaining", "is-0": "greater than", "value-0": "1500"}


def test_a_route_is_made_with_its_filter_and_its_secret_is_shown_once(browser: FlaskClient, services: Services) -> None:
    answer = typed(browser, **NEW, **TEST)
    secret = services.secrets.get(f"connection/{TENANT}/provisioning")
    assert secret is not None
    assert secret in answer.text
    kept = author.connection(services.store, TENANT, "provisioning")
    assert kept["types"] == ["invoice.payment_failed", "invoice.paid"]
    assert kept["only_if"] == {"all": [{"field": "data.object.amount_remaining", "is": "greater than", "value": 1500}]}
    page = browser.get("/settings/routes/provisioning").text
    assert secret not in page
    assert 'value="1500"' in page
    assert "provisioning" in browser.get("/settings").text
    assert typed(browser, "provisioning", **{"value-0": "2000"}).status_code == 303
    assert author.connection(services.store, TENANT, "provisioning")["only_if"]["all"][0]["value"] == 2000


def test_the_count_is_of_what_the_filter_would_have_taken_and_says_it_in_words(
    browser: FlaskClient, services: Services
) -> None:
    happened(services)
    whole = typed(browser, "new", "/count", **NEW, **TEST)
    part = browser.post("/settings/routes/new/count", data={**NEW, **TEST}, headers={"HX-Request": "true"})
    for answer in (whole, part):
        assert "<strong>2 events</strong>" in answer.text
        assert "Only if" in answer.text
    assert "<form" not in part.text
    assert author.connections(services.store, TENANT) == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"url": "http://provisioning.example.com"}, "https only"),
        ({"types": "invoice.payed"}, "invoice.payed"),
        ({"field-0": "data.object.amont", "is-0": "greater than", "value-0": "1"}, "amont"),
        ({"name": "No Name"}, "lower-case"),
    ],
)
def test_what_is_wrong_stands_in_the_form_and_what_was_typed_stays(
    browser: FlaskClient, wrong: dict[str, str], said: str
) -> None:
    answer = typed(browser, **{**NEW, **wrong})
    assert answer.status_code == 422
    assert said in answer.text


@pytest.mark.parametrize(
    ("row", "test"),
    [
        (("data.object.status", "one of", "open, paid"), {"is": "one of", "value": ["open", "paid"]}),
        (("data.object.amount_due", "between", "1 and 5"), {"is": "between", "value": [1, 5]}),
        (("data.object.due_date", "in the next", "3 days"), {"is": "in the next", "value": "P3D"}),
        (("data.object.customer", "is present", ""), {"is": "is present"}),
    ],
)
def test_every_kind_of_test_is_kept_as_the_rule_language_writes_it_and_shown_as_typed(
    browser: FlaskClient, services: Services, row: tuple[str, str, str], test: dict[str, Any]
) -> None:
    field, operator, value = row
    typed(browser, **NEW, **{"field-0": field, "is-0": operator, "value-0": value})
    kept = author.connection(services.store, TENANT, "provisioning")["only_if"]
    assert kept == {"all": [{"field": field, **test}]}
    assert typed(browser, "provisioning").status_code == 303
    assert author.connection(services.store, TENANT, "provisioning")["only_if"] == kept


def test_a_condition_that_is_more_than_rows_is_edited_as_json_and_kept(
    browser: FlaskClient, services: Services
) -> None:
    status = {"field": "data.object.status", "is": "equal to", "value": "open"}
    body = {"name": "provisioning", "type": "route", "url": ADDRESS, "types": ["invoice.paid"],
            "only_if": {"any": [status, {"not": status}]}}  # fmt: skip
    author.save_connection(services.store, services.secrets, TENANT, body, "ada", NOON)
    assert "edited as the rule language writes it" in browser.get("/settings/routes/provisioning").text
    assert typed(browser, "provisioning").status_code == 303
    assert author.connection(services.store, TENANT, "provisioning")["only_if"] == body["only_if"]
    assert typed(browser, "provisioning", only_if="{broken").status_code == 422


@pytest.mark.parametrize("types", ["invoice.payment_failed", "*"])
def test_a_personal_constant_is_kept_as_the_token_that_events_have(
    browser: FlaskClient, services: Services, types: str
) -> None:
    row = {"field-0": "data.object.customer_email", "is-0": "equal to", "value-0": "ada@example.com"}
    typed(browser, **{**NEW, "types": types}, **row)
    (token,) = services.vault.tokenise(TENANT, "cus:cus_1", ["ada@example.com"])
    kept = author.connection(services.store, TENANT, "provisioning")
    assert kept["only_if"]["all"][0]["value"] == token
    audit = services.store.find(TENANT, "audit", order="at").items
    assert "ada@" not in str([kept, *[one.body for one in audit]])


def test_a_route_is_deleted_with_a_reason(browser: FlaskClient, services: Services) -> None:
    typed(browser, **NEW)
    assert browser.get("/settings/connections/provisioning").location == "/settings/routes/provisioning"
    assert browser.post("/settings/routes/provisioning/delete", data={}).status_code == 422
    assert browser.post("/settings/routes/provisioning/delete", data={"reason": "moved"}).status_code == 303
    assert browser.get("/settings/routes/provisioning").status_code == 404


def test_a_connection_that_is_no_route_has_no_route_page(browser: FlaskClient, services: Services) -> None:
    mail = {"name": "mail", "type": "smtp", "host": "smtp.example.com", "from": "a@example.com", "secret": "x"}
    author.save_connection(services.store, services.secrets, TENANT, mail, "ada", NOON)
    assert browser.get("/settings/routes/mail").status_code == 404
