"""What every Python peer shares: the twenty rules as plain code, and a signed notice posted over a kept session."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import threading
import time
from typing import Any

import requests

SECRET = "whsec_made_up_for_benchmarks"
NOTICE_KEY = b"made up key of the benchmark's receiver."
RECEIVER = os.environ.get("BENCH_RECEIVER", "")
DATA = os.environ.get("BENCH_DATA", ".")
_local = threading.local()


def decide(event: dict[str, Any]) -> list[str]:
    """The rules that match, each tested in turn as one would write it by hand."""
    invoice = event["data"]["object"]
    fired = []
    for number in range(20):
        low = 100_000_000 + 1000 * number
        if (
            event["type"] == "invoice.payment_failed"
            and invoice["billing_reason"] == "subscription_cycle"
            and invoice["currency"] in ("usd", "eur")
            and low <= invoice["amount_remaining"] <= low + 499
        ):
            fired.append(f"bench-{number:02d}")
    return fired


def notify(event_id: str, rule: str) -> None:
    """Post one notice, signed as Standard Webhooks say; raises when the receiver did not take it."""
    body = json.dumps({"event": event_id, "rule": rule}).encode()
    id, stamp = f"{event_id}/{rule}", str(int(time.time()))
    digest = hmac.new(NOTICE_KEY, f"{id}.{stamp}.".encode() + body, hashlib.sha256).digest()
    headers = {
        "Content-Type": "application/json",
        "webhook-id": id,
        "webhook-timestamp": stamp,
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }
    session().post(RECEIVER, data=body, headers=headers, timeout=15).raise_for_status()


def session() -> requests.Session:
    if not hasattr(_local, "session"):
        _local.session = requests.Session()
    found: requests.Session = _local.session
    return found
