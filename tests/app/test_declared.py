"""Declared subjects: new events are keyed at once, past ones by a job, and rules wait until that is done."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from app import author, declared, jobs
from app.adapters.memory import MemoryStore
from app.adapters.sqlite_store import SqliteStore
from app.handle import handle
from app.services import Services
from app.web import create_app
from rules.ports import Conflict, Delivery
from rules.rule import RuleError
from tests.builders import DAY, NOON, TENANT, event, invoice, services_in_memory
from tests.web.api import Api
from tests.web.html import form

TEAM = "data.object.metadata.team"
BLUE = f"path:{TEAM}=blue"
LATER = NOON + timedelta(minutes=1)
_moments = itertools.count()


@pytest.fixture(params=["memory", "sqlite"])
def services(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Services]:
    made = services_in_memory()
    if request.param == "memory":
        yield made
        return
    store = SqliteStore(tmp_path / "store.db")
    yield replace(made, store=store)
    store.close()


def deliver(services: Services, id: str, team: str | None = "blue", at: int = 0, **more: Any) -> None:
    metadata = {"metadata": {"team": team}} if team else {}
    thing = invoice(f"in_{id}", f"cus_{id}", f"sub_{id}", **metadata)
    found = event(id, object=thing, time=NOON - DAY + timedelta(seconds=at), **more)
    now = LATER + timedelta(seconds=2 * next(_moments))  # what is in force is read again after a second
    (done,) = handle([Delivery(id, found, 1)], services.store, services.rulesets, services.tracer, now)
    assert done.kind == "done"


def declare(services: Services, name: str = "team", path: str = TEAM, tenant: str = TENANT) -> dict[str, Any]:
    return declared.declare(services.store, services.catalogue, tenant, name, path, "ada", NOON)


def fill(services: Services, steps: int = 100) -> None:
    """Work as the worker does, until nothing is due."""
    types = {declared.JOB: declared.job(services.store)}
    for _ in range(steps):
        if not jobs.run_one(services.store, types, LATER):
            return


def found(services: Services, key: str = BLUE) -> list[str]:
    events = services.store.window(TENANT, key, ["invoice.payment_failed"], 0, 2**40)
    return [one.id for one in events]


def rule(**more: Any) -> dict[str, Any]:
    when = {"event": ["invoice.payment_failed"], "at_least": 2, "within": "P7D", "same": TEAM}
    step = {"name": "retry", "do": "stripe.pay_invoice", "with": {}}
    return {"id": "by-team", "name": "By team", "when": when, "steps": [step], **more}


def save(services: Services, document: dict[str, Any]) -> dict[str, Any]:
    s = services
    return author.save_draft(s.store, s.vault, s.catalogue, s.connectors, TENANT, document, "ada", NOON)


def publish(services: Services, at: Any = NOON) -> dict[str, Any]:
    s = services
    return author.publish(s.store, s.catalogue, s.connectors, TENANT, "by-team", "ada", "why", at)


# ---- keys -----------------------------------------------------------------------------------------------------------
def test_new_events_carry_the_key_from_the_declaration_on_without_any_rule(services: Services) -> None:
    declare(services)
    deliver(services, "evt_1")
    deliver(services, "evt_2", "red")
    deliver(services, "evt_3", None)
    assert found(services) == ["evt_1"]


def test_past_events_are_given_their_key_page_by_page_and_then_it_is_ready(services: Services) -> None:
    for number in range(200):
        deliver(services, f"evt_{number:03}", "blue" if number % 2 else None, number)
    declare(services)
    assert found(services) == []
    types = {declared.JOB: declared.job(services.store)}
    seen = []
    while jobs.run_one(services.store, types, LATER):
        row = declared.one(services.store, TENANT, "team")
        seen.append((row["state"], row["filled"]))
    assert seen == [("filling", 45), ("filling", 90), ("ready", 100)]
    assert len(found(services)) == 100


def test_progress_goes_up_to_one(services: Services) -> None:
    for number in range(200):
        deliver(services, f"evt_{number:03}", at=number * 400)
    declare(services)
    shares = []
    types = {declared.JOB: declared.job(services.store)}
    while jobs.run_one(services.store, types, LATER):
        shares.append(declared.one(services.store, TENANT, "team")["progress"])
    assert shares == sorted(shares)
    assert 0 < shares[0] < shares[-1] == 1


def test_filling_in_begins_when_every_process_keys_new_events(services: Services) -> None:
    declare(services)
    types = {declared.JOB: declared.job(services.store)}
    assert not jobs.run_one(services.store, types, NOON + declared.SETTLE - timedelta(seconds=1))
    assert jobs.run_one(services.store, types, NOON + declared.SETTLE)


def test_an_event_that_has_its_key_is_left_as_it_is(services: Services) -> None:
    declare(services)
    deliver(services, "evt_1")
    before = services.store.get(TENANT, "event", "evt_1")
    fill(services)
    after = services.store.get(TENANT, "event", "evt_1")
    assert before
    assert after
    assert before.version == after.version


def test_what_is_filled_in_is_the_key_and_nothing_else(services: Services) -> None:
    deliver(services, "evt_1")
    before = services.store.get(TENANT, "event", "evt_1")
    declare(services)
    fill(services)
    after = services.store.get(TENANT, "event", "evt_1")
    assert before
    assert after
    keys = [*before.body["keys"], BLUE]
    assert after.body == {**before.body, "keys": keys, "event": {**before.body["event"], "keys": keys}}


def test_another_tenants_events_stay_as_they_are(services: Services) -> None:
    deliver(services, "evt_1", tenant="acct_2/live")
    declare(services)
    fill(services)
    other = services.store.get("acct_2/live", "event", "evt_1")
    assert other
    assert BLUE not in other.body["keys"]
    assert declared.declared(services.store, "acct_2/live") == []


# ---- rules ----------------------------------------------------------------------------------------------------------
def test_a_rule_that_counts_by_it_is_published_when_it_is_filled_in_and_not_before(services: Services) -> None:
    deliver(services, "evt_1")
    declare(services)
    assert save(services, rule())["problems"] == 1
    with pytest.raises(RuleError, match="not filled in on past events yet") as refused:
        publish(services)
    assert [problem.path for problem in refused.value.problems] == ["when.same"]
    fill(services)
    assert publish(services)["state"] == "live"


def test_a_window_by_a_declared_path_counts_what_came_before_the_declaration(services: Services) -> None:
    deliver(services, "evt_1")
    declare(services)
    fill(services)
    save(services, rule())
    publish(services)
    deliver(services, "evt_2", at=60, recorded=LATER)
    (run,) = services.store.find(TENANT, "run", order="created_at").items
    assert (run.body["key"], list(run.body["events"])) == (BLUE, ["evt_1", "evt_2"])


def test_a_path_that_nobody_declared_is_refused(services: Services) -> None:
    save(services, rule())
    with pytest.raises(RuleError, match="paths declared in settings"):
        publish(services)


def test_a_declaration_is_kept_while_a_draft_or_a_version_in_force_counts_by_it(services: Services) -> None:
    declare(services)
    fill(services)
    save(services, rule())
    with pytest.raises(Conflict, match="used by by-team"):
        declared.withdraw(services.store, TENANT, "team", "ada", "no need", NOON)
    publish(services)
    with pytest.raises(Conflict, match="used by by-team"):
        declared.withdraw(services.store, TENANT, "team", "ada", "no need", NOON)
    author.archive(services.store, TENANT, "by-team", "ada", "over", NOON)
    declared.withdraw(services.store, TENANT, "team", "ada", "no need", NOON)
    assert declared.declared(services.store, TENANT) == []


def test_a_stop_may_be_about_a_declared_path(services: Services) -> None:
    declare(services)
    fill(services)
    stop = [{"event": ["invoice.paid"], "same": TEAM}]
    when = {"event": ["invoice.payment_failed"], "same": "customer"}
    wait = {"name": "wait", "wait": {"for": "P2D"}}
    save(services, rule(when=when, stop_when=stop, steps=[wait, *rule()["steps"]]))
    publish(services)
    deliver(services, "evt_1", recorded=LATER)
    deliver(services, "evt_2", "red", 5, type="invoice.paid")
    (run,) = services.store.find(TENANT, "run", order="created_at").items
    assert run.body["state"] == "waiting"
    deliver(services, "evt_3", "blue", 5, type="invoice.paid")
    (run,) = services.store.find(TENANT, "run", order="created_at").items
    assert run.body["state"] == "stopped"


# ---- declaring ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "path", "place"),
    [
        ("Team!", TEAM, "name"),
        ("new", TEAM, "name"),
        ("customer", TEAM, "name"),
        ("team", "created", "path"),
        ("team", "data.object.lines.data[].amount", "path"),
        ("team", "data.object.amont_due", "path"),
        ("team", "data..object", "path"),
    ],
)
def test_what_is_no_path_of_any_event_is_refused_beside_its_field(
    services: Services, name: str, path: str, place: str
) -> None:
    with pytest.raises(RuleError) as refused:
        declare(services, name, path)
    assert [problem.path for problem in refused.value.problems] == [place]


def test_a_name_and_a_path_are_declared_once(services: Services) -> None:
    declare(services)
    for name, path in (("team", "data.object.metadata.shop"), ("squad", TEAM)):
        with pytest.raises(Conflict, match="declared already"):
            declare(services, name, path)


def test_filling_in_that_was_stopped_says_so_and_can_begin_again(services: Services) -> None:
    deliver(services, "evt_1")
    row = declare(services)
    jobs.cancel(services.store, TENANT, row["job"], NOON)
    assert declared.one(services.store, TENANT, "team")["error"] == "It was stopped."
    save(services, rule())
    with pytest.raises(RuleError, match="not filled in"):
        publish(services)
    declared.fill_again(services.store, TENANT, "team", "ada", LATER)
    fill(services)
    assert declared.one(services.store, TENANT, "team")["state"] == "ready"
    with pytest.raises(Conflict, match="already"):
        declared.fill_again(services.store, TENANT, "team", "ada", LATER)


def test_taking_it_back_while_it_fills_in_ends_the_job(services: Services) -> None:
    job = declare(services)["job"]
    declared.withdraw(services.store, TENANT, "team", "ada", "a mistake", NOON)
    fill(services)
    found = services.store.get(TENANT, "job", job)
    assert found
    assert found.body["state"] == "cancelled"


# ---- page and API ---------------------------------------------------------------------------------------------------
def test_an_operator_declares_a_path_sees_it_filled_in_and_takes_it_back() -> None:
    services = services_in_memory()
    assert isinstance(services.store, MemoryStore)
    browser = create_app(services).test_client()
    assert "No path declared yet" in browser.get("/settings").text
    page = browser.get("/settings/subjects/new").text
    wrong = browser.post(
        "/settings/subjects/new",
        data=form(page, "/settings/subjects/new").sent(name="team", path="data.object.metadta.team"),
    )
    assert (wrong.status_code, "no event of Stripe" in wrong.text) == (422, True)
    answer = browser.post(
        "/settings/subjects/new", data=form(page, "/settings/subjects/new").sent(name="team", path=TEAM)
    )
    assert answer.status_code == 303
    assert "Filling in past events" in browser.get("/settings/subjects/team").text
    fill(services)
    assert "Ready" in browser.get("/settings/subjects/team").text
    assert TEAM in browser.get("/settings").text
    gone = browser.post("/settings/subjects/team/withdraw", data={"reason": "no need"})
    assert gone.status_code == 303
    assert browser.get("/settings/subjects/team").status_code == 404


def test_the_api_declares_reads_and_withdraws() -> None:
    api = Api(services_in_memory())
    made = api.post("/subjects", {"name": "team", "path": TEAM})
    assert (made.status_code, made.json["state"], made.json["used_by"]) == (201, "filling", [])
    assert api.post("/subjects", {"name": "team", "path": TEAM}).status_code == 409
    assert api.post("/subjects", {"name": "shop", "path": "data.object.metadta.shop"}).status_code == 422
    assert api.post("/subjects/team/fill").status_code == 409
    fill(api.services)
    assert api.get("/subjects/team").json["state"] == "ready"
    assert [row["name"] for row in api.get("/subjects").json["items"]] == ["team"]
    assert api.post("/subjects/team/withdraw", {"note": "no need"}).json["items"] == []
    assert api.get("/subjects/team").status_code == 404
