"""The audit log's page: searched, read as changes, downloaded, and verified by a job that needs no JavaScript."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from app.audit import entry, seal
from app.services import Services, job_types
from app.web import create_app
from app.worker import Work, tick
from rules.ports import Document
from tests.builders import ADMIN_TOKEN, NOON, TENANT, services_in_memory
from tests.web.html import form

MINUTE = timedelta(minutes=1)


@pytest.fixture
def services() -> Services:
    found = services_in_memory()
    for number in range(6):
        at = NOON - (60 - number) * MINUTE
        who = "ada" if number % 2 else "bob"
        before, after = {"state": "off", "version": None}, {"state": "live", "version": number}
        found.store.commit(TENANT, None, [entry(at, who, "publish", f"rule-{number}", before, after, "agreed")])
    return found


@pytest.fixture
def client(services: Services) -> FlaskClient:
    return create_app(services).test_client()


def work(services: Services) -> None:
    tick(Work(services, job_types(services)), services.clock.now())


def test_the_log_is_searched_by_who_what_and_when(client: FlaskClient) -> None:
    page = client.get("/settings/audit?actor=ada").text
    assert "rule-1" in page
    assert "rule-2" not in page
    assert "rule-4" in client.get("/settings/audit?verb=Publish&about=rule-4").text
    assert "Nothing fits" in client.get("/settings/audit?since=2030-01-01").text
    assert "rule-5" in client.get("/settings/audit?since=2026-11-23&until=2026-11-23").text
    assert client.get("/settings/audit?since=yesterday").status_code == 422


def test_an_entry_says_from_what_to_what(client: FlaskClient) -> None:
    page = client.get("/settings/audit?about=rule-3").text
    assert "off → live" in page
    assert "– → 3" in page


def test_a_hostile_entry_is_text(services: Services, client: FlaskClient) -> None:
    hostile = "<script>alert(1)</script>"
    services.store.commit(TENANT, None, [entry(NOON, hostile, hostile, hostile, hostile, {hostile: hostile}, hostile)])
    assert hostile not in client.get("/settings/audit").text


def test_verify_is_a_job_that_says_what_it_found(services: Services, client: FlaskClient) -> None:
    assert "Nobody has looked yet" in client.get("/settings/audit").text
    asked = client.post("/settings/audit/verify")
    assert (asked.status_code, asked.headers["Location"]) == (303, "/settings/audit/verify")
    assert 'http-equiv="refresh"' in client.get("/settings/audit/verify").text  # looks again without JavaScript
    work(services)
    page = client.get("/settings/audit/verify").text
    assert "Whole" in page
    assert "6 entries are as they were written" in page
    assert 'http-equiv="refresh"' not in page


def test_a_log_that_was_tampered_with_is_told_on_the_page(services: Services, client: FlaskClient) -> None:
    seal.seal(services.store, TENANT, NOON)
    store: Any = services.store
    (document,) = services.store.find(TENANT, "audit", [("about", "==", "rule-2")]).items
    del store._documents[(TENANT, "audit")][document.id]  # past the port, as by hand
    client.post("/settings/audit/verify")
    work(services)
    page = client.get("/settings/audit").text
    assert "Not whole" in page
    assert f"The entry {document.id} was sealed and is not there any more." in page


def test_a_head_that_was_kept_is_held_against_the_chain(services: Services, client: FlaskClient) -> None:
    seal.seal(services.store, TENANT, NOON)
    head = seal.head(services.store, TENANT)
    assert head
    page = client.get("/settings/audit").text
    assert head.anchor in page
    sent = form(page, "/settings/audit/verify").sent(anchors=head.anchor)
    client.post("/settings/audit/verify", data=sent)
    work(services)
    assert "goes on from the head you kept" in client.get("/settings/audit").text
    clock: Any = services.clock
    clock.forward(MINUTE)
    client.post("/settings/audit/verify", data={"anchors": f"9:{'0' * 64}"})
    work(services)
    assert "is gone: the chain ends at seal 1" in client.get("/settings/audit").text
    assert client.post("/settings/audit/verify", data={"anchors": "nonsense"}).status_code == 422


def test_a_long_log_shows_how_far_the_look_is(services: Services) -> None:
    from app import jobs
    from app.audit import job, verify

    for number in range(2 * verify.PART):
        services.store.commit(TENANT, None, [entry(NOON, "ada", "publish", f"rule-{number}")])
    id = job.start(services.store, TENANT, NOON)
    assert job.start(services.store, TENANT, NOON) == id  # one at a time
    run, seen = job.job(services.store), list[float]()

    def step(document: Document, now: Any) -> jobs.Step:
        made = run(document, now)
        seen.append(made.progress)
        return made

    while jobs.run_one(services.store, {job.TYPE: step}, NOON):
        pass
    assert seen == sorted(seen)
    assert len(seen) >= 3
    found = services.store.get(TENANT, "job", id)
    assert found
    assert (found.body["state"], found.body["summary"]["entries"]) == ("done", 2 * verify.PART + 6)


def test_the_log_is_downloaded_as_cloudevents(client: FlaskClient) -> None:
    lines = client.get("/settings/audit/export").text.splitlines()
    events = [json.loads(line) for line in lines]
    assert [event["subject"] for event in events] == [f"rule-{number}" for number in range(6)]
    for event in events:
        assert {"specversion", "id", "source", "type", "time", "data"} <= event.keys()
        assert event["type"] == "dev.signalbox.audit.publish"
        assert all(name.isalnum() and name.islower() for name in event)  # as CloudEvents wants attribute names


def test_the_api_pages_filters_and_answers_cloudevents(client: FlaskClient) -> None:
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    first = client.get("/api/v1/audit?limit=4", headers=headers).json
    rest = client.get(f"/api/v1/audit?limit=4&after={first['next']}", headers=headers).json
    assert [one["about"] for one in (*first["items"], *rest["items"])] == [f"rule-{n}" for n in range(5, -1, -1)]
    asked = "/api/v1/audit?actor=bob&verb=publish&since=2026-11-23T11:01:30Z&format=cloudevents"
    found = client.get(asked, headers=headers).json["items"]
    assert [one["subject"] for one in found] == ["rule-4", "rule-2"]
    report = client.get("/api/v1/audit:verify", headers=headers).json
    assert (report["whole"], report["entries"], report["unsealed"]) == (True, 6, 6)
