"""An event that our own action caused names the step: surely by the key that came back, else probably."""

from __future__ import annotations

import html
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from app import browse
from app.adapters.memory import MemoryStore
from app.services import Services
from app.web import create_app
from rules.event import Event, iso
from tests.builders import NOON, TENANT, event, invoice, services_in_memory
from tests.records import command, keep_command, keep_event, keep_rule, keep_run, run

MINUTE = timedelta(minutes=1)


@pytest.fixture
def services() -> Services:
    """At NOON a run has paid the invoice in_1 at Stripe."""
    s = services_in_memory()
    keep_rule(s.store)
    trigger = keep_event(s.store, event("evt_trigger", time=NOON - MINUTE))
    mine = keep_run(s.store, replace(run(trigger), id="run_1"))
    attempt = {"at": iso(NOON), "ended_at": iso(NOON), "outcome": "done", "message": "paid", "request": {}}
    made = command(
        mine, action="stripe.pay_invoice", state="done", due_at=None, subjects={"in": "in_1", "cus": "cus_1"}
    )
    keep_command(s.store, replace(made, attempts=({**attempt, "response": {}, "generation": 0},)))
    return s


def happens(s: Services, at: datetime, object: Any = None, **more: Any) -> Event:
    assert isinstance(s.store, MemoryStore)
    return keep_event(s.store, event("evt_caused", "invoice.paid", object or invoice(status="paid"), at, **more))


def cause(s: Services) -> Any:
    return browse.event(s.store, TENANT, "evt_caused")["cause"]


def test_the_key_that_comes_back_names_the_step_for_sure(services: Services) -> None:
    happens(services, NOON + 60 * MINUTE, idempotency_key="run_1/downgrade/0", causation="run_1/downgrade")
    assert cause(services) == {"command": "run_1/downgrade", "run": "run_1", "step": "downgrade", "sure": True}


@pytest.mark.parametrize(("minutes", "known"), [(-2, False), (0, True), (9, True), (11, False)])
def test_without_a_key_it_is_probably_what_acted_on_the_same_invoice_minutes_before(
    services: Services, minutes: int, known: bool
) -> None:
    happens(services, NOON + minutes * MINUTE)
    found = cause(services)
    assert (found is not None) == known
    assert not known or (found["command"], found["sure"]) == ("run_1/downgrade", False)


def test_another_invoice_is_not_ours(services: Services) -> None:
    happens(services, NOON + MINUTE, invoice(id="in_2", subscription="sub_9"))
    assert cause(services) is None


def test_somebody_elses_key_is_theirs(services: Services) -> None:
    happens(services, NOON + MINUTE, idempotency_key="their-own-key")
    assert cause(services) is None


OWN = {"causation": "run_1/downgrade", "idempotency_key": "run_1/downgrade/0"}


def test_what_was_heard_of_before_the_action_did_not_come_of_it(services: Services) -> None:
    happens(services, NOON, recorded=NOON - timedelta(seconds=1))
    assert cause(services) is None
    assert browse.event(services.store, TENANT, "evt_trigger")["cause"] is None


@pytest.mark.parametrize(("more", "word"), [({}, "probably"), (OWN, "by")])
def test_the_run_the_event_and_the_journey_lead_to_each_other(services: Services, more: Any, word: str) -> None:
    happens(services, NOON + MINUTE, **more)
    (caused,) = browse.run(services.store, TENANT, "run_1")["caused"]
    assert (caused["id"], caused["cause"]["sure"]) == ("evt_caused", word == "by")
    browser = create_app(services).test_client()
    assert "What it caused at Stripe" in html.unescape(browser.get("/runs/run_1").text)
    page = html.unescape(browser.get("/events/evt_caused").text)
    assert ("Probably caused by us" in page) == (word == "probably")
    assert "/runs/run_1#step-downgrade" in page
    journey = html.unescape(browser.get("/traces/in_1").text)
    assert "by our step" in journey
