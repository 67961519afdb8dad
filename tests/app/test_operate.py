"""What a person asks is done where it is possible, refused with its reason where it is not, and always audited."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from app import operate
from rules.ports import Conflict, Delivery, Disposition, Outcome
from rules.steps import NotPossible
from tests.builders import DAY, NOON, TENANT, event
from tests.stories.world import ACTOR, CLOSE, DOWNGRADE, LADDER, NOTIFY, World, failed, paid, twice_in_a_week

SECOND = NOON + DAY
REFUSED = Outcome.dead("crm refused the notice (400).")


def fired(document: Mapping[str, Any], *more: Any, answers: Any = None) -> World:
    world = World()
    if answers:
        world.outside.answers = answers
    world.publish(document)
    world.live(SECOND + timedelta(hours=1), (NOON, failed(1, NOON)), (SECOND, failed(2, SECOND)), *more)
    return world


def act(world: World, verb: str, why: str = "Incident 7") -> Mapping[str, Any]:
    now = world.clock.now()
    body = operate.act(world.durable, TENANT, world.runs()[0]["id"], verb, ACTOR, why, now)
    world.live(now)
    return body


def last_audit(world: World) -> Mapping[str, Any]:
    return world.durable.find(TENANT, "audit", order="-at", limit=1).items[0].body


def sent(world: World) -> list[str]:
    return [effect.id.partition("/")[2] for effect in world.outside.requests]


def refusing_once(effect: Any, times: int) -> Outcome:
    return REFUSED if times == 1 else Outcome.done("taken")


# ---- runs -----------------------------------------------------------------------------------------------------------
def test_a_cancelled_run_does_nothing_more() -> None:
    world = fired(LADDER)
    act(world, "cancel")
    world.live(SECOND + 10 * DAY)
    assert sent(world) == ["tell-crm"]
    assert world.runs()[0]["state"] == "cancelled"
    entry = last_audit(world)
    assert (entry["actor"], entry["verb"], entry["about"]) == (ACTOR, "cancel run", world.runs()[0]["id"])
    assert (entry["from"], entry["to"], entry["why"]) == ("waiting", "cancelled", "Incident 7")


def test_a_skipped_wait_goes_on_at_once() -> None:
    world = fired(LADDER)
    act(world, "skip")
    assert sent(world) == ["tell-crm", "downgrade", "close"]
    assert world.outside.requests[1].at == SECOND + timedelta(hours=1)


def test_a_failed_step_is_tried_again_under_the_same_key_and_keeps_its_tries() -> None:
    world = fired(twice_in_a_week([NOTIFY, CLOSE]), answers=refusing_once)
    assert world.runs()[0]["state"] == "needs_person"
    act(world, "retry")
    assert sent(world)[:2] == ["tell-crm", "tell-crm"]
    assert len({effect.key for effect in world.outside.requests[:2]}) == 1
    command = world.durable.get(TENANT, "command", world.outside.requests[0].id)
    assert command is not None
    assert [attempt["outcome"] for attempt in command.body["attempts"]] == ["dead", "done"]


def test_run_again_is_a_new_effect_with_the_next_key() -> None:
    world = fired(twice_in_a_week([DOWNGRADE]), answers=refusing_once)
    act(world, "again")
    first, second = world.outside.requests
    assert (first.id, first.key, second.key) == (second.id, f"{first.id}/0", f"{first.id}/1")
    assert world.runs()[0]["state"] == "done"


def test_an_approval_is_given_and_declined() -> None:
    ask = {"name": "ask", "approve": {"role": "approver"}}
    approved = fired(twice_in_a_week([ask, NOTIFY]))
    assert approved.outside.requests == []
    act(approved, "approve")
    assert sent(approved) == ["tell-crm"]
    declined = fired(twice_in_a_week([ask, NOTIFY]))
    act(declined, "decline")
    assert (sent(declined), declined.runs()[0]["state"]) == ([], "stopped")


def test_a_parked_run_can_be_discarded() -> None:
    world = World()
    world.publish(twice_in_a_week([NOTIFY], limits={"runs": 0, "per": "P1D"}) | {"limits": {"money": {"eur": 1}}})
    world.live(SECOND, (NOON, failed(1, NOON)), (SECOND, failed(2, SECOND)))
    assert world.runs()[0]["state"] == "parked"
    act(world, "discard", "")
    assert (world.runs()[0]["state"], world.runs()[0]["reason"]) == ("cancelled", f"discarded by {ACTOR}")
    assert sent(world) == []


@pytest.mark.parametrize(
    "verb", ["cancel", "skip", "retry", "again", "approve", "decline", "release", "discard", "fly"]
)
def test_what_a_finished_run_cannot_do_is_refused_with_its_reason_and_not_audited(verb: str) -> None:
    world = fired(twice_in_a_week([NOTIFY]))
    before = last_audit(world)
    with pytest.raises(NotPossible) as refused:
        act(world, verb)
    assert str(refused.value)
    assert last_audit(world) == before


def test_an_unknown_run_is_said_to_be_unknown() -> None:
    with pytest.raises(LookupError, match="There is no run 'run_x'"):
        operate.act(World().durable, TENANT, "run_x", "cancel", ACTOR, "", NOON)


def test_many_runs_are_acted_on_each_by_itself() -> None:
    world = fired(LADDER)
    ids = [world.runs()[0]["id"], "run_x"]
    done = operate.act_on_many(world.durable, TENANT, ids, "cancel", ACTOR, "Incident 7", world.clock.now())
    assert done == {"done": 1, "refused": [{"id": "run_x", "why": "There is no run 'run_x'."}]}
    assert operate.open_runs(world.durable, TENANT, "two-failed-payments") == {}


# ---- dead letters ---------------------------------------------------------------------------------------------------
def replay(world: World, ids: list[str] | None = None, **more: Any) -> Mapping[str, Any]:
    now = world.clock.now()
    done = operate.replay(world.durable, world.bus, TENANT, ids, ACTOR, "They mended it", now, **more)
    world.live(now)
    return done


def test_dead_actions_are_replayed_and_their_runs_go_on() -> None:
    world = fired(twice_in_a_week([NOTIFY, CLOSE]), answers=refusing_once)
    assert replay(world) == {"events": 0, "actions": 1, "refused": []}
    assert world.runs()[0]["state"] in ("done", "needs_person")
    assert sent(world)[:3] == ["tell-crm", "tell-crm", "close"]
    entry = last_audit(world)
    assert (entry["verb"], entry["why"]) == ("replay action", "They mended it")


def test_an_action_that_its_run_left_behind_is_replayed_alone() -> None:
    world = fired(
        twice_in_a_week([{**NOTIFY, "on_failure": "continue"}, DOWNGRADE]), answers=refusing_once_at("tell-crm")
    )
    assert (sent(world), world.runs()[0]["state"]) == (["tell-crm", "downgrade"], "done")
    assert replay(world)["actions"] == 1
    assert sent(world) == ["tell-crm", "downgrade", "tell-crm"]
    assert world.runs()[0]["state"] == "done"
    assert world.runs()[0]["steps"]["tell-crm"]["state"] == "done"


def refusing_once_at(step: str) -> Any:
    return lambda effect, times: REFUSED if effect.id.endswith(step) and times == 1 else Outcome.done("taken")


def test_nothing_is_replayed_for_a_run_that_was_stopped() -> None:
    world = fired(
        twice_in_a_week([{**NOTIFY, "on_failure": "continue"}, {"name": "w", "wait": {"for": "P2D"}}], **LADDER_STOP),
        (SECOND + timedelta(minutes=30), paid(SECOND + timedelta(minutes=30))),
        answers=refusing_once,
    )
    assert world.runs()[0]["state"] == "stopped"
    done = replay(world)
    assert (done["actions"], len(done["refused"])) == (0, 1)
    assert "must not happen any more" in done["refused"][0]["why"]
    assert sent(world) == ["tell-crm"]


LADDER_STOP: dict[str, Any] = {"stop_when": LADDER["stop_when"]}


def test_a_discarded_action_keeps_its_tries_and_is_dead_no_more() -> None:
    world = fired(twice_in_a_week([NOTIFY]), answers=refusing_once)
    id = world.outside.requests[0].id
    done = operate.discard(world.durable, world.bus, TENANT, [id], ACTOR, "A test", world.clock.now())
    assert done == {"events": 0, "actions": 1}
    command = world.durable.get(TENANT, "command", id)
    assert command is not None
    assert (command.body["state"], len(command.body["attempts"])) == ("cancelled", 1)


def with_dead_events(world: World, *ids: str) -> None:
    for id in ids:
        world.bus.publish(event(id))
    world.bus.drain(lambda batch: [Disposition("dead", "broken") for _ in batch], NOON)


def test_dead_deliveries_are_replayed_by_event_or_delivery_id_and_discarded() -> None:
    world = World()
    with_dead_events(world, "evt_1", "evt_2", "evt_3")
    by_event = operate.replay(world.durable, world.bus, TENANT, ["evt_1"], ACTOR, "", NOON)
    assert by_event["events"] == 1
    two, three = world.bus.dead()
    assert operate.replay(world.durable, world.bus, TENANT, [two.id], ACTOR, "", NOON, only="actions")["events"] == 0
    assert operate.discard(world.durable, world.bus, TENANT, [three.id], ACTOR, "", NOON)["events"] == 1
    assert [one.event_id for one in world.bus.dead()] == ["evt_2"]
    about = [entry.body["about"] for entry in world.durable.find(TENANT, "audit", order="at").items]
    assert sorted(about) == ["evt_1", "evt_3"]
    seen: list[Delivery] = []
    world.bus.drain(lambda batch: [seen.extend(batch) or Disposition("done")], NOON)  # type: ignore[func-returns-value]
    assert [one.event.id for one in seen] == ["evt_1"]


def test_other_tenants_dead_letters_are_left_alone() -> None:
    world = World()
    with_dead_events(world, "evt_1")
    assert operate.replay(world.durable, world.bus, "default/live", None, ACTOR, "", NOON)["events"] == 0
    assert operate.discard(world.durable, world.bus, "default/live", ["evt_1"], ACTOR, "", NOON)["events"] == 0


# ---- switches -------------------------------------------------------------------------------------------------------
def test_switches_are_kept_audited_and_taken_back() -> None:
    world = World()
    store = world.durable
    operate.switch(store, TENANT, "all", True, ACTOR, "Incident 7", NOON)
    operate.switch(store, TENANT, "rule:b", True, ACTOR, "", NOON)
    operate.switch(store, TENANT, "rule:a", True, ACTOR, "", NOON)
    operate.switch(store, TENANT, "connection:crm", True, ACTOR, "", NOON)
    assert operate.switches(store, TENANT) == {"all": True, "rules": ["a", "b"], "connections": ["crm"]}
    operate.switch(store, TENANT, "rule:b", False, ACTOR, "", NOON + DAY)
    operate.switch(store, TENANT, "all", False, ACTOR, "Over", NOON + 2 * DAY)
    assert operate.switches(store, TENANT) == {"all": False, "rules": ["a"], "connections": ["crm"]}
    entry = last_audit(world)
    assert (entry["verb"], entry["about"], entry["why"]) == ("let go", "everything", "Over")
    assert operate.switches(store, "default/live") == {"all": False, "rules": [], "connections": []}


@pytest.mark.parametrize("what", ["", "rule:", "everything", "rules:a", "all:x"])
def test_an_unknown_switch_is_refused(what: str) -> None:
    with pytest.raises(NotPossible, match="no switch"):
        operate.switch(World().durable, TENANT, what, True, ACTOR, "", NOON)


def test_a_connection_is_paused_and_resumed_with_what_waited() -> None:
    world = World()
    world.publish(twice_in_a_week([NOTIFY]))
    operate.pause_connection(world.durable, TENANT, "crm", ACTOR, "Maintenance", NOON)
    world.live(SECOND + timedelta(hours=1), (NOON, failed(1, NOON)), (SECOND, failed(2, SECOND)))
    assert sent(world) == []
    now = world.clock.now()
    operate.resume_connection(world.durable, TENANT, "crm", ACTOR, "Done", now)
    world.live(now)
    assert [effect.at for effect in world.outside.requests] == [now]
    with pytest.raises(Conflict):
        operate.resume_connection(world.durable, TENANT, "crm", ACTOR, "Done", now)
