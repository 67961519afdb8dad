"""Every story survives a crash at every place: before and after each commit, claim, effect and acknowledgement.

The story completes, no step is skipped or done under two ids, nothing happens after its stop, and each step happens
when it should: on its time, or, where the crash hit it, as soon as the dead worker's lease is over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app import operate
from app.perform import desk, waking
from rules.event import Event
from rules.ports import Outcome
from rules.steps import NotPossible
from tests.builders import DAY, NOON, TENANT
from tests.stories.world import ACTOR, CLOSE, DOWNGRADE, LADDER, NOTIFY, Effect, World, failed, paid, twice_in_a_week

SECOND = NOON + DAY
GRACE_OVER = SECOND + 2 * DAY
LATEST = desk.LEASE + waking.LEASE + timedelta(seconds=5)  # a crash costs at most the leases that it left behind
Happening = Event | Callable[[], object]


@dataclass(frozen=True)
class Story:
    """expected: (subscription, step, when) of every effect. states: of the runs at the end, by subscription.
    answers: the world's, by effect and how many times it came."""

    name: str
    document: Mapping[str, Any]
    script: Callable[[World], Sequence[tuple[datetime, Happening]]]
    expected: Sequence[tuple[str, str, datetime]]
    states: Mapping[str, str]
    answers: Callable[[Effect, int], Outcome] = lambda effect, times: Outcome.done("done")
    slack: timedelta = field(default=timedelta(0))  # of answers that ask to come again


def twice(subscription: str = "sub_1", second: datetime = SECOND) -> list[tuple[datetime, Happening]]:
    return [(NOON, failed(1, NOON, subscription)), (second, failed(2, second, subscription))]


def asked(world: World, verb: str, state: str) -> Callable[[], None]:
    """A person who does the verb to every run in this state; pressing again after a crash does no harm."""

    def act() -> None:
        for run in world.runs():
            if run["state"] == state:
                with suppress(NotPossible):
                    operate.act(world.durable, TENANT, run["id"], verb, ACTOR, "I looked", world.clock.now())

    return act


def declined(effect: Effect, times: int) -> Outcome:
    if effect.action == "stripe.pay_invoice":
        return Outcome("branch", "declined", data={"result": "declined"})
    return Outcome.done("done")


def busy_at_first(effect: Effect, times: int) -> Outcome:
    """A CRM that is busy for ten minutes and says so."""
    left = SECOND + timedelta(minutes=10) - effect.at
    if effect.action == "crm.notify" and left > timedelta(0):
        return Outcome.retry("busy", after=left)
    return Outcome.done("done")


def forgets_one_key(effect: Effect, times: int) -> Outcome:
    """A stored 500 on the first key of the downgrade, for ever; the next key works."""
    if effect.action == "stripe.change_plan" and effect.key.endswith("/0"):
        data = {"new_key": True} if times > 1 else {}
        return Outcome.retry("Stripe had an error (500)", after=timedelta(minutes=1), data=data)
    return Outcome.done("done")


PAY = {"name": "pay", "do": "stripe.pay_invoice"}
IF_DECLINED = {
    "name": "how",
    "if": {"field": "step.pay.result", "is": "equal to", "value": "declined"},
    "then": [DOWNGRADE],
    "else": [CLOSE],
}
WAIT_FOR_PAYMENT = {
    "name": "paid",
    "wait": {"for_event": [{"event": ["invoice.paid"], "same": "invoice"}], "at_most": "P3D"},
}
ASK = {"name": "ask", "approve": {"role": "approver", "at_most": "P2D", "on_timeout": "stop"}}
DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
OFFICE = {"days": ["mon", "thu"], "from": "14:00", "to": "18:00", "zone": "Europe/Berlin", "applies_to": ["crm"]}
OPENING = NOON + 3 * DAY + timedelta(hours=1)  # Thursday at 14:00 in Berlin
CLOSES = "13:05"  # in Berlin, five minutes after SECOND
NEXT_MORNING = SECOND + timedelta(hours=20)  # Wednesday at 9:00 in Berlin

STORIES = [
    Story(
        "the ladder to its end",
        LADDER,
        lambda world: twice(),
        [("sub_1", "tell-crm", SECOND), ("sub_1", "downgrade", GRACE_OVER), ("sub_1", "close", GRACE_OVER)],
        {"sub_1": "done"},
    ),
    Story(
        "a payment stops it",
        LADDER,
        lambda world: [*twice(), (SECOND + DAY, paid(SECOND + DAY))],
        [("sub_1", "tell-crm", SECOND)],
        {"sub_1": "stopped"},
    ),
    Story(
        "a wait that an event ends",
        twice_in_a_week([NOTIFY, WAIT_FOR_PAYMENT, CLOSE]),
        lambda world: [*twice(), (SECOND + DAY, paid(SECOND + DAY))],
        [("sub_1", "tell-crm", SECOND), ("sub_1", "close", SECOND + DAY)],
        {"sub_1": "done"},
    ),
    Story(
        "a decline leads to the other branch",
        twice_in_a_week([PAY, IF_DECLINED, NOTIFY]),
        lambda world: twice(),
        [("sub_1", "pay", SECOND), ("sub_1", "downgrade", SECOND), ("sub_1", "tell-crm", SECOND)],
        {"sub_1": "done"},
        answers=declined,
    ),
    Story(
        "a limit parks the second run until a person releases it",
        twice_in_a_week([NOTIFY, DOWNGRADE], limits={"runs": 1, "per": "P1D"}),
        lambda world: [
            *twice("sub_1"),
            *twice("sub_2", SECOND + DAY / 24),
            (SECOND + DAY / 2, asked(world, "release", "parked")),
        ],
        [
            ("sub_1", "tell-crm", SECOND),
            ("sub_1", "downgrade", SECOND),
            ("sub_2", "tell-crm", SECOND + DAY / 2),
            ("sub_2", "downgrade", SECOND + DAY / 2),
        ],
        {"sub_1": "done", "sub_2": "done"},
    ),
    Story(
        "a notice waits for business hours, and what does not tell anybody is done at once",
        twice_in_a_week([DOWNGRADE, NOTIFY, {"name": "pause", "wait": {"for": "PT5H"}}, CLOSE], hours=OFFICE),
        lambda world: twice(),
        [
            ("sub_1", "downgrade", SECOND),
            ("sub_1", "tell-crm", OPENING),
            ("sub_1", "close", OPENING + timedelta(days=4)),
        ],
        {"sub_1": "done"},
    ),
    Story(
        "a payment comes before the office opens",
        twice_in_a_week([DOWNGRADE, NOTIFY], hours=OFFICE, stop_when=LADDER["stop_when"]),
        lambda world: [*twice(), (OPENING - timedelta(hours=1), paid(OPENING - timedelta(hours=1)))],
        [("sub_1", "downgrade", SECOND)],
        {"sub_1": "stopped"},
    ),
    Story(
        "a receiver that is busy until the office has closed",
        twice_in_a_week([NOTIFY, DOWNGRADE], hours={**OFFICE, "days": DAYS, "from": "09:00", "to": CLOSES}),
        lambda world: twice(),
        [("sub_1", "tell-crm", SECOND), ("sub_1", "downgrade", NEXT_MORNING)],
        {"sub_1": "done"},
        answers=busy_at_first,
    ),
    Story(
        "a cap lets one notice a day reach a customer",
        twice_in_a_week([NOTIFY, DOWNGRADE, CLOSE], caps=[{"tag": "crm", "at_most": 1, "per": "P1D"}]),
        lambda world: twice(),
        [("sub_1", "tell-crm", SECOND), ("sub_1", "downgrade", SECOND), ("sub_1", "close", SECOND + DAY)],
        {"sub_1": "done"},
    ),
    Story(
        "a person approves",
        twice_in_a_week([NOTIFY, ASK, DOWNGRADE]),
        lambda world: [*twice(), (SECOND + DAY, asked(world, "approve", "needs_person"))],
        [("sub_1", "tell-crm", SECOND), ("sub_1", "downgrade", SECOND + DAY)],
        {"sub_1": "done"},
    ),
    Story(
        "nobody approves in time",
        twice_in_a_week([NOTIFY, ASK, DOWNGRADE]),
        lambda world: twice(),
        [("sub_1", "tell-crm", SECOND)],
        {"sub_1": "stopped"},
    ),
    Story(
        "a receiver that is busy",
        twice_in_a_week([NOTIFY, DOWNGRADE]),
        lambda world: twice(),
        [("sub_1", "tell-crm", SECOND), ("sub_1", "downgrade", SECOND + timedelta(minutes=10))],
        {"sub_1": "done"},
        answers=busy_at_first,
        slack=timedelta(minutes=1),
    ),
    Story(
        "a 500 that Stripe has stored under the key",
        twice_in_a_week([DOWNGRADE, NOTIFY]),
        lambda world: twice(),
        [("sub_1", "downgrade", SECOND), ("sub_1", "tell-crm", SECOND + timedelta(minutes=2))],
        {"sub_1": "done"},
        answers=forgets_one_key,
        slack=timedelta(minutes=3),
    ),
]


def lived(story: Story, world: World) -> World:
    world.outside.answers = story.answers
    world.publish(story.document)
    world.live(NOON + 10 * DAY, *story.script(world))
    return world


def check(story: Story, world: World) -> None:
    """What the world saw is what the story says, once under each id, and on its time."""
    where = f"{story.name}, crashed {world.crashes}"
    late = LATEST if world.crashes else timedelta(0)
    effects = {(effect.subscription, effect.id.partition("/")[2]): effect for effect in world.outside.effects()}
    assert set(effects) == {(subscription, step) for subscription, step, _ in story.expected}, where
    for subscription, step, when in story.expected:
        happened = effects[subscription, step].at
        assert when <= happened <= when + late + story.slack, f"{where}: {step} at {happened}, not {when}"
    order = [effect.id.partition("/")[2] for effect in world.outside.effects() if effect.subscription == "sub_1"]
    assert order == [step for subscription, step, _ in story.expected if subscription == "sub_1"], where
    assert {run["subjects"]["sub"]: run["state"] for run in world.runs()} == dict(story.states), where
    ids = Counter(effect.id for effect in world.outside.requests)
    recorded = {command["id"]: len(command["attempts"]) for command in world.commands()}
    assert sum(ids.values()) - sum(recorded.values()) <= len(world.crashes), where  # a crash hides one request at most
    assert [command for command in world.commands() if command["due_at"]] == [], where


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_without_a_crash_everything_happens_exactly_on_time(story: Story) -> None:
    world = lived(story, World())
    check(story, world)
    assert world.crashes == []


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_a_crash_anywhere_changes_nothing_but_a_little_time(story: Story) -> None:
    points = lived(story, World()).points.seen
    assert points > 40
    for number in range(1, points + 1):
        world = lived(story, World(crash_at=number))
        assert len(world.crashes) == 1
        check(story, world)


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_a_crash_at_every_tenth_place_on_sqlite(story: Story, tmp_path: Path) -> None:
    from app.adapters.sqlite_store import SqliteStore

    points = lived(story, World()).points.seen
    for number in range(1 + hash_of(story.name) % 10, points + 1, 10):
        opened: list[SqliteStore] = []

        def reopen(name: str = f"{number}.db", opened: list[SqliteStore] = opened) -> SqliteStore:
            for store in opened:
                store.close()
            opened[:] = [SqliteStore(tmp_path / name)]
            return opened[0]

        world = World(crash_at=number, opened=reopen)
        check(story, lived(story, world))
        opened[0].close()


def hash_of(text: str) -> int:
    return sum(text.encode())
