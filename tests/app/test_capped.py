"""What reaches a customer is counted over all rules, and no two workers take the same place."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from app import operate
from app.adapters.memory import MemoryStore
from app.perform.capped import take_place
from rules.event import Event
from rules.matcher import PythonMatcher
from rules.model import Cap, Rule, RuleVersion
from rules.ports import Outcome, Put
from rules.ruleset import build
from rules.run import Command
from tests.builders import DAY, NOON, TENANT, event, invoice, task
from tests.rules.world import rule
from tests.stories.world import ACTOR, CLOSE, DOWNGRADE, NOTIFY, World, twice_in_a_week

SECOND = NOON + DAY
ONE_A_DAY = [{"tag": "crm", "at_most": 1, "per": "P1D"}]
CAPPED = twice_in_a_week([NOTIFY], caps=ONE_A_DAY)


def failed(number: int, at: datetime, subscription: str, customer: str | None = "cus_1") -> Event:
    thing = invoice(id=f"in_{subscription}", customer=customer, subscription=subscription)
    return event(f"evt_{subscription}_{number}", "invoice.payment_failed", thing, at)


def lived(world: World, *subscriptions: str, customer: str | None = "cus_1", until: datetime = NOON + 9 * DAY) -> World:
    """Each of the subscriptions of one customer fails for the second time at SECOND."""
    first = [(NOON, failed(1, NOON, one, customer)) for one in subscriptions]
    world.live(until, *first, *((SECOND, failed(2, SECOND, one, customer)) for one in subscriptions))
    return world


def published(*documents: Mapping[str, Any]) -> World:
    world = World()
    for document in documents:
        world.publish(document)
    return world


def times(world: World) -> list[datetime]:
    return [effect.at for effect in world.outside.requests]


def story(run: Mapping[str, Any]) -> str:
    return " ".join(sentence["text"] for sentence in run["story"])


def test_the_second_notice_waits_a_day_and_the_third_is_left_out() -> None:
    world = lived(published(CAPPED), "sub_1", "sub_2", "sub_3")
    assert times(world) == [SECOND, SECOND + DAY]
    assert {run["state"] for run in world.runs()} == {"done"}
    states = sorted(run["steps"]["tell-crm"]["state"] for run in world.runs())
    assert states == ["done", "done", "skipped"]
    (left,) = [run for run in world.runs() if run["steps"]["tell-crm"]["state"] == "skipped"]
    why = "the customer has had 1 action tagged “crm” within 24 hours"
    assert f"tell-crm: waits until Wed 25 Nov 2026 12:00 UTC, because {why}." in story(left)
    assert f"tell-crm: left out, because {why}, and it has waited that long already." in story(left)
    assert sorted(command["state"] for command in world.commands()) == ["cancelled", "done", "done"]


def test_a_run_goes_on_behind_what_was_left_out() -> None:
    world = lived(published(twice_in_a_week([NOTIFY, DOWNGRADE], caps=ONE_A_DAY)), "sub_1", "sub_2", "sub_3")
    downgrades = [effect for effect in world.outside.requests if effect.action == "stripe.change_plan"]
    assert [effect.at for effect in downgrades] == [SECOND, SECOND + DAY, SECOND + DAY]


def test_the_page_says_what_the_action_waits_for() -> None:
    world = lived(published(CAPPED), "sub_1", "sub_2", until=SECOND + DAY / 2)
    (waiting,) = [command for command in world.commands() if command["state"] == "due"]
    assert waiting["outcome"]["kind"] == "held"
    assert waiting["outcome"]["message"].startswith("Waits until Wed 25 Nov 2026 12:00 UTC, because the customer has")
    assert len(waiting["attempts"]) == 0


def test_another_customer_has_places_of_its_own_and_no_customer_has_no_cap() -> None:
    world = published(CAPPED)
    at = (SECOND, SECOND)
    world.live(
        NOON + 2 * DAY,
        *((NOON, failed(1, NOON, f"sub_{number}", f"cus_{number}")) for number in (1, 2)),
        *((at[0], failed(2, SECOND, f"sub_{number}", f"cus_{number}")) for number in (1, 2)),
    )
    assert times(world) == [SECOND, SECOND]
    assert times(lived(published(CAPPED), "sub_1", "sub_2", customer=None)) == [SECOND, SECOND]


def test_what_a_rule_without_a_cap_does_counts_too_and_is_not_held_back() -> None:
    free = {**twice_in_a_week([NOTIFY]), "id": "free", "name": "Free", "priority": 1}
    world = lived(published(CAPPED, free), "sub_1")
    assert [(effect.at, effect.id.partition("/")[2]) for effect in world.outside.requests] == [
        (SECOND, "tell-crm"),
        (SECOND + DAY, "tell-crm"),
    ]
    assert [run["rule_id"] for run in world.runs() if "waits until" in story(run)] == ["two-failed-payments"]


def test_a_stop_ends_what_waits_for_room() -> None:
    world = lived(published(CAPPED), "sub_1", "sub_2", until=SECOND + DAY / 2)
    (waiting,) = [run for run in world.runs() if run["state"] == "acting"]
    operate.act(world.durable, TENANT, waiting["id"], "cancel", ACTOR, "No", world.clock.now())
    world.live(NOON + 9 * DAY)
    assert times(world) == [SECOND]


def test_an_action_tried_again_counts_once_from_its_latest_try() -> None:
    world = published(twice_in_a_week([NOTIFY, CLOSE], caps=ONE_A_DAY))
    busy = Outcome.retry("busy", after=timedelta(hours=3))
    world.outside.answers = lambda effect, times: busy if times == 1 else Outcome.done("done")
    lived(world, "sub_1", until=NOON + 2 * DAY + timedelta(hours=2))
    tries = times(world)
    assert len(tries) == 2
    world.outside.answers = lambda effect, times: Outcome.done("done")
    world.live(NOON + 9 * DAY)
    assert times(world)[2] == tries[1] + DAY


def test_an_action_that_was_tried_is_never_left_out() -> None:
    """The first notice is tried at once and answered late; the others take the places meanwhile."""
    world = published(twice_in_a_week([NOTIFY], caps=ONE_A_DAY))
    busy = Outcome.retry("busy", after=timedelta(hours=25))
    world.outside.answers = lambda effect, times: busy if times == 1 else Outcome.done("done")
    lived(world, "sub_1", "sub_2", "sub_3", until=NOON + 12 * DAY)
    tried = {effect.id for effect in world.outside.requests}
    done = {command["id"] for command in world.commands() if command["state"] == "done"}
    assert tried
    assert done == tried
    assert {run["state"] for run in world.runs()} == {"done"}


# ---- places ---------------------------------------------------------------------------------------------------------
class Rival(MemoryStore):
    """A store in which somebody else takes a place just before our first commit."""

    quicker: Command | None = None

    def commit(self, tenant: str, event: Any, writes: Any) -> None:
        if self.quicker and any(isinstance(write, Put) and write.kind == "cap" for write in writes):
            other, self.quicker = self.quicker, None
            assert take(self, other) is None
        super().commit(tenant, event, writes)


ONE = rule(caps=(Cap("crm", 1, 86400),))


def command(run: str) -> Command:
    return Command.from_body(task("crm.notify", id=f"{run}/tell", run_id=run))


def take(store: MemoryStore, one: Command, by: Rule = ONE) -> Any:
    ruleset = build(TENANT, [RuleVersion(TENANT, by, 1, "live", "")], PythonMatcher())
    return take_place(store, ruleset, by, one, NOON)


def test_of_two_workers_one_takes_the_last_place() -> None:
    store = Rival()
    store.quicker = command("run_2")
    full = take(store, command("run_1"))
    assert full is not None
    assert full.at == NOON + DAY
    kept = store.get(TENANT, "cap", "cus_1")
    assert kept is not None
    assert [entry["command"] for entry in kept.body["used"]] == ["run_2/tell"]


def test_a_place_that_was_taken_before_a_crash_is_still_the_actions_own() -> None:
    store = MemoryStore()
    assert take(store, command("run_1")) is None
    assert take(store, command("run_1")) is None
    assert take(store, command("run_2")) is not None


def test_nothing_is_counted_where_no_rule_has_a_cap() -> None:
    store = MemoryStore()
    assert take(store, command("run_1"), rule()) is None
    assert store.get(TENANT, "cap", "cus_1") is None
