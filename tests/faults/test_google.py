"""Two workers on one Firestore, and Google's failures through the real client: nothing is lost or done twice."""

from __future__ import annotations

import os
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from app.adapters.memory import MemoryTracer
from app.handle import handle
from app.perform import desk
from rules.model import Again
from rules.ports import ABSENT, AlreadyProcessed, Conflict, Put, Store, Unavailable
from tests.app.test_handle import NOW, TWICE, deliveries, fixed, kinds
from tests.contracts.store import A, logged
from tests.contracts.store import run as due_run
from tests.firestore_calls import Calls, recording_client
from tests.rules.world import TENANT, event, rule

pytestmark = pytest.mark.emulator
Opened = Callable[[], tuple[Any, Calls]]


@pytest.fixture
def opened(firestore_emulator: None) -> Iterator[Opened]:
    """A worker's own store on the database of this test, with what its client asks."""
    from app.adapters.firestore import FirestoreStore

    project, clients = f"test-{uuid.uuid4().hex[:12]}", []

    def open() -> tuple[Any, Calls]:
        client, calls = recording_client(project, os.environ["FIRESTORE_EMULATOR_HOST"])
        clients.append(client)
        return FirestoreStore(client, patience=3.0), calls

    yield open
    for client in clients:
        client.close()


def together(*bodies: Callable[[], object]) -> None:
    """Run them at one moment, each in a thread; the first exception rises."""
    gate, errors = threading.Barrier(len(bodies)), []

    def run(body: Callable[[], object]) -> None:
        gate.wait()
        try:
            body()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


# ---- two workers ----------------------------------------------------------------------------------------------------
def test_two_workers_neither_miss_nor_double_a_window(opened: Opened) -> None:
    rules = fixed(rule(when=TWICE, again=Again(while_open=False, after=None)))
    customers = 25
    work = [
        event(f"evt_{n}_{half}", at=half, keys=(f"cus:cus_{n}", f"sub:sub_{n}"))
        for n in range(customers)
        for half in (0, 1)
    ]

    def worker(share: list[Any], store: Store) -> Callable[[], None]:
        def run() -> None:
            for one in share:
                while kinds(handle(deliveries(one), store, rules, MemoryTracer(), NOW)) != ["done"]:
                    pass

        return run

    stores = [opened()[0], opened()[0]]
    together(*(worker(work[half::2], stores[half]) for half in (0, 1)))
    assert stores[0].count(TENANT, "run") == customers
    assert stores[0].count(TENANT, "event") == len(work)


def test_the_same_event_handed_to_two_workers_is_handled_once(opened: Opened) -> None:
    rules = fixed(rule(again=Again(while_open=True, after=0)))
    stores = [opened()[0], opened()[0]]
    events = [event(f"evt_{n}") for n in range(20)]
    said: list[str] = []

    def worker(store: Store) -> Callable[[], None]:
        return lambda: said.extend(
            kind for one in events for kind in kinds(handle(deliveries(one), store, rules, MemoryTracer(), NOW))
        )

    together(*(worker(store) for store in stores))
    assert set(said) <= {"done", "retry"}
    assert stores[0].count(TENANT, "event") == len(events)
    assert stores[0].count(TENANT, "run") == len(events)


def test_two_workers_never_claim_the_same_run(opened: Opened) -> None:
    stores = [opened()[0] for _ in range(3)]
    stores[0].commit(A, None, [due_run(f"run_{n:03}", expect=ABSENT) for n in range(90)])
    claimed: list[str] = []

    def worker(store: Store) -> Callable[[], None]:
        def run() -> None:
            for _ in range(60):
                found = store.claim("run", NOW + timedelta(days=9999), desk.LEASE, 7)
                claimed.extend(document.id for document in found)
                if not found and len(claimed) >= 90:
                    return

        return run

    together(*(worker(store) for store in stores))
    assert max(Counter(claimed).values()) == 1
    assert len(claimed) == 90


# ---- faults ---------------------------------------------------------------------------------------------------------
def test_a_commit_that_was_refused_for_a_moment_is_made(opened: Opened) -> None:
    store, calls = opened()
    calls.faults += [("Commit", "UNAVAILABLE", "before")] * 2
    store.commit(A, logged("evt_1"), [])
    assert store.get(A, "event", "evt_1") is not None
    assert calls.faults == []


@pytest.mark.parametrize("code", ["DEADLINE_EXCEEDED", "INTERNAL", "UNKNOWN"])
def test_a_commit_that_happened_though_nobody_was_told_is_known_at_the_next_try(opened: Opened, code: str) -> None:
    store, calls = opened()
    calls.faults.append(("Commit", code, "after"))
    with pytest.raises(Unavailable):
        store.commit(A, logged("evt_1"), [])
    with pytest.raises(AlreadyProcessed):
        store.commit(A, logged("evt_1"), [])


def test_an_event_whose_commit_was_not_answered_is_handled_once_in_the_end(opened: Opened) -> None:
    store, calls = opened()
    rules = fixed(rule(again=Again(while_open=True, after=0)))
    calls.faults.append(("Commit", "DEADLINE_EXCEEDED", "after"))
    assert kinds(handle(deliveries(event("evt_1")), store, rules, MemoryTracer(), NOW)) in (["retry"], ["done"])
    assert kinds(handle(deliveries(event("evt_1")), store, rules, MemoryTracer(), NOW)) == ["done"]
    assert store.count(TENANT, "run") == 1


def test_a_commit_that_lost_a_race_is_a_conflict_and_not_a_fault(opened: Opened) -> None:
    store, calls = opened()
    calls.faults.append(("Commit", "ABORTED", "before"))
    with pytest.raises(Conflict):
        store.commit(A, None, [Put("rule", "r1", {"state": "live", "updated_at": "2026"})])
    assert store.get(A, "rule", "r1") is None


@pytest.mark.parametrize("code", ["UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"])
def test_reading_that_fails_is_unavailable_and_works_again_afterwards(opened: Opened, code: str) -> None:
    store, calls = opened()
    store.commit(A, logged("evt_1"), [])
    calls.faults += [("BatchGetDocuments", code, "before")] * 40
    with pytest.raises(Unavailable):
        store.get(A, "event", "evt_1")
    calls.faults.clear()
    assert store.get(A, "event", "evt_1") is not None
