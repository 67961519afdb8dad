"""The ladder: two failed payments, a notice at once, two days of grace, a downgrade. It asserts what ran, and when."""

from __future__ import annotations

from datetime import timedelta

from tests.stories.world import LADDER, NOON, World, failed, paid

DAY = timedelta(days=1)
SECOND = NOON + DAY
GRACE_OVER = SECOND + 2 * DAY


def test_the_ladder_runs_to_its_end_each_step_on_its_time() -> None:
    world = World()
    world.publish(LADDER)
    world.live(NOON + 10 * DAY, (NOON, failed(1, NOON)), (SECOND, failed(2, SECOND)))
    assert [(effect.action, effect.at) for effect in world.outside.requests] == [
        ("crm.notify", SECOND),
        ("stripe.change_plan", GRACE_OVER),
        ("crm.notify", GRACE_OVER),
    ]
    (run,) = world.runs()
    assert run["state"] == "done"
    assert {effect.id for effect in world.outside.requests} == {
        f"{run['id']}/{step}" for step in ("tell-crm", "downgrade", "close")
    }


def test_a_payment_during_the_grace_stops_the_rest() -> None:
    world = World()
    world.publish(LADDER)
    world.live(
        NOON + 10 * DAY,
        (NOON, failed(1, NOON)),
        (SECOND, failed(2, SECOND)),
        (SECOND + DAY, paid(SECOND + DAY)),
    )
    assert [effect.action for effect in world.outside.requests] == ["crm.notify"]
    assert [run["state"] for run in world.runs()] == ["stopped"]
