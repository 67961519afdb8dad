"""Golden explanations: for every gate at least one history, and the very sentence that says what stood in the way."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rules.catalogue import Catalogue
from rules.event import Event, iso, seconds
from rules.explain import GATES, as_decided, explain
from rules.model import RuleVersion
from rules.rule import parse
from rules.run import Run
from rules.subjects import keys_of
from rules.workflow import start

Case = dict[str, Any]
TENANT = "acct/live"
START = 1_790_000_000  # Mon 21 Sep 2026 14:13 UTC
CASES: list[Case] = json.loads((Path(__file__).parent / "explanations.json").read_text())


def event_of(given: Case) -> Event:
    """at, heard: seconds after the start."""
    at = START + given.get("at", 0)
    data = {"id": given["id"], "type": given["type"], "created": at, "data": {"object": given["object"]}}
    keys = keys_of(data, "acct")
    heard = seconds(START + given["heard"]) if "heard" in given else seconds(at)
    made = Event(given["id"], given["type"], given.get("tenant", TENANT), at, heard, data, "in_1", keys[0], keys)
    return replace(made, causation=given.get("causation"), source=given.get("source", "webhook"))


def run_of(given: Case, version: RuleVersion, events: list[Event]) -> Run:
    trigger = next(one for one in events if one.id == given["trigger"])
    key = next(key for key in trigger.keys if key.startswith(given.get("key", "sub")))
    run = start(version, trigger, key, (trigger.id,), trigger.recorded, given.get("because", "")).run
    return replace(run, **given.get("is", {}))


def answer_of(case: Case) -> dict[str, Any]:
    rule = parse(case["rule"], Catalogue.load())
    live_from = iso(seconds(START + case["live_from"])) if "live_from" in case else ""
    version = RuleVersion(TENANT, rule, 1, case.get("mode", "live"), live_from)
    events = [event_of(one) for one in case["events"]]
    runs = [run_of(one, version, events) for one in case.get("runs", ())]
    now = seconds(START + case["now"]) if "now" in case else None
    found = explain(version, events, **case["ask"], runs=runs, members=case.get("members"), now=now)
    found = as_decided(found, case.get("decided"))
    shown = (found["tree"] or {}).get("window")
    return {
        "fired": found["fired"],
        "gate": found["gate"],
        "sentence": found["sentence"],
        "nearest": found["nearest"],
        "window": {one["event"]: one["why"] or "counted" for one in shown["events"]} if shown else None,
    }


@pytest.mark.parametrize("case", [pytest.param(case, id=case["about"]) for case in CASES])
def test_an_explanation_says_what_it_always_said(case: Case) -> None:
    assert answer_of(case) == case["answer"]


def test_every_gate_has_a_golden_case() -> None:
    assert {case["answer"]["gate"] for case in CASES} == {None, *GATES}


def test_every_reason_for_not_counting_an_event_has_a_golden_case() -> None:
    said = " | ".join(why for case in CASES for why in (case["answer"]["window"] or {}).values())
    for reason in ("too old by 4 hours", "our own action", "before counting started again", "the same number as",
                   "Condition 1 of", "counting starts again after it", "it came after", "is added up here",
                   "too late to matter", "must not come", "it has no", "waits for it"):  # fmt: skip
        assert reason in said, reason
