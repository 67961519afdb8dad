"""The processes that the fault tests kill: `python -m tests.faults.child WHAT FOLDER [...]`; each line they print is
something they answer for."""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from app.adapters.keys import load_keys
from app.adapters.sqlite import connect, transaction
from app.adapters.sqlite_bus import SqliteBus, prepare_inbox
from app.adapters.sqlite_inbox import SqliteInbox
from app.adapters.sqlite_store import SqliteStore
from app.adapters.sqlite_vault import SqliteVault
from rules.ports import ABSENT, DONE, AlreadyProcessed, Conflict, Delivery, Disposition, Put, Unavailable
from tests.contracts.bus import A, event
from tests.contracts.store import body_of, logged


def now() -> datetime:
    return datetime.now(UTC)


def say(text: str) -> None:
    os.write(1, text.encode() + b"\n")


def publish(folder: Path, prefix: str) -> None:
    """16 receivers publish without end, each event with a personal value; say the id once it is acknowledged."""
    bus = SqliteBus(folder, now)
    vault = SqliteVault(folder, load_keys(folder / "keys.json"), bus, lambda *look: None)

    def receiver(n: int) -> None:
        for i in range(1_000_000):
            id = f"{prefix}_{n}_{i}"
            (token,) = vault.tokenise(A, id, [f"{id}@example.com"])
            bus.publish(event(id, data={"email": token}))
            say(f"{id} {token}")

    for n in range(16):
        threading.Thread(target=receiver, args=(n,), daemon=True).start()
    threading.Event().wait()


def opening(folder: Path) -> None:
    """Open new data folders as their names come in, at the same moment as others do; say what came of it."""
    say("ready")
    for name in sys.stdin:
        data = folder / name.strip()
        try:
            keys, bus = load_keys(data / "keys.json"), SqliteBus(data, now)
            store, inbox = SqliteStore(data / "store.db"), SqliteInbox(data)
            SqliteVault(data, keys, bus, lambda *look: None)
            store.commit(A, None, [Put("memory", str(os.getpid()), {})])
            say(keys.fingerprint)
        except Exception as error:
            say(repr(error))
            continue
        for part in (store, inbox, bus):
            part.close()


def batches(folder: Path, prefix: str) -> None:
    """Commit batches of 20 events without end; say each batch once it is durable."""
    store = SqliteStore(folder / "store.db")
    for batch in range(1_000_000):
        with store.batch():
            for i in range(20):
                store.commit(A, logged(f"{prefix}_{batch}_{i}"), [Put("memory", f"{prefix}_{batch}", {"n": i})])
        say(f"{prefix}_{batch}")


def work(folder: Path) -> None:
    """Handle what is in the queue as the worker does, in small batches; say how many."""
    store, inbox = SqliteStore(folder / "store.db"), SqliteInbox(folder)

    def handler(deliveries: Sequence[Delivery]) -> list[Disposition]:
        with store.batch():
            for delivery in deliveries:
                with suppress(AlreadyProcessed):
                    store.commit(A, Put("event", delivery.event.id, body_of(delivery.event)), [])
        return [DONE for _ in deliveries]

    while handed := inbox.drain(handler, now() + timedelta(minutes=1), limit=7):
        say(str(handed))
    say("drained")


def count(folder: Path, times: str) -> None:
    """Add one to a document so many times, as one of several processes."""
    store = SqliteStore(folder / "store.db")
    for _ in range(int(times)):
        while True:
            read = store.get(A, "memory", "m")
            try:
                n, version = (read.body["n"] + 1, read.version) if read else (1, ABSENT)
                store.commit(A, None, [Put("memory", "m", {"n": n}, version)])
                break
            except Conflict:
                continue
    say("counted")


def full_disk(folder: Path) -> None:
    """Publish and commit until no file may grow any more, then until it may again; say what was acknowledged."""
    bus, store = SqliteBus(folder, now), SqliteStore(folder / "store.db")
    acknowledged: dict[str, list[str]] = {"events": [], "documents": []}

    def one(i: int) -> None:
        bus.publish(event(f"evt_{i}", data={"text": "x" * 20_000}))
        acknowledged["events"].append(f"evt_{i}")

    def two(i: int) -> None:
        store.commit(A, None, [Put("memory", f"m{i}", {"text": os.urandom(10_000).hex()})])
        acknowledged["documents"].append(f"m{i}")

    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    one(0)
    two(0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, unlimited[1]))
    failures = 0
    for i in range(1, 400):
        for step in (one, two):
            try:
                step(i)
            except Unavailable:
                failures += 1
    resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    one(1000)
    two(1000)
    say(json.dumps({**acknowledged, "failures": failures}))
    bus.close()
    store.close()


def read_only(folder: Path) -> None:
    """As a user who may not write the files, then as one who may again; say what was acknowledged."""
    if os.getuid() == 0:
        for path in (folder, *folder.iterdir()):
            os.chown(path, 65534, 65534)
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    said: list[str] = []

    def write(id: str) -> None:
        for attempt in (partial(_publish, folder, id), partial(_commit, folder, id)):
            try:
                attempt()
            except Unavailable as error:
                said.append(str(error))

    files = [folder / name for name in ("inbox.db", "store.db")]
    for path in files:
        path.chmod(0o444)
    write("evt_1")
    for path in folder.iterdir():  # SQLite has made its shared-memory files in the image of the databases
        path.chmod(0o644)
    write("evt_2")
    say(json.dumps(said))


def _publish(folder: Path, id: str) -> None:
    bus = SqliteBus(folder, now)
    bus.publish(event(id))
    bus.close()


def _commit(folder: Path, id: str) -> None:
    store = SqliteStore(folder / "store.db")
    store.commit(A, logged(id), [])
    store.close()


def sync_log(folder: Path, mode: str) -> None:
    """Publish 60 events one by one; the same log says each fsync (from the preloaded library) and each answer.
    mode: full, as the product does it, or normal, which must be seen to lose."""
    prepare_inbox(folder / "inbox.db")
    log = os.open(os.environ["SYNC_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    bus = SqliteBus(folder, now)
    connection = connect(folder / "inbox.db", durable=False)
    for i in range(60):
        if mode == "full":
            bus.publish(event(f"evt_{i}"))
        else:
            with transaction(connection):
                connection.execute(
                    "INSERT INTO inbox (tenant, id, published, payload) VALUES (?, ?, '', x'00')", (A, f"evt_{i}")
                )
        os.write(log, f"ack evt_{i}\n".encode())
    say("published")
    threading.Event().wait()


if __name__ == "__main__":
    what, folder, *more = sys.argv[1:]
    globals()[what](Path(folder), *more)
