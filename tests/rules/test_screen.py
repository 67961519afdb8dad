"""The quick way of a backtest gives the rows of the plain one, whatever the rules, the history and what is cut off."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.backtest import Backtest, backtest
from rules.columns import pruned, reads_of, slim_of
from rules.event import Event
from rules.expr import compile_condition
from rules.matcher import PythonMatcher
from rules.model import Again, Aggregate, Cap, Do, If, Limits, Rule, RuleVersion, Span, Stop, Test, Undo, Wait, When
from rules.rule import parse
from tests.rules import documents
from tests.rules.world import START, TENANT, event, rule

AMOUNT = ("data", "object", "amount")
POSITIVE = Test("data.object.amount", AMOUNT, "greater than", 0)
TELL = Do("tell", "crm.notify", {"connection": "crm"})
CAME = Test("step.hear.ended_by", ("step", "hear", "ended_by"), "equal to", "t.b")
TWICE = When(("t.a",), "customer", at_least=2, within=10)
HEAR = Wait("hear", for_event=(Stop(("t.b",), "customer"),), at_most=3)
LADDERS = (
    (TELL,),
    (TELL, Wait("nap", seconds=2), Do("mail", "mail.send", {"connection": "m"})),
    (TELL, Do("end", "runs.stop", {"tag": "x", "same": "customer"})),
    (HEAR, If("came", CAME, (TELL,), (Do("late", "crm.notify", {}),))),
)


@st.composite
def whens(draw: st.DrawFn) -> When:
    kind = draw(st.sampled_from(["each", "at least", "distinct values", "aggregate", "then", "absence", "first"]))
    within = draw(st.integers(1, 8))
    more: dict[str, Any] = {"ignore_own": draw(st.booleans())}
    if kind not in ("each", "absence", "first"):
        more["start_again_after"] = draw(st.sampled_from([(), (), ("t.c",), ("t.b", "t.c")]))
    if kind in ("at least", "distinct values"):
        more |= {"at_least": draw(st.integers(1, 4)), "within": within}
    if kind == "distinct values":
        more["counting"] = "data.object.amount"
    if kind == "aggregate":
        of = draw(st.sampled_from(["sum", "average", "min", "max", "distinct"]))
        operator = draw(st.sampled_from(["greater or equal to", "less than"]))
        more |= {"aggregate": Aggregate(of, "amount", AMOUNT, operator, draw(st.integers(0, 5))), "within": within}
    if kind == "then":
        more["then"] = Span(draw(st.sampled_from([("t.b",), ("t.a",), ("t.a", "t.c")])), within)
    if kind == "absence":
        more["and_not"] = Span(draw(st.sampled_from([("t.b",), ("t.a",), ("t.b", "t.c")])), within)
    if kind == "first":
        more["first"] = True
    return When(
        draw(st.sampled_from([("t.a",), ("t.a", "t.b")])), draw(st.sampled_from(["customer", "subscription"])), **more
    )


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    found = []
    for index in range(draw(st.integers(1, 9))):
        keys = [f"cus:cus_{draw(st.integers(1, 2))}"]
        if draw(st.integers(0, 5)):
            keys.append(f"sub:sub_{draw(st.integers(1, 2))}")
        fields = {} if draw(st.integers(0, 6)) == 0 else {"amount": draw(st.integers(0, 3))}
        own = "run_1/retry" if draw(st.integers(0, 5)) == 0 else None
        type = draw(st.sampled_from(["t.a", "t.a", "t.b", "t.c"]))
        found.append(event(f"evt_{index}", type, draw(st.integers(0, 12)), keys, causation=own, **fields))
    return found


@st.composite
def rules(draw: st.DrawFn, id: str) -> Rule:
    """A rule of any form, over the events of `histories`, with what counts over runs and rules."""
    stops = draw(st.sampled_from([(), (Stop(("t.b",), "subscription"),), (Stop(("t.c",), "customer"),)]))
    return rule(
        id,
        draw(whens()),
        draw(st.sampled_from(LADDERS)),
        draw(st.sampled_from([POSITIVE, None])),
        stop_when=stops,
        again=draw(st.sampled_from([Again(), Again(True, 0), Again(False, 3), Again(True, None)])),
        limits=draw(st.sampled_from([None, Limits(runs=1, per=4), Limits(money={"usd": 3}, per=5)])),
        caps=draw(st.sampled_from([(), (Cap("crm", 1, 3),)])),
        undo=draw(st.sampled_from([None, None, Undo(("t.c",), "customer", 6)])),
        holdout=draw(st.sampled_from([0.0, 0.0, 0.5])),
        never_for=draw(st.sampled_from([(), ("vip",)])),
        tags=("x",),
        money="data.object.amount",
    )


def versions_of(*found: Rule) -> list[RuleVersion]:
    return [RuleVersion(TENANT, one, 1, "live", "") for one in found]


def slim_rows(versions: list[RuleVersion], history: list[Event], lists: Any) -> list[Any]:
    """The rows when only what the rules read is fed, and whole events are fetched."""
    whole = {one.id: one for one in history}
    reads = reads_of([version.rule for version in versions])
    assert not reads.whole
    test = Backtest(versions, lists, PythonMatcher(), fetch=whole.get)
    found: list[Any] = []
    for one in history:
        found += test.feed(slim_of(one, test.reads.paths.get(one.type, ())))
    return [*found, *test.finish()]


def check(both: tuple[Rule, Rule], history: list[Event]) -> int:
    history = sorted(history, key=lambda one: (one.created, one.id))
    versions, lists = versions_of(*both), {"vip": ["cus_2"]}
    plain = list(backtest(versions, history, lists=lists, screened=False))
    assert list(backtest(versions, history, lists=lists)) == plain
    assert slim_rows(versions, history, lists) == plain
    return len(plain)


def squeezed(history: list[Event]) -> list[Event]:
    """The same in a third of the time: many share a second, and more falls on the edges of windows."""
    return [replace(one, created=START + (one.created - START) // 3) for one in history]


@settings(max_examples=500, deadline=None)
@given(st.tuples(rules("a"), rules("b")), histories())
def test_screened_and_cut_down_it_finds_the_rows_of_the_plain_way(
    both: tuple[Rule, Rule], history: list[Event]
) -> None:
    check(both, history)
    check(both, squeezed(history))


@pytest.mark.nightly
@settings(max_examples=10_000, deadline=None)
@given(st.tuples(rules("a"), rules("b")), histories())
def test_screened_and_cut_down_it_finds_them_all_night(both: tuple[Rule, Rule], history: list[Event]) -> None:
    check(both, history)
    check(both, squeezed(history))


@settings(max_examples=300, deadline=None)
@given(documents.conditions(), documents.envelopes())
def test_a_condition_reads_the_same_in_an_envelope_cut_down_to_it(condition: Any, envelope: Any) -> None:
    document = {"id": "r", "name": "r", "when": {"event": ["invoice.updated"]}, "only_if": condition}
    one = parse({**document, "steps": [{"name": "s", "stop": "x"}]})
    reads = reads_of([one])
    holds = compile_condition(one.only_if)
    if not reads.whole:
        assert holds(pruned(envelope, reads.paths["invoice.updated"])) == holds(envelope)


@pytest.mark.parametrize(
    ("only_if", "why"),
    [
        ({"field": "fact.customer.mrr", "is": "greater than", "value": 5}, "fact.customer.mrr"),
        (
            {
                "all": [
                    {"field": "data.object.parent.subscription_details", "is": "is present"},
                    {"field": "data.object.parent.subscription_details.subscription", "is": "is present"},
                ]
            },
            "together with what holds it",
        ),
    ],
)
def test_what_cannot_be_cut_down_says_why_and_is_read_whole(only_if: Any, why: str) -> None:
    document = {"id": "r", "name": "r", "when": {"event": ["invoice.paid"], "same": "customer"}, "only_if": only_if}
    one = parse({**document, "steps": [{"name": "s", "stop": "x"}]})
    assert why in reads_of([one]).whole
    assert why in Backtest(versions_of(one), {}, PythonMatcher()).plain


def test_only_what_may_matter_is_decided_about() -> None:
    test = Backtest(versions_of(rule(when=TWICE)), {}, PythonMatcher())
    for number in range(100):
        list(test.take(event(f"evt_{number:03}", at=number, keys=(f"cus:cus_{number // 2}",))))
    assert (test.fed, test.decided) == (100, 50)


def test_a_history_out_of_order_is_decided_about_event_by_event() -> None:
    history = [event("evt_1", at=5), event("evt_2", at=1)]
    test = Backtest(versions_of(rule(when=TWICE)), {}, PythonMatcher())
    found = [row for one in history for row in test.take(one)] + list(test.finish())
    assert [row["events"] for row in found] == [["evt_2", "evt_1"]]
    assert test.plain == "the history is not in order"


@pytest.mark.parametrize(("apart", "runs"), [(10, 1), (11, 0)])
def test_both_ends_of_a_window_belong_to_it(apart: int, runs: int) -> None:
    history = [event("evt_1"), event("evt_2", at=apart)]
    assert check((rule("a", when=TWICE), rule("b", when=When(("t.z",), "customer"))), history) == runs


def test_a_trigger_that_is_completed_in_its_own_second_is_read_whole() -> None:
    """B stands first in its second, and A after it makes it a match: its money is not among what conditions read."""
    when = When(("t.a",), "customer", then=Span(("t.b",), 10))
    history = [event("evt_1", "t.b", currency="usd", amount_remaining=700), event("evt_2")]
    versions = versions_of(rule(when=when))
    (row,) = slim_rows(versions, history, {})
    assert (row["trigger"], row["money"]) == ("evt_1", {"usd": 700})
