"""A backtest runs the same decisions on virtual time: waits, stops and re-entry included, and sends nothing."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from rules.backtest import Backtest, Summary, backtest
from rules.event import Event
from rules.matcher import PythonMatcher
from rules.memory import Window
from rules.model import Again, Approve, Do, If, Limits, Rule, RuleVersion, Span, Stop, Test, Wait, When
from rules.rete import DurableMatcher
from rules.window import EVER
from tests.rules.world import DAY, TENANT, World, at_iso, event, rule
from tests.stories.story import events as story_events
from tests.stories.story import example_version

MATCHER = PythonMatcher()
TWICE = When(("t.a",), "subscription", at_least=2, within=7 * DAY)
PAID = Stop(("invoice.paid",), "subscription")
LADDER = (
    Do("email", "crm.notify", {"connection": "crm"}),
    Wait("two-days", seconds=2 * DAY),
    Approve("ok", "approver"),
    Do("downgrade", "stripe.change_plan", {"price": "price_free"}),
)


def rows(one: Rule, *events: Event, mode: Any = "live", **more: Any) -> list[Any]:
    return list(backtest([RuleVersion(TENANT, one, 1, mode, "2999")], events, **more))


def test_each_step_has_its_virtual_date() -> None:
    (row,) = rows(rule(steps=LADDER, stop_when=(PAID,)), event("evt_1"))
    assert [(step["name"], step["do"], step["at"], step["state"]) for step in row["steps"]] == [
        ("email", "crm.notify", at_iso(0), "would"),
        ("two-days", None, at_iso(2 * DAY), "done"),
        ("ok", None, at_iso(2 * DAY), "would"),
        ("downgrade", "stripe.change_plan", at_iso(2 * DAY), "would"),
    ]
    assert (row["subject"], row["at"], row["state"], row["stopped"]) == ("cus_1", at_iso(0), "done", None)


def test_a_payment_during_the_wait_stops_the_run_where_it_stands() -> None:
    (row,) = rows(rule(steps=LADDER, stop_when=(PAID,)), event("evt_1"), event("evt_2", "invoice.paid", DAY))
    assert row["stopped"] == {"at": at_iso(DAY), "reason": "invoice.paid"}
    assert [step["name"] for step in row["steps"]] == ["email", "two-days"]


def test_a_payment_in_the_second_in_which_the_wait_ends_still_stops_it() -> None:
    (row,) = rows(rule(steps=LADDER, stop_when=(PAID,)), event("evt_1"), event("evt_2", "invoice.paid", 2 * DAY))
    assert row["state"] == "stopped"


def test_an_event_ends_a_wait_and_the_branch_follows() -> None:
    by_paid = Test("x", ("step", "hear", "ended_by"), "equal to", "invoice.paid")
    steps = (
        Wait("hear", for_event=(PAID,), at_most=7 * DAY),
        If("paid", by_paid, (Do("thank", "crm.notify", {}),), (Do("chase", "crm.notify", {}),)),
    )
    (thanked,) = rows(rule(steps=steps), event("evt_1"), event("evt_2", "invoice.paid", DAY))
    (chased,) = rows(rule(steps=steps), event("evt_1"), event("evt_2", "invoice.paid", 8 * DAY))
    assert (thanked["steps"][-1]["name"], thanked["steps"][-1]["at"]) == ("thank", at_iso(DAY))
    assert (chased["steps"][-1]["name"], chased["steps"][-1]["at"]) == ("chase", at_iso(7 * DAY))


def test_re_entry_holds_on_virtual_time() -> None:
    events = [event(f"evt_{n}", at=n * 10 * DAY) for n in range(7)]
    found = rows(rule(again=Again(while_open=False, after=30 * DAY)), *events)
    assert [row["at"] for row in found] == [at_iso(0), at_iso(30 * DAY), at_iso(60 * DAY)]
    asleep = rule(steps=(Wait("long", seconds=35 * DAY),), again=Again(while_open=False, after=0))
    assert [row["at"] for row in rows(asleep, *events)] == [at_iso(0), at_iso(40 * DAY)]


def test_an_absence_is_decided_when_its_span_is_over() -> None:
    when = When(("t.a",), "customer", and_not=Span(("t.b",), DAY))
    two = [event("evt_1"), event("evt_2", at=5, keys=("cus:cus_2",)), event("evt_3", "t.b", DAY, keys=("cus:cus_1",))]
    (row,) = rows(rule(when=when), *two)
    assert (row["subject"], row["steps"][0]["at"]) == ("cus_2", at_iso(DAY + 6))


def test_history_and_paused_and_limited_rules_are_tried_as_if_they_had_been_live() -> None:
    found = rows(
        rule(limits=Limits(runs=1)), event("evt_1", source="import"), event("evt_2", source="import"), mode="paused"
    )
    assert len(found) == 1


def test_at_the_end_of_history_what_waits_is_open() -> None:
    from rules.event import instant

    (row,) = rows(rule(steps=LADDER), event("evt_1"), until=instant(at_iso(DAY)))
    assert row["state"] == "open"


def test_subjects_on_a_list_are_left_out() -> None:
    assert rows(rule(never_for=("vip",)), event("evt_1"), lists={"vip": ["cus_1"]}) == []
    assert len(rows(rule(never_for=("vip",)), event("evt_1"))) == 1


def test_the_summary_counts_runs_subjects_and_money_by_currency() -> None:
    one = rule(again=Again(while_open=True, after=0))
    history = [
        event("evt_1", amount_remaining=100, currency="usd"),
        event("evt_2", at=1, amount_remaining=50, currency="usd"),
        event("evt_3", at=2, keys=("cus:cus_2",), amount_remaining=700, currency="jpy"),
    ]
    summary = Summary()
    for row in rows(one, *history):
        summary.add(row)
    body = summary.body()
    assert (body["runs"], body["subjects"], body["amount"]) == (3, 2, {"jpy": 700, "usd": 150})
    assert len(body["limits"]) == 3


def test_rules_run_together_and_each_row_names_its_own() -> None:
    versions = [RuleVersion(TENANT, rule(id), 1, "live", "") for id in ("a", "b")]
    assert [row["rule"] for row in backtest(versions, [event("evt_1")])] == ["a", "b"]


def test_the_story_has_its_47_and_39_in_either_matcher() -> None:
    history = sorted(story_events().values(), key=lambda one: (one.created, one.id))
    for matcher in (PythonMatcher(), DurableMatcher()):
        for renewals_only, expected in ((False, 47), (True, 39)):
            found = list(backtest([example_version(renewals_only)], history, matcher=matcher))
            assert len({row["subject"] for row in found}) == len(found) == expected


def test_what_no_window_can_see_any_more_is_forgotten() -> None:
    test = Backtest([RuleVersion(TENANT, rule(when=TWICE), 1, "live", "")], {}, PythonMatcher())
    for number in range(2000):
        keys = (f"cus:cus_{number}", f"sub:sub_{number}")
        assert list(test.take(event(f"evt_{number}", at=number * DAY, keys=keys))) == []
    assert len(test._history._by_key) <= 2 * 9
    assert test._memory == {}


@settings(max_examples=120, deadline=None)
@given(st.integers(1, 12), st.randoms(use_true_random=False))
def test_a_backtest_finds_the_runs_that_the_live_rule_had(number: int, chance: random.Random) -> None:
    kinds = ["t.a", "t.a", "invoice.paid"]
    keys = [("cus:cus_1", "sub:sub_1"), ("cus:cus_1", "sub:sub_2")]
    history = [
        event(f"evt_{n:02}", chance.choice(kinds), n * chance.randrange(1, 3) * DAY, chance.choice(keys))
        for n in range(number)
    ]
    history.sort(key=lambda one: (one.created, one.id))
    one = rule(when=TWICE, stop_when=(PAID,), again=Again(while_open=True, after=3 * DAY))
    world = World(one)
    world.deliver(*history)
    live = {run.trigger for run in world.runs()}
    assert {row["trigger"] for row in rows(one, *history)} == live


def test_a_backtest_of_no_rules_says_nothing() -> None:
    assert list(backtest([], [event("evt_1")])) == []


def test_of_what_may_be_the_first_ever_only_the_first_is_remembered() -> None:
    test = Backtest(
        [RuleVersion(TENANT, rule(when=When(("t.a",), "customer", first=True)), 1, "live", "")], {}, MATCHER
    )
    found = [row for number in range(500) for row in test.take(event(f"evt_{number:03}", at=number * DAY))]
    assert len(found) + len(list(test.finish())) == 1
    assert len(test._history.window(Window("cus:cus_1", frozenset({"t.a"}), 0, EVER))) <= 2
