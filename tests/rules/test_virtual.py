"""What counts over runs and rules counts in a backtest as it would have: limits, caps, stops of other rules, approvals;
and it tells what became of the money in a history in which nothing was done."""

from __future__ import annotations

from typing import Any

import pytest

from rules.backtest import Summary, backtest
from rules.event import Event, instant
from rules.model import Again, Approve, Cap, Do, Limits, Rule, RuleVersion, Stop, Undo, Wait
from tests.rules.world import DAY, START, TELL, TENANT, at_iso, event, rule

EVERY = Again(while_open=True, after=0)
MAIL = Do("mail", "mail.send", {"connection": "m"})


def rows(*both: Rule, history: list[Event], until: int | None = None, **more: Any) -> list[Any]:
    versions = [RuleVersion(TENANT, one, 1, "live", "") for one in both]
    end = instant(at_iso(until)) if until is not None else None
    found = [list(backtest(versions, history, end, screened=screened, **more)) for screened in (True, False)]
    assert found[0] == found[1]
    return found[0]


def customers(count: int, **more: Any) -> list[Event]:
    return [event(f"evt_{n}", at=n, keys=(f"cus:cus_{n}",), **more) for n in range(count)]


# ---- limits ---------------------------------------------------------------------------------------------------------
def test_a_run_over_the_limit_of_its_day_is_held_back_and_asks_and_the_next_day_begins_anew() -> None:
    history = [*customers(3), event("evt_9", at=2 * DAY, keys=("cus:cus_9",))]
    found = rows(rule(limits=Limits(runs=2)), history=history)
    assert [row["state"] for row in found] == ["done", "done", "parked", "done"]
    assert found[2]["reason"] == "Parked: the limit of 2 runs is reached"
    assert found[2]["steps"] == []


def test_a_limit_in_money_counts_what_the_runs_are_about() -> None:
    limited = rule(limits=Limits(money={"usd": 100}))
    found = rows(limited, history=customers(4, amount_remaining=40, currency="usd"))
    assert [row["state"] for row in found] == ["done", "done", "parked", "parked"]
    other = rows(limited, history=customers(1, amount_remaining=1, currency="eur"))
    assert "no limit for EUR" in other[0]["reason"]


def test_a_parked_run_holds_its_place_until_something_stops_it() -> None:
    one = rule(limits=Limits(runs=1), stop_when=(Stop(("invoice.paid",), "customer"),))
    history = [*customers(2), event("evt_p", "invoice.paid", 50, ("cus:cus_1",))]
    assert [row["state"] for row in rows(one, history=history)] == ["done", "stopped"]


# ---- caps -----------------------------------------------------------------------------------------------------------
def test_a_cap_counts_over_rules_and_puts_the_later_action_off() -> None:
    capped = rule("b", steps=(MAIL,), caps=(Cap("email", 1, DAY),), again=EVERY)
    found = rows(rule("a", steps=(MAIL,)), capped, history=[event("evt_1")])
    assert [(row["rule"], row["steps"][0]["at"]) for row in found] == [("a", at_iso(0)), ("b", at_iso(DAY))]


def test_what_waited_its_whole_span_in_a_queue_is_left_out() -> None:
    capped = rule(steps=(MAIL,), caps=(Cap("email", 1, DAY),), again=EVERY)
    found = rows(capped, history=[event(f"evt_{n}", at=n) for n in range(4)])
    assert [row["steps"][0]["state"] for row in found] == ["would", "would", "would", "skipped"]
    assert found[3]["state"] == "done"


# ---- rules together -------------------------------------------------------------------------------------------------
def test_one_rule_ends_the_open_runs_of_others_with_its_tag() -> None:
    nap = rule("nap", steps=(Wait("long", seconds=10 * DAY), *TELL), tags=("dunning",))
    ends = Do("end", "runs.stop", {"tag": "dunning", "same": "customer"})
    ender = rule("ender", when=event_of("t.b"), steps=(ends,))
    history = [*customers(2), event("evt_b", "t.b", DAY, ("cus:cus_1",))]
    found = rows(nap, ender, history=history)
    assert [(row["rule"], row["customer"], row["state"]) for row in found] == [
        ("nap", "cus_0", "done"),
        ("nap", "cus_1", "stopped"),
        ("ender", "cus_1", "done"),
    ]


def event_of(type: str) -> Any:
    from rules.model import When

    return When((type,), "customer")


def test_an_approval_is_given_at_once() -> None:
    (row,) = rows(rule(steps=(Approve("ok", "approver", at_most=DAY), *TELL)), history=[event("evt_1")])
    assert [(step["name"], step["state"], step["at"]) for step in row["steps"]] == [
        ("ok", "would", at_iso(0)),
        ("tell", "would", at_iso(0)),
    ]


def test_what_undoes_a_run_ends_it() -> None:
    one = rule(steps=(*TELL, Wait("long", seconds=5 * DAY), MAIL), undo=Undo(("t.c",), "customer", 9 * DAY))
    (row,) = rows(one, history=[event("evt_1"), event("evt_2", "t.c", DAY)])
    assert "mail" not in [step["name"] for step in row["steps"] if step["state"] == "would"]


def test_a_held_out_share_is_left_out() -> None:
    found = rows(rule(holdout=0.5), history=customers(200))
    assert 60 < len(found) < 140


# ---- paid anyway ----------------------------------------------------------------------------------------------------
FAILED = "invoice.payment_failed"
KEYS = ("cus:cus_1", "in:in_1")


def dunning(*steps: Any, **more: Any) -> Rule:
    from rules.model import When

    return rule(when=When((FAILED,), "invoice"), steps=steps, **more)


@pytest.mark.parametrize(
    ("paid", "until", "outcome", "after"),
    [
        (DAY, 30 * DAY, "without_action", None),
        (3 * DAY, 30 * DAY, "after_action", "tell"),
        (9 * DAY, 30 * DAY, "after_action", "mail"),
        (None, 30 * DAY, "never", None),
        (None, DAY, "open", None),
    ],
)
def test_what_became_of_the_money(paid: int | None, until: int, outcome: str, after: str | None) -> None:
    steps = (Wait("two-days", seconds=2 * DAY), *TELL, Wait("four", seconds=4 * DAY), MAIL)
    history = [event("evt_1", FAILED, keys=KEYS, amount_remaining=700, currency="usd")]
    if paid is not None:
        history.append(event("evt_2", "invoice.paid", paid, KEYS))
    (row,) = rows(dunning(*steps), history=history, until=until)
    assert row["outcome"] == outcome
    assert (row["paid"] or {}).get("after") == after
    summary = Summary()
    summary.add(row)
    assert summary.body()["paid"][outcome] == {"runs": 1, "amount": {"usd": 700}}


def test_a_payment_of_another_invoice_is_none() -> None:
    history = [event("evt_1", FAILED, keys=KEYS), event("evt_2", "invoice.paid", 1, ("cus:cus_1", "in:in_2"))]
    (row,) = rows(dunning(*TELL), history=history)
    assert (row["outcome"], row["paid"]) == ("never", None)


def test_after_ninety_days_nothing_is_waited_for_and_the_row_leaves() -> None:
    from rules.backtest import Backtest
    from rules.matcher import PythonMatcher

    test = Backtest([RuleVersion(TENANT, dunning(*TELL), 1, "live", "")], {}, PythonMatcher())
    assert list(test.take(event("evt_1", FAILED, keys=KEYS))) == []
    (row,) = test.take(event("evt_2", "invoice.paid", 91 * DAY, KEYS))
    assert row["outcome"] == "never"
    assert test._now > START


def test_a_rule_about_nothing_owed_has_no_outcome() -> None:
    (row,) = rows(rule(when=event_of("charge.dispute.created")), history=[event("evt_1", "charge.dispute.created")])
    assert row["outcome"] is None


def test_a_run_that_only_a_person_could_move_is_taken_as_it_stands_after_ninety_days() -> None:
    from rules.backtest import Backtest
    from rules.matcher import PythonMatcher

    test = Backtest([RuleVersion(TENANT, rule(limits=Limits(runs=1)), 1, "live", "")], {}, PythonMatcher())
    early = [row for one in customers(3) for row in test.take(one)]
    late = list(test.take(event("evt_9", at=91 * DAY, keys=("cus:cus_9",))))
    assert [row["state"] for row in [*early, *late]] == ["done", "parked", "parked"]
    assert [row["state"] for row in test.finish()] == ["done"]
