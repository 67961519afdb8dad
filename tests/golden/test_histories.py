"""Golden histories: matches, runs and explanations stay as they are, and are the naive evaluator's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rules.event import Event
from tests.golden.histories import CASES, Document, played
from tests.rules.test_histories import expected_matches, expected_runs

RECORDED: dict[str, Any] = json.loads((Path(__file__).parent / "histories.json").read_text())


@pytest.mark.parametrize(("about", "rule", "events"), CASES, ids=[about for about, _, _ in CASES])
def test_a_history_comes_out_as_it_always_did(about: str, rule: Document, events: list[Event]) -> None:
    assert played(rule, events) == RECORDED[about]


@pytest.mark.parametrize(("about", "rule", "events"), CASES, ids=[about for about, _, _ in CASES])
def test_a_golden_history_is_the_naive_evaluators(about: str, rule: Document, events: list[Event]) -> None:
    heard = sorted(events, key=lambda one: one.recorded)
    assert [[key, trigger] for _, key, trigger in sorted(expected_matches([rule], heard))] == RECORDED[about]["matches"]
    runs = {trigger: (state, by) for (_, _, trigger), (state, _, _, by) in expected_runs([rule], heard).items()}
    assert runs == {trigger: (state, by) for trigger, (state, _, by) in RECORDED[about]["runs"].items()}


def test_there_are_forty_of_them_and_none_is_left_over() -> None:
    assert len(CASES) >= 40
    assert [about for about, _, _ in CASES] == list(RECORDED)
