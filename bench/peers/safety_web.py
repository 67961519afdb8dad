"""Signalbox's web process as it is, or with parts of its safety left out, by name: what each costs at receive.

tokens: personal values are left where they stand. schema: no shape is checked, nothing goes to the quarantine.
tracing: the reception has no span, and what came no digest.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from app import services as wiring
from app.receive import webhook
from app.settings import Settings
from app.web import create_app, server, webhooks
from rules import personal

PARTS = ("tokens", "schema", "tracing")


def leave_in_the_clear(envelope: Mapping[str, Any], replacing: object, at_signs: int | None = None) -> None:
    """In the place of `rules.personal.cleanse`."""


def receive_unchecked(*given: Any, quarantine: object = None, **more: Any) -> webhook.Receipt:
    """In the place of `app.receive.webhook.receive`."""
    return webhook.receive(*given, **more)


def leave_untraced(*given: object) -> None:
    """In the place of `app.receive.webhook._reception`."""


def leave_out(parts: list[str]) -> None:
    if unknown := set(parts) - {*PARTS, "nothing"}:
        raise SystemExit(f"not among {', '.join(PARTS)}: {', '.join(unknown)}")
    if "tokens" in parts:
        personal.cleanse = leave_in_the_clear
        webhook._count = lambda raw, first, text: 0  # counts at signs for the sake of tokens alone
    if "schema" in parts:
        webhooks.receive = receive_unchecked
    if "tracing" in parts:
        webhook._reception = leave_untraced


if __name__ == "__main__":
    settings = Settings.from_env(os.environ)
    leave_out(sys.argv[1].split(","))
    services = wiring.build(settings)
    application = webhooks.in_front_of(create_app(services), services)
    server.Server(settings.host, settings.port).serve_application(application)
