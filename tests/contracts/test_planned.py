"""A plan on Firestore: its queries have indexes, of two workers one does a phase, and it moves with everything else."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest

from app.author import planned
from app.author.timetable import Phase
from app.moving import summed
from rules.ports import Store
from tests.app.test_planned import ID, THREE, Town
from tests.app.test_planned_always import Played
from tests.builders import DAY, NOON, TENANT


@pytest.fixture
def store(firestore_emulator: None) -> Iterator[Store]:
    from app.adapters.firestore import FirestoreStore
    from tests.contracts.test_firestore import check_indexes
    from tests.firestore_calls import recording_client

    client, calls = recording_client(f"test-{uuid.uuid4().hex[:12]}", os.environ["FIRESTORE_EMULATOR_HOST"])
    yield FirestoreStore(client)
    client.close()
    check_indexes(calls)


@pytest.mark.emulator
def test_a_plan_holds_on_firestore(store: Store) -> None:
    town = Played(store)
    town.edit()
    town.plan(*THREE)
    town.act("two workers", 0, NOON + DAY)
    town.act("crash after", 0, NOON + 3 * DAY)
    town.look(NOON + 4 * DAY)
    found = town.now_planned()
    assert ([step["version"] for step in found["steps"]], found["state"]) == ([1, 2, 3], "done")
    town.edit(name="Next")
    town.plan(Phase(NOON + 9 * DAY), at=NOON + 4 * DAY)
    assert list(planned.waiting(store, TENANT)) == [ID]
    planned.withdraw(store, TENANT, ID, "bob", "no", NOON + 5 * DAY)
    assert (planned.count_halted(store, TENANT), planned.halted(store, TENANT, 5)) == (0, [])


def test_plans_move_with_everything_else() -> None:
    town = Town()
    town.edit()
    town.plan(Phase(NOON + DAY))
    assert summed(town.store).counts["plan"] == 1
