"""Whatever people do between the phases of a plan, and wherever its worker dies or meets another one: no phase comes
twice, out of order, or after somebody said no; and who is in a phase is in every later one."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from app import author
from app.author import planned
from app.author.planned import Desk
from app.author.timetable import Phase
from rules.event import iso
from rules.gates import held_out
from rules.ports import Conflict, Store, Unavailable
from rules.rule import parse
from tests.app.test_planned import ID, Town
from tests.builders import DAY, NOON, TENANT

HOUR = timedelta(hours=1)
PEOPLE = ("publish", "pause", "resume", "rollback", "withdraw", "edit")
WORK = ("look", "two workers", "crash before", "crash after")
KEYS = [f"sub:sub_{number}" for number in range(60)]
ACTS = st.lists(
    st.tuples(st.sampled_from((*PEOPLE, *WORK, *WORK)), st.integers(1, 30), st.integers(0, 3)), min_size=4, max_size=12
)
SHARES = st.lists(st.integers(1, 99), unique=True, min_size=1, max_size=4).map(sorted)


class Meddled:
    """A store whose commit of this number meets something: another worker, or the end of this one."""

    def __init__(self, store: Store, at: int, before: Callable[[], None], after: Callable[[], None]) -> None:
        self.store, self.at, self.before, self.after = store, at, before, after

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def commit(self, *given: Any) -> None:
        mine, self.at = self.at == 0, self.at - 1
        if mine:
            self.before()
        self.store.commit(*given)
        if mine:
            self.after()


def nothing() -> None:
    pass


def die() -> None:
    raise Unavailable("the worker is gone")


class Played(Town):
    """A town in which people and workers act, each at its time."""

    def act(self, what: str, number: int, now: datetime) -> None:
        with suppress(Conflict, LookupError, Unavailable):
            getattr(self, what.replace(" ", "_"))(number, now)

    def republish(self, now: datetime) -> None:
        super().publish(now, "bob")

    def pause(self, number: int, now: datetime) -> None:
        author.pause(self.store, TENANT, ID, "bob", "odd", now)

    def resume(self, number: int, now: datetime) -> None:
        author.resume(self.store, TENANT, ID, "bob", "fine", now)

    def rollback(self, number: int, now: datetime) -> None:
        d = self.desk
        author.rollback(self.store, d.catalogue, d.actions, TENANT, ID, number + 1, "bob", "back", now)

    def withdraw(self, number: int, now: datetime) -> None:
        planned.withdraw(self.store, TENANT, ID, "bob", "no", now)

    def another(self, number: int, now: datetime) -> None:
        self.edit("bob", name=f"Another {number}")

    def two_workers(self, number: int, now: datetime) -> None:
        self.through(number, now, lambda: self.quietly(now), nothing)

    def crash_before(self, number: int, now: datetime) -> None:
        self.through(number, now, die, nothing)

    def crash_after(self, number: int, now: datetime) -> None:
        self.through(number, now, nothing, die)

    def quietly(self, now: datetime) -> None:
        planned.do_due(self.desk, now)

    def through(self, at: int, now: datetime, before: Callable[[], None], after: Callable[[], None]) -> None:
        store: Any = Meddled(self.store, at % 2, before, after)
        planned.do_due(Desk(store, self.desk.catalogue, self.desk.actions), now)


def play(shares: list[int], acts: list[tuple[str, int, int]], apart: timedelta) -> Played:
    town = Played()
    town.edit("ann", name="First")
    Town.publish(town)
    town.edit("ann")
    phases = [Phase(NOON + (place + 1) * apart, share) for place, share in enumerate([*shares, 100])]
    planned.plan(town.desk, TENANT, ID, phases, "live", "ann", "", NOON)
    now = NOON
    for what, hours, number in acts:
        now += hours * HOUR
        if what == "look":
            town.quietly(now)
        elif what == "publish":
            with suppress(Conflict):
                town.republish(now)
        else:
            town.act({"edit": "another"}.get(what, what), number, now)
    for more in range(12):  # then it is quiet, and a worker looks every day, past the last phase there may be
        town.quietly(now + more * DAY)
    return town


@settings(max_examples=40, deadline=None)
@given(SHARES, ACTS, st.sampled_from([6 * HOUR, DAY, 2 * DAY]))
def test_phases_come_once_in_order_and_only_while_nobody_said_no(
    shares: list[int], acts: list[tuple[str, int, int]], apart: timedelta
) -> None:
    town = play(shares, acts, apart)
    found = town.now_planned()
    versions = [one for one in reversed(author.versions(town.store, TENANT, ID)) if one.get("plan") == found["id"]]
    done = [step for step in found["steps"] if step["version"]]
    assert [one["number"] for one in versions] == [step["version"] for step in done]  # each once, and none unknown
    assert [step["share"] for step in done] == sorted({step["share"] for step in done})
    assert all(step["at"] <= one["published_at"] for step, one in zip(done, versions, strict=True))
    drawn = [{key for key in KEYS if held_out(parse(one["document"]), key) is None} for one in versions]
    assert all(sooner <= later for sooner, later in itertools.pairwise(drawn))
    assert no_phase_after(town, versions)
    assert found["state"] != "waiting"
    if found["state"] == "done":
        assert versions[-1]["document"].get("holdout", 0) == 0


def no_phase_after(town: Town, versions: list[dict[str, Any]]) -> bool:
    """Whether every phase came before anybody changed what is in force, withdrew the plan, or it halted."""
    entries = [one.body for one in town.store.find(TENANT, "audit", order="at", limit=1000).items]
    mine = max(at for at, one in enumerate(entries) if one["verb"] == "plan")
    ends = ("pause", "resume", "publish", "roll back", "withdraw plan", "halt plan")
    said_no = [at for at, one in enumerate(entries) if one["verb"] in ends and at > mine]
    by_people = [at for at in said_no if entries[at]["actor"] != "signalbox" or entries[at]["verb"] == "halt plan"]
    steps = [at for at in said_no if entries[at]["actor"] == "signalbox" and entries[at]["verb"] == "publish"]
    assert len(steps) == len(versions)
    return not by_people or not steps or max(steps) < min(by_people)


def test_a_withdrawal_at_the_very_moment_of_a_phase_is_not_swept_away() -> None:
    town = Played()
    town.edit("ann")
    planned.plan(town.desk, TENANT, ID, [Phase(NOON + DAY)], "live", "ann", "", NOON)
    town.through(0, NOON + DAY, lambda: town.withdraw(0, NOON + DAY), nothing)
    assert (town.now_planned()["state"], town.rule()["state"]) == ("withdrawn", "off")


def test_a_worker_that_dies_after_its_commit_leaves_nothing_to_repeat() -> None:
    town = play([10], [("crash after", 30, 0), ("look", 1, 0), ("crash before", 30, 0)], DAY)
    assert [step["version"] for step in town.now_planned()["steps"]] == [2, 3]
    assert iso(NOON + DAY) <= town.now_planned()["steps"][0]["done_at"]
