"""The dunning ladder from its first e-mail to its undo, with the true connectors: mail, Stripe, the gate, the CRM.

The receivers are fakes on true sockets; the time is the test's. On memory and on SQLite.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import stripe

from app import author
from app.adapters.memory import ManualClock
from app.connectors import actions
from app.connectors.stripe_answers import StripeAccess
from app.connectors.stripe_guard import StripeGuard
from app.receive.webhook import receive
from app.rulesets import RuleSets
from app.worker import Work, tick
from rules.matcher import choose_matcher
from rules.ports import Store
from tests.builders import DAY, NOON, TENANT, body_of, services_in_memory, signed
from tests.fakes.mail_server import MailServer
from tests.fakes.receiver import Receiver
from tests.fakes.stripe_api import FakeStripe
from tests.fakes.stripe_invoices import finalize, pay
from tests.fakes.stripe_payments import default_method
from tests.fakes.stripe_subscriptions import _bill

HOUR = timedelta(hours=1)
NEEDS_ACTION = "invoice_payment_intent_requires_action"
pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH")


def is_(field: str, value: str) -> dict[str, str]:
    return {"field": field, "is": "equal to", "value": value}


def mail(name: str, subject: str) -> dict[str, Any]:
    link = "Please pay at {{ data.object.hosted_invoice_url }}"
    return {"name": name, "do": "mail.send", "with": {"connection": "mail", "subject": subject, "text": link}}


def ladder(price: str) -> dict[str, Any]:
    paid = {"event": ["invoice.paid"], "same": "invoice"}
    hard = [
        {"name": "downgrade", "do": "stripe.change_plan", "with": {"price": price}},
        {"name": "suspend", "do": "access.suspend", "with": {"connection": "gate", "reason": "unpaid"}},
        {"name": "task", "do": "crm.task", "with": {"connection": "crm", "title": "Call about {{ data.object.id }}"}},
    ]
    how = {
        "name": "how",
        "if": is_("step.retry.code", NEEDS_ACTION),
        "then": [mail("confirm", "Please confirm your payment")],
        "else": hard,
    }
    failed = {"name": "failed", "if": is_("step.retry.result", "declined"), "then": [how]}
    return {
        "id": "dunning-ladder",
        "name": "Dunning ladder",
        "tags": ["dunning"],
        "when": {"event": ["invoice.payment_failed"], "same": "invoice"},
        "steps": [
            mail("email", "Your payment did not go through"),
            {"name": "two-days", "wait": {"for_event": [paid], "at_most": "PT48H"}},
            {"name": "retry", "do": "stripe.pay_invoice"},
            failed,
        ],
        "stop_when": [paid, {"event": ["customer.subscription.deleted"], "same": "subscription"}],
        "undo": {"on": ["invoice.paid"], "same": "invoice", "within": "P60D"},
    }


class House:
    """One installation, one customer on the pro plan whose payment fails, and everything outside."""

    def __init__(self, stack: ExitStack, store: Store | None) -> None:
        self.clock = ManualClock(NOON)
        self.fake = FakeStripe(now=lambda: int(self.clock.now().timestamp()), seed=7)
        self.post, self.crm, self.gate = MailServer(), Receiver(), Receiver()
        base = services_in_memory(NOON)
        address = stack.enter_context(self.fake.running())
        self.s = replace(
            base,
            store=store or base.store,
            clock=self.clock,
            connectors=actions("sk_test_1", address, base.secrets, base.vault, development=True),
            rulesets=RuleSets(choose_matcher("python")),
            guard=StripeGuard(StripeAccess("sk_test_1", address)),
        )
        self.client = stripe.StripeClient("sk_test_1", base_addresses={"api": address})
        self.connect(stack)
        self.customer, self.subscription = self.subscribed()
        self.free = self.price(0)
        self.publish(ladder(self.free))
        self.seen = len(self.fake.business.events)

    def connect(self, stack: ExitStack) -> None:
        port = stack.enter_context(self.post.running())
        smtp = {"name": "mail", "type": "smtp", "host": "127.0.0.1", "port": port, "tls": "none"}
        bodies = (
            {**smtp, "from": "billing@acme.example"},
            {"name": "crm", "type": "webhook", "url": stack.enter_context(self.crm.running()) + "/hook"},
            {"name": "gate", "type": "access", "url": stack.enter_context(self.gate.running()) + "/gate"},
        )
        for body in bodies:
            author.save_connection(self.s.store, self.s.secrets, TENANT, body, "ada", NOON, True)

    def price(self, amount: int) -> str:
        data: Any = {"currency": "usd", "unit_amount": amount, "recurring": {"interval": "month"}}
        made = self.client.v1.prices.create({**data, "product_data": {"name": f"Plan of {amount}"}})
        return str(made.id)

    def subscribed(self) -> tuple[str, str]:
        v1 = self.client.v1
        customer = v1.customers.create({"email": "grace@example.com", "payment_method": "pm_card_visa"})
        method = v1.payment_methods.list({"customer": customer.id}).data[0]
        v1.customers.update(customer.id, {"invoice_settings": {"default_payment_method": method.id}})
        self.pro = self.price(4900)
        made = v1.subscriptions.create({"customer": customer.id, "items": [{"price": self.pro}]})
        return str(customer.id), str(made.id)

    def publish(self, document: dict[str, Any]) -> None:
        s = self.s
        author.save_draft(s.store, s.vault, s.catalogue, s.connectors, TENANT, document, "ada", NOON)
        author.publish(s.store, s.catalogue, s.connectors, TENANT, document["id"], "ada", "story", NOON)

    # ---- time passes ------------------------------------------------------------------------------------------------
    def renewal_fails(self, how: str = "insufficient_funds") -> str:
        """A renewal's invoice whose first try fails; its id."""
        business = self.fake.business
        customer = business.get("customer", self.customer)
        if how == "requires_action":
            default_method(business, customer)["_made_from"] = "pm_card_authenticationRequired"  # type: ignore[index]
        else:
            business.declines[self.customer] = how
        invoice = _bill(business, business.get("subscription", self.subscription), customer, "subscription_cycle")
        business.add(invoice)
        finalize(business, invoice)
        pay(business, invoice, default_method(business, customer))  # type: ignore[arg-type]
        self.hear()
        return str(invoice["id"])

    def pays(self, invoice: str, hear: bool = True) -> None:
        business = self.fake.business
        business.declines.clear()
        default_method(business, business.get("customer", self.customer))["_made_from"] = "pm_card_visa"  # type: ignore[index]
        self.client.v1.invoices.pay(invoice)
        if hear:
            self.hear()

    def hear(self) -> None:
        """Stripe delivers what has happened since."""
        for envelope in self.fake.business.events[self.seen :]:
            raw = body_of(envelope)
            at = self.clock.now()
            receipt = receive(signed(raw, at), raw, self.s.bus, self.s.vault, self.s.verifier, at)
            assert receipt.status == 200, receipt.problem
        self.seen = len(self.fake.business.events)
        self.work()

    def later(self, span: timedelta) -> None:
        end = self.clock.now() + span
        while self.clock.now() < end:
            self.clock.set(min(end, self.clock.now() + HOUR))
            self.work()

    def work(self) -> None:
        for _ in range(4):
            tick(Work(self.s), self.clock.now())
            self.clock.set(self.clock.now() + timedelta(milliseconds=1))

    # ---- looking ----------------------------------------------------------------------------------------------------
    def plan(self) -> str:
        items = self.fake.business.get("subscription", self.subscription)["items"]["data"]
        return {self.pro: "pro", self.free: "free"}[items[0]["price"]["id"]]

    def run(self) -> dict[str, Any]:
        (found,) = self.s.store.find(TENANT, "run", limit=5).items
        return dict(found.body)

    def said(self, receiver: Receiver) -> list[str]:
        return [json.loads(got.body)["type"].removeprefix("signalbox.") for got in receiver.got]

    def steps(self) -> dict[str, str]:
        return {name: record["state"] for name, record in self.run()["steps"].items()}


@pytest.fixture(params=["memory", "sqlite"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    from app.adapters.sqlite_store import SqliteStore

    store = SqliteStore(tmp_path / "store.db") if request.param == "sqlite" else None
    with ExitStack() as stack:
        yield House(stack, store)
    if store:
        store.close()


def test_nobody_pays_and_every_rung_is_taken_once_and_on_time(house: House) -> None:
    house.renewal_fails()
    assert [one["Subject"] for one in house.post.got] == ["Your payment did not go through"]
    house.later(timedelta(hours=47))
    assert (house.plan(), house.gate.got, house.steps()["two-days"]) == ("pro", [], "waiting")
    house.later(timedelta(hours=2))
    assert house.plan() == "free"
    assert house.said(house.gate) == ["access.suspended"]
    assert house.said(house.crm) == ["crm.task.opened"]
    assert house.run()["state"] == "done"
    assert list(house.steps()) == ["email", "two-days", "retry", "failed", "how", "downgrade", "suspend", "task"]
    assert len(house.post.got) == 1
    told = " ".join(one["text"] for one in house.run()["story"])
    assert "read again just before: invoice" in told


def test_paid_a_month_later_the_plan_the_access_and_the_task_are_put_back(house: House) -> None:
    invoice = house.renewal_fails()
    house.later(timedelta(hours=49))
    assert house.plan() == "free"
    house.later(28 * DAY)
    house.pays(invoice)
    assert house.plan() == "pro"
    assert house.said(house.gate) == ["access.suspended", "access.resumed"]
    assert house.said(house.crm) == ["crm.task.opened", "crm.task.closed"]
    opened, closed = (json.loads(got.body)["data"]["task"] for got in house.crm.got)
    assert opened == closed
    run = house.run()
    assert (run["state"], run["undo"]["state"]) == ("done", "done")
    told = " ".join(one["text"] for one in run["story"])
    assert f"the plan is {house.pro} again" in told
    ids = [got.id.removeprefix(run["id"]) for got in house.gate.got + house.crm.got]
    assert ids == ["/suspend", "/undo/suspend", "/task", "/undo/task"]
    house.hear()
    assert len(house.gate.got) == 2


def test_paid_within_the_two_days_nothing_more_is_done(house: House) -> None:
    invoice = house.renewal_fails()
    house.later(timedelta(hours=20))
    house.pays(invoice)
    house.later(5 * DAY)
    assert (house.plan(), house.gate.got, house.crm.got) == ("pro", [], [])
    assert house.run()["state"] == "stopped"


def test_the_retry_succeeds_and_no_harder_rung_is_taken(house: House) -> None:
    house.renewal_fails()
    house.fake.business.declines.clear()
    house.later(timedelta(hours=49))
    house.hear()
    assert (house.plan(), house.gate.got) == ("pro", [])
    assert house.steps()["retry"] == "done"
    assert house.run()["state"] in ("done", "stopped")


def test_a_bank_that_wants_a_confirmation_leads_to_another_e_mail_and_to_no_downgrade(house: House) -> None:
    house.renewal_fails("requires_action")
    house.later(timedelta(hours=49))
    assert [one["Subject"] for one in house.post.got] == [
        "Your payment did not go through",
        "Please confirm your payment",
    ]
    assert (house.plan(), house.gate.got) == ("pro", [])


def test_paid_while_the_webhook_is_late_stops_the_run_at_its_next_step(house: House) -> None:
    invoice = house.renewal_fails()
    house.later(timedelta(hours=40))
    house.pays(invoice, hear=False)
    house.later(timedelta(hours=10))
    assert (house.plan(), house.run()["state"]) == ("pro", "stopped")
    assert "is paid, read again at Stripe" in house.run()["reason"]
    house.hear()
    assert house.run()["undo"]["state"] == "done"


def test_a_plan_that_somebody_changed_meanwhile_is_not_overwritten(house: House) -> None:
    invoice = house.renewal_fails()
    house.later(timedelta(hours=49))
    gold = house.price(9900)
    items = house.fake.business.get("subscription", house.subscription)["items"]["data"]
    change: Callable[..., Any] = house.client.v1.subscriptions.update
    change(house.subscription, {"items": [{"id": items[0]["id"], "price": gold}]})
    house.pays(invoice)
    items = house.fake.business.get("subscription", house.subscription)["items"]["data"]
    assert items[0]["price"]["id"] == gold
    run = house.run()
    assert run["state"] == "needs_person"
    assert f"is {gold} by now" in run["reason"]
    assert house.said(house.gate) == ["access.suspended", "access.resumed"]
