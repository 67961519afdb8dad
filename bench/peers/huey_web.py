"""huey: Flask verifies and enqueues; a consumer process with eight threads works."""

from __future__ import annotations

import stripe
from flask import Flask, request

from bench.peers.common import SECRET
from bench.peers.huey_tasks import work

app = Flask(__name__)


@app.post("/webhooks/stripe")
def webhook() -> tuple[str, int]:
    raw = request.get_data()
    try:
        event = stripe.Webhook.construct_event(raw, request.headers["Stripe-Signature"], SECRET)
    except Exception:
        return "bad signature", 400
    work(event.to_dict())
    return "ok", 200


@app.get("/healthz")
def health() -> str:
    return "ok"
