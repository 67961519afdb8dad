"""The pages of safety: where one is, the dry run, live actions, the emergency stop, and limits that are proposed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from app import author, browse, operate, tenants
from app.connections import live_actions
from app.services import Services
from app.web import create_app
from rules.ports import ABSENT, Put
from tests.builders import NOON, TENANT, services_in_memory
from tests.web.api import Api
from tests.web.html import form

LIVE = "default/live"
RULE: dict[str, Any] = {
    "id": "each",
    "name": "Each failure",
    "when": {"event": ["invoice.payment_failed"], "same": "subscription"},
    "steps": [{"name": "plan", "do": "stripe.change_plan", "with": {"price": "price_free"}}],
}
PAGES = ("/", "/needs-you", "/rules", "/events", "/runs", "/customers", "/traces", "/deliveries", "/settings")


@pytest.fixture
def services() -> Services:
    found = services_in_memory()
    tenants.ensure(found.store, LIVE, NOON)
    return found


@pytest.fixture
def browser(services: Services) -> Iterator[FlaskClient]:
    with create_app(services).test_client() as client:
        yield client


@pytest.fixture
def api(services: Services) -> Api:
    return Api(services)


def drafted(services: Services, **more: Any) -> None:
    s = services
    author.save_draft(s.store, s.vault, s.catalogue, s.connectors, TENANT, {**RULE, **more}, "ada", NOON)


# ---- where one is ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("path", PAGES)
def test_every_page_says_which_account_and_mode_it_shows_and_live_is_loud(browser: FlaskClient, path: str) -> None:
    live = browser.get(f"{path}?tenant={LIVE}").text
    assert '<section class="where live"' in live
    assert "<b>LIVE</b> <span>default: what rules do here reaches real customers" in live
    test = browser.get(f"{path}?tenant={TENANT}").text
    assert '<section class="where test"' in test
    assert "LIVE" not in test


def test_the_emergency_stop_is_on_every_page_first_on_settings_and_one_press_with_a_reason(
    browser: FlaskClient, services: Services
) -> None:
    assert 'href="/settings/switch?what=all&amp;stop=1"' in browser.get("/runs").text
    page = browser.get("/settings").text
    assert "<h2" not in page[page.index("<main") : page.index('id="h-switches"') - 4]
    stop = form(page, "/settings/switch")
    assert browser.post(stop.action, data=stop.sent(reason="Incident 7")).status_code == 303
    assert "Everything is stopped." in browser.get("/").text
    assert [one for one in (TENANT, LIVE) if operate.switches(services.store, one)["all"]] == [LIVE]


# ---- the dry run ----------------------------------------------------------------------------------------------------
def test_a_dry_run_begins_and_ends_on_the_settings_page_and_every_page_says_so(browser: FlaskClient) -> None:
    asked = form(browser.get("/settings/dry-run?on=1").text, "/settings/dry-run")
    assert browser.post(asked.action, data=asked.sent(reason="")).status_code == 422
    assert browser.post(asked.action, data=asked.sent(reason="First look")).status_code == 303
    services_later(browser)
    for path in PAGES:
        assert "<b>Dry run.</b>" in browser.get(path).text, path
    assert "First look" in browser.get("/settings").text
    assert browser.post(asked.action, data=asked.sent(reason="again")).status_code == 409
    ending = form(browser.get("/settings/dry-run?on=0").text, "/settings/dry-run")
    assert browser.post(ending.action, data=ending.sent(reason="Seen enough")).status_code == 303
    services_later(browser)
    assert "<b>Dry run.</b>" not in browser.get("/").text


def services_later(browser: FlaskClient) -> None:
    """A second later."""
    browser.application.extensions["services"].clock.forward(timedelta(seconds=1))


def test_what_the_environment_set_the_page_cannot_end() -> None:
    services = services_in_memory(dry_run=True)
    with create_app(services).test_client() as client:
        assert "<b>Dry run.</b>" in client.get("/").text
        page = client.get("/settings").text
        assert "SIGNALBOX_DRY_RUN" in page
        assert "/settings/dry-run?on=0" not in page
        assert client.post("/settings/dry-run", data={"on": "0", "reason": "now"}).status_code == 409
    api = Api(services)
    assert api.get("/dry-run").json == {"on": True, "always": True, "by": "", "at": "", "why": ""}


def test_the_api_moves_the_switch(api: Api) -> None:
    assert api.get("/dry-run").json["on"] is False
    assert api.post("/dry-run", {"on": True, "note": "first look"}).json["why"] == "first look"
    assert api.post("/dry-run", {"on": True, "note": "again"}).status_code == 409
    assert api.post("/dry-run", {"on": True}).status_code in (400, 422)


# ---- live actions ---------------------------------------------------------------------------------------------------
def connected(services: Services, name: str = "crm") -> None:
    body = {"name": name, "type": "webhook", "url": "https://crm.example.com/in"}
    author.save_connection(services.store, services.secrets, LIVE, body, "ada", NOON)


def test_a_new_live_connection_asks_on_its_page_and_under_needs_you(browser: FlaskClient, services: Services) -> None:
    connected(services)
    assert "Live actions are off." in browser.get(f"/settings/connections/crm?tenant={LIVE}").text
    assert "Live actions to be allowed" not in browser.get("/needs-you").text
    due = {"state": "due", "outcome": {}, "run_id": "", "rule_id": "", "connection": "crm", "customer": None}
    more = {"correlation": "in_1", "created_at": "2026-11-23T12:00:00.000000Z", "due_at": "2026-11-23T12:00:00.000000Z"}
    services.store.commit(LIVE, None, [Put("command", "run_1/a", {**due, **more}, ABSENT)])
    page = browser.get("/needs-you").text
    assert "Live actions to be allowed" in page
    link = "/settings/connections/crm/live?on=1"
    assert link in page
    asked = form(browser.get(link).text, "/settings/connections/crm/live")
    assert browser.post(asked.action, data=asked.sent(reason="")).status_code == 422
    assert browser.post(asked.action, data=asked.sent(reason="Reviewed with Ben")).status_code == 303
    page = browser.get("/settings/connections/crm").text
    assert "switched on by local operator" in page
    assert "Reviewed with Ben" in page
    assert "Live actions to be allowed" not in browser.get("/needs-you").text


def test_the_api_allows_and_forbids_live_actions_and_test_mode_has_none(api: Api, services: Services) -> None:
    connected(services)
    path = "/connections/crm/live"
    assert api.post(f"{path}?tenant={LIVE}", {"on": True, "note": "reviewed"}).json["live_actions"] is True
    assert api.post(f"{path}?tenant={LIVE}", {"on": True, "note": "again"}).status_code == 409
    assert api.post(f"/connections/none/live?tenant={LIVE}", {"on": True, "note": "x"}).status_code == 404
    told = {(one["verb"], one["why"]) for one in browse.audit(services.store, LIVE, about="crm")["items"]}
    assert ("switch live actions on", "reviewed") in told
    assert live_actions.asking(services.store, LIVE) == []


# ---- limits that are proposed ---------------------------------------------------------------------------------------
def test_a_rule_without_limits_asks_for_them_before_it_goes_live(browser: FlaskClient, services: Services) -> None:
    drafted(services)
    look = f"/rules/each/publish?tenant={TENANT}"
    asked = form(browser.get(look).text, "/rules/each/publish")
    sent = asked.sent(reason="now")
    assert sent["limits"] == ["proposed"]
    unanswered = {key: value for key, value in sent.items() if key != "limits"}
    assert browser.post(asked.action, data=unanswered).status_code == 422
    assert author.rule(services.store, TENANT, "each")["state"] == "off"
    assert browser.post(asked.action, data=sent).status_code == 303
    found = author.rule(services.store, TENANT, "each")
    assert (found["state"], found["in_force"]["limits"]) == ("live", {"runs": 5, "per": "P1D"})


def test_it_may_go_without_when_somebody_says_so_and_one_with_limits_is_not_asked(
    browser: FlaskClient, services: Services
) -> None:
    drafted(services)
    asked = form(browser.get(f"/rules/each/publish?tenant={TENANT}").text, "/rules/each/publish")
    assert browser.post(asked.action, data=asked.sent(reason="now", limits="none")).status_code == 303
    assert "limits" not in author.rule(services.store, TENANT, "each")["in_force"]
    drafted(services, limits={"runs": 7})
    assert "It has no limits" not in browser.get("/rules/each/publish").text


def test_one_press_in_the_editor_fills_the_limits_in(browser: FlaskClient, services: Services) -> None:
    drafted(services)
    edited = form(browser.get(f"/rules/each/edit?tenant={TENANT}").text, "/rules/each/edit")
    answer = browser.post(edited.action, data=edited.sent(do="propose"))
    assert form(answer.text, "/rules/each/edit").sent()["limits.runs"] == ["5"]
