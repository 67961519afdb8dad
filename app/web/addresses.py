"""Addresses of lists: the filters that were asked for, and the same list one page on."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from flask import request


def address(path: str, **filters: object) -> str:
    """The path with the filters that are set: `/runs?state=waiting`."""
    query = urlencode({name: str(value) for name, value in filters.items() if value not in (None, "")})
    return f"{path}?{query}" if query else path


def asked(name: str, most: int = 200) -> str | None:
    """A text filter as typed, or None when it was left empty."""
    return request.args.get(name, "").strip()[:most] or None


def cursor() -> str | None:
    return asked("after", 2000)


def chosen(name: str, choices: tuple[str, ...]) -> str | None:
    """One of the choices; anything else counts as not asked."""
    value = asked(name)
    return value if value in choices else None


def pages(path: str, following: str | None, **filters: object) -> dict[str, Any]:
    """The addresses of the next page and, when this is a later one, of the first."""
    return {
        "next_page": address(path, **filters, after=following) if following else None,
        "first_page": address(path, **filters) if cursor() else None,
    }


def end_of_day(text: str | None) -> datetime | None:
    """The last moment (UTC) of a day written as `2026-11-23`; None for no day."""
    try:
        day = datetime.strptime(text or "", "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return None
    return day.replace(hour=23, minute=59, second=59)
