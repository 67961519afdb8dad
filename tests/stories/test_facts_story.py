"""Facts through the whole app: from the signed webhook to the text of the notice, in any store, and through crashes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from app import browse, knowing, scores
from app.adapters.memory import MemoryStore
from app.adapters.sqlite_store import SqliteStore
from app.inquire import explaining
from app.receive.webhook import receive
from rules.ports import Store
from tests.builders import DAY, NOON, TENANT, body_of, envelope, signed
from tests.rules.known import customer, intent, price
from tests.rules.known import invoice as thing
from tests.rules.known import subscription as plan
from tests.stories.world import World

FIRST = int(NOON.timestamp())
Script = Sequence[tuple[datetime, Callable[[], object]]]
RULE = {
    "id": "big-ones",
    "name": "Big customers who could still pay",
    "when": {"event": ["invoice.payment_failed"], "same": "invoice"},
    "only_if": {
        "all": [
            {"field": "data.object.amount_remaining", "is": "greater than", "value": 0},
            {"field": "fact.customer.mrr", "is": "greater or equal to", "value": 5000},
            {"not": {"field": "fact.payment.decline_class", "is": "equal to", "value": "hard"}},
            {"field": "score.churn", "is": "greater than", "value": 0.5},
        ]
    },
    "steps": [
        {
            "name": "tell",
            "do": "crm.notify",
            "with": {
                "connection": "crm",
                "stage": "At risk",
                "message": "{{ fact.customer.mrr }} a month at stake on {{ fact.customer.plan_key }}, "
                "{{ fact.customer.open_amount }} open, churn {{ score.churn }}",
            },
        },
        {"name": "grace", "wait": {"for": "PT48H"}},
        {
            "name": "unpaid",
            "if": {"field": "fact.invoice.status", "is": "equal to", "value": "open"},
            "then": [{"name": "downgrade", "do": "stripe.change_plan", "with": {"price": "price_free"}}],
        },
    ],
}


def webhook(world: World, body: dict[str, Any]) -> None:
    s, raw = world.services, body_of(body)
    receipt = receive(signed(raw, world.clock.now()), raw, s.bus, s.vault, s.verifier, world.clock.now())
    assert receipt.status == 200, receipt.problem


def post(world: World, number: int, type: str, object: dict[str, Any], at: datetime) -> tuple[datetime, Any]:
    return at, partial(webhook, world, envelope(f"evt_{number}", type, object, at))


def beginning(world: World, decline: str = "insufficient_funds", amount: int = 9000) -> Script:
    failing = NOON + DAY
    return [
        post(world, 1, "customer.created", customer(created=FIRST, email="kim@acme.com"), NOON),
        post(world, 2, "customer.subscription.created", plan("sub_1", price("price_pro", amount)), NOON),
        post(world, 3, "payment_intent.payment_failed", intent("pi_1", 4900, decline), failing),
        post(world, 4, "invoice.payment_failed", thing(customer_email="kim@acme.com"), failing + timedelta(seconds=1)),
    ]


def paid(world: World) -> tuple[datetime, Any]:
    return post(world, 5, "invoice.paid", thing(status="paid"), NOON + 2 * DAY)


def lived(world: World, script: Script) -> World:
    now = world.clock.now()
    scores.declare(world.durable, TENANT, "churn", "", "ada", now)
    scores.set_values(world.durable, TENANT, "churn", [{"customer": "cus_1", "value": 0.75}], "file", "ada", now)
    world.publish(RULE)
    world.live(NOON + 10 * DAY, *script)
    return world


@pytest.fixture(params=["memory", "sqlite"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store] | None:
    if request.param == "memory":
        return None
    store = SqliteStore(tmp_path / "store.db")
    return lambda: store


def test_a_notice_says_what_is_known_and_the_run_goes_by_what_is_known_later(opened: Any) -> None:
    world = World(opened=opened)
    lived(world, beginning(world))
    assert [effect.action for effect in world.outside.effects()] == ["crm.notify", "stripe.change_plan"]
    notice = world.outside.effects()[0].params
    assert notice["message"] == "$90.00 a month at stake on pro, $49.00 open, churn 0.75"
    (run,) = world.runs()
    assert any("the invoice’s known status is open (from evt_4)" in sentence["text"] for sentence in run["story"])
    (entry,) = world.durable.get(TENANT, "event", "evt_4").body["decision"]["rules"]  # type: ignore[union-attr]
    assert entry["facts"]["fact.payment.decline_class"] == {
        "value": "soft",
        "event": "evt_3",
        "path": "data.object.last_payment_error.decline_code",
    }


def test_who_paid_in_the_meantime_is_left_alone(opened: Any) -> None:
    world = World(opened=opened)
    lived(world, [*beginning(world), paid(world)])
    assert [effect.action for effect in world.outside.effects()] == ["crm.notify"]
    assert world.runs()[0]["state"] == "done"


@pytest.mark.parametrize(
    ("decline", "amount", "sentence"),
    [
        ("stolen_card", 9000, "the payment’s decline class is hard (from evt_3)"),
        ("insufficient_funds", 4000, "it is $40.00 (from evt_2)"),
    ],
)
def test_who_does_not_fit_is_not_acted_on_and_the_event_says_why(decline: str, amount: int, sentence: str) -> None:
    world = World()
    lived(world, beginning(world, decline, amount))
    assert not world.runs()
    (verdict,) = browse.event(world.durable, TENANT, "evt_4", rule="big-ones")["verdicts"]
    assert sentence in verdict["sentence"]
    rows = {row["field"]: row for row in verdict["conditions"] if row["kind"] == "test"}
    revenue = rows["fact.customer.mrr"]
    assert (revenue["needed_said"], revenue["actual_said"]) == ("$50.00", f"${amount / 100:.2f}")
    assert revenue["event"] == "evt_2"
    assert rows["score.churn"]["actual_said"] == 0.75
    s = world.services
    found = explaining.explain(
        world.durable, s.vault, s.catalogue, s.connectors, TENANT, "big-ones", world.clock.now(), subject="cus_1"
    )
    assert (found["fired"], found["gate"]) == (False, "condition")
    assert sentence in found["sentence"]


def test_no_address_of_a_person_is_in_what_is_known() -> None:
    world = World()
    lived(world, beginning(world))
    for kind in ("event", "run", "command"):
        for document in world.durable.find(TENANT, kind, limit=100).items:
            assert "kim@acme.com" not in str(document.body), (kind, document.id)


def points() -> int:
    world = World()
    lived(world, beginning(world))
    return world.points.seen


def test_a_crash_anywhere_neither_loses_nor_doubles_a_step_that_asks_for_facts() -> None:
    count = points()
    assert count > 40
    for at in range(1, count + 1):
        world = World(crash_at=at)
        lived(world, beginning(world))
        assert len(world.crashes) == 1, at
        assert [effect.action for effect in world.outside.effects()] == ["crm.notify", "stripe.change_plan"], at
        assert world.runs()[0]["state"] == "done", at


def test_a_crash_on_sqlite_leaves_the_same(tmp_path: Path) -> None:
    for at in range(5, points(), 12):
        opened: list[SqliteStore] = []

        def reopen(name: str = f"{at}.db", opened: list[SqliteStore] = opened) -> SqliteStore:
            for store in opened:
                store.close()
            opened[:] = [SqliteStore(tmp_path / name)]
            return opened[0]

        world = World(crash_at=at, opened=reopen)
        lived(world, beginning(world))
        assert [effect.action for effect in world.outside.effects()] == ["crm.notify", "stripe.change_plan"], at
        opened[0].close()


def test_memory_and_sqlite_tell_the_same_of_every_fact(tmp_path: Path) -> None:
    stores: list[Any] = [MemoryStore(), SqliteStore(tmp_path / "store.db")]
    told = []
    for store in stores:
        world = World(opened=lambda store=store: store)  # type: ignore[misc]
        lived(world, beginning(world))
        told.append(knowing.of_customer(store, TENANT, "cus_1", NOON + 3 * DAY))
    assert told[0] == told[1]
    assert {row["name"] for row in told[0] if row["value"] is not None} > {"fact.customer.mrr", "score.churn"}
