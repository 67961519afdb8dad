"""What sleeps costs nothing: found by index, woken within seconds when many are due, with memory that stays flat."""

from __future__ import annotations

import sqlite3
import time
import tracemalloc
from datetime import timedelta
from pathlib import Path

import pytest

from app.adapters.sqlite_store import SqliteStore
from app.perform.waking import wake
from app.rulesets import RuleSets
from app.worker import BATCH
from bench.sleepers import BEGAN, DUE, TENANT, fill
from rules.event import iso
from rules.matcher import PythonMatcher

SIZES = [
    pytest.param(3_000, 300, 5.0, id="3,000"),
    pytest.param(100_000, 1_000, 10.0, id="100,000", marks=pytest.mark.nightly),
]


@pytest.mark.parametrize(("asleep", "due", "patience"), SIZES)
def test_many_due_in_the_same_second_are_found_by_index_and_started_within_seconds(
    asleep: int, due: int, patience: float, tmp_path: Path
) -> None:
    store = SqliteStore(tmp_path / "store.db")
    fill(store, asleep, due)
    rulesets = RuleSets(PythonMatcher())
    assert wake(store, rulesets, DUE - timedelta(seconds=1), BATCH) == 0
    tracemalloc.start()
    wake(store, rulesets, DUE, 50)
    base = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    began, moved = time.monotonic(), 50
    while count := wake(store, rulesets, DUE, BATCH):
        moved += count
    took = time.monotonic() - began
    grown = (tracemalloc.get_traced_memory()[0] - base) / 1e6
    peak = (tracemalloc.get_traced_memory()[1] - base) / 1e6
    tracemalloc.stop()
    assert moved == due
    assert took < patience * 3  # tracing and a shared machine are slow; the figure without them is bench M5's
    assert grown < 3
    assert peak < 25  # a batch of 256 runs with their writes, whatever sleeps
    nearest = store.find(TENANT, "run", order="due_at", limit=1).items[0].body
    assert nearest["due_at"] > iso(DUE)
    assert store.count(TENANT, "command") == due
    store.close()


def test_the_look_at_what_is_due_reads_an_index_and_no_table(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    fill(store, 50, 5)
    store.close()
    with sqlite3.connect(tmp_path / "store.db") as database:
        plan = database.execute("EXPLAIN QUERY PLAN SELECT 1 FROM run WHERE due_at <= ? LIMIT 1", ("x",)).fetchall()
    assert "USING COVERING INDEX" in plan[0][3]
    assert "SCAN" not in plan[0][3]


def test_a_run_that_was_woken_too_early_sleeps_on_until_its_time(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    fill(store, 20, 20)
    rulesets = RuleSets(PythonMatcher())
    claimed = store.claim("run", DUE, timedelta(seconds=60), 20)
    assert len(claimed) == 20  # a worker dies with them in hand
    assert wake(store, rulesets, DUE + timedelta(seconds=59), BATCH) == 0
    assert wake(store, rulesets, BEGAN, BATCH) == 0
    assert wake(store, rulesets, DUE + timedelta(seconds=60), BATCH) == 20
    store.close()
