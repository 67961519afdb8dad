"""Handling a batch of deliveries: one commit an event, duplicates acknowledged, and two at once never both miss."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.adapters.memory import ManualClock, MemoryBus, MemoryStore, MemoryTracer
from app.adapters.sqlite_store import SqliteStore
from app.handle import TRIES, handle
from rules.event import Event, span_id
from rules.matcher import PythonMatcher
from rules.model import Again, RuleVersion, Stop, When
from rules.ports import Conflict, Delivery, Disposition, Put, Unavailable, Write
from tests.rules.world import DAY, NOW, TENANT, FixedRules, World, event, rule

TWICE = When(("t.a",), "subscription", at_least=2, within=7 * DAY)


def fixed(*rules: Any) -> Any:
    return FixedRules(PythonMatcher(), [RuleVersion(TENANT, one, 1, "live", "") for one in rules])


def deliveries(*events: Event) -> list[Delivery]:
    return [Delivery(f"d{number}", one, 1) for number, one in enumerate(events)]


def kinds(dispositions: Sequence[Disposition]) -> list[str]:
    return [one.kind for one in dispositions]


def test_a_batch_has_one_disposition_for_each_delivery_and_sees_its_own_commits() -> None:
    store = MemoryStore()
    batch = deliveries(event("evt_1"), event("evt_1"), event("evt_2", at=1))
    assert kinds(handle(batch, store, fixed(rule(when=TWICE)), MemoryTracer(), NOW)) == ["done"] * 3
    assert store.count(TENANT, "event") == 2
    assert store.count(TENANT, "run") == 1


def test_the_events_document_holds_what_searching_and_showing_need() -> None:
    world = World(rule())
    received = {"span_id": "aa", "start": 5, "end": 7, "digest": "00"}
    from dataclasses import replace

    world.deliver(replace(event("evt_1"), received=received))
    body = world.store.get(TENANT, "event", "evt_1").body
    assert (body["type"], body["customer"], body["origin"], body["fired"]) == ("t.a", "cus_1", "webhook", True)
    assert body["keys"] == ["cus:cus_1", "sub:sub_1"]
    assert Event.from_cloudevent(body["event"]).id == "evt_1"
    receive, handled = body["spans"]
    assert (receive["name"], receive["start"], receive["end"]) == ("receive t.a", 5, 7)
    assert (handled["span_id"], handled["parent"]) == (span_id(TENANT, "evt_1", "handle"), "aa")
    assert handled["attributes"]["runs"] == 1
    assert [one.span_id for one in world.tracer.spans] == ["aa", handled["span_id"]]


def test_a_handling_takes_as_long_as_the_clock_says() -> None:
    clock, tracer = ManualClock(NOW), MemoryTracer()
    handle(deliveries(event("evt_1")), MemoryStore(), fixed(), tracer, NOW, clock)
    (span,) = tracer.spans
    assert span.start == span.end == int(NOW.timestamp()) * 10**9


def test_a_new_tenant_is_written_down_once() -> None:
    world = World()
    world.deliver(event("evt_1"), event("evt_2"), event("evt_3", tenant="acct_9/live"))
    assert [document.id for document in world.documents("tenant", "system")] == ["acct_9/live", TENANT]


class Troubled(MemoryStore):
    """A store whose commits first do what the test wants, and in which several handlers are at work at once."""

    def __init__(self) -> None:
        super().__init__()
        self.before: Callable[[int], None] = lambda number: None
        self.commits = 0

    def batch(self) -> AbstractContextManager[None]:
        return nullcontext()

    def commit(self, tenant: str, event: Put | None, writes: Sequence[Write]) -> None:
        if event is not None:
            self.commits += 1
            self.before(self.commits)
        super().commit(tenant, event, writes)


def test_a_store_that_cannot_take_it_makes_the_delivery_come_again() -> None:
    store = Troubled()

    def trouble(number: int) -> None:
        if number == 1:
            raise Unavailable("disk full")

    store.before = trouble
    batch = deliveries(event("evt_1"), event("evt_2"))
    first, second = handle(batch, store, fixed(rule()), MemoryTracer(), NOW)
    assert (first.kind, second.kind) == ("retry", "done")
    assert "disk full" in first.reason
    assert store.get(TENANT, "event", "evt_1") is None


def test_conflicts_without_end_make_the_delivery_come_again() -> None:
    store = Troubled()

    def conflict(number: int) -> None:
        raise Conflict("memory cus:cus_1")

    store.before = conflict
    (only,) = handle(deliveries(event("evt_1")), store, fixed(rule()), MemoryTracer(), NOW)
    assert only.kind == "retry"
    assert store.commits == TRIES


def test_spans_of_what_was_not_stored_are_not_exported() -> None:
    store, tracer = Troubled(), MemoryTracer()

    def trouble(number: int) -> None:
        raise Unavailable("locked")

    store.before = trouble
    handle(deliveries(event("evt_1")), store, fixed(rule()), tracer, NOW)
    assert tracer.spans == []


def test_an_event_that_cannot_be_decided_harms_no_other() -> None:
    bus = MemoryBus(lambda: NOW)
    store, rules = MemoryStore(), fixed(rule())
    broken = event("evt_2")
    object.__setattr__(broken, "keys", None)
    for one in (event("evt_1"), broken, event("evt_3")):
        bus.publish(one)
    bus.drain(lambda batch: handle(batch, store, rules, MemoryTracer(), NOW), NOW)
    assert [store.get(TENANT, "event", f"evt_{n}") is not None for n in (1, 2, 3)] == [True, False, True]


def test_one_payment_stops_more_runs_than_a_commit_can_hold() -> None:
    paid = Stop(("invoice.paid",), "customer")
    world = World(rule(when=When(("t.a",), "invoice"), stop_when=(paid,)))
    world.deliver(*(event(f"evt_{n}", keys=("cus:cus_1", f"in:in_{n}")) for n in range(150)))
    world.deliver(event("evt_paid", "invoice.paid", 60))
    assert {run.state for run in world.runs()} == {"stopped"}
    assert world.documents("memory")[0].body["open"] == {}


# ---- two at once ----------------------------------------------------------------------------------------------------
def interleaved(rules: Any, first: Event, second: Event) -> MemoryStore:
    """Handle the first; just before its commit, the second is handled and committed."""
    store = Troubled()

    def meanwhile(number: int) -> None:
        if number == 1:
            handle(deliveries(second), store, rules, MemoryTracer(), NOW)

    store.before = meanwhile
    assert kinds(handle(deliveries(first), store, rules, MemoryTracer(), NOW)) == ["done"]
    return store


@pytest.mark.parametrize("same", ["customer", "subscription", "card"])
def test_two_failures_handled_at_the_same_moment_make_exactly_one_run(same: str) -> None:
    when = When(("t.a",), same, at_least=2, within=DAY)
    keys = ("cus:cus_1", "sub:sub_1", "card:fp_1")
    store = interleaved(fixed(rule(when=when)), event("evt_1", keys=keys), event("evt_2", at=5, keys=keys))
    assert store.count(TENANT, "run") == 1


def test_a_payment_handled_at_the_same_moment_as_its_failure_is_not_missed() -> None:
    one = rule(stop_when=(Stop(("invoice.paid",), "subscription"),))
    failed, paid = event("evt_1"), event("evt_2", "invoice.paid", 5)
    for first, second in ((failed, paid), (paid, failed)):
        store = interleaved(fixed(one), first, second)
        states = [run.body["state"] for run in store.find(TENANT, "run").items]
        assert states in ([], ["stopped"])


def test_a_dispute_handled_at_the_same_moment_as_its_charge_is_not_missed() -> None:
    one = rule(stop_when=(Stop(("charge.dispute.created",), "charge"),))
    charge = event("evt_1", keys=("cus:cus_1", "ch:ch_1"))
    dispute = event("evt_2", "charge.dispute.created", 5, ("pi:pi_1", "ch:ch_1"))
    for first, second in ((charge, dispute), (dispute, charge)):
        store = interleaved(fixed(one), first, second)
        states = [run.body["state"] for run in store.find(TENANT, "run").items]
        assert states in ([], ["stopped"])


def test_history_imported_at_the_same_moment_is_counted() -> None:
    rules = fixed(rule(when=TWICE))
    store = interleaved(rules, event("evt_2", at=5), event("evt_1", source="import"))
    assert store.count(TENANT, "run") == 1


def test_threads_on_sqlite_neither_miss_nor_double_a_window(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    rules = fixed(rule(when=TWICE, again=Again(while_open=False, after=None)))
    customers = 60
    pairs = [(n, half) for n in range(customers) for half in (0, 1)]
    work = [event(f"evt_{n}_{half}", at=half, keys=(f"cus:cus_{n}", f"sub:sub_{n}")) for n, half in pairs]

    def run(share: list[Event]) -> None:
        for one in share:
            pending = deliveries(one)
            while kinds(handle(pending, store, rules, MemoryTracer(), NOW)) != ["done"]:
                pass

    threads = [threading.Thread(target=run, args=(work[half::2],)) for half in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.count(TENANT, "run") == customers


@settings(max_examples=150, deadline=None)
@given(st.integers(2, 6), st.randoms(use_true_random=False))
def test_whatever_is_handled_in_between_nothing_is_missed_or_doubled(number: int, chance: random.Random) -> None:
    """Random interleaving: before a commit of one event, others are handled in full."""
    rules = fixed(rule(when=TWICE, again=Again(while_open=False, after=None)))
    pending = [event(f"evt_{n}", at=chance.randrange(3)) for n in range(number)]
    chance.shuffle(pending)
    store = Troubled()

    def meanwhile(count: int) -> None:
        if pending and chance.random() < 0.6:
            handle(deliveries(pending.pop()), store, rules, MemoryTracer(), NOW)

    store.before = meanwhile
    while pending:
        handle(deliveries(pending.pop()), store, rules, MemoryTracer(), NOW)
    assert store.count(TENANT, "event") == number
    assert store.count(TENANT, "run") == 1


def test_the_clock_may_stand_still_while_events_come() -> None:
    world = World(rule(again=Again(while_open=True, after=0)))
    world.deliver(*(event(f"evt_{n}") for n in range(5)))
    world.now += timedelta(0)
    assert len(world.runs()) == 5
