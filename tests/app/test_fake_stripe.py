"""The fake Stripe keeps the promises of the real one that actions rely on, seen through Stripe's own library."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import stripe

from tests.fakes.stripe_api import FakeStripe, Fault, form

NOW = 1_790_000_000


@pytest.fixture
def fake() -> FakeStripe:
    return FakeStripe(now=lambda: NOW, seed=7)


@pytest.fixture
def client(fake: FakeStripe) -> Iterator[stripe.StripeClient]:
    stripe.enable_telemetry = False
    with fake.running() as base:
        yield stripe.StripeClient("sk_test_1", base_addresses={"api": base}, max_network_retries=0)


def a_subscription(client: stripe.StripeClient, card: str = "pm_card_visa") -> Any:
    customer = client.v1.customers.create({"email": "a@example.com", "payment_method": card})
    method = client.v1.payment_methods.list({"customer": customer.id}).data[0]
    client.v1.customers.update(customer.id, {"invoice_settings": {"default_payment_method": method.id}})
    price = a_price(client, 2000)
    return client.v1.subscriptions.create({"customer": customer.id, "items": [{"price": price.id}]})


def a_price(client: stripe.StripeClient, amount: int) -> Any:
    recurring = {"interval": "month"}
    data = {"name": f"Plan of {amount}"}
    return client.v1.prices.create(
        {"currency": "usd", "unit_amount": amount, "recurring": recurring, "product_data": data}  # type: ignore[typeddict-item]
    )


def error_of(call: Any, *args: Any) -> stripe.StripeError:
    with pytest.raises(stripe.StripeError) as caught:
        call(*args)
    return caught.value


def types(fake: FakeStripe) -> list[str]:
    return [event["type"] for event in fake.business.events]


def test_form_encoding_is_read_with_nested_keys_lists_and_types() -> None:
    read = form([("items[0][price]", "p"), ("items[0][quantity]", "2"), ("expand[]", "a"), ("expand[]", "b"),
                 ("metadata[n]", "7"), ("cancel_at_period_end", "true"), ("coupon", "")])  # fmt: skip
    assert read == {
        "items": [{"price": "p", "quantity": 2}],
        "expand": ["a", "b"],
        "metadata": {"n": "7"},
        "cancel_at_period_end": True,
        "coupon": "",
    }


def test_a_changed_plan_shows_in_the_subscription_and_in_one_event_with_our_key(
    fake: FakeStripe, client: stripe.StripeClient
) -> None:
    subscription = a_subscription(client)
    cheap = a_price(client, 500)
    item = subscription["items"].data[0].id
    client.v1.subscriptions.update(
        subscription.id,
        {"items": [{"id": item, "price": cheap.id}], "proration_behavior": "none"},
        {"idempotency_key": "run_1/downgrade/0"},
    )
    again = client.v1.subscriptions.retrieve(subscription.id)
    assert [item.price.id for item in again["items"].data] == [cheap.id]
    last = fake.business.events[-1]
    assert last["type"] == "customer.subscription.updated"
    assert last["request"]["idempotency_key"] == "run_1/downgrade/0"
    assert set(last["data"]["previous_attributes"]) == {"items"}


def test_an_item_without_its_id_is_added_beside_the_old_one(client: stripe.StripeClient) -> None:
    subscription = a_subscription(client)
    client.v1.subscriptions.update(subscription.id, {"items": [{"price": a_price(client, 500).id}]})
    assert len(client.v1.subscriptions.retrieve(subscription.id)["items"].data) == 2


def test_proration_makes_a_credit_and_a_charge(fake: FakeStripe, client: stripe.StripeClient) -> None:
    subscription = a_subscription(client)
    item = {"id": subscription["items"].data[0].id, "price": a_price(client, 500).id}
    client.v1.subscriptions.update(subscription.id, {"items": [item]})
    assert [item["amount"] for item in fake.business.find("invoiceitem")] == [-2000, 500]


def test_the_same_key_replays_the_first_answer(client: stripe.StripeClient) -> None:
    options: Any = {"idempotency_key": "k1"}
    first = client.v1.customers.create({"name": "A"}, options)
    second = client.v1.customers.create({"name": "A"}, options)
    assert second.id == first.id
    assert second.last_response.headers["Idempotent-Replayed"] == "true"
    assert len(client.v1.customers.list().data) == 1


def test_the_same_key_with_other_parameters_is_refused(client: stripe.StripeClient) -> None:
    client.v1.customers.create({"name": "A"}, {"idempotency_key": "k1"})
    error = error_of(client.v1.customers.create, {"name": "B"}, {"idempotency_key": "k1"})
    assert isinstance(error, stripe.IdempotencyError)
    assert error.http_status == 400


def test_a_stored_500_is_replayed_until_another_key_is_used(fake: FakeStripe, client: stripe.StripeClient) -> None:
    fake.faults.append(Fault("500 stored", "/v1/customers"))
    first = error_of(client.v1.customers.create, {"name": "A"}, {"idempotency_key": "k1"})
    second = error_of(client.v1.customers.create, {"name": "A"}, {"idempotency_key": "k1"})
    assert (first.http_status, second.http_status) == (500, 500)
    assert second.headers is not None
    assert second.headers["Idempotent-Replayed"] == "true"
    assert client.v1.customers.create({"name": "A"}, {"idempotency_key": "k2"}).id


def test_a_failed_validation_leaves_the_key_unused(client: stripe.StripeClient) -> None:
    error = error_of(client.v1.prices.create, {"unit_amount": 5}, {"idempotency_key": "k1"})
    assert error.code == "parameter_missing"
    assert client.v1.prices.create({"currency": "usd", "product_data": {"name": "x"}}, {"idempotency_key": "k1"}).id


def test_unknown_parameters_are_refused_by_name(client: stripe.StripeClient) -> None:
    error = error_of(client.v1.customers.create, {"nam": "A"})
    assert (error.code, getattr(error, "param", None)) == ("parameter_unknown", "nam")


def test_a_declined_payment_is_402_and_makes_the_subscription_past_due(
    fake: FakeStripe, client: stripe.StripeClient
) -> None:
    subscription = a_subscription(client)
    fake.business.declines[subscription.customer] = "insufficient_funds"
    draft = client.v1.invoices.create({"customer": subscription.customer})
    client.v1.invoice_items.create(
        {"customer": subscription.customer, "amount": 900, "currency": "usd", "invoice": draft.id}
    )
    error = error_of(client.v1.invoices.pay, draft.id)
    assert isinstance(error, stripe.CardError)
    assert error.error is not None
    assert (error.http_status, error.error.decline_code) == (402, "insufficient_funds")
    assert types(fake)[-3:] == ["payment_intent.payment_failed", "invoice.updated", "invoice.payment_failed"]
    assert client.v1.invoices.retrieve(draft.id).attempt_count == 1


def test_a_canceled_subscription_takes_no_other_plan(client: stripe.StripeClient) -> None:
    subscription = a_subscription(client)
    client.v1.subscriptions.cancel(subscription.id)
    item: Any = {"id": subscription["items"].data[0].id, "price": a_price(client, 500).id}
    assert error_of(client.v1.subscriptions.update, subscription.id, {"items": [item]}).http_status == 400
    assert client.v1.subscriptions.retrieve(subscription.id).status == "canceled"


def test_paging_before_an_event_yields_the_oldest_first(fake: FakeStripe, client: stripe.StripeClient) -> None:
    for number in range(25):
        client.v1.customers.create({"name": str(number)})
    first = fake.business.events[0]["id"]
    listed = client.v1.events.list({"ending_before": first, "limit": 10, "types": ["customer.created"]})
    names = [event.data.object["name"] for event in listed.auto_paging_iter()]
    assert names == [str(number) for number in range(1, 25)]


def test_sample_mode_answers_for_subscriptions_that_nobody_created() -> None:
    fake = FakeStripe(sample=True)
    with fake.running() as base:
        client = stripe.StripeClient("sk_test_1", base_addresses={"api": base}, max_network_retries=0)
        subscription: Any = client.v1.subscriptions.retrieve("sub_from_the_story")
        item: Any = {"id": subscription["items"].data[0].id, "price": "price_free"}
        client.v1.subscriptions.update("sub_from_the_story", {"items": [item]})
        changed: Any = client.v1.subscriptions.retrieve("sub_from_the_story")
    assert changed["items"].data[0].price.id == "price_free"


@pytest.mark.parametrize(
    ("kind", "status"), [("429", 429), ("lock_timeout", 429), ("409", 409), ("424", 424), ("401", 401), ("503", 503)]
)
def test_planted_faults_answer_with_stripes_errors(
    fake: FakeStripe, client: stripe.StripeClient, kind: Any, status: int
) -> None:
    fake.faults.append(Fault(kind, "/v1/customers"))
    assert error_of(client.v1.customers.create, {"name": "A"}).http_status == status
    assert client.v1.customers.list().data == []


@pytest.mark.parametrize(("kind", "kept"), [("reset", 0), ("reset after", 1), ("half", 1)])
def test_broken_connections_are_no_answer(fake: FakeStripe, client: stripe.StripeClient, kind: Any, kept: int) -> None:
    fake.faults.append(Fault(kind, "/v1/customers"))
    error_of(client.v1.customers.create, {"name": "A"})
    assert len(client.v1.customers.list().data) == kept
