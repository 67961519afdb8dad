"""Do it yourself: Flask and a thread pool in one process; nothing is durable, a kill loses what was answered 200."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import stripe
from flask import Flask, request

from bench.peers.common import SECRET, decide, notify

app = Flask(__name__)
pool = ThreadPoolExecutor(16)


def work(event: dict[str, Any]) -> None:
    for rule in decide(event):
        notify(event["id"], rule)


@app.post("/webhooks/stripe")
def webhook() -> tuple[str, int]:
    raw = request.get_data()
    try:
        event = stripe.Webhook.construct_event(raw, request.headers["Stripe-Signature"], SECRET)
    except Exception:
        return "bad signature", 400
    pool.submit(work, event.to_dict())
    return "ok", 200


@app.get("/healthz")
def health() -> str:
    return "ok"
