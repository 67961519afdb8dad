"""What an event costs on Firestore: documents read and written, counted where the real client sends its requests."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from app import author
from app.handle import handle
from app.services import Services
from rules.event import Event
from rules.ports import Delivery
from tests.builders import NOON, TENANT, event, invoice, services_in_memory
from tests.contracts.test_firestore import check_indexes
from tests.firestore_calls import Calls, recording_client

pytestmark = pytest.mark.emulator


@dataclass
class World:
    services: Services
    calls: Calls
    n: int = 0

    def handle(self, *events: Event) -> Calls:
        """What handling these costs, each by itself; the rules in force are known already."""
        s = self.services
        with self.calls.counted() as counted:
            for found in events:
                (said,) = handle([Delivery("1", found, 1)], s.store, s.rulesets, s.tracer, s.clock.now())
                assert said.kind == "done", said
        return counted

    def failure(self, customer: str = "cus_1", **more: Any) -> Event:
        self.n += 1
        made = invoice(f"in_{self.n}", customer, f"sub_{customer}", **more)
        return event(f"evt_{self.n}", object=made, time=NOON + timedelta(minutes=self.n))


@pytest.fixture
def world(firestore_emulator: None) -> Iterator[World]:
    from app.adapters.firestore import FirestoreStore

    client, calls = recording_client(f"test-{uuid.uuid4().hex[:12]}", os.environ["FIRESTORE_EMULATOR_HOST"])
    memory = services_in_memory()
    services = replace(memory, store=FirestoreStore(client))
    made = World(services, calls)
    publish(services)
    made.handle(event("evt_first", type="customer.created", object={"id": "cus_0", "object": "customer"}))
    yield made
    client.close()
    check_indexes(calls)


def publish(services: Services) -> None:
    document = {
        "id": "two-failures",
        "name": "Two failures",
        "why": "Costs",
        "when": {"event": ["invoice.payment_failed"], "at_least": 2, "within": "P7D", "same": "subscription"},
        "only_if": {"all": [{"field": "data.object.amount_remaining", "is": "greater than", "value": 0}]},
        "steps": [{"name": "tell", "do": "crm.notify", "with": {"connection": "crm", "stage": "x"}}],
        "stop_when": [{"event": ["invoice.paid"], "same": "invoice"}],
    }
    s = services
    now = s.clock.now() - timedelta(days=1)
    author.save_draft(s.store, s.vault, s.catalogue, s.connectors, TENANT, document, "ada", now)
    author.publish(s.store, s.catalogue, s.connectors, TENANT, "two-failures", "ada", "first", now)


def test_an_event_that_no_rule_reads_costs_two_reads_and_two_writes_at_most(world: World) -> None:
    cost = world.handle(event("evt_x", type="customer.updated", object={"id": "cus_1", "object": "customer"}))
    assert (cost.reads <= 2, cost.writes <= 2) == (True, True), cost


def test_an_event_whose_conditions_fail_costs_two_reads_and_two_writes_at_most(world: World) -> None:
    cost = world.handle(world.failure(amount_remaining=0))
    assert (cost.reads <= 2, cost.writes <= 2) == (True, True), cost


def test_a_windowed_match_reads_no_more_beyond_its_window_however_long_that_is(world: World) -> None:
    beyond = []
    for earlier, customer in ((1, "cus_few"), (20, "cus_many")):
        world.handle(*(world.failure(customer) for _ in range(earlier)))
        cost = world.handle(world.failure(customer))
        beyond.append(cost.reads - earlier)
    assert beyond[1] <= beyond[0], beyond


def test_the_page_that_states_the_costs_states_these(world: World) -> None:
    stated = (Path(__file__).parents[2] / "docs" / "scale.md").read_text()
    nothing = world.handle(event("evt_x", type="customer.updated", object={"id": "cus_1", "object": "customer"}))
    failed = world.handle(world.failure(amount_remaining=0))
    first = world.handle(world.failure())
    fires = world.handle(world.failure())
    costs = {
        "that no rule reads": nothing,
        "whose conditions fail": failed,
        "that counts and does not fire": first,
        "that fires": fires,
    }
    rows = [f"| {what} | {cost.reads} | {cost.writes} |" for what, cost in costs.items()]
    lacking = [row for row in rows if row not in stated]
    assert not lacking, lacking
