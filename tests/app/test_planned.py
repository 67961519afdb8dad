"""Plans: what was agreed goes in force by itself, at its time and for its share, or halts and says why."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app import approvals, author, browse, operate, tenant_settings, tenants
from app.adapters.memory import MemoryStore
from app.adapters.sqlite_store import SqliteStore
from app.approvals import Change, Office
from app.author import planned, timetable
from app.author.planned import Desk
from app.author.timetable import Phase
from app.browse.overview import waiting
from app.operate import alerts
from app.services import Services
from rules.event import iso
from rules.ports import Conflict, Store
from rules.rule import RuleError
from rules.steps import NotPossible
from tests import records
from tests.builders import DAY, NOON, TENANT, event, services_in_memory
from tests.web.test_rules_pages import ready

ID = "two-failed-payments"
HOUR = timedelta(hours=1)
THREE = (Phase(None, 10), Phase(NOON + DAY, 50), Phase(NOON + 3 * DAY, 100))


class Town:
    """One rule, people who change it, and a worker that looks when it is told to."""

    def __init__(self, store: Store | None = None) -> None:
        made = services_in_memory()
        self.services: Services = made
        self.store = store or made.store
        self.desk = Desk(self.store, made.catalogue, made.connectors)
        tenants.ensure(self.store, TENANT, NOON)

    def edit(self, who: str = "ann", **changes: Any) -> None:
        s, document = self.services, {**ready(), **changes}
        author.save_draft(self.store, s.vault, s.catalogue, s.connectors, TENANT, document, who, NOON)

    def publish(self, at: datetime = NOON, who: str = "ann") -> None:
        s = self.services
        author.publish(self.store, s.catalogue, s.connectors, TENANT, ID, who, "at once", at)

    def plan(self, *phases: Phase, at: datetime = NOON, mode: author.Mode = "live", who: str = "ann") -> dict[str, Any]:
        return planned.plan(self.desk, TENANT, ID, phases, mode, who, "agreed", at)

    def look(self, at: datetime) -> int:
        return planned.do_due(self.desk, at)

    def rule(self) -> dict[str, Any]:
        return author.rule(self.store, TENANT, ID)

    def now_planned(self) -> dict[str, Any]:
        found = planned.row(self.store, TENANT, ID)
        assert found
        return found

    def held_out(self) -> float:
        """What the version in force leaves untouched."""
        return float(self.rule()["in_force"].get("holdout", 0))

    def told(self) -> list[tuple[str, str]]:
        found = self.store.find(TENANT, "audit", order="at", limit=1000).items
        return [(one.body["actor"], one.body["verb"]) for one in found]

    def park(self, at: datetime) -> None:
        made = records.run(event("evt_1"), state="parked", rule_id=ID, created_at=iso(at), position=(0,), steps={})
        records.keep_run(self.store, made)


@pytest.fixture(params=["memory", "sqlite"])
def town(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Town]:
    if request.param == "memory":
        yield Town(MemoryStore())
        return
    store = SqliteStore(tmp_path / "store.db")
    yield Town(store)
    store.close()


# ---- one step -------------------------------------------------------------------------------------------------------
def test_a_draft_goes_live_at_its_time_and_not_before(town: Town) -> None:
    town.edit()
    town.plan(Phase(NOON + DAY))
    assert town.look(NOON + DAY - timedelta(seconds=1)) == 0
    assert (town.rule()["state"], town.rule()["draft"] is not None) == ("off", True)
    assert town.look(NOON + DAY) == 1
    row = town.rule()
    assert (row["state"], row["number"], row["draft"], row["live_from"]) == ("live", 1, None, iso(NOON + DAY))
    assert (town.now_planned()["state"], town.look(NOON + 2 * DAY)) == ("done", 0)


def test_the_version_says_who_planned_it_and_the_log_who_did_it(town: Town) -> None:
    town.edit("bob")
    town.plan(Phase(NOON + DAY))
    town.look(NOON + DAY)
    version = author.version(town.store, TENANT, ID, 1)
    assert (version["published_by"], version["authors"]) == ("ann", ["bob"])
    assert (version["note"], version["plan"]) == ("agreed (as planned)", f"{ID}@1")
    assert town.told() == [("bob", "save draft"), ("ann", "plan"), ("signalbox", "publish")]


def test_a_rule_that_watches_goes_live_with_the_version_it_has(town: Town) -> None:
    town.edit()
    s = town.services
    author.publish(town.store, s.catalogue, s.connectors, TENANT, ID, "ann", "try", NOON, "watch")
    town.plan(Phase(NOON + DAY))
    town.look(NOON + DAY)
    assert (town.rule()["state"], town.rule()["number"]) == ("live", 1)


def test_what_is_edited_meanwhile_stays_a_draft(town: Town) -> None:
    town.edit()
    town.plan(Phase(NOON + DAY))
    town.edit(name="Second thoughts")
    town.look(NOON + DAY)
    row = town.rule()
    assert row["in_force"]["name"] != "Second thoughts" == row["draft"]["name"]


# ---- phases ---------------------------------------------------------------------------------------------------------
def test_phases_are_versions_of_one_document_that_hold_out_less_and_less(town: Town) -> None:
    town.edit()
    town.plan(*THREE)
    seen = [(town.rule()["number"], town.held_out())]
    assert town.now_planned()["due_at"] == iso(NOON + DAY)
    for at in (NOON + DAY, NOON + 3 * DAY):
        town.look(at)
        seen.append((town.rule()["number"], town.held_out()))
    assert seen == [(1, 0.9), (2, 0.5), (3, 0.0)]
    assert {**town.rule()["in_force"], "holdout": 0} == {**ready(), "holdout": 0}


def test_the_rules_own_holdout_is_never_passed(town: Town) -> None:
    town.edit(holdout=0.3)
    town.plan(Phase(None, 20), Phase(NOON + DAY, 60), Phase(NOON + 2 * DAY, 100))
    shares = [town.held_out()]
    for days in (1, 2):
        town.look(NOON + days * DAY)
        shares.append(town.held_out())
    assert shares == [0.8, 0.4, 0.3]


def test_after_an_outage_the_latest_phase_that_is_due_is_put_in_force_and_the_others_are_marked(town: Town) -> None:
    town.edit()
    town.plan(Phase(NOON + DAY, 10), Phase(NOON + 2 * DAY, 50), Phase(NOON + 3 * DAY, 100))
    assert town.look(NOON + 2 * DAY + HOUR) == 1
    assert (town.rule()["number"], town.held_out()) == (1, 0.5)
    assert [(one["version"], one["passed"]) for one in town.now_planned()["steps"]] == [
        (None, True), (1, False), (None, False),
    ]  # fmt: skip
    town.look(NOON + 3 * DAY)
    assert (town.rule()["number"], town.held_out()) == (2, 0.0)


# ---- halting --------------------------------------------------------------------------------------------------------
def pause(town: Town) -> None:
    author.pause(town.store, TENANT, ID, "bob", "odd", NOON + HOUR)


def pause_and_resume(town: Town) -> None:
    pause(town)
    author.resume(town.store, TENANT, ID, "bob", "fine", NOON + 2 * HOUR)


def publish_another(town: Town) -> None:
    town.edit("bob", name="Another")
    town.publish(NOON + HOUR, "bob")


def roll_back(town: Town) -> None:
    s = town.services
    author.rollback(town.store, s.catalogue, s.connectors, TENANT, ID, 1, "bob", "back", NOON + HOUR)


def archive(town: Town) -> None:
    author.archive(town.store, TENANT, ID, "bob", "gone", NOON + HOUR)


def stop_everything(town: Town) -> None:
    operate.switch(town.store, TENANT, "all", True, "bob", "fire", NOON + HOUR)


def park_a_run(town: Town) -> None:
    town.park(NOON + HOUR)


@pytest.mark.parametrize(
    ("meddle", "why"),
    [
        (pause, "bob paused it on Mon 23 Nov 2026 13:00 UTC"),
        (pause_and_resume, "bob resumed it"),
        (publish_another, "bob put another version live"),
        (roll_back, "bob rolled back"),
        (archive, "bob archived it"),
        (stop_everything, "The emergency stop is on"),
        (park_a_run, "A limit holds 1 run of the last phase back"),
    ],
)
def test_a_plan_halts_and_asks_instead_of_going_on(town: Town, meddle: Any, why: str) -> None:
    town.edit()
    town.publish()
    town.edit(name="New")
    town.plan(*THREE)
    meddle(town)
    before = town.rule()
    town.look(NOON + DAY)
    assert (town.rule()["number"], town.rule()["state"]) == (before["number"], before["state"])
    assert town.now_planned()["state"] == "halted"
    assert why in town.now_planned()["why"]
    assert ("signalbox", "halt plan") in town.told()
    needs = browse.needs_you(town.store, town.services.inbox, TENANT, NOON + DAY)
    group = next(one for one in needs["groups"] if one["kind"] == "halted")
    assert (group["count"], group["items"][0]["rule_id"]) == (1, ID)
    assert waiting(town.store, town.services.inbox, TENANT) == needs["count"]
    assert "halted" in [one.name for one in alerts.findings(town.store, town.services.inbox, TENANT, NOON + DAY)]
    assert town.look(NOON + 3 * DAY) == 0


def test_a_plan_halts_when_the_rule_has_errors_by_then(town: Town) -> None:
    town.edit()
    town.plan(Phase(NOON + DAY))
    without = {name: one for name, one in town.desk.actions.items() if not name.startswith("stripe.")}
    planned.do_due(Desk(town.store, town.desk.catalogue, without), NOON + DAY)
    assert town.now_planned()["why"].startswith("The rule has errors now: there is no action")
    assert (town.now_planned()["state"], town.rule()["state"]) == ("halted", "off")


def test_runs_that_were_held_back_before_the_phase_are_not_its_own(town: Town) -> None:
    town.park(NOON - HOUR)
    town.edit()
    town.plan(*THREE)
    town.look(NOON + DAY)
    assert town.held_out() == 0.5


def test_what_was_on_its_way_is_a_draft_again(town: Town) -> None:
    town.edit()
    town.plan(*THREE)
    planned.withdraw(town.store, TENANT, ID, "bob", "not now", NOON + HOUR)
    row = town.rule()
    assert (row["draft"], row["draft_authors"], town.held_out()) == (ready(), ["ann"], 0.9)
    town.publish(NOON + 2 * HOUR)
    assert town.held_out() == 0


def test_what_somebody_else_put_in_force_meanwhile_is_not_drafted_over(town: Town) -> None:
    town.edit()
    town.plan(*THREE)
    publish_another(town)
    town.look(NOON + DAY)
    assert (town.now_planned()["state"], town.rule()["draft"]) == ("halted", None)


# ---- withdrawing and planning anew ----------------------------------------------------------------------------------
def test_after_a_withdrawal_nothing_comes(town: Town) -> None:
    town.edit()
    town.plan(Phase(NOON + DAY))
    planned.withdraw(town.store, TENANT, ID, "bob", "not now", NOON + HOUR)
    assert (town.look(NOON + DAY), town.rule()["state"], town.now_planned()["state"]) == (0, "off", "withdrawn")
    with pytest.raises(Conflict, match="no plan"):
        planned.withdraw(town.store, TENANT, ID, "bob", "again", NOON + HOUR)


def test_a_rule_has_one_plan_at_a_time(town: Town) -> None:
    town.edit()
    town.plan(Phase(NOON + DAY))
    with pytest.raises(Conflict, match="ann has planned it already"):
        town.plan(Phase(NOON + 2 * DAY), who="bob")


def test_planning_anew_takes_a_halted_plan_from_needs_you(town: Town) -> None:
    town.edit()
    town.plan(*THREE)
    stop_everything(town)
    town.look(NOON + DAY)
    operate.switch(town.store, TENANT, "all", False, "bob", "out", NOON + DAY)
    town.plan(Phase(NOON + 2 * DAY), at=NOON + DAY)
    assert planned.count_halted(town.store, TENANT) == 0
    town.look(NOON + 2 * DAY)
    assert town.held_out() == 0


# ---- what cannot be planned -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("phases", "why"),
    [
        ((Phase(NOON),), "the time is past"),
        ((Phase(NOON + 91 * DAY),), "within 90 days"),
        ((), "1 to 10 phases"),
        ((Phase(None, 10), Phase(NOON + timedelta(minutes=14), 100)), "at least 15 minutes apart"),
        ((Phase(NOON + 2 * DAY, 10), Phase(NOON + DAY, 100)), "at least 15 minutes apart"),
        ((Phase(None, 10), Phase(None, 100)), "only the first"),
        ((Phase(NOON + DAY, 50),), "the last phase is for 100 %"),
        ((Phase(None, 50), Phase(NOON + DAY, 50), Phase(NOON + 2 * DAY, 100)), "more than the one before"),
        ((Phase(None, 0), Phase(NOON + DAY, 100)), "1 to 100"),
        ((Phase(None, True), Phase(NOON + DAY, 100)), "1 to 100"),
    ],
)
def test_times_and_shares_that_cannot_be_are_refused(phases: tuple[Phase, ...], why: str) -> None:
    town = Town()
    town.edit()
    with pytest.raises(RuleError, match=why):
        town.plan(*phases)


def test_a_share_beyond_what_the_rule_leaves_untouched_is_refused() -> None:
    town = Town()
    town.edit(holdout=0.4)
    with pytest.raises(RuleError, match="all but 60 % untouched"):
        town.plan(Phase(None, 60), Phase(NOON + DAY, 100))


def test_a_draft_with_errors_cannot_be_planned() -> None:
    town = Town()
    town.edit(steps=[])
    with pytest.raises(RuleError):
        town.plan(Phase(NOON + DAY))


# ---- the second person ----------------------------------------------------------------------------------------------
def office(town: Town) -> Office:
    s = town.services
    return Office(town.store, s.secrets, s.catalogue, s.connectors, production=True)


def wanted(*phases: Phase) -> Change:
    steps = [{"at": iso(one.at) if one.at else None, "share": one.share} for one in phases]
    return Change("plan", ID, {"steps": steps, "mode": "live"})


def test_a_plan_is_approved_once_and_every_phase_names_both(town: Town) -> None:
    town.edit()
    asked = approvals.change(office(town), TENANT, wanted(*THREE), "ann", "agreed", NOON).proposal
    assert asked
    assert town.rule()["state"] == "off"
    assert "At once it goes live for 10 % of subscriptions." in asked["says"]
    assert "On Tue 24 Nov 2026 12:00 UTC it goes live for 50 % of subscriptions." in asked["says"]
    with pytest.raises(NotPossible):
        approvals.approve(office(town), TENANT, asked["id"], "ann", "ann", "mine", NOON + HOUR)
    approvals.approve(office(town), TENANT, asked["id"], "ben", "ben", "fine", NOON + HOUR)
    town.look(NOON + DAY)
    town.look(NOON + 3 * DAY)
    versions = author.versions(town.store, TENANT, ID)
    assert [(one["number"], one["published_by"], one["approved_by"]) for one in versions] == [
        (3, "ann", "ben"), (2, "ann", "ben"), (1, "ann", "ben"),
    ]  # fmt: skip


def test_a_plan_whose_time_went_by_while_it_waited_is_not_approved(town: Town) -> None:
    town.edit()
    asked = approvals.change(office(town), TENANT, wanted(Phase(NOON + HOUR)), "ann", "agreed", NOON).proposal
    assert asked
    with pytest.raises(RuleError, match="the time is past"):
        approvals.approve(office(town), TENANT, asked["id"], "ben", "ben", "fine", NOON + 2 * HOUR)
    assert planned.row(town.store, TENANT, ID) is None


# ---- words ----------------------------------------------------------------------------------------------------------
def test_a_plan_reads_in_the_offices_time_with_its_zone(town: Town) -> None:
    tenant_settings.save(town.store, TENANT, {"zone": "Europe/Vienna"}, "ann", NOON)
    town.edit()
    at = timetable.local("2026-12-01T09:00", "Europe/Vienna")
    told = planned.says(town.store, TENANT, ID, [Phase(at, 10), Phase(at + DAY, 100)], "live")
    assert told[:2] == [
        "On Tue 1 Dec 2026 09:00 CET (Europe/Vienna) it goes live for 10 % of subscriptions.",
        "On Wed 2 Dec 2026 09:00 CET (Europe/Vienna) it goes live for all subscriptions.",
    ]


def test_a_time_that_the_clock_skips_is_refused() -> None:
    with pytest.raises(RuleError, match="skips that time"):
        timetable.local("2027-03-28T02:30", "Europe/Vienna")
    assert timetable.local("2026-12-01T09:00+02:00", "Europe/Vienna").hour == 7
