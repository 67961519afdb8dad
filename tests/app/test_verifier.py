"""The signature check: every trap of Stripe's header, and parity with Stripe's own check over mutated cases."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta

import pytest
import stripe

from app.adapters.stripe_verifier import StripeVerifier
from rules.ports import Refused, Unconfigured
from tests.builders import NOON, WEBHOOK_SECRET, body_of, envelope, signature, signed

BODY = body_of(envelope())
OLD, NEW = "whsec_old", "whsec_new"


def verify(header: str | None, body: bytes = BODY, secrets: tuple[str, ...] = (WEBHOOK_SECRET,), now=NOON) -> str:
    headers = {} if header is None else {"Stripe-Signature": header}
    return StripeVerifier(lambda: {"default": secrets}).verify(headers, body, now)


def v1(secret: str) -> str:
    return signature(BODY, NOON, secret).split(",")[1]


def test_a_good_signature_names_the_account_of_its_secret() -> None:
    assert verify(signature(BODY)) == "default"


@pytest.mark.parametrize("secrets", [(OLD,), (NEW,), (OLD, NEW), (NEW, OLD)])
def test_while_a_secret_is_rolled_either_signature_of_the_two_is_enough(secrets: tuple[str, ...]) -> None:
    stamp = signature(BODY).split(",")[0]
    assert verify(f"{stamp},{v1(NEW)},{v1(OLD)}", secrets=secrets)


def test_several_configured_secrets_accept_what_any_of_them_signed() -> None:
    assert verify(signature(BODY, secret=NEW), secrets=(OLD, NEW))


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (None, "missing"),
        ("", "missing"),
        ("nonsense", "no time stamp"),
        (signature(BODY).replace("v1=", "v0="), "no v1 signature"),
        (signature(BODY).replace(",", ", "), "no v1 signature"),
        (signature(BODY).replace("t=", "t=x"), "no time stamp"),
        (signature(BODY)[:-1], "No signature matches"),
        (signature(BODY)[:-1] + "é", "No signature matches"),
        (signature(BODY, secret="whsec_other"), "No signature matches"),
        (signature(BODY, secret=WEBHOOK_SECRET + "\n"), "No signature matches"),
    ],
)
def test_a_bad_header_is_refused_with_the_reason(header: str | None, said: str) -> None:
    with pytest.raises(Refused, match=said):
        verify(header)


@pytest.mark.parametrize("late", [-300, 300])
def test_five_minutes_are_tolerated_both_ways(late: int) -> None:
    assert verify(signature(BODY), now=NOON + timedelta(seconds=late))


@pytest.mark.parametrize(("late", "said"), [(301, "older"), (-301, "ahead"), (31_536_000, "older"), (-86_400, "ahead")])
def test_more_than_five_minutes_are_refused_both_ways(late: int, said: str) -> None:
    with pytest.raises(Refused, match=said):
        verify(signature(BODY), now=NOON + timedelta(seconds=late))


def test_a_body_that_was_written_anew_is_refused() -> None:
    with pytest.raises(Refused, match="rewrites the body"):
        verify(signature(BODY), BODY.replace(b"\n", b""))


def test_a_signed_body_that_is_not_utf8_is_refused() -> None:
    body = b'{"id": "\xff"}'
    with pytest.raises(Refused, match="UTF-8"):
        verify(signature(body), body)


def test_without_any_secret_it_says_which_setting_is_missing() -> None:
    with pytest.raises(Unconfigured, match="STRIPE_WEBHOOK_SECRET"):
        verify(signature(BODY), secrets=())


def test_no_message_holds_a_secret_or_a_signature() -> None:
    with pytest.raises(Refused) as refused:
        verify(signature(BODY, secret="whsec_other"))
    assert WEBHOOK_SECRET not in str(refused.value)
    assert v1("whsec_other")[3:] not in str(refused.value)


# ---- parity ---------------------------------------------------------------------------------------------------------
CASES = 10_000
PIECES = ["t=", "v1=", "v0=", ",", "=", " ", "\t", "-1", "0", "é", "\udce9", "1_0", "+", "t", "v1", "=,", "١", "\x00"]


def stripe_says(header: str, body: bytes, secret: str) -> bool:
    """Stripe's own answer; its two crashes are refusals. Time is not part of it: its clock cannot be passed in."""
    try:
        return bool(stripe.WebhookSignature.verify_header(body, header, secret, None))
    except (stripe.SignatureVerificationError, TypeError, UnicodeError):
        return False


def we_say(header: str, body: bytes, secret: str) -> bool:
    try:
        verify(header, body, (secret,))
    except Refused as refused:
        return "seconds" in str(refused)  # refused for its time alone
    return True


def mutations(rng: random.Random) -> tuple[str, bytes, str]:
    """A header, a body and a secret: good ones, changed once to three times."""
    body, secret = rng.choice([BODY, b"{}", b"[1]", '{"a": "ü€"}'.encode(), b"\xff", b""]), WEBHOOK_SECRET
    stamp = int(NOON.timestamp()) + rng.choice([0, -299, -301, 301, -(10**9)])
    good = signed(body, NOON + timedelta(seconds=stamp - int(NOON.timestamp())))["Stripe-Signature"]
    other = signature(body, NOON, "whsec_other").split(",")[1]
    header = rng.choice([good, f"{good},{other}", good.replace(",", f",{other},"), f"v0=00,{good}", f"{good},{good}"])
    for _ in range(rng.choice([0, 1, 1, 2, 3])):
        header, body, secret = rng.choice(CHANGES)(rng, header, body, secret)
    return header, body, secret


Change = Callable[[random.Random, str, bytes, str], tuple[str, bytes, str]]
CHANGES: list[Change] = [
    lambda r, h, b, s: (h[: (i := r.randrange(len(h) + 1))] + r.choice(PIECES) + h[i:], b, s),
    lambda r, h, b, s: (h[: (i := r.randrange(len(h) + 1))] + h[i + r.randrange(1, 4) :], b, s),
    lambda r, h, b, s: (",".join(r.sample(parts := h.split(","), len(parts))), b, s),
    lambda r, h, b, s: (h.upper() if r.random() < 0.5 else h.replace(",", r.choice([", ", ";", ",,"])), b, s),
    lambda r, h, b, s: (h, b + r.choice([b" ", b"\n", b"\x00"]), s),
    lambda r, h, b, s: (h, b.replace(b"a", b"b", 1), s),
    lambda r, h, b, s: (h, b, r.choice([s + " ", s + "\n", "whsec_", s.upper()])),
]


def test_it_agrees_with_stripes_own_check_on_ten_thousand_mutated_requests() -> None:
    rng = random.Random(20261123)
    differing, accepted = [], 0
    for _ in range(CASES):
        header, body, secret = mutations(rng)
        theirs, ours = stripe_says(header, body, secret), we_say(header, body, secret)
        accepted += theirs
        if theirs != ours:
            differing.append((header, body[:40], secret, theirs, ours))
    assert differing == []
    assert 1500 < accepted < CASES - 1500  # the cases try both answers
