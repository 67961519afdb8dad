"""Signalbox's web process as it is, or with personal values left where they stand: what tokenising costs at receive."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from app import services as wiring
from app.settings import Settings
from app.web import create_app, server
from app.web.webhooks import in_front_of
from rules import personal


def leave_in_the_clear(envelope: Mapping[str, Any], replacing: object, at_signs: int | None = None) -> None:
    """In the place of `rules.personal.cleanse`."""


if __name__ == "__main__":
    settings = Settings.from_env(os.environ)
    if sys.argv[1] == "without":
        personal.cleanse = leave_in_the_clear
    services = wiring.build(settings)
    server.Server(settings.host, settings.port).serve_application(in_front_of(create_app(services), services))
