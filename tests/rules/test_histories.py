"""Random rules on random histories: matches, runs and contradictions are those of the naive evaluator, every time.

The naive evaluator (naive_history) is written from RULE.md; it knows nothing of memory documents, windows that are
looked at from both sides, matchers or commits.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rules.event import Event, seconds
from rules.matcher import Matcher, PythonMatcher
from rules.rete import DurableMatcher
from tests.rules import naive_history as naive
from tests.rules.histories import FAILS, LISTS, OTHER, Document, Played, histories, now_of, rules
from tests.rules.world import START, TENANT

PREFIX = {"customer": "cus:", "subscription": "sub:", "invoice": "in:", "card": "card:"}
QUIET = (HealthCheck.too_slow, HealthCheck.data_too_large)


def keyed(rule: Document, key: Any) -> str:
    same = rule["when"]["same"]
    return PREFIX[same] + key if same in PREFIX else f"path:{same}={key}"


def expected_matches(documents: list[Document], events: list[Event]) -> set[tuple[str, str, str]]:
    return {
        (rule["id"], keyed(rule, key), trigger) for rule in documents for key, trigger in naive.matches(rule, events)
    }


def expected_runs(documents: list[Document], deliveries: list[Event]) -> dict[tuple[str, str, str], tuple[Any, ...]]:
    log = naive.Log(documents, LISTS, FAILS)
    for one in deliveries:
        log.hear(one, now_of(one))
    log.pass_time(2**40)
    by_id = {rule["id"]: rule for rule in documents}
    return {
        (run.rule, keyed(by_id[run.rule], run.key), run.trigger.id): (
            run.state,
            sorted(run.did),
            sorted(run.evidence),
            run.contradicted_by,
        )
        for run in log.runs
    }


def played(documents: list[Document], deliveries: list[Event], matcher: Matcher | None = None) -> Played:
    world = Played(documents, matcher or PythonMatcher())
    world.play(deliveries)
    return world


def agrees(documents: list[Document], deliveries: list[Event], matcher: Matcher | None = None) -> None:
    world = played(documents, deliveries, matcher)
    assert world.runs(TENANT) == expected_runs(documents, deliveries)
    if not any(one.source == "import" for one in deliveries):  # of imports the log keeps no traces
        found = world.matches(TENANT, [one.id for one in deliveries])
        assert found == expected_matches(documents, deliveries)


def generated(most: int, check: Callable[..., None], *strategies: st.SearchStrategy[Any], same: bool = False) -> int:
    """Check on so many random examples; how many there were. same: the same ones each time."""
    count = 0

    @settings(max_examples=most, deadline=None, database=None, derandomize=same, suppress_health_check=QUIET)
    @given(st.tuples(*strategies))
    def run(example: tuple[Any, ...]) -> None:
        nonlocal count
        count += 1
        check(*example)

    run()
    return count


# ---- the promises ---------------------------------------------------------------------------------------------------
def in_any_order(documents: list[Document], deliveries: list[Event], chance: random.Random) -> None:
    """The same events, heard in two other orders."""
    wanted = expected_matches(documents, deliveries)
    order = list(deliveries)
    chance.shuffle(order)
    for other in (order, order[::-1]):
        late = [_heard(one, at) for at, one in enumerate(other)]
        assert played(documents, late).matches(TENANT, [one.id for one in late]) == wanted


def _heard(one: Event, at: int) -> Event:
    return replace(one, recorded=seconds(START + 20 + at))


def of_two_tenants(documents: list[Document], mine: list[Event], theirs: list[Event]) -> None:
    """Events of the same ids about the same customers, in two tenants at once."""
    world = played(documents, sorted([*mine, *theirs], key=lambda one: one.recorded))
    for tenant, deliveries in ((TENANT, mine), (OTHER, theirs)):
        assert world.runs(tenant) == expected_runs(documents, deliveries)
        assert world.matches(tenant, [one.id for one in deliveries]) == expected_matches(documents, deliveries)


def of_one_log(documents: list[Document], deliveries: list[Event]) -> None:
    assert played(documents, deliveries).documents() == played(documents, deliveries).documents()


def by_the_engine(documents: list[Document], deliveries: list[Event]) -> None:
    agrees(documents, deliveries, DurableMatcher(_refuse))


def _refuse(text: str) -> None:
    raise AssertionError(text)


CHANCE = st.randoms(use_true_random=False)
PROMISES: dict[str, tuple[int, Callable[..., None], tuple[st.SearchStrategy[Any], ...]]] = {
    "matches, runs and contradictions are the naive evaluator's": (1_000, agrees, (rules(), histories())),
    "the same with imported history among the events": (250, agrees, (rules(), histories(imports=True))),
    "the same by durable-rules": (150, by_the_engine, (rules(), histories())),
    "matches are a function of the set of events": (300, in_any_order, (rules(), histories(), CHANCE)),
    "two tenants with equal ids know nothing of each other": (
        200,
        of_two_tenants,
        (rules(), histories(), histories(OTHER)),
    ),
    "runs are a function of the recorded log": (150, of_one_log, (rules(), histories())),
}


def test_the_histories_are_about_something() -> None:
    """Of 300: runs that end in every way, contradicted ones, matches that start no run."""
    seen: Counter[str] = Counter()

    def look(documents: list[Document], deliveries: list[Event]) -> None:
        runs = expected_runs(documents, deliveries)
        seen.update(state for state, *_ in runs.values())
        seen["acted"] += sum(bool(did) for _, did, _, _ in runs.values())
        seen["contradicted"] += sum(bool(by) for *_, by in runs.values())
        seen["held back"] += len(expected_matches(documents, deliveries) - set(runs))

    generated(300, look, rules(), histories(), same=True)
    assert {"done", "stopped", "failed", "needs_person", "acted", "contradicted", "held back"} <= seen.keys()
    assert min(seen["done"], seen["held back"]) > 20


def test_at_least_two_thousand_histories_are_generated() -> None:
    assert sum(most for most, _, _ in PROMISES.values()) >= 2_000


@pytest.mark.parametrize("promise", PROMISES)
def test_of_random_histories(promise: str) -> None:
    most, check, strategies = PROMISES[promise]
    assert generated(most, check, *strategies) >= most


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("promise", PROMISES)
def test_of_random_histories_all_night(promise: str) -> None:
    most, check, strategies = PROMISES[promise]
    assert generated(20 * most, check, *strategies) >= 20 * most
