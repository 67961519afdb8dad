"""The two matchers: durable-rules in its confined mode agrees with plain Python on everything, and survives misuse."""

from __future__ import annotations

import random
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import steady
from rules.dnf import MOST_CHAINS, chains
from rules.expr import compile_condition
from rules.fields import read
from rules.guards import Texts, box_of, grow
from rules.matcher import PythonMatcher, choose_matcher
from rules.model import All, Any_, Condition, Not, Rule, Test, When
from rules.rete import DurableMatcher, _Handle
from tests.rules.conditions import conditions, envelopes

PAID = "invoice.paid"
AMOUNT = ("data", "object", "amount")
REASON = ("data", "object", "billing_reason")


def rule(id: str, condition: Condition, types: tuple[str, ...] = (PAID,), **when: Any) -> Rule:
    return Rule(id, id, When(types, "customer", **when), (), {"id": id}, only_if=condition)


def invoice_of(**fields: Any) -> dict[str, Any]:
    return {"id": "evt_1", "type": PAID, "created": 1, "data": {"object": fields}}


def amount(operator: str, value: Any) -> Test:
    return Test("data.object.amount", AMOUNT, operator, value)


def refuse(text: str) -> None:
    raise AssertionError(text)


def both(rules: list[Rule]) -> tuple[Any, Any]:
    return DurableMatcher(refuse).compile(rules), PythonMatcher().compile(rules)


@settings(max_examples=200, deadline=None)
@given(st.lists(conditions, min_size=1, max_size=8), st.lists(envelopes(), min_size=1, max_size=8))
def test_both_matchers_agree_on_random_conditions_and_events(
    found: list[Condition], events: list[dict[str, Any]]
) -> None:
    durable, python = both([rule(f"r{index}", condition) for index, condition in enumerate(found)])
    try:
        for event in events:
            assert durable.candidates(PAID, event) == python.candidates(PAID, event)
    finally:
        durable.close()


@pytest.mark.nightly
@pytest.mark.timeout(7200)
@settings(max_examples=40_000, deadline=None)
@given(st.lists(conditions, min_size=1, max_size=8), st.lists(envelopes(), min_size=1, max_size=8))
def test_both_matchers_agree_all_night(found: list[Condition], events: list[dict[str, Any]]) -> None:
    test_both_matchers_agree_on_random_conditions_and_events.hypothesis.inner_test(found, events)  # type: ignore[attr-defined]


# ---- many rules at once ---------------------------------------------------------------------------------------------
def crowd(chance: random.Random, count: int) -> list[Condition]:
    """Conditions that need this text and that number: enough of them for every kind of guard (rules.guards)."""
    return [_crowded(chance) for _ in range(count)]


def _crowded(chance: random.Random) -> Condition:
    low, text = chance.randint(-3, 40), chance.choice(("a", "b", "c", "d", ""))
    parts: list[Condition] = [
        Test("x", REASON, "equal to", text),
        Test("x", REASON, "one of", tuple(chance.sample(("a", "b", "c", "d"), 2))),
        amount("between", (low, low + chance.randint(-1, 6))),
        amount(chance.choice(("greater than", "greater or equal to", "less than", "less or equal to")), low),
        amount("equal to", low),
        amount("one of", (low, low + 5)),
        amount("not equal to", low),
        Any_((amount("equal to", low), amount("less than", low - 2))),
        Not(Test("x", REASON, "equal to", text)),
        All((Test("x", REASON, "equal to", text), amount("less than", low))),
        Test("x", REASON, "contains", text),
        Test("x", ("data", "object", "paid"), "is true"),
    ]
    return All(tuple(chance.sample(parts, chance.randint(0, 3))))


VALUES = (None, 0, 1, 5.0, 17, 23.5, 39, 41, -3, "5", True, 2**60, 1e-7, float("nan"))


@pytest.mark.parametrize("count", [30, 90, 400])
@pytest.mark.parametrize("seed", range(4))
def test_of_many_rules_at_once_both_matchers_find_those_that_hold(count: int, seed: int) -> None:
    chance = random.Random(seed * 1000 + count)
    found = crowd(chance, count)
    durable, python = both([rule(f"r{index}", condition) for index, condition in enumerate(found)])
    alone = {f"r{index}": compile_condition(condition) for index, condition in enumerate(found)}
    for value in VALUES:
        for text in ("a", "c", "", "zz", None, 5):
            event = invoice_of(amount=value, billing_reason=text, paid=chance.random() < 0.5)
            wanted = {id for id, holds in alone.items() if holds(event)}
            assert python.candidates(PAID, event) == wanted
            assert durable.candidates(PAID, event) == wanted
    durable.close()


@settings(max_examples=300, deadline=None)
@given(conditions, envelopes())
def test_what_a_condition_needs_is_true_wherever_it_holds(condition: Condition, envelope: dict[str, Any]) -> None:
    if compile_condition(condition)(envelope):
        for path, need in box_of(condition).items():
            value = read(envelope, path)
            assert value in need.values if isinstance(need, Texts) else need.low <= value <= need.high


def test_one_event_meets_few_of_many_rules_that_need_different_amounts() -> None:
    ranges = [(f"r{n}", box_of(amount("between", (n * 10, n * 10 + 9)))) for n in range(1000)]
    group = grow(ranges, 8)
    assert group.items == ()
    assert max(len(leaf) for leaf in group.leaves()) <= 8
    assert sorted(id for leaf in group.leaves() for id in leaf) == sorted(id for id, _ in ranges)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(
        ["greater than", "greater or equal to", "less than", "less or equal to", "equal to", "not equal to"]
    ),
    st.one_of(st.integers(-5, 5), st.floats(-5, 5), st.integers(2**53, 2**70)),
    st.one_of(st.integers(-5, 5), st.floats(-5, 5), st.integers(2**53, 2**70)),
)
def test_both_matchers_agree_on_numbers_that_reach_a_bound(operator: str, needed: float, number: float) -> None:
    from rules.model import Aggregate

    aggregate = Aggregate("sum", "data.object.amount", AMOUNT, operator, needed)
    durable, python = both([rule("r", All(()), aggregate=aggregate, within=60)])
    assert durable.reached({"r": number}) == python.reached({"r": number})
    assert durable.match(PAID, invoice_of(), {"r": number}) == python.match(PAID, invoice_of(), {"r": number})
    durable.close()


def test_a_rule_that_needs_a_number_does_not_match_without_it() -> None:
    for program in both([rule("each", All(())), rule("twice", All(()), at_least=2, within=60)]):
        assert program.candidates(PAID, invoice_of()) == {"each", "twice"}
        assert program.match(PAID, invoice_of(), {}) == {"each"}
        assert program.match(PAID, invoice_of(), {"twice": 1}) == {"each"}
        assert program.match(PAID, invoice_of(), {"twice": 2}) == {"each", "twice"}
        assert [bound.slot for bound in program.needs(PAID)] == ["twice"]
        program.close()


def test_a_thousand_rules_on_one_event_type_all_answer() -> None:
    rules = [
        rule(f"r{index}", All((amount("greater than", index), amount("not equal to", 5)))) for index in range(1000)
    ]
    for program in both(rules):
        assert len(program.candidates(PAID, invoice_of(amount=700))) == 700
        assert len(program.candidates(PAID, invoice_of(amount=5))) == 0
        program.close()


def test_handles_whose_equality_cannot_hold_are_skipped() -> None:
    rules = [
        rule(f"r{index}", All((Test("x", REASON, "equal to", f"reason {index}"), amount("greater than", 0))))
        for index in range(300)
    ]
    program = DurableMatcher(refuse).compile(rules)
    asked: list[int] = []
    for index, handle in enumerate(program._types[PAID].handles):
        handle.fire = _counting(handle, index, asked)  # type: ignore[method-assign]
    assert program.candidates(PAID, invoice_of(amount=1, billing_reason="reason 7")) == {"r7"}
    assert len(asked) == 1
    assert program.candidates(PAID, invoice_of(amount=1, billing_reason="none of them")) == frozenset()
    assert len(asked) == 1


def _counting(handle: _Handle, index: int, asked: list[int]) -> Any:
    fire = type(handle).fire

    def counted(texts: Any) -> set[str]:
        asked.append(index)
        return fire(handle, texts)

    return counted


def test_a_condition_that_would_need_too_many_chains_is_answered_by_python() -> None:
    pairs = tuple(Any_((amount("equal to", n), Test("x", REASON, "equal to", str(n)))) for n in range(10))
    predicates: dict[Any, Condition] = {}
    assert len(chains(All(pairs), predicates)) == 1
    assert len(predicates) == 1
    assert all(len(chains(pair, {})) <= MOST_CHAINS for pair in pairs)
    durable, python = both([rule("wide", All(pairs)), rule("not wide", Not(All(pairs)))])
    for event in (invoice_of(amount=3, billing_reason="3"), invoice_of()):
        assert durable.candidates(PAID, event) == python.candidates(PAID, event)
    durable.close()


def test_an_event_with_reserved_names_and_huge_numbers_is_answered_right() -> None:
    condition = All((Test("x", ("data", "object", "$s"), "equal to", 1), amount("greater than", 2**60)))
    for program in both([rule("r", condition)]):
        assert program.candidates(PAID, invoice_of(**{"$s": 1, "amount": 10**25, "sid": "1"})) == {"r"}
        program.close()


def test_a_broken_handle_is_thrown_away_and_python_answers() -> None:
    said: list[str] = []
    program = DurableMatcher(said.append).compile([rule("r", amount("greater than", 0))])
    handle = program._types[PAID].handles[0]
    from rules.rete import engine

    engine.assert_fact(handle._handle, '{"id":"1","sid":"1","k":1,"n0":5}')  # never retracted: its id is taken
    assert program.candidates(PAID, invoice_of(amount=1)) == {"r"}
    assert "the Python matcher answered" in said[0]
    assert program.candidates(PAID, invoice_of(amount=1)) == {"r"}
    assert len(said) == 1
    program.close()


def test_a_program_that_was_closed_still_answers_right() -> None:
    program = DurableMatcher(refuse).compile([rule("r", amount("greater than", 0)), rule("n", All(()), at_least=2)])
    program.close()
    program.close()
    assert program.candidates(PAID, invoice_of(amount=1)) == {"r", "n"}
    assert program.reached({"n": 2}) == {"n"}


@pytest.mark.parametrize("engine", [PythonMatcher(), DurableMatcher(refuse)])
def test_a_change_of_one_rule_compiles_the_rules_of_its_event_types_only(engine: Any) -> None:
    others = [rule(f"o{n}", amount("greater than", n), ("invoice.voided",)) for n in range(5)]
    before = engine.compile([*others, rule("r", amount("greater than", 0))])
    assert before.candidates("invoice.voided", invoice_of(amount=3)) == {"o0", "o1", "o2"}
    after = engine.compile([*others, rule("r", amount("greater than", 9))], before)
    if engine.name == "durable":
        assert after._types["invoice.voided"] is before._types["invoice.voided"]
        assert after._types[PAID] is not before._types[PAID]
    else:
        assert after._holding["invoice.voided"] is before._holding["invoice.voided"]
    before.close()
    assert after.candidates("invoice.voided", invoice_of(amount=3)) == {"o0", "o1", "o2"}
    assert after.candidates(PAID, invoice_of(amount=5)) == frozenset()
    assert before.candidates(PAID, invoice_of(amount=5)) == {"r"}  # who still holds it gets right answers
    assert after.revision == engine.compile([*others, rule("r", amount("greater than", 9))]).revision
    after.close()


@pytest.mark.parametrize("seed", range(3))
def test_a_program_made_by_many_changes_is_as_one_made_at_once(seed: int) -> None:
    chance = random.Random(seed)
    rules = {f"r{n}": rule(f"r{n}", _crowded(chance), (chance.choice((PAID, "t.a")),)) for n in range(40)}
    program = DurableMatcher(refuse).compile(list(rules.values()))
    for _ in range(25):
        id = f"r{chance.randrange(45)}"
        rules.pop(id, None)
        if chance.random() < 0.8:
            more = {"at_least": chance.randint(1, 3), "within": 60} if chance.random() < 0.5 else {}
            rules[id] = rule(id, _crowded(chance), (chance.choice((PAID, "t.a", "t.b")),), **more)
        program, old = DurableMatcher(refuse).compile(list(rules.values()), program), program
        old.close()
        fresh = PythonMatcher().compile(list(rules.values()))
        for type in (PAID, "t.a", "t.b"):
            event = invoice_of(amount=chance.randint(-3, 40), billing_reason=chance.choice("abcd"))
            numbers = {id: chance.randint(0, 3) for id in rules}
            assert program.match(type, event, numbers) == fresh.match(type, event, numbers)
    program.close()


def test_rule_sets_are_swapped_under_load_without_a_wrong_answer() -> None:
    found = steady.swaps(150)
    assert found["asked"] > 100
    assert found["wrong"] == 0


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_ten_thousand_swaps_under_load_leave_the_memory_flat() -> None:
    found = steady.swaps(10_000)
    assert found["wrong"] == 0
    assert found["end"] - found["warm"] < 8  # MB


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_a_million_decisions_leave_the_memory_flat() -> None:
    found = steady.decisions(1_000_000)
    assert found["end"] - found["warm"] < 8  # MB


def test_the_same_rules_have_the_same_revision_and_others_another() -> None:
    first, second = both([rule("a", All(())), rule("b", All(()))])
    again = DurableMatcher().compile([rule("b", All(())), rule("a", All(()))])
    assert first.revision == again.revision
    assert first.revision != second.revision != PythonMatcher().compile([rule("a", All(()))]).revision


def test_auto_falls_back_to_python_in_one_line_where_the_extension_is_missing() -> None:
    code = (
        "import sys; sys.modules['durable_rules_engine'] = None\n"
        "from rules.matcher import choose_matcher\n"
        "said = []\n"
        "assert choose_matcher('auto', said.append).name == 'python'\n"
        "assert len(said) == 1 and 'plain-Python' in said[0] and '\\n' not in said[0], said\n"
        "try: choose_matcher('durable')\n"
        "except ImportError: print('refused')\n"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert answer.stdout.strip() == "refused", answer.stderr


def test_the_matcher_is_chosen_by_name() -> None:
    assert choose_matcher("auto").name == "durable"
    assert choose_matcher("durable").name == "durable"
    assert choose_matcher("python").name == "python"
    with pytest.raises(ValueError, match="auto, durable or python"):
        choose_matcher("drools")
