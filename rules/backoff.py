"""When an action that failed is tried again: exponential with full jitter, a function of its id and its tries alone.

Full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter. Derived instead of drawn, so the
same history gives the same times.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta

FIRST = 5  # seconds: the most that the first retry waits
LONGEST = 3 * 3600  # seconds: the most that any retry waits
TRIES = 40  # about 45 hours, never under 24: a receiver may be down for a day


def delay(id: str, tries: int, asked: timedelta | None = None) -> timedelta:
    """How long to wait after this many tries (from 1). asked: what the receiver asked for; it is kept to, and up to a
    tenth is added, so that those who were told the same do not come back together."""
    drawn = part(id, tries)
    if asked is not None:
        return asked * (1 + drawn / 10)
    return timedelta(seconds=min(LONGEST, FIRST * 2 ** min(tries - 1, 20)) * drawn)


def part(id: str, tries: int) -> float:
    """A number in [0, 1) that looks drawn."""
    digest = hashlib.sha256(f"{id}\n{tries}".encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2**56
