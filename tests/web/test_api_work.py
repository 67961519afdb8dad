"""The JSON API's working calls: verbs on runs, dead letters, switches, connections, and loading events."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from rules.ports import Disposition, Put
from tests.builders import NOON, body_of, envelope, event, services_in_memory
from tests.records import keep_command, keep_run, story
from tests.web.api import Api, api

__all__ = ["api"]
CRM = {"name": "crm", "type": "webhook", "url": "http://127.0.0.1:9/notices"}
SECRET = "whsec_bWFkZSB1cCBrZXkgb2YgdGhpcyB0ZXN0LCAzMiBieXQ="


# ---- runs -----------------------------------------------------------------------------------------------------------
def test_a_waiting_run_is_cancelled_with_a_reason(api: Api) -> None:
    _, run, _ = story(api.services.store)
    done = api.post(f"/runs/{run.id}/cancel", {"note": "the customer called"})
    assert (done.status_code, done.json["state"]) == (200, "cancelled")
    entry = api.get(f"/audit?about={run.id}").json["items"][0]
    assert (entry["verb"], entry["why"]) == ("cancel run", "the customer called")


def test_a_wait_is_skipped_without_a_body(api: Api) -> None:
    _, run, _ = story(api.services.store)
    assert api.post(f"/runs/{run.id}/skip").json["state"] == "acting"


@pytest.mark.parametrize("verb", ["retry", "approve", "release"])
def test_a_verb_that_the_state_does_not_allow_is_409_and_says_why(api: Api, verb: str) -> None:
    _, run, _ = story(api.services.store)
    refused = api.post(f"/runs/{run.id}/{verb}")
    assert refused.status_code == 409
    assert "waiting" in refused.json["detail"]
    assert api.get(f"/runs/{run.id}").json["state"] == "waiting"


def test_a_run_that_is_not_there_is_404(api: Api) -> None:
    assert api.post("/runs/run_0/cancel").status_code == 404


# ---- dead letters ---------------------------------------------------------------------------------------------------
def give_up(api: Api) -> str:
    """An event whose handling gave up; its id."""
    bus: Any = api.services.bus
    bus.publish(event("evt_dead"))
    bus.drain(lambda batch: [Disposition("dead", "no such rule") for _ in batch], NOON)
    return "evt_dead"


def test_what_gave_up_is_listed_and_tried_again(api: Api) -> None:
    _, run, command = story(api.services.store)
    keep_run(api.services.store, replace(run, state="needs_person", position=(0,)))
    keep_command(api.services.store, replace(command, state="dead"))
    id = give_up(api)
    letters = api.get("/dead-letters").json["items"]
    assert {(one["kind"], one["reason"]) for one in letters} == {
        ("event", "no such rule"),
        ("command", "Stripe moved the subscription."),
    }
    assert api.post("/dead-letters/replay", {"ids": [id]}).json["events"] == 1
    assert api.post("/dead-letters/replay", {"only": "actions", "note": "mended"}).json["actions"] == 1
    assert api.get("/dead-letters").json["items"] == []


# ---- switches -------------------------------------------------------------------------------------------------------
def test_everything_is_stopped_and_let_go(api: Api) -> None:
    assert api.post("/switches", {"what": "all", "stopped": True, "note": "look"}).json["all"] is True
    assert api.post("/switches", {"what": "rule:one", "stopped": True}).json["rules"] == ["one"]
    assert api.get("/switches").json == {"all": True, "rules": ["one"], "connections": []}
    assert api.post("/switches", {"what": "all", "stopped": False}).json["all"] is False
    assert api.post("/switches", {"what": "nothing", "stopped": True}).status_code == 409


# ---- connections ----------------------------------------------------------------------------------------------------
def test_a_connection_is_made_and_its_secret_is_never_answered(api: Api) -> None:
    made = api.post("/connections", {**CRM, "secret": SECRET, "headers": {"X-Key": "hush"}})
    assert (made.status_code, made.json["state"], made.json["headers"]) == (201, "on", ["X-Key"])
    for text in (made.text, api.get("/connections").text, api.get("/audit").text):
        assert "whsec_" not in text
        assert "hush" not in text
    assert api.services.secrets.get("connection/default/test/crm") == SECRET


def test_a_secret_that_was_made_here_is_answered_once(api: Api) -> None:
    assert api.post("/connections", CRM).json["secret"].startswith("whsec_")
    again = api.post("/connections", {**CRM, "url": "http://127.0.0.1:9/other"})
    assert (again.status_code, again.json["url"]) == (200, "http://127.0.0.1:9/other")
    assert "secret" not in again.json


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"url": "http://crm.example.com"}, "url"),
        ({"url": "https://10.0.0.1/hook"}, "url"),
        ({"url": "ftp://crm.example.com"}, "url"),
        ({"name": "Not A Name"}, "name"),
        ({"secret": "whsec_short"}, "secret"),
    ],
)
def test_a_connection_that_cannot_be_is_refused_in_its_place(api: Api, change: dict[str, str], place: str) -> None:
    refused = api.post("/connections", {**CRM, **change})
    assert refused.status_code == 422
    assert [one["path"] for one in refused.json["problems"]] == [place]
    assert api.get("/connections").json["items"] == []


def test_http_on_this_machine_is_for_development_only() -> None:
    production = Api(services_in_memory(environment="production"))
    assert production.post("/connections", CRM).status_code == 422


def test_a_connection_without_the_fields_of_its_type_is_refused(api: Api) -> None:
    refused = api.post("/connections", {"name": "crm"})
    assert refused.status_code == 422
    assert "whole address" in refused.json["detail"]


# ---- loading events -------------------------------------------------------------------------------------------------
def load(api: Api, *lines: bytes) -> Any:
    return api.call("POST", "/events:import", data=b"\n".join(lines), content_type="application/jsonl")


def one_line(id: str) -> bytes:
    return json.dumps(json.loads(body_of(envelope(id)))).encode()


def test_events_are_loaded_as_history_and_bad_lines_are_named(api: Api) -> None:
    loaded = load(api, one_line("evt_1"), b"nothing", b"", one_line("evt_2"))
    assert (loaded.status_code, loaded.json["events"], loaded.json["refused_count"]) == (200, 2, 1)
    assert loaded.json["refused"][0]["line"] == 2
    taken: list[Any] = []
    api.services.inbox.drain(lambda batch: [taken.append(one.event) or Disposition("done") for one in batch], NOON)  # type: ignore[func-returns-value]
    assert [(one.id, one.source) for one in taken] == [("evt_1", "import"), ("evt_2", "import")]


def test_a_load_that_is_too_large_is_refused_whole(api: Api) -> None:
    refused = load(api, b" " * (32 * 1024 * 1024 + 1))
    assert refused.status_code == 413
    assert api.services.inbox.oldest() is None


def test_a_load_may_be_larger_than_what_pages_take(api: Api) -> None:
    loaded = load(api, b" " * (10 * 1024 * 1024), one_line("evt_1"))
    assert (loaded.status_code, loaded.json["events"]) == (200, 1)


def test_personal_values_of_loaded_events_are_tokens(api: Api) -> None:
    load(api, one_line("evt_1"))
    taken: list[Any] = []
    api.services.inbox.drain(lambda batch: [taken.append(one.event) or Disposition("done") for one in batch], NOON)  # type: ignore[func-returns-value]
    assert taken[0].data["data"]["object"]["customer_email"].startswith("tok_")


def test_rule_of_a_run_may_be_gone_and_the_answer_is_still_calm(api: Api) -> None:
    _, run, _ = story(api.services.store)
    api.services.store.commit("default/test", None, [Put("run", run.id, {**run.body(), "version": 9})])
    assert api.post(f"/runs/{run.id}/skip").status_code == 404


# ---- secrets and routes ---------------------------------------------------------------------------------------------
def test_a_secret_is_replaced_with_a_reason_and_answered_once(api: Api) -> None:
    first = api.post("/connections", CRM).json["secret"]
    done = api.post("/connections/crm/secret", {"hours": 2, "note": "a year old"})
    assert (done.status_code, done.json["secret"] != first) == (200, True)
    assert done.json["both_until"] > "2026-11-23T13"
    assert "secret" not in api.get("/connections").json["items"][0]
    entries = api.get("/audit?about=crm").json["items"]
    assert ("replace secret", "a year old") in [(entry["verb"], entry["why"]) for entry in entries]
    assert api.post("/connections/none/secret", {}).status_code == 404
    assert api.post("/connections/crm/secret", {"hours": 9000}).status_code in (400, 422)


def test_a_route_is_counted_made_and_deleted(api: Api) -> None:
    filter: dict[str, Any] = {"types": ["invoice.payment_failed"], "only_if": None}
    assert api.post("/routes:count", filter).json == {"matched": 0, "looked": 0, "more": False}
    assert api.post("/routes:count", {"types": ["invoice.payed"]}).status_code == 422
    made = api.post("/connections", {"name": "mesh", "type": "route", "url": "http://127.0.0.1:9/x", **filter})
    assert (made.status_code, made.json["types"]) == (201, filter["types"])
    assert api.post("/routes/mesh/delete", {"note": "moved"}).json == {"cancelled": 0}
    assert api.post("/routes/mesh/delete").status_code == 404
