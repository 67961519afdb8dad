"""A whole installation simulated from one seed: a clock, a queue, a store and a receiver that all fail as it says.

`python -m tests.faults.simulation SEED` plays one seed again and says what happened; the same seed gives the same
history, so a failing one can be looked at. Faults: the process dies at any point, again and again; the store and the
queue are unavailable; events come twice, late and out of order; the clock is set back; the receiver fails, loses its
answer after it has acted, asks to wait, refuses for good, or is down for a day.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from app.worker import Work, tick
from rules.event import Event
from rules.ports import Outcome, Put, Unavailable
from tests.builders import DAY, NOON, TENANT
from tests.stories.world import CLOSE, DOWNGRADE, NOTIFY, Crash, Effect, Points, World, failed, paid, twice_in_a_week

CALM = NOON + 5 * DAY  # from then on nothing fails any more
END = NOON + 30 * DAY
WAIT = {"name": "grace", "wait": {"for": "PT48H"}}
STEPS: Mapping[str, list[dict[str, Any]]] = {
    "ladder": [NOTIFY, WAIT, DOWNGRADE, CLOSE],
    "at once": [NOTIFY, DOWNGRADE, CLOSE],
    "patient": [WAIT, NOTIFY],
}
STOP = [{"event": ["invoice.paid"], "same": "invoice"}]


class RandomPoints(Points):
    """The process dies at any place with a chance, until calm."""

    def __init__(self, rng: random.Random, chance: float, is_calm: Callable[[], bool]) -> None:
        super().__init__()
        self._rng, self._chance, self._is_calm = rng, chance, is_calm

    def pass_(self, name: str) -> None:
        self.seen += 1
        if not self._is_calm() and self._rng.random() < self._chance:
            raise Crash(name)


class Unreliable:
    """A store or a queue that is unavailable now and then, before anything has happened."""

    def __init__(self, inner: Any, fails: Callable[[], bool]) -> None:
        self._inner, self._fails = inner, fails

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name not in ("commit", "claim", "drain", "publish"):
            return found

        def call(*arguments: Any, **more: Any) -> Any:
            if self._fails():
                raise Unavailable("the disk is full")
            return found(*arguments, **more)

        return call

    @contextmanager
    def batch(self) -> Iterator[None]:
        with self._inner.batch():
            yield
            if self._fails():
                raise Unavailable("the disk is full")


@dataclass
class Plan:
    """Everything that the seed decides."""

    seed: int
    rng: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.rng = rng = random.Random(self.seed)
        self.steps = rng.choice(sorted(STEPS))
        self.in_order = rng.random() < 0.5
        self.crash = rng.choice([0.0, 0.01, 0.05])
        self.unavailable = rng.choice([0.0, 0.02, 0.1])
        self.trouble = rng.choice([0.0, 0.2, 0.5])
        self.refused = rng.choice([0.0, 0.05])
        self.down = (NOON + rng.random() * 3 * DAY) if rng.random() < 0.3 else None
        self.set_back = rng.random() < 0.5
        self.subscriptions = rng.randrange(2, 6)

    def is_down(self, now: datetime) -> bool:
        return self.down is not None and self.down <= now < self.down + DAY

    def events(self) -> list[tuple[datetime, Event]]:
        """When each copy of each event is delivered."""
        rng, found = self.rng, []
        for number in range(1, self.subscriptions + 1):
            subscription = f"sub_{number}"
            made = [
                failed(count, NOON + rng.random() * 2 * DAY, subscription)
                for count in range(1, rng.randrange(1, 4) + 1)
            ]
            if rng.random() < 0.3:
                made.append(paid(NOON + 2 * DAY + rng.random() * DAY, subscription))
            for one in made:
                at = datetime.fromtimestamp(one.created, NOON.tzinfo)
                late = timedelta(hours=rng.choice([0, 0, 0, 1, 10]) * rng.random())
                found += [(at + late * copy, one) for copy in range(rng.choice([1, 1, 2, 3]))]
        return sorted(found, key=lambda one: one[0])


class Simulation(World):
    """A world that lives by a plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.faults: Counter[str] = Counter()
        self.late: list[str] = []  # acted after a stop: never to be seen
        self.calm = False
        super().__init__()

    def _started(self) -> Any:
        s = super()._started()
        return replace(s, store=Unreliable(s.store, self._fails), inbox=Unreliable(s.inbox, self._fails))

    def _fails(self) -> bool:
        if self.calm or self.plan.rng.random() >= self.plan.unavailable / 10:
            return False
        self.faults["unavailable"] += 1
        return True

    def prepare(self) -> None:
        self.publish(
            twice_in_a_week(
                STEPS[self.plan.steps],
                again={"while_open": False, "after": None},
                stop_when=STOP,
                limits={"runs": 1000},
            )
        )
        if self.plan.in_order:
            found = self.durable.get(TENANT, "connection", "crm")
            assert found
            self.durable.commit(TENANT, None, [Put("connection", "crm", {**found.body, "in_order": True})])
        self.points = RandomPoints(self.plan.rng, self.plan.crash, lambda: self.calm)
        self.outside.points, self.outside.answers = self.points, self._answer
        self.services = self._started()

    def _answer(self, effect: Effect, times: int) -> Outcome:
        if self.durable.get(TENANT, "event", f"evt_{(effect.subscription or '').removeprefix('sub_')}_paid"):
            self.late.append(effect.id)
        rng, plan = self.plan.rng, self.plan
        if self.calm:
            return Outcome.done("taken")
        if plan.is_down(self.clock.now()) or rng.random() < plan.trouble:
            self.faults["receiver"] += 1
            return Outcome.retry("no answer", after=rng.choice([None, None, timedelta(minutes=20)]))
        if rng.random() < plan.refused:
            self.faults["refused"] += 1
            return Outcome.dead("refused")
        return Outcome.done("taken")

    def _work(self) -> None:
        while True:
            try:
                tick(Work(self.services, lanes=self.lanes), self.clock.now())
                return
            except Crash as crash:
                self.crashes.append(str(crash))
                self.services = self._started()
            except Unavailable:
                self.clock.set(self.clock.now() + timedelta(seconds=1))

    def play(self) -> None:
        self.prepare()
        for at, one in self.plan.events():
            self.live(at, (at, one))
            if self.plan.set_back and self.plan.rng.random() < 0.1:
                self.faults["clock"] += 1
                self.clock.set(self.clock.now() - timedelta(minutes=self.plan.rng.random() * 60))
        self.live(max(CALM, self.clock.now()))
        self.calm = True
        self.live(END)


def check(world: Simulation) -> None:
    """Nothing is lost, nothing is done twice or out of order, nothing happens after its stop, nothing hangs."""
    events = {one.id: one for _, one in Plan(world.plan.seed).events()}
    kept = {one.id for one in world.durable.find(TENANT, "event", order="created", limit=500).items}
    assert kept == set(events), "an event was lost"
    assert world.late == [], "something was done after its stop"
    failures = Counter(one.data["data"]["object"]["id"] for one in events.values() if one.type.endswith("failed"))
    runs = {run["subjects"]["in"]: run for run in world.runs()}
    assert len(runs) == len(world.runs()), "a run was doubled"
    assert set(runs) == {invoice for invoice, count in failures.items() if count >= 2}, "not the runs that should be"
    steps = [step["name"] for step in STEPS[world.plan.steps] if "do" in step]
    effects: dict[str, list[str]] = {}
    for effect in world.outside.effects():
        run, _, step = effect.id.partition("/")
        effects.setdefault(run, []).append(step)
    for run in runs.values():
        _check_run(run, effects.get(run["id"], []), steps, {one["id"]: one for one in world.commands()})
    keys: dict[str, set[str]] = {}
    for request in world.outside.requests:
        keys.setdefault(request.id, set()).add(request.key)
    assert all(len(found) == 1 for found in keys.values()), "one effect under two keys"
    commands = {one["id"]: one for one in world.commands()}
    assert set(keys) <= set(commands), "something was done that was never decided"
    recorded = sum(len(one["attempts"]) for one in commands.values())
    assert len(world.outside.requests) - recorded <= len(world.crashes) + world.faults["unavailable"]


def _check_run(run: Mapping[str, Any], done: list[str], steps: list[str], commands: Mapping[str, Any]) -> None:
    mine = [one for one in commands.values() if one["run_id"] == run["id"]]
    assert all(one["due_at"] is None for one in mine), f"{run['id']} still has something due"
    assert done == steps[: len(done)], f"{run['id']} did {done}"
    if run["state"] == "done":
        assert done == steps, f"{run['id']} is done and did {done}"
        return
    assert run["state"] in ("stopped", "needs_person"), f"{run['id']} ended as {run['state']}"
    if run["state"] == "needs_person":  # visible, with its reason
        assert sum(one["state"] == "dead" for one in mine) == 1
        assert run["reason"]


def simulate(seed: int) -> Simulation:
    """Play a seed and hold it to the promises; an AssertionError names the seed."""
    world = Simulation(Plan(seed))
    world.play()
    try:
        check(world)
    except AssertionError as error:
        raise AssertionError(f"seed {seed}: {error}  (python -m tests.faults.simulation {seed})") from error
    return world


def say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def main(seed: int) -> None:
    world = Simulation(Plan(seed))
    world.play()
    for crash in world.crashes:
        say(f"died {crash}")
    say(f"faults {dict(world.faults)}", f"plan { {k: v for k, v in vars(world.plan).items() if k != 'rng'} }")
    for request in world.outside.requests:
        say(f"{request.at} {request.action} {request.id}")
    for run in world.runs():
        say(
            f"{run['id']} {run['state']} {run['reason']}",
            *(f"    {line['at']} {line['text']}" for line in run["story"]),
        )
    check(world)


if __name__ == "__main__":
    main(int(sys.argv[1]))
