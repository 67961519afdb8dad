"""Undo, many runs at once, a pause's queue and exclusion: as a browser without JavaScript and as the API use them."""

from __future__ import annotations

import html
from typing import Any

import pytest
from flask.testing import FlaskClient

from app import author
from app.web import create_app
from app.worker import Work, tick
from tests.builders import DAY, NOON, TENANT
from tests.stories.test_undo import Stripe
from tests.stories.world import ACTOR, DOWNGRADE, LADDER, NOTIFY, World, failed, twice_in_a_week
from tests.web.api import Api
from tests.web.html import form

SECOND = NOON + DAY


@pytest.fixture
def world() -> World:
    """Three runs that have downgraded and told the CRM."""
    world = World()
    world.outside.answers = Stripe().answer
    world.publish(twice_in_a_week([NOTIFY, DOWNGRADE]))
    names = ["sub_1", "sub_2", "sub_3"]
    world.live(SECOND, *[(at, failed(n, at, sub)) for n, at in enumerate((NOON, SECOND)) for sub in names])
    return world


@pytest.fixture
def browser(world: World) -> FlaskClient:
    return create_app(world.services).test_client()


def text_of(browser: FlaskClient, address: str) -> str:
    answer = browser.get(address)
    assert answer.status_code == 200, (address, answer.status_code)
    return html.unescape(answer.text)


def send(browser: FlaskClient, address: str, **more: str) -> Any:
    """Fill in the form at an address and send it; the page it leads to."""
    target = address.partition("?")[0]
    return browser.post(target, data=form(browser.get(address).text, target).sent(**more), follow_redirects=True)


def run_of(world: World, customer: str = "cus_1") -> dict[str, Any]:
    return next(dict(run) for run in world.runs() if run["customer"] == customer)


# ---- undo -----------------------------------------------------------------------------------------------------------
def test_the_page_of_a_run_says_what_an_undo_would_do_and_its_form_shows_the_exact_calls(
    world: World, browser: FlaskClient
) -> None:
    id = run_of(world)["id"]
    page = text_of(browser, f"/runs/{id}")
    assert "What an undo would do, the newest step first." in page
    assert "Then the plan is price_pro again." in page
    assert "a notice that was received stays received" in page
    asking = text_of(browser, f"/runs/{id}/undo")
    assert "Exactly this is done, in this order" in asking
    assert f"{id}/undo/downgrade" in asking


def test_a_run_is_undone_with_a_reason_and_its_page_says_so(world: World, browser: FlaskClient) -> None:
    id = run_of(world)["id"]
    assert browser.post(f"/runs/{id}/undo", data={"reason": ""}).status_code == 422
    browser.post(f"/runs/{id}/undo", data={"reason": "a mistake"})
    tick(Work(world.services), world.clock.now())
    page = text_of(browser, f"/runs/{id}")
    assert "Undone: the plan is price_pro again." in page
    assert "Undo what it did" not in page
    assert "Undone" in text_of(browser, "/runs")


def test_a_run_goes_from_a_step_again_by_its_page(world: World, browser: FlaskClient) -> None:
    id = run_of(world)["id"]
    assert f"/runs/{id}/from?step=downgrade" in browser.get(f"/runs/{id}").text
    assert send(browser, f"/runs/{id}/from?step=downgrade", reason="it was reset").status_code == 200
    assert run_of(world)["steps"]["downgrade"]["generation"] == 1


# ---- many -----------------------------------------------------------------------------------------------------------
def test_many_runs_are_counted_named_and_acted_on_with_a_reason(world: World, browser: FlaskClient) -> None:
    assert "/runs/many?state=&rule=" in html.unescape(browser.get("/runs").text)
    page = text_of(browser, "/runs/many?state=done")
    assert "3 runs" in page
    assert "$147.00" in page
    more = {"verb": "undo", "name": "Incident 1234", "state": "done"}
    assert browser.post("/runs/many", data={**more, "reason": ""}).status_code == 422
    answer = browser.post("/runs/many", data={**more, "reason": "wrong price"}, follow_redirects=True)
    assert "Undo 3 of 3 runs: done." in html.unescape(answer.text)
    audit = text_of(browser, "/settings/audit")
    assert "Incident 1234: wrong price" in audit


def test_a_job_of_many_runs_shows_how_far_it_is(browser: FlaskClient, world: World) -> None:
    from app import jobs
    from app.operate import bulk

    params = {"chosen": {}, "verb": "cancel", "actor": ACTOR, "why": "x", "name": "", "total": 200}
    id = jobs.enqueue(world.durable, TENANT, bulk.JOB, params, world.clock.now())
    assert "200 runs" in text_of(browser, f"/runs/many/{id}")
    assert browser.get("/runs/many/job_unheard_of").status_code == 404


# ---- a customer who is left alone -----------------------------------------------------------------------------------
def test_a_customer_is_left_alone_from_its_page(world: World, browser: FlaskClient) -> None:
    assert 'href="/customers/cus_2/exclude"' in browser.get("/customers/cus_2").text
    assert browser.post("/customers/cus_2/exclude", data={"reason": ""}).status_code == 422
    answer = browser.post("/customers/cus_2/exclude", data={"reason": "contract"}, follow_redirects=True)
    assert "cus_2 is on the list excluded" in html.unescape(answer.text)
    assert "These rules name no such list" not in html.unescape(answer.text)  # every rule leaves it alone


# ---- a pause's queue ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("choice", "state"), [("start", "pending"), ("drop", "cancelled"), ("keep", "parked")])
def test_who_resumes_a_rule_is_told_what_stood_in_line_and_says_what_becomes_of_it(choice: str, state: str) -> None:
    world = World()
    world.publish(LADDER)
    author.pause(world.durable, TENANT, "two-failed-payments", ACTOR, "look", world.clock.now())
    world.clock.set(world.clock.now() + DAY / 24)
    world.live(SECOND, (NOON + DAY / 2, failed(1, NOON)), (SECOND, failed(2, SECOND)))
    browser = create_app(world.services).test_client()
    page = text_of(browser, "/rules/two-failed-payments/resume")
    assert "1 run stood in line during the pause, about $49.00." in page
    send(browser, "/rules/two-failed-payments/resume", reason="go on", queued=choice)
    assert run_of(world)["state"] == state
    assert author.rule(world.durable, TENANT, "two-failed-payments")["state"] == "live"


# ---- the API --------------------------------------------------------------------------------------------------------
def test_the_api_previews_and_does_an_undo(world: World) -> None:
    api, id = Api(world.services), run_of(world)["id"]
    items = api.get(f"/runs/{id}/undo").json["items"]
    assert [one["step"] for one in items] == ["downgrade", "tell-crm"]
    assert items[0]["says"] == "the plan is price_pro again"
    assert api.post(f"/runs/{id}/undo", {"note": "a mistake"}).status_code == 200
    assert api.post(f"/runs/{id}/undo", {"note": "again"}).status_code == 409
    assert api.post(f"/runs/{run_of(world, 'cus_2')['id']}/from", {"step": "downgrade"}).json["state"] == "acting"


def test_the_api_counts_many_runs_before_it_acts_on_them(world: World) -> None:
    api = Api(world.services)
    chosen = {"state": "done", "rule": "two-failed-payments"}
    counted = api.post("/runs:many", {"verb": "undo", "runs": chosen, "dry_run": True}).json
    assert (counted["count"], counted["money"], counted["done"]) == (3, {"usd": 14700}, 0)
    came = api.post("/runs:many", {"verb": "undo", "runs": chosen, "name": "Incident 1234", "note": "x"}).json
    assert (came["count"], came["done"], came["job"]) == (3, 3, None)
    ids = [run["id"] for run in world.runs()]
    refused = api.post("/runs:many", {"verb": "approve", "ids": ids}).json["refused"]
    assert len(refused) == 3
    assert api.get("/runs:many/unheard-of").status_code == 404


def test_the_api_leaves_a_customer_alone_and_resumes_with_a_word_about_the_queue(world: World) -> None:
    api = Api(world.services)
    assert api.post("/customers/cus_1/exclude", {"note": "contract"}).json["list"] == "excluded"
    assert api.post("/rules/two-failed-payments/pause").status_code == 200
    assert api.post("/rules/two-failed-payments/resume", {"queued": "drop"}).json["state"] == "live"
