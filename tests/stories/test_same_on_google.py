"""The same history on SQLite and on Firestore comes to the same: decisions, runs and actions, byte for byte."""

from __future__ import annotations

import os
import random
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from app.adapters.sqlite_store import SqliteStore
from app.worker import Work, tick
from rules.event import Event
from rules.ports import Store
from tests.builders import DAY, NOON, TENANT, event, invoice
from tests.contracts.test_firestore import check_indexes
from tests.firestore_calls import recording_client
from tests.stories.world import LADDER, World

pytestmark = pytest.mark.emulator
TOGETHER = 100  # events that come between two looks of the worker
EXACT = ("event", "memory", "run", "limit", "rule", "rule_version", "cap")
TIMED = ("span", "ended_at")  # of a try: how long it took, by a true stopwatch


def limited() -> dict[str, Any]:
    step = {"name": "tell", "do": "crm.notify", "with": {"connection": "crm", "stage": "Large"}}
    return {
        "id": "large",
        "name": "Large invoices that fail",
        "why": "A test",
        "when": {"event": ["invoice.payment_failed"]},
        "only_if": {"all": [{"field": "data.object.amount_remaining", "is": "greater than", "value": 9000}]},
        "again": {"after": "P1D"},
        "limits": {"runs": 2, "per": "P1D"},
        "steps": [step],
    }


def histories(count: int, seed: int) -> list[Event]:
    """Failures, payments and other news of many customers over a month: some late, some twice."""
    chance = random.Random(seed)
    events: list[Event] = []
    for number in range(count):
        who = chance.randrange(max(count // 40, 1))
        at = NOON + timedelta(seconds=chance.randrange(20 * 86_400))
        kind = chance.choices(("invoice.payment_failed", "invoice.paid", "customer.updated"), (15, 6, 79))[0]
        thing: dict[str, Any] = {"id": f"cus_{who}", "object": "customer"}
        if kind.startswith("invoice."):
            owed = chance.choice((0, 4900, 9900))
            thing = invoice(f"in_{who}_{number % 3}", f"cus_{who}", f"sub_{who}", amount_remaining=owed)
        events.append(event(f"evt_{number}", kind, thing, at))
    events.sort(key=lambda one: one.created + chance.randrange(-5_000, 50_000))
    return events + chance.sample(events, count // 20)


def lived(store: Store, events: list[Event]) -> World:
    world = World(opened=lambda: store)
    for rule in (LADDER, limited()):
        world.publish(rule)
    for start in range(0, len(events), TOGETHER):
        now = NOON + DAY * 20 * (start + TOGETHER) / (len(events) + TOGETHER)
        world.clock.set(now)
        for one in events[start : start + TOGETHER]:
            world.bus.publish(replace(one, recorded=now))
        tick(Work(world.services, lanes=world.lanes), now)
    return world


def kept(store: Store, kind: str) -> dict[str, bytes]:
    found, after = {}, None
    while True:
        page = store.find(TENANT, kind, after=after, limit=300)
        found |= {one.id: orjson.dumps(one.body, option=orjson.OPT_SORT_KEYS) for one in page.items}
        after = page.next
        if after is None:
            return found


def untimed(stored: bytes) -> Any:
    body = orjson.loads(stored)
    tries = [{name: said for name, said in one.items() if name not in TIMED} for one in body["attempts"]]
    return {**body, "attempts": tries}


@pytest.fixture
def firestore(firestore_emulator: None) -> Iterator[Store]:
    from app.adapters.firestore import FirestoreStore

    client, calls = recording_client(f"test-{uuid.uuid4().hex[:12]}", os.environ["FIRESTORE_EMULATOR_HOST"])
    yield FirestoreStore(client, patience=60.0)
    client.close()
    check_indexes(calls)


def compare(count: int, seed: int, path: Path, firestore: Store) -> None:
    events = histories(count, seed)
    sqlite = SqliteStore(path / "store.db")
    here, there = lived(sqlite, events), lived(firestore, events)
    for kind in EXACT:
        ours, theirs = kept(sqlite, kind), kept(firestore, kind)
        assert set(ours) == set(theirs), kind
        different = [id for id in ours if ours[id] != theirs[id]]
        assert not different, (kind, different[:3])
    commands = [{id: untimed(stored) for id, stored in kept(one, "command").items()} for one in (sqlite, firestore)]
    assert commands[0] == commands[1]
    assert [(one.id, one.key, one.at) for one in here.outside.effects()] == [
        (one.id, one.key, one.at) for one in there.outside.effects()
    ]
    assert len(kept(sqlite, "event")) == count
    states = {run["state"] for run in here.runs()}
    assert {"done", "stopped", "parked"} <= states  # the history is worth comparing
    sqlite.close()


def test_two_thousand_events_come_to_the_same_on_both(tmp_path: Path, firestore: Store) -> None:
    compare(2_000, 1, tmp_path, firestore)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", [2, 3])
def test_ten_thousand_events_come_to_the_same_on_both(seed: int, tmp_path: Path, firestore: Store) -> None:
    compare(10_000, seed, tmp_path, firestore)
