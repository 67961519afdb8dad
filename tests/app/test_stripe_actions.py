"""The actions at Stripe do what they say once, see what is so already, and read every error as documented."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from app.connectors.stripe import stripe_actions
from app.connectors.stripe_answers import StripeAccess
from rules.ports import ActionExecutor, Outcome, Unconfigured
from tests.builders import task
from tests.fakes.stripe_api import FakeStripe, Fault

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.fixture
def fake() -> FakeStripe:
    return FakeStripe(now=lambda: int(NOW.timestamp()), seed=3, sample=True)


@pytest.fixture
def actions(fake: FakeStripe) -> Iterator[Mapping[str, ActionExecutor]]:
    with fake.running() as base:
        yield {action.name: action for action in stripe_actions(StripeAccess("sk_test_1", base))}


def downgrade(actions: Mapping[str, ActionExecutor], price: str = "price_free", **more: Any) -> Outcome:
    params = {"price": price, **more.pop("params", {})}
    return actions["stripe.change_plan"].execute(task("stripe.change_plan", params, **more), more.get("now", NOW))


def prices(fake: FakeStripe, id: str = "sub_1") -> list[str]:
    return [item["price"]["id"] for item in fake.business.get("subscription", id)["items"]["data"]]


def posts(fake: FakeStripe) -> list[str | None]:
    return [entry.key for entry in fake.requests("POST")]


# ---- change of plan -------------------------------------------------------------------------------------------------
def test_a_downgrade_is_one_update_of_the_item_under_the_commands_key(
    fake: FakeStripe, actions: Mapping[str, ActionExecutor]
) -> None:
    outcome = downgrade(actions)
    assert outcome.kind == "done"
    assert outcome.data["before"] == {
        "item": outcome.data["before"]["item"],
        "price": "price_pro_monthly",
        "quantity": 1,
    }
    assert prices(fake) == ["price_free"]
    (request,) = fake.requests("POST")
    assert (request.path, request.key) == ("/v1/subscriptions/sub_1", "run_1/step/0")
    assert request.params == {
        "items": [{"id": outcome.data["before"]["item"], "price": "price_free"}],
        "proration_behavior": "none",
    }
    assert outcome.request["headers"] == {"Idempotency-Key": "run_1/step/0"}
    assert outcome.response["body"]["prices"] == ["price_free"]


def test_what_is_on_the_price_already_is_left_alone(fake: FakeStripe, actions: Mapping[str, ActionExecutor]) -> None:
    downgrade(actions)
    outcome = downgrade(actions)
    assert (outcome.kind, outcome.data["already"]) == ("done", True)
    assert len(posts(fake)) == 1


def test_a_lost_answer_is_asked_for_again_and_the_state_before_is_kept(
    fake: FakeStripe, actions: Mapping[str, ActionExecutor]
) -> None:
    fake.faults.append(Fault("reset after"))
    lost = downgrade(actions)
    assert lost.kind == "retry"
    again = downgrade(actions, outcome={"data": dict(lost.data)})
    assert (again.kind, again.data["already"]) == ("done", True)
    assert again.data["before"]["price"] == "price_pro_monthly"


def test_a_change_for_the_end_of_the_period_waits_until_just_before(
    fake: FakeStripe, actions: Mapping[str, ActionExecutor]
) -> None:
    early = downgrade(actions, params={"when": "period_end"})
    assert (early.kind, early.after) == ("retry", timedelta(days=30) - timedelta(hours=1))
    assert early.data == {"postponed": True}
    assert posts(fake) == []
    late = actions["stripe.change_plan"].execute(
        task("stripe.change_plan", {"price": "price_free", "when": "period_end"}), NOW + timedelta(days=30, hours=-1)
    )
    assert late.kind == "done"


def test_an_ended_subscription_is_a_result_the_rule_can_ask_about(
    fake: FakeStripe, actions: Mapping[str, ActionExecutor]
) -> None:
    downgrade(actions, price="price_basic")
    fake.business.change(fake.business.get("subscription", "sub_1"), {"status": "canceled"})
    outcome = downgrade(actions)
    assert (outcome.kind, outcome.data) == ("branch", {"result": "gone"})


def test_a_subscription_that_stripe_does_not_know_is_dead(actions: Mapping[str, ActionExecutor]) -> None:
    outcome = downgrade(actions, subjects={"sub": "none_1"})
    assert (outcome.kind, outcome.data) == ("dead", {"code": "resource_missing"})


def test_an_event_without_a_subscription_is_dead(actions: Mapping[str, ActionExecutor]) -> None:
    assert downgrade(actions, subjects={}).message == "The event names no subscription."


def test_several_items_need_a_person_unless_the_rule_names_the_price(
    fake: FakeStripe, actions: Mapping[str, ActionExecutor]
) -> None:
    downgrade(actions, price="price_basic")
    subscription = fake.business.get("subscription", "sub_1")
    second = {**subscription["items"]["data"][0], "id": "si_2", "price": fake.business.get("price", "price_seats")}
    subscription["items"]["data"].append(second)
    fake.forget_keys()
    assert downgrade(actions).kind == "person"
    outcome = downgrade(actions, params={"from_price": "price_basic"})
    assert outcome.kind == "done"
    assert prices(fake) == ["price_free", "price_seats"]


# ---- errors ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("kind", "outcome", "pauses"),
    [
        ("reset", "retry", False), ("half", "retry", False), ("409", "retry", False), ("424", "retry", False),
        ("429", "retry", False), ("lock_timeout", "retry", False), ("500", "retry", False), ("503", "retry", False),
        ("401", "retry", True), ("403", "retry", True),
    ],
)  # fmt: skip
def test_errors_are_classified(
    fake: FakeStripe, actions: Mapping[str, ActionExecutor], kind: Any, outcome: str, pauses: bool
) -> None:
    fake.faults.append(Fault(kind))
    found = downgrade(actions)
    assert (found.kind, found.pause_connection) == (outcome, pauses)
    assert found.data.get("new_key") is None
    assert downgrade(actions).kind == "done"


def test_stripes_wish_to_wait_is_kept(fake: FakeStripe, actions: Mapping[str, ActionExecutor]) -> None:
    fake.faults.append(Fault("429", headers={"Retry-After": "9"}))
    assert downgrade(actions).after == timedelta(seconds=9)


def test_a_replayed_500_asks_for_a_new_key(fake: FakeStripe, actions: Mapping[str, ActionExecutor]) -> None:
    fake.faults.append(Fault("500 stored"))
    first, second = downgrade(actions), downgrade(actions)
    assert (first.kind, first.data.get("new_key")) == ("retry", None)
    assert (second.kind, second.data["new_key"]) == ("retry", True)
    assert downgrade(actions, idempotency_key="run_1/step/1").kind == "done"


def test_our_key_used_for_something_else_is_dead(fake: FakeStripe, actions: Mapping[str, ActionExecutor]) -> None:
    downgrade(actions)
    outcome = downgrade(actions, price="price_other")
    assert outcome.kind == "dead"
    assert "another request" in outcome.message


def test_an_unknown_price_is_dead() -> None:
    strict = FakeStripe(sample=True)
    strict.business.get("subscription", "sub_1")
    strict.business.unknown = None
    with strict.running() as base:
        outcome = downgrade({a.name: a for a in stripe_actions(StripeAccess("sk_test_1", base))})
    assert (outcome.kind, outcome.data["code"]) == ("dead", "resource_missing")


def test_without_a_key_for_the_mode_the_action_waits() -> None:
    for key, tenant in (("", "default/test"), ("sk_live_1", "default/test"), ("rk_test_1", "default/live")):
        action = stripe_actions(StripeAccess(key, "http://127.0.0.1:9"))[0]
        with pytest.raises(Unconfigured):
            action.execute(task("stripe.change_plan", {"price": "p"}, tenant=tenant), NOW)


def test_a_connected_account_is_acted_on_as_itself(fake: FakeStripe, actions: Mapping[str, ActionExecutor]) -> None:
    downgrade(actions, tenant="acct_7/test")
    assert fake.requests("POST")[0].headers["stripe-account"] == "acct_7"


# ---- the other actions ----------------------------------------------------------------------------------------------
def run(actions: Mapping[str, ActionExecutor], name: str, **params: Any) -> Outcome:
    return actions[name].execute(task(name, params), NOW)


def test_cancelling_at_the_periods_end_and_now(fake: FakeStripe, actions: Mapping[str, ActionExecutor]) -> None:
    assert run(actions, "stripe.cancel_subscription").kind == "done"
    assert fake.business.get("subscription", "sub_1")["cancel_at_period_end"] is True
    assert run(actions, "stripe.cancel_subscription").data["already"] is True
    now = actions["stripe.cancel_subscription"].execute(
        task("stripe.cancel_subscription", {"when": "now", "comment": "Not paid"}, idempotency_key="k2"), NOW
    )
    assert now.kind == "done"
    cancelled = fake.business.get("subscription", "sub_1")
    assert (cancelled["status"], cancelled["cancellation_details"]["comment"]) == ("canceled", "Not paid")
    assert run(actions, "stripe.cancel_subscription", when="now").data["already"] is True


def test_collection_is_paused_and_resumed(fake: FakeStripe, actions: Mapping[str, ActionExecutor]) -> None:
    assert run(actions, "stripe.pause_collection", behavior="void").kind == "done"
    assert fake.business.get("subscription", "sub_1")["pause_collection"] == {"behavior": "void"}
    assert run(actions, "stripe.pause_collection", behavior="void").data["already"] is True
    resumed = actions["stripe.resume_collection"].execute(task("stripe.resume_collection", idempotency_key="k2"), NOW)
    assert resumed.kind == "done"
    assert fake.business.get("subscription", "sub_1")["pause_collection"] is None


def an_open_invoice(fake: FakeStripe, card: str) -> str:
    def post(path: str, **params: Any) -> dict[str, Any]:
        answer = fake.answer("POST", path, {"authorization": "Bearer sk_test_1"}, urlencode(params).encode())
        assert answer.status == 200, answer.body
        return answer.body

    customer = post("/v1/customers", payment_method=card)["id"]
    post("/v1/invoiceitems", customer=customer, amount=900, currency="usd")
    (method,) = fake.business.find("payment_method")
    invoice: str = post(
        "/v1/invoices",
        customer=customer,
        pending_invoice_items_behavior="include",
        collection_method="send_invoice",
        days_until_due=3,
        default_payment_method=method["id"],
    )["id"]
    post(f"/v1/invoices/{invoice}/finalize")
    return invoice


def act_on(actions: Mapping[str, ActionExecutor], name: str, invoice: str) -> Outcome:
    return actions[name].execute(task(name, subjects={"in": invoice}), NOW)


def test_a_declined_payment_is_a_result_and_no_error(fake: FakeStripe, actions: Mapping[str, ActionExecutor]) -> None:
    invoice = an_open_invoice(fake, "pm_card_visa_chargeDeclinedInsufficientFunds")
    outcome = act_on(actions, "stripe.pay_invoice", invoice)
    assert outcome.kind == "branch"
    assert (outcome.data["result"], outcome.data["decline_code"]) == ("declined", "insufficient_funds")


def test_a_payment_is_tried_once_and_then_known_as_paid(
    fake: FakeStripe, actions: Mapping[str, ActionExecutor]
) -> None:
    invoice = an_open_invoice(fake, "pm_card_visa")
    assert act_on(actions, "stripe.pay_invoice", invoice).data["result"] == "paid"
    assert act_on(actions, "stripe.pay_invoice", invoice).data["already"] is True
    assert act_on(actions, "stripe.void_invoice", invoice).data == {"result": "paid"}


@pytest.mark.parametrize(
    ("name", "status"), [("stripe.void_invoice", "void"), ("stripe.mark_uncollectible", "uncollectible")]
)
def test_invoices_are_closed_once(
    fake: FakeStripe, actions: Mapping[str, ActionExecutor], name: str, status: str
) -> None:
    invoice = an_open_invoice(fake, "pm_card_visa")
    assert act_on(actions, name, invoice).kind == "done"
    assert fake.business.get("invoice", invoice)["status"] == status
    assert act_on(actions, name, invoice).data["already"] is True


def test_an_invoice_is_sent(fake: FakeStripe, actions: Mapping[str, ActionExecutor]) -> None:
    assert act_on(actions, "stripe.send_invoice", an_open_invoice(fake, "pm_card_visa")).kind == "done"
    assert fake.business.events[-1]["type"] == "invoice.sent"


def test_a_customers_metadata_is_set_and_the_value_before_is_kept(
    fake: FakeStripe, actions: Mapping[str, ActionExecutor]
) -> None:
    outcome = run(actions, "stripe.update_customer_metadata", key="stage", value="at risk")
    assert outcome.data["before"] == {"metadata": {"stage": ""}}
    assert fake.business.get("customer", "cus_1")["metadata"] == {"stage": "at risk"}
    assert run(actions, "stripe.update_customer_metadata", key="stage", value="at risk").data["already"] is True


def test_every_action_previews_its_exact_call() -> None:
    actions = {action.name: action for action in stripe_actions(StripeAccess("", ""))}
    assert actions["stripe.change_plan"].preview({"price": "price_free"}) == {
        "method": "POST",
        "url": "/v1/subscriptions/{subscription}",
        "headers": {"Idempotency-Key": "(run)/(step)/0"},
        "body": {"items": [{"id": "{item}", "price": "price_free"}], "proration_behavior": "none"},
        "undo": "the item goes back to its former price",
    }
    for name, action in actions.items():
        assert action.preview({"value": "v"})["url"].startswith("/v1/"), name
