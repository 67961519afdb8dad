"""Signalbox itself under measurement: started as a person would, set up through its own API."""

from __future__ import annotations

import contextlib
import sqlite3
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import events
from bench.harness import Failed, Process, answers, call, free_port, running

TOKEN = "made-up-token-of-the-benchmark"
AUTH = {"Authorization": f"Bearer {TOKEN}"}
CRM_SECRET = "whsec_bWFkZSB1cCBrZXkgb2YgdGhlIGJlbmNobWFyaydzIHJlY2VpdmVyLg=="  # base64 of events.NOTICE_KEY


@contextlib.contextmanager
def started(data: Path, env: Mapping[str, str], worker: bool = True) -> Iterator[tuple[int, Process]]:
    port = free_port()
    settings = environment(data, port)
    command = [sys.executable, "main.py", "serve" if worker else "web"]
    with running(command, lambda: answers(port, "/readyz" if worker else "/healthz"), {**settings, **env}) as process:
        yield port, process


def environment(data: Path, port: int) -> dict[str, str]:
    return {
        "PORT": str(port),
        "SIGNALBOX_DATA": str(data),
        "SIGNALBOX_ENV": "development",
        "SIGNALBOX_ADMIN_TOKEN": TOKEN,
        "STRIPE_WEBHOOK_SECRET": events.SECRET,
        "STRIPE_API_KEY": "sk_test_made_up",
        "STRIPE_API_BASE": "http://127.0.0.1:9",
    }


def prepare(port: int, receiver: int, rules: Sequence[Mapping[str, Any]]) -> None:
    """A connection to the receiver and the rules, live."""
    url = f"http://127.0.0.1:{receiver}/notices"
    connection = {"name": "crm", "type": "webhook", "url": url, "secret": CRM_SECRET}
    ask(port, "/api/v1/connections", connection)
    for rule in rules:
        ask(port, "/api/v1/rules", rule)
        ask(port, f"/api/v1/rules/{rule['id']}/publish", {"note": "benchmark"})


def ask(port: int, path: str, body: Any) -> Any:
    status, answer = call(port, path, "POST", body, AUTH)
    if status >= 300:
        raise Failed(f"POST {path} answered {status}: {answer}")
    return answer


def stored(data: Path) -> int:
    """Distinct events that are durable: received and waiting, or handled."""
    found: set[str] = set()
    for name, query in (("inbox.db", "select id from inbox"), ("store.db", "select id from event")):
        if (data / name).exists():
            with contextlib.closing(sqlite3.connect(data / name)) as database:
                found |= {str(row[0]).rsplit("\n", 1)[-1] for row in database.execute(query)}
    return len(found)
