"""What an undo does to a run, decided from the run alone: once, newest first, within its span, and said."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.event import seconds
from rules.model import Do, Rule, RuleVersion, Stop, Undo, Wait
from rules.ports import Outcome
from rules.run import Run
from rules.steps import Advance, NotPossible
from rules.undoing import begin_undo, is_undoing, to_take_back
from rules.workflow import contradicted, heard, operate, refused, settled, start, stopped
from tests.rules.world import DAY, START, TENANT, World, event, rule, told

NOW = seconds(START + 10)
UNDO = Undo(("t.paid",), "customer", 60 * DAY)
ACTIONS = ("stripe.change_plan", "access.suspend", "crm.notify", "crm.task")


def steps(*names: str) -> tuple[Do, ...]:
    return tuple(Do(name, "crm.notify", {"connection": "crm"}) for name in names)


def begun(*names: str, mode: Any = "live", **more: Any) -> tuple[Run, Rule]:
    one = rule(steps=steps(*names), **more)
    return start(RuleVersion(TENANT, one, 1, mode, ""), event("evt_1"), "cus:cus_1", ("evt_1",), NOW).run, one


def inverse(name: str) -> dict[str, Any]:
    return {"action": "access.resume", "params": {"connection": "api", "of": name}, "says": f"{name} is back"}


def did(run: Run, one: Rule, *names: str, at: int = 0) -> Run:
    for number, name in enumerate(names):
        later = NOW + timedelta(seconds=at + number)
        run = settled(run, one, name, Outcome.done("done"), later, inverse(name)).run
    return run


def answered(advance: Advance, one: Rule, outcome: Outcome | None = None) -> tuple[Run, list[str]]:
    """Every inverse that is asked for is answered, one after the other; the run then, and their ids in order."""
    ids = []
    while advance.commands:
        (command,) = advance.commands
        ids.append(command.id.partition("/")[2])
        advance = settled(advance.run, one, command.step, outcome or Outcome.done("ok"), NOW + timedelta(hours=1))
    return advance.run, ids


@given(st.lists(st.sampled_from(["done", "cannot", "branch", "dead"]), min_size=1, max_size=6), st.integers(0, 6))
@settings(max_examples=80, deadline=None)
def test_what_was_done_is_taken_back_newest_first_whatever_else_became_of_the_run(kinds: list[str], ends: int) -> None:
    names = [f"s{number}" for number in range(len(kinds))]
    one = rule(steps=tuple(Do(name, "crm.notify", {"connection": "crm"}, "continue") for name in names))
    run = start(RuleVersion(TENANT, one, 1, "live", ""), event("evt_1"), "cus:cus_1", ("evt_1",), NOW).run
    acted = []
    for number, (name, kind) in enumerate(zip(names, kinds, strict=True)):
        if number >= ends > 0:
            break
        back = (
            inverse(name) if kind == "done" else {"cannot": "Cannot be undone: so it is."} if kind == "cannot" else None
        )
        outcome = {"branch": Outcome("branch", "no"), "dead": Outcome.dead("gone")}.get(kind, Outcome.done("ok"))
        run = settled(run, one, name, outcome, NOW + timedelta(seconds=number), back).run
        acted += [name] if kind == "done" else []
    advance = begin_undo(run, "t.paid", NOW + timedelta(minutes=1), "evt_paid")
    if advance.run.undo["state"] == "settling":  # the next step was asked for and is not settled: nothing has begun
        (due,) = [name for name, record in advance.run.steps.items() if record["state"] == "due"]
        assert advance.commands == ()
        advance = refused(advance.run, due, "what the run did is being taken back", NOW + timedelta(minutes=2))
    ended, ids = answered(advance, one)
    assert ids == [f"undo/{name}" for name in reversed(acted)]
    assert not is_undoing(ended)
    assert ended.state in ("done", "stopped", "failed")
    assert begin_undo(ended, "again", NOW).run is ended  # once


def test_the_command_of_an_inverse_has_an_id_of_its_own_and_carries_the_runs_ids() -> None:
    run, one = begun("one")
    (command,) = begin_undo(did(run, one, "one"), "t.paid", NOW).commands
    assert command.id == f"{run.id}/undo/one"
    assert (command.action, command.connection) == ("access.resume", "api")
    assert command.params == {"connection": "api", "of": "one"}
    assert (command.customer, command.subjects, command.correlation) == ("cus_1", run.subjects, run.correlation)


def test_what_needs_a_person_holds_back_nothing_and_is_asked_for_at_the_end() -> None:
    run, one = begun("one", "two")
    advance = begin_undo(did(run, one, "one", "two"), "t.paid", NOW)
    advance = settled(advance.run, one, "undo/two", Outcome("person", "changed by hand"), NOW)
    assert advance.commands[0].step == "undo/one"
    advance = settled(advance.run, one, "undo/one", Outcome.done("ok"), NOW)
    assert (advance.run.state, advance.run.undo["state"]) == ("needs_person", "person")
    assert advance.run.reason == "Undo: two: changed by hand"
    again = operate(advance.run, one, "again", "ada", "look", NOW)
    assert [(command.step, command.generation) for command in again.commands] == [("undo/two", 1)]
    left = operate(advance.run, one, "skip", "ada", "fine so", NOW).run
    assert (left.state, left.undo["state"]) == ("done", "left")
    assert "Not undone: two (left as it is by ada: skip (fine so))." in told(left)
    with pytest.raises(NotPossible):
        operate(advance.run, one, "approve", "ada", "", NOW)


def test_neither_a_stop_nor_an_event_nor_a_late_contradiction_moves_a_run_that_is_being_undone() -> None:
    run, one = begun("one", "two", stop_when=(Stop(("t.paid",), "customer"),))
    undoing = begin_undo(did(run, one, "one", "two"), "t.paid", NOW).run
    assert stopped(undoing, "t.paid", NOW).run is undoing
    assert heard(undoing, one, event("evt_2", "t.b", 9), NOW).run is undoing
    marked = contradicted(undoing, event("evt_2", "t.b", 9), NOW).run
    assert (marked.state, marked.contradicted_by, marked.undo) == ("acting", "evt_2", undoing.undo)


def test_a_simulated_run_says_what_it_would_look_at_and_sends_nothing() -> None:
    run, _ = begun("one", "two", mode="watch")
    advance = begin_undo(run, "t.paid", NOW)
    assert advance.commands == ()
    assert [(entry["step"], entry["state"]) for entry in advance.run.undo["steps"]] == [
        ("two", "would"),
        ("one", "would"),
    ]
    assert "Would undo two, one." in told(advance.run)


def test_what_was_done_before_undo_was_recorded_is_said_not_to_be_known() -> None:
    run, one = begun("one")
    run = settled(run, one, "one", Outcome.done("done"), NOW).run
    ended, ids = answered(begin_undo(run, "t.paid", NOW), one)
    assert ids == []
    assert "one (it was done before undo was recorded)" in told(ended).replace("(it", "(it").lower()


def test_a_step_done_anew_that_found_everything_as_wanted_keeps_the_first_way_back() -> None:
    run, one = begun("one")
    run = did(run, one, "one")
    run = operate(run, one, "from", "ada", "again", NOW, "one").run
    run = settled(run, one, "one", Outcome.done("already so"), NOW, {"cannot": "It changed nothing."}).run
    assert [entry.get("says") for entry in to_take_back(run)] == ["one is back"]


# ---- by an event ----------------------------------------------------------------------------------------------------
def undoable(**more: Any) -> World:
    world = World(rule(steps=steps("one"), undo=UNDO, **more))
    world.deliver(event("evt_1"))
    world.put_run(did(world.run(), world.rules.all["rule", 1], "one"))
    return world


@pytest.mark.parametrize(("at", "undone"), [(0, True), (60 * DAY, True), (60 * DAY + 1, False)])
def test_the_event_counts_from_the_trigger_to_the_end_of_its_span_both_included(at: int, undone: bool) -> None:
    world = undoable()
    world.deliver(event("evt_paid", "t.paid", at))
    assert bool(world.run().undo) is undone


def test_an_event_from_before_the_trigger_and_one_of_another_customer_undo_nothing() -> None:
    world = undoable()
    world.deliver(event("evt_early", "t.paid", -5), event("evt_other", "t.paid", 5, keys=("cus:cus_2",)))
    assert world.run().undo == {}


def test_a_second_event_and_a_redelivery_undo_nothing_more() -> None:
    world = undoable()
    world.deliver(event("evt_paid", "t.paid", 5))
    first = world.run()
    world.deliver(event("evt_paid", "t.paid", 5), event("evt_paid_2", "t.paid", 9))
    assert world.run() == first
    assert [command.step for command in world.commands()] == ["one", "undo/one"]


def test_an_undo_that_came_before_the_run_could_start_keeps_it_from_starting() -> None:
    from rules.model import When

    world = World(rule(when=When(("t.a",), "customer", at_least=2, within=7 * DAY), undo=UNDO))
    world.deliver(event("evt_2", at=DAY), event("evt_paid", "t.paid", DAY + 5), event("evt_1"))
    assert world.runs() == []
    assert world.trace("evt_1")["gate"] == "stopped"


def test_a_run_can_be_undone_long_after_it_ended_and_the_memory_forgets_it_then() -> None:
    world = undoable()
    body = world.documents("memory")[0].body
    assert list(body["undo"]) == [world.run().id]
    world.deliver(event("evt_paid", "t.paid", 50 * DAY))
    assert world.documents("memory")[0].body["undo"] == {}


def test_what_can_no_longer_be_undone_leaves_the_memory() -> None:
    world = World(rule(steps=steps("one"), undo=UNDO, again=_every_time()))
    for number in range(6):
        world.deliver(event(f"evt_{number}", at=number * 40 * DAY))
    kept = world.documents("memory")[0].body["undo"]
    assert len(kept) == 3  # those of the last sixty days, and forty days of grace for what comes late


def _every_time() -> Any:
    from rules.model import Again

    return Again(while_open=True, after=0)


def test_an_event_undoes_a_run_that_still_waits_though_a_wait_of_its_also_listens_to_it() -> None:
    wait = Wait("paid", for_event=(Stop(("t.paid",), "customer"),), at_most=DAY)
    world = World(rule(steps=(*steps("one"), wait, *steps("two")), undo=UNDO))
    world.deliver(event("evt_1"))
    world.put_run(did(world.run(), world.rules.all["rule", 1], "one"))
    world.deliver(event("evt_paid", "t.paid", 5))
    assert [command.step for command in world.commands()] == ["one", "undo/one"]
    assert world.run().undo["was"] == "stopped"
