"""The quarantine's promises on each backend."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from app.adapters.keys import Keyring
from app.adapters.memory import ManualClock, MemoryBus, MemoryStore, MemoryVault
from app.adapters.sqlite_bus import SqliteBus
from app.adapters.sqlite_inbox import SqliteInbox
from app.adapters.sqlite_store import SqliteStore
from app.adapters.sqlite_vault import SqliteVault
from app.receive import quarantine
from rules.ports import Unavailable
from tests.builders import NOON, TENANT, body_of
from tests.contracts.quarantine import QuarantineContract, World, bad

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
