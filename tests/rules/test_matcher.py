"""The two matchers: durable-rules in its confined mode agrees with plain Python on everything, and survives misuse."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.dnf import MOST_CHAINS, chains
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


@settings(max_examples=400, deadline=None)
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
@settings(max_examples=4_000, deadline=None)
@given(st.lists(conditions, min_size=1, max_size=20), st.lists(envelopes(), min_size=1, max_size=20))
def test_both_matchers_agree_all_night(found: list[Condition], events: list[dict[str, Any]]) -> None:
    test_both_matchers_agree_on_random_conditions_and_events.hypothesis.inner_test(found, events)  # type: ignore[attr-defined]


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


def test_rules_are_swapped_under_load_without_a_wrong_answer() -> None:
    current = [DurableMatcher(refuse).compile([rule("r0", amount("greater than", 0))])]
    wrong: list[object] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            found = current[0].candidates(PAID, invoice_of(amount=5))
            if len(found) != 1:
                wrong.append(found)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(1, 60):
        old, current[0] = current[0], DurableMatcher(refuse).compile([rule(f"r{number}", amount("greater than", 0))])
        old.close()
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.nightly
def test_thousands_of_swaps_and_evaluations_leave_the_memory_flat() -> None:
    import resource

    def swap(times: int) -> int:
        for number in range(times):
            rules = [rule(f"r{number}-{index}", amount("greater than", index)) for index in range(60)]
            program = DurableMatcher(refuse).compile(rules)
            for value in range(20):
                assert len(program.candidates(PAID, invoice_of(amount=value))) == value
            program.close()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    warm = swap(300)
    assert swap(10_000) - warm < 8_000  # KB


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
