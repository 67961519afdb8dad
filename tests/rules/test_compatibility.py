"""What another API version means for fields and rules."""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterator
from functools import cache
from itertools import islice
from typing import Any

import pytest

from rules import registry
from rules.compatibility import BREAKING, Change, Use, _turned, changes, losses, reading, unserved, uses
from rules.event import Event
from rules.fact_paths import FACT_PATHS
from rules.facts import FACTS, Fact
from rules.folds import About
from rules.registry import Shape
from rules.rule import Rule, parse
from rules.subjects import keys_of
from tests.builders import SHARED, TENANT, event

OLD, *_, NEW = registry.versions()
BASIL = next(version for version in registry.versions() if "basil" in version)
PARENT = "data.object.parent.subscription_details.subscription"


def rule(*fields: str, **more: Any) -> Rule:
    return parse(
        {
            "id": "r",
            "name": "R",
            "when": {"event": ["invoice.payment_failed"]},
            "only_if": {"all": [{"field": field, "is": "is present"} for field in fields]},
            "steps": [{"name": "note", "do": "crm.notify", "with": {"connection": "crm", "message": "hello"}}],
            **more,
        }
    )


def told(old: str, new: str, type: str) -> dict[str, Change]:
    return {change.path: change for change in changes(old, new, type)}


# ---- fields ---------------------------------------------------------------------------------------------------------
def test_basil_moved_the_subscription_of_an_invoice() -> None:
    found = told(OLD, BASIL, "invoice.paid")
    assert (found["data.object.subscription"].kind, found["data.object.subscription"].now) == ("moved", PARENT)
    assert found["data.object.paid"].kind == "removed"
    assert found["data.object.lines.data[].price.id"].now == "data.object.lines.data[].pricing.price_details.price"
    assert "data.object.subscription.id" not in found
    assert found["data.object.parent"].kind == "added"


def test_what_lies_below_a_field_that_is_gone_is_not_told_again() -> None:
    found = told(OLD, BASIL, "invoice.paid")
    assert found["data.object.discount"].kind == "removed"
    assert not [path for path in found if path.startswith("data.object.discount.") and found[path].kind == "removed"]


def test_clover_moved_the_coupon_of_a_discount() -> None:
    found = told(BASIL, NEW, "customer.discount.created")
    assert found["data.object.coupon"].kind in BREAKING
    assert found["data.object.source"].kind == "added"


def test_the_period_of_a_subscription_is_worked_out_of_its_items() -> None:
    assert told(OLD, BASIL, "customer.subscription.updated")["data.object.current_period_end"].now.startswith("worked")


@pytest.mark.parametrize("version", registry.versions())
def test_a_version_does_not_differ_from_itself(version: str) -> None:
    for type in registry.of(version).event_types()[::10]:
        assert changes(version, version, type) == ()


def test_a_type_that_comes_or_goes_is_told_and_an_unknown_one_refused() -> None:
    assert [one.kind for one in changes(OLD, NEW, "invoice_payment.paid")] == ["type new"]
    assert [one.kind for one in changes(NEW, OLD, "invoice_payment.paid")] == ["type gone"]
    with pytest.raises(LookupError):
        changes(OLD, NEW, "invoice.nonsense")


def test_the_breaks_of_2025_are_seen_and_the_later_versions_break_little() -> None:
    types = ("invoice.paid", "customer.subscription.updated", "invoiceitem.created", "charge.failed")
    breaking = [
        sum(change.kind in BREAKING for type in types for change in changes(old, new, type))
        for old, new in zip(registry.versions(), registry.versions()[1:], strict=False)
    ]
    assert breaking[0] > 40
    assert sum(breaking[1:]) < 10


# ---- rules ----------------------------------------------------------------------------------------------------------
def test_every_place_where_a_rule_reads_is_known() -> None:
    found = rule(
        "data.object.amount_due",
        when={"event": ["invoice.payment_failed"], "same": "data.object.metadata.team", "at_least": 2, "within": "P7D",
              "counting": "data.object.number"},
        money="data.object.amount_remaining",
        steps=[
            {"name": "note", "do": "crm.notify", "with": {"connection": "crm", "message": "{{ data.object.charge }}"}},
            {"name": "later", "wait": {"until": "data.object.due_date"}},
            {"name": "big", "if": {"field": "data.object.total", "is": "is present"},
             "then": [{"name": "end", "stop": "big"}]},
            {"name": "sign", "approve": {"role": "approver"}, "if": {"field": "data.object.tax", "is": "is present"}},
        ],
        stop_when=[{"event": ["invoice.paid"], "same": "data.object.subscription"}],
    )  # fmt: skip
    places = {(use.where, use.path.removeprefix("data.object."), use.type) for use in uses(found)}
    failed = "invoice.payment_failed"
    assert places == {
        ("only_if", "amount_due", failed),
        ("when.same", "metadata.team", failed),
        ("when.counting", "number", failed),
        ("money", "amount_remaining", failed),
        ("steps.note", "charge", failed),
        ("steps.later", "due_date", failed),
        ("steps.big", "total", failed),
        ("steps.sign", "tax", failed),
        ("stop_when", "subscription", "invoice.paid"),
    }


def test_a_path_inside_a_lists_items_is_read_from_the_list_on() -> None:
    where = {"field": "price.id", "is": "equal to", "value": "price_1"}
    found = parse(
        {
            **rule("data.object.id").document,
            "only_if": {"field": "data.object.lines.data", "is": "any item", "where": where},
        }
    )
    assert "data.object.lines.data[].price.id" in {use.path for use in uses(found)}
    (loss,) = [one for one in losses([found], OLD, NEW) if one.now.use.path.endswith("price.id")]
    assert loss.now.name == "data.object.lines.data[].pricing.price_details.price"


def test_a_rule_in_old_names_is_told_the_name_that_is_read_or_that_it_is_missing() -> None:
    found = {
        loss.now.use.path: loss.now for loss in losses([rule("data.object.subscription", "data.object.paid")], OLD, NEW)
    }
    assert (found["data.object.subscription"].standing, found["data.object.subscription"].name) == (
        "by another name",
        PARENT,
    )
    assert found["data.object.paid"].standing == "missing"


def test_a_rule_in_new_names_is_served_by_an_old_version_under_the_old_one() -> None:
    (found,) = unserved([rule(PARENT)], OLD)
    assert (found.standing, found.name) == ("by another name", "data.object.subscription")
    assert unserved([rule(PARENT, "data.object.metadata.anything")], NEW) == []


def test_what_no_version_has_is_no_matter_of_versions() -> None:
    use = Use("r", "invoice.paid", "data.object.nonsense", "only_if")
    assert {reading(use, version).standing for version in registry.versions()} == {"there"}


def test_the_fields_that_facts_are_folded_from_are_read_too() -> None:
    found = list(uses(rule("fact.customer.mrr")))
    assert {use.fact for use in found} == {"fact.customer.mrr"}
    assert "data.object.items.data[].price.recurring.interval" in {use.path for use in found}
    assert losses([rule("fact.customer.mrr", "fact.customer.email")], OLD, NEW) == []


# ---- the table of facts ---------------------------------------------------------------------------------------------
def test_every_fact_says_the_fields_that_it_is_folded_from_and_each_is_there_now() -> None:
    assert FACT_PATHS.keys() == FACTS.keys()
    for name, fields in FACT_PATHS.items():
        for kind, paths in fields.items():
            types = [type for type in FACTS[name].sources if kind in registry.newest().objects(type)]
            assert types, (name, kind)
            for path in paths:
                assert any(registry.newest().shape(type, f"data.object.{path}") for type in types), (name, path)


IDLE = {"id", "object", "data"}  # what tells objects apart, and the pages of lists


class Watched(dict[str, Any]):
    """An object that notes which of its fields are read, at its top."""

    def __init__(self, body: dict[str, Any], read: set[str]) -> None:
        super().__init__(body)
        self.noted = read

    def __getitem__(self, key: str) -> Any:
        self.noted.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.noted.add(key)
        return super().get(key, default)


@cache
def story() -> list[Any]:
    with lzma.open(SHARED / "data" / "story.jsonl.xz") as lines:
        return [json.loads(line) for line in islice(lines, 800)]


def history(fact: Fact) -> Iterator[Event]:
    for body in story():
        if body["type"] in fact.sources:
            yield event(body["id"], body["type"], body["data"]["object"], tenant=TENANT)


@pytest.mark.parametrize("name", [name for name, fields in FACT_PATHS.items() if fields])
def test_a_fact_reads_nothing_at_the_top_of_an_object_that_the_table_does_not_say(name: str) -> None:
    fact = FACTS[name]
    for one in history(fact):
        read: set[str] = set()
        thing = one.data["data"]["object"]
        watched = {**one.data, "data": {"object": Watched(thing, read)}}
        seen = Event(**{field: getattr(one, field) for field in Event.__slots__} | {"data": watched})
        subjects = {key.partition(":")[0]: key.partition(":")[2] for key in keys_of(one.data, "default")}
        fact.fold(About(subjects, one.created, one.created, "usd"), [seen])
        said = {path.split(".")[0] for path in FACT_PATHS[name].get(thing["object"], ())}
        assert read & thing.keys() - said - IDLE - TOLERATED.get(name, set()) == set(), (name, one.type)


# fields that only choose between objects of one subject
TOLERATED: dict[str, set[str]] = {name: {"created", "status", "currency"} for name in FACT_PATHS}


def test_what_takes_more_than_before_is_no_break_and_what_takes_less_is() -> None:
    def turned(was: str, now: str, was_nullable: bool = False, nullable: bool = False) -> list[str]:
        path = "data.object.total"
        before, after = Shape(path, was, was_nullable, ()), Shape(path, now, nullable, ())
        return [one.kind for one in _turned("invoice.paid", {path: before}, {path: after})]

    assert turned("integer", "number") == []
    assert turned("number", "integer") == ["retyped"]
    assert turned("text", "text", False, True) == ["may be null"]
    assert turned("text", "text", True, False) == []


def test_a_field_that_another_is_compared_with_and_what_must_not_follow_are_read_too() -> None:
    test = {"field": "data.object.amount_due", "is": "equal to", "value": {"field": "data.object.total", "times": 2}}
    when = {
        "event": ["invoice.payment_failed"], "same": "data.object.number",
        "and_not": {"event": ["invoice.paid"], "within": "PT4H"},
    }  # fmt: skip
    found = {
        (use.where, use.type, use.path.removeprefix("data.object.")) for use in uses(rule(when=when, only_if=test))
    }
    failed = "invoice.payment_failed"
    assert found >= {("only_if", failed, "amount_due"), ("only_if", failed, "total")}
    assert found >= {("when.same", failed, "number"), ("when.same", "invoice.paid", "number")}
