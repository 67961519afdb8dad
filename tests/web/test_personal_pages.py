"""Personal values on pages and in the API: one shown for a reason and never cached, a customer erased, retention."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask.testing import FlaskClient

from app import jobs
from app.adapters.memory import ManualClock
from app.receive import history
from app.services import Services, job_types
from app.web import create_app
from app.worker import Work, tick
from tests.builders import NOON, TENANT, envelope, invoice, services_in_memory
from tests.web.api import Api
from tests.web.html import form

ADA = "ada@example.com"


@pytest.fixture
def services() -> Services:
    found = services_in_memory()
    lines = [json.dumps(envelope(object=invoice())).encode()]
    history.load(lines, found.bus, found.vault, NOON, source="webhook")
    tick(Work(found), NOON)
    return found


@pytest.fixture
def browser(services: Services) -> FlaskClient:
    return create_app(services).test_client()


@pytest.fixture
def api(services: Services) -> Api:
    return Api(services)


def email_token(api: Api) -> str:
    items = api.get("/personal/event/evt_1").json["items"]
    return str(next(one["token"] for one in items if one["sort"] == "email"))


def send(browser: FlaskClient, address: str, action: str = "", **typed: str) -> Any:
    page = browser.get(address)
    assert page.status_code == 200, page.text
    found = form(page.text, action or address)
    return browser.post(found.action, data=found.sent(**typed))


def worked(services: Services) -> None:
    clock = services.clock
    assert isinstance(clock, ManualClock)
    for _ in range(20):
        if not jobs.run_one(services.store, job_types(services), clock.now()):
            clock.set(clock.now() + jobs.LEASE / 6)


# ---- one value ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("page", ["/events/evt_1", "/customers/cus_1"])
def test_the_pages_lead_to_it_and_show_no_value_themselves(browser: FlaskClient, page: str) -> None:
    text = browser.get(page).text
    assert ADA not in text
    assert "Ada Example" not in text
    assert "Show a personal value" in text


@pytest.mark.parametrize("on", ["event/evt_1", "customer/cus_1"])
def test_a_value_is_shown_for_a_reason_once_and_kept_in_no_cache(browser: FlaskClient, api: Api, on: str) -> None:
    token = email_token(api)
    answer = send(browser, f"/reveal/{on}", token=token, reason="a call from the bank")
    assert answer.status_code == 200
    assert ADA in answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    again = browser.get(f"/reveal/{on}")
    assert ADA not in again.text


def test_without_a_reason_or_a_choice_the_form_says_so(browser: FlaskClient, api: Api) -> None:
    token = email_token(api)
    answer = send(browser, "/reveal/event/evt_1", token=token, reason="")
    assert (answer.status_code, "Say why" in answer.text, ADA in answer.text) == (422, True, False)
    answer = browser.post("/reveal/event/evt_1", data={"reason": "why"})
    assert (answer.status_code, "Choose one" in answer.text) == (422, True)


@pytest.mark.parametrize("address", ["/reveal/event/evt_none", "/reveal/secret/evt_1", "/reveal/run/run_none"])
def test_what_is_not_there_is_a_404(browser: FlaskClient, address: str) -> None:
    assert browser.get(address).status_code == 404


def test_the_api_lists_tokens_and_shows_one(api: Api) -> None:
    items = api.get("/personal/event/evt_1").json["items"]
    assert {(one["path"], one["sort"]) for one in items} >= {("object.customer_email", "email")}
    assert ADA not in json.dumps(items)
    answer = api.post("/personal/event/evt_1", {"token": email_token(api), "reason": "a call"})
    assert answer.json["value"] == ADA
    assert answer.headers["Cache-Control"] == "no-store"
    assert api.post("/personal/event/evt_1", {"token": "tok_" + "0" * 24, "reason": "a call"}).status_code == 404
    assert api.post("/personal/event/evt_1", {"token": email_token(api)}).status_code == 400
    assert api.post("/personal/event/evt_1", {"token": email_token(api), "reason": " "}).status_code == 400
    assert api.get("/personal/else/evt_1").status_code == 404


# ---- erasure --------------------------------------------------------------------------------------------------------
def test_a_customer_is_erased_from_the_page_after_counts_and_a_typed_id(
    browser: FlaskClient, services: Services, api: Api
) -> None:
    token = email_token(api)
    page = browser.get("/customers/cus_1/erase").text
    assert "2 values go from the vault" in page
    wrong = send(browser, "/customers/cus_1/erase", confirm="cus_2", reason="by letter")
    assert (wrong.status_code, "Write cus_1 to confirm" in wrong.text) == (422, True)
    assert send(browser, "/customers/cus_1/erase", confirm="cus_1", reason="").status_code == 422
    assert send(browser, "/customers/cus_1/erase", confirm="cus_1", reason="by letter").status_code == 303
    assert "Under way" in browser.get("/customers/cus_1/erase").text
    worked(services)
    page = browser.get("/customers/cus_1/erase").text
    assert "2 values removed" in page
    shown = send(browser, "/reveal/event/evt_1", token=token, reason="checking")
    assert "not kept any more" in shown.text
    assert "cus_1" in browser.get("/settings/personal").text
    lifted = send(browser, "/customers/cus_1/erase", "/customers/cus_1/erase/lift", reason="came back")
    assert lifted.status_code == 303
    assert not services.vault.is_barred(TENANT, "cus_1")


def test_the_api_previews_erases_and_lifts(api: Api, services: Services) -> None:
    assert api.get("/customers/cus_1/erasure").json["values"] == 2
    assert api.get("/customers/cus_none/erasure").status_code == 404
    assert api.post("/customers/cus_1/erasure", {"confirm": "cus_2", "reason": "why"}).status_code == 400
    begun = api.post("/customers/cus_1/erasure", {"confirm": "cus_1", "reason": "why"})
    assert (begun.status_code, begun.json["erased"]) == (202, True)
    assert api.post("/customers/cus_1/erasure/lift", {"reason": "why"}).status_code == 400  # still under way
    worked(services)
    found = api.get("/customers/cus_1/erasure").json
    assert (found["values"], found["job"]["state"]) == (0, "done")
    assert api.post("/customers/cus_1/erasure/lift", {"reason": "why"}).json["erased"] is False


# ---- retention ------------------------------------------------------------------------------------------------------
def test_days_are_set_by_sort_and_wrong_ones_stand_beside_their_field(browser: FlaskClient, services: Services) -> None:
    page = browser.get("/settings/personal").text
    assert "IP addresses and devices" in page
    answer = send(browser, "/settings/personal", ip="soon", email="1095")
    assert (answer.status_code, "whole number of days" in answer.text) == (422, True)
    assert send(browser, "/settings/personal", ip="30", email="1095").status_code == 303
    assert 'value="1095"' in browser.get("/settings/personal").text
    assert "personal values" in browser.get("/settings").text


def test_what_is_due_is_counted_and_removed_on_request(browser: FlaskClient, services: Services, api: Api) -> None:
    assert api.put("/retention", {"days": {"name": 1}}).status_code == 200  # the test's vault heard it in 1970
    due = {row["sort"]: row["due"] for row in api.get("/retention").json["sorts"]}
    assert due["name"] == 1
    assert send(browser, "/settings/personal", "/settings/personal/remove").status_code == 303
    worked(services)
    found = api.get("/retention").json
    assert found["job"]["summary"] == {"removed": {"name": 1}}
    assert "1 names" in browser.get("/settings/personal").text
    assert api.post("/retention/run").status_code == 202
    assert api.put("/retention", {"days": {"name": 0}}).status_code == 400
    assert api.put("/retention", {"days": {"colour": 1}}).status_code == 400
    assert api.get("/vault/keys").status_code == 404  # the memory's vault seals nothing
