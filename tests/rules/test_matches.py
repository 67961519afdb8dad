"""Matches are a function of the set of events: whatever the order, duplicates and lateness of deliveries."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.event import Event
from rules.matcher import Matcher, PythonMatcher
from rules.model import Again, Aggregate, Span, Test, When
from rules.rete import DurableMatcher
from tests.rules import reference
from tests.rules.world import World, event, rule

EVERY_TIME = Again(while_open=True, after=0)
AMOUNT = ("data", "object", "amount")
POSITIVE = Test("data.object.amount", AMOUNT, "greater than", 0)


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
        if draw(st.booleans()):
            fields["currency"] = draw(st.sampled_from(["usd", "eur"]))
        own = "run_1/retry" if draw(st.integers(0, 5)) == 0 else None
        type = draw(st.sampled_from(["t.a", "t.a", "t.b", "t.c"]))
        found.append(event(f"evt_{index}", type, draw(st.integers(0, 12)), keys, causation=own, **fields))
    return found


def check(when: When, history: list[Event], order: list[Event], matcher: Matcher) -> None:
    world = World(rule(when=when, only_if=POSITIVE, again=EVERY_TIME), matcher=matcher)
    world.deliver(*order)
    prefix = {"customer": "cus", "subscription": "sub"}[when.same or "customer"]
    expected = reference.matches(when, history, prefix, lambda one: one.data["data"]["object"].get("amount", 0) > 0)
    assert world.matches([one.id for one in order]) == {("rule", *match) for match in expected}


@settings(max_examples=600, deadline=None)
@given(whens(), histories(), st.randoms(use_true_random=False))
def test_matches_are_the_references_whatever_the_order_and_duplicates(
    when: When, history: list[Event], chance: random.Random
) -> None:
    order = history + chance.sample(history, len(history) // 2)
    chance.shuffle(order)
    check(when, history, order, PythonMatcher())


@settings(max_examples=60, deadline=None)
@given(whens(), histories(), st.randoms(use_true_random=False))
def test_durable_rules_finds_the_same_matches(when: When, history: list[Event], chance: random.Random) -> None:
    order = list(history)
    chance.shuffle(order)
    check(when, history, order, DurableMatcher())


@pytest.mark.nightly
@settings(max_examples=20_000, deadline=None)
@given(whens(), histories(), st.randoms(use_true_random=False))
def test_matches_are_the_references_all_night(when: When, history: list[Event], chance: random.Random) -> None:
    order = history + chance.sample(history, len(history) // 2)
    chance.shuffle(order)
    check(when, history, order, PythonMatcher())


@settings(max_examples=150, deadline=None)
@given(whens(), histories(), st.randoms(use_true_random=False))
def test_the_same_log_gives_the_same_documents(when: When, history: list[Event], chance: random.Random) -> None:
    chance.shuffle(history)
    worlds = [World(rule(when=when, only_if=POSITIVE)) for _ in range(2)]
    for world in worlds:
        world.deliver(*history)
    for kind in ("event", "run", "command", "memory"):
        first, second = ([(one.id, one.body) for one in world.documents(kind)] for world in worlds)
        assert first == second
