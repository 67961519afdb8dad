"""Explanations are held against decide itself: the same gate on every event, and edits that make the rule fire."""

from __future__ import annotations

import copy
import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rules.event import Event, iso, seconds
from rules.explain import explain
from rules.model import RuleVersion
from rules.rule import parse
from tests.rules.world import DAY, START, TENANT, World, event

Document = dict[str, Any]
HOUR = 3600
TELL = {"name": "tell", "do": "crm.notify", "with": {"connection": "crm"}}
TYPES = ("t.a", "t.b", "t.c")
KEYS = (("cus:cus_1", "sub:sub_1"), ("cus:cus_1", "sub:sub_2"), ("cus:cus_2",))
SPANS = ("PT1H", "PT12H", "P1D", "P3D")


# ---- rules and histories ---------------------------------------------------------------------------------------------
@st.composite
def whens(draw: st.DrawFn) -> Document:
    when: Document = {"event": ["t.a"], "same": draw(st.sampled_from(("customer", "subscription")))}
    form = draw(st.sampled_from(("each", "at_least", "different", "sum", "max", "then", "and_not", "first")))
    span = draw(st.sampled_from(SPANS))
    if form in ("at_least", "different"):
        when |= {"at_least": draw(st.integers(2, 4)), "within": span}
    if form == "different":
        when["counting"] = "data.object.word"
    if form in ("sum", "max"):
        operator = draw(st.sampled_from(("greater or equal to", "greater than", "less than", "equal to")))
        bound = {"field": "data.object.number", "is": operator, "value": draw(st.integers(0, 12))}
        when |= {"within": span, "aggregate": {"of": form, **bound}}
    if form in ("then", "and_not"):
        when[form] = {"event": ["t.b"], "within": span}
    if form == "first":
        when["first"] = True
    if "within" in when and draw(st.booleans()):
        when["start_again_after"] = ["t.c"]
    return when


def asks(field: str, operator: str, value: Any = None) -> Document:
    return {"field": f"data.object.{field}", "is": operator, **({} if value is None else {"value": value})}


numbers = st.builds(
    asks, st.just("number"), st.sampled_from(("greater than", "less or equal to", "equal to")), st.integers(0, 6)
)
texts = st.builds(asks, st.just("word"), st.sampled_from(("equal to", "not equal to")), st.sampled_from("xy"))
others = st.one_of(
    st.builds(asks, st.just("number"), st.just("between"), st.just([2, 4])),
    st.builds(asks, st.just("word"), st.sampled_from(("one of", "none of")), st.just(["x", "z"])),
    st.builds(asks, st.just("number"), st.just("is present")),
)
tests = st.one_of(numbers, texts, others)
groups = st.recursive(
    tests,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"all": parts}),
        st.lists(inner, min_size=1, max_size=2).map(lambda parts: {"any": parts}),
        inner.map(lambda part: {"not": part}),
    ),
    max_leaves=4,
)


@st.composite
def documents(draw: st.DrawFn) -> Document:
    every = {"while_open": True, "after": "PT0S"}
    again = st.sampled_from((every, every, {"while_open": False, "after": "P1D"}, {"while_open": True, "after": None}))
    found = {"id": "rule", "name": "R", "when": draw(whens()), "steps": [TELL], "again": draw(again)}
    if draw(st.booleans()):
        found["only_if"] = draw(groups)
    if draw(st.integers(0, 3)) == 0:
        found["stop_when"] = [{"event": ["t.c"], "same": "customer"}]
    if draw(st.integers(0, 3)) == 0:
        found["never_for"] = {"lists": ["vip", "old"]}
    if draw(st.integers(0, 4)) == 0:
        found["holdout"] = 0.5
    return found


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    """Events in the order in which they are heard; by their own time they come in any."""
    found = []
    for number in range(draw(st.integers(1, 7))):
        at = draw(st.integers(0, 12)) * 6 * HOUR + draw(st.integers(0, 1)) * 1200
        more: dict[str, Any] = {"number": draw(st.integers(0, 6))}
        if draw(st.integers(0, 5)):
            more["word"] = draw(st.sampled_from("xyz"))
        own = "run_1/tell" if draw(st.integers(0, 7)) == 0 else None
        made = event(f"evt_{number}", draw(st.sampled_from((*TYPES, "t.a", "t.a"))), at, draw(st.sampled_from(KEYS)))
        made = event(made.id, made.type, at, made.keys, causation=own, **more)
        found.append(replace(made, recorded=seconds(START + 10 * DAY) + timedelta(minutes=number)))
    return found


def version(document: Document, **more: Any) -> RuleVersion:
    rule = replace(parse(document), document={"id": "rule"})
    return RuleVersion(TENANT, rule, 1, more.get("mode", "live"), more.get("live_from", ""))


def world(document: Document, **more: Any) -> World:
    made = World(version(document).rule, **more)
    from rules.ports import Put

    made.store.commit(TENANT, None, [Put("list", "vip", {"members": ["cus_2"]})])
    return made


MEMBERS = {"vip": ["cus_2"]}


# ---- the same gate ---------------------------------------------------------------------------------------------------
def agrees(document: Document, history: list[Event], mode: str, late: bool) -> None:
    live_from = iso(history[len(history) // 2].recorded) if late else ""
    made = world(document, mode=mode, live_from=live_from)
    asked = version(document, mode=mode, live_from=live_from)
    for count, one in enumerate(history, 1):
        made.deliver(one)
        own = (e for e in decided(made, one) if e.get("trigger") in (None, one.id) and e["gate"] != "contradicted")
        entry = next(own, None)
        found = explain(asked, history[:count], event=one.id, runs=made.runs(), members=MEMBERS)
        if entry is None:
            continue  # it only changed what stands at other events
        gate = "window" if entry["gate"] == "reset" else entry["gate"]
        assert (found["gate"], found["fired"]) == (gate, entry["outcome"] in ("fired", "waiting")), (found, entry)


def decided(made: World, one: Event) -> list[dict[str, Any]]:
    return list(made.store.get(TENANT, "event", one.id).body["decision"]["rules"])


modes = st.sampled_from(("live", "live", "live", "paused", "watch"))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents(), histories(), modes, st.booleans())
def test_an_explanation_names_the_gate_that_the_decision_named(
    document: Document, history: list[Event], mode: str, late: bool
) -> None:
    agrees(document, history, mode, late)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@settings(max_examples=5000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents(), histories(), modes, st.booleans())
def test_an_explanation_names_the_gate_that_the_decision_named_all_night(
    document: Document, history: list[Event], mode: str, late: bool
) -> None:
    agrees(document, history, mode, late)


# ---- edits that work -------------------------------------------------------------------------------------------------
def edited(document: Document, path: str, value: Any) -> Document:
    """The document with the value at the path, or without what stands there."""
    found = copy.deepcopy(document)
    keys = [int(key) if key.isdigit() else key for key in re.findall(r"[^.\[\]]+", path)]
    above: Any = found
    for key in keys[:-1]:
        above = above[key]
    if value is None:
        del above[keys[-1]]
    else:
        above[keys[-1]] = value
    return found


def suggestions_work(document: Document, history: list[Event]) -> int:
    """Ask about every event and subject; whatever is suggested is tried on the real decide. How many there were."""
    first = world(document)
    first.deliver(*history)
    ran = {run.trigger for run in first.runs() if not run.contradicted_by}
    asked = [{"event": one.id} for one in history] + [{"subject": id} for id in ("sub_1", "cus_1", "cus_2")]
    tried = 0
    for about in asked:
        found = explain(version(document), history, runs=first.runs(), members=MEMBERS, **about)
        edit = (found["nearest"] or {}).get("edit")
        if found["fired"] or not edit:
            continue
        tried += 1
        changed = edited(document, edit["path"], edit["value"])
        second = world(changed)
        second.deliver(*history)
        now = {run.trigger for run in second.runs()}
        free = changed["again"] == {"while_open": True, "after": "PT0S"}
        assert found["trigger"] in now if free else now - ran, (edit, found["sentence"], sorted(now), sorted(ran))
    return tried


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents(), histories())
def test_whatever_edit_is_suggested_makes_the_rule_fire_when_it_is_decided_again(
    document: Document, history: list[Event]
) -> None:
    suggestions_work(document, history)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@settings(max_examples=4000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents(), histories())
def test_whatever_edit_is_suggested_works_all_night(document: Document, history: list[Event]) -> None:
    suggestions_work(document, history)
