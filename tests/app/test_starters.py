"""The starter library: every rule, with its defaults and with other values, is right and does as it says."""

from __future__ import annotations

import doctest
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app import starters as module
from app.starters import ORDER, Parameter, Starter, find, library, starter, starters
from rules.catalogue import Catalogue
from rules.examples import check_examples
from rules.model import Rule
from rules.rule import check, parse
from rules.texts import walk
from tests.builders import SHARED, services_in_memory

CATALOGUE = Catalogue.load()
ACTIONS = services_in_memory().connectors
TABLE = {row["id"]: row for row in json.loads((SHARED / "data" / "template_fields.json").read_text())}
STARTERS = [pytest.param(one, id=one.id) for one in library()]
ASKED = {"price": "price_free", "text": "https://billing.example.com"}
OTHERS: dict[str, st.SearchStrategy[Any]] = {
    "money": st.integers(1, 10_000_000),
    "span": st.builds("{}{}".format, st.just("PT"), st.integers(2, 71).map("{}H".format)),
    "number": st.integers(1, 60),
    "list": st.lists(st.sampled_from(["lost_card", "expired_card", "fraudulent"]), min_size=1, unique=True),
    "text": st.just("Something else"),
    "long": st.just("Something else\n\nin two paragraphs"),
    "price": st.just("price_2"),
    "connection": st.just("another"),
}


def asked(one: Starter) -> dict[str, Any]:
    """What the editor asks for, because nobody can know it before."""
    return {parameter.name: ASKED[parameter.type] for parameter in one.parameters if parameter.default == ""}


def rule_of(one: Starter, values: dict[str, Any] | None = None) -> Rule:
    document = one.filled({**asked(one), **(values or {})})
    assert check(document, CATALOGUE, ACTIONS) == []
    return parse(document, CATALOGUE, ACTIONS)


# ---- complete -------------------------------------------------------------------------------------------------------
def test_the_library_has_the_starters_that_were_promised() -> None:
    assert sorted(one.number for one in library()) == [1, 2, 3, 4, 5, 7, 8, 9, 11, 14, 15, 16, 17, 18]
    assert [one["id"] for one in starters()] == list(ORDER)


@pytest.mark.parametrize("one", STARTERS)
def test_a_starter_is_right_once_what_it_asks_for_is_filled_in(one: Starter) -> None:
    assert rule_of(one).id == one.id
    assert all([one.document["name"], one.document["why"], one.group])


@pytest.mark.parametrize("one", STARTERS)
def test_with_its_defaults_alone_only_what_it_asks_for_is_missing(one: Starter) -> None:
    errors = [problem for problem in check(one.filled(), CATALOGUE, ACTIONS) if problem.severity == "error"]
    assert len(errors) <= sum(parameter.default == "" for parameter in one.parameters)
    assert all(".with." in problem.path for problem in errors)


@pytest.mark.parametrize("one", STARTERS)
def test_every_parameter_is_used_has_a_label_and_no_hole_is_left(one: Starter) -> None:
    text = json.dumps(one.document)
    for parameter in one.parameters:
        assert f'{{"$": "{parameter.name}"' in text or f"{{${parameter.name}}}" in json.dumps(vars_of(one)), parameter
        assert parameter.label
        assert parameter.type != "connection" or parameter.of
    assert '"$"' not in json.dumps(one.filled())
    assert "{$" not in json.dumps(one.filled(asked(one)))


def vars_of(one: Starter) -> list[Any]:
    return [parameter.default for parameter in one.parameters]


# ---- the table ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("one", STARTERS)
def test_its_triggers_and_stops_are_those_of_the_table(one: Starter) -> None:
    rows = [TABLE[id] for id in (f"T{one.number:02}", f"T{one.number:02}b") if id in TABLE]
    rule = rule_of(one)
    assert set(rule.when.types) == {type for row in rows for type in row["trigger"]}
    listed = {type for row in rows for type in row["exit"]}
    assert {type for stop in rule.stop_when for type in stop.types} <= listed | {"customer.subscription.deleted"}


@pytest.mark.parametrize("one", STARTERS)
def test_it_stops_on_everything_that_the_table_says_but_what_cannot_be_told_to_it(one: Starter) -> None:
    rows = [TABLE[id] for id in (f"T{one.number:02}", f"T{one.number:02}b") if id in TABLE]
    missing = {type for row in rows for type in row["exit"]}
    rule = rule_of(one)
    missing -= {type for stop in rule.stop_when for type in stop.types}
    # no dispute names an invoice (the starter for disputes stops dunning); paying at once would stop its own run
    assert missing == {2: {"charge.dispute.created"}, 5: {"invoice.paid"}}.get(one.number, set())


# ---- examples -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("one", STARTERS)
def test_every_example_holds(one: Starter) -> None:
    assert [result.problem() for result in check_examples(rule_of(one), CATALOGUE) if not result.holds] == []


@pytest.mark.parametrize("one", STARTERS)
def test_there_are_examples_of_firing_of_not_firing_and_of_ending_early(one: Starter) -> None:
    rule = rule_of(one)
    said = [(example["then"], example.get("stands", "")) for example in rule.examples]
    assert "fires" in dict(said)
    assert len(said) >= 3
    assert any(example["then"] == "does not fire" and example.get("because") for example in rule.examples)
    waits = any(hasattr(step, "seconds") for step in walk(rule.steps))
    if rule.stop_when and waits:
        assert {"stopped", "undone"} & {stands for _, stands in said}


@settings(max_examples=12, deadline=None)
@given(st.data())
@pytest.mark.parametrize("one", STARTERS)
def test_the_examples_hold_for_other_values_too(one: Starter, data: st.DataObject) -> None:
    values = {parameter.name: data.draw(OTHERS[parameter.type], parameter.name) for parameter in one.parameters}
    document = one.filled(values)
    assert [problem for problem in check(document, CATALOGUE, ACTIONS) if problem.severity == "error"] == []
    broken = [result.problem() for result in check_examples(parse(document, CATALOGUE), CATALOGUE) if not result.holds]
    assert broken == [], values


# ---- filling in -----------------------------------------------------------------------------------------------------
def test_a_hole_is_reckoned_with_numbers_spans_lists_and_texts() -> None:
    parameters = (
        Parameter("days", "Days", "span", "P7D"),
        Parameter("amount", "Amount", "money", 1000),
        Parameter("codes", "Codes", "list", ["a", "b"]),
        Parameter("link", "Link", "text", ""),
    )
    document = {
        "half": {"$": "days", "times": 0.5},
        "less": {"$": "amount", "plus": -1},
        "share": {"$": "amount", "times": -0.0001, "plus": 1},
        "first": {"$": "codes", "first": True},
        "all": [{"$": "codes"}],
        "text": "at {$link}, {$amount}",
    }
    filled = Starter("x", 0, "", parameters, document).filled({"link": "https://a"})
    expected = {
        "half": "PT84H",
        "less": 999,
        "share": 0.9,
        "first": "a",
        "all": [["a", "b"]],
        "text": "at https://a, 1000",
    }
    assert filled == expected
    assert Starter("x", 0, "", parameters, document).filled({"days": "soon"})["half"] == "soon"


def test_each_filling_is_a_rule_of_its_own() -> None:
    first = find("hard-decline").filled()
    first["steps"].clear()
    assert starter("hard-decline")["steps"]


def test_there_is_no_starter_of_another_name() -> None:
    with pytest.raises(LookupError):
        starter("../secrets")


def test_examples_in_docstrings_are_true() -> None:
    assert doctest.testmod(module).failed == 0
