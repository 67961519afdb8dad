"""Golden cases of the language: what legal rules read as, how bad documents are refused, what conditions say of events.

The cases are the language's memory: a change that alters one of them changes what operators' rules mean.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rules import english
from rules.catalogue import Catalogue
from rules.conditions import read_condition
from rules.context import Context
from rules.examples import check_examples
from rules.expr import compile_condition, tree
from rules.reading import Node
from rules.rule import RuleError, check, parse

Case = dict[str, Any]
HERE = Path(__file__).parent


def cases(name: str) -> list[Any]:
    found: list[Case] = json.loads((HERE / f"{name}.json").read_text())
    return [pytest.param(case, id=case["about"]) for case in found]


@pytest.mark.parametrize("case", cases("legal"))
def test_a_legal_rule_reads_as_it_always_did(case: Case) -> None:
    catalogue = Catalogue.load()
    assert check(case["document"], catalogue, None) == []
    rule = parse(case["document"], catalogue)
    assert [sentence["text"] for sentence in english.sentences(rule, catalogue)] == case["reads"]
    assert parse(json.loads(json.dumps(rule.document))) == rule


@pytest.mark.parametrize("case", cases("refused"))
def test_a_bad_document_is_refused_with_every_problem_at_its_place(case: Case) -> None:
    catalogue = Catalogue.load()
    assert [problem.body() for problem in check(case["document"], catalogue, None)] == case["problems"]
    with pytest.raises(RuleError):
        parse(case["document"], catalogue)


@pytest.mark.parametrize("case", cases("conditions"))
def test_a_condition_says_the_same_of_the_same_events(case: Case) -> None:
    condition = read_condition(Node(case["condition"], "", []), Context(None, None))
    for event in case["events"]:
        envelope = {
            "id": "evt_1",
            "type": "invoice.updated",
            "created": 1_780_000_000,
            "data": {"object": event["object"]},
        }
        assert compile_condition(condition)(envelope) is event["true"]
        assert notes(tree(condition, envelope, "evt_1")) == event["notes"]


def notes(node: Case) -> list[str | None]:
    if node["kind"] == "test":
        return [node["note"]]
    return [note for part in node["parts"] for note in notes(part)]


@pytest.mark.parametrize("case", cases("examples"))
def test_an_example_comes_out_as_it_always_did(case: Case) -> None:
    catalogue = Catalogue.load()
    assert check(case["document"], catalogue, None) == []
    results = check_examples(parse(case["document"], catalogue), catalogue)
    found = [{key: one.body()[key] for key in ("holds", "gate", "stands", "happened")} for one in results]
    assert found == case["results"]
    assert all(one["holds"] for one in found)


def test_there_are_more_than_forty_cases() -> None:
    assert sum(len(cases(name)) for name in ("legal", "refused", "conditions")) > 40
