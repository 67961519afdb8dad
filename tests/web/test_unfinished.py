"""A rule that is not finished: it is read back all the same, and what is missing is said in the form's words."""

from __future__ import annotations

from typing import Any

import pytest

from app.starters import starter
from app.web.forms import unfinished
from app.web.forms import words as form_words
from rules.catalogue import Catalogue
from rules.rule import check
from tests.builders import services_in_memory

TWICE: dict[str, Any] = {
    "id": "twice",
    "name": "Twice",
    "when": {"event": ["invoice.payment_failed"], "at_least": 2, "within": "P7D", "same": "subscription"},
    "only_if": {"all": [{"field": "data.object.amount_remaining", "is": "greater than", "value": 0}]},
    "steps": [
        {"name": "downgrade", "do": "stripe.change_plan", "with": {"price": "price_free"}},
        {"name": "tell", "do": "crm.notify", "with": {"connection": "crm"}},
    ],
}
BEGUN = "When an invoice payment fails at least 2 times within 7 days for the same subscription"


def read(**changes: Any) -> list[str]:
    document = {**TWICE, **changes}
    return [one["text"] for one in unfinished.sentences(document, Catalogue.load()) if one["part"] != "name"]


def when(**changes: Any) -> str:
    return read(when={**TWICE["when"], **changes})[0]


def only_if(**test: Any) -> str:
    return read(only_if={"all": [{"field": "data.object.amount_remaining", "is": "greater than", **test}]})[1]


def test_an_empty_page_reads_as_dots() -> None:
    said = [one["text"] for one in unfinished.sentences(starter("blank"), Catalogue.load()) if one["part"] != "name"]
    assert said[:2] == ["Each time …", "Then …"]


def test_a_rule_without_gaps_reads_as_it_does_anyway() -> None:
    assert read()[0] == f"{BEGUN}, not counting what we caused ourselves."
    assert "…" not in " ".join(read())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"event": []}, "When … at least 2 times within 7 days"),
        ({"event": ["payment fails"]}, "When … at least 2 times within 7 days"),
        ({"at_least": "two"}, "at least … times within 7 days"),
        ({"within": "PsevenD"}, "2 times within … for the same subscription"),
        ({"same": ""}, "within 7 days for the same …,"),
    ],
)
def test_what_is_missing_of_the_beginning_is_dots(changes: dict[str, Any], words: str) -> None:
    assert words in when(**changes)


@pytest.mark.parametrize(
    ("test", "words"),
    [
        ({"value": "ten"}, "Only if the amount remaining is more than …"),
        ({"field": "amount remaining", "value": 1}, "Only if … is more than 1"),
        ({"is": "between", "value": ["", ""]}, "Only if …"),
        ({"is": "", "value": ""}, "Only if …"),
        ({"is": "one of", "value": []}, "Only if the amount remaining is one of …"),
        ({"is": "in the last", "value": ""}, "Only if the amount remaining is in the last …"),
    ],
)
def test_what_is_missing_of_a_condition_is_dots(test: dict[str, Any], words: str) -> None:
    assert only_if(**test).startswith(words)


def test_unfinished_steps_keep_their_place() -> None:
    steps = [
        {"name": "downgrade", "do": "stripe.change_plan", "with": {"price": ""}},
        {"name": "", "wait": {"for": ""}},
        {"name": "", "do": "crm.notify", "with": {"connection": "crm"}},
        {"nonsense": 1},
    ]
    assert read(steps=steps)[2:6] == [
        "Then (“downgrade”) move the subscription to …",
        "After that wait …",
        "After that tell “crm”.",
        "After that …",
    ]


def test_a_part_that_says_nothing_is_left_out_and_the_rest_is_read() -> None:
    assert read(only_if="x", steps="y", bogus=1)[:2] == [f"{BEGUN}, not counting what we caused ourselves.", "Then …"]


def told(**changes: Any) -> dict[str, tuple[str, bool]]:
    ports = services_in_memory()
    document = {**TWICE, **changes}
    found = check(document, ports.catalogue, ports.connectors)
    return {one.path: (one.message, one.gap) for one in form_words.said(found, document, ports.connectors)}


def test_what_is_not_filled_in_is_a_gap_in_plain_words() -> None:
    found = told(id="", name="", when={"event": []}, steps=[])
    assert found == {
        "when.event": ("choose the event that it begins with", True),
        "steps": ("add a first step: so far nothing happens", True),
        "name": ("give the rule a name", True),
    }


def test_a_step_says_which_of_its_fields_is_empty() -> None:
    found = told(steps=[{"name": "a", "do": "stripe.change_plan", "with": {}}])
    assert found == {"steps[0].with.price": ("step 1, change the subscription's plan: fill in “New price”", True)}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"when": {**TWICE["when"], "within": "PsevenD"}}, "“seven” is no whole number; how long?"),
        ({"when": {**TWICE["when"], "at_least": "two"}}, "how many times is a whole number, not “two”"),
        ({"limits": {"runs": "lots", "per": "P1D"}}, "how many runs is a whole number, not “lots”"),
        ({"again": {"while_open": False, "after": ""}}, "say for how long"),
    ],
)
def test_letters_in_a_number_are_named(changes: dict[str, Any], words: str) -> None:
    assert [message for message, _ in told(**changes).values()] == [words]


def test_letters_in_an_amount_are_named() -> None:
    test = {"field": "data.object.amount_remaining", "is": "greater than", "value": "ten"}
    assert told(only_if=test) == {"only_if.value": ("“ten” is no number", False)}
    assert told(only_if={**test, "value": ""}) == {
        "only_if.value": ("write the value that a condition compares with", True)
    }


def test_the_document_keeps_its_own_words_when_it_is_edited_as_json() -> None:
    ports = services_in_memory()
    found = check({**TWICE, "steps": []}, ports.catalogue, ports.connectors)
    assert [one.message for one in form_words.as_written(found)] == [one.message for one in found]
