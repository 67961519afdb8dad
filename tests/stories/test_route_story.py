"""What a route takes is forwarded once, in order, wherever a process dies; in memory, and some places on SQLite."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from app import author
from app.adapters.sqlite_store import SqliteStore
from rules.ports import Store
from tests.builders import NOON, TENANT
from tests.stories.world import ACTOR, World, failed, paid

HOUR = timedelta(hours=1)
EVENTS = [failed(1, NOON), failed(2, NOON + HOUR), paid(NOON + 2 * HOUR), failed(1, NOON, "sub_2")]
TAKEN = ["route/mesh/evt_1_1", "route/mesh/evt_2_1", "route/mesh/evt_1_2"]


def lived(world: World) -> World:
    body = {"name": "mesh", "type": "route", "url": "https://mesh.example.com", "types": ["invoice.payment_failed"],
            "in_order": True}  # fmt: skip
    author.save_connection(world.durable, world.base.secrets, TENANT, body, ACTOR, NOON)
    world.points.seen, world.points.at = 0, world.crash_at
    world.points.names.clear()
    times = (NOON, NOON + HOUR, NOON + 2 * HOUR, NOON)
    world.live(NOON + timedelta(days=1), *zip(times, EVENTS, strict=True))
    return world


def check(world: World, about: str) -> None:
    forwarded = [effect.id for effect in world.outside.effects()]
    assert sorted(forwarded) == sorted(TAKEN), about
    assert forwarded.index("route/mesh/evt_1_1") < forwarded.index("route/mesh/evt_1_2"), about
    assert {command["state"] for command in world.commands()} == {"done"}, about
    assert world.runs() == [], about


def test_a_route_forwards_what_it_takes_once_wherever_a_process_dies() -> None:
    points = lived(World()).points.seen
    assert points > 20
    check(lived(World()), "no crash")
    for number in range(1, points + 1):
        world = lived(World(crash_at=number))
        check(world, f"{number}: {world.crashes}")
        assert world.crashes


@pytest.mark.parametrize("number", range(1, 21, 5))
def test_a_route_forwards_once_on_sqlite_too(number: int, tmp_path: Path) -> None:
    opened: list[SqliteStore] = []

    def reopen() -> Store:
        for store in opened:
            store.close()
        opened.append(SqliteStore(tmp_path / "store.db"))
        return opened[-1]

    world = lived(World(crash_at=number, opened=reopen))
    check(world, f"{number}: {world.crashes}")
    opened[-1].close()
