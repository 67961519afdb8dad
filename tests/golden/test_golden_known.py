"""Golden cases of facts: a history, a condition, and what was decided at its last event, word for word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rules.catalogue import Catalogue
from rules.rule import check, parse
from tests.rules.known import happened
from tests.rules.world import World

Case = dict[str, Any]
CASES: list[Case] = json.loads((Path(__file__).parent / "known.json").read_text())


def outcome(case: Case) -> Case:
    """What came of the history: the last event's verdict, its sentence without the run's id, and what was read."""
    step = {"name": "tell", "do": "crm.notify", "with": {"connection": "crm"}}
    document = {"id": "rule", "name": "Rule", "when": case["when"], "only_if": case["only_if"], "steps": [step]}
    assert check(document, Catalogue.load(), None) == []
    world = World(parse(document))
    events = [happened(f"evt_{n}", one["type"], one["at"], one["object"]) for n, one in enumerate(case["history"])]
    world.deliver(*events)
    entry = world.trace(events[-1].id)
    sentence = entry["sentence"].replace(f" {entry.get('run')}", "")
    return {"outcome": entry["outcome"], "sentence": sentence, "facts": dict(entry.get("facts", {}))}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["about"])
def test_a_history_is_decided_as_it_always_was(case: Case) -> None:
    assert outcome(case) == {key: case[key] for key in ("outcome", "sentence", "facts")}
