"""Whole numbers as people and machines write them in a text, and nothing that only looks like one."""

from __future__ import annotations

DIGITS = 15  # beyond, no store and no script of a page counts exactly


def whole(text: str | None, digits: int = DIGITS) -> int | None:
    """The number of at most so many ASCII digits, else None. `isdigit` alone takes `²`, which `int` does not, and
    numbers of five thousand digits, which `int` refuses."""
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= digits else None
