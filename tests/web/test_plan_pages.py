"""Planning when a rule goes in force, as a browser without JavaScript does it, and over the API."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from app import author, tenant_settings, tenants
from app.adapters.memory import ManualClock
from app.author import planned
from app.services import Services
from app.web import create_app
from app.worker import Work, tick
from rules.event import iso
from tests.builders import ADMIN_TOKEN, DAY, NOON, TENANT, services_in_memory
from tests.web.html import form
from tests.web.test_rules_pages import live, ready, saved

ID = "two-failed-payments"


@pytest.fixture
def services() -> Services:
    made = services_in_memory()
    tenants.ensure(made.store, TENANT, NOON)
    tenant_settings.save(made.store, TENANT, {"zone": "Europe/Vienna"}, "ann", NOON)
    return made


@pytest.fixture
def browser(services: Services) -> FlaskClient:
    return create_app(services).test_client()


def press(browser: FlaskClient, verb: str = "publish", **entered: str) -> Any:
    """The form as it was left by what was pressed before, or as it is opened."""
    asked = form(browser.get(f"/rules/{ID}/{verb}").text, f"/rules/{ID}/{verb}")
    return browser.post(f"/rules/{ID}/{verb}", data=asked.sent(reason="agreed", limits="none", **entered))


def again(browser: FlaskClient, page: str, **entered: str) -> Any:
    asked = form(page, f"/rules/{ID}/publish")
    return browser.post(f"/rules/{ID}/publish", data=asked.sent(**entered))


def plan_of(services: Services) -> dict[str, Any]:
    found = planned.row(services.store, TENANT, ID)
    assert found
    return found


def test_a_plan_is_read_back_in_the_offices_time_and_then_kept(browser: FlaskClient, services: Services) -> None:
    saved(services)
    first = press(browser, when="at", at="2026-12-01T09:00")
    assert "On Tue 1 Dec 2026 09:00 CET (Europe/Vienna) it goes live for all subscriptions." in first.text
    assert planned.row(services.store, TENANT, ID) is None
    assert again(browser, first.text).status_code == 303
    assert [one["at"] for one in plan_of(services)["steps"]] == ["2026-12-01T08:00:00.000000Z"]
    assert "On Tue 1 Dec 2026 09:00 CET (Europe/Vienna), for all subscriptions" in browser.get(f"/rules/{ID}").text
    assert "planned" in browser.get("/rules").text


def test_phases_begin_at_once_where_no_time_is_said(browser: FlaskClient, services: Services) -> None:
    live(services, ready(name="Before"))
    saved(services)
    first = press(browser, when="phases", phases="20, 100", every="2d")
    assert "At once it goes live for 20 % of subscriptions." in first.text
    assert "Until the last phase the others are left alone" in first.text
    again(browser, first.text)
    assert [one["version"] for one in plan_of(services)["steps"]] == [2, None]
    assert "<b>done</b>, version 2" in browser.get(f"/rules/{ID}").text


def test_what_is_entered_otherwise_is_read_back_again(browser: FlaskClient, services: Services) -> None:
    saved(services)
    first = press(browser, when="at", at="2026-12-01T09:00")
    second = again(browser, first.text, at="2026-12-02T09:00")
    assert second.status_code == 200
    assert "Wed 2 Dec 2026 09:00" in second.text
    assert planned.row(services.store, TENANT, ID) is None


@pytest.mark.parametrize(
    ("entered", "why"),
    [
        ({"when": "at", "at": ""}, "Say when."),
        ({"when": "at", "at": "2026-11-01T09:00"}, "The time is past"),
        ({"when": "at", "at": "soon"}, "Write a time"),
        ({"when": "phases", "phases": "10, x"}, "Write the percents"),
        ({"when": "phases", "phases": "10, 50"}, "The last phase is for 100 %"),
        ({"when": "phases", "every": "1y"}, "Write a span"),
    ],
)
def test_what_cannot_be_planned_is_said_beside_the_field(
    browser: FlaskClient, services: Services, entered: dict[str, str], why: str
) -> None:
    saved(services)
    answer = press(browser, **entered)
    assert answer.status_code == 422
    assert why in answer.text


def test_a_plan_is_withdrawn_with_a_reason(browser: FlaskClient, services: Services) -> None:
    saved(services)
    again(browser, press(browser, when="at", at="2026-12-01T09:00").text)
    assert "Nothing of it goes in force" in browser.get(f"/rules/{ID}/withdraw").text
    assert browser.post(f"/rules/{ID}/withdraw", data={"reason": ""}).status_code == 422
    assert browser.post(f"/rules/{ID}/withdraw", data={"reason": "not now"}).status_code == 303
    assert (plan_of(services)["state"], plan_of(services)["why"]) == ("withdrawn", "not now")


def test_every_control_says_that_the_plan_halts_by_it(browser: FlaskClient, services: Services) -> None:
    live(services)
    saved(services, ready(name="Next"))
    again(browser, press(browser, when="at", at="2026-12-01T09:00").text)
    for verb in ("publish", "pause", "archive"):
        assert "halts and asks" in browser.get(f"/rules/{ID}/{verb}").text, verb
    assert "holds its own copy" in browser.get(f"/rules/{ID}/discard").text


def test_a_halted_plan_stands_under_needs_you_and_on_its_rule(browser: FlaskClient, services: Services) -> None:
    saved(services)
    again(browser, press(browser, when="phases").text)
    author.pause(services.store, TENANT, ID, "bob", "odd", NOON)
    planned.do_due(planned.Desk(services.store, services.catalogue, services.connectors), NOON + DAY)
    for page in ("/needs-you", f"/rules/{ID}"):
        assert "bob paused it on Mon 23 Nov 2026 12:00 UTC, after this was planned." in browser.get(page).text
    browser.post(f"/rules/{ID}/withdraw", data={"reason": "seen"})
    assert "paused it on" not in browser.get("/needs-you").text


def test_a_tick_does_what_is_due_and_read_only_mode_lets_it_wait(services: Services) -> None:
    saved(services)
    desk = planned.Desk(services.store, services.catalogue, services.connectors)
    planned.plan(desk, TENANT, ID, [planned.Phase(NOON + DAY)], "live", "ann", "", NOON)
    later = NOON + DAY + timedelta(minutes=1)
    shut = replace(services, settings=replace(services.settings, read_only=True), clock=ManualClock(later))
    tick(Work(shut), later)
    assert (plan_of(services)["state"], plan_of(services)["why"]) == ("waiting", "")
    tick(Work(services), later)
    assert plan_of(services)["state"] == "done"


# ---- the API --------------------------------------------------------------------------------------------------------
@pytest.fixture
def api(browser: FlaskClient) -> Any:
    def call(method: str, path: str = f"/rules/{ID}/plan", **more: Any) -> Any:
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        return browser.open(f"/api/v1{path}", method=method, headers=headers, **more)

    return call


def test_the_api_plans_looks_and_withdraws(api: Any, services: Services) -> None:
    saved(services)
    assert api("GET").status_code == 404
    steps = [{"share": 10}, {"at": iso(NOON + DAY), "share": 50}, {"at": iso(NOON + 3 * DAY)}]
    made = api("POST", json={"steps": steps, "note": "agreed"})
    assert made.status_code == 201
    assert [(one["share"], one["version"]) for one in made.json["steps"]] == [(10, 1), (50, None), (100, None)]
    assert made.json["state"] == api("GET").json["state"] == "waiting"
    gone = api("DELETE", query_string={"note": "not now"})
    assert (gone.status_code, gone.json["state"], gone.json["why"]) == (200, "withdrawn", "not now")
    assert api("DELETE", query_string={"note": "again"}).status_code == 409


@pytest.mark.parametrize(
    ("steps", "status"),
    [
        ([], 400),
        ([{"share": 101}], 400),
        ([{"at": "soon"}], 400),
        ([{"at": iso(NOON)}], 422),
        ([{"share": 10}], 422),
        ([{"share": 10}, {"share": 100}], 422),
    ],
)
def test_the_api_says_what_is_wrong_with_a_plan(api: Any, services: Services, steps: Any, status: int) -> None:
    saved(services)
    assert api("POST", json={"steps": steps}).status_code == status
    assert planned.row(services.store, TENANT, ID) is None


def test_where_two_are_needed_the_api_answers_with_the_proposal(api: Any, services: Services) -> None:
    tenant_settings.save(services.store, TENANT, {"second_person": True}, "ann", NOON)
    saved(services)
    asked = api("POST", json={"steps": [{"at": iso(NOON + DAY)}], "note": "agreed"})
    assert asked.status_code == 202
    assert asked.json["proposal"]["change"] == "plan"
    assert "On Tue 24 Nov 2026 13:00 CET (Europe/Vienna) it goes live" in asked.json["proposal"]["says"][0]
    assert api("GET").status_code == 404
