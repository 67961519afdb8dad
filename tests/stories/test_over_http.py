"""The mission's rule over true HTTP: from the signed webhook to the fake Stripe and a CRM that checks its signature."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from standardwebhooks import Webhook

from app import author, operate
from app.connectors import actions
from app.receive.webhook import receive
from app.rulesets import RuleSets
from app.services import Services
from app.worker import Work, tick
from rules.event import trace_id
from rules.matcher import choose_matcher
from tests.builders import DAY, SHARED, TENANT, body_of, envelope, invoice, services_in_memory, signed
from tests.fakes.receiver import Receiver, Say
from tests.fakes.stripe_api import FakeStripe, Fault


class Place:
    """Everything of one installation, with the world outside on two true sockets."""

    def __init__(self, stripe_url: str, crm_url: str) -> None:
        now = datetime.now(UTC).replace(microsecond=0)  # the judge of the signature looks at the true clock
        self.now = now
        base = services_in_memory(now - DAY)
        connectors = actions("sk_test_1", stripe_url, base.secrets, base.vault, development=True)
        self.services: Services = replace(base, connectors=connectors, rulesets=RuleSets(choose_matcher("python")))
        s = self.services
        connection = {"name": "crm", "type": "webhook", "url": crm_url + "/hook"}
        self.secret: str = author.save_connection(s.store, s.secrets, TENANT, connection, "ada", now - DAY, True)[
            "secret"
        ]
        document = json.loads((SHARED / "data" / "example_rule.json").read_bytes())
        author.save_draft(s.store, s.vault, s.catalogue, s.connectors, TENANT, document, "ada", now - DAY)
        author.publish(s.store, s.catalogue, s.connectors, TENANT, document["id"], "ada", "", now - DAY)

    def webhook(self, body: dict[str, Any], at: datetime) -> None:
        s = self.services
        raw = body_of(body)
        receipt = receive(signed(raw, at), raw, s.bus, s.vault, s.verifier, at)
        assert receipt.status == 200, receipt.problem
        self.work(at)

    def work(self, at: datetime) -> None:
        self.services.clock.set(at)  # type: ignore[attr-defined]
        tick(Work(self.services), at)

    def commands(self) -> dict[str, Any]:
        found = self.services.store.find(TENANT, "command", order="created_at").items
        return {one.body["step"]: one.body for one in found}


@pytest.fixture
def fake() -> FakeStripe:
    return FakeStripe(sample=True, seed=5)


@pytest.fixture
def crm() -> Receiver:
    return Receiver()


@pytest.fixture
def place(fake: FakeStripe, crm: Receiver) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(stack.enter_context(fake.running()), stack.enter_context(crm.running()))


def fail_twice(place: Place) -> None:
    for number, at in ((1, place.now - DAY / 2), (2, place.now)):
        place.webhook(envelope(f"evt_{number}", object=invoice(customer="cus_of_1"), time=at), at)


def test_two_failed_payments_downgrade_at_stripe_and_tell_the_crm(
    place: Place, fake: FakeStripe, crm: Receiver
) -> None:
    fail_twice(place)
    subscription = fake.business.get("subscription", "sub_1")
    assert [item["price"]["id"] for item in subscription["items"]["data"]] == ["price_free"]
    (got,) = crm.got
    notice = Webhook(place.secret).verify(got.body, dict(got.headers))
    assert got.id == notice["id"] == place.commands()["tell-crm"]["id"]
    assert notice["data"]["stage"] == "At risk - payment"
    assert notice["data"]["subscription"] == "sub_1"
    assert [done["step"] for done in notice["data"]["done"]] == ["downgrade"]
    assert got.headers["traceparent"].split("-")[1] == trace_id(TENANT, notice["correlationid"])


def test_what_our_own_change_causes_at_stripe_is_known_as_ours(place: Place, fake: FakeStripe) -> None:
    fail_twice(place)
    (caused,) = [event for event in fake.business.events if event["type"] == "customer.subscription.updated"]
    place.webhook({**caused, "created": int(place.now.timestamp())}, place.now)
    event = place.services.store.get(TENANT, "event", caused["id"])
    assert event is not None
    assert event.body["event"]["causationid"] == place.commands()["downgrade"]["id"]


def test_outages_on_both_sides_delay_and_double_nothing(place: Place, fake: FakeStripe, crm: Receiver) -> None:
    fake.faults.append(Fault("reset after", "/v1/subscriptions/"))
    crm.answers = [Say(503, headers={"Retry-After": "60"}), Say(how="reset"), Say()]
    fail_twice(place)
    for minutes in range(1, 30):
        place.work(place.now + minutes * DAY / 1440)
    assert {step: body["state"] for step, body in place.commands().items()} == {"downgrade": "done", "tell-crm": "done"}
    assert len(fake.requests("POST", "/v1/subscriptions/")) == 1
    assert place.commands()["downgrade"]["outcome"]["data"]["before"]["price"] == "price_pro_monthly"
    assert len(set(crm.ids)) == 1
    assert len({got.body for got in crm.got}) == 1


def test_a_stored_500_at_stripe_is_overcome_with_the_next_key(place: Place, fake: FakeStripe) -> None:
    fake.faults.append(Fault("500 stored", "/v1/subscriptions/"))
    fail_twice(place)
    for minutes in range(1, 30):
        place.work(place.now + minutes * DAY / 1440)
    id = place.commands()["downgrade"]["id"]
    keys = [request.key for request in fake.requests("POST", "/v1/subscriptions/")]
    assert keys == [f"{id}/0", f"{id}/0", f"{id}/1"]
    assert place.commands()["downgrade"]["state"] == "done"


def test_a_refused_key_holds_stripe_until_a_person_resumes_it(place: Place, fake: FakeStripe, crm: Receiver) -> None:
    fake.faults.append(Fault("401", "/v1/subscriptions/", times=1))
    fail_twice(place)
    store = place.services.store
    held = store.get(TENANT, "connection", "stripe")
    assert held is not None
    assert held.body["state"] == "failing"
    place.work(place.now + DAY)
    assert len(fake.requests("POST", "/v1/subscriptions/")) == 1
    operate.resume_connection(store, TENANT, "stripe", "ada", "New key", place.now + DAY)
    place.work(place.now + DAY + DAY / 24)
    assert place.commands()["downgrade"]["state"] == "done"
    assert len(crm.got) == 1
