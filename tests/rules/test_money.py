"""Money is added up in one currency at a time, the trigger's, and what is left out is said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rules.catalogue import Catalogue
from rules.explain import explain
from rules.model import Aggregate, RuleVersion, When
from rules.money import is_money
from tests.rules.world import DAY, TENANT, World, event, rule

AMOUNT = ("data", "object", "amount")
SUM = When(
    ("t.a",), "customer", within=30 * DAY, aggregate=Aggregate("sum", "amount", AMOUNT, "greater or equal to", 300)
)
HISTORY = [
    event("evt_usd", at=0, amount=200, currency="usd"),
    event("evt_eur", at=1, amount=90, currency="eur"),
    event("evt_none", at=2, amount=1000),
    event("evt_eur_2", at=3, amount=100, currency="eur"),
    event("evt_more", at=4, amount=50, currency="usd"),
]


def test_a_sum_counts_only_what_is_in_the_triggers_currency_and_says_what_it_left_out() -> None:
    world = World(rule(when=SUM))
    world.deliver(*HISTORY)
    sentence = world.trace("evt_more")["sentence"]
    assert "is $2.50; needed is at least $3.00 within 30 days; 2 in eur and 1 in no currency not counted." in sentence
    assert [run.trigger for run in world.runs()] == ["evt_none"]


def test_the_window_names_the_events_of_other_currencies() -> None:
    world = World(rule(when=SUM))
    world.deliver(*HISTORY, event("evt_last", at=5, amount=60, currency="usd"))
    window = world.trace("evt_last")["window"]
    assert window["counted"] == ["evt_usd", "evt_more", "evt_last"]
    assert window["aside"] == ["evt_eur", "evt_none", "evt_eur_2"]
    assert window["number"] == 310


@pytest.mark.parametrize(("of", "number"), [("average", 125), ("min", 50), ("max", 200), ("distinct", 2)])
def test_no_aggregate_of_money_mixes_currencies(of: str, number: float) -> None:
    assert SUM.aggregate is not None
    when = replace(SUM, aggregate=replace(SUM.aggregate, of=of, operator="equal to", value=number))
    world = World(rule(when=when))
    world.deliver(*HISTORY)
    assert world.trace("evt_more")["window"]["number"] == number


def test_what_is_no_money_is_counted_whatever_the_currency() -> None:
    path = ("data", "object", "attempt_count")
    when = When(("t.a",), "customer", within=DAY, aggregate=Aggregate("sum", "n", path, "greater or equal to", 5))
    world = World(rule(when=when))
    world.deliver(event("evt_1", at=0, attempt_count=2, currency="usd"))
    world.deliver(event("evt_2", at=1, attempt_count=3, currency="eur"))
    assert world.run().events == ("evt_1", "evt_2")


def test_the_explanation_says_why_an_event_of_another_currency_was_not_counted() -> None:
    found = explain(RuleVersion(TENANT, rule(when=SUM), 1, "live", ""), HISTORY, event="evt_more")
    why = {one["event"]: one["why"] for one in found["tree"]["window"]["events"]}
    assert why["evt_eur"] == "it is in EUR, and only USD is added up here"
    assert why["evt_none"] == "it is in no currency, and only USD is added up here"
    assert why["evt_usd"] is None


def test_the_names_of_amounts_are_those_of_the_sdk() -> None:
    catalogue = Catalogue.load()
    fields = [info for type in catalogue.event_types() for info in catalogue.fields(type.name)]
    told = {info.path: info.type for info in fields if info.type in ("amount", "number")}
    assert len(told) > 500
    wrong = [path for path, type in told.items() if is_money(tuple(path.split("."))) is not (type == "amount")]
    assert wrong == []
