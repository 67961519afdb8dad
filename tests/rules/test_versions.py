"""One path and one subject key for every API version since 2020, on genuine recorded events and on made ones."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rules import paths
from rules.aliases import MISSING
from rules.catalogue import Catalogue
from rules.expr import compile_condition, tree
from rules.fields import locate, previous, read
from rules.model import Test
from rules.subjects import PREFIX, carried_by, correlation_of, key_for, keys_of, partition_of
from tests import builders

Document = dict[str, Any]
SHARED = Path(os.environ.get("SIGNALBOX_SHARED", Path(__file__).parents[2].parent / "shared"))


@pytest.fixture(scope="module")
def recorded() -> list[Document]:
    with gzip.open(SHARED / "data" / "recorded.jsonl.gz", "rt") as lines:
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def catalog() -> list[Document]:
    with gzip.open(SHARED / "data" / "catalog.jsonl.gz", "rt") as lines:
        return [json.loads(line) for line in lines]


def envelope(object: Document, type: str = "invoice.paid", **more: Any) -> Document:
    return {"id": "evt_1", "object": "event", "type": type, "created": 1, "data": {"object": object, **more}}


def at(path: str, event: Document) -> Any:
    return read(event, paths.split(path))


# ---- recorded events ------------------------------------------------------------------------------------------------
def test_every_recorded_invoice_names_its_subscription_at_todays_path(recorded: list[Document]) -> None:
    invoices = [event for event in recorded if event["data"]["object"]["object"] == "invoice"]
    old = [event for event in invoices if "subscription" in event["data"]["object"]]
    assert len(old) >= 4
    for event in old:
        expected = event["data"]["object"]["subscription"]
        assert at("data.object.parent.subscription_details.subscription", event) == expected
        assert at("data.object.parent.type", event) == ("subscription_details" if expected else None)


def test_every_recorded_line_names_its_price_at_todays_path(recorded: list[Document]) -> None:
    has_price = Test("", ("pricing", "price_details", "price"), "is present")
    asked = Test("", ("data", "object", "lines", "data"), "all items", where=has_price)
    invoices = [event for event in recorded if event["data"]["object"]["object"] == "invoice"]
    assert len(invoices) == 5
    for event in invoices:
        assert compile_condition(asked)(event)
        node = tree(asked, event, event["id"])
        assert node["true"]
        assert node["parts"][0]["from"]["path"] == "price.id"


def test_every_recorded_subscription_has_the_period_on_its_items(recorded: list[Document]) -> None:
    found = [event for event in recorded if event["data"]["object"]["object"] == "subscription"]
    assert len(found) >= 3
    for event in found:
        end = event["data"]["object"]["current_period_end"]
        item = Test("", ("current_period_end",), "equal to", end)
        assert compile_condition(Test("", ("data", "object", "items", "data"), "all items", where=item))(event)


def test_recorded_taxes_are_read_at_todays_path(recorded: list[Document]) -> None:
    taxed = [event for event in recorded if "total_tax_amounts" in event["data"]["object"]]
    assert taxed
    for event in taxed:
        assert at("data.object.total_taxes", event) == event["data"]["object"]["total_tax_amounts"]


def test_subjects_of_recorded_events_are_found_whatever_their_version(recorded: list[Document]) -> None:
    for event in recorded:
        thing, keys = event["data"]["object"], keys_of(event, "default")
        if isinstance(thing.get("customer"), str):
            assert keys[0] == f"cus:{thing['customer']}" == partition_of(keys)
        if isinstance(thing.get("subscription"), str):
            assert f"sub:{thing['subscription']}" in keys
        assert keys[-1] == "acct:default"
        assert correlation_of(event)


# ---- moved both ways ------------------------------------------------------------------------------------------------
def test_an_old_path_reads_a_new_event() -> None:
    new = envelope({"object": "invoice", "parent": {"subscription_details": {"subscription": "sub_1"}}})
    assert at("data.object.subscription", new) == "sub_1"
    assert locate(new, ("data", "object", "subscription"))[1] == paths.split(
        "data.object.parent.subscription_details.subscription"
    )


def test_metadata_moved_with_what_holds_it() -> None:
    old = envelope({"object": "invoice", "subscription_details": {"metadata": {"tier": "gold"}}})
    assert at("data.object.parent.subscription_details.metadata.tier", old) == "gold"


def test_a_one_off_invoice_has_no_subscription_in_any_version() -> None:
    for invoice in ({"subscription": None}, {"parent": None}, {}):
        assert at(
            "data.object.parent.subscription_details.subscription", envelope({"object": "invoice", **invoice})
        ) in (
            None,
            MISSING,
        )


def test_discounts_and_refunds_that_were_one_are_a_list() -> None:
    old = envelope({"object": "subscription", "discount": {"id": "di_1"}})
    assert at("data.object.discounts", old) == ["di_1"]
    assert at("data.object.discounts", envelope({"object": "subscription", "discount": None})) == []
    assert at("data.object.refunds", envelope({"object": "credit_note", "refund": "re_1"})) == [{"refund": "re_1"}]


def test_the_period_of_a_new_subscription_is_read_at_the_old_path_too() -> None:
    new = envelope({"object": "subscription", "items": {"data": [{"current_period_end": 5}]}})
    assert at("data.object.current_period_end", new) == 5


def test_what_changed_is_read_across_versions() -> None:
    old = envelope({"object": "invoice", "subscription": "sub_2"}, previous_attributes={"subscription": "sub_1"})
    assert previous(old, paths.split("data.object.parent.subscription_details.subscription")) == "sub_1"
    assert previous(old, paths.split("data.object.status")) is MISSING


# ---- subjects -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("thing", "keys"),
    [
        ({"object": "customer", "id": "cus_1"}, ("cus:cus_1",)),
        ({"object": "subscription", "id": "sub_1", "customer": "cus_1"}, ("cus:cus_1", "sub:sub_1")),
        (
            {
                "object": "invoice",
                "id": "in_1",
                "customer": {"id": "cus_1"},
                "parent": {"subscription_details": {"subscription": {"id": "sub_1"}}},
            },
            ("cus:cus_1", "sub:sub_1", "in:in_1"),
        ),
        (
            {"object": "invoice", "id": "in_1", "payments": {"data": [{"payment": {"payment_intent": "pi_1"}}]}},
            ("in:in_1", "pi:pi_1"),
        ),
        (
            {"object": "invoice_payment", "id": "inpay_1", "invoice": "in_1", "payment": {"payment_intent": "pi_1"}},
            ("in:in_1", "pi:pi_1"),
        ),
        (
            {
                "object": "charge",
                "id": "ch_1",
                "customer": "cus_1",
                "payment_intent": "pi_1",
                "payment_method_details": {"card": {"fingerprint": "fp_1"}},
            },
            ("cus:cus_1", "pi:pi_1", "ch:ch_1", "card:fp_1"),
        ),
        ({"object": "payment_intent", "id": "pi_1", "latest_charge": "ch_1"}, ("pi:pi_1", "ch:ch_1")),
        ({"object": "dispute", "id": "dp_1", "charge": "ch_1", "payment_intent": "pi_1"}, ("pi:pi_1", "ch:ch_1")),
        ({"object": "payment_method", "id": "pm_1", "card": {"fingerprint": "fp_1"}}, ("card:fp_1",)),
        ({"object": "card", "id": "card_1", "customer": "cus_1", "fingerprint": "fp_1"}, ("cus:cus_1", "card:fp_1")),
        ({"object": "bank_account", "id": "ba_1", "fingerprint": "fp_1"}, ()),
        ({"object": "payout", "id": "po_1"}, ()),
    ],
)
def test_the_keys_of_each_kind_of_object(thing: Document, keys: tuple[str, ...]) -> None:
    assert keys_of(envelope(thing), "default") == (*keys, "acct:default")


def test_a_thin_event_is_about_what_it_is_related_to() -> None:
    thin = {
        "id": "evt_1",
        "object": "v2.core.event",
        "type": "v1.customer.subscription.past_due",
        "related_object": {"id": "sub_1", "type": "subscription"},
    }
    assert keys_of(thin, "default") == ("sub:sub_1", "acct:default")
    assert correlation_of(thin) == "sub_1"
    bare = {"id": "evt_2", "object": "v2.core.event", "type": "v1.balance.available", "related_object": None}
    assert (keys_of(bare, "default"), correlation_of(bare)) == (("acct:default",), "evt_2")


@pytest.mark.parametrize(
    ("thing", "correlation"),
    [
        ({"object": "charge", "id": "ch_1", "invoice": "in_1", "payment_intent": "pi_1"}, "in_1"),
        ({"object": "charge", "id": "ch_1", "payment_intent": "pi_1"}, "pi_1"),
        ({"object": "subscription", "id": "sub_1", "customer": "cus_1"}, "sub_1"),
        ({"object": "customer", "id": "cus_1"}, "cus_1"),
        ({"object": "invoice", "parent": {"subscription_details": {"subscription": "sub_1"}}}, "sub_1"),
        ({"object": "balance"}, "evt_1"),
    ],
)
def test_a_journey_is_named_by_invoice_else_payment_else_subscription_else_object(
    thing: Document, correlation: str
) -> None:
    assert correlation_of(envelope(thing)) == correlation


def test_an_event_without_a_customer_is_ordered_by_what_it_has() -> None:
    assert partition_of(("in:in_1", "acct:default")) == "in:in_1"
    assert partition_of(()) == "none"


def test_a_key_may_be_any_declared_path() -> None:
    event = builders.event(object={"object": "invoice", "id": "in_1", "customer": "cus_1", "metadata": {"team": "red"}})
    assert key_for(event, "customer") == "cus:cus_1"
    assert key_for(event, "charge") is None
    assert key_for(event, "data.object.metadata.team") == "path:data.object.metadata.team=red"
    assert key_for(event, "data.object.metadata") is None
    assert key_for(event, "data.object.nothing") is None


@pytest.mark.parametrize("broken", [{}, {"data": None}, {"data": {"object": []}}, {"data": []}, {"id": 5}])
def test_what_is_hardly_an_event_has_no_keys_and_breaks_nothing(broken: Document) -> None:
    assert keys_of(broken, "default") == ("acct:default",)
    assert isinstance(correlation_of(broken), str)


def test_the_catalogue_and_the_events_agree_on_which_subjects_there_are(catalog: list[Document]) -> None:
    """What an event carries, the catalogue must allow: else a good rule would be refused."""
    allowed: Callable[[str], tuple[str, ...]] = lambda type: carried_by(Catalogue.load(), type)  # noqa: E731
    names = {prefix: name for name, prefix in PREFIX.items()}
    for event in catalog:
        carried = {names[key.partition(":")[0]] for key in keys_of(event, "default")}
        assert carried <= set(allowed(event["type"])), event["type"]
