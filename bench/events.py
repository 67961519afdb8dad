"""Signed invoice events of 5 KB, all distinct, and what the twenty rules of the benchmark must decide about each."""

from __future__ import annotations

import functools
import hashlib
import hmac
import json
from typing import Any

from app import sample

SECRET = "whsec_made_up_for_benchmarks"
NOTICE_KEY = b"made up key of the benchmark's receiver."
RULES = 20
WIDTH = 8
MARK = "@" * WIDTH  # stands for the event's number
CUSTOMER = "#" * WIDTH  # stands for its customer's
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
    """The body in pieces; between them comes the event's number. Its customer and amount are still to be put in."""
    text = json.dumps(_envelope(created), indent=2)
    assert 5000 <= len(text) <= 7000, len(text)
    return tuple(text.split(MARK))


def body(number: int, created: int, customer: int | None = None) -> bytes:
    """customer: whose event it is; without one it has a customer of its own, of whom nobody has heard."""
    text = f"{number:0{WIDTH}d}".join(template(created))
    text = text.replace(CUSTOMER, f"{number if customer is None else customer:0{WIDTH}d}")
    return text.replace(AMOUNT, str(amount(number))).encode()


def signature(body: bytes, now: int) -> str:
    digest = hmac.new(SECRET.encode(), b"%d." % now + body, hashlib.sha256).hexdigest()
    return f"t={now},v1={digest}"


def request(number: int, created: int, host: str, customer: int | None = None) -> bytes:
    """The whole HTTP request, signed."""
    content = body(number, created, customer)
    head = (
        f"POST /webhooks/stripe HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json; charset=utf-8\r\n"
        f"Stripe-Signature: {signature(content, created)}\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def _envelope(created: int) -> dict[str, Any]:
    """A failed renewal of the sample business, with marks in place of the ids that tell one event from another."""
    business = sample.load()
    bodies = (json.loads(business.body(number, created)) for number in range(len(business.events)))
    envelope: dict[str, Any] = next(body for body in bodies if _is_failed_renewal(body))
    invoice = envelope["data"]["object"]
    subscription = invoice["parent"]["subscription_details"]["subscription"]
    ids = {
        envelope["id"]: f"evt_bench{MARK}",
        invoice["id"]: f"in_bench{MARK}",
        invoice["id"].removeprefix("in_"): MARK,  # in its links
        invoice["customer"]: f"cus_bench{CUSTOMER}",
        subscription: f"sub_bench{MARK}",
        invoice["lines"]["data"][0]["id"]: f"il_bench{MARK}",
        invoice["number"]: f"BENCH-{MARK}",
        invoice["customer_email"]: f"payer.{CUSTOMER}@example.com",
        invoice["customer_name"]: f"Payer {CUSTOMER}",
    }
    text = json.dumps({**envelope, "created": created})
    for known, marked in ids.items():
        text = text.replace(f'"{known}"', f'"{marked}"').replace(f"_{known}", f"_{marked}")
    made: dict[str, Any] = json.loads(text)
    made["data"]["object"].update(amount_due=int(AMOUNT), amount_remaining=int(AMOUNT), total=int(AMOUNT))
    return made


def _is_failed_renewal(body: dict[str, Any]) -> bool:
    invoice = body["data"]["object"]
    return (
        body["type"] == "invoice.payment_failed"
        and invoice["billing_reason"] == "subscription_cycle"
        and invoice["currency"] == "usd"
    )
