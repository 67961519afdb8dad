"""A rule that its own actions start again and again is parked before it runs away, and only such a one."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from app import author, browse, operate
from app.perform.loops import MOST
from rules.event import Event
from rules.ports import Outcome
from tests.builders import DAY, NOON, TENANT, event, invoice
from tests.stories.world import ACTOR, Effect, World

SECONDS = timedelta(seconds=20)
EACH_TIME: dict[str, Any] = {
    "id": "retry",
    "name": "Pay at each failure",
    "when": {"event": ["invoice.payment_failed"], "same": "invoice", "ignore_own": False},
    "again": {"while_open": True, "after": "PT0S"},
    "steps": [{"name": "pay", "do": "stripe.pay_invoice"}],
}


def going_round(keys: str, again: Any = None) -> World:
    """A retry whose failure is the next trigger, for an hour. keys: what Stripe sends back with the event."""
    world = World()
    world.publish({**EACH_TIME, **({"again": again} if again else {})})
    coming: list[tuple[datetime, Event]] = []

    def answer(effect: Effect, times: int) -> Outcome:
        number = len(world.outside.requests) + 1
        more = {
            "ours": {"causation": effect.id, "idempotency_key": effect.key},
            "none": {},
            "theirs": {"idempotency_key": f"their-key-{number}"},
        }[keys]
        at = world.clock.now() + SECONDS
        coming.append((at, event(f"evt_{number}", "invoice.payment_failed", invoice(), at, at, **more)))
        return Outcome("branch", "declined", data={"result": "declined"})

    world.outside.answers = answer
    world.live(NOON, (NOON, event("evt_0", "invoice.payment_failed", invoice(), NOON)))
    for minute in range(1, 50):
        due, coming[:] = list(coming), []
        world.live(NOON + minute * timedelta(minutes=1), *due)
    return world


@pytest.mark.parametrize("keys", ["ours", "none"])
def test_a_chain_of_its_own_is_parked_with_one_thing_to_decide_and_its_rule_paused(keys: str) -> None:
    world = going_round(keys)
    assert MOST <= len(world.outside.requests) <= MOST + 1
    parked = [run for run in world.runs() if run["state"] == "parked"]
    assert len(parked) == 1
    assert "a loop: 11 runs for in:in_1 within an hour" in parked[0]["reason"]
    assert ("probably" in parked[0]["reason"]) == (keys == "none")
    assert author.rule(world.durable, TENANT, "retry")["state"] == "paused"
    assert browse.needs_you(world.durable, world.bus, TENANT, world.clock.now())["count"] == 1


def test_what_others_cause_again_and_again_is_no_loop_of_ours() -> None:
    world = going_round("theirs")
    assert len(world.outside.requests) > MOST + 5
    assert author.rule(world.durable, TENANT, "retry")["state"] == "live"


def test_a_rule_that_waits_an_hour_before_it_starts_again_is_left_alone() -> None:
    world = going_round("ours", {"while_open": False, "after": "PT2H"})
    assert len(world.outside.requests) == 1


def test_a_person_resumes_the_rule_and_lets_the_parked_run_go() -> None:
    world = going_round("ours")
    world.outside.answers = lambda effect, times: Outcome.done("paid")
    parked = next(run for run in world.runs() if run["state"] == "parked")
    author.resume(world.durable, TENANT, "retry", ACTOR, "mended", world.clock.now())
    operate.act(world.durable, TENANT, parked["id"], "release", ACTOR, "go on", world.clock.now())
    world.live(world.clock.now() + DAY)
    assert next(run for run in world.runs() if run["id"] == parked["id"])["state"] == "done"
