"""The pages of what needs a person: whose it is, dead letters by cause with their jobs, hours and alerts."""

from __future__ import annotations

import html
from dataclasses import replace
from datetime import timedelta

import pytest
from flask.testing import FlaskClient

from app import author, jobs, tenant_settings
from app.operate import dead_letters
from app.services import Services
from app.web import create_app
from rules.event import iso
from tests.builders import NOON, TENANT, event, services_in_memory
from tests.records import command, keep_command, keep_event, keep_rule, keep_run, run
from tests.web.html import form


@pytest.fixture
def services() -> Services:
    s = services_in_memory()
    keep_rule(s.store)
    for number in range(3):
        trigger = keep_event(s.store, event(f"evt_{number}", time=NOON + timedelta(seconds=number)))
        mine = keep_run(s.store, replace(run(trigger), id=f"run_{number}", state="done"))
        outcome = {"kind": "dead", "message": f"Stripe: No such price: 'price_{number}'", "at": iso(NOON)}
        keep_command(s.store, replace(command(mine), state="dead", due_at=None, outcome=outcome))
    return s


@pytest.fixture
def browser(services: Services) -> FlaskClient:
    return create_app(services).test_client()


def text_of(browser: FlaskClient, address: str) -> str:
    answer = browser.get(address, follow_redirects=True)
    assert answer.status_code == 200, (address, answer.status_code)
    return html.unescape(answer.text)


def test_dead_letters_stand_under_their_cause_and_a_filter_narrows_them(browser: FlaskClient) -> None:
    page = text_of(browser, "/dead-letters")
    assert page.count("No such price: '…'") == 1
    assert page.count("No such price: 'price_") == 3
    assert "Nothing that gave up fits" in text_of(browser, "/dead-letters?text=elephant")


def test_all_of_a_cause_is_replayed_after_its_count_was_shown(browser: FlaskClient, services: Services) -> None:
    asked = text_of(browser, "/dead-letters/replay?connection=stripe")
    assert "Replay 3 dead letters" in asked
    found = form(asked, "/dead-letters/replay")
    assert browser.post(found.action, data=found.sent()).status_code == 422  # why?
    answer = browser.post(found.action, data=found.sent(reason="the price is back"))
    assert answer.status_code == 303
    assert "Waiting to begin" in text_of(browser, answer.location)
    while jobs.run_one(services.store, {dead_letters.JOB: dead_letters.job(services.store, services.inbox)}, NOON):
        pass
    done = text_of(browser, answer.location)
    assert "3 tried again" in done
    assert "Nothing gave up" in text_of(browser, "/dead-letters")


def test_a_job_is_stopped_before_its_next_step(browser: FlaskClient, services: Services) -> None:
    found = form(text_of(browser, "/dead-letters/discard"), "/dead-letters/discard")
    job = browser.post(found.action, data=found.sent(reason="old")).location
    browser.post(f"{job}/stop")
    assert not jobs.run_one(services.store, {dead_letters.JOB: dead_letters.job(services.store, services.inbox)}, NOON)
    assert "Stopped" in text_of(browser, job)
    assert browser.get("/dead-letters/jobs/nothing").status_code == 404


def test_a_thing_is_taken_noted_and_shown_under_mine(browser: FlaskClient) -> None:
    about = "command:run_1/downgrade"
    assert text_of(browser, "/needs-you").count("Nobody yet") == 3
    found = form(text_of(browser, f"/needs-you/assign?about={about}"), "/needs-you/assign")
    answer = browser.post(found.action, data=found.sent(note="price is being made", due="soon"))
    assert (answer.status_code, "Write a date" in answer.text) == (422, True)
    sent = found.sent(note="price is being made", due="2026-11-20", owner_me="1")
    assert browser.post(found.action, data=sent).status_code == 303
    mine = text_of(browser, "/needs-you?show=mine")
    assert mine.count("Overdue</span>") == 1
    assert "price is being made" in mine
    assert text_of(browser, "/needs-you?show=nobodys").count("Nobody yet") == 2
    assert text_of(browser, "/needs-you?show=overdue").count("local operator") >= 1


def test_hours_and_alerts_are_set_with_errors_beside_their_fields(browser: FlaskClient, services: Services) -> None:
    slack = {"name": "ops", "type": "slack", "secret": "https://hooks.slack.com/services/T0/B0/x"}
    author.save_connection(services.store, services.secrets, TENANT, slack, "ada", NOON)
    assert "nobody is told" in text_of(browser, "/settings")
    found = form(text_of(browser, "/settings/account"), "/settings/account")
    wrong = browser.post(found.action, data=found.sent(zone="Mars/Base", needs_you="many"))
    assert wrong.status_code == 422
    assert "there is no time zone" in wrong.text
    assert "write a whole number" in wrong.text
    good = browser.post(found.action, data=found.sent(zone="Europe/Berlin", alert_connection="ops"))
    assert good.status_code == 303
    assert tenant_settings.read(services.store, TENANT).zone == "Europe/Berlin"
    assert ">ops</a>" in text_of(browser, "/settings")
    late = browser.post(found.action, data=found.sent(zone="Asia/Tokyo"))
    assert (late.status_code, "Someone else changed" in late.text) == (409, True)
