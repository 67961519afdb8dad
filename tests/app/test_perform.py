"""Due commands are done once, or held, or tried again on their schedule, or given up where everybody sees it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest

from app import author, operate
from app.adapters.memory import MemoryTracer
from app.handle import handle
from app.perform.desk import HELD, LEASE, Desk
from app.perform.waking import admit
from app.worker import Work, tick
from rules.backoff import FIRST, LONGEST, TRIES, delay
from rules.event import instant, iso, span_id, trace_id
from rules.ports import Delivery, Outcome, Unconfigured
from tests.builders import DAY, NOON, TENANT
from tests.stories.world import ACTOR, CLOSE, DOWNGRADE, LADDER, NOTIFY, Effect, World, failed, paid, twice_in_a_week

SECOND = NOON + DAY
GRACE_OVER = SECOND + 2 * DAY
ONE_STEP = twice_in_a_week([NOTIFY])


def fired(document: Mapping[str, Any] = ONE_STEP, world: World | None = None, **answers: Any) -> World:
    """A world in which the rule has just fired at SECOND and the workers have looked once."""
    world = world or World()
    for name, value in answers.items():
        setattr(world.outside, name, value)
    world.publish(document)
    world.live(SECOND, (NOON, failed(1, NOON)), (SECOND, failed(2, SECOND)))
    return world


def answering(*outcomes: Outcome) -> Any:
    """One outcome after the other; the last for ever."""
    return lambda effect, times: outcomes[min(times, len(outcomes)) - 1]


def always(outcome: Outcome) -> Any:
    return lambda effect, times: outcome


def command(world: World, step: str = "tell-crm") -> Mapping[str, Any]:
    return next(one for one in world.commands() if one["step"] == step)


def run(world: World) -> Mapping[str, Any]:
    (found,) = world.runs()
    return found


def audited(world: World) -> list[tuple[str, str, str]]:
    entries = world.durable.find(TENANT, "audit", order="at").items
    return [(one.body["actor"], one.body["verb"], one.body["about"]) for one in entries]


# ---- switches and pauses --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("what", ["all", "rule:two-failed-payments", "connection:crm"])
def test_a_switch_holds_what_is_due_and_letting_go_sends_it_at_once(what: str) -> None:
    world = World()
    world.publish(ONE_STEP)
    operate.switch(world.durable, TENANT, what, True, ACTOR, "Incident 7", NOON)
    world.live(SECOND + DAY, (NOON, failed(1, NOON)), (SECOND, failed(2, SECOND)))
    assert world.outside.requests == []
    assert command(world)["outcome"]["kind"] == "held"
    assert len(command(world)["attempts"]) == 0
    assert run(world)["state"] == "acting"
    moment = world.clock.now()
    operate.switch(world.durable, TENANT, what, False, ACTOR, "Over", moment)
    world.live(moment)
    assert [effect.at for effect in world.outside.requests] == [moment]
    assert run(world)["state"] == "done"


def test_a_switch_of_another_rule_or_connection_holds_nothing_here() -> None:
    world = World()
    world.publish(ONE_STEP)
    operate.switch(world.durable, TENANT, "rule:other", True, ACTOR, "", NOON)
    operate.switch(world.durable, TENANT, "connection:other", True, ACTOR, "", NOON)
    world.live(SECOND, (NOON, failed(1, NOON)), (SECOND, failed(2, SECOND)))
    assert len(world.outside.requests) == 1


def test_open_runs_of_a_paused_rule_sleep_and_go_on_when_it_is_resumed() -> None:
    world = fired(LADDER)
    world.clock.set(SECOND + DAY)
    author.pause(world.durable, TENANT, "two-failed-payments", ACTOR, "", world.clock.now())
    world.live(GRACE_OVER + DAY)
    assert [effect.action for effect in world.outside.requests] == ["crm.notify"]
    author.resume(world.durable, TENANT, "two-failed-payments", ACTOR, "", world.clock.now())
    resumed = world.clock.now()
    world.live(resumed + timedelta(minutes=10))
    assert [effect.action for effect in world.outside.requests] == ["crm.notify", "stripe.change_plan", "crm.notify"]
    assert all(resumed <= effect.at <= resumed + LEASE for effect in world.outside.requests[1:])


def test_a_connection_that_is_not_there_yet_is_waited_for() -> None:
    world = fired(twice_in_a_week([{**NOTIFY, "with": {"connection": "hubspot", "stage": "x"}}]))
    assert command(world)["outcome"]["message"] == "there is no connection hubspot yet: make it under Settings"
    body = {"name": "hubspot", "type": "webhook", "url": "https://hubspot.example.com/hook"}
    author.save_connection(world.durable, world.services.secrets, TENANT, body, ACTOR, world.clock.now())
    world.live(SECOND + timedelta(minutes=5))
    (effect,) = world.outside.requests
    assert effect.at <= SECOND + max(HELD, LEASE)


def test_a_missing_setting_holds_without_counting_a_try() -> None:
    def unset(effect: Effect, times: int) -> Outcome:
        raise Unconfigured("There is no Stripe key")

    world = fired(answers=unset)
    world.live(SECOND + timedelta(hours=1))
    assert (len(command(world)["attempts"]), command(world)["outcome"]["message"]) == (0, "There is no Stripe key")


# ---- the connection's state -----------------------------------------------------------------------------------------
def test_a_refusal_holds_the_connection_once_and_everything_for_it_waits() -> None:
    world = World()
    world.outside.answers = always(Outcome.retry("crm said that it is gone for good (410).", pause_connection=True))
    world.publish(ONE_STEP)
    happenings = []
    for number in range(1, 6):
        subscription = f"sub_{number}"
        happenings += [(NOON, failed(1, NOON, subscription)), (SECOND, failed(2, SECOND, subscription))]
    world.live(SECOND + DAY, *happenings)
    assert len(world.outside.requests) == 1
    connection = world.durable.get(TENANT, "connection", "crm")
    assert connection is not None
    assert (connection.body["state"], connection.body["reason"]) == (
        "failing",
        "crm said that it is gone for good (410).",
    )
    assert [entry for entry in audited(world) if entry[0] == "signalbox"] == [
        ("signalbox", "call connection failing", "crm")
    ]
    world.outside.answers = always(Outcome.done("taken"))
    operate.resume_connection(world.durable, TENANT, "crm", ACTOR, "They mended it", world.clock.now())
    resumed = world.clock.now()
    world.live(resumed + timedelta(hours=1))
    assert {one["state"] for one in world.commands()} == {"done"}
    assert all(effect.at <= resumed + timedelta(minutes=10) for effect in world.outside.requests[1:])


def test_a_connection_is_called_failing_after_three_tries_and_well_after_a_success() -> None:
    down = Outcome.retry("crm answered 503.")
    world = fired(answers=answering(down, down, down, Outcome.done("taken")))
    world.live(SECOND + timedelta(seconds=1))
    while len(world.outside.requests) < 3:
        world.live(world.next_due() or SECOND)
    connection = world.durable.get(TENANT, "connection", "crm")
    assert connection is not None
    assert (connection.body["state"], connection.body["held"]) == ("failing", False)
    world.live(SECOND + DAY)
    connection = world.durable.get(TENANT, "connection", "crm")
    assert connection is not None
    assert (connection.body["state"], connection.body["reason"]) == ("on", "")


def test_a_refused_stripe_key_shows_as_a_connection_to_mend() -> None:
    world = fired(
        twice_in_a_week([DOWNGRADE]),
        answers=always(Outcome.retry("Stripe refused the key (401)", pause_connection=True)),
    )
    connection = world.durable.get(TENANT, "connection", "stripe")
    assert connection is not None
    assert (connection.body["type"], connection.body["state"], connection.body["held"]) == ("stripe", "failing", True)


# ---- tries ----------------------------------------------------------------------------------------------------------
def test_tries_are_spread_with_full_jitter_and_the_same_history_gives_the_same_times() -> None:
    waits = [delay("run_1/a", tries).total_seconds() for tries in range(1, TRIES)]
    assert waits == [delay("run_1/a", tries).total_seconds() for tries in range(1, TRIES)]
    assert all(0 <= wait <= min(LONGEST, FIRST * 2**number) for number, wait in enumerate(waits))
    assert len({delay(f"run_{n}/a", 5) for n in range(100)}) == 100
    totals = [sum(delay(f"run_{n}/a", tries).total_seconds() for tries in range(1, TRIES)) for n in range(500)]
    assert min(totals) > 24 * 3600


def test_what_a_receiver_asks_is_kept_to_and_not_by_all_at_the_same_moment() -> None:
    waits = {delay(f"run_{n}/a", 1, timedelta(seconds=100)) for n in range(100)}
    assert all(timedelta(seconds=100) <= wait < timedelta(seconds=110) for wait in waits)
    assert len(waits) == 100


def test_a_receiver_that_is_down_for_a_day_gets_its_notice_once_it_is_back() -> None:
    back = SECOND + DAY

    def down(effect: Effect, times: int) -> Outcome:
        return Outcome.done("taken") if effect.at >= back else Outcome.retry("No answer from crm")

    world = fired(twice_in_a_week([NOTIFY, CLOSE]), answers=down)
    world.live(SECOND + 4 * DAY)
    taken = [effect for effect in world.outside.requests if effect.at >= back]
    assert [effect.id.partition("/")[2] for effect in taken] == ["tell-crm", "close"]
    assert taken[0].at <= back + timedelta(seconds=LONGEST)
    assert len({effect.id for effect in world.outside.requests}) == 2
    assert run(world)["state"] == "done"


def test_after_the_last_try_a_command_is_a_dead_letter_and_its_run_asks_for_a_person() -> None:
    world = fired(answers=always(Outcome.retry("crm answered 500.", request={"n": 1}, response={"status": 500})))
    world.live(SECOND + 30 * DAY)
    dead = command(world)
    assert (dead["state"], len(dead["attempts"])) == ("dead", TRIES)
    assert dead["attempts"][-1]["message"] == f"Gave up after {TRIES} tries. crm answered 500."
    assert run(world)["state"] == "needs_person"
    kept = [bool(attempt["request"]) for attempt in dead["attempts"]]
    assert (kept[0], kept[1:-5], kept[-5:]) == (True, [False] * (TRIES - 6), [True] * 5)


@pytest.mark.parametrize(("choice", "state"), [("person", "needs_person"), ("stop", "failed"), ("continue", "done")])
def test_a_permanent_failure_goes_the_way_the_step_says(choice: str, state: str) -> None:
    world = fired(
        twice_in_a_week([{**NOTIFY, "on_failure": choice}]),
        answers=always(Outcome.dead("crm refused the notice (400).")),
    )
    assert (command(world)["state"], run(world)["state"]) == ("dead", state)


def test_a_postponed_action_waits_its_time_and_counts_no_try() -> None:
    later = Outcome.retry("until the period ends", after=timedelta(days=20), data={"postponed": True})
    world = fired(answers=answering(later, Outcome.done("changed")))
    world.live(SECOND + 30 * DAY)
    assert [effect.at for effect in world.outside.requests] == [SECOND, SECOND + timedelta(days=20)]
    assert command(world)["outcome"]["tries"] == 0


def test_a_surprise_in_a_connector_is_tried_again_and_harms_no_other() -> None:
    def surprised(effect: Effect, times: int) -> Outcome:
        if effect.subscription == "sub_1" and times == 1:
            raise KeyError("boom")
        return Outcome.done("taken")

    world = World()
    world.outside.answers = surprised
    world.publish(ONE_STEP)
    both = [(at, failed(n, at, sub)) for sub in ("sub_1", "sub_2") for n, at in ((1, NOON), (2, SECOND))]
    world.live(SECOND + timedelta(hours=1), *both)
    assert {one["state"] for one in world.commands()} == {"done"}
    first = next(one for one in world.commands() if one["subjects"]["sub"] == "sub_1")
    assert first["attempts"][0]["message"] == "A fault of ours: KeyError."


def test_a_new_key_is_used_only_after_a_stored_error_was_replayed() -> None:
    world = fired(
        twice_in_a_week([DOWNGRADE]),
        answers=answering(Outcome.retry("500"), Outcome.retry("500", data={"new_key": True}), Outcome.done("changed")),
    )
    world.live(SECOND + DAY)
    id = command(world, "downgrade")["id"]
    assert [effect.key for effect in world.outside.requests] == [f"{id}/0", f"{id}/0", f"{id}/1"]
    assert {effect.id for effect in world.outside.requests} == {id}


# ---- stops ----------------------------------------------------------------------------------------------------------
def test_a_stop_that_arrives_while_the_action_runs_is_recorded_truthfully() -> None:
    world = World()

    def meanwhile(effect: Effect) -> None:
        s = world.services
        stop = paid(effect.at)
        handle([Delivery("x", stop, 1)], world.durable, s.rulesets, s.tracer, effect.at)

    world.outside.during = meanwhile
    fired(LADDER, world)
    world.live(SECOND + 10 * DAY)
    assert [effect.action for effect in world.outside.requests] == ["crm.notify"]
    assert run(world)["state"] == "stopped"
    assert (command(world)["state"], run(world)["steps"]["tell-crm"]["state"]) == ("done", "done")
    texts = [sentence["text"] for sentence in run(world)["story"]]
    assert any("invoice is paid" in text for text in texts)
    assert texts[-1] == "tell-crm: done"


def test_a_stop_between_claim_and_action_wins() -> None:
    world = World()
    world.publish(ONE_STEP | {"stop_when": LADDER["stop_when"]})
    s = world.services
    for number, at in ((1, NOON), (2, SECOND)):
        handle([Delivery(str(number), failed(number, at), 1)], world.durable, s.rulesets, s.tracer, at)
    desk = Desk(world.durable, s.rulesets, s.connectors, s.tracer, SECOND)
    (document,) = desk.claim(10)
    handle([Delivery("3", paid(SECOND), 1)], world.durable, s.rulesets, s.tracer, SECOND)
    assert desk.prepare(document) is None
    assert world.outside.requests == []
    assert (command(world)["state"], run(world)["state"]) == ("cancelled", "stopped")
    assert command(world)["outcome"]["message"].startswith("the run is stopped")
    assert run(world)["steps"]["tell-crm"]["state"] == "skipped"


def test_a_command_whose_lease_ran_out_is_done_twice_under_one_id_and_recorded_twice() -> None:
    world = World()
    world.publish(twice_in_a_week([NOTIFY, CLOSE]))
    s = world.services
    for number, at in ((1, NOON), (2, SECOND)):
        handle([Delivery(str(number), failed(number, at), 1)], world.durable, s.rulesets, s.tracer, at)
    slow = Desk(world.durable, s.rulesets, s.connectors, s.tracer, SECOND)
    ready = slow.prepare(slow.claim(10)[0])
    assert ready is not None
    attempt = slow.attempt(ready)
    world.clock.set(SECOND + LEASE)
    quick = Desk(world.durable, s.rulesets, s.connectors, s.tracer, SECOND + LEASE)
    second = quick.prepare(quick.claim(10)[0])
    assert second is not None
    quick.settle([quick.attempt(second)])
    slow.settle([attempt])
    assert [effect.id for effect in world.outside.requests] == [ready.command.id] * 2
    assert (command(world)["state"], len(command(world)["attempts"])) == ("done", 2)
    assert [one["step"] for one in world.commands()] == ["tell-crm", "close"]


# ---- traces ---------------------------------------------------------------------------------------------------------
def test_every_try_is_a_span_that_is_stored_exported_and_sent_along() -> None:
    world = fired(answers=answering(Outcome.retry("busy"), Outcome.done("taken", response={"status": 200})))
    world.live(SECOND + DAY)
    spans = [attempt["span"] for attempt in command(world)["attempts"]]
    id, correlation = command(world)["id"], command(world)["correlation"]
    assert [span["span_id"] for span in spans] == [span_id(TENANT, id, "1"), span_id(TENANT, id, "2")]
    assert {span["trace_id"] for span in spans} == {trace_id(TENANT, correlation)}
    assert [(span["name"], span["kind"], span["ok"]) for span in spans] == [
        ("crm.notify", "client", False), ("crm.notify", "client", True),
    ]  # fmt: skip
    event = world.durable.get(TENANT, "event", "evt_1_2")
    assert event is not None
    assert {span["parent"] for span in spans} == {event.body["spans"][-1]["span_id"]}
    tracer = world.base.tracer
    assert isinstance(tracer, MemoryTracer)
    assert [span.span_id for span in tracer.spans if span.kind == "client"] == [span["span_id"] for span in spans]


def test_an_attempt_keeps_when_it_began_and_ended() -> None:
    world = fired()
    (attempt,) = command(world)["attempts"]
    assert attempt["at"] == iso(SECOND)
    assert timedelta(0) <= instant(attempt["ended_at"]) - SECOND < timedelta(seconds=5)


# ---- admission ------------------------------------------------------------------------------------------------------
def several(document: Mapping[str, Any], count: int, **more: Any) -> World:
    world = World()
    world.publish(document)
    happenings: list[tuple[datetime, Any]] = []
    for number in range(1, count + 1):
        subscription = f"sub_{number}"
        at = SECOND + timedelta(minutes=number)
        happenings += [(NOON, failed(1, NOON, subscription, **more)), (at, failed(2, at, subscription, **more))]
    world.live(SECOND + timedelta(hours=2), *happenings)
    return world


def states(world: World) -> list[str]:
    return [one["state"] for one in world.runs()]


def test_runs_over_the_days_limit_are_parked_and_the_next_day_has_room_again() -> None:
    world = several(ONE_STEP | {"limits": {"runs": 2, "per": "P1D"}}, 3)
    assert states(world) == ["done", "done", "parked"]
    assert world.runs()[2]["reason"] == "Parked: the limit of 2 runs is reached"
    tomorrow = SECOND + 2 * DAY
    world.live(tomorrow + DAY, (tomorrow, failed(1, tomorrow, "sub_9")), (tomorrow, failed(2, tomorrow, "sub_9")))
    assert states(world) == ["done", "done", "parked", "done"]


def test_a_sum_of_money_is_a_limit_by_currency() -> None:
    world = several(ONE_STEP | {"limits": {"money": {"usd": 10_000}, "per": "P1D"}}, 3)
    assert states(world) == ["done", "done", "parked"]
    other = several(ONE_STEP | {"limits": {"money": {"usd": 10_000}, "per": "P1D"}}, 1, currency="eur")
    assert other.runs()[0]["reason"] == "Parked: there is no limit for EUR, so a person decides"


def test_a_release_goes_past_the_limit_and_counts() -> None:
    world = several(ONE_STEP | {"limits": {"runs": 1, "per": "P1D"}}, 2)
    parked = world.runs()[1]["id"]
    operate.act(world.durable, TENANT, parked, "release", ACTOR, "A good customer", world.clock.now())
    world.live(world.clock.now())
    assert states(world) == ["done", "done"]
    (limit,) = world.durable.find(TENANT, "limit").items
    assert (limit.id, limit.body["runs"]) == ("two-failed-payments|2026-11-24", 2)


def test_nothing_is_due_twice_after_a_quiet_look() -> None:
    world = fired()
    assert tick(Work(world.services), SECOND + DAY) == {"handled": 0, "woken": 0, "performed": 0, "job_steps": 0}


# ---- races ----------------------------------------------------------------------------------------------------------
class Interrupted:
    """A store in which something happens right after the first read of a kind."""

    def __init__(self, store: Any, kind: str, meanwhile: Any) -> None:
        self._store, self._kind, self._meanwhile = store, kind, meanwhile

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def get(self, tenant: str, kind: str, id: str) -> Any:
        found = self._store.get(tenant, kind, id)
        if kind == self._kind and self._meanwhile:
            meanwhile, self._meanwhile = self._meanwhile, None
            meanwhile()
        return found


def due_command(document: Mapping[str, Any] = ONE_STEP) -> World:
    """A world with one command that is due and not yet claimed."""
    world = World()
    world.publish(document)
    s = world.services
    for number, at in ((1, NOON), (2, SECOND)):
        handle([Delivery(str(number), failed(number, at), 1)], world.durable, s.rulesets, s.tracer, at)
    return world


def desk_at(world: World, now: datetime) -> Desk:
    s = world.services
    world.clock.set(now)
    return Desk(world.durable, s.rulesets, s.connectors, s.tracer, now)


def test_a_command_whose_lease_is_nearly_over_is_left_to_the_next_claim() -> None:
    world = due_command()
    (document,) = desk_at(world, SECOND).claim(10)
    assert desk_at(world, SECOND + LEASE - timedelta(seconds=30)).prepare(document) is None
    assert command(world)["state"] == "due"


def test_a_late_failure_does_not_undo_what_another_worker_settled() -> None:
    world = due_command()
    slow = desk_at(world, SECOND)
    ready = slow.prepare(slow.claim(10)[0])
    assert ready is not None
    world.outside.answers = always(Outcome.retry("crm answered 500."))
    lost = slow.attempt(ready)
    world.outside.answers = always(Outcome.done("taken"))
    world.live(SECOND + 2 * LEASE)
    slow.settle([lost])
    assert (command(world)["state"], command(world)["due_at"]) == ("done", None)
    assert [attempt["outcome"] for attempt in command(world)["attempts"]] == ["done", "retry"]


def test_two_admitters_cannot_both_take_the_last_place() -> None:
    world = due_command(ONE_STEP | {"limits": {"runs": 1, "per": "P1D"}})
    s = world.services
    for number, at in ((1, NOON), (2, SECOND)):
        handle([Delivery("x", failed(number, at, "sub_2"), 1)], world.durable, s.rulesets, s.tracer, at)

    one, other = world.durable.claim("run", SECOND, LEASE, 2)
    rule = s.rulesets.rule(world.durable, TENANT, "two-failed-payments", 1)
    first = Interrupted(world.durable, "limit", lambda: admit(world.durable, other, rule, SECOND))
    admit(first, one, rule, SECOND)  # type: ignore[arg-type]
    assert sorted(states(world)) == ["acting", "parked"]
