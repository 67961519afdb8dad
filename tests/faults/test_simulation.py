"""Test 18: hundreds of seeded lives of an installation in which everything fails, ten thousand at night."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.faults.simulation import simulate


@pytest.mark.parametrize(
    ("first", "count"), [(0, 150), pytest.param(1_000, 10_000, marks=pytest.mark.nightly)], ids=["ci", "nightly"]
)
def test_no_seed_breaks_a_promise(first: int, count: int) -> None:
    seen: Counter[str] = Counter()
    for seed in range(first, first + count):
        world = simulate(seed)
        seen.update(world.faults)
        seen["crash"] += len(world.crashes)
        seen["effects"] += len(world.outside.effects())
        seen.update(run["state"] for run in world.runs())
    assert (
        min(seen[name] for name in ("crash", "unavailable", "receiver", "refused", "clock")) > count / 20
    )  # not blind
    assert min(seen[name] for name in ("done", "stopped", "needs_person", "effects")) > count / 20


def test_the_same_seed_gives_the_same_history() -> None:
    one, other = simulate(7), simulate(7)
    assert [(seen.id, seen.at) for seen in one.outside.requests] == [
        (seen.id, seen.at) for seen in other.outside.requests
    ]
    assert one.crashes == other.crashes
