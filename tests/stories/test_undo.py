"""Paid after all: what a run did is taken back, newest first, each once under its own id, through crashes anywhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app.perform import desk, waking
from app.worker import Work
from rules.event import Event
from rules.ports import Outcome
from tests.builders import DAY, NOON
from tests.stories.world import CLOSE, DOWNGRADE, NOTIFY, Effect, World, failed, paid, twice_in_a_week

SECOND = NOON + DAY
LATER = SECOND + 20 * DAY
LATEST = desk.LEASE + waking.LEASE + timedelta(seconds=5)
Happening = Event | Callable[[], object]
SUSPEND = {"name": "suspend", "do": "access.suspend", "with": {"connection": "crm", "reason": "unpaid"}}
PAUSE = {"name": "pause", "do": "stripe.pause_collection"}
UNDO = {"on": ["invoice.paid"], "same": "invoice", "within": "P60D"}
STOP = [{"event": ["invoice.paid"], "same": "invoice"}]
GRACE = {"name": "grace", "wait": {"for": "PT48H"}}


@dataclass
class Stripe:
    """The subscriptions of the world: each effect of a key happens once, and reads the state first as the true actions
    do. lost: how many answers to the downgrade never come, though it happened."""

    plans: dict[str, str] = field(default_factory=dict)
    paused: set[str] = field(default_factory=set)
    locked: set[str] = field(default_factory=set)
    seen: dict[str, Outcome] = field(default_factory=dict)
    lost: int = 0
    taken: dict[str, datetime] = field(default_factory=dict)  # by step, in order: when each request first came through

    def answer(self, effect: Effect, times: int) -> Outcome:
        outcome = self.act(effect)
        self.taken.setdefault(effect.id.partition("/")[2], effect.at)
        return outcome

    def act(self, effect: Effect) -> Outcome:
        sub = effect.subscription or ""
        if effect.action == "stripe.change_plan":
            return self.change(effect, sub, self.plans.get(sub, "price_pro"))
        if effect.action in ("stripe.pause_collection", "stripe.resume_collection"):
            return self.collect(effect, sub)
        if effect.action.startswith("access."):
            (self.locked.add if effect.action == "access.suspend" else self.locked.discard)(sub)
        return Outcome.done("told")

    def change(self, effect: Effect, sub: str, was: str) -> Outcome:
        wanted, expected = effect.params["price"], effect.params.get("from_price", was)
        data = {"subscription": sub, "price": wanted, "before": {"item": "si_1", "price": was, "quantity": 1}}
        if was == wanted:
            known = self.seen.get(effect.key)
            return known or Outcome.done(f"The subscription is on {wanted} already.", data={"already": True})
        if was != expected:
            return Outcome("person", f"The plan of {sub} is {was} by now, not {expected} as we left it.")
        effect.remember(data)
        self.plans[sub] = wanted
        self.seen[effect.key] = Outcome.done(f"Changed the plan from {was} to {wanted}.", data=data)
        if self.lost and "item" not in effect.params:
            self.lost -= 1
            return Outcome.retry("No answer from Stripe.", after=timedelta(hours=1), data=data)
        return self.seen[effect.key]

    def collect(self, effect: Effect, sub: str) -> Outcome:
        pause = effect.action == "stripe.pause_collection"
        before = {"behavior": "keep_as_draft"} if sub in self.paused else None
        if pause == (sub in self.paused):
            return self.seen.get(effect.key) or Outcome.done("It is so already.", data={"already": True})
        effect.remember({"subscription": sub, "before": {"pause_collection": before}})
        (self.paused.add if pause else self.paused.discard)(sub)
        data = {"subscription": sub, "before": {"pause_collection": before}}
        self.seen[effect.key] = Outcome.done("Paused." if pause else "Resumed.", data=data)
        return self.seen[effect.key]


@dataclass(frozen=True)
class Story:
    """expected: (step, when) of every effect, in order. told: a part of the run's story at the end."""

    name: str
    document: Mapping[str, Any]
    script: Callable[[World, Stripe], Sequence[tuple[datetime, Happening]]]
    expected: Sequence[tuple[str, datetime]]
    state: str
    undo: str
    told: str
    plan: str = "price_pro"
    lost: int = 0
    flight: str = ""
    meanwhile: Callable[[World, Stripe], Callable[[Effect], None]] = lambda world, stripe: lambda effect: None


def twice() -> list[tuple[datetime, Happening]]:
    return [(NOON, failed(1, NOON)), (SECOND, failed(2, SECOND))]


def paying(at: datetime) -> Callable[[World, Stripe], Sequence[tuple[datetime, Happening]]]:
    return lambda world, stripe: [*twice(), (at, paid(at))]


def paid_during(action: str) -> Callable[[World, Stripe], Callable[[Effect], None]]:
    """The payment comes and is handled while the first such action is in flight."""

    def made(world: World, stripe: Stripe) -> Callable[[Effect], None]:
        def during(effect: Effect) -> None:
            if effect.action == action and "item" not in effect.params:
                world.bus.publish(paid(SECOND + timedelta(seconds=1)))
                Work(world.services).handle_due(world.clock.now())

        return during

    return made


def by_hand(world: World, stripe: Stripe) -> Sequence[tuple[datetime, Happening]]:
    def change() -> None:
        stripe.plans["sub_1"] = "price_gold"

    return [*twice(), (LATER - DAY, change), (LATER, paid(LATER))]


TWO = twice_in_a_week([NOTIFY, PAUSE, DOWNGRADE, CLOSE], undo=UNDO)
STORIES = [
    Story(
        "paid twenty days after the run was done",
        TWO,
        paying(LATER),
        [(name, SECOND) for name in ("tell-crm", "pause", "downgrade", "close")]
        + [("undo/downgrade", LATER), ("undo/pause", LATER)],
        "done",
        "done",
        "Undone: the plan is price_pro again; payments are collected again.",
    ),
    Story(
        "paid while the run waits: stopped first",
        twice_in_a_week([DOWNGRADE, GRACE, PAUSE], undo=UNDO, stop_when=STOP),
        paying(SECOND + DAY),
        [("downgrade", SECOND), ("undo/downgrade", SECOND + DAY)],
        "stopped",
        "done",
        "Undone: the plan is price_pro again.",
    ),
    Story(
        "paid while the run waits, and nothing else stops it",
        twice_in_a_week([DOWNGRADE, GRACE, PAUSE], undo=UNDO),
        paying(SECOND + DAY),
        [("downgrade", SECOND), ("undo/downgrade", SECOND + DAY)],
        "stopped",
        "done",
        "Stopped: an invoice is paid (evt_1_paid).",
    ),
    Story(
        "paid while the downgrade is in flight: settled first, then undone",
        twice_in_a_week([DOWNGRADE, PAUSE], undo=UNDO, stop_when=STOP),
        lambda world, stripe: twice(),
        [("downgrade", SECOND), ("undo/downgrade", SECOND)],
        "stopped",
        "done",
        "Undo waits until the step in flight is settled.",
        flight="downgrade",
        meanwhile=paid_during("stripe.change_plan"),
    ),
    Story(
        "paid while the answer to the downgrade is lost: what may have happened is looked at and taken back",
        twice_in_a_week([DOWNGRADE, PAUSE], undo=UNDO, stop_when=STOP),
        paying(SECOND + timedelta(seconds=1)),
        [("downgrade", SECOND), ("undo/downgrade", SECOND + timedelta(seconds=1))],
        "stopped",
        "done",
        "Undone: the plan is price_pro again.",
        lost=99,
        flight="downgrade",
    ),
    Story(
        "paid while the suspension is in flight: a try whose end nobody knows is taken back too",
        twice_in_a_week([DOWNGRADE, SUSPEND, PAUSE], undo=UNDO, stop_when=STOP),
        lambda world, stripe: twice(),
        [("downgrade", SECOND), ("suspend", SECOND), ("undo/suspend", SECOND), ("undo/downgrade", SECOND)],
        "stopped",
        "done",
        "Undone: access to the API is resumed; the plan is price_pro again.",
        flight="suspend",
        meanwhile=paid_during("access.suspend"),
    ),
    Story(
        "paid too late: what was done stays done",
        TWO | {"undo": {**UNDO, "within": "P10D"}},
        paying(LATER),
        [(name, SECOND) for name in ("tell-crm", "pause", "downgrade", "close")],
        "done",
        "",
        "Done.",
        plan="price_free",
    ),
    Story(
        "a person changed the plan meanwhile: not overwritten, and the rest is taken back all the same",
        TWO,
        by_hand,
        [(name, SECOND) for name in ("tell-crm", "pause", "downgrade", "close")]
        + [("undo/downgrade", LATER), ("undo/pause", LATER)],
        "needs_person",
        "person",
        "Undone: payments are collected again.",
        plan="price_gold",
    ),
]


def lived(story: Story, world: World) -> tuple[World, Stripe]:
    stripe = Stripe(lost=story.lost)
    world.outside.answers = stripe.answer
    world.outside.during = story.meanwhile(world, stripe)
    world.publish(story.document)
    world.live(NOON + 40 * DAY, *story.script(world, stripe))
    return world, stripe


def check(story: Story, world: World, stripe: Stripe) -> None:
    where = f"{story.name}, crashed {world.crashes}"
    late = LATEST + timedelta(minutes=2) if world.crashes or story.lost else timedelta(0)
    # where the worker died just before it did what was in flight, there was nothing to take back; looking does no harm
    spared = story.flight if story.flight and story.flight not in stripe.taken else ""
    assert not spared or world.crashes, where
    optional = {spared, f"undo/{spared}"} - set(stripe.taken)
    expected = [(step, when) for step, when in story.expected if step not in optional]
    assert list(stripe.taken) == [step for step, _ in expected], where
    for step, when in expected:
        assert when <= stripe.taken[step] <= when + late, f"{where}: {step} at {stripe.taken[step]}, not {when}"
    (run,) = world.runs()
    assert (run["state"], run["undo"].get("state", "")) == (story.state, story.undo), where
    assert story.told in " ".join(one["text"] for one in run["story"]) or spared, (where, run["story"])
    assert stripe.plans.get("sub_1", "price_pro") == story.plan, where
    assert [command["id"] for command in world.commands() if command["due_at"]] == [], where
    if story.undo:
        assert stripe.paused | stripe.locked == set(), where


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_what_was_done_is_taken_back_newest_first_and_once(story: Story) -> None:
    world, stripe = lived(story, World())
    check(story, world, stripe)
    assert max(Counter(effect.id for effect in world.outside.requests).values()) == 1 or story.lost


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_a_crash_anywhere_leaves_the_undo_whole(story: Story) -> None:
    points = lived(story, World())[0].points.seen
    assert points > 40
    for number in range(1, points + 1):
        world, stripe = lived(story, World(crash_at=number))
        check(story, world, stripe)


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_a_crash_at_every_tenth_place_on_sqlite_leaves_the_undo_whole(story: Story, tmp_path: Path) -> None:
    from app.adapters.sqlite_store import SqliteStore

    points = lived(story, World())[0].points.seen
    for number in range(1 + len(story.name) % 10, points + 1, 10):
        opened: list[SqliteStore] = []

        def reopen(name: str = f"{number}.db", opened: list[SqliteStore] = opened) -> SqliteStore:
            for store in opened:
                store.close()
            opened[:] = [SqliteStore(tmp_path / name)]
            return opened[0]

        world = World(crash_at=number, opened=reopen)
        check(story, *lived(story, world))
        opened[0].close()
