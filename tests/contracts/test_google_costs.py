"""What an event costs on Firestore: documents read and written, counted where the real client sends its requests."""

from __future__ import annotations

import os
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from app import author
from app.handle import handle
from app.services import Services
from bench import m8
from rules.event import Event
from rules.ports import Delivery
from tests.builders import DAY, NOON, TENANT, event, invoice, services_in_memory
from tests.contracts.test_firestore import check_indexes
from tests.firestore_calls import Calls, recording_client
from tests.stories.world import failed

pytestmark = pytest.mark.emulator
HOUR = timedelta(hours=1)


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


def test_the_page_that_states_the_costs_states_what_is_counted(firestore_emulator: None) -> None:
    """`python -m bench.m8 --write` puts it there."""
    with m8.database() as (client, calls):
        costs = m8.every_cost(client, calls)
    assert m8.table(costs) in m8.PAGE.read_text()
    by = {cost.what: cost for cost in costs}
    assert (by[m8.NOTHING].reads <= 2, by[m8.NOTHING].writes <= 2) == (True, True)
    check_indexes(calls)


def test_prices_are_added_up_as_the_page_says() -> None:
    spent = m8.Spent(publish=0, handle=0, act=0, message=500, document=0)
    costs = [m8.Cost(what, 1, 2, 0) for what in (m8.NOTHING, m8.COUNTS, m8.FIRES, m8.ACTION, m8.WAIT)]
    rows = {what: dollars for what, _, dollars in m8.million(costs, spent)}
    things = 1_000_000 + 10_000 * (m8.MIX["actions"] + 1)
    assert rows["Firestore reads"] == pytest.approx(things / 100_000 * 0.03)
    assert rows["Firestore writes"] == pytest.approx(2 * things / 100_000 * 0.09)
    assert rows["Pub/Sub, published and delivered once"] == pytest.approx(2e9 * 40 / 1024**4)


def test_tables_replace_those_between_their_marks_and_nothing_else() -> None:
    page = "a\n<!-- counted -->\nold\n<!-- /counted -->\nb\n"
    assert m8.written(page, {"counted": "new"}) == page.replace("old", "new")


# ---- hot documents --------------------------------------------------------------------------------------------------
def written_by(customers: int) -> Counter[str]:
    """How often each document is written while so many customers fail twice, are told, wait and lose their plan."""
    with m8.database() as (client, calls):
        life = m8.Counting(client, calls)
        script = [
            (NOON + hour * HOUR, failed(hour, NOON + hour * HOUR, f"sub_{number}"))
            for hour in (1, 2)
            for number in range(customers)
        ]
        with calls.counted() as found:
            life.world.live(NOON + 3 * DAY, *script)
        assert {run["state"] for run in life.world.runs()} == {"done"}
        assert len(life.world.runs()) == customers
        return Counter(found.written)


def test_no_document_is_written_more_often_because_there_are_more_customers(firestore_emulator: None) -> None:
    few, many = written_by(2), written_by(6)
    assert max(few.values()) == max(many.values()) <= 10
    assert set(by_kind(many)) == set(by_kind(few))
    for kind, times in by_kind(many).items():
        grows = kind in ("event", "memory", "run", "command")  # each is one customer's
        assert times == by_kind(few)[kind] * (3 if grows else 1), kind
    assert "audit" not in {name.split("/")[2] for name in many if many[name] > 1}


def by_kind(written: Counter[str]) -> Counter[str]:
    found: Counter[str] = Counter()
    for name, times in written.items():
        found[name.split("/")[2]] += times
    return found
