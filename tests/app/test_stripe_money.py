"""Refunds, credit notes, invoice items and paused subscriptions at Stripe: each made once, guarded, and taken back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import pytest

from app.connectors.stripe import stripe_actions
from app.connectors.stripe_answers import StripeAccess
from rules.ports import ActionExecutor, Inverse, Outcome, Reversible
from tests.builders import task
from tests.fakes.stripe_api import FakeStripe, Fault

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
Actions = Mapping[str, ActionExecutor]


@pytest.fixture
def fake() -> FakeStripe:
    return FakeStripe(now=lambda: int(NOW.timestamp()), seed=3, sample=True)


@pytest.fixture
def actions(fake: FakeStripe) -> Iterator[Actions]:
    with fake.running() as base:
        yield {action.name: action for action in stripe_actions(StripeAccess("sk_test_1", base))}


def post(fake: FakeStripe, path: str, **params: Any) -> dict[str, Any]:
    answer = fake.answer("POST", path, {"authorization": "Bearer sk_test_1"}, urlencode(params).encode())
    assert answer.status == 200, answer.body
    fake.log.clear()
    return answer.body


def an_invoice(fake: FakeStripe, pay: bool = False) -> str:
    customer = post(fake, "/v1/customers", payment_method="pm_card_visa")["id"]
    post(fake, "/v1/invoiceitems", customer=customer, amount=900, currency="usd")
    (method,) = fake.business.find("payment_method")
    params = {"customer": customer, "pending_invoice_items_behavior": "include"}
    invoice = post(fake, "/v1/invoices", **params, default_payment_method=method["id"])["id"]
    post(fake, f"/v1/invoices/{invoice}/finalize")
    if pay:
        post(fake, f"/v1/invoices/{invoice}/pay")
    return str(invoice)


def run(actions: Actions, name: str, subjects: Mapping[str, str], /, **given: Any) -> Outcome:
    """given: the step's parameters, and `key` of the command's beside them."""
    key = given.pop("key", "run_1/step/0")
    asked = task(f"stripe.{name}", given, subjects=dict(subjects), idempotency_key=key)
    return actions[f"stripe.{name}"].execute(asked, NOW)


def taken_back(actions: Actions, name: str, outcome: Outcome) -> Inverse | None:
    action = actions[f"stripe.{name}"]
    assert isinstance(action, Reversible)
    return action.inverse({**task(f"stripe.{name}"), "outcome": {"data": dict(outcome.data)}})


def undone(actions: Actions, name: str, outcome: Outcome) -> Outcome:
    inverse = taken_back(actions, name, outcome)
    assert inverse is not None
    return actions[inverse.action].execute(task(inverse.action, inverse.params, subjects={}, idempotency_key="u"), NOW)


# ---- refunds --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("of", ["in", "pi", "ch"])
def test_a_refund_finds_the_payment_of_whatever_the_event_names(fake: FakeStripe, actions: Actions, of: str) -> None:
    ids = {"in": an_invoice(fake, pay=True)}
    ids |= {"pi": fake.business.find("payment_intent")[0]["id"], "ch": fake.business.find("charge")[0]["id"]}
    outcome = run(actions, "refund", {of: ids[of]}, amount="400", reason="duplicate")
    assert (outcome.kind, outcome.message) == ("done", f"Refunded $4.00 of {ids['ch']}.")
    (request,) = fake.requests("POST")
    assert request.params == {
        "charge": ids["ch"], "amount": 400, "reason": "duplicate", "metadata": {"signalbox": "run_1/step/0"},
    }  # fmt: skip
    assert fake.business.get("charge", ids["ch"])["amount_refunded"] == 400


def test_a_refund_without_an_amount_is_of_all_that_is_left_and_never_of_more(
    fake: FakeStripe, actions: Actions
) -> None:
    invoice = {"in": an_invoice(fake, pay=True)}
    run(actions, "refund", invoice, amount=300, key="k1")
    assert run(actions, "refund", invoice, amount=601, key="k2").kind == "person"
    assert run(actions, "refund", invoice, key="k3").data["amount"] == 600
    assert run(actions, "refund", invoice, key="k4").data == {"result": "refunded"}


@pytest.mark.parametrize("fault", ["reset after", "500 after"])
def test_a_refund_whose_answer_was_lost_is_not_made_twice_though_stripe_forgot_the_key(
    fake: FakeStripe, actions: Actions, fault: Any
) -> None:
    invoice = {"in": an_invoice(fake, pay=True)}
    fake.faults.append(Fault(fault, "/v1/refunds"))
    lost = run(actions, "refund", invoice, amount=300)
    fake.forget_keys()
    tried = ({"outcome": lost.kind, "generation": 0},)
    again = task("stripe.refund", {"amount": 300}, subjects=invoice, idempotency_key="run_1/step/1", attempts=tried)
    outcome = actions["stripe.refund"].execute(again, NOW)
    assert (lost.kind, outcome.kind, outcome.data["already"]) == ("retry", "done", True)
    assert len(fake.business.find("refund")) == 1


def test_an_effect_asked_for_again_after_it_was_done_is_a_new_one(fake: FakeStripe, actions: Actions) -> None:
    invoice = {"in": an_invoice(fake, pay=True)}
    run(actions, "refund", invoice, amount=300)
    done = ({"outcome": "done", "generation": 0},)
    again = task("stripe.refund", {"amount": 300}, subjects=invoice, idempotency_key="run_1/step/1", attempts=done)
    assert actions["stripe.refund"].execute(again, NOW).kind == "done"
    assert len(fake.business.find("refund")) == 2


@pytest.mark.parametrize("amount", ["0", "4.50", "-3", "all"])
def test_what_is_no_amount_needs_a_person(fake: FakeStripe, actions: Actions, amount: str) -> None:
    assert run(actions, "refund", {"in": an_invoice(fake, pay=True)}, amount=amount).kind == "person"


def test_an_unpaid_invoice_has_nothing_to_refund(fake: FakeStripe, actions: Actions) -> None:
    outcome = run(actions, "refund", {"in": an_invoice(fake)})
    assert (outcome.kind, outcome.message) == ("dead", "The event names no payment that could be refunded.")


# ---- credit notes ---------------------------------------------------------------------------------------------------
def test_a_credit_note_lowers_an_open_invoice_mails_nobody_and_can_be_voided(
    fake: FakeStripe, actions: Actions
) -> None:
    invoice = an_invoice(fake)
    outcome = run(actions, "credit_note", {"in": invoice}, amount="250", memo="Sorry")
    assert fake.requests("POST")[0].params["email_type"] == "none"
    assert fake.business.get("invoice", invoice)["amount_remaining"] == 650
    assert undone(actions, "credit_note", outcome).kind == "done"
    assert fake.business.get("invoice", invoice)["amount_remaining"] == 900
    assert undone(actions, "credit_note", outcome).data["already"] is True


def test_a_credit_note_on_a_paid_invoice_says_where_the_money_goes_and_stands(
    fake: FakeStripe, actions: Actions
) -> None:
    invoice = an_invoice(fake, pay=True)
    outcome = run(actions, "credit_note", {"in": invoice}, amount=200, give="refund")
    assert fake.requests("POST")[0].params["refund_amount"] == 200
    assert taken_back(actions, "credit_note", outcome) is None
    assert run(actions, "credit_note", {"in": invoice}, amount=701, key="k2").kind == "person"


def test_a_credit_note_whose_answer_was_lost_is_found_again_and_can_still_be_taken_back(
    fake: FakeStripe, actions: Actions
) -> None:
    invoice = {"in": an_invoice(fake)}
    fake.faults.append(Fault("reset after", "/v1/credit_notes"))
    assert run(actions, "credit_note", invoice).kind == "retry"
    fake.forget_keys()
    found = run(actions, "credit_note", invoice)
    assert found.data["already"] is True
    assert undone(actions, "credit_note", found).kind == "done"


def test_a_draft_is_not_credited(fake: FakeStripe, actions: Actions) -> None:
    customer = post(fake, "/v1/customers")["id"]
    draft = post(fake, "/v1/invoices", customer=customer)["id"]
    assert run(actions, "credit_note", {"in": draft}).data == {"result": "draft"}


# ---- invoice items --------------------------------------------------------------------------------------------------
def test_an_item_waits_for_the_next_invoice_and_is_taken_away_again(fake: FakeStripe, actions: Actions) -> None:
    outcome = run(actions, "add_invoice_item", {"cus": "cus_1"}, amount=500, currency="EUR", less=True)
    (item,) = fake.business.find("invoiceitem")
    assert (item["amount"], item["currency"], item["id"]) == (-500, "eur", outcome.data["made"])
    assert run(actions, "add_invoice_item", {"cus": "cus_1"}, amount=500, currency="eur").data["already"] is True
    assert undone(actions, "add_invoice_item", outcome).kind == "done"
    assert fake.business.find("invoiceitem") == []
    assert undone(actions, "add_invoice_item", outcome).data["already"] is True


def test_an_item_that_an_invoice_has_taken_up_stays(fake: FakeStripe, actions: Actions) -> None:
    invoice = an_invoice(fake)
    (item,) = fake.business.find("invoiceitem")
    outcome = run(actions, "remove_invoice_item", {}, invoice_item=item["id"])
    assert (outcome.kind, outcome.data) == ("branch", {"result": "invoiced"})
    assert item["invoice"] == invoice


def test_an_item_without_a_currency_needs_a_person_and_one_for_no_subscription_is_refused(
    fake: FakeStripe, actions: Actions
) -> None:
    assert run(actions, "add_invoice_item", {"cus": "cus_1"}, amount=5).kind == "person"
    asked = {"amount": 5, "currency": "usd", "on": "subscription"}
    assert run(actions, "add_invoice_item", {"cus": "cus_1"}, **asked).kind == "dead"
    done = run(actions, "add_invoice_item", {"cus": "cus_1", "sub": "sub_1"}, **asked)
    assert done.request["body"]["subscription"] == "sub_1"


# ---- pausing --------------------------------------------------------------------------------------------------------
def test_a_subscription_is_paused_and_undoing_resumes_it(fake: FakeStripe, actions: Actions) -> None:
    outcome = run(actions, "pause_subscription", {"sub": "sub_1"})
    assert fake.business.get("subscription", "sub_1")["status"] == "paused"
    assert fake.requests("POST")[0].params["bill_for"]["unused_time_from"] == {"type": "none"}
    already = run(actions, "pause_subscription", {"sub": "sub_1"}, key="k2")
    assert taken_back(actions, "pause_subscription", already) is None
    assert undone(actions, "pause_subscription", outcome).kind == "done"
    assert fake.business.get("subscription", "sub_1")["status"] == "active"
    assert run(actions, "resume_subscription", {"sub": "sub_1"}, key="k3").data["already"] is True


def test_a_cancellation_to_come_is_taken_back(fake: FakeStripe, actions: Actions) -> None:
    run(actions, "cancel_subscription", {"sub": "sub_1"}, feedback="unused", key="k1")
    kept = run(actions, "keep_subscription", {"sub": "sub_1"}, key="k2")
    assert fake.business.get("subscription", "sub_1")["cancel_at_period_end"] is False
    assert undone(actions, "keep_subscription", kept).kind == "done"
    assert fake.business.get("subscription", "sub_1")["cancel_at_period_end"] is True


def test_what_has_ended_is_a_result_the_rule_can_ask_about(fake: FakeStripe, actions: Actions) -> None:
    run(actions, "cancel_subscription", {"sub": "sub_1"}, when="now", prorate=True)
    for name in ("pause_subscription", "resume_subscription", "keep_subscription"):
        assert run(actions, name, {"sub": "sub_1"}, key=name).data == {"result": "gone"}


def test_collection_pauses_until_a_time(fake: FakeStripe, actions: Actions) -> None:
    wrong = run(actions, "pause_collection", {"sub": "sub_1"}, resumes_at="soon")
    right = run(actions, "pause_collection", {"sub": "sub_1"}, resumes_at="2026-12-01T00:00:00Z", key="k2")
    assert (wrong.kind, right.kind) == ("person", "done")
    assert fake.business.get("subscription", "sub_1")["pause_collection"]["resumes_at"] == 1796083200
    assert run(actions, "pause_collection", {"sub": "sub_1"}, resumes_at=1796083200, key="k3").data["already"] is True
