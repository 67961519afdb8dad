"""A token is ours to make: one that a customer writes into a field brings nobody's value out of the vault."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.connectors.personal import revealed
from app.receive.webhook import event_of
from tests.builders import NOON, envelope, invoice, services_in_memory

VICTIM = "Vera Victim"
HOME = "Vera.Victim@example.org"


def made(id: str, **fields: Any) -> dict[str, Any]:
    return envelope(id, "invoice.paid", {**invoice(), **fields})


def told(text: Any) -> str:
    return json.dumps(text, ensure_ascii=False)


@pytest.mark.parametrize("source", ["webhook", "history"])
@pytest.mark.parametrize(
    "field", ["description", "customer_name", "customer_email", "footer", "metadata.note", "metadata.email"]
)
@pytest.mark.parametrize("around", ["{}", "see {}!", "{} and {}"])
def test_a_token_in_a_customers_text_reveals_nobody(source: str, field: str, around: str) -> None:
    services = services_in_memory()
    known = made("evt_1", customer_name=VICTIM, customer_email=HOME)
    first = event_of(known, "default", services.vault, NOON).data["data"]["object"]
    for token, value in ((first["customer_name"], VICTIM), (first["customer_email"], HOME)):
        assert token.startswith("tok_")
        text = around.format(token, token)
        name, _, inner = field.partition(".")
        forged = made("evt_2", **{name: {inner: text} if inner else text})
        raw = json.dumps(forged).encode() if source == "webhook" else None
        event = event_of(forged, "default", services.vault, NOON, raw=raw)
        assert token not in told(event.data)
        task = {"tenant": event.tenant, "id": "run_1/mail", "customer": "cus_2"}
        sent = revealed(told(event.data), services.vault, task, "to whoever forged it")
        assert value not in sent


def test_stripes_own_tokens_stay_as_they_are() -> None:
    services = services_in_memory()
    given = made("evt_1", description="paid with tok_1NirD82eZvKYlo2CIvbtLWuY")
    raw = json.dumps(given).encode()
    event = event_of(given, "default", services.vault, NOON, raw=raw)
    assert event.data["data"]["object"]["description"] == "paid with tok_1NirD82eZvKYlo2CIvbtLWuY"
