"""A wait of two days that is crossed by an edit of its rule, its end, a deploy, and clocks that jump.

tests/golden/stored_runs.json holds runs as earlier builds stored them in the middle of their way, with what came then
and what became of them: a build that lets one of them end otherwise is refused here, before it meets a true one.
`python -m tests.stories.test_versions_and_clocks` records a new history; what stands there is never changed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app import author
from rules.event import Event, instant, iso
from rules.ports import Outcome
from rules.rule import parse
from rules.run import Run
from rules.steps import Advance
from rules.workflow import begin_undo, heard, operate, settled, stopped, woke
from tests.builders import DAY, NOON, TENANT
from tests.stories.world import ACTOR, CLOSE, DOWNGRADE, LADDER, NOTIFY, World, failed, paid, twice_in_a_week

SECOND = NOON + DAY
OVER = SECOND + 2 * DAY
STORED = Path(__file__).parents[1] / "golden" / "stored_runs.json"
JSON = Mapping[str, Any]


def waiting(document: JSON = LADDER) -> World:
    world = World()
    world.publish(document)
    world.live(SECOND + timedelta(hours=1), (NOON, failed(1, NOON)), (SECOND, failed(2, SECOND)))
    return world


def done(world: World) -> list[str]:
    return [effect.id.partition("/")[2] for effect in world.outside.requests]


# ---- its version ----------------------------------------------------------------------------------------------------
def test_a_run_ends_on_the_version_it_started_on_whatever_is_published_meanwhile() -> None:
    world = waiting()
    harder = {"name": "harder", "do": "stripe.cancel_subscription", "with": {"when": "now"}}
    world.publish(twice_in_a_week([harder], name="Another ladder"))
    world.live(OVER + DAY)
    assert done(world) == ["tell-crm", "downgrade", "close"]
    (run,) = world.runs()
    assert (run["version"], run["state"]) == (1, "done")


def test_a_run_of_an_archived_rule_ends_on_its_version_and_its_stop_is_still_heard() -> None:
    for pays, expected in ((False, ["tell-crm", "downgrade", "close"]), (True, ["tell-crm"])):
        world = waiting()
        author.archive(world.durable, TENANT, "two-failed-payments", ACTOR, "no more", world.clock.now())
        script = [(SECOND + DAY, paid(SECOND + DAY))] if pays else []
        world.live(OVER + DAY, *script)
        assert done(world) == expected


def test_a_run_whose_rule_is_paused_when_its_wait_is_over_sleeps_until_it_is_resumed() -> None:
    world = waiting()
    author.pause(world.durable, TENANT, "two-failed-payments", ACTOR, "look", world.clock.now())
    world.live(OVER + DAY)
    assert done(world) == ["tell-crm"]
    author.resume(world.durable, TENANT, "two-failed-payments", ACTOR, "go on", world.clock.now())
    world.live(OVER + DAY + timedelta(minutes=2))
    assert done(world) == ["tell-crm", "downgrade", "close"]


# ---- clocks ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("jump", [timedelta(hours=1), timedelta(hours=-1), timedelta(hours=-30)])
def test_a_clock_that_jumps_makes_no_step_happen_twice_and_loses_none(jump: timedelta) -> None:
    world = waiting()
    world.clock.set(world.clock.now() + jump)
    world.live(OVER - timedelta(minutes=1))
    assert done(world) == ["tell-crm"]
    world.clock.set(OVER + timedelta(seconds=1))
    world._work()
    world.clock.set(world.clock.now() + jump)  # it jumps again, right after the wake
    world._work()
    world.live(OVER + 2 * DAY)
    assert done(world) == ["tell-crm", "downgrade", "close"]


def test_a_clock_that_is_an_hour_fast_wakes_early_by_that_hour_and_no_more() -> None:
    world = waiting()
    world.live(OVER - timedelta(minutes=1))
    world.clock.set(world.clock.now() + timedelta(hours=1))
    world._work()
    assert done(world) == ["tell-crm", "downgrade", "close"]
    world.clock.set(world.clock.now() - timedelta(hours=1))
    world._work()
    world.live(OVER + DAY)
    assert done(world) == ["tell-crm", "downgrade", "close"]


@pytest.mark.parametrize("zone_changes", ["2026-10-25T00:00:00+00:00", "2027-03-27T12:00:00+00:00"])
def test_two_days_are_48_hours_where_the_clock_is_moved_and_office_hours_follow_the_wall(zone_changes: str) -> None:
    begins = instant(zone_changes)
    hours = {"days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], "from": "09:00", "to": "18:00"}
    hours |= {"zone": "Europe/Berlin", "applies_to": ["crm"]}
    document = twice_in_a_week([{"name": "grace", "wait": {"for": "PT48H", "in_hours": True}}, NOTIFY], hours=hours)
    for in_hours in (False, True):
        document["steps"][0]["wait"]["in_hours"] = in_hours
        run = _waits(document, begins)
        over = begins + timedelta(hours=48)
        wall = over.astimezone(_berlin())
        expected = over
        if in_hours and not 9 <= wall.hour < 18:
            morning = wall if wall.hour < 9 else wall + DAY
            expected = morning.replace(hour=9, minute=0).astimezone(over.tzinfo)
        assert run.due_at == iso(expected)


def _berlin() -> Any:
    from zoneinfo import ZoneInfo

    return ZoneInfo("Europe/Berlin")


def _waits(document: JSON, now: datetime) -> Run:
    from rules.model import RuleVersion
    from rules.workflow import start

    version = RuleVersion(TENANT, parse(document), 1, "live", "")
    return start(version, failed(2, now), "sub:sub_1", ("evt_1_2",), now).run


# ---- saved histories ------------------------------------------------------------------------------------------------
def replayed(history: JSON) -> list[JSON]:
    """What becomes of a stored run, input by input: where it stands, when it is due, what it asks for."""
    rule, run = parse(history["document"]), Run.from_body(history["run"])
    found = []
    for input in history["inputs"]:
        advance = moved(run, rule, input)
        run = Run.from_body(json.loads(json.dumps(advance.run.body())))
        found.append(standing(advance))
    return found


def moved(run: Run, rule: Any, input: JSON) -> Advance:
    now, given = instant(input["at"]), input.get("given", {})
    match input["what"]:
        case "woke":
            return woke(run, rule, now)
        case "settled":
            outcome = Outcome(given["kind"], given["message"], given.get("data", {}))
            return settled(run, rule, given["step"], outcome, now, given.get("inverse"))
        case "heard":
            return heard(run, rule, Event.from_cloudevent(given), now)
        case "stopped":
            return stopped(run, given["reason"], now, given["event"])
        case "undo":
            return begin_undo(run, given["reason"], now, given["event"])
        case what:
            return operate(run, rule, what, "ada", "story", now)


def standing(advance: Advance) -> JSON:
    run = advance.run
    return {
        "state": run.state,
        "position": list(run.position),
        "due_at": run.due_at,
        "steps": {name: record["state"] for name, record in run.steps.items()},
        "undo": [[entry["step"], entry["state"]] for entry in run.undo.get("steps", ())],
        "commands": [[c.id, c.action, dict(c.params), c.due_at, c.generation] for c in advance.commands],
    }


@pytest.mark.parametrize("history", json.loads(STORED.read_text()), ids=lambda history: history["name"])
def test_a_run_that_an_earlier_build_stored_goes_on_as_it_would_have_then(history: JSON) -> None:
    assert json.loads(json.dumps(replayed(history))) == history["became"]


def test_the_saved_histories_cover_waits_branches_approvals_stops_and_undo() -> None:
    found = json.loads(STORED.read_text())
    assert {input["what"] for one in found for input in one["inputs"]} >= {
        "woke",
        "settled",
        "heard",
        "stopped",
        "undo",
        "approve",
        "skip",
    }
    assert any("undo" not in one["run"] for one in found)  # stored before there was an undo


# ---- recording ------------------------------------------------------------------------------------------------------
def record() -> Sequence[JSON]:
    paid_stop = {"event": ["invoice.paid"], "same": "invoice"}
    retry = {"name": "pay", "do": "stripe.pay_invoice"}
    declined = {"field": "step.pay.result", "is": "equal to", "value": "declined"}
    branch = {"name": "how", "if": declined, "then": [DOWNGRADE], "else": [CLOSE]}
    until = {"name": "until-paid", "wait": {"for_event": [paid_stop], "at_most": "P3D"}}
    ask = {"name": "ask", "approve": {"role": "approver", "at_most": "P2D", "on_timeout": "stop"}}
    undo = {"on": ["invoice.paid"], "same": "invoice", "within": "P60D"}
    inverse = {"action": "stripe.change_plan", "params": {"price": "price_pro"}, "says": "the plan is price_pro again"}
    late = iso(OVER + timedelta(hours=1))

    def came(step: str, at: str = late, kind: str = "done", **more: Any) -> JSON:
        return {"what": "settled", "at": at, "given": {"step": step, "kind": kind, "message": "so", **more}}

    def ends(what: str) -> JSON:
        return {"what": what, "at": late, "given": {"reason": "invoice.paid", "event": "evt_p"}}

    told, downgraded = came("tell-crm", iso(SECOND)), came("downgrade", inverse=inverse)
    no = came("pay", kind="branch", data={"result": "declined"})
    hears = {"what": "heard", "at": late, "given": paid(OVER).to_cloudevent()}
    ladder = [told, {"what": "woke", "at": iso(OVER)}, downgraded]
    plans: list[tuple[str, JSON, list[JSON]]] = [
        ("the ladder to its end", LADDER, [*ladder, came("close")]),
        ("stopped in its wait", LADDER, [told, ends("stopped")]),
        ("declined, and the other branch", twice_in_a_week([retry, branch]), [no, downgraded]),
        ("an event ends its wait", twice_in_a_week([until, CLOSE]), [hears]),
        ("approved", twice_in_a_week([ask, NOTIFY]), [{"what": "approve", "at": late}, told]),
        ("skipped", LADDER, [told, {"what": "skip", "at": late}]),
        ("undone in its wait", LADDER | {"undo": undo}, [*ladder, ends("undo"), came("undo/downgrade")]),
    ]
    return [history(name, document, inputs) for name, document, inputs in plans]


def history(name: str, document: JSON, inputs: list[JSON]) -> JSON:
    body = json.loads(json.dumps(_waits(document, SECOND).body()))
    if "undo" not in document:
        body.pop("undo", None)
    made = {"name": name, "document": document, "run": body, "inputs": inputs}
    return {**made, "became": replayed(made)}


if __name__ == "__main__":
    known = json.loads(STORED.read_text()) if STORED.exists() else []
    fresh = [one for one in record() if one["name"] not in {old["name"] for old in known}]
    STORED.write_text(json.dumps([*known, *fresh], indent=1) + "\n")
