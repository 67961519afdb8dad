"""The pages of backtests, the numbers beside the editor, and the effect that is signed with a version."""

from __future__ import annotations

import csv
import io
import itertools
import json
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from app import author, jobs
from app.inquire import backtest_job, backtests, first_look, preview
from app.services import Services, lab_of
from app.starters import library
from app.web import create_app
from rules.measure import proposed_limits
from tests.builders import DAY, NOON, TENANT, event, invoice, services_in_memory
from tests.records import keep_event
from tests.web.html import form
from tests.web.test_rules_pages import HX, live, ready, saved

ID = "two-failed-payments"


@pytest.fixture
def services() -> Services:
    return services_in_memory()


@pytest.fixture
def browser(services: Services) -> FlaskClient:
    return create_app(services).test_client()


def failures(services: Services, number: int, *days: float, **more: Any) -> None:
    for before in days:
        ids = {"id": f"in_{number}", "customer": f"cus_{number}", "subscription": f"sub_{number}"}
        id = f"evt_{number}_{before}"
        keep_event(services.store, event(id, object=invoice(**ids, **more), time=NOON - before * DAY))


def paid(services: Services, number: int, before: float) -> None:
    ids = {"id": f"in_{number}", "customer": f"cus_{number}", "subscription": f"sub_{number}"}
    keep_event(services.store, event(f"evt_p{number}", "invoice.paid", invoice(**ids), NOON - before * DAY))


def work(services: Services) -> None:
    types = {"backtest": backtest_job.job(services.store)}
    while jobs.run_one(services.store, types, NOON):
        pass


def tried(browser: FlaskClient, services: Services, **fields: str) -> str:
    """The address of a finished backtest, asked for by the form."""
    answer = browser.post("/backtests", data={"rule": ID, "days": "30", **fields})
    assert answer.status_code == 303
    work(services)
    return str(answer.location)


# ---- the page -------------------------------------------------------------------------------------------------------
def test_an_empty_list_says_what_to_do(browser: FlaskClient) -> None:
    assert "Nothing has been tried yet" in browser.get("/backtests").text


def test_a_backtest_shows_its_numbers_its_bounds_and_the_runs_behind_them(
    browser: FlaskClient, services: Services
) -> None:
    saved(services)
    failures(services, 1, 6, 4)
    failures(services, 2, 6, 5)
    paid(services, 2, 1)
    at = tried(browser, services, against="on")
    page = browser.get(at).text
    for part in ("$98.00", "Not paid", "Paid anyway", "2 customers ($98.00)", "cus_1", "cus_2", "would have been done"):
        assert part in page
    assert "It cannot tell whether an e-mail would have made a customer pay" in page
    assert ID.replace("-", " ").split()[0] in browser.get("/backtests").text


def test_while_it_works_the_page_asks_again_and_it_can_be_stopped(browser: FlaskClient, services: Services) -> None:
    saved(services)
    at = browser.post("/backtests", data={"rule": ID}).location
    page = browser.get(at).text
    assert 'hx-trigger="every 1s"' in page
    assert "Look again" in page
    assert browser.get(at, headers=HX).text.lstrip().startswith('<div id="answer"')
    assert browser.post(f"{at}/cancel").status_code == 303
    page = browser.get(at).text
    assert "It was stopped" in page
    assert "every 1s" not in page


def test_the_list_can_be_taken_as_a_file(browser: FlaskClient, services: Services) -> None:
    saved(services)
    failures(services, 1, 6, 4)
    answer = browser.get(f"{tried(browser, services)}.csv")
    assert answer.mimetype == "text/csv"
    (row,) = csv.DictReader(io.StringIO(answer.text))
    assert (row["subject"], row["customer"], row["money"], row["outcome"]) == ("sub_1", "cus_1", "4900 usd", "never")
    assert "downgrade would 2026-11-19T12:00:00Z" in row["steps"]


def test_a_name_that_looks_like_a_formula_is_none_in_the_file() -> None:
    from app.web.backtests import csv_lines

    row = {"at": "x", "rule": "r", "subject": "=cmd()", "customer": None, "money": {}, "state": "done"}
    row |= {"reason": "@x", "outcome": None, "paid": None, "steps": []}
    assert list(csv_lines([row]))[1].startswith("x,r,'=cmd(),")


def test_only_so_many_may_wait_and_the_page_says_so(browser: FlaskClient, services: Services) -> None:
    saved(services)
    for _ in range(backtests.QUEUED):
        browser.post("/backtests", data={"rule": ID})
    refused = browser.post("/backtests", data={"rule": ID})
    assert refused.status_code == 409
    assert "stop one" in refused.text


# ---- beside the editor ----------------------------------------------------------------------------------------------
def edited(browser: FlaskClient, document: dict[str, Any], press: str, **headers: str) -> Any:
    fields = {"expect": "", "text": json.dumps(document), "do": press}
    return browser.post(f"/rules/{ID}/edit", data=fields, headers=headers)


def test_beside_the_editor_stand_the_runs_customers_and_money_of_30_days(
    browser: FlaskClient, services: Services
) -> None:
    saved(services)
    failures(services, 1, 6, 4)
    failures(services, 2, 50, 49)
    answer = browser.post(f"/rules/{ID}/preview", data={"expect": "", "text": json.dumps(ready())}, headers=HX)
    assert "<b>1</b> run for <b>1</b> customer, <b>$49.00</b>" in answer.text
    assert "cus_1" in answer.text
    loose = ready(when={**ready()["when"], "at_least": 1})
    answer = browser.post(f"/rules/{ID}/preview", data={"expect": "", "text": json.dumps(loose)}, headers=HX)
    assert "<b>1</b> run for" in answer.text  # the same customer, not again within 30 days
    assert jobs.latest(services.store, TENANT, "backtest") is None


def test_without_javascript_a_button_looks(browser: FlaskClient, services: Services) -> None:
    saved(services)
    failures(services, 1, 6, 4)
    fields = form(browser.get(f"/rules/{ID}/edit").text, f"/rules/{ID}/edit")
    assert "Whom it would have reached" in browser.get(f"/rules/{ID}/edit").text
    page = browser.post(f"/rules/{ID}/edit", data=fields.sent(do="preview")).text
    assert "<b>1</b> run for <b>1</b> customer" in page


def test_a_rule_with_gaps_waits_for_its_numbers(browser: FlaskClient, services: Services) -> None:
    saved(services)
    answer = edited(browser, ready(steps=[]), "preview")
    assert "once the rule is complete" in answer.text
    assert edited(browser, ready(steps=[]), "history").status_code == 422


def test_the_proposed_limits_are_three_times_the_busiest_day_and_can_be_taken(
    browser: FlaskClient, services: Services
) -> None:
    document = {key: value for key, value in ready().items() if key != "limits"}
    saved(services, document)
    for number in range(4):
        failures(services, number, 6 + number / 100, 4 + number / 100)
    assert "Ask me after 12 runs or $588.00 a day" in edited(browser, document, "preview").text
    page = edited(browser, document, 'limits|{"runs": 12, "money": {"usd": 58800}, "per": "P1D"}').text
    assert "&#34;runs&#34;: 12" in page
    assert proposed_limits(None) == {"runs": 5, "per": "P1D"}
    assert proposed_limits({"runs": 1, "amount": {"usd": 0}}) == {"runs": 5, "per": "P1D"}


def test_what_takes_too_long_says_how_far_it_came(services: Services) -> None:
    for number in range(200):
        failures(services, number, 6 + number / 1000, 4 + number / 1000)
    ticks = itertools.count()
    found = preview.preview(lab_of(services), TENANT, ready(), NOON, preview.Budget(3.5, lambda: float(next(ticks))))
    assert found is not None
    assert (found["events"], found["of"]) == (150 + 50, 400)
    assert found["through"] < "2026-11-20"
    whole = preview.preview(lab_of(services), TENANT, ready(), NOON, preview.Budget(60))
    assert whole is not None
    assert (whole["events"], whole["through"], whole["runs"]) == (400, None, 200)


def test_what_is_typed_can_be_tried_on_history_beside_what_is_in_force(
    browser: FlaskClient, services: Services
) -> None:
    live(services)
    failures(services, 1, 6, 4)
    failures(services, 2, 5)
    answer = edited(browser, ready(when={**ready()["when"], "at_least": 1}), "history")
    assert answer.status_code == 303
    work(services)
    page = browser.get(answer.location).text
    assert "<b>1 customer ($49.00)</b> enter" in page
    assert "cus_1" not in browser.get(f"{answer.location}?change=enters").text


# ---- signed with the version ----------------------------------------------------------------------------------------
def test_whoever_publishes_sees_the_measured_effect_and_it_is_kept_with_the_version(
    browser: FlaskClient, services: Services
) -> None:
    live(services)
    saved(services, ready(when={**ready()["when"], "at_least": 1}, examples=[]))
    failures(services, 1, 6, 4)
    failures(services, 2, 5)
    assert "Nobody has measured yet" in browser.get(f"/rules/{ID}/publish").text
    assert browser.post(f"/rules/{ID}/effect").location.endswith("/publish")
    assert "Measuring the effect" in browser.get(f"/rules/{ID}/publish").text
    browser.post(f"/rules/{ID}/effect")
    assert len(backtests.recent(services.store, TENANT)) == 1
    work(services)
    page = browser.get(f"/rules/{ID}/publish").text
    assert "2 runs for 2 customers, $98.00" in page
    assert "<b>1 customer ($49.00)</b> enter" in page
    answer = browser.post(f"/rules/{ID}/publish", data={"reason": "earlier", "limits": "none"})
    assert answer.status_code == 303, answer.text
    kept = author.version(services.store, TENANT, ID, 2)["effect"]
    assert kept["versus"]["enter"]["customers"] == 1
    assert len(kept["rule_hash"]) == len(kept["dataset"]) == 64
    assert "Measured before: 1 enter, 0 leave" in browser.get(f"/rules/{ID}").text


def test_an_effect_of_another_draft_or_of_yesterday_is_not_signed(services: Services) -> None:
    live(services)
    saved(services, ready(when={**ready()["when"], "at_least": 1}, examples=[]))
    failures(services, 1, 6, 4)
    document = author.rule(services.store, TENANT, ID)["document"]
    question = backtests.Question(TENANT, [ID], None, None, backtests.IN_FORCE)
    backtests.start(lab_of(services), question, NOON)
    work(services)
    assert backtests.effect(services.store, TENANT, document, NOON)
    assert not backtests.effect(services.store, TENANT, {**document, "name": "other"}, NOON)
    assert not backtests.effect(services.store, TENANT, document, NOON + timedelta(days=2))


# ---- day one --------------------------------------------------------------------------------------------------------
def test_once_history_is_there_the_ready_rules_are_tried_before_any_is_live(
    browser: FlaskClient, services: Services
) -> None:
    assert first_look.schedule(services.store, TENANT, NOON) is None
    failures(services, 1, 6, 4)
    assert first_look.schedule(services.store, TENANT, NOON) == first_look.ID
    assert first_look.schedule(services.store, TENANT, NOON) is None
    assert "are being tried" in browser.get("/rules/new").text
    work(services)
    found = first_look.found(services.store, TENANT)
    assert found is not None
    assert found["rules"][ID]["customers"] == 1
    assert "1 customer</b> in your" in browser.get("/rules/new").text.replace("<b>1</b> customer", "1 customer</b>")
    assert "ready rules would have run" in browser.get("/").text


def test_where_a_rule_is_live_the_ready_ones_are_tried_when_asked(browser: FlaskClient, services: Services) -> None:
    live(services)
    failures(services, 1, 6, 4)
    assert first_look.schedule(services.store, TENANT, NOON) is None
    assert browser.post("/rules/new/try").status_code == 303
    work(services)
    assert "See for whom" in browser.get("/rules/new").text


def test_every_ready_rule_can_be_tried() -> None:
    assert {one["id"] for one in first_look.ready()} == {one.id for one in library()}


def test_backtests_of_an_earlier_version_are_passed_over(browser: FlaskClient, services: Services) -> None:
    id = jobs.enqueue(services.store, TENANT, "backtest", {"document": ready(), "since": None, "until": ""}, NOON)
    assert "Nothing has been tried yet" in browser.get("/backtests").text
    assert browser.get(f"/backtests/{id}").status_code == 404
