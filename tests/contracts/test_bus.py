"""The Bus contract on each backend, and what only the SQLite queue can show."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from app.adapters.delivery import MAX_ATTEMPTS
from app.adapters.doorbell import Bell
from app.adapters.memory import ManualClock, MemoryBus
from app.adapters.sqlite_bus import SqliteBus
from app.adapters.sqlite_inbox import AlreadyRunning, SqliteInbox
from rules.ports import DONE, Delivery, Disposition, Unavailable
from tests.contracts.bus import NOON, RETRY, Both, QueueContract, Seen, event, in_threads


class TestMemoryBus(QueueContract):
    @pytest.fixture
    def both(self, clock: ManualClock) -> Both:
        bus = MemoryBus(clock.now)
        return bus, bus


class TestSqliteBus(QueueContract):
    @pytest.fixture
    def both(self, tmp_path: Path, clock: ManualClock) -> Iterator[Both]:
        bus, inbox = SqliteBus(tmp_path, clock.now), SqliteInbox(tmp_path)
        yield bus, inbox
        bus.close()
        inbox.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOON)


@pytest.fixture
def bus(tmp_path: Path, clock: ManualClock) -> Iterator[SqliteBus]:
    bus = SqliteBus(tmp_path, clock.now)
    yield bus
    bus.close()


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[SqliteInbox]:
    inbox = SqliteInbox(tmp_path)
    yield inbox
    inbox.close()


def rows(folder: Path, sql: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(folder / "inbox.db")
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def test_many_publishers_share_a_commit(tmp_path: Path) -> None:
    batches = []

    def now():  # type: ignore[no-untyped-def]
        batches.append(1)  # the writer asks the time once for each commit
        return NOON

    bus = SqliteBus(tmp_path, now)
    hold = sqlite3.connect(tmp_path / "inbox.db", isolation_level=None)
    bus.publish(event("evt_0"))
    hold.execute("BEGIN IMMEDIATE")  # the first commit waits, the others gather behind it
    threads = [threading.Thread(target=bus.publish, args=(event(f"evt_{i}"),)) for i in range(1, 31)]
    for thread in threads:
        thread.start()
    hold.execute("ROLLBACK")
    for thread in threads:
        thread.join()
    bus.close()
    hold.close()
    assert len(rows(tmp_path, "SELECT 1 FROM inbox")) == 31
    assert len(batches) < 31


def test_publishing_after_closing_is_refused(tmp_path: Path, clock: ManualClock) -> None:
    bus = SqliteBus(tmp_path, clock.now)
    bus.publish(event())
    bus.close()
    with pytest.raises(Unavailable):
        bus.publish(event("evt_2"))


def test_a_queue_that_is_not_durable_for_a_second_turns_new_events_away(tmp_path: Path, clock: ManualClock) -> None:
    ticks = [0.0]
    bus = SqliteBus(tmp_path, clock.now, monotonic=lambda: ticks[0])
    bus.publish(event("evt_0"))
    hold = sqlite3.connect(tmp_path / "inbox.db", isolation_level=None)
    hold.execute("BEGIN IMMEDIATE")
    waiting = threading.Thread(target=bus.publish, args=(event("evt_1"),))
    waiting.start()
    while bus.waiting() == 0:
        pass
    ticks[0] = 1.1
    with pytest.raises(Unavailable, match=r"1\.1 s"):
        bus.publish(event("evt_2"))
    hold.execute("ROLLBACK")
    waiting.join()
    bus.publish(event("evt_2"))
    hold.close()
    bus.close()
    assert len(rows(tmp_path, "SELECT 1 FROM inbox")) == 3


def test_the_inbox_goes_on_where_it_stopped_after_a_restart(tmp_path: Path, bus: SqliteBus) -> None:
    for i in range(3):
        bus.publish(event(f"evt_{i}"))
    first = SqliteInbox(tmp_path)
    first.drain(Seen(evt_1=RETRY), NOON)
    first.close()
    second, seen = SqliteInbox(tmp_path), Seen()
    second.drain(seen, NOON + timedelta(hours=1))
    second.close()
    assert [(delivery.event.id, delivery.attempt) for delivery in seen.deliveries] == [("evt_1", 2)]


def test_a_second_worker_on_the_folder_is_refused_with_the_first_ones_process(
    tmp_path: Path, bus: SqliteBus, inbox: SqliteInbox
) -> None:
    inbox.drain(Seen(), NOON)
    other = SqliteInbox(tmp_path)
    with pytest.raises(AlreadyRunning, match=r"another worker \(process \d+\) works on .* SIGNALBOX_DATA"):
        other.drain(Seen(), NOON)
    assert other.dead() == []  # looking is for everybody
    inbox.close()
    assert other.drain(Seen(), NOON) == 0
    other.close()


class Died(BaseException):
    """The process ends here."""


def die(batch: Sequence[Delivery]) -> list[Disposition]:
    raise Died


def test_what_a_worker_died_with_is_handed_over_alone(tmp_path: Path, bus: SqliteBus) -> None:
    for i in range(4):
        bus.publish(event(f"evt_{i}"))
    first = SqliteInbox(tmp_path)
    with pytest.raises(Died):
        first.drain(die, NOON)
    first.close()
    bus.publish(event("evt_4"))
    second, seen = SqliteInbox(tmp_path), Seen()
    while second.drain(seen, NOON):
        pass
    second.close()
    assert sorted(seen.ids) == [f"evt_{i}" for i in range(5)]
    assert [len(batch) for batch in seen.batches] == [1, 1, 1, 1, 1]


def test_a_delivery_that_kills_every_worker_dies_and_the_others_go_on(tmp_path: Path, bus: SqliteBus) -> None:
    for i in range(3):
        bus.publish(event(f"evt_{i}"))
    done: list[str] = []

    def handler(batch: Sequence[Delivery]) -> list[Disposition]:
        if any(delivery.event.id == "evt_0" for delivery in batch):
            raise Died
        done.extend(delivery.event.id for delivery in batch)
        return [DONE for _ in batch]

    for _ in range(MAX_ATTEMPTS + 1):
        inbox = SqliteInbox(tmp_path)
        try:
            while inbox.drain(handler, NOON):
                pass
        except Died:
            pass
        finally:
            inbox.close()
    inbox = SqliteInbox(tmp_path)
    assert [(dead.event_id, dead.reason) for dead in inbox.dead()] == [
        ("evt_0", "the worker died each time it handled this")
    ]
    inbox.close()
    assert sorted(done) == ["evt_1", "evt_2"]


def test_settled_rows_are_trimmed_and_dead_ones_are_kept(
    tmp_path: Path, bus: SqliteBus, inbox: SqliteInbox, clock: ManualClock
) -> None:
    for i in range(6):
        bus.publish(event(f"evt_{i}"))
    inbox.drain(Seen(evt_1=Disposition("dead", "no"), evt_2=RETRY), NOON, limit=5)
    bus.close()
    fresh = SqliteBus(tmp_path, clock.now)
    fresh.publish(event("evt_6"))  # the first commit of a process trims
    fresh.close()
    kept = [row[0] for row in rows(tmp_path, "SELECT id FROM inbox ORDER BY seq")]
    assert kept == ["evt_1", "evt_2", "evt_5", "evt_6"]
    assert inbox.replay([inbox.dead()[0].id], NOON) == 1
    seen = Seen()
    while inbox.drain(seen, NOON + timedelta(hours=1)):
        pass
    assert sorted(seen.ids) == ["evt_1", "evt_2", "evt_5", "evt_6"]


def test_a_row_that_is_no_event_dies_by_itself(tmp_path: Path, bus: SqliteBus, inbox: SqliteInbox) -> None:
    bus.publish_bytes("evt_odd", "default/live", b'{"specversion": "9"}')
    bus.publish(event())
    seen = Seen()
    inbox.drain(seen, NOON)
    assert seen.ids == ["evt_1"]
    assert [(dead.event_id, dead.event_type) for dead in inbox.dead()] == [("evt_odd", "")]


def test_a_new_inbox_file_is_read_from_its_start(tmp_path: Path, clock: ManualClock) -> None:
    bus, inbox = SqliteBus(tmp_path, clock.now), SqliteInbox(tmp_path)
    for i in range(3):
        bus.publish(event(f"evt_{i}"))
    inbox.drain(Seen(), NOON)
    bus.close()
    inbox.close()
    for name in ("inbox.db", "inbox.db-wal", "inbox.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    bus, inbox, seen = SqliteBus(tmp_path, clock.now), SqliteInbox(tmp_path), Seen()
    bus.publish(event("evt_new"))
    inbox.drain(seen, NOON)
    bus.close()
    inbox.close()
    assert seen.ids == ["evt_new"]


def test_publishing_rings_the_workers_bell(tmp_path: Path, bus: SqliteBus) -> None:
    bell = Bell(tmp_path / "worker.sock")
    assert not bell.wait(0.0)
    in_threads(4, lambda n: bus.publish(event(f"evt_{n}")))
    assert bell.wait(5.0)
    bell.close()


def test_a_bell_whose_path_is_too_long_only_waits(tmp_path: Path) -> None:
    bell = Bell(tmp_path / ("x" * 200))
    assert not bell.wait(0.001)
    bell.close()
