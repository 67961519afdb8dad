"""What a customer writes stays the value of its line: no line break makes another property of a record in the CRM."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.connectors.hubspot import UpsertContact
from app.connectors.rest import settings
from app.connectors.salesforce import Upsert
from rules.texts import render

BREAKS = ("\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029")
TEMPLATE = "last_order = {{ data.object.description }}\n  stage=due by {{ data.object.id }} ({{ data.object.footer }})"


def filled(text: str) -> dict[str, str]:
    facts = {"data": {"object": {"description": text, "id": "in_1", "footer": text}}}
    return settings(render(TEMPLATE, facts))


@pytest.mark.parametrize("line_break", BREAKS)
def test_a_line_break_in_a_field_sets_no_other_property(line_break: str) -> None:
    found = filled(f"tea{line_break}hs_lead_status = OPEN{line_break}amount=999")
    assert list(found) == ["last_order", "stage"]
    assert found["last_order"].startswith("tea ")


@given(st.lists(st.sampled_from(["a", "=", " ", "\nb = c", *BREAKS]), max_size=30).map("".join))
def test_whatever_a_field_says_there_are_as_many_properties_as_lines(text: str) -> None:
    assert list(filled(text)) == ["last_order", "stage"]


def test_the_text_of_a_message_keeps_its_lines() -> None:
    facts = {"data": {"object": {"description": "one\ntwo"}}}
    assert render("You wrote: {{ data.object.description }}\nBye", facts) == "You wrote: one\ntwo\nBye"


@pytest.mark.parametrize("action", [UpsertContact, Upsert])
def test_what_a_record_said_before_is_put_back_as_it_was_and_nothing_else(action: type) -> None:
    before = {"address": "1 Main St\nhubspot_owner_id = 7"}
    outcome = {"data": {"before": before, "left": {"address": "x"}, "key": "cus_1"}}
    command = {"outcome": outcome, "params": {"connection": "crm"}, "connection": "crm"}
    params = action(None).inverse(command).params
    assert settings(params.get("properties") or params.get("fields")) == before
