"""Whoever has the signing secret of a test-mode endpoint writes no live events with it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.adapters.stripe_verifier import StripeVerifier
from app.receive.webhook import receive
from app.services import webhook_secrets
from tests.builders import NOON, envelope, services_in_memory, signature

LIVE, TEST, EITHER = "whsec_of_live_mode", "whsec_of_test_mode", "whsec_of_no_mode"


def sent(secret: str, livemode: bool) -> Any:
    s = services_in_memory(stripe_webhook_secrets=(f"live:{LIVE}", f"test:{TEST}", EITHER))
    body = json.dumps(envelope("evt_1", livemode=livemode)).encode()
    verifier = StripeVerifier(webhook_secrets(s.settings, s.secrets))
    headers = {"Stripe-Signature": signature(body, NOON, secret)}
    return receive(headers, body, s.bus, s.vault, verifier, NOON)


@pytest.mark.parametrize(
    ("secret", "livemode", "status"),
    [(LIVE, True, 200), (TEST, False, 200), (EITHER, True, 200), (EITHER, False, 200), (LIVE, False, 400),
     (TEST, True, 400)],
)  # fmt: skip
def test_a_secret_that_is_said_to_be_of_a_mode_signs_no_event_of_the_other(
    secret: str, livemode: bool, status: int
) -> None:
    receipt = sent(secret, livemode)
    assert receipt.status == status
    assert status == 200 or "mode" in str(receipt.problem)


@pytest.mark.parametrize("secret", ["live:" + LIVE, "test:" + LIVE, ":" + LIVE, ""])
def test_the_word_before_a_secret_is_no_part_of_it(secret: str) -> None:
    assert sent(secret, livemode=True).status == 400
