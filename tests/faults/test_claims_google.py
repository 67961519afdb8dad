"""Several workers on one Firestore share what is due: everything once, nothing left behind when one of them dies."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.adapters.firestore_claims import BEAT, GONE, SHARDS, shard_of
from app.perform import waking
from rules.event import iso
from rules.ports import ABSENT, Put, Unavailable
from tests.contracts.store import NOON, A, B
from tests.contracts.store import run as due_run
from tests.contracts.test_firestore import check_indexes
from tests.faults.test_google import together
from tests.firestore_calls import recording_client

pytestmark = pytest.mark.emulator
LEASE = waking.LEASE
NOW = NOON + timedelta(hours=1)  # what these tests fill in was due at noon
SECOND = timedelta(seconds=1)
LATER = NOW + SECOND


class Worker:
    """A worker's own client on the database of this test."""

    def __init__(self, project: str, name: str, idle: timedelta = timedelta(0)) -> None:
        from app.adapters.firestore import FirestoreStore

        self.client, self.calls = recording_client(project, os.environ["FIRESTORE_EMULATOR_HOST"])
        self.store = FirestoreStore(self.client, patience=30.0, worker=name, idle=idle)

    def claimed(self, at: Any = LATER, limit: int = 1000) -> list[str]:
        return [one.id for one in self.store.claim("run", at, LEASE, limit)]

    @property
    def lost(self) -> int:
        return int(self.store._claims.lost)


Started = Callable[..., Worker]


@pytest.fixture
def started(firestore_emulator: None) -> Iterator[Started]:
    project, workers = f"test-{uuid.uuid4().hex[:12]}", []

    def start(name: str, **more: Any) -> Worker:
        workers.append(Worker(project, name, **more))
        return workers[-1]

    yield start
    for worker in workers:
        worker.client.close()
        check_indexes(worker.calls)


def acquainted(*workers: Worker) -> None:
    """Each has shown twice that it lives, so all know of all."""
    for at in (NOW - BEAT - SECOND, NOW):
        for worker in workers:
            worker.claimed(at)


def fill(worker: Worker, count: int, tenant: str = A) -> set[str]:
    for start in range(0, count, 100):
        rows = [due_run(f"run_{n:04}", expect=ABSENT) for n in range(start, min(start + 100, count))]
        worker.store.commit(tenant, None, rows)
    return {f"run_{n:04}" for n in range(count)}


# ---- the shares -----------------------------------------------------------------------------------------------------
@given(st.sets(st.text(min_size=1, max_size=40), min_size=200, max_size=200))
def test_every_id_has_one_shard_and_many_ids_many(ids: set[str]) -> None:
    found = Counter(shard_of(id) for id in ids)
    assert set(found) <= set(range(SHARDS))
    assert max(found.values()) < 20


def test_workers_that_live_share_the_shards_out_among_them(started: Started) -> None:
    workers = [started(f"w{n}") for n in range(4)]
    acquainted(*workers)
    every = fill(workers[0], 300)
    shares = [set(worker.claimed(LATER)) for worker in workers]
    assert set.union(*shares) == every
    for number, share in enumerate(shares):
        assert {shard_of(id) % len(workers) for id in share} == {number}
    assert [worker.lost for worker in workers] == [0, 0, 0, 0]
    assert [worker.store.share() for worker in workers] == [0.25] * 4  # of the rate of each connection, too


def test_a_worker_that_is_alone_asks_for_all_at_once_and_of_every_tenant(started: Started) -> None:
    alone = started("alone")
    fill(alone, 3)
    fill(alone, 2, B)
    with alone.calls.counted() as asked:
        assert len(alone.claimed()) == 5
    (query,) = [one for one in asked.queries if one.from_[0].collection_id == "run"]
    assert query.where.field_filter.field.field_path == "due_at"
    assert asked.reads == 5 + 1  # and its own name


# ---- one of them dies -----------------------------------------------------------------------------------------------
def test_what_a_dead_worker_left_is_the_others_after_a_while_and_what_it_had_leased_after_its_lease(
    started: Started,
) -> None:
    first, second = started("w1"), started("w2")
    acquainted(first, second)
    every = fill(first, 60)
    had = set(first.claimed(LATER, limit=5))
    assert len(had) == 5  # and now it is killed
    mine = set(second.claimed(LATER))
    assert mine == {id for id in every if shard_of(id) % 2 == 1}
    assert second.claimed(LATER + BEAT) == []  # it may still live
    rest = second.claimed(LATER + GONE + BEAT)
    assert set(rest) == every - mine - had
    assert set(second.claimed(LATER + LEASE + GONE)) >= had


def test_a_worker_that_ends_leaves_its_share_at_once(started: Started) -> None:
    first, second = started("w1"), started("w2")
    acquainted(first, second)
    every = fill(first, 40)
    first.store.close()
    assert set(second.claimed(NOW + BEAT)) == every


def test_a_new_worker_takes_its_share_without_a_word(started: Started) -> None:
    first = started("w1")
    first.claimed(NOW)
    every = fill(first, 60)
    second = started("w2")
    theirs = set(second.claimed(LATER))
    assert 0 < len(theirs) < 60
    assert theirs | set(first.claimed(LATER)) == every
    assert first.lost == second.lost == 0


def test_a_worker_that_met_another_looks_again_at_once_who_lives(started: Started) -> None:
    first, second = started("w1"), started("w2")
    first.claimed(NOW)  # alone, as it believes for ten seconds
    second.claimed(NOW)
    every = fill(second, 60)
    first.calls.faults.append(("Commit", "ABORTED", "before"))  # the second was at one of them
    assert set(first.claimed(NOW, limit=2)) <= every
    mine = set(first.claimed(LATER))
    assert mine
    assert {shard_of(id) % 2 for id in mine} == {0}


def test_what_an_older_release_wrote_without_a_shard_is_found_too(started: Started) -> None:
    first, second = started("w1"), started("w2")
    acquainted(first, second)
    fill(first, 1)
    place = first.client.collection("tenants", "default%2Flive", "run").document("run_0000")
    from google.cloud import firestore

    place.update({"shard": firestore.DELETE_FIELD})
    found = {}
    for seconds in range(1, 90, 9):  # both live
        at = NOW + timedelta(seconds=seconds)
        found[seconds] = first.claimed(at) + second.claimed(at)
    assert [id for ids in found.values() for id in ids] == ["run_0000"]
    assert found[1] == found[10] == []


def test_the_list_of_workers_keeps_none_that_are_long_gone(started: Started) -> None:
    for n in range(3):
        started(f"old{n}").claimed(NOW)
    last = started("new")
    last.claimed(NOW + timedelta(hours=2))
    assert [one.id for one in last.client.collection("workers").stream()] == ["new"]


# ---- at the same moment ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("count", [2, 4])
def test_workers_at_one_moment_claim_every_run_once_and_hardly_meet(started: Started, count: int) -> None:
    workers = [started(f"w{n}") for n in range(count)]
    acquainted(*workers)
    every = fill(workers[0], 240)
    claimed: list[str] = []

    def body(worker: Worker) -> Callable[[], None]:
        def work() -> None:
            while found := worker.claimed(LATER, limit=10):
                claimed.extend(found)

        return work

    together(*(body(worker) for worker in workers))
    assert Counter(claimed) == dict.fromkeys(every, 1)
    assert sum(worker.lost for worker in workers) == 0


def test_workers_that_believe_to_be_alone_still_share_nothing(started: Started) -> None:
    """Whatever they believe: the lease is a write with the version that was read."""
    workers = [started("") for _ in range(3)]
    every = fill(workers[0], 120)
    claimed: list[str] = []

    def body(worker: Worker) -> Callable[[], None]:
        def work() -> None:
            for _ in range(60):
                claimed.extend(worker.claimed(LATER, limit=10))
                if len(claimed) >= len(every):
                    return

        return work

    together(*(body(worker) for worker in workers))
    assert Counter(claimed) == dict.fromkeys(every, 1)


# ---- what a look costs ----------------------------------------------------------------------------------------------
def test_an_idle_worker_asks_once_a_second_and_at_once_when_it_made_something_due(started: Started) -> None:
    worker = started("w1", idle=SECOND)
    worker.claimed(NOW)
    with worker.calls.counted() as asked:
        for look in range(40):  # two seconds at the pace of the loop
            assert worker.claimed(NOW + look * SECOND / 20) == []
    assert asked.reads == 1
    assert worker.claimed(NOW + 2 * SECOND) == []
    fill(worker, 1)
    assert worker.claimed(NOW + 2 * SECOND) == ["run_0000"]


def test_what_another_process_made_due_is_found_within_a_second(started: Started) -> None:
    worker, web = started("w1", idle=SECOND), started("")
    worker.claimed(NOW)
    fill(web, 1)
    assert worker.claimed(NOW + SECOND / 2) == []
    assert worker.claimed(NOW + SECOND) == ["run_0000"]


# ---- faults ---------------------------------------------------------------------------------------------------------
def test_a_lease_that_happened_though_nobody_was_told_ends_by_itself(started: Started) -> None:
    worker, calls = (one := started("w1")), one.calls
    every = fill(worker, 3)
    worker.claimed(NOON - SECOND)
    calls.faults.append(("Commit", "DEADLINE_EXCEEDED", "after"))
    with pytest.raises(Unavailable):
        worker.claimed(NOON)
    assert worker.claimed(NOON) == []  # leased, by nobody who knows
    assert set(worker.claimed(NOON + LEASE)) == every


def test_a_lease_that_was_aborted_is_taken_part_by_part(started: Started) -> None:
    worker = started("w1")
    every = fill(worker, 8)
    worker.claimed(NOON - SECOND)
    worker.calls.faults += [("Commit", "ABORTED", "before")]
    assert set(worker.claimed(NOON)) == every
    assert worker.lost == 1


def test_what_was_claimed_counts_when_the_next_part_cannot_be(started: Started) -> None:
    worker = started("w1")
    fill(worker, 130)
    commits = []
    plain = worker.calls.fault

    def fails_at_the_second(method: str, when: str) -> None:
        if (method, when) == ("Commit", "before"):
            commits.append(method)
            worker.calls.faults += [(method, "INTERNAL", when)] * (len(commits) == 3)  # its sign of life is the first
        plain(method, when)

    worker.calls.fault = fails_at_the_second  # type: ignore[method-assign]
    assert len(worker.claimed()) == 100
    assert len(worker.claimed()) == 30


# ---- processes ------------------------------------------------------------------------------------------------------
CHILD = """
import sys, time
from tests.faults.test_claims_google import BEAT, LEASE, NOW, SECOND, Worker
from rules.ports import Put
worker = Worker(sys.argv[1], sys.argv[2])
worker.claimed(NOW - BEAT - SECOND)
print("ready", flush=True)
sys.stdin.readline()
began, empty = time.monotonic(), 0
while empty < 3:
    found = worker.store.claim("run", NOW, LEASE, 25)
    empty = 0 if found else empty + 1
    for one in found:
        worker.store.commit(one.tenant, None, [Put("run", one.id, {**one.body, "due_at": None}, one.version)])
        print("did", one.id, flush=True)
print("end", time.monotonic() - began, worker.lost, flush=True)
"""


def race(project: str, count: int, runs: int) -> tuple[Counter[str], float, int]:
    """(how often each run was done, seconds, batches that met another worker) by so many worker processes."""
    maker = Worker(project, "")
    for start in range(0, runs, 100):
        rows = [
            Put("run", f"run_{n:05}", {"state": "active", "created_at": "2026", "due_at": iso(NOW)}, ABSENT)
            for n in range(start, min(start + 100, runs))
        ]
        maker.store.commit(A, None, rows)
    maker.client.close()
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, project, f"w{n}"],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(count)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    lines = [line.split() for child in children for line in child.communicate(timeout=300)[0].splitlines()]
    done = Counter(line[1] for line in lines if line[0] == "did")
    ends = [line for line in lines if line[0] == "end"]
    assert len(ends) == count
    return done, max(float(line[1]) for line in ends), sum(int(line[2]) for line in ends)


def test_two_worker_processes_do_every_run_once(firestore_emulator: None) -> None:
    done, _, _ = race(f"test-{uuid.uuid4().hex[:12]}", 2, 100)
    assert len(done) == 100
    assert set(done.values()) == {1}


@pytest.mark.nightly
@pytest.mark.parametrize("count", [1, 4])
def test_worker_processes_do_every_run_once(firestore_emulator: None, count: int) -> None:
    done, seconds, lost = race(f"test-{uuid.uuid4().hex[:12]}", count, 1000)
    assert len(done) == 1000
    assert set(done.values()) == {1}
    assert lost == 0, seconds


# ---- as it is wired -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("process", "lives"), [("worker", 1), ("web", 0), ("tick", 0)])
def test_a_worker_process_shares_and_a_tick_takes_what_there_is(
    firestore_emulator: None, pubsub_emulator: None, tmp_path: Path, process: str, lives: int
) -> None:
    from app import backends
    from app.adapters.memory import ManualClock
    from app.settings import Settings

    project = f"test-{uuid.uuid4().hex[:12]}"
    settings = Settings(
        backend="google",
        google_project=project,
        data=tmp_path,
        firestore_emulator=os.environ["FIRESTORE_EMULATOR_HOST"],
        pubsub_emulator=os.environ["PUBSUB_EMULATOR_HOST"],
    )
    look, _ = recording_client(project, settings.firestore_emulator)
    backend = backends.on_google(settings, ManualClock(NOW), process)
    backend.store.commit(A, None, [due_run("run_1")])
    assert [one.id for one in backend.store.claim("run", NOW, LEASE, 10)] == ["run_1"]
    assert len(list(look.collection("workers").stream())) == lives
    for close in backend.closers:
        close()
    assert list(look.collection("workers").stream()) == []
    look.close()
