"""A rule comes in three phases over three days, on real decisions: ten percent, half, everyone, nobody ever dropped."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pytest

from app import author, tenants
from app.adapters.memory import ManualClock
from app.author import planned
from app.author.timetable import Phase
from app.services import Services
from app.worker import Work, tick
from rules.ports import Store
from tests.builders import DAY, NOON, TENANT, event, invoice, services_in_memory

ID = "flag-failures"
MANY = 60
RULE = {
    "id": ID,
    "name": "Flag failures",
    "when": {"event": ["invoice.payment_failed"], "same": "subscription"},
    "steps": [{"name": "flag", "do": "review.flag", "with": {"text": "A payment failed."}}],
    "again": {"while_open": True, "after": "PT1H"},
}


@pytest.fixture
def services() -> Services:
    made = services_in_memory()
    tenants.ensure(made.store, TENANT, NOON)
    s = made
    author.save_draft(s.store, s.vault, s.catalogue, s.connectors, TENANT, RULE, "ann", NOON)
    return made


def fail(services: Services, now: datetime, day: int) -> set[str]:
    """A payment fails for everyone, and what is due is done; the subscriptions for which the rule ran on that day."""
    clock = services.clock
    assert isinstance(clock, ManualClock)
    clock.set(now)
    work = Work(services)
    tick(work, now)
    for number in range(MANY):
        failed = invoice(f"in_{day}_{number}", f"cus_{number}", f"sub_{number}")
        services.bus.publish(event(f"evt_{day}_{number}", object=failed, time=now, recorded=now))
    tick(work, now)
    return {one["key"] for one in runs(services.store, day)}


def runs(store: Store, day: int) -> list[Mapping[str, Any]]:
    found = store.find(TENANT, "run", [("rule_id", "==", ID)], order="created_at", limit=1000).items
    return [one.body for one in found if one.body["trigger"].startswith(f"evt_{day}_")]


def test_a_rule_comes_in_three_phases_and_each_keeps_whom_the_one_before_had(services: Services) -> None:
    desk = planned.Desk(services.store, services.catalogue, services.connectors)
    phases = [Phase(NOON + DAY, 10), Phase(NOON + 2 * DAY, 50), Phase(NOON + 3 * DAY, 100)]
    planned.plan(desk, TENANT, ID, phases, "live", "ann", "carefully", NOON)
    days = [fail(services, NOON + day * DAY, day) for day in range(4)]
    assert days[0] == set()
    assert set() < days[1] < days[2] < days[3]
    assert [len(day) for day in days[1:]] == [4, 23, MANY]  # drawn by the hash
    for number in (1, 2, 3):
        assert {one["version"] for one in runs(services.store, number)} == {number}
    left = next(number for number in range(MANY) if f"sub:sub_{number}" not in days[1])
    skipped = services.store.get(TENANT, "event", f"evt_1_{left}")
    assert skipped
    assert [(rule["gate"], rule["sentence"]) for rule in skipped.body["decision"]["rules"]] == [
        ("holdout", "An invoice payment fails, and every condition is true. In the 90% left untouched.")
    ]
