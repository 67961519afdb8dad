"""The JSON API's backtests and explanations: what a rule would have done, and why it fired or did not."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from app import jobs
from app.inquire import backtest_job, backtests
from rules.event import iso
from rules.kinds import KINDS
from tests.builders import NOON, SHARED, event, invoice
from tests.records import keep_event
from tests.web.api import Api, api

__all__ = ["api"]
RULE = json.loads((SHARED / "data" / "example_rule.json").read_bytes())
DAY = timedelta(days=1)


def failure(api: Api, number: int, at: datetime, **more: Any) -> None:
    """A failed payment of subscription `sub_<number>`, as the log keeps it."""
    ids = {"id": f"in_{number}", "customer": f"cus_{number}", "subscription": f"sub_{number}"}
    one = event(f"evt_{number}_{int(at.timestamp())}", object=invoice(**ids, **more), time=at)
    keep_event(api.services.store, one)


def history(api: Api) -> None:
    """sub_1 fails twice in 3 days, sub_2 twice in 9, sub_3 once, sub_4 twice forty days ago."""
    for number, days in ((1, (4, 1)), (2, (12, 3)), (3, (2,)), (4, (40, 38))):
        for before in days:
            failure(api, number, NOON - before * DAY)


def finished(api: Api, id: str) -> dict[str, Any]:
    """The backtest once the worker has done it."""
    s = api.services
    types = {"backtest": backtest_job.job(s.store, s.columns)}
    while jobs.run_one(s.store, types, NOON):
        pass
    found: dict[str, Any] = api.get(f"/backtests/{id}").json
    return found


# ---- backtests ------------------------------------------------------------------------------------------------------
def test_a_backtest_is_asked_for_polled_and_tells_what_would_have_run(api: Api) -> None:
    history(api)
    asked = api.post("/backtests", {"rule": RULE, "since": iso(NOON - 30 * DAY), "until": None})
    assert asked.status_code == 202
    assert asked.headers["Location"] == f"/api/v1/backtests/{asked.json['id']}"
    assert api.get(f"/backtests/{asked.json['id']}").json["status"] == "queued"
    found = finished(api, asked.json["id"])
    assert (found["status"], found["progress"]) == ("done", 1)
    assert {name: found["summary"][name] for name in ("runs", "subjects", "amount")} == {
        "runs": 1,
        "subjects": 1,
        "amount": {"usd": 4900},
    }
    run = found["runs"][0]
    assert (run["subject"], run["at"], run["stopped"]) == ("sub_1", iso(NOON - DAY), None)
    assert [step["name"] for step in run["steps"]] == ["downgrade", "tell-crm"]
    assert len(run["events"]) == 2


def test_without_a_beginning_all_of_the_history_counts(api: Api) -> None:
    history(api)
    id = api.post("/backtests", {"rule": RULE}).json["id"]
    assert sorted(run["subject"] for run in finished(api, id)["runs"]) == ["sub_1", "sub_4"]


def test_what_came_before_the_beginning_counts_in_windows_and_starts_nothing(api: Api) -> None:
    history(api)
    id = api.post("/backtests", {"rule": RULE, "since": iso(NOON - 2 * DAY)}).json["id"]
    assert [run["subject"] for run in finished(api, id)["runs"]] == ["sub_1"]


def test_nothing_after_the_end_counts(api: Api) -> None:
    history(api)
    id = api.post("/backtests", {"rule": RULE, "until": iso(NOON - 2 * DAY)}).json["id"]
    assert [run["subject"] for run in finished(api, id)["runs"]] == ["sub_4"]


def test_a_rule_is_tested_by_its_id_and_nothing_is_sent_or_kept(api: Api) -> None:
    history(api)
    api.post("/rules", RULE)
    id = api.post("/backtests", {"rule": RULE["id"]}).json["id"]
    assert finished(api, id)["summary"]["runs"] == 2
    assert api.get("/runs").json["items"] == []
    assert api.get("/commands").json["items"] == []


def test_a_personal_constant_is_compared_and_kept_as_its_token(api: Api) -> None:
    token = api.services.vault.tokenise("default/test", "cus_1", ["ada@example.com"])[0]
    failure(api, 1, NOON - 2 * DAY, customer_email=token)
    failure(api, 1, NOON - DAY, customer_email=token)
    mine = {"all": [{"field": "data.object.customer_email", "is": "equal to", "value": "ada@example.com"}]}
    id = api.post("/backtests", {"rule": {**RULE, "only_if": mine}}).json["id"]
    assert finished(api, id)["summary"]["runs"] == 1
    job = api.services.store.get("default/test", "job", id)
    assert "ada@" not in json.dumps(job.body if job else None)
    assert api.post("/explain", {"rule": {**RULE, "only_if": mine}, "subject": "sub_1"}).json["fired"] is True


def many(api: Api, count: int = 120) -> None:
    """So many subscriptions with two failures each."""
    for number in range(100, 100 + count):
        failure(api, number, NOON - 5 * DAY + timedelta(seconds=number))
        failure(api, number, NOON - 2 * DAY + timedelta(seconds=number))


def ticking(by: float) -> Callable[[], float]:
    """A clock on which each look takes so long."""
    ticks = itertools.count()
    return lambda: next(ticks) * by


def test_many_events_are_read_in_several_steps_with_progress(api: Api) -> None:
    many(api)
    id = api.post("/backtests", {"rule": RULE}).json["id"]
    s = api.services
    types = {"backtest": backtest_job.job(s.store, monotonic=ticking(0.015))}
    shares = []
    for _ in range(4):
        assert jobs.run_one(s.store, types, NOON)
        shares.append(api.get(f"/backtests/{id}").json["progress"])
    assert shares == sorted(shares)
    assert 0 < shares[-1] < 1
    restarted = {"backtest": backtest_job.job(s.store)}  # as after a crash of the worker
    while jobs.run_one(s.store, restarted, NOON):
        pass
    done = api.get(f"/backtests/{id}").json
    assert done["summary"]["runs"] == 120
    assert (len(done["runs"]), done["more"], done["next"]) == (120, 0, None)


def test_the_list_behind_the_numbers_comes_in_pages(api: Api) -> None:
    many(api, 620)
    id = api.post("/backtests", {"rule": RULE}).json["id"]
    first = finished(api, id)
    rest, after = [], first["next"]
    while after is not None:
        page = api.get(f"/backtests/{id}?after={after}").json
        rest += page["runs"]
        after = page["next"]
    assert (len(first["runs"]), first["more"], len(rest)) == (500, 120, 120)
    assert len({run["run"] for run in [*first["runs"], *rest]}) == 620
    assert [run["at"] for run in [*first["runs"], *rest]] == sorted(run["at"] for run in [*first["runs"], *rest])


def test_no_step_of_a_backtest_works_for_longer_than_its_slice(api: Api) -> None:
    """On a clock that goes on by 4 ms with every glance of 50 events, a slice ends by itself."""
    many(api, 400)
    api.post("/backtests", {"rule": RULE})
    s, clock = api.services, ticking(0.004)
    types = {"backtest": backtest_job.job(s.store, monotonic=clock)}
    longest, steps, before = 0.0, 0, clock()
    while jobs.run_one(s.store, types, NOON):
        after = clock()
        longest, steps, before = max(longest, after - before), steps + 1, after
    assert steps >= 2
    assert longest <= backtest_job.SLICE + 4 * 0.004


def test_only_so_many_backtests_of_a_tenant_may_wait(api: Api) -> None:
    for _ in range(backtests.QUEUED):
        assert api.post("/backtests", {"rule": RULE}).status_code == 202
    refused = api.post("/backtests", {"rule": RULE})
    assert (refused.status_code, refused.json["title"]) == (409, "Not now")
    assert "stop one" in refused.json["detail"]


# ---- side by side ---------------------------------------------------------------------------------------------------
def stricter(by: int) -> dict[str, Any]:
    return {**RULE, "when": {**RULE["when"], "at_least": by}}


def test_it_says_who_enters_and_who_leaves_beside_what_is_in_force(api: Api) -> None:
    history(api)
    failure(api, 3, NOON - 2 * DAY - timedelta(hours=3), amount_remaining=700)
    api.post("/rules", stricter(1))
    api.post(f"/rules/{RULE['id']}/publish")
    id = api.post("/backtests", {"rule": RULE, "against": "live", "since": iso(NOON - 30 * DAY)}).json["id"]
    found = finished(api, id)
    versus = found["summary"]["versus"]
    assert {name: versus[name]["customers"] for name in ("enter", "leave", "stay")} == {
        "enter": 0,
        "leave": 1,
        "stay": 2,
    }
    assert versus["leave"]["amount"] == {"usd": 4900}
    assert [(run["customer"], run["change"]) for run in found["runs"]] == [
        ("cus_3", "stays"),
        ("cus_1", "stays"),
        ("cus_2", "leaves"),
    ]


def test_a_rule_that_was_never_in_force_enters_with_everybody(api: Api) -> None:
    history(api)
    id = api.post("/backtests", {"rule": RULE, "against": "live"}).json["id"]
    versus = finished(api, id)["summary"]["versus"]
    assert (versus["enter"]["customers"], versus["before"]["customers"]) == (2, 0)
    assert api.post("/backtests", {"rule": RULE, "against": f"{RULE['id']}@7"}).status_code == 404
    assert api.post("/backtests", {"rule": RULE, "against": "yesterday"}).status_code == 404


def test_rules_are_tried_together_and_each_has_its_sum(api: Api) -> None:
    history(api)
    other = {**stricter(1), "id": "one-failure"}
    id = api.post("/backtests", {"rules": [RULE, other]}).json["id"]
    found = finished(api, id)
    assert {id: part["runs"] for id, part in found["summary"]["rules"].items()} == {RULE["id"]: 2, "one-failure": 4}
    assert api.post("/backtests", {"rules": [RULE, RULE]}).status_code == 422
    assert api.post("/backtests", {"rules": [RULE], "rule": RULE}).status_code == 400


def test_what_is_in_force_runs_along_and_is_not_counted(api: Api) -> None:
    history(api)
    api.post("/rules", {**stricter(1), "id": "one-failure"})
    api.post("/rules/one-failure/publish")
    id = api.post("/backtests", {"rule": RULE, "together": True}).json["id"]
    job = api.services.store.get("default/test", "job", id)
    assert job is not None
    assert [document["id"] for document in job.body["params"]["beside"]] == ["one-failure"]
    assert set(finished(api, id)["summary"]["rules"]) == {RULE["id"]}


def test_the_same_question_has_the_same_digest_and_another_history_another(api: Api) -> None:
    history(api)
    until = iso(NOON)
    digests = [
        finished(api, api.post("/backtests", {"rule": RULE, "until": until}).json["id"])["summary"] for _ in "ab"
    ]
    assert digests[0] == digests[1]
    failure(api, 1, NOON - 3 * DAY)
    after = finished(api, api.post("/backtests", {"rule": RULE, "until": until}).json["id"])["summary"]
    assert after["rule_hash"] == digests[0]["rule_hash"]
    assert after["digest"] != digests[0]["digest"]


def test_it_states_what_it_covers_and_what_it_cannot_know(api: Api) -> None:
    history(api)
    id = api.post("/backtests", {"rule": RULE, "since": iso(NOON - 90 * DAY)}).json["id"]
    said = " ".join(finished(api, id)["summary"]["limits"])
    for part in (
        "It covers",
        "is missing",
        "would have made a customer pay",
        "at the moment of each event",
        "test clock",
    ):
        assert part in said


def test_a_backtest_writes_nothing_but_its_job(api: Api) -> None:
    history(api)
    store = api.services.store
    before = everything(store)
    finished(api, api.post("/backtests", {"rule": RULE, "against": "live", "together": True}).json["id"])
    changed = {kind for kind, documents in everything(store).items() if documents != before[kind]}
    assert changed == {"job", "job_part"}


def everything(store: Any) -> dict[str, Any]:
    tenants = ("default/test", "system")
    return {
        kind: [(d.id, d.version) for tenant in tenants for d in store.find(tenant, kind, limit=10_000).items]
        for kind in KINDS
    }


def test_a_backtest_can_be_stopped(api: Api) -> None:
    history(api)
    id = api.post("/backtests", {"rule": RULE}).json["id"]
    assert api.post(f"/backtests/{id}/cancel").json["status"] == "cancelled"
    assert finished(api, id)["runs"] == []


def test_a_rule_with_errors_is_refused_before_anything_is_queued(api: Api) -> None:
    refused = api.post("/backtests", {"rule": {**RULE, "steps": "none"}})
    assert refused.status_code == 422
    assert refused.json["problems"][0]["path"] == "steps"
    assert api.post("/backtests", {"rule": "nothing"}).status_code == 404
    assert api.get("/backtests/job_0").status_code == 404


# ---- explanations ---------------------------------------------------------------------------------------------------
def test_it_says_that_a_rule_fired_for_a_subscription(api: Api) -> None:
    history(api)
    found = api.post("/explain", {"rule": RULE, "subject": "sub_1", "at": None}).json
    assert found["fired"] is True
    assert found["gate"] is None
    assert found["tree"]


def test_it_names_the_first_closed_gate_and_the_nearest_miss(api: Api) -> None:
    history(api)
    found = api.post("/explain", {"rule": RULE, "subject": "sub_2"}).json
    assert (found["fired"], found["gate"]) == (False, "window")
    assert found["nearest"]["sentence"]


def test_an_event_can_be_asked_about(api: Api) -> None:
    history(api)
    id = f"evt_3_{int((NOON - 2 * DAY).timestamp())}"
    assert api.post("/explain", {"rule": RULE, "event": id}).json["gate"] == "window"
    assert api.post("/explain", {"rule": RULE, "event": "evt_unknown"}).json["gate"] == "event"


def test_the_past_can_be_asked_about(api: Api) -> None:
    history(api)
    before = api.post("/explain", {"rule": RULE, "subject": "sub_1", "at": iso(NOON - 3 * DAY)}).json
    assert (before["fired"], before["gate"]) == (False, "window")


def test_a_rule_that_is_off_fires_for_nobody_and_says_what_it_would_do(api: Api) -> None:
    history(api)
    api.post("/rules", RULE)
    off = api.post("/explain", {"rule": RULE["id"], "subject": "sub_1"}).json
    assert (off["fired"], off["gate"]) == (False, "live_from")
    assert "The rule is off" in off["sentence"]
    api.post(f"/rules/{RULE['id']}/publish")
    live = api.post("/explain", {"rule": RULE["id"], "subject": "sub_1"}).json
    assert (live["fired"], live["gate"]) == (False, "live_from")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"rule": RULE},
        {"rule": RULE, "subject": "sub_1", "event": "evt_1"},
        {"rule": 3, "subject": "sub_1"},
        {"rule": RULE, "subject": "sub_1", "at": "yesterday"},
        {"rule": RULE, "subject": "sub_1", "at": "2026-11-23"},
        {"rule": RULE, "subject": "sub_1", "when": None},
    ],
)
def test_a_question_that_cannot_be_read_is_400(api: Api, body: dict[str, Any]) -> None:
    refused = api.post("/explain", body)
    assert refused.status_code == 400
    assert refused.json["problems"]


@pytest.mark.parametrize("at", ["2026-06-30T23:59:60Z", "0001-01-01T00:00:00+23:00"])
def test_an_instant_that_no_calendar_holds_is_400(api: Api, at: str) -> None:
    assert api.post("/explain", {"rule": RULE, "subject": "sub_1", "at": at}).status_code == 400
