"""The first page: how to begin, and then whether all is well, what happened today and what needs a person."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from app import author
from app.services import Services
from app.web import create_app
from app.web.home import worst
from rules.event import iso
from rules.ports import Put
from tests.builders import NOON, TENANT, services_in_memory
from tests.web.html import forms
from tests.web.test_rules_pages import connection, live, recorded


@pytest.fixture
def services() -> Services:
    return services_in_memory(stripe_api_key="", stripe_webhook_secrets=())


@pytest.fixture
def browser(services: Services) -> FlaskClient:
    return create_app(services).test_client()


def test_nothing_yet_shows_how_to_begin(browser: FlaskClient) -> None:
    page = browser.get("/").text
    assert "Welcome to Signalbox" in page
    for address in ("/settings/stripe", "/settings/connections/new", "/rules/new"):
        assert f'href="{address}"' in page
    assert "/sample" in [form.action for form in forms(page)]


def test_with_a_real_key_the_sample_is_not_offered() -> None:
    page = create_app(services_in_memory()).test_client().get("/").text
    assert "/sample" not in [form.action for form in forms(page)]


def test_steps_that_are_done_are_ticked_and_all_done_they_leave(browser: FlaskClient, services: Services) -> None:
    live(services)
    assert 'Write a rule<span class="unseen"> (done)' in browser.get("/").text
    author.save_connection(services.store, services.secrets, TENANT, connection(), "ada", NOON)
    recorded(services)
    assert "To begin" not in browser.get("/").text


def test_events_and_rules_of_the_day_are_counted(browser: FlaskClient, services: Services) -> None:
    live(services)
    recorded(services, 2)
    page = browser.get("/").text
    assert "All is well" in page
    assert '<dt><a href="/events">Events</a></dt><dd>1</dd>' in page
    assert "Two failed payments in 7 days" in page


def test_a_failing_connection_turns_the_lamp_red(browser: FlaskClient, services: Services) -> None:
    recorded(services)
    body = {**connection(), "state": "failing", "reason": "gone", "created_at": iso(NOON)}
    services.store.commit(TENANT, None, [Put("connection", "crm", body)])
    page = browser.get("/").text
    assert "Something needs a look" in page
    assert "Failing: crm." in page


def test_the_page_refreshes_itself_by_its_own_block(browser: FlaskClient, services: Services) -> None:
    recorded(services)
    answer = browser.get("/", headers={"HX-Request": "true"})
    assert "<html" not in answer.text
    assert 'id="now"' in answer.text


def test_the_worst_part_gives_the_lamp() -> None:
    assert worst([{"state": "good"}, {"state": "warn"}]) == "warn"
    assert worst([{"state": "bad"}, {"state": "warn"}]) == "bad"
    assert worst([{"state": "none"}]) == "good"
