"""Ten thousand actions are due and the receiver refuses our credentials: a few tries, and one thing to mend."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from app import author, browse, operate
from app.adapters.memory import MemoryBus
from app.adapters.sqlite_store import SqliteStore
from app.perform.crew import EACH, Crew
from app.perform.desk import Desk
from app.services import Services
from rules.event import iso
from rules.ports import Outcome, Put
from rules.run import Command, Run
from tests.app.test_crew import Gate
from tests.builders import DAY, NOON, TENANT, services_in_memory
from tests.stories.world import ACTOR, NOTIFY, twice_in_a_week

SECOND = NOON + DAY


def with_due(store: SqliteStore, count: int) -> Services:
    """So many runs that stand at their notice."""
    s = replace(services_in_memory(), store=store)
    connection = {"name": "crm", "type": "webhook", "url": "https://crm.example.com/hook"}
    author.save_connection(store, s.secrets, TENANT, connection, ACTOR, NOON)
    author.save_draft(store, s.vault, s.catalogue, s.connectors, TENANT, twice_in_a_week([NOTIFY]), ACTOR, NOON)
    author.publish(store, s.catalogue, s.connectors, TENANT, "two-failed-payments", ACTOR, "", NOON)
    with store.batch():
        for number in range(count):
            store.commit(TENANT, None, _standing(number))
    return s


def _standing(number: int) -> list[Put]:
    id, at = f"run_{number:05}", iso(SECOND)
    run = Run(
        id=id, tenant=TENANT, rule_id="two-failed-payments", rule_name="Two failed payments", version=1, mode="live",
        state="acting", key=f"sub:sub_{number}", customer=f"cus_{number}", trigger="evt_2", triggered=0,
        correlation=f"in_{number}", created_at=at, updated_at=at,
        steps={"tell-crm": {"state": "due", "at": at, "command": f"{id}/tell-crm"}},
    )  # fmt: skip
    command = Command(
        id=f"{id}/tell-crm", tenant=TENANT, run_id=id, step="tell-crm", rule_id=run.rule_id, version=1,
        action="crm.notify", connection="crm", params={"connection": "crm"}, state="due", customer=run.customer,
        correlation=run.correlation, created_at=at, due_at=at, trigger="evt_2",
    )  # fmt: skip
    return [Put("run", id, run.body()), Put("command", command.id, command.body())]


@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.nightly)])
def test_refused_credentials_are_one_matter_however_much_is_due(tmp_path: Path, count: int) -> None:
    store = SqliteStore(tmp_path / "store.db")
    s = with_due(store, count)
    refused = Outcome.retry("crm refused our credentials (401).", pause_connection=True)
    gate = Gate(slow=frozenset(), outcome=lambda task: refused)
    now = SECOND

    def look(crew: Crew) -> int:
        return crew.look(Desk(store, s.rulesets, {"crm.notify": gate}, s.tracer, now), 64)

    with Crew() as crew:
        for _ in range(count // 16 + 100):  # every one of them has been looked at
            look(crew)
            now += timedelta(milliseconds=50)
        assert 1 <= gate.done["crm"] <= EACH
        needs = browse.needs_you(store, MemoryBus(lambda: now), TENANT, now)
        assert [(group["kind"], group["count"]) for group in needs["groups"]] == [("failing", 1)]
        gate.outcome = lambda task: Outcome.done("taken")
        operate.resume_connection(store, TENANT, "crm", ACTOR, "They gave us a new key", now)
        while store.count(TENANT, "command", [("state", "==", "due")]):
            look(crew)
            now += timedelta(milliseconds=50)
            assert now < SECOND + timedelta(minutes=20)
    assert store.count(TENANT, "run", [("state", "==", "done")]) == count
    assert gate.done["crm"] <= count + EACH
    store.close()
