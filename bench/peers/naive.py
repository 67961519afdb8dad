"""The naive reference: Flask, `stripe.Webhook.construct_event`, one durable commit an event (gunicorn gthread)."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import stripe
from flask import Flask, request

from bench.peers.common import DATA, SECRET

app = Flask(__name__)
_local = threading.local()


def database() -> sqlite3.Connection:
    if not hasattr(_local, "database"):
        _local.database = sqlite3.connect(Path(DATA) / "naive.db", isolation_level=None, timeout=60)
        _local.database.execute("pragma journal_mode=wal")
        _local.database.execute("pragma synchronous=full")
        _local.database.execute("create table if not exists event (id text primary key, body blob)")
    found: sqlite3.Connection = _local.database
    return found


@app.post("/webhooks/stripe")
def webhook() -> tuple[str, int]:
    raw = request.get_data()
    try:
        event = stripe.Webhook.construct_event(raw, request.headers["Stripe-Signature"], SECRET)
    except Exception:
        return "bad signature", 400
    database().execute("insert into event values (?, ?) on conflict do nothing", (event.id, raw))
    return "ok", 200


@app.get("/healthz")
def health() -> str:
    return "ok"
