"""What gave up is grouped by cause, found, and replayed or let go in bulk; nothing of it is ever dropped silently."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from app import browse, jobs
from app.operate import dead_letters
from app.operate.dead_letters import Which
from rules.event import iso
from rules.ports import Disposition
from rules.run import Command
from tests.builders import NOON, TENANT, event, services_in_memory
from tests.records import command as action
from tests.records import keep_command, keep_event, keep_rule, keep_run, run
from tests.web.api import Api

LATER = NOON + timedelta(hours=1)
REASONS = ("Stripe: No such price: 'price_{}'", "crm refused the notice (400).", "Stripe: the invoice in_{} is paid.")


def died(api: Api, number: int, **changes: Any) -> Command:
    """An action that gave up; its run stands at it."""
    store = api.services.store
    trigger = keep_event(store, event(f"evt_{number}", time=NOON + timedelta(seconds=number)))
    mine = keep_run(store, replace(run(trigger), id=f"run_{number}", state="needs_person", position=(0,)))
    outcome = {"kind": "dead", "message": REASONS[number % 3].format(number), "at": iso(NOON)}
    return keep_command(store, replace(action(mine), state="dead", due_at=None, outcome=outcome, **changes))


def undelivered(api: Api, *ids: str, why: str = "no such rule") -> None:
    bus: Any = api.services.bus
    for id in ids:
        bus.publish(event(id))
    bus.drain(lambda batch: [Disposition("dead", why) for _ in batch], NOON)


def finished(api: Api, id: str) -> dict[str, Any]:
    """The job, done by the worker."""
    s = api.services
    while jobs.run_one(s.store, {dead_letters.JOB: dead_letters.job(s.store, s.inbox)}, LATER):
        pass
    found: dict[str, Any] = api.get(f"/dead-letters/jobs/{id}").json
    return found


@pytest.fixture
def many() -> Api:
    api = Api(services_in_memory())
    keep_rule(api.services.store)
    for number in range(12):
        died(api, number, connection="crm" if number % 3 == 1 else "stripe")
    undelivered(api, "evt_a", "evt_b")
    return api


def test_they_are_grouped_by_what_their_reasons_have_in_common(many: Api) -> None:
    groups = many.get("/dead-letters/causes").json["items"]
    assert [(one["kind"], one["cause"], one["count"]) for one in groups] == [
        ("command", "Stripe: No such price: '…'", 4),
        ("command", "Stripe: the invoice … is paid.", 4),
        ("command", "crm refused the notice (400).", 4),
        ("event", "no such rule", 2),
    ]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("connection=crm", 4),
        ("only=events", 2),
        ("text=PRICE_3", 1),
        ("action=stripe.change_plan&only=actions", 12),
        ("rule=nothing", 0),
        ("cause=no%20such%20rule", 2),
        ("", 14),
    ],
)
def test_a_filter_finds_what_fits(many: Api, query: str, found: int) -> None:
    items = many.get(f"/dead-letters?{query}").json["items"]
    counted = sum(group["count"] for group in many.get(f"/dead-letters/causes?{query}").json["items"])
    assert len(items) == counted == found


def test_a_replay_by_filter_is_a_job_that_says_how_many_first_and_leaves_the_rest_alone(many: Api) -> None:
    answer = many.post("/dead-letters/replay", {"filter": {"connection": "crm"}, "note": "they mended it"})
    assert (answer.status_code, answer.json["actions"], answer.json["events"]) == (202, 4, 0)
    assert len(many.get("/dead-letters").json["items"]) == 14  # nothing was done yet
    job = finished(many, answer.json["job"])
    assert (job["status"], job["summary"]) == ("done", {"done": 4, "refused": 0, "why": []})
    assert len(many.get("/dead-letters").json["items"]) == 10
    assert {one["connection"] for one in many.get("/dead-letters?only=actions").json["items"]} == {"stripe"}


def test_what_may_not_happen_any_more_is_refused_and_stays(many: Api) -> None:
    store = many.services.store
    stopped = store.get(TENANT, "run", "run_4")
    assert stopped
    keep_run(store, replace(run(event("evt_4")), id="run_4", state="stopped"))
    job = finished(many, many.post("/dead-letters/replay", {"filter": {"only": "actions"}}).json["job"])
    assert (job["summary"]["done"], job["summary"]["refused"]) == (11, 1)
    assert "must not happen" in job["summary"]["why"][0]["why"]
    assert [one["run_id"] for one in many.get("/dead-letters?only=actions").json["items"]] == ["run_4"]


def test_letting_go_needs_a_reason_and_is_audited_one_by_one(many: Api) -> None:
    assert many.post("/dead-letters/discard", {"filter": {"connection": "crm"}}).status_code == 400
    answer = many.post("/dead-letters/discard", {"filter": {"connection": "crm"}, "note": "by phone"})
    finished(many, answer.json["job"])
    audit = many.services.store.find(TENANT, "audit", order="at").items
    gone = [one.body["about"] for one in audit if one.body["verb"] == "discard action"]
    assert (len(gone), {one.body["why"] for one in audit}) == (4, {"by phone"})
    kept = many.services.store.get(TENANT, "command", gone[0])
    assert kept
    assert kept.body["state"] == "cancelled"


def test_more_than_a_step_holds_goes_on_where_it_stopped_and_what_dies_meanwhile_is_left(many: Api) -> None:
    for number in range(12, 140):
        died(many, number, connection="crm" if number % 3 == 1 else "stripe")
    id = many.post("/dead-letters/discard", {"filter": {}, "note": "start anew"}).json["job"]
    s = many.services
    jobs.run_one(s.store, {dead_letters.JOB: dead_letters.job(s.store, s.inbox)}, LATER)
    late = died(many, 500)
    late = keep_command(s.store, replace(late, outcome={**late.outcome, "at": iso(NOON + timedelta(days=1))}))
    job = finished(many, id)
    assert (job["status"], job["summary"]["done"]) == ("done", 142)
    assert [one["id"] for one in many.get("/dead-letters").json["items"]] == [late.id]


def test_both_sorts_are_let_go_by_id(many: Api) -> None:
    ids = ["evt_a", "run_3/downgrade"]
    answer = many.post("/dead-letters/discard", {"ids": ids, "note": "old"})
    assert (answer.json["events"], answer.json["actions"]) == (1, 1)
    assert len(many.get("/dead-letters").json["items"]) == 12


def test_the_queue_counts_what_the_list_shows(many: Api) -> None:
    s = many.services
    listed = browse.dead_letters(s.store, s.inbox, TENANT, Which(), limit=100)["items"]
    assert dead_letters.count(s.store, s.inbox, TENANT, Which()) == {"events": 2, "actions": 12}
    assert len(listed) == 14


# ---- whose it is ----------------------------------------------------------------------------------------------------
def test_what_waits_is_assigned_noted_and_found_by_owner_and_time(many: Api) -> None:
    groups = many.get("/needs-you").json["groups"]
    about = [item["about"] for item in groups[0]["items"][:3]]
    assert about[0].startswith("run:")
    due = iso(NOON - timedelta(hours=1))
    given = {"about": about[:2], "owner": "grace", "note": "asked the customer", "due": due}
    assert [one["owner"] for one in many.post("/needs-you/assign", given).json["items"]] == ["grace", "grace"]
    mine = many.get("/needs-you?owner=grace").json
    assert (mine["count"], [one["about"] for one in mine["groups"][0]["items"]]) == (2, about[:2])
    assert many.get("/needs-you?overdue=true").json["count"] == 2
    many.post("/needs-you/assign", {"about": [about[0]], "due": ""})
    assert many.get("/needs-you?overdue=true").json["count"] == 1
    assert many.get("/needs-you?owner=grace").json["count"] == 2  # what was not given stayed
    nobodys = many.get("/needs-you?owner=").json
    assert nobodys["count"] == many.get("/needs-you").json["count"] - 2


@pytest.mark.parametrize(
    ("given", "path"),
    [({"about": ["planet:1"]}, "about"), ({"about": ["run:run_1"], "due": "soon"}, "due")],
)
def test_what_cannot_be_assigned_is_said(many: Api, given: dict[str, Any], path: str) -> None:
    answer = many.post("/needs-you/assign", given)
    assert (answer.status_code, [one["path"] for one in answer.json["problems"]]) == (422, [path])


def test_settings_are_read_and_changed_in_part(many: Api) -> None:
    assert many.get("/settings").json["zone"] == "UTC"
    assert many.put("/settings", {"zone": "Europe/Berlin"}).json["zone"] == "Europe/Berlin"
    assert many.put("/settings", {"oldest_minutes": 15}).json["zone"] == "Europe/Berlin"
    refused = many.put("/settings", {"zone": "Mars/Base", "alert_connection": "nobody"})
    assert (refused.status_code, [one["path"] for one in refused.json["problems"]]) == (
        422,
        ["zone", "alert_connection"],
    )
