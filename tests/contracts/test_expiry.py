"""What is of no use any more goes by itself, on every backend the same; what is a record never does."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import crm_inbox, jobs
from app.adapters.firestore_indexes import TTL, firestore_indexes
from app.adapters.memory import MemoryStore
from app.adapters.sqlite_store import SqliteStore
from app.jobs import Step
from app.perform.waking import COUNTED
from rules.event import instant, iso
from rules.kinds import EXPIRING, KINDS
from rules.ports import Put
from tests.builders import DAY, NOON, TENANT
from tests.contracts.store import A, B, logged, rule, run
from tests.stories.world import World, failed

RECORDS = ("event", "audit", "run", "command", "rule", "rule_version", "memory", "suppression", "score_value")


def expiring(kind: str, id: str, at: str | None) -> Put:
    more = {"received_at": "2026", "correlation": "", "created_at": "2026", "type": "t", "state": "done"}
    return Put(kind, id, {**more, KINDS[kind].expires: at})


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    if request.param == "memory":
        yield MemoryStore()
        return
    store = SqliteStore(tmp_path / "store.db")
    yield store
    store.close()


def test_no_record_ever_expires() -> None:
    assert not set(RECORDS) & set(EXPIRING)
    assert not any(KINDS[name].append_only for name in EXPIRING)


@pytest.mark.parametrize("kind", EXPIRING)
def test_what_has_expired_goes_and_the_rest_stays(store: Any, kind: str) -> None:
    late = {"a": iso(NOON - DAY), "b": iso(NOON), "c": iso(NOON + DAY), "d": None}
    for tenant in (A, B):
        store.commit(tenant, logged("evt_1", tenant), [rule("r1", 1), run()])
        for id, at in late.items():
            store.commit(tenant, None, [expiring(kind, id, at)])
    assert store.expire(NOON) == 4
    for tenant in (A, B):
        assert [id for id in late if store.get(tenant, kind, id)] == ["c", "d"]
        assert [store.count(tenant, name) for name in ("event", "rule", "run")] == [1, 1, 1]
    assert store.expire(NOON) == 0


@given(st.lists(st.one_of(st.none(), st.integers(-3, 3)), max_size=8), st.integers(-3, 3))
def test_exactly_those_go_whose_time_has_come(days: list[int | None], now: int) -> None:
    store = MemoryStore()
    for number, day in enumerate(days):
        at = None if day is None else iso(NOON + day * DAY)
        store.commit(A, None, [expiring("notice", str(number), at)])
    gone = sum(day is not None and day <= now for day in days)
    assert store.expire(NOON + now * DAY) == gone
    assert store.count(A, "notice") == len(days) - gone


@pytest.mark.emulator
@pytest.mark.parametrize("kind", EXPIRING)
def test_in_firestore_each_carries_the_time_that_its_policy_deletes_by(firestore_emulator: None, kind: str) -> None:
    """The emulator deletes nothing by it; what can be seen is the field, of the only type that a policy takes."""
    from app.adapters.firestore import FirestoreStore
    from tests.firestore_calls import recording_client

    client, _ = recording_client(f"test-{uuid.uuid4().hex[:12]}", os.environ["FIRESTORE_EMULATOR_HOST"])
    store = FirestoreStore(client, patience=60.0)
    store.commit(A, None, [expiring(kind, "a", iso(NOON)), expiring(kind, "b", None)])
    stored = {found.id: found.to_dict() for found in client.collection("tenants", "default%2Flive", kind).stream()}
    assert stored["a"][TTL] == NOON
    assert TTL not in stored["b"]
    known = store.get(A, kind, "a")
    assert known is not None
    store.commit(A, None, [Put(kind, "a", {**known.body, KINDS[kind].expires: None}, known.version)])
    assert TTL not in client.collection("tenants", "default%2Flive", kind).document("a").get().to_dict()
    client.close()


def test_every_expiring_kind_has_its_policy_and_no_index_on_a_time_that_only_grows() -> None:
    overrides = firestore_indexes()["fieldOverrides"]
    policies = {row["collectionGroup"]: row["indexes"] for row in overrides if row.get("ttl")}
    assert policies == {name: [] for name in EXPIRING}
    assert all(row["fieldPath"] == TTL for row in overrides if row.get("ttl"))


# ---- who writes what expires ----------------------------------------------------------------------------------------
def test_a_job_that_is_over_goes_after_its_time_and_an_open_one_never() -> None:
    store = MemoryStore()
    ended = jobs.enqueue(store, TENANT, "backtest", {}, NOON)
    types = {"backtest": lambda job, now: Step(None, 1.0, done=True), "import": lambda job, now: Step(None, 0.1)}
    assert jobs.run_one(store, types, NOON)
    waiting = jobs.enqueue(store, TENANT, "import", {}, NOON)
    assert store.expire(NOON + jobs.KEPT - timedelta(seconds=1)) == 0
    assert store.expire(NOON + jobs.KEPT) == 1
    assert store.get(TENANT, "job", ended) is None
    assert store.get(TENANT, "job", waiting) is not None


@pytest.mark.parametrize(("type", "id"), [("import", None), ("sample", None), ("backtest", "first-look")])
def test_a_job_that_somebody_asks_for_later_stays(type: str, id: str | None) -> None:
    store = MemoryStore()
    id = jobs.enqueue(store, TENANT, type, {}, NOON, id)
    assert jobs.run_one(store, {type: lambda job, now: Step(None, 1.0, done=True)}, NOON)
    assert store.expire(NOON + 4000 * DAY) == 0
    assert store.get(TENANT, "job", id) is not None


def test_a_notice_goes_a_while_after_its_last_delivery() -> None:
    store = MemoryStore()
    headers = {"webhook-id": "run_1/tell"}
    for later in (0, 1):
        crm_inbox._keep(store, TENANT, headers, {"data": {}}, NOON + later * DAY)
    assert store.expire(NOON + crm_inbox.KEPT) == 0
    assert store.expire(NOON + DAY + crm_inbox.KEPT) == 1


def test_the_count_of_a_limit_goes_when_its_span_is_long_over() -> None:
    world = World()
    world.publish({**LIMITED})
    world.live(NOON + DAY, (NOON, failed(1, NOON)))
    store = world.base.store
    (count,) = store.find(TENANT, "limit").items
    assert instant(count.body["expires_at"]) == NOON + DAY + COUNTED
    assert store.expire(NOON + COUNTED) == 0
    assert store.expire(NOON + DAY + COUNTED) == 1


LIMITED = {
    "id": "limited",
    "name": "Limited",
    "why": "A test",
    "when": {"event": ["invoice.payment_failed"]},
    "steps": [{"name": "tell", "do": "crm.notify", "with": {"connection": "crm", "stage": "x"}}],
    "limits": {"runs": 5, "per": "P1D"},
}
