"""The README of the language is true: every example on it is run."""

from __future__ import annotations

import ast
import doctest
import importlib
import itertools
import json
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from rules import english
from rules.catalogue import Catalogue
from rules.conditions import read_condition
from rules.context import Context
from rules.event import Event
from rules.examples import check_examples
from rules.explain import GATES, explain
from rules.expr import compile_condition
from rules.facts import FACTS
from rules.knowing import said_text
from rules.lint import lint
from rules.model import RuleVersion
from rules.reading import Node
from rules.rule import check, parse
from tests.rules.known import happened
from tests.rules.test_facts import Log
from tests.rules.world import START, TENANT, event

RULES = Path(__file__).parents[2] / "rules"
README = (RULES / "README.md").read_text()


def examples() -> Iterator[tuple[str, str]]:
    """(kind, text) of every fenced block, in order."""
    for found in re.finditer(r"^```(?:json |python )?(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL):
        yield found[1], found[2].strip()


def following(first: str, second: str) -> list[Any]:
    """Pairs of a block of one kind and the next block when that is of the other kind."""
    blocks = list(examples())
    return [
        pytest.param(text, after[1], id=f"{first}-{index}")
        for index, ((kind, text), after) in enumerate(itertools.pairwise(blocks))
        if kind == first and after[0] == second
    ]


@pytest.mark.parametrize(("document", "reads"), following("rule", "reads"))
def test_an_example_rule_reads_as_the_page_says(document: str, reads: str) -> None:
    catalogue = Catalogue.load()
    rule = parse(json.loads(document), catalogue)
    assert [sentence["text"] for sentence in english.sentences(rule, catalogue)] == reads.splitlines()


@pytest.mark.parametrize(("document", "problems"), following("refused", "problems"))
def test_an_example_of_mistakes_gets_the_answers_on_the_page(document: str, problems: str) -> None:
    found = check(json.loads(document), Catalogue.load(), None)
    assert [f"{one.path}: {one.message} ({one.suggestion})" for one in found] == problems.splitlines()


@pytest.mark.parametrize(("documents", "said"), following("rules", "lint"))
def test_the_lint_says_of_the_rules_on_the_page_what_stands_there(documents: str, said: str) -> None:
    found = lint([parse(one, Catalogue.load()) for one in json.loads(documents)], Catalogue.load())
    lines = [f"{one.kind}: {', '.join(one.rules)}: {one.path}: {one.sentence}" for one in found]
    assert lines == said.splitlines()


def test_why_not_is_answered_as_the_page_says() -> None:
    blocks, rule, asked = list(examples()), None, 0
    for (kind, text), (after, answer) in itertools.pairwise(blocks):
        rule = parse(json.loads(text), Catalogue.load()) if kind == "rule" else rule
        if (kind, after) != ("happened", "why"):
            continue
        assert rule is not None
        found = explain(RuleVersion(TENANT, rule, 1, "live", ""), failures(json.loads(text)), subject="sub_1")
        edit = (found["nearest"] or {}).get("edit")
        assert " ".join([found["sentence"], *([edit["sentence"]] if edit else [])]) == " ".join(answer.split())
        asked += 1
    assert asked == 2


def failures(rows: list[dict[str, Any]]) -> list[Event]:
    """Failed payments of one subscription, so many days after the first."""
    found = []
    for number, row in enumerate(rows):
        more = {key: value for key, value in row.items() if key != "days"}
        made = event(f"evt_{number}", "invoice.payment_failed", row["days"] * 86400, currency="usd", **more)
        found.append(made)
    return found


def test_the_gates_on_the_page_are_those_there_are() -> None:
    said = re.search(r"in the order in which they are asked: (.*?)\.\n", README, re.DOTALL)
    assert said is not None
    assert re.findall(r"`(.*?)`", said[1]) == list(GATES)


def test_conditions_hold_for_the_events_on_the_page_and_not_for_others() -> None:
    checked = 0
    condition = None
    for kind, text in examples():
        if kind == "condition":
            condition = compile_condition(read_condition(Node(json.loads(text), "", []), Context(None, None)))
        elif kind in ("true", "false") and condition is not None:
            objects = json.loads(text)
            for thing in objects if isinstance(objects, list) else [objects]:
                assert condition({"created": 1, "data": {"object": {"object": "invoice", **thing}}}) is (kind == "true")
                checked += 1
    assert checked > 10


@pytest.mark.parametrize(("history", "known"), following("history", "known"))
def test_what_the_page_says_is_known_of_a_history_is_known(history: str, known: str) -> None:
    events = [
        happened(one["id"], one["type"], _second(one["at"]) - START, one["object"]) for one in json.loads(history)
    ]
    at = next(event for event in events if event.id == "evt_3")
    log = Log(events)
    for line in known.splitlines():
        name = line.partition(" ")[0]
        said = log.said(name, at)
        assert f"{name} {said_text(tuple(name.split('.')), said)}" == line


def test_every_fact_is_on_the_page() -> None:
    assert [name for name in FACTS if f"`{name.rpartition('.')[2]}`" not in README] == []


def _second(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


@pytest.mark.parametrize(("saved", "ran"), following("examples", "ran"))
def test_a_saved_example_comes_out_as_the_page_says(saved: str, ran: str) -> None:
    rules = [json.loads(text) for kind, text in examples() if kind == "rule"]
    document = next(rule for rule in rules if rule["id"] == "two-failed-payments")
    rule = parse({**document, "examples": json.loads(saved)}, Catalogue.load())
    results = check_examples(rule, Catalogue.load())
    assert [f"{'holds' if one.holds else 'BROKEN'}: {one.happened}" for one in results] == ran.splitlines()


def test_every_kind_of_example_is_on_the_page() -> None:
    kinds = {kind for kind, _ in examples()}
    assert {"rule", "reads", "condition", "true", "false", "refused", "problems", "python"} <= kinds
    assert len(following("rule", "reads")) == sum(kind == "rule" for kind, _ in examples())


def test_the_code_on_the_page_runs_and_prints_what_the_page_says(capsys: pytest.CaptureFixture[str]) -> None:
    ((code, prints),) = [one.values for one in following("run", "prints")]
    exec(compile(str(code), "README", "exec"), {})
    printed = re.sub(r"run_[0-9a-f]{24}", "run_7e9", capsys.readouterr().out)
    assert printed.splitlines() == str(prints).splitlines()


def documented() -> list[str]:
    """The modules whose docstrings hold examples."""
    return sorted(path.stem for path in RULES.glob("*.py") if ">>> " in path.read_text())


@pytest.mark.parametrize("name", documented())
def test_examples_in_docstrings_are_true(name: str) -> None:
    found = doctest.testmod(importlib.import_module(f"rules.{name}"))
    assert (found.failed, found.attempted > 0) == (0, True)


def test_many_modules_show_examples() -> None:
    assert len(documented()) >= 20


@pytest.mark.parametrize("path", sorted(RULES.glob("*.py")), ids=lambda path: path.stem)
def test_every_module_and_every_public_name_of_the_core_says_what_it_is(path: Path) -> None:
    """A module, a public class that is more than a record, and a function that others call have a docstring."""
    module = ast.parse(path.read_text())
    assert path.stem == "__init__" or ast.get_docstring(module)
    names = [node for node in module.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
    telling = [node.name for node in names if not ast.get_docstring(node) and len(node.body) > 1]
    assert telling == []
