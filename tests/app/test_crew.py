"""The crew does many things at once, never too many, and one slow receiver never delays another."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from app import author
from app.crew import EACH, SLOW_LINE, THREADS, Crew
from app.desk import Desk
from app.handle import handle
from rules.ports import Body, Delivery, Field, Outcome, Unavailable
from tests.builders import DAY, NOON, TENANT
from tests.stories.world import ACTOR, World, failed, twice_in_a_week

SECOND = NOON + DAY


@dataclass
class Gate:
    """`crm.notify` whose calls to some connections wait until the test opens them."""

    name: str = "crm.notify"
    title: str = "Notify"
    undo: str = "Cannot be undone."
    undo: str = "Cannot be undone: a notice stays sent."
    fields: tuple[Field, ...] = (
        Field("connection", "Connection", "connection", required=True),
        Field("stage", "Stage"),
    )
    slow: frozenset[str] = frozenset({"slow"})
    opened: threading.Event = field(default_factory=threading.Event)
    done: Counter[str] = field(default_factory=Counter)
    inside: Counter[str] = field(default_factory=Counter)
    most: Counter[str] = field(default_factory=Counter)
    outcome: Callable[[Body], Outcome] = lambda task: Outcome.done("taken")

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def preview(self, params: Body) -> Body:
        return params

    def execute(self, task: Body, now: Any) -> Outcome:
        connection = task["connection"]
        with self._lock:
            for name in (connection, "all"):
                self.inside[name] += 1
                self.most[name] = max(self.most[name], self.inside[name])
        if connection in self.slow:
            assert self.opened.wait(30)
        with self._lock:
            self.inside.subtract((connection, "all"))
            self.done[connection] += 1
        return self.outcome(task)


def world_with(gate: Gate, loads: dict[str, int]) -> World:
    """Due commands: so many for each connection."""
    world = World()
    world.connectors["crm.notify"] = gate  # type: ignore[assignment]
    world.services = world._started()
    s = world.services
    for name, load in loads.items():
        body = {"name": name, "type": "webhook", "url": "https://crm.example.com/hook"}
        author.save_connection(world.durable, s.secrets, TENANT, body, ACTOR, NOON)
        steps = [{"name": "tell", "do": "crm.notify", "with": {"connection": name, "stage": "x"}}]
        only = {"field": "data.object.attempt_count", "is": "less or equal to", "value": load}
        world.publish(twice_in_a_week(steps, id=f"to-{name}", only_if={"all": [only]}))
    for number in range(1, max(loads.values()) + 1):
        for count, at in ((1, NOON), (2, SECOND)):
            event = failed(count, at, f"sub_{number}", attempt_count=number)
            handle([Delivery("x", event, 1)], world.durable, s.rulesets, s.tracer, at)
    return world


def desk(world: World) -> Desk:
    s = world.services
    return Desk(world.durable, s.rulesets, s.connectors, s.tracer, SECOND)


def look_until(crew: Crew, world: World, ready: Callable[[], bool], looks: int = 200) -> None:
    for _ in range(looks):
        if ready():
            return
        crew.look(desk(world), 64)
    raise AssertionError("it never came to that")


@contextmanager
def opening(gate: Gate) -> Any:
    """However the test ends, nothing waits for ever."""
    try:
        yield
    finally:
        gate.opened.set()


def test_a_slow_connection_delays_no_other_however_much_is_due_for_it() -> None:
    gate = Gate()
    world = world_with(gate, {"slow": 100, **{f"quick-{n}": 3 for n in range(8)}})
    with Crew() as crew, opening(gate):
        look_until(crew, world, lambda: sum(gate.done[f"quick-{n}"] for n in range(8)) == 24)
        assert gate.done["slow"] == 0
        assert 1 <= gate.most["slow"] <= EACH
        gate.opened.set()
        crew.finish(desk(world))


def test_what_does_not_fit_into_a_slow_line_goes_back_and_comes_again() -> None:
    gate = Gate()
    world = world_with(gate, {"slow": 30})
    with Crew() as crew, opening(gate):
        look_until(
            crew, world, lambda: len(world.durable.find(TENANT, "command", order="due_at", limit=50).items) == 30
        )
        look_until(crew, world, lambda: any(len(line) == SLOW_LINE for line in crew._lines.values()))
        due = [one.body["due_at"] for one in world.durable.find(TENANT, "command", order="due_at", limit=50).items]
        soon = desk(world).now.isoformat()[:16]
        assert sum(1 for time in due if time.startswith(soon)) >= 30 - SLOW_LINE - EACH
        gate.opened.set()
        crew.finish(desk(world))
    assert gate.done["slow"] <= EACH


def test_never_more_at_once_than_threads_and_everything_is_done_once() -> None:
    gate = Gate(slow=frozenset())
    world = world_with(gate, {f"c-{n}": 20 for n in range(4)})
    with Crew() as crew:
        look_until(crew, world, lambda: sum(gate.done.values()) == 80)
        crew.finish(desk(world))
    assert gate.most["all"] <= THREADS
    assert max(gate.most[f"c-{n}"] for n in range(4)) <= EACH
    assert Counter(one.body["state"] for one in commands(world)) == {"done": 80}
    assert all(len(one.body["attempts"]) == 1 for one in commands(world))


def commands(world: World) -> Any:
    return world.durable.find(TENANT, "command", order="created_at", limit=500).items


def test_a_connection_in_trouble_has_one_thread_until_it_answers_again() -> None:
    gate = Gate(slow=frozenset(), outcome=lambda task: Outcome.retry("down"))
    world = world_with(gate, {"crm": 40})
    with Crew() as crew:
        look_until(crew, world, lambda: gate.done["crm"] >= EACH)
        crew.finish(desk(world))
        gate.most.clear()
        for _ in range(5):
            crew.look(desk(world), 64)
        crew.finish(desk(world))
    assert gate.most["crm"] <= 1


def test_what_is_in_flight_at_the_end_is_written_down() -> None:
    gate = Gate()
    world = world_with(gate, {"slow": 2})
    with Crew() as crew:
        crew.look(desk(world), 64)
        assert crew.busy
        gate.opened.set()
        assert crew.finish(desk(world)) == 2
        assert not crew.busy
    assert [one.body["state"] for one in commands(world)] == ["done", "done"]


def test_what_could_not_be_written_down_is_written_at_the_next_look() -> None:
    gate = Gate(slow=frozenset())
    world = world_with(gate, {"crm": 1})
    broken = [True]
    commit = world.durable.commit

    class Breaking:
        def __getattr__(self, name: str) -> Any:
            return getattr(world.durable, name)

        def commit(self, *args: Any) -> None:
            if broken[0]:
                raise Unavailable("disk full")
            commit(*args)

    s = world.services
    at_desk = Desk(Breaking(), s.rulesets, s.connectors, s.tracer, SECOND)  # type: ignore[arg-type]
    with Crew() as crew:
        with suppress(Unavailable):
            while not gate.done["crm"]:
                crew.look(at_desk, 64)
            crew.look(at_desk, 64)
        broken[0] = False
        crew.finish(at_desk)
    assert gate.done["crm"] == 1
    assert [(one.body["state"], len(one.body["attempts"])) for one in commands(world)] == [("done", 1)]
