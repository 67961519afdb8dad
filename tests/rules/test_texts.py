"""Texts with holes, and the facts that a run carries for its steps."""

from __future__ import annotations

from typing import Any

from rules.model import Do, If, Test, Wait
from rules.texts import facts_of, render
from tests.rules.world import rule

INVOICE: dict[str, Any] = {
    "id": "evt_1",
    "type": "invoice.payment_failed",
    "created": 5,
    "data": {
        "object": {
            "object": "invoice",
            "id": "in_1",
            "currency": "usd",
            "amount_due": 4900,
            "paid": False,
            "customer_email": "tok_1@acme.com",
            "subscription": "sub_old",
            "metadata": {"a.b": "dotted", "secret": "not read"},
        },
        "previous_attributes": {"status": "draft"},
    },
}


def test_a_text_is_filled_in_and_a_text_of_one_hole_keeps_the_values_type() -> None:
    assert render("{{ data.object.amount_due }}", INVOICE) == 4900
    assert render("Owes {{data.object.amount_due}} {{ data.object.currency }}", INVOICE) == "Owes 4900 usd"
    assert render("{{ data.object.paid }}!", INVOICE) == "false!"
    assert render('{{ data.object.metadata["a.b"] }}', INVOICE) == "dotted"


def test_what_is_missing_is_empty() -> None:
    assert render("{{ data.object.nothing }}", INVOICE) == ""
    assert render("[{{ data.object.nothing }}]", INVOICE) == "[]"


def test_holes_are_found_in_nested_parameters() -> None:
    params = {"to": ["{{ data.object.customer_email }}", {"n": 5}], "on": True}
    assert render(params, INVOICE) == {"to": ["tok_1@acme.com", {"n": 5}], "on": True}


def test_a_filled_in_value_is_never_read_as_a_text_again() -> None:
    nasty = {"data": {"object": {"name": "{{ data.object.secret }}", "secret": "s"}}}
    assert render("Dear {{ data.object.name }}", nasty) == "Dear {{ data.object.secret }}"


def test_facts_hold_what_the_steps_read_and_nothing_else() -> None:
    steps = (
        Do("tell", "crm.notify", {"text": '{{ data.object.amount_due }} {{ data.object.metadata["a.b"] }}'}),
        Wait("until-due", until="data.object.due_date"),
        If("was-draft", Test("x", ("data", "object", "status"), "changed from", "draft"), ()),
    )
    facts = facts_of(rule(steps=steps), INVOICE)
    assert facts["data"]["object"]["amount_due"] == 4900
    assert facts["data"]["object"]["metadata"] == {"a.b": "dotted"}
    assert facts["data"]["previous_attributes"] == {"status": "draft"}
    assert "customer_email" not in facts["data"]["object"]
    assert render(steps[0].params, facts) == render(steps[0].params, INVOICE)


def test_a_fact_of_an_old_api_version_is_kept_under_its_new_path() -> None:
    path = "{{ data.object.parent.subscription_details.subscription }}"
    facts = facts_of(rule(steps=(Do("tell", "crm.notify", {"text": path}),)), INVOICE)
    assert render(path, facts) == "sub_old"


def test_taking_facts_leaves_the_event_as_it_was() -> None:
    import copy

    before = copy.deepcopy(INVOICE)
    whole = Do("tell", "crm.notify", {"a": "{{ data.object }}", "b": "{{ data.object.amount_due }}"})
    facts_of(rule(steps=(whole,)), INVOICE)
    assert before == INVOICE
