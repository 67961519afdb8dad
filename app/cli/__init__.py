"""The command line: the same use cases as the pages and the API."""

from __future__ import annotations

from app.cli.commands import CommandError, opened, register

__all__ = ["CommandError", "opened", "register"]
