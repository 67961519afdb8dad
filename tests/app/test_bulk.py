"""Many runs at once: counted first, named, audited one by one, a job when many; a pause's queue; exclusion."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from app import author, jobs, operate
from app.access import members
from app.adapters.passwords import Argon2Passwords
from app.author import parts
from app.operate import bulk
from app.services import job_types
from rules.steps import NotPossible
from tests.builders import DAY, NOON, TENANT, event, invoice
from tests.stories.world import ACTOR, DOWNGRADE, LADDER, NOTIFY, World, failed, paid, twice_in_a_week

SECOND = NOON + DAY


def world_with(document: Any = LADDER, subscriptions: int = 3, **more: Any) -> World:
    world = World(**more)
    world.publish(document)
    fail_twice(world, subscriptions)
    return world


def fail_twice(world: World, subscriptions: int) -> None:
    names = [f"sub_{number}" for number in range(1, subscriptions + 1)]
    script = [(at, failed(n + 1, at, sub)) for n, at in enumerate((NOON, SECOND)) for sub in names]
    world.live(SECOND, *script)


def states(world: World) -> list[str]:
    return sorted(one.body["state"] for one in world.durable.find(TENANT, "run", limit=1000).items)


def audit(world: World, verb: str) -> list[Any]:
    found = world.durable.find(TENANT, "audit", order="at", limit=1000).items
    return [one.body for one in found if one.body["verb"] == verb]


# ---- many at once ---------------------------------------------------------------------------------------------------
def test_the_count_and_the_money_are_known_before_anything_is_done() -> None:
    world = world_with()
    counted = bulk.counted(world.durable, TENANT, bulk.Chosen(state="waiting", rule="two-failed-payments"))
    assert counted == {"count": 3, "money": {"usd": 14700}}
    assert bulk.counted(world.durable, TENANT, bulk.Chosen(customer="cus_2", state="waiting"))["count"] == 1
    assert states(world) == ["waiting"] * 3


def test_all_that_match_are_cancelled_each_with_the_name_and_the_reason_in_its_audit() -> None:
    world = world_with()
    now = world.clock.now()
    which = bulk.Chosen(state="waiting")
    came = bulk.act(world.durable, TENANT, which, "cancel", ACTOR, "wrong price", "Incident 1234", now)
    assert (came["count"], came["done"], came["job"]) == (3, 3, None)
    assert states(world) == ["cancelled"] * 3
    assert {one["why"] for one in audit(world, "cancel run")} == {"Incident 1234: wrong price"}
    assert len(audit(world, "cancel run")) == 3
    (whole,) = audit(world, "cancel many runs")
    assert (whole["about"], whole["to"]["count"]) == ("Incident 1234", 3)


def test_what_cannot_be_done_to_one_run_is_told_and_holds_back_no_other() -> None:
    world = world_with()
    (first, *_) = world.runs()
    operate.act(world.durable, TENANT, first["id"], "cancel", ACTOR, "", world.clock.now())
    came = bulk.act(world.durable, TENANT, bulk.Chosen(), "cancel", ACTOR, "all", "", world.clock.now())
    assert came["done"] == 2
    assert [one["id"] for one in came["refused"]] == [first["id"]]
    with pytest.raises(NotPossible):
        bulk.act(world.durable, TENANT, bulk.Chosen(), "from", ACTOR, "", "", world.clock.now())


def test_many_are_a_job_that_leaves_alone_what_begins_later_and_survives_a_restart() -> None:
    world = world_with(twice_in_a_week([{"name": "grace", "wait": {"for": "PT48H"}}]), 130)
    came = bulk.act(world.durable, TENANT, bulk.Chosen(state="waiting"), "cancel", ACTOR, "x", "", world.clock.now())
    assert (came["count"], came["done"]) == (130, 0)
    late = SECOND + timedelta(minutes=1)
    world.clock.set(late)
    world.live(late, (late, failed(1, late, "sub_late")), (late, failed(2, late, "sub_late")))
    steps, progress = 0, []
    while jobs.run_one(world.durable, {bulk.JOB: bulk.job(world.durable)}, late):  # a new job object each time
        steps += 1
        progress.append(world.durable.get(TENANT, "job", came["job"]).body["progress"])  # type: ignore[union-attr]
    assert steps >= 3
    assert progress == sorted(progress)
    assert progress[-1] == 1.0
    assert states(world) == ["cancelled"] * 130 + ["waiting"]
    job = world.durable.get(TENANT, "job", came["job"])
    assert job is not None
    assert job.body["summary"]["done"] == 130


def test_the_worker_knows_the_job() -> None:
    assert bulk.JOB in job_types(World().services)


# ---- a customer who is left alone -----------------------------------------------------------------------------------
def test_an_excluded_customer_is_on_the_list_and_its_open_runs_are_cancelled() -> None:
    world = world_with(LADDER)
    now = world.clock.now()
    came = bulk.exclude(world.durable, TENANT, "cus_2", "", ACTOR, "contract", now)
    assert came == {
        "list": "excluded",
        "cancelled": 1,
        "refused": [],
        "honoured_by": ["Two failed payments in 7 days"],
        "not_by": [],
    }
    assert {run["customer"] for run in world.runs() if run["state"] == "cancelled"} == {"cus_2"}
    again = SECOND + 60 * DAY
    world.live(again, *[(again, failed(n, again, "sub_2")) for n in (8, 9)])
    assert len([run for run in world.runs() if run["customer"] == "cus_2"]) == 1
    assert bulk.exclude(world.durable, TENANT, "cus_2", "", ACTOR, "twice", now)["cancelled"] == 0
    assert [row["members"] for row in parts.lists(world.durable, TENANT)] == [["cus_2"]]


def test_rules_that_do_not_name_the_list_are_told_of() -> None:
    world = world_with(LADDER)
    came = bulk.exclude(world.durable, TENANT, "cus_1", "vips", ACTOR, "contract", world.clock.now())
    assert (came["honoured_by"], came["not_by"]) == ([], ["Two failed payments in 7 days"])


# ---- what stood in line ---------------------------------------------------------------------------------------------
def paused(document: Any = LADDER) -> World:
    world = World()
    world.publish(document)
    author.pause(world.durable, TENANT, "two-failed-payments", ACTOR, "look", world.clock.now())
    world.clock.set(world.clock.now() + timedelta(seconds=2))  # within a second a pause holds
    fail_twice(world, 3)
    return world


def test_a_paused_rule_keeps_what_matches_and_says_how_much_it_is() -> None:
    world = paused()
    assert states(world) == ["parked"] * 3
    assert world.outside.requests == []
    counted = bulk.counted(world.durable, TENANT, bulk.in_line("two-failed-payments"))
    assert counted == {"count": 3, "money": {"usd": 14700}}


@pytest.mark.parametrize(
    ("queued", "expected", "told"), [("start", "waiting", 3), ("drop", "cancelled", 0), ("keep", "parked", 0)]
)
def test_whoever_resumes_a_rule_says_what_becomes_of_its_queue(queued: Any, expected: str, told: int) -> None:
    world = paused()
    at = SECOND + timedelta(hours=1)
    world.live(at)
    row = bulk.resume_rule(world.durable, TENANT, "two-failed-payments", ACTOR, "go on", at, queued)
    assert (row["state"], row["queued"]) == ("live", 3)
    world.live(at + timedelta(minutes=1))
    assert states(world) == [expected] * 3
    assert len(world.outside.requests) == told


def test_what_starts_from_the_queue_asks_the_rules_limits() -> None:
    world = paused(LADDER | {"limits": {"runs": 1, "per": "P1D"}})
    at = SECOND + timedelta(hours=1)
    bulk.resume_rule(world.durable, TENANT, "two-failed-payments", ACTOR, "go on", at, "start")
    world.live(at + timedelta(minutes=1))
    assert states(world) == ["parked", "parked", "waiting"]


def test_who_pays_while_the_rule_is_paused_leaves_the_queue() -> None:
    world = paused()
    world.live(SECOND + DAY, (SECOND + timedelta(hours=2), paid(SECOND + timedelta(hours=2))))
    assert states(world) == ["parked", "parked", "stopped"]


# ---- from a step again ----------------------------------------------------------------------------------------------
def test_a_run_goes_from_a_step_again_under_new_keys_and_its_stop_is_heard_again() -> None:
    world = world_with(
        twice_in_a_week(
            [NOTIFY, DOWNGRADE, {"name": "grace", "wait": {"for": "PT48H"}}, DOWNGRADE | {"name": "again"}],
            stop_when=[{"event": ["invoice.paid", "invoice.voided"], "same": "invoice"}],
        ),
        1,
    )
    world.live(SECOND + 3 * DAY)
    (run,) = world.runs()
    assert run["state"] == "done"
    at = SECOND + 4 * DAY
    world.live(at, (at, paid(at)))  # it comes too late for this run, which leaves the customer's memory
    operate.act(world.durable, TENANT, run["id"], "from", ACTOR, "plan was reset", world.clock.now(), "downgrade")
    world.live(at + timedelta(minutes=1), (at + timedelta(seconds=1), lambda: None))
    keys = [effect.key.removeprefix(run["id"] + "/") for effect in world.outside.requests]
    assert keys == ["tell-crm/0", "downgrade/0", "again/0", "downgrade/1"]
    voided = event("evt_void", "invoice.voided", invoice(id="in_1", status="void"), at + DAY)
    world.live(at + 5 * DAY, (at + DAY, voided))
    (run,) = world.runs()
    assert run["state"] == "stopped"
    assert [effect.key for effect in world.outside.requests][4:] == []


def test_a_run_cannot_go_from_a_step_that_it_does_not_have_nor_while_it_acts() -> None:
    world = world_with(LADDER, 1)
    (run,) = world.runs()
    with pytest.raises(NotPossible, match="no step 'nowhere'"):
        operate.act(world.durable, TENANT, run["id"], "from", ACTOR, "", world.clock.now(), "nowhere")
    world.live(SECOND + 3 * DAY)
    operate.act(world.durable, TENANT, run["id"], "from", ACTOR, "", world.clock.now(), "downgrade")
    with pytest.raises(NotPossible, match="the run is acting"):
        operate.act(world.durable, TENANT, run["id"], "from", ACTOR, "", world.clock.now(), "downgrade")


# ---- who may approve ------------------------------------------------------------------------------------------------
def test_an_approval_is_answered_by_who_has_the_role_where_the_role_is_given_to_anybody() -> None:
    ask = {"name": "ask", "approve": {"role": "approver", "at_most": "P2D", "on_timeout": "stop"}}
    world = world_with(twice_in_a_week([ask, NOTIFY]), 1)
    (run,) = world.runs()
    now = world.clock.now()
    parts.save_list(world.durable, TENANT, "role-approver", ["grace"], ACTOR, now)
    with pytest.raises(NotPossible, match="only approver may answer"):
        operate.act(world.durable, TENANT, run["id"], "approve", ACTOR, "", now)
    operate.act(world.durable, TENANT, run["id"], "approve", "grace", "", now)
    world.live(SECOND + timedelta(minutes=1))
    assert states(world) == ["done"]


@pytest.mark.parametrize(("roles", "may"), [(("viewer", "operator"), False), (("approver",), True), (("admin",), True)])
def test_without_a_list_a_role_that_members_have_is_answered_by_a_member_who_has_it(
    roles: tuple[str, ...], may: bool
) -> None:
    ask = {"name": "ask", "approve": {"role": "approver", "at_most": "P2D", "on_timeout": "stop"}}
    world = world_with(twice_in_a_week([ask, NOTIFY]), 1)
    (run,) = world.runs()
    now = world.clock.now()
    given = {"email": "grace@example.com", "roles": roles}
    members.add(world.durable, Argon2Passwords(), given, ACTOR, now)
    if not may:
        with pytest.raises(NotPossible, match="does not have that role"):
            operate.act(world.durable, TENANT, run["id"], "approve", "grace@example.com", "", now)
        return
    operate.act(world.durable, TENANT, run["id"], "approve", "grace@example.com", "", now)
    world.live(SECOND + timedelta(minutes=1))
    assert states(world) == ["done"]


def test_nobody_becomes_an_approver_by_being_excluded_as_a_customer() -> None:
    world = world_with(LADDER, 1)
    now = world.clock.now()
    parts.save_list(world.durable, TENANT, "role-approver", ["grace@example.com"], ACTOR, now)
    with pytest.raises(NotPossible, match="says who may approve"):
        bulk.exclude(world.durable, TENANT, "eve@example.com", "role-approver", ACTOR, "", now)


# ---- undo by hand ---------------------------------------------------------------------------------------------------
def test_an_undo_by_hand_says_its_calls_first_and_is_audited() -> None:
    from tests.stories.test_undo import Stripe

    world = World()
    stripe = Stripe()
    world.outside.answers = stripe.answer
    world.publish(twice_in_a_week([NOTIFY, DOWNGRADE]))
    fail_twice(world, 1)
    (run,) = world.runs()
    preview = operate.undo_preview(world.durable, job_connectors(), TENANT, run["id"])
    assert [(one["step"], "cannot" in one) for one in preview] == [("downgrade", False), ("tell-crm", True)]
    assert preview[0]["call"]["url"] == "/v1/subscriptions/sub_1"
    assert preview[0]["call"]["body"]["items"] == [{"id": "si_1", "price": "price_pro"}]
    assert preview[0]["id"] == f"{run['id']}/undo/downgrade"
    assert stripe.plans == {"sub_1": "price_free"}
    operate.act(world.durable, TENANT, run["id"], "undo", ACTOR, "a mistake", world.clock.now())
    world.live(SECOND + timedelta(minutes=5))
    assert stripe.plans == {"sub_1": "price_pro"}
    (entry,) = audit(world, "undo run")
    assert (entry["actor"], entry["why"]) == (ACTOR, "a mistake")
    with pytest.raises(NotPossible, match="once already"):
        operate.act(world.durable, TENANT, run["id"], "undo", ACTOR, "", world.clock.now())


def test_an_undo_that_needs_a_person_is_tried_again_or_left_as_it_is() -> None:
    from tests.stories.test_undo import Stripe

    for verb, state, plan in (("retry", "done", "price_pro"), ("skip", "left", "price_gold")):
        world, stripe = World(), Stripe()
        world.outside.answers = stripe.answer
        world.publish(twice_in_a_week([DOWNGRADE]))
        fail_twice(world, 1)
        stripe.plans["sub_1"] = "price_gold"
        (run,) = world.runs()
        operate.act(world.durable, TENANT, run["id"], "undo", ACTOR, "", world.clock.now())
        world.live(SECOND + timedelta(minutes=5))
        (run,) = world.runs()
        assert (run["state"], "price_gold by now" in run["reason"]) == ("needs_person", True)
        if verb == "retry":
            stripe.plans["sub_1"] = "price_free"  # somebody put it back as the run had left it
        operate.act(world.durable, TENANT, run["id"], verb, ACTOR, "seen", world.clock.now())
        world.live(SECOND + timedelta(minutes=9))
        (run,) = world.runs()
        assert (run["state"], run["undo"]["state"], stripe.plans["sub_1"]) == ("done", state, plan)


def job_connectors() -> Any:
    return World().base.connectors
