"""The same server and parts as Signalbox's webhook, with one commit for each event in place of the group commit."""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import orjson
import stripe

from app.web.server import Server
from bench.events import SECRET

_local = threading.local()


def database() -> sqlite3.Connection:
    if not hasattr(_local, "database"):
        _local.database = sqlite3.connect(Path(os.environ["BENCH_DATA"]) / "one.db", isolation_level=None, timeout=60)
        _local.database.execute("pragma journal_mode=wal")
        _local.database.execute("pragma synchronous=full")
        _local.database.execute("create table if not exists event (id text primary key, body blob)")
    found: sqlite3.Connection = _local.database
    return found


def app(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    if environ["REQUEST_METHOD"] == "POST":
        raw = bytes(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        stripe.WebhookSignature.verify_header(raw, environ["HTTP_STRIPE_SIGNATURE"], SECRET, 300)
        event = orjson.loads(raw)
        database().execute("insert into event values (?, ?) on conflict do nothing", (event["id"], raw))
    start("200 OK", [("Content-Type", "application/json"), ("Content-Length", "2")])
    return [b"{}"]


if __name__ == "__main__":
    Server("127.0.0.1", int(sys.argv[1])).serve_application(app)
