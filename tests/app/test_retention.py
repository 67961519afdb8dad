"""Retention: what was not heard for longer than is set goes, once a day, sort by sort; and values shown to a person."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from app import jobs
from app.adapters.memory import ManualClock, MemoryVault
from app.personal import retention, revealing
from app.receive import history
from app.services import Services, job_types
from app.worker import Work, tick
from rules.event import iso
from rules.ports import Conflict, Put, Refused
from rules.rule import RuleError
from tests.builders import DAY, NOON, TENANT, envelope, invoice, services_in_memory


@pytest.fixture
def services() -> Services:
    found = services_in_memory()
    clock = found.clock
    assert isinstance(found.vault, MemoryVault)
    found.vault._day = lambda: int(clock.now().timestamp()) // 86_400
    return found


def heard(s: Services, id: str = "evt_1", **more: Any) -> dict[str, Any]:
    event = envelope(id=id, object=invoice(id=f"in_{id}", **more))
    history.load([json.dumps(event).encode()], s.bus, s.vault, s.clock.now(), source="webhook")
    tick(Work(s), s.clock.now())
    found = s.store.get(TENANT, "event", id)
    assert found is not None
    return dict(found.body["event"]["data"]["data"]["object"])


def forward(s: Services, days: float) -> None:
    assert isinstance(s.clock, ManualClock)
    s.clock.forward(timedelta(days=days))


def run(s: Services) -> dict[str, int]:
    id = retention.schedule(s.store, TENANT, s.clock.now())
    assert id is not None
    for _ in range(10):
        jobs.run_one(s.store, job_types(s), s.clock.now())
    job = s.store.get(TENANT, "job", id)
    assert job is not None
    assert job.body["state"] == "done"
    return dict(job.body["summary"]["removed"])


def value(s: Services, token: str) -> str | None:
    return s.vault.reveal(TENANT, token, "kim", "looking")


def test_by_default_nothing_goes(services: Services) -> None:
    heard(services)
    forward(services, 9_000)
    assert retention.schedule(services.store, TENANT, services.clock.now()) is None
    assert all(
        row["due"] == 0 for row in retention.look(services.store, services.vault, TENANT, services.clock.now())["sorts"]
    )


def test_a_sort_goes_when_its_days_are_over_and_the_others_stay(services: Services) -> None:
    s = services
    retention.save(s.store, TENANT, {"email": 30, "name": 60}, "kim", NOON)
    thing = heard(s)
    forward(s, 30)
    assert run(s) == {}
    forward(s, 1)
    due = {row["sort"]: row["due"] for row in retention.look(s.store, s.vault, TENANT, s.clock.now())["sorts"]}
    assert (due["email"], due["name"]) == (1, 0)
    assert run(s) == {"email": 1}
    assert (value(s, thing["customer_email"]), value(s, thing["customer_name"])) == (None, "Ada Example")


def test_what_is_heard_again_stays(services: Services) -> None:
    s = services
    retention.save(s.store, TENANT, {"email": 30}, "kim", NOON)
    thing = heard(s)
    forward(s, 20)
    heard(s, "evt_2")
    forward(s, 20)
    assert run(s) == {}
    assert value(s, thing["customer_email"]) == "ada@example.com"


def test_it_runs_once_a_day(services: Services) -> None:
    s = services
    retention.save(s.store, TENANT, {"email": 30}, "kim", NOON)
    run(s)
    assert retention.schedule(s.store, TENANT, s.clock.now() + DAY / 2) is None
    assert retention.schedule(s.store, TENANT, s.clock.now() + DAY) is not None


def test_asked_for_while_it_is_under_way_it_is_the_same_job(services: Services) -> None:
    s = services
    retention.save(s.store, TENANT, {"email": 30}, "kim", NOON)
    first = retention.start(s.store, TENANT, NOON, "kim")
    assert retention.start(s.store, TENANT, NOON, "lee") == first


class Long(MemoryVault):
    """Three parts to look through, of which the last has nothing that is due."""

    def expire(
        self, tenant: str, before: Mapping[str, int], after: str | None, most: int
    ) -> tuple[dict[str, int], str | None]:
        part = int(after or 0)
        return ({"email": 1}, str(part + 1)) if part < 2 else ({}, None)


def test_a_vault_of_many_parts_is_looked_through_part_by_part_and_told_of_once(services: Services) -> None:
    s = services
    retention.save(s.store, TENANT, {"email": 30}, "kim", NOON)
    assert run(replace(s, vault=Long())) == {"email": 2}
    told = [one.body for one in s.store.find(TENANT, "audit", order="at").items]
    assert [(one["verb"], one["to"]) for one in told][1:] == [("remove expired values", {"email": 2})]


def test_settings_are_checked_and_audited(services: Services) -> None:
    s = services
    with pytest.raises(RuleError) as wrong:
        retention.save(s.store, TENANT, {"email": 0, "colour": 3, "name": True}, "kim", NOON)
    assert {one.path for one in wrong.value.problems} == {"email", "colour", "name"}
    _, version = retention.read(s.store, TENANT)
    retention.save(s.store, TENANT, {"email": 30, "ip": None}, "kim", NOON, version)
    assert retention.read(s.store, TENANT)[0] == {"email": 30}
    with pytest.raises(Conflict):
        retention.save(s.store, TENANT, {}, "lee", NOON, version)
    assert [one.body["verb"] for one in s.store.find(TENANT, "audit", order="at").items] == ["change retention"]


# ---- shown to a person ----------------------------------------------------------------------------------------------
def test_a_page_offers_each_token_once_with_its_place_and_shows_one_for_a_reason(services: Services) -> None:
    s = services
    thing = heard(s)
    offered = revealing.held(s.store, TENANT, "event", "evt_1")
    assert {(one.path, one.sort) for one in offered} == {
        ("object.customer_email", "email"),
        ("object.customer_name", "name"),
    }
    assert revealing.held(s.store, TENANT, "customer", "cus_1") == offered
    shown = revealing.show(
        s.store, s.vault, TENANT, "event", "evt_1", thing["customer_email"], "kim", "phone call", NOON
    )
    assert shown.value == "ada@example.com"
    assert isinstance(s.vault, MemoryVault)
    assert s.vault.looks == [(thing["customer_email"], "kim", "phone call")]


@pytest.mark.parametrize(("named", "barred"), [("cus_1", "cus_1"), (None, "in_evt_1")])
def test_on_the_page_of_one_who_was_erased_nothing_is_shown_that_another_has_too(
    services: Services, named: str | None, barred: str
) -> None:
    s = services
    thing = heard(s, customer=named)
    heard(s, "evt_2", customer="cus_2")
    s.vault.bar(TENANT, [barred])
    s.vault.erase(TENANT, barred)
    token = thing["customer_email"]
    assert revealing.show(s.store, s.vault, TENANT, "event", "evt_1", token, "kim", "why", NOON).value is None
    assert revealing.show(s.store, s.vault, TENANT, "event", "evt_2", token, "kim", "why", NOON).value is not None


def test_without_a_reason_or_for_a_token_of_another_page_nothing_is_shown(services: Services) -> None:
    s = services
    thing = heard(s)
    other = heard(s, "evt_2", customer="cus_2", customer_email="bob@example.com")
    with pytest.raises(Refused):
        revealing.show(s.store, s.vault, TENANT, "event", "evt_1", thing["customer_email"], "kim", " ", NOON)
    with pytest.raises(LookupError):
        revealing.show(s.store, s.vault, TENANT, "event", "evt_1", other["customer_email"], "kim", "why", NOON)
    assert isinstance(s.vault, MemoryVault)
    assert s.vault.looks == []


def test_an_address_in_a_reason_is_not_kept(services: Services) -> None:
    s = services
    thing = heard(s)
    revealing.show(
        s.store, s.vault, TENANT, "customer", "cus_1", thing["customer_name"], "kim", "wrote from ada@example.com", NOON
    )
    assert isinstance(s.vault, MemoryVault)
    assert s.vault.looks[0][2] == "wrote from [e-mail]"


def test_a_reason_has_an_end(services: Services) -> None:
    s = services
    token = heard(s)["customer_name"]
    long = "a" * (revealing.LONGEST_REASON + 1)
    with pytest.raises(Refused, match="at most 2,000"):
        revealing.show(s.store, s.vault, TENANT, "event", "evt_1", token, "kim", long, NOON)


def test_the_page_of_a_run_offers_what_its_trigger_its_facts_and_its_actions_hold(services: Services) -> None:
    s = services
    thing = heard(s)
    fact, sent = s.vault.tokenise(TENANT, "cus_1", ["Paris", "+33 1 23"])
    run = {"id": "run_1", "trigger": "evt_1", "customer": "cus_1", "facts": {"customer": {"city": fact}}}
    step = {"id": "run_1/tell", "run_id": "run_1", "step": "tell", "params": {"to": sent}, "created_at": iso(NOON)}
    s.store.commit(TENANT, None, [Put("run", "run_1", run), Put("command", "run_1/tell", step)])
    offered = {one.token for one in revealing.held(s.store, TENANT, "run", "run_1")}
    assert offered == {fact, sent, thing["customer_email"], thing["customer_name"]}


def test_a_page_offers_so_many_values_and_no_more(services: Services) -> None:
    notes = {f"note {number}": f"guest{number}@example.com" for number in range(revealing.MOST + 20)}
    heard(services, metadata=notes)
    assert len(revealing.held(services.store, TENANT, "event", "evt_1")) == revealing.MOST
