"""What was acknowledged is there: after kill -9, a power cut, a full disk, a read-only file, a file held by another."""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from app.adapters.keys import load_keys
from app.adapters.memory import ManualClock
from app.adapters.sqlite_bus import SqliteBus
from app.adapters.sqlite_inbox import SqliteInbox
from app.adapters.sqlite_store import SqliteStore
from app.adapters.sqlite_vault import SqliteVault
from rules.ports import Unavailable
from tests.contracts.bus import NOON, A, Seen, event
from tests.contracts.store import got, ids, logged

ROOT = Path(__file__).parents[2]


@contextmanager
def child(*arguments: object, **environment: str) -> Iterator[IO[str]]:
    """A child process; its lines inside, and kill -9 at the end."""
    command = [sys.executable, "-m", "tests.faults.child", *map(str, arguments)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment})
    assert process.stdout is not None
    try:
        yield process.stdout
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def finished(*arguments: object) -> str:
    """The last line of a child that ends by itself."""
    command = [sys.executable, "-m", "tests.faults.child", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120).stdout.split(
        "\n"
    )[-2]


def killed(lines: int, *arguments: object) -> list[str]:
    """What a child had said when it was killed, shortly after its first so many lines."""
    command = [sys.executable, "-m", "tests.faults.child", *map(str, arguments)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = [process.stdout.readline() for _ in range(lines)]
    process.kill()
    said += process.stdout.readlines()  # what was in the pipe when it died was said as well
    process.wait()
    process.stdout.close()
    return [line.strip() for line in said if line.endswith("\n")]


def stored(folder: Path, sql: str = "SELECT id FROM inbox") -> set[str]:
    connection = sqlite3.connect(folder / "inbox.db")
    try:
        return {row[0] for row in connection.execute(sql)}
    finally:
        connection.close()


# ---- kill -9 --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kills", [4, pytest.param(60, marks=pytest.mark.nightly)])
def test_every_acknowledged_event_survives_kill_9_with_its_personal_values(tmp_path: Path, kills: int) -> None:
    keys = load_keys(tmp_path / "keys.json")
    said: list[str] = []
    for kill in range(kills):
        said += killed(random.Random(kill).randrange(100, 1500), "publish", tmp_path, f"evt_{kill}")
    events = [line.split()[0] for line in said]
    assert set(events) <= stored(tmp_path)
    assert len(set(events)) == len(events) > kills * 100
    bus = SqliteBus(tmp_path, ManualClock(NOON).now)
    vault = SqliteVault(tmp_path, keys, bus, lambda *look: None)
    for id, token in (line.split() for line in said[:: max(len(said) // 500, 1)]):
        assert vault.reveal(A, token, "test", "test") == f"{id}@example.com"
    tokens = stored(tmp_path, "SELECT token FROM vault")
    assert {line.split()[1] for line in said} <= tokens
    bus.close()


@pytest.mark.parametrize("kills", [3, pytest.param(40, marks=pytest.mark.nightly)])
def test_a_killed_batch_is_there_whole_or_not_at_all(tmp_path: Path, kills: int) -> None:
    said: list[str] = []
    for kill in range(kills):
        said += killed(random.Random(kill).randrange(1, 60), "batches", tmp_path, f"b{kill}")
    store = SqliteStore(tmp_path / "store.db")
    sizes: dict[str, int] = {}
    for id in everything(store, "event"):
        batch = id.rsplit("_", 1)[0]
        sizes[batch] = sizes.get(batch, 0) + 1
    store.close()
    assert set(sizes.values()) == {20}
    assert set(said) <= set(sizes)


def everything(store: SqliteStore, kind: str) -> Iterator[str]:
    after = None
    while True:
        page = store.find(A, kind, after=after, limit=500)
        yield from ids(page.items)
        after = page.next
        if after is None:
            return


def test_every_event_is_handled_although_the_worker_is_killed_again_and_again(tmp_path: Path) -> None:
    bus = SqliteBus(tmp_path, ManualClock(NOON).now)
    published = [f"evt_{i}" for i in range(300)]
    for id in published:
        bus.publish(event(id))
    bus.close()
    for kill in range(4):
        killed(kill * 3 + 1, "work", tmp_path)
    with child("work", tmp_path) as lines:
        assert [line for line in lines if line == "drained\n"]
    store, inbox = SqliteStore(tmp_path / "store.db"), SqliteInbox(tmp_path)
    assert sorted(everything(store, "event")) == sorted(published)
    assert inbox.dead() == []
    assert inbox.oldest() is None
    store.close()
    inbox.close()


def test_two_processes_lose_no_update_to_each_other(tmp_path: Path) -> None:
    SqliteStore(tmp_path / "store.db").close()
    with child("count", tmp_path, 60) as one, child("count", tmp_path, 60) as other:
        assert one.readline() == other.readline() == "counted\n"
    store = SqliteStore(tmp_path / "store.db")
    assert got(store, A, "memory", "m").body == {"n": 120}
    store.close()


def test_processes_that_start_together_on_a_new_folder_all_start(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.faults.child", "opening", str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    children = [subprocess.Popen(command, cwd=ROOT, **pipes) for _ in range(3)]
    assert [line(process) for process in children] == ["ready"] * 3
    for start in range(20):
        for process in children:
            assert process.stdin is not None
            process.stdin.write(f"data{start}\n")
        assert len({line(process) for process in children}) == 1  # all have the same keys, and no error
    for process in children:
        process.communicate()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


# ---- power ----------------------------------------------------------------------------------------------------------
def copied(folder: Path, to: Path, cut: int | None = None) -> Path:
    """inbox.db and its log as they are now, the log cut to so many bytes."""
    to.mkdir()
    shutil.copy(folder / "inbox.db", to)
    log = (folder / "inbox.db-wal").read_bytes()
    (to / "inbox.db-wal").write_bytes(log if cut is None else log[:cut])
    return to


def test_a_copy_of_the_files_under_load_holds_all_that_was_acknowledged(tmp_path: Path) -> None:
    bus = SqliteBus(tmp_path / "data", ManualClock(NOON).now)
    for i in range(50):
        bus.publish(event(f"evt_{i}"))
    copy = copied(tmp_path / "data", tmp_path / "copy")
    with (copy / "inbox.db-wal").open("ab") as log:
        log.write(random.Random(1).randbytes(5_000))  # a write that was under way when the power went
    bus.close()
    assert stored(copy) == {f"evt_{i}" for i in range(50)}


@pytest.mark.nightly  # needs a C compiler and Linux
@pytest.mark.parametrize("mode", ["full", "normal"])
def test_what_was_acknowledged_is_behind_an_fsync_at_every_moment(tmp_path: Path, mode: str) -> None:
    """Cut the log at the last fsync before each moment; with fsyncs switched off the same test must see losses."""
    library, log = tmp_path / "sync_log.so", tmp_path / "sync.log"
    source = Path(__file__).with_name("sync_log.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    data = tmp_path / "data"
    with child("sync_log", data, mode, LD_PRELOAD=str(library), SYNC_LOG=str(log)) as lines:
        assert lines.readline() == "published\n"
    acknowledged: set[str] = set()
    durable, missing = 0, 0
    for line in log.read_text().splitlines():
        if line.startswith("ack "):
            acknowledged.add(line[4:])
            copy = copied(data, tmp_path / "copy", durable)
            missing += len(acknowledged - stored(copy))
            shutil.rmtree(copy)
        elif line.split()[1].endswith("inbox.db-wal"):
            durable = int(line.split()[2])
    assert len(acknowledged) == 60
    assert (missing == 0) == (mode == "full")


# ---- a file that cannot be written ----------------------------------------------------------------------------------
@contextmanager
def held(path: Path) -> Iterator[sqlite3.Connection]:
    """Another process's write transaction on a file."""
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield other
    finally:
        if other.in_transaction:
            other.execute("ROLLBACK")
        other.close()


def test_publishers_wait_while_another_holds_the_queue_for_two_seconds(tmp_path: Path) -> None:
    bus = SqliteBus(tmp_path, ManualClock(NOON).now)
    answers: dict[str, str] = {}

    def publish(id: str) -> None:
        try:
            bus.publish(event(id))
            answers[id] = "acknowledged"
        except Unavailable:
            answers[id] = "refused"

    with held(tmp_path / "inbox.db") as other:
        threads = [threading.Thread(target=publish, args=(f"evt_{i}",)) for i in range(8)]
        for thread in threads:
            thread.start()
        threading.Timer(2.0, other.execute, ["ROLLBACK"]).start()
        for thread in threads:
            thread.join()
    bus.publish(event("evt_after"))
    bus.close()
    assert set(answers.values()) == {"acknowledged"}
    assert stored(tmp_path) == {*answers, "evt_after"}


def test_nothing_is_acknowledged_that_could_not_be_written_in_time(tmp_path: Path) -> None:
    bus = SqliteBus(tmp_path, ManualClock(NOON).now, busy=0.05)
    with held(tmp_path / "inbox.db"), pytest.raises(Unavailable, match="locked"):
        bus.publish(event("evt_1"))
    assert stored(tmp_path) == set()
    bus.publish(event("evt_2"))
    bus.close()
    assert stored(tmp_path) == {"evt_2"}


def test_personal_values_of_a_failed_publish_go_with_the_next(tmp_path: Path) -> None:
    bus = SqliteBus(tmp_path, ManualClock(NOON).now, busy=0.05)
    vault = SqliteVault(tmp_path, load_keys(tmp_path / "keys.json"), bus, lambda *look: None)
    (token,) = vault.tokenise(A, "cus_1", ["ada@example.com"])
    with held(tmp_path / "inbox.db"), pytest.raises(Unavailable):
        bus.publish(event("evt_1"))
    vault.tokenise(A, "cus_1", ["ada@example.com"])  # known already
    bus.publish(event("evt_1"))
    bus.close()
    assert stored(tmp_path, "SELECT token FROM vault") == {token}


def test_a_store_held_too_long_is_unavailable_and_nothing_is_half_done(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db", busy=0.05)
    with held(tmp_path / "store.db"):
        with pytest.raises(Unavailable):
            store.commit(A, logged("evt_1"), [])
        with pytest.raises(Unavailable), store.batch():
            store.commit(A, logged("evt_1"), [])
        assert store.get(A, "event", "evt_1") is None  # reading goes on
    with store.batch():
        store.commit(A, logged("evt_1"), [])
    assert got(store, A, "event", "evt_1").id == "evt_1"
    store.close()


def test_a_full_disk_is_unavailable_and_work_goes_on_when_there_is_room(tmp_path: Path) -> None:
    said = json.loads(finished("full_disk", tmp_path))
    assert said["failures"] > 0
    assert said["events"][-1] == "evt_1000"
    assert said["documents"][-1] == "m1000"
    assert set(said["events"]) <= stored(tmp_path)
    store = SqliteStore(tmp_path / "store.db")
    assert set(said["documents"]) == set(everything(store, "memory"))
    store.close()
    inbox, seen = SqliteInbox(tmp_path), Seen()
    while inbox.drain(seen, NOON):
        pass
    inbox.close()
    assert set(said["events"]) <= set(seen.ids)


def test_read_only_files_are_unavailable_and_work_goes_on_when_they_may_be_written() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        SqliteBus(folder, ManualClock(NOON).now).close()
        SqliteStore(folder / "store.db").close()
        first, second = json.loads(finished("read_only", folder))
        assert "readonly" in first
        assert "readonly" in second
        assert stored(folder) == {"evt_2"}
        store = SqliteStore(folder / "store.db")
        assert list(everything(store, "event")) == ["evt_2"]
        store.close()
