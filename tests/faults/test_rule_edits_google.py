"""A rule edit reaches every worker on Firestore within seconds, whole, and each decision says what it was made with."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from app import author
from app.adapters.memory import MemoryTracer
from app.handle import handle
from app.rulesets import RuleSets
from rules.matcher import PythonMatcher
from rules.ports import Delivery, Put
from tests.builders import NOON, TENANT, event, services_in_memory
from tests.contracts.store import got
from tests.faults.test_google import together
from tests.firestore_calls import recording_client

pytestmark = pytest.mark.emulator
WITHIN = timedelta(seconds=5)
SECOND = timedelta(seconds=1)


class Worker:
    """A worker's own client and its own knowledge of the rules."""

    def __init__(self, project: str) -> None:
        from app.adapters.firestore import FirestoreStore

        self.client, self.calls = recording_client(project, os.environ["FIRESTORE_EMULATOR_HOST"])
        self.store = FirestoreStore(self.client, patience=30.0)
        self.rulesets = RuleSets(PythonMatcher())

    def decided(self, id: str, at: datetime) -> list[tuple[str, int, str]]:
        """What the trace in the log says: (rule, version, mode) of each that heard the event."""
        found = event(id, "customer.created", {"id": "cus_1", "object": "customer"}, NOON)
        (said,) = handle([Delivery(id, found, 1)], self.store, self.rulesets, MemoryTracer(), at)
        assert said.kind == "done", said
        trace = got(self.store, TENANT, "event", id).body["decision"]
        assert trace["ruleset"] == self.rulesets.current(self.store, TENANT, at).revision
        return [(entry["rule"], entry["number"], entry["mode"]) for entry in trace["rules"]]


@pytest.fixture
def workers(firestore_emulator: None) -> Iterator[tuple[Worker, Worker]]:
    project = f"test-{uuid.uuid4().hex[:12]}"
    pair = Worker(project), Worker(project)
    yield pair
    for worker in pair:
        worker.client.close()


def document(id: str, stage: str) -> dict[str, Any]:
    step = {"name": "tell", "do": "crm.notify", "with": {"connection": "crm", "stage": stage}}
    return {"id": id, "name": id, "why": "A test", "when": {"event": ["customer.created"]}, "steps": [step]}


def publish(store: Any, id: str, stage: str, at: datetime) -> None:
    s = services_in_memory()
    author.save_draft(store, s.vault, s.catalogue, s.connectors, TENANT, document(id, stage), "ada", at)
    author.publish(store, s.catalogue, s.connectors, TENANT, id, "ada", stage, at)


def test_an_edit_is_with_both_workers_within_five_seconds_and_in_their_traces(workers: tuple[Worker, Worker]) -> None:
    first = workers[0]
    publish(first.store, "a", "one", NOON)
    for number, worker in enumerate(workers):
        assert worker.decided(f"evt_0_{number}", NOON + SECOND) == [("a", 1, "live")]
    publish(first.store, "a", "two", NOON + 2 * SECOND)
    published = NOON + 2 * SECOND
    for number, worker in enumerate(workers):
        assert worker.decided(f"evt_1_{number}", published + WITHIN) == [("a", 2, "live")]
    for worker in workers:  # and in fact after the second that a look at the pointer is good for
        assert worker.rulesets.current(first.store, TENANT, published + 2 * WITHIN + SECOND).versions[0].number == 2


def test_a_stopped_rule_is_out_of_force_everywhere_at_the_next_look(workers: tuple[Worker, Worker]) -> None:
    first, second = workers
    publish(first.store, "a", "one", NOON)
    publish(first.store, "b", "one", NOON)
    assert len(second.decided("evt_1", NOON + SECOND)) == 2
    author.pause(first.store, TENANT, "a", "ada", "too much", NOON + SECOND)
    said = second.decided("evt_2", NOON + SECOND + WITHIN)
    assert [(rule, mode) for rule, _, mode in said] == [("a", "paused"), ("b", "live")]


def test_no_worker_ever_decides_with_half_of_an_edit(workers: tuple[Worker, Worker]) -> None:
    """Two rules go from one to the other in one commit, again and again, while another worker reads: it sees exactly
    one of them live, never both and never none."""
    first, second = workers
    publish(first.store, "a", "one", NOON)
    publish(first.store, "b", "one", NOON)
    swap(first.store, 3, "a", "b")
    seen: list[tuple[str, ...]] = []
    done = threading.Event()

    def edit() -> None:
        for revision in range(4, 34):
            swap(first.store, revision, *(("a", "b") if revision % 2 else ("b", "a")))
        done.set()

    def read() -> None:
        while not done.is_set():
            ruleset = second.rulesets.current(second.store, TENANT)
            seen.append(tuple(sorted(one.rule.id for one in ruleset.versions if one.mode == "live")))

    second.rulesets.current(second.store, TENANT)
    together(edit, read)
    assert set(seen) <= {("a",), ("b",)}
    assert len(seen) > 1


def swap(store: Any, revision: int, live: str, watched: str) -> None:
    states = {live: "live", watched: "watch"}
    puts = [Put("rule", id, {**got(store, TENANT, "rule", id).body, "state": state}) for id, state in states.items()]
    store.commit(TENANT, None, [*puts, Put("ruleset", "current", {"revision": revision})])
