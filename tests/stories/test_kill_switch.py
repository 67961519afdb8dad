"""A kill switch that one process throws holds in another within its next look, and after every restart."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app import operate
from app.adapters.memory import MemoryTracer
from app.adapters.sqlite_store import SqliteStore
from app.perform.due import Crew, perform, wake
from app.rulesets import RuleSets
from rules.matcher import PythonMatcher
from tests.builders import DAY, NOON, TENANT
from tests.stories.world import ACTOR, DOWNGRADE, NOTIFY, World, failed, twice_in_a_week

SECOND = NOON + DAY
OVER = SECOND + 2 * DAY
GRACE = {"name": "grace", "wait": {"for": "PT48H"}}
MOMENT = timedelta(milliseconds=900)


class Worker:
    """A process of its own: its store on the same file, its own rule sets, nothing remembered."""

    def __init__(self, path: Path, world: World) -> None:
        self.store = SqliteStore(path)
        self.rulesets = RuleSets(PythonMatcher())
        self.world = world

    def look(self, now: datetime, crew: Crew | None = None) -> None:
        self.world.clock.set(now)
        connectors = self.world.connectors
        wake(self.store, self.rulesets, now)
        for _ in range(4):
            perform(self.store, self.rulesets, connectors, MemoryTracer(), now, pool=crew)


def installed(path: Path) -> World:
    opened: list[SqliteStore] = []

    def open_store() -> SqliteStore:
        opened.append(SqliteStore(path))
        return opened[-1]

    world = World(opened=open_store)
    world.publish(twice_in_a_week([NOTIFY, GRACE, DOWNGRADE]))
    return world


def done(world: World) -> list[str]:
    return [effect.id.partition("/")[2] for effect in world.outside.requests]


@pytest.mark.parametrize("what", ["all", "rule:two-failed-payments", "connection:stripe"])
@pytest.mark.parametrize("with_crew", [False, True])
def test_what_one_process_stops_another_does_not_do_and_a_restart_forgets_nothing(
    what: str, with_crew: bool, tmp_path: Path
) -> None:
    path = tmp_path / "store.db"
    world = installed(path)
    world.live(OVER - timedelta(minutes=1), (NOON, failed(1, NOON)), (SECOND, failed(2, SECOND)))
    worker = Worker(path, world)
    crew: Any = Crew() if with_crew else None
    worker.look(OVER - timedelta(seconds=1), crew)
    operate.switch(world.durable, TENANT, what, True, ACTOR, "incident", OVER - timedelta(seconds=1))
    worker.look(OVER - timedelta(seconds=1) + MOMENT + timedelta(seconds=1), crew)
    assert done(world) == ["tell-crm"]
    worker.store.close()
    restarted = Worker(path, world)
    for hours in range(3):
        restarted.look(OVER + timedelta(hours=hours + 1), crew)
    assert done(world) == ["tell-crm"]
    (command,) = [one for one in world.commands() if one["state"] == "due"]
    assert "stopped" in command["outcome"]["message"]
    later = OVER + timedelta(hours=5)
    operate.switch(world.durable, TENANT, what, False, ACTOR, "over", later)
    restarted.look(later + MOMENT, crew)
    restarted.look(later + MOMENT + MOMENT, crew)
    assert done(world) == ["tell-crm", "downgrade"]
    if crew is not None:
        crew.__exit__(None, None, None)
    restarted.store.close()


def test_a_switch_for_another_rule_or_connection_holds_nothing_here(tmp_path: Path) -> None:
    world = installed(tmp_path / "store.db")
    now = world.clock.now()
    operate.switch(world.durable, TENANT, "rule:another", True, ACTOR, "", now)
    operate.switch(world.durable, TENANT, "connection:another", True, ACTOR, "", now)
    world.live(OVER + DAY, (NOON, failed(1, NOON)), (SECOND, failed(2, SECOND)))
    assert done(world) == ["tell-crm", "downgrade"]


def test_what_is_taken_back_is_held_by_the_switch_like_any_other_effect(tmp_path: Path) -> None:
    from tests.stories.test_undo import Stripe

    world = World()
    stripe = Stripe()
    world.outside.answers = stripe.answer
    world.publish(twice_in_a_week([DOWNGRADE]))
    world.live(SECOND + timedelta(hours=1), (NOON, failed(1, NOON)), (SECOND, failed(2, SECOND)))
    (run,) = world.runs()
    operate.switch(world.durable, TENANT, "all", True, ACTOR, "incident", world.clock.now())
    operate.act(world.durable, TENANT, run["id"], "undo", ACTOR, "a mistake", world.clock.now())
    world.live(SECOND + timedelta(hours=2))
    assert stripe.plans == {"sub_1": "price_free"}
    operate.switch(world.durable, TENANT, "all", False, ACTOR, "over", world.clock.now())
    world.live(SECOND + timedelta(hours=3))
    assert stripe.plans == {"sub_1": "price_pro"}
