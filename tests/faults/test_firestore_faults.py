"""Firestore's failures through the real client, in the middle of everything: nothing is lost and nothing done twice."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from app import emulators
from app.adapters.firestore import FirestoreStore
from app.adapters.memory import MemoryTracer
from app.handle import handle
from rules.model import Again
from rules.ports import Put, Unavailable
from tests.app.test_handle import NOW, deliveries, fixed, kinds
from tests.builders import DAY, NOON
from tests.contracts.store import A, got, logged, rule
from tests.emulators import _free_port, lacking
from tests.firestore_calls import Calls, recording_client
from tests.rules.world import TENANT, event
from tests.rules.world import rule as made_rule
from tests.stories.world import LADDER, World, failed

pytestmark = pytest.mark.emulator
RULES = fixed(made_rule(again=Again(while_open=True, after=0)))
CODES = ("UNAVAILABLE", "ABORTED", "DEADLINE_EXCEEDED", "INTERNAL", "RESOURCE_EXHAUSTED")


@pytest.fixture
def opened(firestore_emulator: None) -> Iterator[tuple[FirestoreStore, Calls]]:
    client, calls = recording_client(f"test-{uuid.uuid4().hex[:12]}", os.environ["FIRESTORE_EMULATOR_HOST"])
    yield FirestoreStore(client, patience=20.0), calls
    client.close()


# ---- one call fails -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("code", CODES)
def test_a_commit_that_fails_before_or_after_it_happened_is_handled_once(
    opened: tuple[FirestoreStore, Calls], code: str, when: str
) -> None:
    store, calls = opened
    warm(store)
    calls.faults.append(("Commit", code, when))
    first = handle(deliveries(event("evt_1")), store, RULES, MemoryTracer(), NOW)
    assert calls.faults == []
    assert kinds(first) in (["done"], ["retry"])
    assert kinds(handle(deliveries(event("evt_1")), store, RULES, MemoryTracer(), NOW)) == ["done"]
    assert (store.count(TENANT, "event"), store.count(TENANT, "run")) == (2, 1)


def warm(store: FirestoreStore) -> None:
    """The tenant is known, so that the next commit is the event's."""
    handle(deliveries(event("evt_0", type="t.nobody")), store, RULES, MemoryTracer(), NOW)


@pytest.mark.parametrize("code", ["UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL"])
@pytest.mark.parametrize("method", ["BatchGetDocuments", "RunQuery"])
def test_a_read_that_fails_in_a_decision_leaves_the_event_for_later(
    opened: tuple[FirestoreStore, Calls], method: str, code: str
) -> None:
    store, calls = opened
    warm(store)
    calls.faults.append((method, code, "before"))
    said = kinds(handle(deliveries(event("evt_1")), store, RULES, MemoryTracer(), NOW))
    assert said in (["done"], ["retry"])
    calls.faults.clear()
    assert kinds(handle(deliveries(event("evt_1")), store, RULES, MemoryTracer(), NOW)) == ["done"]
    assert (store.count(TENANT, "event"), store.count(TENANT, "run")) == (2, 1)


def test_a_count_that_fails_is_unavailable(opened: tuple[FirestoreStore, Calls]) -> None:
    store, calls = opened
    calls.faults.append(("RunAggregationQuery", "INTERNAL", "before"))
    with pytest.raises(Unavailable):
        store.count(A, "event")
    assert store.count(A, "event") == 0


def test_an_answer_that_breaks_off_in_its_middle_is_whole_or_unavailable_and_never_half(
    opened: tuple[FirestoreStore, Calls],
) -> None:
    store, calls = opened
    store.commit(A, None, [rule(f"r{n}", n) for n in range(1, 21)])
    every = [f"r{n}" for n in range(1, 21)]
    for after in (1, 7, 19):
        calls.breaks = after
        try:
            found = [one.id for one in store.find(A, "rule", order="updated_at").items]
        except Unavailable:
            found = []
        assert found in ([], every)
    calls.breaks = None
    assert [one.id for one in store.find(A, "rule", order="updated_at").items] == every


# ---- a whole story with a fault at every kind of call ---------------------------------------------------------------
@pytest.mark.parametrize("code", ["DEADLINE_EXCEEDED", "ABORTED"])
@pytest.mark.parametrize("number", [1, 3, 5, 7, 9])
def test_a_story_whose_commits_fail_after_they_happened_is_the_story(
    opened: tuple[FirestoreStore, Calls], number: int, code: str
) -> None:
    """The number-th commit of the workers happens, and nobody is told."""
    store, calls = opened
    world = World(opened=lambda: store)
    world.publish(LADDER)
    commits = [0]
    plain = calls.fault

    def fails_once(method: str, when: str) -> None:
        if (method, when) == ("Commit", "after"):
            commits[0] += 1
            if commits[0] == number:
                calls.faults.append((method, code, when))
        plain(method, when)

    calls.fault = fails_once  # type: ignore[method-assign]
    script = [(NOON, failed(1, NOON)), (NOON + DAY, failed(2, NOON + DAY))]
    live_on(world, script)
    assert commits[0] >= number
    assert [run["state"] for run in world.runs()] == ["done"]
    ids = [effect.id.partition("/")[2] for effect in world.outside.effects()]
    assert ids == ["tell-crm", "downgrade", "close"]


def live_on(world: World, script: Any) -> None:
    """Until it is over: what fails once is tried again, as the worker's loop does."""
    for one in (*script, None):
        for _ in range(5):
            try:
                world.live(NOON + 6 * DAY if one is None else one[0], *([one] if one else []))
                break
            except Unavailable:
                continue
        else:
            raise AssertionError("it fails again and again")


# ---- the database goes away -----------------------------------------------------------------------------------------
@pytest.fixture
def own_emulator() -> Iterator[Any]:
    """An emulator of this test's own, to be killed."""
    port = _free_port()
    try:
        command = emulators.command("firestore", port)
    except emulators.Missing as error:
        lacking(error)
    running: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        running.append(process)
        assert emulators.wait_for(port, process)
        return process

    yield port, start
    for process in running:
        process.kill()
        process.wait()


def test_a_database_that_is_killed_and_comes_back_is_unavailable_meanwhile_and_used_again_without_a_restart(
    own_emulator: Any,
) -> None:
    """The emulator forgets everything when it is killed, which the real one does not: what is tested is the client."""
    port, start = own_emulator
    process = start()
    client, _ = recording_client("test-killed", f"127.0.0.1:{port}")
    store, patient = FirestoreStore(client, patience=2.0), FirestoreStore(client, patience=60.0)
    patient.commit(A, logged("evt_1"), [])
    process.kill()
    process.wait()
    with pytest.raises(Unavailable):
        store.commit(A, logged("evt_2"), [])
    with pytest.raises(Unavailable):
        store.get(A, "event", "evt_1")
    said = kinds(handle(deliveries(event("evt_3")), store, RULES, MemoryTracer(), NOW))
    assert said == ["retry"]
    start()
    patient.commit(A, logged("evt_2"), [Put("rule", "r1", {"state": "live", "updated_at": "2026"})])
    assert got(patient, A, "event", "evt_2").id == "evt_2"
    assert kinds(handle(deliveries(event("evt_3")), patient, RULES, MemoryTracer(), NOW)) == ["done"]
    client.close()
