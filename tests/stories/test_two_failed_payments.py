"""The mission's rule on the story: 47 subscriptions, 39 with renewals only, once each, whatever order they come in."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from app.adapters.memory import MemoryStore, MemoryTracer
from app.adapters.sqlite_store import SqliteStore
from app.handle import handle
from rules.event import Event
from rules.matcher import Matcher, PythonMatcher
from rules.ports import Delivery
from rules.rete import DurableMatcher
from tests.rules.world import FixedRules
from tests.stories.story import TENANT, deliveries, events, example_document, example_version

NOW = datetime(2026, 12, 1, tzinfo=UTC)
MATCHERS: dict[str, Callable[[], Matcher]] = {"python": PythonMatcher, "durable": DurableMatcher}


def acted_on(order: Sequence[str], store: Any, renewals_only: bool = False, matcher: str = "python") -> Counter[str]:
    """How many runs each subscription got when the deliveries come in this order."""
    rules: Any = FixedRules(MATCHERS[matcher](), [example_version(renewals_only)])
    known = events()
    for start in range(0, len(order), 256):
        batch = [Delivery(id, known[id], 1) for id in order[start : start + 256]]
        assert {one.kind for one in handle(batch, store, rules, MemoryTracer(), NOW)} == {"done"}
    runs = store.find(TENANT, "run", limit=10_000).items
    return Counter(run.body["key"] for run in runs)


def failures() -> list[str]:
    """Deliveries of the types that the rule listens to, duplicates included."""
    known = events()
    return [id for id in deliveries() if known[id].type == "invoice.payment_failed"]


def by_time(event: Event) -> tuple[int, str]:
    return event.created, event.id


def naive(renewals_only: bool) -> set[str]:
    """Subscriptions with two failures within 7 days, found by looking at every pair of events."""
    found = [e for e in events().values() if e.type == "invoice.payment_failed" and _passes(e, renewals_only)]
    return {
        sub
        for one in found
        for other in found
        if one.id < other.id and (sub := one.key("sub")) and sub == other.key("sub")
        if abs(one.created - other.created) <= 604_800
    }


def _passes(event: Event, renewals_only: bool) -> bool:
    invoice = event.data["data"]["object"]
    return invoice["amount_remaining"] > 0 and (not renewals_only or invoice["billing_reason"] == "subscription_cycle")


@pytest.mark.parametrize(("matcher", "renewals_only", "expected"), [("durable", False, 47), ("python", True, 39)])
def test_all_deliveries_as_they_came_act_on_the_right_subscriptions_once_each(
    matcher: str, renewals_only: bool, expected: int, tmp_path: Path
) -> None:
    found = acted_on(deliveries(), SqliteStore(tmp_path / "store.db"), renewals_only, matcher)
    assert len(found) == expected
    assert set(found.values()) == {1}
    assert set(found) == naive(renewals_only)


@pytest.mark.parametrize("matcher", MATCHERS)
@pytest.mark.parametrize("order", ["as delivered", "sorted", "reversed", "shuffled 1", "shuffled 2", "shuffled 3"])
def test_whatever_order_the_failures_come_in_the_same_subscriptions_are_acted_on(order: str, matcher: str) -> None:
    found = acted_on(ordered(order), MemoryStore(), matcher=matcher)
    assert len(found) == 47
    assert set(found.values()) == {1}


@pytest.mark.parametrize("seed", range(4))
def test_with_renewals_only_it_is_39_in_any_order(seed: int) -> None:
    found = acted_on(ordered(f"shuffled {seed + 10}"), MemoryStore(), renewals_only=True)
    assert len(found) == 39
    assert set(found.values()) == {1}


def test_the_backends_agree_on_every_document(tmp_path: Path) -> None:
    order = ordered("shuffled 99")[:400]
    stores: list[Any] = [MemoryStore(), SqliteStore(tmp_path / "store.db")]
    for store in stores:
        acted_on(order, store)
    for kind in ("event", "run", "command", "memory"):
        first, second = ({d.id: d.body for d in store.find(TENANT, kind, limit=10_000).items} for store in stores)
        assert _plain(first) == _plain(second)


def _plain(value: Any) -> Any:
    import json

    return json.loads(json.dumps(value))


def ordered(how: str) -> list[str]:
    known, found = events(), failures()
    if how == "sorted":
        return sorted(found, key=lambda id: by_time(known[id]))
    if how == "reversed":
        return sorted(found, key=lambda id: by_time(known[id]), reverse=True)
    if how.startswith("shuffled"):
        chance = random.Random(how)
        found = found + chance.sample(found, 200)
        chance.shuffle(found)
    return found


def test_the_example_is_read_as_it_is_published() -> None:
    assert example_document()["when"]["at_least"] == 2
