"""Hostile inputs, made quickly and the same for the same seed: damaged documents, odd numbers, odd letters, odd bytes."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

NUMBERS: list[Any] = [
    0, -0.0, -1, 1, 2**31, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**30, -(10**30),
    1e308, -1e308, 5e-324, 1e21, 0.1, 253402300800, -62135596801, 99999999999999, True,
]  # fmt: skip
LETTERS = [
    "\x00", "\x1f", "\x7f", "\x85", "\u00a0", "\u00ad", "\u200b", "\u200d", "\u202e", "\u2028", "\u2066", "\ufeff", "\ufffe",
    "\ud800", "\udfff", "\U0010ffff", "é", "é", "ﬀ", "İ", "ß", "٣", "²", "Ⅷ", "漢", "😀", "👩‍👩‍👧", "\r", "\n", "\t", "'", '"', "\\",
    "`", "<", ">", "&", "%", "%00", "%0d%0a", "{{", "}}", "{%", "${", "$", "../", "..\\", "/", ";", "--", "=", "+", "@", "#", "?",
]  # fmt: skip
TEXTS: list[Any] = [
    "", " ", "null", "NaN", "Infinity", "-Infinity", "true", "0", "-1", "1e400", "9" * 400, "__proto__", "constructor",
    "toString", "__class__", "self", "tok_" + "a" * 40, "tok_x@example.com", "ada@example.com", "a@b", "data.object.id",
    "{{ data.object.id }}", "{{ __class__ }}", "{{ step.tell.reason }}", "2026-11-23", "9999-12-31T23:59:59-23:59",
    "0001-01-01T00:00:00+14:00", "2026-02-30", "P7D", "P99999999999D", "usd", "USD", "xxx", "cus_1", "sub_1", "in_1", "evt_1",
    "default/live", "a" * 5000, "é" * 3000, "=cmd|' /C calc'!A0", "@SUM(1)", "-1+1", "<!channel>", "' OR 1=1 --", "%s%n", "(a+)+$",
    "a\x00b", "\u202eevil", "🏳️‍🌈" * 50, "\ud83d", "x" * 70_000,
]  # fmt: skip
OTHERS: list[Any] = [
    None,
    [],
    {},
    [[]],
    [None],
    {"": ""},
    {"a": {"b": {"c": []}}},
    [0] * 2000,
    {str(n): n for n in range(500)},
]


class Nasty:
    """A source of trouble. seed: the same gives the same."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def text(self, longest: int = 12) -> str:
        if self.random.random() < 0.4:
            return str(self.random.choice(TEXTS))
        return "".join(self.random.choice(LETTERS) for _ in range(self.random.randint(0, longest)))

    def value(self) -> Any:
        roll = self.random.random()
        if roll < 0.35:
            return self.random.choice(NUMBERS)
        if roll < 0.75:
            return self.text()
        if roll < 0.95:
            return copy.deepcopy(self.random.choice(OTHERS))
        return self.nested(self.random.choice((3, 30, 120)))

    def nested(self, depth: int) -> Any:
        found: Any = self.value() if self.random.random() < 0.1 else 1
        for _ in range(depth):
            found = [found] if self.random.random() < 0.5 else {"a": found}
        return found

    def damaged(self, document: Any, times: int | None = None) -> Any:
        """A copy with some places changed, taken away, doubled or renamed."""
        found = copy.deepcopy(document)
        for _ in range(self.random.randint(1, 4) if times is None else times):
            places = list(_places(found))
            if not places:
                return self.value()
            holder, key = self.random.choice(places)
            self._damage(holder, key)
        return found

    def _damage(self, holder: Any, key: Any) -> None:
        roll = self.random.random()
        if roll < 0.6:
            holder[key] = self.value()
        elif roll < 0.75:
            del holder[key]
        elif isinstance(holder, list):
            holder.extend([holder[key]] * self.random.choice((1, 50)))
        elif roll < 0.9:
            holder[self.text()] = holder.pop(key)
        else:
            holder[self.text()] = copy.deepcopy(holder[key])

    def written(self, document: Any) -> bytes:
        """As JSON, sometimes not quite: with numbers that are none, bytes that are no text, or its end missing."""
        text = json.dumps(document, indent=self.random.choice((None, 2)), ensure_ascii=self.random.random() < 0.7)
        raw = text.encode(errors="surrogatepass")
        roll = self.random.random()
        if roll < 0.7:
            return raw
        if roll < 0.8:
            odd = self.random.choice(
                (b"NaN", b"Infinity", b"-Infinity", b"1e400", b"1e-400", b"-0", b"01", b"+1", b"0x1", b"1.", b".5")
            )
            return raw.replace(self.random.choice((b"1", b"0", b"true", b"null")), odd, 1)
        if roll < 0.85:
            return raw[: self.random.randrange(len(raw) + 1)]
        if roll < 0.9:
            return self.random.choice((b"\xef\xbb\xbf", b"\xff\xfe", b"\x00", b" ", b"[", b"//\n")) + raw
        return self.flipped(raw)

    def flipped(self, raw: bytes) -> bytes:
        found = bytearray(raw)
        for _ in range(self.random.randint(1, 5)):
            if found:
                found[self.random.randrange(len(found))] = self.random.randrange(256)
        return bytes(found)


def _places(value: Any) -> Any:
    waiting = [value]
    while waiting:
        one = waiting.pop()
        keys = list(one) if isinstance(one, dict) else range(min(len(one), 30)) if isinstance(one, list) else ()
        for key in keys:
            yield one, key
            if isinstance(one[key], dict | list):
                waiting.append(one[key])


def resident() -> float:
    """Megabytes of this process that are in memory; 0 where the system does not say."""
    path = Path("/proc/self/statm")
    return int(path.read_text().split()[1]) * 4096 / 1e6 if path.exists() else 0.0
