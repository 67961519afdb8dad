"""The JSON API's looking calls: events, runs, actions, journeys and the audit log, with their filters and pages."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.builders import NOON, event
from tests.records import keep_event, story
from tests.web.api import Api, api

__all__ = ["api"]


def ids(answer: object) -> list[str]:
    return [row["id"] for row in answer.json["items"]]  # type: ignore[attr-defined]


def test_an_event_is_answered_whole_with_what_it_led_to(api: Api) -> None:
    trigger, run, command = story(api.services.store)
    found = api.get(f"/events/{trigger.id}").json
    assert found["payload"]["data"]["object"]["id"] == "in_1"
    assert [one["id"] for one in found["runs"]] == [run.id]
    assert [one["id"] for one in found["commands"]] == [command.id]


def test_a_run_is_answered_with_its_story_steps_and_actions(api: Api) -> None:
    _, run, command = story(api.services.store)
    found = api.get(f"/runs/{run.id}").json
    assert found["story"][0]["text"].startswith("Second failure")
    assert [step["name"] for step in found["steps"]] == ["downgrade", "pause", "tell-crm"]
    assert [one["id"] for one in found["commands"]] == [command.id]


def test_an_action_is_found_by_its_id_with_a_slash(api: Api) -> None:
    _, run, _ = story(api.services.store)
    found = api.get(f"/commands/{run.id}/downgrade").json
    assert [attempt["outcome"] for attempt in found["attempts"]] == ["retry", "done"]
    assert found["idempotency_key"] == f"{run.id}/downgrade/0"


def test_a_journey_is_found_by_transaction_and_by_trace_id(api: Api) -> None:
    trigger, run, _ = story(api.services.store)
    by_transaction = api.get(f"/traces/{trigger.correlation}").json
    assert by_transaction == api.get(f"/traces/{trigger.trace_id}").json
    assert [one["id"] for one in by_transaction["runs"]] == [run.id]
    assert {row["name"] for row in by_transaction["rows"]} == {"receive", "handle", "perform"}


@pytest.mark.parametrize(
    "path", ["/events/evt_0", "/runs/run_0", "/commands/run_0/step", "/traces/in_0", "/traces/" + "0" * 32]
)
def test_what_is_not_there_is_404_and_named(api: Api, path: str) -> None:
    answer = api.get(path)
    assert answer.status_code == 404
    assert path.split("/", 2)[2] in answer.json["detail"]


def test_a_list_goes_on_from_its_cursor_to_its_end(api: Api) -> None:
    for number in range(5):
        keep_event(api.services.store, event(f"evt_{number}", time=NOON + timedelta(minutes=number)))
    seen, after = [], ""
    while True:
        page = api.get(f"/events?limit=2{after}")
        seen += ids(page)
        if page.json["next"] is None:
            break
        after = f"&after={page.json['next']}"
    assert seen == ["evt_4", "evt_3", "evt_2", "evt_1", "evt_0"]


def test_events_are_found_by_type_subject_outcome_and_time(api: Api) -> None:
    story(api.services.store)
    keep_event(api.services.store, event("evt_9", type="invoice.paid", time=NOON + timedelta(days=1)))
    assert ids(api.get("/events?type=invoice.paid")) == ["evt_9"]
    assert ids(api.get("/events?key=sub_1&type=invoice.payment_failed")) == ["evt_2", "evt_1"]
    assert ids(api.get("/events?fired=true")) == ["evt_2"]
    assert ids(api.get("/events?before=2026-11-21T00:00:00Z")) == ["evt_1"]
    assert ids(api.get("/events?key=cus_unknown")) == []


def test_runs_and_actions_are_found_by_their_filters(api: Api) -> None:
    _, run, command = story(api.services.store)
    for query in ("state=waiting", "rule=two-failed", "customer=cus_1", "rule=two-failed&state=waiting"):
        assert ids(api.get(f"/runs?{query}")) == [run.id], query
    for query in ("state=done", "connection=stripe", "connection=stripe&state=done"):
        assert ids(api.get(f"/commands?{query}")) == [command.id], query
    assert ids(api.get("/runs?state=done")) == []
    assert api.get("/runs?state=sleeping").status_code == 400


def test_one_tenant_never_sees_the_other(api: Api) -> None:
    api.tenant("default/live")
    trigger, run, command = story(api.services.store)
    for path in (
        f"/events/{trigger.id}",
        f"/runs/{run.id}",
        f"/commands/{command.id}",
        f"/traces/{trigger.correlation}",
    ):
        assert api.get(f"{path}?tenant=default/live").status_code == 404
        assert api.get(f"{path}?tenant=default/test").status_code == 200
    for path in ("/events", "/runs", "/commands", "/audit", "/dead-letters"):
        assert ids(api.get(f"{path}?tenant=default/live")) == []
