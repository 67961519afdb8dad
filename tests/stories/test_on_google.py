"""The stories on Firestore: whole, and crashed at places drawn from the matrix."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rules.ports import Store
from tests.contracts.test_firestore import check_indexes
from tests.firestore_calls import recording_client
from tests.stories.test_crash_matrix import STORIES, Story, check, hash_of, lived
from tests.stories.world import World

pytestmark = pytest.mark.emulator
named = pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)


@pytest.fixture
def opened(firestore_emulator: None) -> Iterator[Callable[[], Store]]:
    """Opens a store on one database, anew each time as a new process does. No query may lack its index."""
    from app.adapters.firestore import FirestoreStore

    project, clients = f"test-{uuid.uuid4().hex[:12]}", []

    def open() -> Any:
        clients.append(recording_client(project, os.environ["FIRESTORE_EMULATOR_HOST"]))
        return FirestoreStore(clients[-1][0])

    yield open
    for client, calls in clients:
        client.close()
        check_indexes(calls)


@named
def test_a_story_on_firestore_is_the_story(story: Story, opened: Callable[[], Store]) -> None:
    check(story, lived(story, World(opened=opened)))


@named
def test_a_crash_on_firestore_changes_nothing_but_a_little_time(story: Story, opened: Callable[[], Store]) -> None:
    points = lived(story, World()).points.seen
    world = World(crash_at=1 + hash_of(story.name) % points, opened=opened)
    check(story, lived(story, world))
    assert len(world.crashes) == 1
