"""Test 13: one receiver that takes ten seconds, among twenty; the other nineteen do not notice."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import Any

import pytest

from app.perform.crew import Crew
from app.perform.desk import Desk
from rules.event import instant
from rules.ports import Body, Outcome
from tests.app.test_crew import SECOND, Gate, commands, desk, opening, world_with
from tests.stories.world import World

OTHERS = [f"good-{number:02}" for number in range(19)]
EACH = 12  # actions for each, all due at once


class Ten(Gate):
    """5 ms for the good ones; the slow one holds its callers until the test is over, as ten seconds would."""

    def execute(self, task: Body, now: Any) -> Outcome:
        if task["connection"] != "slow":
            threading.Event().wait(0.005)
        return super().execute(task, now)


def p99(loads: dict[str, int]) -> float:
    """Seconds from when an action was due until it was done, for the good ones."""
    gate = Ten()
    world = world_with(gate, loads)
    began = time.monotonic()
    with Crew() as crew, opening(gate):
        while sum(gate.done[name] for name in OTHERS) < EACH * len(OTHERS):
            crew.look(_desk(world, began), 64)
            assert time.monotonic() - began < 60
        gate.opened.set()
        crew.finish(_desk(world, began))
    ended = [
        instant(one.body["attempts"][0]["ended_at"]) - SECOND
        for one in commands(world)
        if one.body["connection"] != "slow" and one.body["attempts"]
    ]
    return sorted(ended)[int(len(ended) * 0.99) - 1].total_seconds()


def _desk(world: World, began: float) -> Desk:
    """At SECOND, when all of it was due, and as much later as has truly passed."""
    return desk(world, timedelta(seconds=time.monotonic() - began))


@pytest.mark.parametrize("times", [1, pytest.param(5, marks=pytest.mark.nightly)])
def test_the_p99_of_nineteen_is_at_most_twice_what_it_is_without_the_slow_one(times: int) -> None:
    good = dict.fromkeys(OTHERS, EACH)
    for _ in range(times):
        tries = (p99(good), p99({"slow": 60, **good}))
        for _ in range(4):  # the best of five: other work on the machine only ever makes one of them slower
            if tries[1] <= 2 * tries[0] + 0.1:
                break
            tries = (min(tries[0], p99(good)), min(tries[1], p99({"slow": 60, **good})))
        assert tries[1] <= 2 * tries[0] + 0.1, tries
