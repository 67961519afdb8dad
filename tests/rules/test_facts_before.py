"""Two facts: what a subscription brought before an update, and where the customer can be written to."""

from __future__ import annotations

from typing import Any

import pytest

from rules import skeletons
from rules.event import Event, seconds
from rules.knowing import about_event, read, settled
from rules.memory import Question, Window
from rules.subjects import keys_of, partition_of
from rules.wanted import Wanted

UPDATED = "customer.subscription.updated"
ITEM: dict[str, Any] = {"quantity": 1, "price": {"unit_amount": 4900, "recurring": {"interval": "month"}}}


def event(type: str, at: int = 0, **values: Any) -> Event:
    envelope = skeletons.envelope(f"evt_{type}_{at}", type, 1_800_000_000 + at, {})
    for path, value in values.items():
        skeletons.put(envelope, path.split("__"), value)
    keys = keys_of(envelope, "default")
    created = envelope["created"]
    return Event(envelope["id"], type, "t/test", created, seconds(created), envelope, "c", partition_of(keys), keys)


def known(name: str, *events: Event) -> Any:
    def answer(question: Question) -> Any:
        assert isinstance(question, Window)
        return [one for one in events if question.key in one.keys and one.type in question.types]

    path = ("fact", *name.split("."))
    return settled(lambda memory: read(Wanted((path,)), about_event(events[-1]), memory), answer).values[path]


def updated(after: list[Any], before: Any) -> Event:
    return event(UPDATED, data__object__items__data=after, data__previous_attributes=before)


def test_what_it_brought_before_is_what_the_update_changed_put_back() -> None:
    one = updated([{**ITEM, "quantity": 2}], {"items": {"data": [ITEM, ITEM, ITEM]}})
    assert known("subscription.mrr", one).value == 9800
    before = known("subscription.mrr_before", one)
    assert (before.value, before.path, before.currency) == (14700, "data.previous_attributes.items.data", "usd")


@pytest.mark.parametrize(
    ("before", "value"), [({}, 4900), ({"latest_invoice": "in_1"}, 4900), ({"status": "trialing"}, 0)]
)
def test_an_update_of_something_else_leaves_it_as_it_was(before: dict[str, Any], value: int) -> None:
    assert known("subscription.mrr_before", updated([ITEM], before)).value == value


def test_the_address_is_the_newest_that_the_customer_or_an_invoice_has() -> None:
    customer = event("customer.created", data__object__email="tok_a@acme.com")
    invoice = event("invoice.paid", 9, data__object__customer_email="tok_b@acme.com")
    nameless = event("invoice.paid", 10, data__object__customer_email=None)
    ended = event("customer.subscription.deleted", 11)
    assert known("customer.email", customer, ended).value == "tok_a@acme.com"
    assert known("customer.email", customer, invoice, nameless, ended).value == "tok_b@acme.com"
    assert known("customer.email", ended).value is None
