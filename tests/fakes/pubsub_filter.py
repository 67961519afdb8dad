"""Pub/Sub's filter language, small: what a subscription with a filter would be given. Emulators ignore filters.

https://cloud.google.com/pubsub/docs/subscription-message-filter: attributes:KEY, attributes.KEY = "V", != "V",
hasPrefix(attributes.KEY, "P"), NOT, AND, OR, parentheses; AND and OR never side by side without parentheses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

Matches = Callable[[Mapping[str, str]], bool]
_TOKEN = re.compile(r'\s*(?:("(?:[^"\\]|\\.)*")|(!=|[=().,:])|([A-Za-z_][A-Za-z0-9_-]*))')


class FilterError(ValueError):
    """Pub/Sub would refuse this filter."""


def matcher(text: str) -> Matches:
    """What the filter takes, by a message's attributes. Raises FilterError."""
    if len(text.encode()) > 256:
        raise FilterError("a filter has at most 256 bytes")
    if not text:
        return lambda attributes: True
    reader = _Reader(_tokens(text))
    found = reader.expression()
    if reader.tokens:
        raise FilterError(f"unexpected {reader.tokens[0]}")
    return found


def _tokens(text: str) -> list[str]:
    found, at = [], 0
    while at < len(text.rstrip()):
        match = _TOKEN.match(text, at)
        if match is None:
            raise FilterError(f"unexpected {text[at:]!r}")
        found.append(match[1] or match[2] or match[3])
        at = match.end()
    return found


class _Reader:
    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens

    def take(self, wanted: str = "") -> str:
        if not self.tokens or (wanted and self.tokens[0] != wanted):
            raise FilterError(f"{wanted or 'more'} expected")
        return self.tokens.pop(0)

    def expression(self) -> Matches:
        parts, words = [self.term()], set()
        while self.tokens and self.tokens[0] in ("AND", "OR"):
            words.add(self.take())
            parts.append(self.term())
        if len(words) > 1:
            raise FilterError("AND and OR side by side need parentheses")
        together = any if "OR" in words else all
        return lambda attributes: together(part(attributes) for part in parts)

    def term(self) -> Matches:
        if self.tokens[:1] == ["NOT"]:
            self.take()
            inner = self.term()
            return lambda attributes: not inner(attributes)
        if self.tokens[:1] == ["("]:
            self.take("(")
            inner = self.expression()
            self.take(")")
            return inner
        return self.prefix() if self.tokens[:1] == ["hasPrefix"] else self.comparison()

    def prefix(self) -> Matches:
        for token in ("hasPrefix", "(", "attributes", "."):
            self.take(token)
        key = self.key()
        self.take(",")
        start = self.text()
        self.take(")")
        return lambda attributes: attributes.get(key, "").startswith(start) and key in attributes

    def comparison(self) -> Matches:
        self.take("attributes")
        if self.take() == ":":
            key = self.key()
            return lambda attributes: key in attributes
        key, sign, value = self.key(), self.take(), self.text()
        if sign == "=":
            return lambda attributes: attributes.get(key) == value
        if sign == "!=":
            return lambda attributes: attributes.get(key) != value
        raise FilterError(f"{sign} is no comparison")

    def key(self) -> str:
        token = self.take()
        if token.startswith('"'):
            return token[1:-1]
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", token):
            raise FilterError(f"the key {token} needs quotes")
        return token

    def text(self) -> str:
        token = self.take()
        if not token.startswith('"'):
            raise FilterError(f"{token} is no text")
        return token[1:-1]
