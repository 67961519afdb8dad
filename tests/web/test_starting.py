"""Starting from the library in the browser, without JavaScript: the gallery, what a starter asks, and the editor."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from app import author
from app.services import Services
from app.starters import library
from app.web import create_app
from app.worker import Work, tick
from tests.builders import NOON, TENANT, event, invoice, services_in_memory
from tests.web.api import Api, api
from tests.web.html import Form, form

__all__ = ["api"]
START = "/rules/new/start"


@pytest.fixture
def services() -> Services:
    return services_in_memory()


@pytest.fixture
def browser(services: Services) -> FlaskClient:
    return create_app(services).test_client()


def asked(browser: FlaskClient, id: str) -> tuple[Form, str]:
    answer = browser.get(f"{START}?from={id}")
    assert answer.status_code == 200
    return form(answer.text, START), answer.text


def overdue(services: Services, *amounts: int) -> None:
    for at, amount in enumerate(amounts):
        thing = invoice(
            f"in_{at}", f"cus_{at}", collection_method="send_invoice", amount_remaining=amount, currency="eur"
        )
        services.bus.publish(event(f"evt_{at}", "invoice.overdue", thing, NOON - timedelta(days=at + 1)))
    tick(Work(services), NOON)


def test_the_gallery_shows_every_starter_in_its_group_and_leads_to_what_it_asks(browser: FlaskClient) -> None:
    text = browser.get("/rules/new").text
    for one in library():
        assert f'href="{START}?from={one.id}"' in text
        assert one.group in text


@pytest.mark.parametrize("id", [one.id for one in library()])
def test_every_starter_asks_for_its_parameters_and_opens_in_the_editor(browser: FlaskClient, id: str) -> None:
    found, text = asked(browser, id)
    one = next(one for one in library() if one.id == id)
    assert all(f'id="{parameter.name}"' in text for parameter in one.parameters)
    opened = browser.post(START, data=found.sent(do="begin"))
    editing = form(opened.text, "/rules/new/edit")
    assert editing.sent()["name"] == [one.document["name"]]
    kept = browser.post("/rules/new/edit", data=editing.sent(do="save"))
    assert kept.status_code == 303


def test_what_is_said_becomes_the_rule(browser: FlaskClient, services: Services) -> None:
    found, _ = asked(browser, "invoice-overdue")
    typed = found.sent(do="begin", amount="2,500.00", wait="36", wait__unit="hours", crm="crm")
    editing = form(browser.post(START, data=typed).text, "/rules/new/edit")
    assert browser.post("/rules/new/edit", data=editing.sent(do="save")).status_code == 303
    document = author.rule(services.store, TENANT, "invoice-overdue")["document"]
    assert document["only_if"]["all"][1]["value"] == 250000
    assert document["steps"][2]["wait"] == {"for": "PT36H"}
    assert document["examples"][1]["given"][0]["set"] == {"data.object.amount_remaining": 249999}


def test_amounts_are_typed_in_the_accounts_currency(browser: FlaskClient, services: Services) -> None:
    services.bus.publish(event("evt_paid", "invoice.paid", invoice(currency="jpy")))
    tick(Work(services), NOON)
    found, text = asked(browser, "invoice-overdue")
    assert "From this amount (JPY)" in text
    assert found.sent()["amount"] == ["100000"]


def test_the_one_connection_of_its_type_is_chosen(browser: FlaskClient, services: Services) -> None:
    body = {"name": "sales", "type": "webhook", "url": "https://crm.example.com/hook"}
    author.save_connection(services.store, services.secrets, TENANT, body, "ada", NOON)
    found, _ = asked(browser, "trial-became-paying")
    assert found.sent()["crm"] == ["sales"]


def test_it_says_whom_it_would_have_touched_where_there_is_history(browser: FlaskClient, services: Services) -> None:
    assert "There is no history of such events here" in asked(browser, "invoice-overdue")[1]
    overdue(services, 150000, 250000, 5000)
    found, text = asked(browser, "invoice-overdue")
    assert "<b>2 customers</b> in 2 runs" in text
    assert "€4,000.00" in text
    again = browser.post(START, data=found.sent(do="count", amount="2000")).text
    assert "<b>1 customer</b> in 1 run," in again
    assert services.store.find(TENANT, "run").items == ()


def test_what_is_no_amount_is_left_for_the_editor_to_say(browser: FlaskClient) -> None:
    found, _ = asked(browser, "invoice-overdue")
    opened = browser.post(START, data=found.sent(do="begin", amount="lots"))
    assert opened.status_code == 200
    assert "is no number" in opened.text


def test_an_unknown_starter_is_not_found(browser: FlaskClient) -> None:
    assert browser.get(f"{START}?from=nothing").status_code == 404
    assert browser.post(START, data={"from": "nothing"}).status_code == 404


def test_only_the_values_that_were_typed_are_in_the_page_as_text(browser: FlaskClient) -> None:
    found, _ = asked(browser, "dunning-ladder")
    odd: dict[str, Any] = {"subject": "<script>alert(1)</script>", "text": "{$nobody} {{ data.object.id }}"}
    text = browser.post(START, data=found.sent(do="count", **odd)).text
    assert "<script>alert" not in text
    assert "{$nobody}" in text


# ---- the API --------------------------------------------------------------------------------------------------------
def test_the_library_is_in_the_api_and_a_starter_becomes_a_rule_there(api: Api) -> None:
    rows = {row["id"]: row for row in api.get("/starters").json["items"]}
    assert set(rows) == {one.id for one in library()}
    assert [one["name"] for one in rows["invoice-overdue"]["parameters"]] == ["amount", "slack", "crm", "wait"]
    filled = api.post("/starters/invoice-overdue", {"values": {"amount": 250000}}).json
    assert filled["document"]["only_if"]["all"][1]["value"] == 250000
    assert all(one["holds"] for one in filled["examples"])
    assert "2,500.00" in filled["english"]
    assert api.put("/rules/invoice-overdue", filled["document"]).status_code == 200
    assert api.post("/starters/two-failed-payments").json["problems"]


def test_values_that_do_not_fit_are_refused_at_their_names(api: Api) -> None:
    refused = api.post("/starters/invoice-overdue", {"values": {"amount": "lots", "wat": 5, "wait": True}})
    assert refused.status_code == 422
    assert [one["path"] for one in refused.json["problems"]] == ["values.amount", "values.wat", "values.wait"]
    assert api.post("/starters/nothing", {}).status_code == 404
