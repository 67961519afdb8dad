"""Holes: where `{{ ... }}` stands in a text, found in one pass however the text is made.

A regular expression that allows blanks on both sides of what it looks for takes the cube of their number: a rule of
64 KB would have held its reader for hours.
"""

from __future__ import annotations


def split(text: str) -> list[str]:
    """The text around the holes and what is in them, by turns: each odd item is a hole's content as it is written.

    >>> split("Dear {{ name }}, hello")
    ['Dear ', ' name ', ', hello']
    """
    parts: list[str] = []
    at, start = 0, text.find("{{")
    while start >= 0:
        end = text.find("}}", start + 2)
        if end < 0:
            break
        line = text.rfind("\n", start, end)
        if line >= 0:  # a hole stays within its line
            start = text.find("{{", line)
            continue
        parts += [text[at:start], text[start + 2 : end]]
        at = end + 2
        start = text.find("{{", at)
    return [*parts, text[at:]]


def contents(text: str) -> list[str]:
    """What is in the holes, without the blanks around it."""
    return [found.strip() for found in split(text)[1::2]]


def around(text: str) -> str:
    """The text without its holes."""
    return "".join(split(text)[::2])
