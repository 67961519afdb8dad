"""Saved examples read as sentences on the rule's page, whatever they hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.starters import starters
from app.web.example_words import sentences
from app.web.show import told


@pytest.mark.parametrize(
    ("example", "said"),
    [
        (
            {"given": ["invoice.payment_failed P-6D", "invoice.payment_failed"], "then": "fires"},
            "When an invoice payment fails 6 days earlier, then an invoice payment fails, it fires.",
        ),
        (
            {"given": ["invoice.paid data.object.amount_paid=0"], "then": "does not fire", "because": "condition"},
            "When an invoice is paid (amount paid 0), it does not fire, because a condition is not true.",
        ),
        (
            {"given": ["evt_1"], "then": "fires", "after": "PT48H", "stands": "undone"},
            "When evt_1 comes, it fires; 48 hours later what the run did is taken back.",
        ),
    ],
)
def test_an_example_is_a_sentence(example: dict[str, object], said: str) -> None:
    assert sentences([example]) == [said]


@pytest.mark.parametrize("starter", starters(), ids=lambda starter: starter["id"])
def test_no_starters_example_shows_machine_syntax(starter: dict[str, object]) -> None:
    for line in sentences(starter.get("examples")):
        assert not any(sign in line for sign in ("{", "}", "data.object", "PT", "=")), line


NESTED = st.one_of(st.text(max_size=8), st.integers(), st.none())
JSON = st.recursive(
    NESTED, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=6), inner, max_size=2)
)


@given(st.one_of(JSON, st.lists(st.dictionaries(st.sampled_from(["given", "then", "after", "stands"]), JSON))))
def test_any_json_has_sentences(examples: object) -> None:
    assert all(isinstance(line, str) for line in sentences(examples))


def test_the_read_back_on_pages_has_lines_and_no_minor_units_and_escapes() -> None:
    assert told("text “a ¶ <b>” is at least 50.00 (5,000 in minor units)") == "text “a<br>&lt;b&gt;” is at least 50.00"
