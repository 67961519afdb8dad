"""The crew does many things at once, never too many, and one slow receiver never delays another."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from app import author, operate
from app.handle import handle
from app.perform.breaker import OPEN_AFTER
from app.perform.crew import EACH, SLOW_LINE, THREADS, Crew
from app.perform.desk import Desk
from app.perform.lanes import Lanes, Settings
from rules.ports import Body, Delivery, Field, Outcome, Put, Unavailable
from tests.builders import DAY, NOON, TENANT
from tests.stories.world import ACTOR, World, failed, twice_in_a_week

SECOND = NOON + DAY


@dataclass
class Gate:
    """`crm.notify` whose calls to some connections wait until the test opens them."""

    name: str = "crm.notify"
    title: str = "Notify"
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
        told(world, name, load)
    for number in range(1, max(loads.values()) + 1):
        for count, at in ((1, NOON), (2, SECOND)):
            event = failed(count, at, f"sub_{number}", attempt_count=number)
            handle([Delivery("x", event, 1)], world.durable, s.rulesets, s.tracer, at)
    return world


def told(world: World, name: str, load: int) -> None:
    """A connection, and a rule that tells it about so many subscriptions."""
    body = {"name": name, "type": "webhook", "url": "https://crm.example.com/hook"}
    author.save_connection(world.durable, world.services.secrets, TENANT, body, ACTOR, NOON)
    steps = [{"name": "tell", "do": "crm.notify", "with": {"connection": name, "stage": "x"}}]
    only = {"field": "data.object.attempt_count", "is": "less or equal to", "value": load}
    world.publish(twice_in_a_week(steps, id=f"to-{name}", only_if={"all": [only]}))


def world_gets(world: World, name: str, load: int) -> None:
    """Later, so many more due commands, for a new connection."""
    told(world, name, load)
    for number in range(1, load + 1):
        for count, at in ((1, NOON), (2, SECOND)):
            event = failed(count, at, f"sub_{name}{number}", attempt_count=number)
            handle([Delivery("x", event, 1)], world.durable, world.services.rulesets, world.services.tracer, at)


def desk(world: World, later: timedelta = timedelta(0)) -> Desk:
    s = world.services
    return Desk(world.durable, s.rulesets, s.connectors, s.tracer, SECOND + later)


def look_until(crew: Crew, world: World, ready: Callable[[], bool], looks: int = 200) -> None:
    for look in range(looks):
        if ready():
            return
        crew.look(desk(world, look * timedelta(milliseconds=50)), 64)
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
    gate = Gate(slow=frozenset({"one", "other"}))
    world = world_with(gate, {"one": 1, "other": 1})
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


def test_answers_that_come_close_together_are_written_down_in_one_transaction() -> None:
    gate = Gate(slow=frozenset())
    world = world_with(gate, {"crm": 60})
    made = [0]

    class Counting:
        def __getattr__(self, name: str) -> Any:
            return getattr(world.durable, name)

        def batch(self) -> Any:
            made[0] += 1
            return world.durable.batch()

    s = world.services
    with Crew() as crew:
        for look in range(100):
            later = SECOND + look * timedelta(milliseconds=50)
            crew.look(Desk(Counting(), s.rulesets, s.connectors, s.tracer, later), 64)  # type: ignore[arg-type]
            if gate.done["crm"] == 60:
                break
        looked = look + 1
        crew.finish(desk(world))
    assert made[0] <= looked + 60 // 2
    assert Counter(one.body["state"] for one in commands(world)) == {"done": 60}


def test_a_refusal_is_written_down_before_the_next_call() -> None:
    gate = Gate(slow=frozenset(), outcome=lambda task: Outcome.retry("refused (401)", pause_connection=True))
    world = world_with(gate, {"crm": 40})
    with Crew() as crew:
        for look in range(20):
            crew.look(desk(world, look * timedelta(milliseconds=50)), 64)
        crew.finish(desk(world))
    assert 1 <= gate.done["crm"] <= EACH


# ---- what a connection may be asked ---------------------------------------------------------------------------------
def limited(world: World, name: str, **settings: Any) -> None:
    """The connection with settings of its own."""
    found = world.durable.get(TENANT, "connection", name)
    assert found
    world.durable.commit(TENANT, None, [Put("connection", name, {**found.body, **settings}, found.version)])


def test_a_connection_takes_as_many_at_once_as_it_says() -> None:
    gate = Gate(slow=frozenset())
    world = world_with(gate, {"crm": 60})
    limited(world, "crm", at_once=2)
    with Crew() as crew:
        look_until(crew, world, lambda: gate.done["crm"] == 60)
        crew.finish(desk(world))
    assert gate.most["crm"] <= 2


@pytest.mark.parametrize(("rate", "seconds"), [(5, 4), (40, 3), (0.5, 8)])
def test_a_connection_gets_no_more_a_second_than_its_rate_and_nearly_that(rate: float, seconds: int) -> None:
    gate = Gate(slow=frozenset())
    world = world_with(gate, {"crm": 150})
    limited(world, "crm", rate=rate)
    begun: list[timedelta] = []
    gate.outcome = lambda task: (begun.append(passed[0]), Outcome.done("taken"))[1]
    passed = [timedelta(0)]
    with Crew() as crew:
        while passed[0] < timedelta(seconds=seconds):
            crew.look(desk(world, passed[0]), 64)
            passed[0] += timedelta(milliseconds=50)
        crew.finish(desk(world, passed[0]))
    burst = max(1, rate / 4)
    for first in begun:
        within = sum(1 for at in begun if first <= at < first + timedelta(seconds=1))
        assert within <= rate + burst + 1
    assert rate * seconds * 0.7 - 1 <= len(begun) <= rate * seconds + burst + 1


def test_of_several_workers_each_has_its_share_of_a_rate() -> None:
    said = Settings(rate=10.0, at_once=6)
    quarter = Lanes().refreshed((TENANT, "crm"), SECOND, lambda: {"rate": 10, "at_once": 6}, 0.25).settings
    assert (quarter.rate, quarter.at_once) == (2.5, 1)
    assert Lanes().refreshed((TENANT, "crm"), SECOND, lambda: {"rate": 10, "at_once": 6}).settings == said


def test_two_receivers_that_hang_leave_threads_for_everybody_else() -> None:
    hanging = {f"hang-{n}" for n in range(5)}
    gate = Gate(slow=frozenset())
    world = world_with(gate, {**dict.fromkeys(sorted(hanging), 40), "good": 40})
    with Crew() as crew, opening(gate):
        look_until(crew, world, lambda: all(gate.done[name] for name in (*hanging, "good")))  # all were known as quick
        gate.slow = frozenset(hanging)
        look_until(crew, world, lambda: gate.done["good"] == 40)
        assert sum(gate.inside[name] for name in hanging) <= THREADS - 1
        gate.opened.set()
        crew.finish(desk(world))


def test_a_long_queue_of_one_receiver_stays_in_the_store_and_lets_the_others_by() -> None:
    """50 ms a call is not slow, and four hundred of them are: what is due for others comes in between."""
    gate = Gate(slow=frozenset())
    pause = threading.Event()
    gate.outcome = lambda task: (task["connection"] == "busy" and pause.wait(0.05), Outcome.done("taken"))[1]
    world = world_with(gate, {"busy": 300})
    with Crew() as crew:
        look_until(crew, world, lambda: gate.done["busy"] >= 20)
        world_gets(world, "quick", 10)
        before = gate.done["busy"]
        look_until(crew, world, lambda: gate.done["quick"] == 10, looks=20)
        assert gate.done["busy"] - before < 150
        crew.finish(desk(world))


# ---- the breaker ----------------------------------------------------------------------------------------------------
def test_a_dead_receiver_is_left_alone_and_then_tried_with_one_action() -> None:
    gate = Gate(slow=frozenset(), outcome=lambda task: Outcome.retry("down"))
    world = world_with(gate, {"crm": 100})
    with Crew() as crew:
        for _ in range(50):
            crew.look(desk(world), 64)
            crew.finish(desk(world))
        first = gate.done["crm"]
        assert OPEN_AFTER <= first <= OPEN_AFTER + EACH
        later = timedelta(0)
        for _ in range(5):  # each rest is over long since; what comes is one probe, whose failure begins the next
            later += timedelta(minutes=6)
            for _ in range(20):
                crew.look(desk(world, later), 64)
            crew.finish(desk(world, later))
        assert gate.done["crm"] == first + 5
        gate.outcome = lambda task: Outcome.done("taken")
        later += timedelta(minutes=6)
        for look in range(200):
            crew.look(desk(world, later + look * timedelta(milliseconds=50)), 64)
        crew.finish(desk(world, later))
    assert {one.body["state"] for one in commands(world)} == {"done"}  # all of it, with the probe's success
    connection = world.durable.get(TENANT, "connection", "crm")
    assert connection
    assert (connection.body["state"], connection.body.get("breaker")) == ("on", None)


def test_a_receiver_that_was_down_for_five_seconds_has_caught_up_five_seconds_later() -> None:
    gate = Gate(slow=frozenset())
    world = world_with(gate, {"crm": 200})
    passed = timedelta(0)
    gate.outcome = lambda task: Outcome.retry("down") if passed < timedelta(seconds=5) else Outcome.done("taken")
    with Crew() as crew:
        while passed < timedelta(seconds=10):
            crew.look(desk(world, passed), 64)
            passed += timedelta(milliseconds=100)
        crew.finish(desk(world, passed))
    assert {one.body["state"] for one in commands(world)} == {"done"}


def test_two_workers_send_one_probe_between_them_while_it_is_on_its_way() -> None:
    gate = Gate(slow=frozenset(), outcome=lambda task: Outcome.retry("down"))
    world = world_with(gate, {"crm": 60})
    with Crew() as one, Crew() as other, opening(gate):
        for _ in range(40):
            one.look(desk(world), 64)
        one.finish(desk(world))
        gate.slow = frozenset({"crm"})
        later = timedelta(minutes=10)
        for second in range(0, 60, 10):
            one.look(desk(world, later + timedelta(seconds=second)), 5)
            other.look(desk(world, later + timedelta(seconds=second + 5)), 5)
        assert gate.inside["crm"] == 1
        gate.opened.set()
        one.finish(desk(world, later))
        other.finish(desk(world, later))


# ---- in order -------------------------------------------------------------------------------------------------------
def two_for_one_customer(gate: Gate) -> World:
    """Two rules that tell the same connection about each of three customers, the second rule's run a minute later."""
    world = world_with(gate, {"crm": 3})
    limited(world, "crm", in_order=True)
    steps = [{"name": "again", "do": "crm.notify", "with": {"connection": "crm", "stage": "y"}}]
    world.publish(twice_in_a_week(steps, id="second-rule"))
    for number in range(1, 4):
        at = SECOND + timedelta(minutes=1)
        event = failed(3, at, f"sub_{number}", attempt_count=9)
        handle([Delivery("x", event, 1)], world.durable, world.services.rulesets, world.services.tracer, at)
    return world


def test_what_is_in_order_waits_for_the_earlier_one_of_its_customer_alone() -> None:
    gate = Gate(slow=frozenset())
    order: list[tuple[str, str]] = []
    broken = {"cus_1"}

    def outcome(task: Body) -> Outcome:
        order.append((task["customer"], task["step"]))
        return Outcome.retry("busy") if task["customer"] in broken and task["step"] == "tell" else Outcome.done("taken")

    gate.outcome = outcome
    world = two_for_one_customer(gate)
    later = timedelta(minutes=2)
    with Crew() as crew:
        for _ in range(20):
            crew.look(desk(world, later), 64)
        crew.finish(desk(world, later))
        for customer in ("cus_2", "cus_3"):
            assert [step for who, step in order if who == customer] == ["tell", "again"]
        assert {step for who, step in order if who == "cus_1"} == {"tell"}
        waiting = next(c.body for c in commands(world) if c.body["customer"] == "cus_1" and c.body["step"] == "again")
        assert waiting["outcome"]["message"].startswith("in order: waits for run_")
        broken.clear()
        later += timedelta(minutes=5)
        for _ in range(20):
            crew.look(desk(world, later), 64)
        crew.finish(desk(world, later))
    assert [step for who, step in order if who == "cus_1"][-2:] == ["tell", "again"]


def test_one_that_gave_up_blocks_visibly_until_a_person_lets_it_go() -> None:
    gate = Gate(slow=frozenset())
    gate.outcome = lambda task: (
        Outcome.dead("refused") if (task["customer"], task["step"]) == ("cus_1", "tell") else Outcome.done("taken")
    )
    world = two_for_one_customer(gate)
    later = timedelta(minutes=2)

    def work() -> dict[str, str]:
        for _ in range(20):
            crew.look(desk(world, later), 64)
        crew.finish(desk(world, later))
        return {c.body["step"]: c.body["state"] for c in commands(world) if c.body["customer"] == "cus_1"}

    with Crew() as crew:
        assert work() == {"tell": "dead", "again": "due"}
        blocked = next(c.body for c in commands(world) if c.body["customer"] == "cus_1" and c.body["step"] == "again")
        assert blocked["outcome"]["message"].endswith("which gave up: replay it or discard it")
        gone = next(c.id for c in commands(world) if c.body["state"] == "dead")
        operate.discard(world.durable, world.bus, TENANT, [gone], ACTOR, "told by phone", SECOND + later)
        assert work() == {"tell": "cancelled", "again": "done"}
