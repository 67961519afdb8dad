"""The quarantine's promises on each backend."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from app import jobs
from app.adapters.keys import Keyring
from app.adapters.memory import ManualClock, MemoryBus, MemoryStore, MemoryVault
from app.adapters.sqlite_bus import SqliteBus
from app.adapters.sqlite_inbox import SqliteInbox
from app.adapters.sqlite_store import SqliteStore
from app.adapters.sqlite_vault import SqliteVault
from app.receive import quarantine, quarantine_job
from app.receive.quarantine import Which
from rules.conforming import Fault
from rules.ports import Delivery, Disposition, Unavailable
from tests.builders import NOON, TENANT, body_of, envelope, invoice
from tests.contracts.quarantine import Crash, Crashing, QuarantineContract, World, bad

KEYS = Keyring.make()


class TestInMemory(QuarantineContract):
    @pytest.fixture
    def world(self) -> World:
        bus = MemoryBus(ManualClock(NOON).now)
        return World(MemoryStore(), MemoryVault(), bus, bus)


class TestOnSqlite(QuarantineContract):
    @pytest.fixture
    def world(self, tmp_path: Path) -> Iterator[World]:
        store, bus = SqliteStore(tmp_path / "store.db"), SqliteBus(tmp_path, ManualClock(NOON).now)
        inbox, vault = SqliteInbox(tmp_path), SqliteVault(tmp_path, KEYS, bus, lambda *look: None)
        yield World(store, vault, bus, inbox)
        for one in (bus, inbox, vault, store):
            one.close()


def test_another_process_finds_the_body_as_soon_as_stripe_has_its_answer(tmp_path: Path) -> None:
    store, bus = SqliteStore(tmp_path / "store.db"), SqliteBus(tmp_path, ManualClock(NOON).now)
    world = World(store, SqliteVault(tmp_path, KEYS, bus, lambda *look: None), bus, SqliteInbox(tmp_path))
    other = SqliteBus(tmp_path, ManualClock(NOON).now)
    vault = SqliteVault(tmp_path, KEYS, other, lambda *look: None)
    assert world.send(bad()).status == 200
    document = store.get(TENANT, "quarantine", "evt_1")
    assert document is not None
    assert quarantine.body_of(vault, TENANT, document, "kim", "looking") == body_of(bad())
    for one in (bus, other, world.inbox, world.vault, vault, store):
        one.close()  # type: ignore[attr-defined]


# ---- in memory alone, what no backend makes a difference to ----------------------------------------------------------
@pytest.fixture
def world() -> World:
    bus = MemoryBus(ManualClock(NOON).now)
    return World(MemoryStore(), MemoryVault(), bus, bus)


def job_done(world: World, verb: quarantine_job.Verb, as_it_is: bool = False, late: tuple[str, ...] = ()) -> Any:
    """The job over everything that waits, with what comes in after it was asked for; its document's body."""
    later = NOON + timedelta(minutes=10)
    begun = quarantine_job.start(world.store, TENANT, verb, Which(), "kim", "all of them", later, as_it_is)
    for id in late:
        world.send(bad(id), 11)
    types = {quarantine_job.JOB: quarantine_job.job(world.keeper, world.bus)}
    for _ in range(20):
        jobs.run_one(world.store, types, later)
    found = world.store.get(TENANT, "job", begun["id"])
    assert found is not None
    return found.body


def test_a_job_of_many_leaves_alone_what_comes_in_after_it_was_asked_for(world: World) -> None:
    world.send(bad("evt_1"))
    done = job_done(world, "discard", late=("evt_2",))
    assert (done["state"], done["summary"]["done"]) == ("done", 1)
    assert world.entry("evt_2")["state"] == "waiting"


def test_a_job_of_many_that_do_not_conform_tries_each_once_and_ends(world: World) -> None:
    count = quarantine_job.STEP * 2 + 1
    for number in range(count):
        world.send(bad(f"evt_{number}"))
    done = job_done(world, "replay")
    assert (done["state"], done["summary"]["done"], done["summary"]["refused"]) == ("done", 0, count)
    assert {world.entry(f"evt_{number}")["tries"] for number in range(count)} == {1}


def test_a_job_of_many_clears_what_a_crash_had_left_in_the_vault(world: World) -> None:
    world.send(bad("evt_1"))
    left(world, "evt_1", lambda crashing: quarantine.discard(crashing.keeper, TENANT, "evt_1", "kim", "why", NOON))
    job_done(world, "discard")
    assert world.vault.kept(TENANT, quarantine.subject_of("evt_1")) == (0, 0)


def left(world: World, id: str, act: Callable[[World], object]) -> None:
    """An entry that is settled, whose body a crash kept from being cleared."""
    for at in range(20):
        try:
            act(Crashing(world, at).world)
        except Crash:
            if world.entry(id)["state"] != "waiting" and world.vault.kept(TENANT, quarantine.subject_of(id))[0]:
                return
    pytest.fail("no crash leaves it so")


def test_an_erasure_reaches_a_body_that_a_crash_left_behind_a_settled_entry(world: World) -> None:
    world.send(bad("evt_1"))
    left(world, "evt_1", lambda crashing: quarantine.discard(crashing.keeper, TENANT, "evt_1", "kim", "why", NOON))
    assert quarantine.forget(world.store, world.vault, TENANT, "cus_1", "kim", "asked to", NOON) == 1
    assert world.vault.kept(TENANT, quarantine.subject_of("evt_1")) == (0, 0)
    assert world.entry("evt_1")["state"] == "discarded"


def test_an_erasure_that_a_crash_interrupts_is_cleared_up(world: World) -> None:
    world.send(bad("evt_1"))

    def forget(crashing: World) -> int:
        return quarantine.forget(crashing.store, crashing.vault, TENANT, "cus_1", "kim", "asked to", NOON)

    left(world, "evt_1", forget)
    assert quarantine.clear_settled(world.keeper, TENANT) == 1
    assert world.vault.kept(TENANT, quarantine.subject_of("evt_1")) == (0, 0)


def test_an_erasure_reaches_more_bodies_than_one_page_has(world: World) -> None:
    count = quarantine.PAGE + 1
    for number in range(count):
        world.send(bad(f"evt_{number}"))
    assert quarantine.forget(world.store, world.vault, TENANT, "cus_1", "kim", "asked to", NOON) == count


def test_what_was_erased_waits_again_when_it_is_delivered_again_for_one_who_came_back(world: World) -> None:
    world.send(bad("evt_1"))
    quarantine.forget(world.store, world.vault, TENANT, "cus_1", "kim", "asked to", NOON)
    world.send(bad("evt_1"), 5)
    assert (world.entry()["state"], world.entry()["deliveries"]) == ("waiting", 2)
    assert world.replay(as_it_is=True)["state"] == "replayed"


def test_a_replayed_payload_becomes_an_event_of_the_account_it_came_for(world: World) -> None:
    body = envelope("evt_1")
    quarantine.keep(world.keeper, body, "europe", body_of(body), [Fault("data.object", "was not known")], NOON)
    quarantine.replay(world.keeper, world.bus, "europe/test", "evt_1", "kim", "it is mended", NOON)
    taken: list[str] = []

    def take(batch: list[Delivery]) -> list[Disposition]:
        taken.extend(delivery.event.tenant for delivery in batch)
        return [Disposition("done")] * len(batch)

    world.inbox.drain(take, NOON)
    assert taken == ["europe/test"]


def test_what_nests_too_deeply_stays_and_says_so(world: World) -> None:
    deep: dict[str, Any] = {}
    for _ in range(300):
        deep = {"deeper": deep}
    body = envelope("evt_1", object=invoice(metadata=deep))
    quarantine.keep(world.keeper, body, "default", body_of(body), [Fault("data.object", "was not known")], NOON)
    entry = world.replay(as_it_is=True)
    assert (entry["state"], entry["tries"]) == ("waiting", 1)
    assert "nest" in entry["cause"]
    assert world.published() == []


def test_a_cause_and_a_type_together_ask_for_the_cause() -> None:
    assert Which.of({"type": "invoice.paid", "cause": "data: odd"}) == Which(cause="data: odd")
    assert Which.of({"type": " invoice.paid "}) == Which(type="invoice.paid")


@pytest.mark.emulator
class TestOnGoogle(QuarantineContract):
    """The events' bus is the memory's: Pub/Sub's promises are tests/contracts/test_pubsub.py."""

    @pytest.fixture
    def world(self, firestore_emulator: None) -> Iterator[World]:
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import firestore

        from app.adapters.firestore import FirestoreStore
        from app.adapters.firestore_vault import FirestoreVault

        client: Any = firestore.Client(project=f"test-{uuid.uuid4().hex[:12]}", credentials=AnonymousCredentials())
        bus, store = MemoryBus(ManualClock(NOON).now), FirestoreStore(client)
        for _ in range(5):  # the first answer of an emulator that has just started may be late
            with suppress(Unavailable):
                store.get(TENANT, quarantine.KIND, "none")
                break
        yield World(store, FirestoreVault(client, KEYS, lambda *look: None), bus, bus)
        client.close()
