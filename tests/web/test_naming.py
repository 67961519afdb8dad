"""Lists say whose an id is without a personal value: the mask of the e-mail's token, and the plan."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from app import browse
from app.browse import naming
from app.services import Services
from app.web import create_app
from rules.event import Event, iso
from rules.ports import ABSENT, Put
from tests.builders import NOON, TENANT, event, invoice, services_in_memory

MAIL = "tok_a9ef3284aa96546024c3c079@acme.com"
SECONDS = timedelta(seconds=1)


@pytest.fixture
def services() -> Services:
    return services_in_memory()


@pytest.fixture
def browser(services: Services) -> FlaskClient:
    return create_app(services).test_client()


def recorded(services: Services, told: Event) -> None:
    body = {
        "event": told.to_cloudevent(), "type": told.type, "created": told.created, "recorded": iso(told.recorded),
        "keys": list(told.keys), "correlation": "in_1", "trace": "", "customer": (told.key("cus") or "")[4:],
        "fired": False, "origin": "webhook", "decision": None,
    }  # fmt: skip
    services.store.commit(TENANT, None, [Put("event", told.id, body, ABSENT)])


def subscription(**price: Any) -> dict[str, Any]:
    item = {"quantity": 1, "price": {"unit_amount": 4900, "currency": "usd", "recurring": {"interval": "month"}}}
    item["price"] |= price  # type: ignore[operator]
    return {"id": "sub_1", "object": "subscription", "customer": "cus_1", "items": {"data": [item]}}


def called(services: Services) -> str:
    return naming.called(services.store, TENANT, "cus_1")


@pytest.mark.parametrize("address", ["/customers", "/events", "/traces"])
def test_a_list_says_whose_an_id_is(services: Services, browser: FlaskClient, address: str) -> None:
    recorded(services, event("evt_1", object=invoice(customer_email=MAIL)))
    recorded(services, event("evt_2", "customer.subscription.updated", object=subscription(nickname="Basic monthly")))
    page = browser.get(address).text
    assert "a9ef32…@acme.com · Basic monthly" in page
    assert MAIL not in page


def test_a_plan_without_a_name_is_what_it_costs(services: Services) -> None:
    recorded(services, event("evt_1", "customer.subscription.updated", object=subscription()))
    assert called(services) == "$49.00 a month"


def test_a_value_that_is_no_token_is_never_shown(services: Services) -> None:
    recorded(services, event("evt_1", object=invoice(customer_email="ada@acme.com", customer_name="Ada Example")))
    assert called(services) == ""


def test_without_an_e_mail_the_names_token_tells_customers_apart(services: Services) -> None:
    recorded(services, event("evt_1", object=invoice(customer_email=None, customer_name="tok_83351aa303c5666b13")))
    assert called(services) == "83351a…"


def test_a_name_is_looked_up_once_in_a_while(services: Services) -> None:
    names = browse.Names()
    recorded(services, event("evt_1", object=invoice(customer_email=None, customer_name=None)))
    assert names.of(services.store, TENANT, ["cus_1", "cus_1", "cus_2"], NOON) == {"cus_1": "", "cus_2": ""}
    recorded(services, event("evt_2", object=invoice(customer_email=MAIL)))
    assert names.of(services.store, TENANT, ["cus_1"], NOON + naming.KEPT - SECONDS) == {"cus_1": ""}
    assert names.of(services.store, TENANT, ["cus_1"], NOON + naming.KEPT) == {"cus_1": "a9ef32…@acme.com"}


def test_names_asked_for_together_are_those_asked_for_alone(services: Services) -> None:
    recorded(services, event("evt_1", object=invoice(customer_email=MAIL)))
    ids = ["cus_3", "cus_1", "cus_2"]
    together = browse.Names(at_once=8).of(services.store, TENANT, ids, NOON)
    assert together == browse.Names().of(services.store, TENANT, ids, NOON)
    assert together["cus_1"] == "a9ef32…@acme.com"
