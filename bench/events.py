"""Signed invoice events of 5 KB, all distinct, and what the twenty rules of the benchmark must decide about each."""

from __future__ import annotations

import functools
import hashlib
import hmac
import json
import random
from typing import Any

SECRET = "whsec_made_up_for_benchmarks"
NOTICE_KEY = b"made up key of the benchmark's receiver."
RULES = 20
WIDTH = 8
MARK = "@" * WIDTH  # stands for the event's number
AMOUNT = "987654321"  # stands for its amount, nine digits


def amount(number: int) -> int:
    """Even events match exactly one rule, odd ones none. Nine digits, so that every body has the same length."""
    return 100_000_000 + 1000 * (number // 2 % RULES) + (100 if number % 2 == 0 else 700)


def rule_of(cents: int) -> int | None:
    """The one rule that matches this amount, as the twenty conditions say: from 1000 k to 1000 k + 499."""
    rest = cents - 100_000_000
    return rest // 1000 if 0 <= rest < 1000 * RULES and rest % 1000 < 500 else None


def expected(count: int, start: int = 0) -> set[tuple[str, str]]:
    """(event id, rule id) of every notice that these events call for."""
    numbers = range(start, start + count)
    return {(event_id(n), rule_id(n // 2 % RULES)) for n in numbers if n % 2 == 0}


def event_id(number: int) -> str:
    return f"evt_bench{number:0{WIDTH}d}"


def rule_id(number: int) -> str:
    return f"bench-{number:02d}"


def rules() -> list[dict[str, Any]]:
    """The twenty rule documents."""
    return [rule(number) for number in range(RULES)]


def rule(number: int) -> dict[str, Any]:
    low = 100_000_000 + 1000 * number
    return {
        "id": rule_id(number),
        "name": f"Amounts of band {number}",
        "when": {"event": ["invoice.payment_failed"], "same": "invoice"},
        "only_if": {
            "all": [
                {"field": "data.object.billing_reason", "is": "equal to", "value": "subscription_cycle"},
                {"field": "data.object.currency", "is": "one of", "value": ["usd", "eur"]},
                {"field": "data.object.amount_remaining", "is": "between", "value": [low, low + 499]},
            ]
        },
        "again": {"while_open": True, "after": "PT0S"},
        "steps": [{"name": "tell", "do": "crm.notify", "with": {"connection": "crm", "stage": f"Band {number}"}}],
    }


@functools.lru_cache(maxsize=4)
def template(created: int) -> tuple[str, ...]:
    """The body in pieces; between them come the event's number and its amount, as `order` says."""
    text = json.dumps(_envelope(created), indent=2)
    assert 4800 <= len(text) <= 5600, len(text)
    return tuple(text.split(MARK))


def body(number: int, created: int) -> bytes:
    text = f"{number:0{WIDTH}d}".join(template(created))
    return text.replace(AMOUNT, str(amount(number))).encode()


def signature(body: bytes, now: int) -> str:
    digest = hmac.new(SECRET.encode(), b"%d." % now + body, hashlib.sha256).hexdigest()
    return f"t={now},v1={digest}"


def request(number: int, created: int, host: str) -> bytes:
    """The whole HTTP request, signed."""
    content = body(number, created)
    head = (
        f"POST /webhooks/stripe HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json; charset=utf-8\r\n"
        f"Stripe-Signature: {signature(content, created)}\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def _envelope(created: int) -> dict[str, Any]:
    return {
        "id": f"evt_bench{MARK}",
        "object": "event",
        "api_version": "2026-10-28.endive",
        "created": created,
        "data": {"object": _invoice(created)},
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None},
        "type": "invoice.payment_failed",
    }


def _invoice(created: int) -> dict[str, Any]:
    filler = random.Random(7)  # made-up words, the same in every run
    cents = int(AMOUNT)
    line = {
        "id": f"il_bench{MARK}",
        "object": "line_item",
        "amount": cents,
        "currency": "usd",
        "description": "1 x Pro (at $49.00 / month)",
        "discountable": True,
        "discounts": [],
        "livemode": False,
        "metadata": {f"key_{n}": "".join(filler.choices("abcdefghij ", k=30)) for n in range(24)},
        "period": {"start": created, "end": created + 2_592_000},
        "pricing": {"price_details": {"price": "price_pro", "product": "prod_pro"}, "type": "price_details"},
        "quantity": 1,
        "subtotal": cents,
    }
    return {
        "id": f"in_bench{MARK}",
        "object": "invoice",
        "account_country": "US",
        "amount_due": cents,
        "amount_paid": 0,
        "amount_remaining": cents,
        "amount_overpaid": 0,
        "attempt_count": 1,
        "attempted": True,
        "auto_advance": True,
        "automatic_tax": {"enabled": False, "liability": None, "status": None, "disabled_reason": None},
        "billing_reason": "subscription_cycle",
        "collection_method": "charge_automatically",
        "created": created,
        "currency": "usd",
        "customer": f"cus_bench{MARK}",
        "customer_email": f"payer.{MARK}@example.com",
        "customer_name": f"Payer {MARK}",
        "customer_tax_exempt": "none",
        "default_tax_rates": [],
        "description": None,
        "discounts": [],
        "effective_at": created,
        "ending_balance": 0,
        "hosted_invoice_url": f"https://invoice.stripe.com/i/acct_made_up/test_{MARK}",
        "invoice_pdf": f"https://pay.stripe.com/invoice/acct_made_up/test_{MARK}/pdf",
        "issuer": {"type": "self"},
        "lines": {
            "object": "list",
            "data": [line, {**line, "id": f"il_other{MARK}", "metadata": {}}],
            "has_more": False,
        },
        "livemode": False,
        "metadata": {},
        "next_payment_attempt": created + 259_200,
        "number": f"BENCH-{MARK}",
        "parent": {
            "type": "subscription_details",
            "quote_details": None,
            "subscription_details": {"metadata": {}, "subscription": f"sub_bench{MARK}"},
        },
        "payment_settings": {"default_mandate": None, "payment_method_options": None, "payment_method_types": None},
        "period_end": created,
        "period_start": created - 2_592_000,
        "starting_balance": 0,
        "status": "open",
        "status_transitions": {
            "finalized_at": created,
            "marked_uncollectible_at": None,
            "paid_at": None,
            "voided_at": None,
        },
        "subtotal": cents,
        "total": cents,
        "webhooks_delivered_at": created,
    }
