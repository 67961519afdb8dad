"""Scores by page, API and command, and what rules know of a customer shown with where it came from."""

from __future__ import annotations

import io
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from app import author, scores
from app.handle import handle
from app.services import Services
from app.web import create_app
from rules.event import iso
from rules.model import RuleError
from rules.ports import Delivery
from tests.builders import NOON, TENANT, event, services_in_memory
from tests.records import keep_event
from tests.rules.known import failed, happened, invoice, price, subscription
from tests.test_cli import Cli
from tests.web.api import Api
from tests.web.html import form
from tests.web.test_api_inquire import finished

PUT = {"title": "Churn risk", "values": [{"customer": "cus_1", "value": 0.7}, {"customer": "cus_2", "value": 1}]}


@pytest.fixture
def services() -> Services:
    return services_in_memory()


@pytest.fixture
def api(services: Services) -> Api:
    return Api(services)


@pytest.fixture
def browser(services: Services) -> FlaskClient:
    return create_app(services).test_client()


def rule_on(field: str) -> dict[str, Any]:
    return {
        "id": "risky",
        "name": "Risky",
        "when": {"event": ["invoice.payment_failed"], "same": "customer"},
        "only_if": {"field": field, "is": "greater than", "value": 0.5},
        "steps": [{"name": "tell", "do": "crm.notify", "with": {"connection": "crm"}}],
    }


# ---- by API ---------------------------------------------------------------------------------------------------------
def test_a_score_is_declared_and_set_in_one_call_and_read_back(api: Api) -> None:
    made = api.put("/scores/churn", PUT).json
    assert (made["title"], made["values"]) == ("Churn risk", 2)
    assert {row["customer"]: row["value"] for row in made["items"]} == {"cus_1": 0.7, "cus_2": 1}
    assert made["items"][0]["source"] == "api: admin token"
    assert [row["name"] for row in api.get("/scores").json["items"]] == ["churn"]
    assert api.get("/scores/nope").status_code == 404


def test_a_bad_value_sets_nothing_and_every_one_is_named(api: Api) -> None:
    late = (NOON + timedelta(days=9)).isoformat()
    values = [
        {"customer": "cus_1", "value": 1},
        {"customer": "no", "value": 1},
        {"customer": "cus_2", "value": 2, "at": late},
    ]
    answer = api.put("/scores/churn", {"values": values})
    assert answer.status_code == 422
    assert [one["path"] for one in answer.json["problems"]] == ["values[1].customer", "values[2].at"]
    assert api.get("/scores/churn").json["values"] == 0
    assert api.put("/scores/Churn Risk", {}).json["problems"][0]["suggestion"] == "churn_risk"


def test_setting_again_keeps_what_it_was_before(api: Api, services: Services) -> None:
    api.put("/scores/churn", {"values": [{"customer": "cus_1", "value": 1, "at": "2026-01-01T00:00:00Z"}]})
    api.put("/scores/churn", {"values": [{"customer": "cus_1", "value": 2}]})
    api.put("/scores/churn", {"values": [{"customer": "cus_1", "value": 3, "at": "2026-02-01T00:00:00Z"}]})
    (row,) = api.get("/scores/churn").json["items"]
    assert row["value"] == 2
    assert [one["value"] for one in row["history"]] == [1, 3, 2]


def test_a_score_and_all_its_values_can_be_removed_with_a_reason(api: Api, services: Services) -> None:
    many = [{"customer": f"cus_{number}", "value": number} for number in range(200)]
    assert api.put("/scores/churn", {"values": many}).json["values"] == 200
    assert api.post("/scores/churn/delete", {"note": "replaced"}).json["items"] == []
    assert services.store.count(TENANT, "score_value", [("score", "==", "churn")]) == 0
    said = [row["verb"] for row in api.get("/audit").json["items"]]
    assert sorted(said) == ["declare score", "delete score", "set score"]


def test_tenants_with_equal_ids_have_scores_of_their_own(api: Api) -> None:
    api.tenant(TENANT)
    api.tenant("other/test")
    api.put(f"/scores/churn?tenant={TENANT}", PUT)
    api.put("/scores/churn?tenant=other/test", {"values": [{"customer": "cus_1", "value": 9}]})
    mine = api.get(f"/scores/churn?tenant={TENANT}").json["items"]
    assert {row["value"] for row in mine} == {0.7, 1}
    assert [row["value"] for row in api.get("/scores/churn?tenant=other/test").json["items"]] == [9]


def test_a_rule_on_a_score_that_is_not_declared_is_refused_with_the_nearest(api: Api) -> None:
    api.put("/scores/churn", {})
    found = api.post("/rules:check", rule_on("score.chrn")).json["problems"]
    assert (found[0]["message"], found[0]["suggestion"]) == ("there is no score 'chrn'", "score.churn")
    good = api.post("/rules:check", rule_on("score.churn")).json["problems"]
    assert not [one for one in good if "score" in one["message"]]


# ---- known of a customer --------------------------------------------------------------------------------------------
def heard(services: Services) -> None:
    events = [
        happened("s", "customer.subscription.updated", 0, subscription("sub_1", price(amount=4900)), TENANT),
        failed("f", 10),
    ]
    batch = [Delivery(one.id, one, 1) for one in events]
    handle(batch, services.store, services.rulesets, services.tracer, NOON)


def test_what_is_known_of_a_customer_says_from_which_event(api: Api, services: Services) -> None:
    heard(services)
    api.put("/scores/churn", PUT)
    author.save_list(services.store, TENANT, "vip", ["cus_1"], "ada", NOON)
    rows = {row["name"]: row for row in api.get("/customers/cus_1/facts?at=2027-02-01T00:00:00Z").json["items"]}
    assert (rows["fact.customer.mrr"]["text"], rows["fact.customer.mrr"]["event"]) == ("$49.00", "s")
    assert rows["fact.customer.open_amount"]["text"] == "$49.00"
    assert rows["fact.customer.lists"]["value"] == ["vip"]
    assert rows["score.churn"]["value"] == 0.7
    assert rows["fact.customer.default_payment_method"]["value"] is None
    before = {row["name"]: row for row in api.get("/customers/cus_1/facts?at=2020-01-01T00:00:00Z").json["items"]}
    assert before["fact.customer.status"]["value"] is None
    assert "fact.customer.mrr" in {row["name"] for row in api.get("/facts").json["items"]}


def test_the_page_of_a_customer_leads_to_what_rules_know(browser: FlaskClient, services: Services) -> None:
    heard(services)
    assert "/customers/cus_1/known" in browser.get("/customers/cus_1").text
    page = browser.get("/customers/cus_1/known").text
    assert "not known" in page
    assert "fact.customer.card_expires" in page


def test_a_backtest_asks_for_facts_scores_and_lists_as_of_its_own_time(api: Api) -> None:
    store, day = api.services.store, timedelta(days=1)
    for number, amount in ((1, 9000), (2, 100), (3, 9000)):
        about = {"customer": f"cus_{number}"}
        plan = subscription(f"sub_{number}", price(amount=amount), **about)
        keep_event(store, event(f"s_{number}", "customer.subscription.created", plan, NOON - 90 * day))
        late = subscription(f"sub_{number}", price(amount=0), **about)
        keep_event(store, event(f"l_{number}", "customer.subscription.updated", late, NOON - day))
        thing = invoice(f"in_{number}", **about)
        keep_event(store, event(f"f_{number}", "invoice.payment_failed", thing, NOON - 9 * day))
    then = (NOON - 20 * day).isoformat()
    values = [{"customer": f"cus_{number}", "value": 1, "at": then} for number in (1, 2, 3)]
    api.put("/scores/churn", {"values": values})
    author.save_list(store, TENANT, "vip", ["cus_3"], "ada", NOON)
    parts = [
        {"field": "fact.customer.mrr", "is": "greater than", "value": 5000},
        {"field": "score.churn", "is": "greater than", "value": 0.5},
        {"not": {"field": "fact.customer.lists", "is": "contains", "value": "vip"}},
    ]
    rule = {**rule_on("score.churn"), "only_if": {"all": parts}}
    id = api.post("/backtests", {"rule": rule, "since": iso(NOON - 30 * day)}).json["id"]
    assert [run["subject"] for run in finished(api, id)["runs"]] == ["cus_1"]


# ---- by page --------------------------------------------------------------------------------------------------------
def test_a_score_is_added_filled_and_deleted_on_its_pages(browser: FlaskClient, services: Services) -> None:
    assert "No score yet" in browser.get("/settings").text
    sheet = form(browser.get("/settings/scores/new").text, "/settings/scores/new")
    wrong = browser.post(sheet.action, data=sheet.sent(name="Churn Risk"))
    assert wrong.status_code == 422
    assert "perhaps churn_risk" in wrong.text
    assert browser.post(sheet.action, data=sheet.sent(name="churn", title="Churn risk")).status_code == 303
    values = form(browser.get("/settings/scores/churn").text, "/settings/scores/churn/values")
    assert browser.post(values.action, data=values.sent(values="cus_1, 0.7\ncus_2, 1")).status_code == 303
    bad = browser.post(values.action, data=values.sent(values="cus_1, high"))
    assert bad.status_code == 422
    assert "churn is a number, not" in bad.text
    file = {"file": (io.BytesIO(b"customer,churn\ncus_3,0.1\n"), "churn.csv")}
    assert browser.post(values.action, data=file, content_type="multipart/form-data").status_code == 303
    page = browser.get("/settings/scores/churn").text
    assert "3 customers have one" in page
    assert "cus_3" in page
    sure = form(browser.get("/settings/scores/churn/delete").text, "/settings/scores/churn/delete")
    assert browser.post(sure.action, data=sure.sent(reason="")).status_code == 422
    assert browser.post(sure.action, data=sure.sent(reason="over")).status_code == 303
    assert "No score yet" in browser.get("/settings").text


# ---- files ----------------------------------------------------------------------------------------------------------
def test_a_csv_file_has_one_column_for_each_score() -> None:
    found = scores.read_csv(["customer,churn,health,at", "cus_1,0.5,,2026-01-01", "cus_2,,7,"])
    assert found == {
        "churn": [{"customer": "cus_1", "value": 0.5, "at": "2026-01-01"}],
        "health": [{"customer": "cus_2", "value": 7, "at": None}],
    }
    for lines in ([], ["cus_1,0.5"], ["customer"], ["customer,churn", "cus_1,much"]):
        with pytest.raises(RuleError):
            scores.read_csv(lines)


def test_scores_are_imported_and_facts_shown_by_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli = Cli(tmp_path, capsys)
    (tmp_path / "churn.csv").write_text("customer,churn\ncus_1,0.7\n")
    assert cli("scores", "list") == 0
    assert "no scores yet" in cli.out
    assert cli("scores", "import", tmp_path / "churn.csv") == 0, cli.err
    assert "churn: 1 value is set" in cli.out
    assert cli.json("scores", "list")[0]["values"] == 1
    assert cli("facts", "cus_1") == 0
    assert "0.7" in cli.out
    assert cli("facts") == 0
    assert "fact.customer.mrr" in cli.out
    (tmp_path / "bad.csv").write_text("customer,churn\ncus_1,much\n")
    assert cli("scores", "import", tmp_path / "bad.csv") == 2
    assert "line 2: churn is a number, not 'much'" in cli.err
    assert cli("scores", "delete", "churn", "--note", "over") == 0
    assert cli.json("scores", "list") == []
