"""The registry of schemas: it takes what Stripe sends, in every version, and catches what is damaged."""

from __future__ import annotations

import gzip
import json
import lzma
import random
from collections.abc import Iterator
from functools import cache
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.adapters.stripe_schemas import build_shapes, installed
from rules import registry
from rules.aliases import MOVED
from rules.catalogue import Catalogue
from rules.conforming import Conforming, shared
from tests.builders import SHARED, envelope, invoice, thin

Envelope = dict[str, Any]
VERSIONS = registry.versions()
TYPE_DAMAGE, WRONG_NULLS = 0.98, 0.66  # what the rules of the registry caught when they were chosen


@cache
def catalog() -> list[Envelope]:
    with gzip.open(SHARED / "data" / "catalog.jsonl.gz") as lines:
        return [json.loads(line) for line in lines]


@cache
def recorded() -> list[Envelope]:
    with gzip.open(SHARED / "data" / "recorded.jsonl.gz") as lines:
        return [json.loads(line) for line in lines]


@cache
def story() -> list[Envelope]:
    with lzma.open(SHARED / "data" / "story.jsonl.xz") as lines:
        return [json.loads(line) for line in lines]


# ---- what it takes --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("events", "count"), [(recorded, 82), (catalog, 265), (story, 12_484)])
def test_everything_that_stripe_is_known_to_send_conforms(events: Any, count: int) -> None:
    conforming = Conforming()
    taken = [event for event in events() if not conforming.faults(event)]
    assert len(taken) == len(events()) == count
    assert all(conforming.knows(event["type"], event) for event in taken)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_stored_version_takes_the_events_of_the_types_it_knows(version: str) -> None:
    conforming = Conforming()
    shapes = registry.of(version)
    for event in (*recorded(), *catalog(), *story()[::50]):
        if shapes.knows(event["type"]):
            assert conforming.faults({**event, "api_version": version}) == (), (version, event["type"])


def test_enums_are_open_and_new_properties_may_come() -> None:
    thing = invoice(status="a_new_state", a_new_field={"deep": [1]}, billing_reason="a_new_reason")
    assert shared().faults(envelope(object=thing)) == ()


def test_only_the_class_of_an_object_is_required() -> None:
    assert shared().faults(envelope(object={"object": "invoice"})) == ()
    (fault,) = shared().faults(envelope(object={"id": "in_1"}))
    assert fault.body() == {"path": "data.object.object", "problem": "is missing"}


def test_an_object_inside_another_says_its_class_too() -> None:
    lines = {"object": "list", "data": [{"id": "il_1", "amount": 100}]}
    (fault,) = shared().faults(envelope(object=invoice(lines=lines)))
    assert fault.body() == {"path": "data.object.lines.data[].object", "problem": "is missing"}


def test_what_can_be_expanded_is_an_id_or_the_object() -> None:
    assert shared().faults(envelope(object=invoice(customer={"id": "cus_1", "object": "customer"}))) == ()
    (fault,) = shared().faults(envelope(object=invoice(customer=7)))
    assert fault.path == "data.object.customer"


def test_a_thin_event_is_checked_as_one() -> None:
    assert shared().faults(thin()) == ()
    (fault,) = shared().faults(thin(related_object={"id": 7}))
    assert fault.path == "related_object.id"


def test_a_type_that_no_registry_has_passes_and_is_known_to_be_unknown() -> None:
    event = envelope(type="invoice.sent_to_the_moon", object={"object": "invoice", "amount_due": "much"})
    assert shared().faults(event) == ()
    assert not shared().knows(event["type"], event)


def test_a_type_that_its_own_version_does_not_have_yet_is_checked_by_the_newest() -> None:
    event = envelope(
        type="invoice_payment.paid", object={"object": "invoice_payment", "id": 7}, api_version=VERSIONS[0]
    )
    assert not registry.of(VERSIONS[0]).knows("invoice_payment.paid")
    assert [fault.path for fault in shared().faults(event)] == ["data.object.id"]


# ---- what it catches ------------------------------------------------------------------------------------------------
def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield from leaves(inner, (*path, key))
    if not isinstance(value, dict | list) and value is not None:
        yield path, value


def damaged(event: Envelope, path: tuple[Any, ...], value: Any) -> Envelope:
    copy: Envelope = json.loads(json.dumps(event))
    place = copy["data"]["object"]
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return copy


def of_another_type(value: Any, dice: random.Random) -> Any:
    if isinstance(value, bool):
        return dice.choice(["yes", 7, [], {}])
    return dice.choice(["text", True, [], {}]) if isinstance(value, int | float) else dice.choice([7, True, [1], {}])


def test_damage_to_types_is_caught_and_most_wrong_nulls_are() -> None:
    dice, conforming = random.Random(20261123), shared()
    trials, retyped, nulled = 2_000, 0, 0
    for number in range(trials):
        event = dice.choice(story() if number % 2 else catalog())
        path, value = dice.choice(list(leaves(event["data"]["object"])))
        retyped += bool(conforming.faults(damaged(event, path, of_another_type(value, dice))))
        nulled += bool(conforming.faults(damaged(event, path, None)))
    assert retyped / trials >= TYPE_DAMAGE
    assert nulled / trials >= WRONG_NULLS


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_fault_never_shows_a_value(data: st.DataObject) -> None:
    event = data.draw(st.sampled_from(catalog()))
    path, _ = data.draw(st.sampled_from(list(leaves(event["data"]["object"]))))
    secret = data.draw(st.sampled_from(["S3CRET-value", ["S3CRET-value"], {"S3CRET-key": "S3CRET-value"}]))
    for fault in shared().faults(damaged(event, path, secret)):
        assert "S3CRET" not in fault.path + fault.problem


def test_keys_that_people_chose_are_not_told() -> None:
    (fault,) = shared().faults(envelope(object=invoice(metadata={"ada_lovelace": 7})))
    assert fault.body() == {"path": "data.object.metadata.*", "problem": "a number stands where text belongs"}


def test_an_overlong_id_is_a_fault() -> None:
    (fault,) = shared().faults(envelope(object=invoice(id="in_" + "1" * 300)))
    assert fault.body() == {"path": "data.object.id", "problem": "an id has at most 255 characters"}


# ---- what it is -----------------------------------------------------------------------------------------------------
def test_the_newest_version_is_the_installed_sdks_and_the_others_lie_on_both_sides_of_the_break_of_2025() -> None:
    assert Catalogue.load().api_version == VERSIONS[-1]
    assert len([version for version in VERSIONS if version < "2025-03-31.basil"]) >= 1
    assert len([version for version in VERSIONS if version >= "2025-03-31.basil"]) >= 2


def test_the_newest_version_is_made_from_the_installed_sdk() -> None:
    made = build_shapes(*installed())
    kept = json.loads(gzip.decompress((registry.FOLDER / f"{VERSIONS[-1]}.json.gz").read_bytes()))
    assert json.loads(json.dumps(made)) == kept


def test_there_is_one_schema_for_each_type_of_the_catalogue() -> None:
    types = [one.name for one in Catalogue.load().event_types()]
    assert registry.newest().event_types() == sorted(types)
    assert len(types) == 275
    for type in ("invoice.paid", "customer.source.created", "payout.paid", "v1.customer.subscription.past_due"):
        jsonschema.Draft202012Validator.check_schema(registry.newest().schema(type))


def test_a_schema_stands_alone() -> None:
    schema = registry.newest().schema("customer.subscription.updated")
    named = set(schema["$defs"])
    asked = {ref.removeprefix("#/$defs/") for ref in references(schema)}
    assert asked == named
    assert schema["$id"] == f"urn:stripe:{VERSIONS[-1]}:customer.subscription.updated"


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from ([value["$ref"]] if isinstance(value.get("$ref"), str) else [])
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from references(inner)


def test_the_paths_of_a_version_are_those_of_its_time() -> None:
    old, new = registry.of(VERSIONS[0]), registry.newest()
    assert "data.object.subscription" in old.shapes("invoice.paid")
    assert "data.object.subscription" not in new.shapes("invoice.paid")
    assert "data.object.parent.subscription_details.subscription" in new.shapes("invoice.paid")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_field_is_found_by_its_path_as_it_is_listed(version: str) -> None:
    shapes = registry.of(version)
    for type in ("invoice.paid", "customer.subscription.updated", "charge.failed", "customer.source.created"):
        for path, shape in shapes.shapes(type, 3).items():
            assert shapes.shape(type, path) == shape


def test_a_field_says_in_which_objects_it_stands() -> None:
    found = registry.newest().shape("invoice.paid", "data.object.lines.data[].pricing.price_details.price")
    assert found is not None
    assert found.within == ((0, "invoice"), (2, "line_item"))


def test_the_alias_table_names_paths_that_some_stored_version_has() -> None:
    """Of the classes that events carry by themselves; both sides of each move are real paths."""
    carriers = {"invoice": "invoice.paid", "customer": "customer.updated", "credit_note": "credit_note.created"}
    for kind, type in carriers.items():
        for now, before in MOVED[kind]:
            path = "data.object." + ".".join(now)
            assert registry.newest().shape(type, path), path
            before_path = "data.object." + ".".join(before)
            assert any(registry.of(version).shape(type, before_path) for version in VERSIONS), before_path


def test_an_event_is_read_by_its_own_version_else_by_the_one_before() -> None:
    assert registry.nearest_version(VERSIONS[1]) == VERSIONS[1]
    assert registry.nearest_version("2025-12-15.clover") == "2025-10-29.clover"
    assert registry.nearest_version("2031-01-01.zoo") == VERSIONS[-1]


def test_a_version_that_is_not_stored_is_named_with_those_that_are() -> None:
    with pytest.raises(LookupError, match=VERSIONS[0]):
        registry.of("2019-01-01")
    with pytest.raises(LookupError, match="no event type"):
        registry.newest().schema("invoice.nonsense")
