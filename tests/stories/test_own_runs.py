"""A rule stops or takes back what other rules do for the same subject, once each, through crashes anywhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest

from rules.ports import Outcome
from tests.builders import DAY, NOON, event
from tests.stories.test_undo import Stripe
from tests.stories.world import CLOSE, DOWNGRADE, NOTIFY, World, failed, paid, twice_in_a_week

SECOND = NOON + DAY
GRACE = {"name": "grace", "wait": {"for": "PT48H"}}
LADDER = twice_in_a_week([NOTIFY, DOWNGRADE, GRACE, CLOSE], tags=["dunning"])
DONE = twice_in_a_week([NOTIFY, DOWNGRADE], tags=["dunning"])


def rule(action: str, event_type: str, **more: Any) -> dict[str, Any]:
    step = {"name": "others", "do": action, "with": {"tag": "dunning", "same": "customer", **more}}
    when = {"event": [event_type], "same": "customer"}
    return {"id": "after", "name": "Paid again", "when": when, "steps": [step]}


def lived(world: World, document: Mapping[str, Any], second: Mapping[str, Any], *more: Any) -> Stripe:
    stripe = Stripe()
    world.outside.answers = stripe.answer
    world.publish(document)
    world.publish(second)
    both = [(NOON + n * DAY, failed(n + 1, NOON + n * DAY, sub)) for n in (0, 1) for sub in ("sub_1", "sub_2")]
    world.live(NOON + 20 * DAY, *both, (SECOND + DAY, paid(SECOND + DAY)), *more)
    return stripe


def states(world: World) -> dict[tuple[str, str], str]:
    return {(run["rule_id"], run["customer"]): run["state"] for run in world.runs()}


def check_stopped(world: World, stripe: Stripe) -> None:
    assert states(world) == {
        ("two-failed-payments", "cus_1"): "stopped",
        ("two-failed-payments", "cus_2"): "done",
        ("after", "cus_1"): "done",
    }
    assert stripe.plans == {"sub_1": "price_free", "sub_2": "price_free"}


def check_undone(world: World, stripe: Stripe) -> None:
    assert set(states(world).values()) == {"done"}
    assert stripe.plans == {"sub_1": "price_pro", "sub_2": "price_free"}
    undone = {run["customer"] for run in world.runs() if run["undo"]}
    assert undone == {"cus_1"}


STORIES: dict[str, tuple[Mapping[str, Any], Mapping[str, Any], Callable[[World, Stripe], None]]] = {
    "stop": (LADDER, rule("runs.stop", "invoice.paid"), check_stopped),
    "undo": (DONE, rule("runs.undo", "invoice.paid"), check_undone),
}


@pytest.mark.parametrize("name", STORIES)
def test_a_rule_moves_the_runs_of_its_own_customer_and_of_no_other(name: str) -> None:
    document, second, check = STORIES[name]
    world = World()
    check(world, lived(world, document, second))


@pytest.mark.parametrize("name", STORIES)
def test_a_crash_anywhere_moves_each_run_once_all_the_same(name: str) -> None:
    document, second, check = STORIES[name]
    world = World()
    lived(world, document, second)
    for number in range(1, world.points.seen + 1):
        crashed = World(crash_at=number)
        check(crashed, lived(crashed, document, second))


def test_a_rule_that_carries_the_tag_itself_does_not_stop_its_own_run() -> None:
    world = World()
    lived(world, LADDER, rule("runs.stop", "invoice.paid") | {"tags": ["dunning"]})
    assert states(world)["after", "cus_1"] == "done"


def test_what_carries_another_tag_or_is_older_than_its_span_is_left_alone() -> None:
    world = World()
    stripe = lived(world, DONE, rule("runs.undo", "invoice.paid", tag="other"))
    assert stripe.plans["sub_1"] == "price_free"
    world = World()
    stripe = lived(world, DONE, rule("runs.undo", "invoice.paid", within="PT1H"))
    assert stripe.plans["sub_1"] == "price_free"


def test_an_undo_of_an_open_run_stops_it_first_and_says_who_took_it_back() -> None:
    world = World()
    stripe = lived(world, LADDER, rule("runs.undo", "invoice.paid"))
    (run,) = (run for run in world.runs() if run["customer"] == "cus_1" and run["rule_id"] != "after")
    assert (run["state"], run["undo"]["state"]) == ("stopped", "done")
    assert "Stopped: Paid again takes it back" in " ".join(one["text"] for one in run["story"])
    assert stripe.plans == {"sub_1": "price_pro", "sub_2": "price_free"}


def test_for_the_same_subscription_a_run_of_another_of_the_same_customer_goes_on() -> None:
    world = World()
    world.outside.answers = lambda effect, times: Outcome.done("done")
    world.publish(LADDER)
    world.publish(rule("runs.stop", "customer.subscription.deleted", same="subscription"))
    for number, sub in enumerate(("sub_1", "sub_2")):
        for n in (0, 1):
            trigger = failed(n + 1, NOON + n * DAY, sub)
            trigger.data["data"]["object"]["customer"] = "cus_9"
            world.live(NOON + n * DAY, (NOON + n * DAY + timedelta(seconds=number), _of(trigger)))
    gone = {"id": "sub_1", "object": "subscription", "customer": "cus_9", "status": "canceled", "items": {"data": []}}
    at = SECOND + timedelta(hours=1)
    world.live(SECOND + 10 * DAY, (at, event("evt_gone", "customer.subscription.deleted", gone, at)))
    found = {run["subjects"]["sub"]: run["state"] for run in world.runs() if run["rule_id"] != "after"}
    assert found == {"sub_1": "stopped", "sub_2": "done"}


def _of(trigger: Any) -> Any:
    thing = trigger.data["data"]["object"]
    return event(trigger.id, trigger.type, thing, trigger.recorded)
