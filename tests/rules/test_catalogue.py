"""The catalogue: every event type and field of the installed SDK, quick to load, easy to search."""

from __future__ import annotations

import gc
import gzip
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.adapters import stripe_sdk
from rules import catalogue as module
from rules.catalogue import DATA, Catalogue, FieldInfo

SHARED = Path(os.environ.get("SIGNALBOX_SHARED", Path(__file__).parents[2].parent / "shared"))
ENVELOPE = {"request.idempotency_key", "request.id", "api_version", "account", "created", "livemode"}


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue.load()


def field(catalogue: Catalogue, event_type: str, path: str) -> FieldInfo:
    found = catalogue.field(event_type, path)
    assert found is not None, (event_type, path)
    return found


# ---- the data -------------------------------------------------------------------------------------------------------
def test_the_checked_in_catalogue_is_what_the_installed_sdk_says() -> None:
    assert json.loads(gzip.decompress(DATA.read_bytes())) == stripe_sdk.build_catalogue(), (
        "Run `python -m app.adapters.stripe_sdk` after changing the version of `stripe`."
    )


def test_the_catalogue_is_small_and_loads_fast() -> None:
    assert DATA.stat().st_size < 200_000
    gc.collect()  # what other tests have left behind is not this one's to collect; it took 0.7 s of thousands of tests
    began = time.process_time()
    loaded = Catalogue(json.loads(gzip.decompress(DATA.read_bytes())))
    assert len(loaded.fields("invoice.paid")) > 1000
    assert time.process_time() - began < 0.5  # 40 ms when nothing else runs
    assert module.Catalogue.load() is module.Catalogue.load()


def test_there_are_all_275_event_types_with_words_and_an_object(catalogue: Catalogue) -> None:
    types = catalogue.event_types()
    assert len(types) == 275
    assert [type.name for type in types if not (type.title and type.description and type.objects)] == []


@pytest.mark.parametrize(
    ("event_type", "objects"),
    [
        ("invoice.payment_failed", ("invoice",)),
        ("customer.subscription.updated", ("subscription",)),
        ("customer.discount.created", ("discount",)),
        ("charge.dispute.created", ("dispute",)),
        ("charge.refund.updated", ("refund",)),
        ("billing.alert.triggered", ("billing.alert_triggered",)),
        ("issuing_card.created", ("issuing.card",)),
        ("application_fee.refund.updated", ("fee_refund",)),
        ("account.application.authorized", ("application",)),
        ("account.external_account.created", ("bank_account", "card")),
        ("customer.source.expiring", ("source", "card", "bank_account")),
        ("source.mandate_notification", ("source_mandate_notification",)),
        ("file.created", ("file",)),
    ],
)
def test_an_event_type_carries_the_right_object(
    catalogue: Catalogue, event_type: str, objects: tuple[str, ...]
) -> None:
    found = catalogue.event_type(event_type)
    assert found is not None
    assert found.objects == objects


def test_genuine_events_carry_the_objects_that_the_catalogue_names(catalogue: Catalogue) -> None:
    with gzip.open(SHARED / "data" / "catalog.jsonl.gz", "rt") as lines:
        events = [json.loads(line) for line in lines]
    wrong = []
    for event in events:
        found = catalogue.event_type(event["type"])
        assert found is not None
        if event["data"]["object"]["object"] not in found.objects:
            wrong.append((event["type"], event["data"]["object"]["object"], found.objects))
    assert wrong == []


def test_fields_of_genuine_events_are_in_the_catalogue_with_fitting_types(catalogue: Catalogue) -> None:
    """Nine in ten values of all event types: fixtures carry a few fields that the types do not have."""
    with gzip.open(SHARED / "data" / "catalog.jsonl.gz", "rt") as lines:
        events = [json.loads(line) for line in lines]
    known = unknown = 0
    unfit: set[tuple[str, str]] = set()
    for event in events:
        for path, value in _scalars(event["data"]["object"]):
            info = catalogue.field(event["type"], f"data.object.{path}")
            known, unknown = (known + 1, unknown) if info else (known, unknown + 1)
            if info and not _fits(info, value):
                unfit.add((path, info.type))
    assert known > 9 * unknown
    assert unfit == set()


def _scalars(thing: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in thing.items():
        here = f"{path}.{key}" if path else key
        if isinstance(value, dict) and "metadata" not in key:
            yield from _scalars(value, here)
        elif not isinstance(value, (dict, list)) and value is not None:
            yield here, value


def _fits(info: FieldInfo, value: Any) -> bool:
    if isinstance(value, bool):
        return info.type in ("boolean", "any")
    if isinstance(value, (int, float)):
        return info.type in ("number", "amount", "time", "any")
    return info.type in ("text", "id", "enum", "decimal", "any", "object")  # an expanded object may come as its id


# ---- asking ---------------------------------------------------------------------------------------------------------
def test_a_field_says_its_type_words_and_meaning(catalogue: Catalogue) -> None:
    due = field(catalogue, "invoice.payment_failed", "data.object.amount_due")
    assert (due.type, due.label, due.common, due.personal, due.nullable) == ("amount", "amount due", True, False, False)
    assert due.description.startswith("Final amount due")
    status = field(catalogue, "invoice.payment_failed", "data.object.status")
    assert (status.type, status.enum) == ("enum", ("draft", "open", "paid", "uncollectible", "void"))
    assert field(catalogue, "invoice.paid", "data.object.customer_email").personal
    assert field(catalogue, "invoice.paid", "data.object.next_payment_attempt").type == "time"
    assert field(catalogue, "invoice.paid", "data.object.attempt_count").type == "number"
    assert field(catalogue, "invoice.paid", "data.object.customer").type == "id"
    assert field(catalogue, "invoice.paid", "created").label == "the event’s time"


def test_fields_are_found_below_lists_maps_and_beyond_the_listed_depth(catalogue: Catalogue) -> None:
    deep = field(catalogue, "customer.subscription.updated", "data.object.items.data[].price.recurring.interval")
    assert deep.enum == ("day", "month", "week", "year")
    assert field(catalogue, "invoice.paid", "data.object.metadata.tier").type == "text"
    assert field(catalogue, "invoice.paid", 'data.object.metadata["a.b"]').type == "text"
    assert field(catalogue, "invoice.paid", "data.object.lines.data").item == "object"
    fingerprint = field(catalogue, "charge.failed", "data.object.payment_method_details.card.fingerprint")
    assert fingerprint.common
    for wrong in (
        "data.object.lines.amount",
        "data.object.lines[].amount",
        "data.object.metadata.a.b",
        "amount_due",
        "",
    ):
        assert catalogue.field("invoice.paid", wrong) is None


def test_an_event_type_of_several_objects_has_the_fields_of_all(catalogue: Catalogue) -> None:
    paths = {info.path for info in catalogue.fields("account.external_account.updated")}
    assert {"data.object.routing_number", "data.object.exp_month"} <= paths


def test_the_fields_people_ask_for_come_first(catalogue: Catalogue) -> None:
    first = [info.label for info in catalogue.fields("invoice.payment_failed")[:6]]
    assert first == ["amount due", "amount remaining", "amount paid", "total", "currency", "billing reason"]
    assert [info.label for info in catalogue.search("invoice.payment_failed", "", 2)] == first[:2]


@pytest.mark.parametrize(
    ("event_type", "text", "path"),
    [
        ("invoice.paid", "amount", "data.object.amount_due"),
        ("invoice.paid", "email", "data.object.customer_email"),
        ("invoice.paid", "paid at", "data.object.status_transitions.paid_at"),
        ("invoice.paid", "subscription", "data.object.parent.subscription_details.subscription"),
        ("payment_intent.payment_failed", "decline", "data.object.last_payment_error.decline_code"),
        ("charge.failed", "fingerprint", "data.object.payment_method_details.card.fingerprint"),
        ("customer.subscription.updated", "cancel reason", "data.object.cancellation_details.reason"),
        ("invoice.paid", "AMOUNT_REMAINING", "data.object.amount_remaining"),
    ],
)
def test_searching_finds_the_field_that_was_meant_first(
    catalogue: Catalogue, event_type: str, text: str, path: str
) -> None:
    assert catalogue.search(event_type, text)[0].path == path


def test_searching_for_nonsense_finds_nothing(catalogue: Catalogue) -> None:
    assert catalogue.search("invoice.paid", "zebra crossing") == []
    assert catalogue.search("no.such.type", "amount") == []


@pytest.mark.parametrize(
    ("event_type", "wrong", "right"),
    [
        ("invoice.paid", "data.object.amont_due", "data.object.amount_due"),
        ("invoice.paid", "amount_due", "data.object.amount_due"),
        ("invoice.paid", "object.amount_due", "data.object.amount_due"),
        ("invoice.paid", "data.object.subscription", "data.object.parent.subscription_details.subscription"),
        ("invoice.paid", "data.object.paid", "data.object.status"),
        ("customer.subscription.updated", "data.object.current_period_end", "data.object.items.data"),
        ("charge.failed", "data.object.payment_method_details.card.fingerprnt", None),
    ],
)
def test_a_wrong_path_has_a_right_neighbour(
    catalogue: Catalogue, event_type: str, wrong: str, right: str | None
) -> None:
    near = catalogue.nearest(event_type, wrong)
    assert near == right if right else (near or "").endswith("card.fingerprint")


def test_the_fields_of_the_starter_rules_are_all_known(catalogue: Catalogue) -> None:
    starters = json.loads((SHARED / "data" / "template_fields.json").read_text())
    unknown = []
    for starter in starters:
        for event_type in starter["trigger"] if starter["name"] not in ("lookups", "exits in the table") else ():
            for path in starter["paths"]:
                full = path if path in ENVELOPE else f"data.object.{path}"
                if catalogue.field(event_type, full) is None:
                    unknown.append((event_type, path))
        for event_type in starter["exit"]:
            assert catalogue.event_type(event_type) is not None
    assert unknown == []
