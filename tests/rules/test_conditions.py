"""Conditions: every operator's meaning, and that the compiled form, the explanation and a naive reader agree."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings

from rules import paths
from rules.conditions import read_condition
from rules.context import Context
from rules.expr import compile_condition, compile_conditions, tree
from rules.model import All, Condition, Test
from rules.reading import Node
from tests.rules import naive
from tests.rules.documents import NOW, conditions, envelopes

Document = dict[str, Any]


def condition(document: Document) -> Condition:
    problems: list[Any] = []
    found = read_condition(Node(document, "only_if", problems), Context(None, None))
    assert not problems, problems
    return found


def invoice(previous: Document | None = None, **fields: Any) -> Document:
    data: Document = {"object": {"object": "invoice", **fields}}
    if previous is not None:
        data["previous_attributes"] = previous
    return {"id": "evt_1", "type": "invoice.updated", "created": NOW, "data": data}


def truth(document: Document, envelope: Document) -> bool:
    """What the compiled condition says; the explanation and the naive reader must say the same."""
    found = condition(document)
    answer = compile_condition(found)(envelope)
    assert tree(found, envelope, "evt_1")["true"] is answer
    assert naive.holds(document, envelope) is answer
    assert (compile_conditions({"a": found, "b": found})(envelope) == {"a", "b"}) is answer
    return answer


def says(operator: str, value: Any, actual: Any) -> bool:
    return truth({"field": "data.object.x", "is": operator, "value": value}, invoice(x=actual))


@pytest.mark.parametrize(
    ("operator", "value", "true_for", "false_for"),
    [
        ("equal to", 5, [5, 5.0], [6, "5", True, None, [5]]),
        ("equal to", 1, [1, 1.0], [True, "1"]),
        ("equal to", "open", ["open"], ["Open", "open ", 5, None, ["open"]]),
        ("equal to", True, [True], [1, "true", False, None]),
        ("not equal to", 5, [6, -5.5], [5, 5.0, "5", True, None]),
        ("not equal to", "open", ["paid", ""], ["open", 5, None]),
        ("not equal to", True, [False], [True, 0, "false", None]),
        ("greater than", 5, [6, 5.1, 2**80], [5, "6", True, None, [6]]),
        ("greater or equal to", 5, [5, 5.0, 6], [4.999, None]),
        ("less than", 5, [4, -1e300], [5, "4", False, None]),
        ("less or equal to", 5, [5, 4], [5.0001, None]),
        ("between", [2, 4], [2, 3, 4.0], [1.9, 4.1, "3", True, None]),
        ("one of", ["a", "b"], ["a", "b"], ["c", None, 1, ["a"]]),
        ("one of", [1, 2], [1, 2.0], [3, "1", True, None]),
        ("none of", ["a", "b"], ["c", ""], ["a", 1, None]),
        ("none of", [1, 2], [3], [1, "3", True, None]),
        ("contains", "ab", ["ab", "cabs", ["x", "ab"]], ["a", "AB", ["xab"], 5, None, {"ab": 1}]),
        ("contains", 5, [[4, 5.0]], [["5"], 5, "5", [[5]], None]),
        ("starts with", "ab", ["ab", "abc"], ["cab", "a", 5, None]),
        ("ends with", "ab", ["ab", "cab"], ["abc", "b", None]),
        ("matches", "^in_[0-9]+$", ["in_12"], ["xin_12", "in_", 5, None]),
        ("matches", "b", ["abc"], ["ac"]),
        ("before", "2026-05-28T00:00:00Z", [1, "2026-05-27"], [1_779_926_400, "2026-05-28", "soon", True, None]),
        ("after", 100, [101, "2026-05-27T10:00:00+02:00"], [100, 99, "101", None]),
        ("in the last", "P1D", [NOW, NOW - 86_400], [NOW + 1, NOW - 86_401, None, "soon"]),
        ("in the next", "P1D", [NOW, NOW + 86_400], [NOW - 1, NOW + 86_401, True]),
    ],
)
def test_each_comparison_means_one_thing(operator: str, value: Any, true_for: list[Any], false_for: list[Any]) -> None:
    assert [actual for actual in true_for if not says(operator, value, actual)] == []
    assert [actual for actual in false_for if says(operator, value, actual)] == []


@pytest.mark.parametrize(
    ("operator", "true_for", "false_for"),
    [
        ("is present", [0, False, "", [], "x"], [None]),
        ("is absent", [None], [0, False, "", []]),
        ("is empty", [None, "", [], {}], [0, False, " ", [None]]),
        ("is true", [True], [1, "true", False, None]),
        ("is false", [False], [0, "", None, True]),
    ],
)
def test_each_question_without_a_value_means_one_thing(
    operator: str, true_for: list[Any], false_for: list[Any]
) -> None:
    asked = {"field": "data.object.x", "is": operator}
    assert [actual for actual in true_for if not truth(asked, invoice(x=actual))] == []
    assert [actual for actual in false_for if truth(asked, invoice(x=actual))] == []


def test_a_missing_field_is_absent_and_empty_and_nothing_else() -> None:
    nothing = invoice()
    assert truth({"field": "data.object.x", "is": "is absent"}, nothing)
    assert truth({"field": "data.object.x.y.z", "is": "is empty"}, nothing)
    for operator, value in (("equal to", 1), ("not equal to", 1), ("none of", ["a"]), ("less than", 1)):
        assert not truth({"field": "data.object.x", "is": operator, "value": value}, nothing)
    for operator in ("any item", "all items", "no item"):
        assert not truth(
            {"field": "data.object.x", "is": operator, "where": {"field": "a", "is": "is absent"}}, nothing
        )


def test_nothing_comes_after_a_text_or_a_list_in_a_path() -> None:
    assert truth({"field": "data.object.x.y", "is": "is absent"}, invoice(x="text"))
    assert truth({"field": "data.object.x.y", "is": "is absent"}, invoice(x=[{"y": 1}]))


def test_metadata_keys_with_dots_are_keys_and_not_paths() -> None:
    asked = All((Test("", paths.split('data.object.metadata["a.b"]'), "equal to", 1),))
    assert compile_condition(asked)(invoice(metadata={"a.b": 1}))
    assert not compile_condition(asked)(invoice(metadata={"a": {"b": 1}}))


def test_changed_reads_what_the_event_says_was_there_before() -> None:
    became_active = invoice({"status": "trialing"}, status="active")
    assert truth({"field": "data.object.status", "is": "changed"}, became_active)
    assert truth({"field": "data.object.status", "is": "changed from", "value": "trialing"}, became_active)
    assert truth({"field": "data.object.status", "is": "changed to", "value": "active"}, became_active)
    assert not truth({"field": "data.object.status", "is": "changed to", "value": "trialing"}, became_active)
    assert not truth({"field": "data.object.status", "is": "changed"}, invoice(status="active"))
    assert not truth(
        {"field": "data.object.status", "is": "changed to", "value": "active"}, invoice({}, status="active")
    )


def test_a_field_inside_an_object_that_was_not_there_before_changed() -> None:
    asked = {"field": "data.object.pause.behavior", "is": "changed"}
    assert truth(asked, invoice({"pause": None}, pause={"behavior": "void"}))
    assert not truth(asked, invoice({"pause": None}, pause={"behavior": None}))
    assert not truth(asked, invoice({"pause": {"resumes_at": 5}}, pause={"behavior": "void", "resumes_at": 6}))
    assert truth(asked, invoice({"pause": {"behavior": "keep"}}, pause={"behavior": "void"}))


def test_another_field_may_stand_on_the_right_side_with_simple_arithmetic() -> None:
    asked = {"field": "data.object.paid", "is": "less than", "value": {"field": "data.object.due", "times": 0.5}}
    assert truth(asked, invoice(paid=49, due=100))
    assert not truth(asked, invoice(paid=50, due=100))
    assert not truth(asked, invoice(paid=49, due=None))
    assert not truth(asked, invoice(paid=49, due="100"))
    later = {"field": "data.object.a", "is": "after", "value": {"field": "data.object.b", "plus": 60}}
    assert truth(later, invoice(a=161, b=100))
    assert not truth(later, invoice(a=160, b=100))


def test_arithmetic_on_a_number_too_large_is_false_and_no_error() -> None:
    asked = {"field": "data.object.a", "is": "less than", "value": {"field": "data.object.b", "times": 0.5}}
    found = condition(asked)
    assert compile_condition(found)(invoice(a=1, b=10**400)) is False
    assert tree(found, invoice(a=1, b=10**400), "evt_1")["true"] is False


def test_items_of_a_list_are_judged_one_by_one() -> None:
    dear = {"field": "amount", "is": "greater than", "value": 100}

    def asked(operator: str) -> Document:
        return {"field": "data.object.lines.data", "is": operator, "where": dear}

    mixed = invoice(lines={"data": [{"amount": 50}, {"amount": 150}, "odd", None]})
    assert truth(asked("any item"), mixed)
    assert not truth(asked("all items"), mixed)
    assert not truth(asked("no item"), mixed)
    empty = invoice(lines={"data": []})
    assert [truth(asked(operator), empty) for operator in ("any item", "all items", "no item")] == [False, True, True]
    assert not truth(asked("no item"), invoice(lines={"data": "text"}))


def test_a_condition_on_items_may_look_at_the_event_too() -> None:
    half = {"field": "amount", "is": "greater than", "value": {"field": "data.object.total", "times": 0.5}}
    asked = {"field": "data.object.lines.data", "is": "any item", "where": half}
    assert truth(asked, invoice(total=100, lines={"data": [{"amount": 60}]}))
    assert not truth(asked, invoice(total=200, lines={"data": [{"amount": 60}]}))


@settings(max_examples=400, deadline=None)
@given(conditions(), envelopes())
def test_compiled_explained_and_naive_readings_agree(document: Document, envelope: Document) -> None:
    truth(document, envelope)


@pytest.mark.nightly
@settings(max_examples=20_000, deadline=None)
@given(conditions(), envelopes())
def test_readings_agree_all_night(document: Document, envelope: Document) -> None:
    truth(document, envelope)


# ---- the explanation ------------------------------------------------------------------------------------------------
def explain(document: Document, envelope: Document) -> Document:
    return tree(condition(document), envelope, "evt_1")


def test_a_test_shows_what_was_needed_what_was_there_and_where() -> None:
    node = explain(
        {"field": "data.object.total", "is": "greater than", "value": 500}, invoice(total=400, currency="jpy")
    )
    assert node["kind"] == "test"
    assert node["text"] == "the total is more than ¥500"
    assert (node["needed"], node["actual"], node["true"], node["note"]) == (500, 400, False, None)
    assert node["from"] == {"event": "evt_1", "path": "data.object.total"}


@pytest.mark.parametrize(
    ("fields", "note"),
    [
        ({}, "missing"),
        ({"x": None}, "null"),
        ({"x": "5"}, "a number was needed, this is text"),
        ({"x": True}, "a number was needed, this is true or false"),
        ({"x": 4}, None),
    ],
)
def test_missing_null_and_wrong_type_are_told_apart(fields: Document, note: str | None) -> None:
    node = explain({"field": "data.object.x", "is": "greater than", "value": 5}, invoice(**fields))
    assert (node["true"], node["note"]) == (False, note)


def test_what_no_longer_mattered_is_marked_and_still_shown() -> None:
    parts = [{"field": f"data.object.{name}", "is": "is present"} for name in ("a", "b", "c")]
    node = explain({"all": parts}, invoice(a=1, c=3))
    assert [(part["true"], part["skipped"]) for part in node["parts"]] == [(True, False), (False, False), (True, True)]
    node = explain({"any": parts}, invoice(b=2))
    assert [(part["true"], part["skipped"]) for part in node["parts"]] == [(False, False), (True, False), (False, True)]


def test_the_explanation_of_a_list_counts_its_items() -> None:
    asked = {
        "field": "data.object.lines.data",
        "is": "any item",
        "where": {"field": "amount", "is": "equal to", "value": 1},
    }
    node = explain(asked, invoice(currency="usd", lines={"data": [{"amount": n % 2} for n in range(30)]}))
    assert (node["true"], node["note"], len(node["parts"])) == (True, "15 of 30 items", 20)
    assert node["parts"][1]["text"] == "the amount is $0.01"


# ---- hostile and large ----------------------------------------------------------------------------------------------
def test_a_hostile_pattern_costs_nothing() -> None:
    found = condition({"field": "data.object.x", "is": "matches", "value": "(((a?){20}){20})$"})
    check, text = compile_condition(found), invoice(x="a" * 20_000 + "b")
    began = time.perf_counter()
    check(text)
    assert time.perf_counter() - began < 1.0


def test_text_with_half_a_surrogate_pair_matches_nothing() -> None:
    assert not compile_condition(condition({"field": "data.object.x", "is": "matches", "value": "."}))(
        invoice(x="\ud800")
    )


def test_many_conditions_are_one_function_that_reads_each_field_once() -> None:
    many = {
        n: condition(
            {
                "all": [
                    {"field": "data.object.total", "is": "greater than", "value": n},
                    {"field": "data.object.status", "is": "equal to", "value": "open"},
                ]
            }
        )
        for n in range(1000)
    }
    check = compile_conditions(many)
    assert check(invoice(total=3, status="open")) == {0, 1, 2}
    assert check(invoice(total=3, status="paid")) == set()
