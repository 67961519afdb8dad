"""What is larger than a document may be: shortened where the rest can be worked out again, given up with its reason
where it cannot, and in no case in the way of anything else."""

from __future__ import annotations

import os
import random
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson
import pytest

from app.adapters.documents import MAX_BODY, encode
from app.adapters.memory import MemoryStore, MemoryTracer
from app.handle import handle
from app.receive.webhook import LIMIT
from rules.model import Again
from rules.ports import Outcome, Put, Store, TooLarge, Write
from rules.trace import shortened
from tests.app.test_handle import deliveries, fixed
from tests.builders import DAY, NOON
from tests.contracts.store import got
from tests.rules.world import NOW, TENANT, event, rule
from tests.stories.world import World, failed

MEGABYTE = 1_000_000
RULES = fixed(rule(again=Again(while_open=True, after=0)))


def noise(size: int) -> str:
    """Text that no compression makes smaller than three quarters."""
    return random.Random(1).randbytes(size // 2).hex()


def with_noise(id: str, size: int) -> Any:
    found = event(id)
    thing = {**found.data["data"]["object"], "description": noise(size)}
    return replace(found, data={**found.data, "data": {"object": thing}})


def test_an_event_that_no_document_can_hold_is_given_up_at_once_and_the_others_are_handled() -> None:
    store = MemoryStore()
    batch = [event("evt_1"), with_noise("evt_2", 4 * MEGABYTE), event("evt_3")]
    said = handle(deliveries(*batch), store, RULES, MemoryTracer(), NOW)
    assert [one.kind for one in said] == ["done", "dead", "done"]
    assert "at most 1000000 bytes" in said[1].reason
    assert store.count(TENANT, "event") == 2


@dataclass
class Narrow(MemoryStore):
    """Documents of events have so many bytes at most."""

    most: int

    def __post_init__(self) -> None:
        super().__init__()

    def commit(self, tenant: str, event: Put | None, writes: Sequence[Write]) -> None:
        if event is not None and len(orjson.dumps(event.body)) > self.most:
            raise TooLarge(f"at most {self.most} bytes")
        super().commit(tenant, event, writes)


def test_an_event_that_fits_only_without_the_trees_of_its_trace_is_kept_without_them() -> None:
    wide = MemoryStore()
    handle(deliveries(event("evt_1")), wide, RULES, MemoryTracer(), NOW)
    body = got(wide, TENANT, "event", "evt_1").body
    less = {**body, "decision": shortened(body["decision"])}
    assert any(isinstance(value, dict) for value in body["decision"]["rules"][0].values())
    most = len(orjson.dumps(less))
    for limit, kind in ((most, "done"), (most - 1, "dead")):
        store = Narrow(limit)
        (said,) = handle(deliveries(event("evt_1")), store, RULES, MemoryTracer(), NOW)
        assert said.kind == kind
        assert store.count(TENANT, "run") == (kind == "done")  # what was decided is the same, or nothing
        assert store.count(TENANT, "event") == (kind == "done")
    store = Narrow(most)
    handle(deliveries(event("evt_1")), store, RULES, MemoryTracer(), NOW)
    assert got(store, TENANT, "event", "evt_1").body == less
    (said,) = less["decision"]["rules"]
    assert (said["outcome"], said["number"]) == ("fired", 1)
    assert not any(isinstance(value, dict | list) for value in said.values())


def test_two_megabytes_are_refused_at_the_door_before_all_this() -> None:
    assert LIMIT < 2 * MEGABYTE  # tests/web/test_webhooks.py sends them


# ---- runs -----------------------------------------------------------------------------------------------------------
def ladder(steps: int) -> dict[str, Any]:
    """A rule of so many steps, in parts of fifty."""
    notices = [
        {"name": f"tell-{n:03}", "do": "crm.notify", "with": {"connection": "crm", "stage": f"Stage {n}"}}
        for n in range(steps)
    ]
    parts = [
        {
            "name": f"part-{start}",
            "if": {"all": [{"field": "data.object.amount_remaining", "is": "greater than", "value": 0}]},
            "then": notices[start : start + 50],
        }
        for start in range(0, steps, 50)
    ]
    return {
        "id": "long",
        "name": "Very long",
        "why": "A test",
        "when": {"event": ["invoice.payment_failed"]},
        "steps": parts,
    }


def lived(opened: Callable[[], Store] | None = None) -> Any:
    """A run of three hundred steps, each answered with as much as a connector keeps."""
    world = World(opened=opened)
    world.outside.answers = lambda effect, times: Outcome.done(
        "done", data={"answer": "x" * 300}, request={"body": "y" * 1_000}, response={"body": noise(1_000)}
    )
    world.publish(ladder(300))
    world.live(NOON + DAY, (NOON, failed(1, NOON)))
    (run,) = world.runs()
    assert run["state"] == "done"
    assert len(world.outside.effects()) == 300
    return run


def test_a_run_of_three_hundred_steps_is_a_document_of_a_tenth_of_the_limit() -> None:
    assert len(encode(lived(), compress_from=1)) < MAX_BODY / 10


@pytest.mark.nightly
@pytest.mark.emulator
def test_a_run_of_three_hundred_steps_ends_on_firestore(firestore_emulator: None) -> None:
    from app.adapters.firestore import FirestoreStore
    from tests.firestore_calls import recording_client

    client, _ = recording_client(f"test-{uuid.uuid4().hex[:12]}", os.environ["FIRESTORE_EMULATOR_HOST"])
    lived(lambda: FirestoreStore(client))
    client.close()


def test_an_answer_too_large_to_be_kept_moves_its_run_on_without_it() -> None:
    world = World()
    world.outside.answers = lambda effect, times: Outcome.done("It worked", response={"body": noise(4 * MEGABYTE)})
    world.publish({**ladder(2), "id": "short"})
    world.live(NOON + DAY, (NOON, failed(1, NOON)))
    (run,) = world.runs()
    assert run["state"] == "done"
    first = world.commands()[0]
    assert first["state"] == "done"
    assert first["outcome"]["message"] == "It worked (What came with it was too large to be kept.)"
    assert len(world.outside.requests) == 2
