"""The payment that comes in the very moment in which the wait ends: nobody is suspended who had paid before the claim.

Once at every place between two operations of the store, and many times with two threads on one SQLite file.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from app.adapters.memory import MemoryTracer
from app.adapters.sqlite_store import SqliteStore
from app.handle import handle
from app.perform.due import perform, wake
from app.rulesets import RuleSets
from rules.event import Event
from rules.matcher import PythonMatcher
from rules.ports import Body, Delivery, Outcome
from tests.builders import DAY, NOON
from tests.stories.world import World, failed, paid, twice_in_a_week

SECOND = NOON + DAY
OVER = SECOND + 2 * DAY
SUSPEND = {"name": "suspend", "do": "crm.notify", "with": {"connection": "crm", "stage": "Suspended"}}
LADDER = twice_in_a_week(
    [{"name": "grace", "wait": {"for": "PT48H"}}, SUSPEND],
    stop_when=[{"event": ["invoice.paid"], "same": "subscription"}],
)


class Watched:
    """A store that calls back before its n-th operation."""

    def __init__(self, store: Any, at: int, back: Callable[[], None]) -> None:
        self._store, self._at, self._back = store, at, back
        self.seen: list[str] = []

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._store, name)
        if name not in ("get", "find", "commit", "claim"):
            return real

        def call(*given: Any, **named: Any) -> Any:
            self.seen.append(f"{name} {given[0] if name == 'claim' else given[1] if len(given) > 1 else ''}")
            if len(self.seen) == self._at:
                self._back()
            return real(*given, **named)

        return call

    @contextmanager
    def batch(self) -> Iterator[None]:
        yield  # a callback's commits inside a batch would be the batch's own


def before_the_wake() -> World:
    world = World()
    world.publish(LADDER)
    world.live(OVER - timedelta(seconds=1), (NOON, failed(1, NOON)), (SECOND, failed(2, SECOND)))
    return world


def at_place(number: int) -> tuple[World, Watched]:
    """The payment is handled just before operation `number` of waking and acting."""
    world = before_the_wake()
    s = world.services

    def pays() -> None:
        handle([Delivery("d", paid(OVER), 1)], world.durable, s.rulesets, MemoryTracer(), OVER)

    store: Any = Watched(world.durable, number, pays)
    world.clock.set(OVER)
    rulesets = RuleSets(PythonMatcher())
    wake(store, rulesets, OVER)
    perform(store, rulesets, world.connectors, MemoryTracer(), OVER)
    return world, store


def test_at_every_place_of_waking_and_acting_a_payment_that_was_recorded_before_the_check_is_seen() -> None:
    operations = at_place(10_000)[1].seen
    checked = operations.index("get run", operations.index("claim command")) + 1  # the run is read again just before
    assert len(operations) > 8
    for number in range(1, len(operations) + 1):
        world, _ = at_place(number)
        (run,) = world.runs()
        if number <= checked:
            assert world.outside.requests == [], f"before operation {number}: {operations[number - 1]}"
        assert run["state"] == "stopped"


# ---- two threads on one file ----------------------------------------------------------------------------------------
class Suspends:
    """The action: who was suspended, and when."""

    name, title, undo = "crm.notify", "Notify", "Cannot be undone."
    fields = ()

    def __init__(self) -> None:
        self.done: set[str] = set()

    def preview(self, params: Body) -> Body:
        return params

    def execute(self, task: Body, now: Any) -> Outcome:
        self.done.add(task["subjects"]["sub"])
        return Outcome.done("suspended")


LONG = (pytest.mark.nightly, pytest.mark.timeout(3600))


@pytest.mark.parametrize(
    ("times", "backend"),
    [
        pytest.param(40, "sqlite", id="40 on SQLite"),
        pytest.param(10_000, "memory", id="10,000 in memory", marks=LONG),
        pytest.param(10_000, "sqlite", id="10,000 on SQLite", marks=LONG),
    ],
)
def test_a_payment_within_five_milliseconds_of_the_wake_never_loses(times: int, backend: str, tmp_path: Path) -> None:
    on_disk = backend == "sqlite"
    world = World(opened=(lambda: SqliteStore(tmp_path / "store.db")) if on_disk else None)
    world.publish(LADDER)
    first: Any = world.durable
    second: Any = SqliteStore(tmp_path / "store.db") if on_disk else first
    chance, rulesets = random.Random(17), RuleSets(PythonMatcher())
    wrong, suspended, spared = [], 0, 0
    for number in range(times):
        sub = f"sub_{number}"
        for event in (failed(1, NOON, sub), failed(2, SECOND, sub)):
            handle([Delivery(event.id, event, 1)], first, rulesets, MemoryTracer(), SECOND)
        paid_at, claimed_at, done = race(first, second, paid(OVER, sub), chance.uniform(-0.005, 0.005))
        suspended, spared = suspended + done, spared + (not done)
        if done and paid_at < claimed_at:
            wrong.append(sub)
    assert wrong == []
    assert spared
    assert suspended + spared == times


def race(first: Any, second: Any, event: Event, lead: float) -> tuple[float, float, bool]:
    """The payment is handled in one thread, the wake and the act in another, `lead` seconds apart. When the payment
    was durable, when the claim of the action began, and whether it was done."""
    action, at = Suspends(), {"paid": float("inf"), "claimed": 0.0}
    gate = threading.Barrier(2)

    def pays() -> None:
        gate.wait()
        after(lead)
        handle([Delivery(event.id, event, 1)], first, RuleSets(PythonMatcher()), MemoryTracer(), OVER)
        at["paid"] = time.perf_counter()

    payer = threading.Thread(target=pays)
    payer.start()
    gate.wait()
    after(-lead)
    rulesets = RuleSets(PythonMatcher())
    wake(second, rulesets, OVER)
    at["claimed"] = time.perf_counter()
    perform(second, rulesets, {"crm.notify": action}, MemoryTracer(), OVER)
    payer.join()
    perform(second, rulesets, {"crm.notify": action}, MemoryTracer(), OVER)  # what was refused stays refused
    return at["paid"], at["claimed"], bool(action.done)


def after(seconds: float) -> None:
    """A few milliseconds, exactly: a sleep takes as long as it likes."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass
