"""What the encrypted vaults share: what a value is sealed for, who may look, and what a process knows is kept.

No value stays in a process's memory once it is written: it remembers by tokens what is kept already, and looks at most
every `HEARD_WITHIN` seconds whether another process has erased something or made a new key.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from rules.ports import HEARD_WITHIN, Refused

KNOWN = 65_536  # values that are known to be kept, so that a customer's second event costs no sealing
DAY = 86_400  # seconds

Looked = Callable[[str, str, str, str, str], None]  # tenant, token, actor, reason, on


def context_of(tenant: str, token: str) -> str:
    """What a value of the vault is sealed for: it opens nowhere else."""
    return f"vault\n{tenant}\n{token}"


def known_as(tenant: str, subject: str, token: str) -> str:
    """The name of a kept value in `Known`."""
    return f"{tenant}\n{subject}\n{token}"


def check_look(actor: str, reason: str) -> None:
    if not actor.strip() or not reason.strip():
        raise Refused("Say who looks at a personal value, and why.")


def today() -> int:
    """Days since 1970, UTC: as exactly as anybody needs to know when a value was last heard."""
    return int(time.time()) // DAY


class Known:
    """The values kept lately and today, the older half forgotten at once when there are too many. For several threads.

    Each is one text in a set: made with every new value, and no work for the garbage collector.
    """

    def __init__(self, size: int = KNOWN) -> None:
        self._half = size // 2
        self._lately: set[str] = set()
        self._before: set[str] = set()
        self._lock = threading.Lock()

    def __contains__(self, value: str) -> bool:
        return value in self._lately or value in self._before

    def add(self, values: Iterable[str]) -> None:
        """Call it when they are on their way: who finds one known relies on it."""
        lately = self._lately
        lately.update(values)
        if len(lately) >= self._half:
            with self._lock:
                if self._lately is lately:  # not cleared meanwhile
                    self._before, self._lately = lately, set()

    def clear(self) -> None:
        with self._lock:
            self._lately, self._before = set(), set()


class Ear:
    """Says when it is time to look for what other processes have done, and what day it is."""

    def __init__(self, day: Callable[[], int] = today, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._day, self._monotonic = day, monotonic
        self._next = float("-inf")
        self.day = day()
        self._lock = threading.Lock()

    def is_time(self) -> bool:
        """Whether this caller is the one to look; asked with every value, so it costs next to nothing."""
        if self._monotonic() < self._next:
            return False
        with self._lock:
            if self._monotonic() < self._next:
                return False
            self._next = self._monotonic() + HEARD_WITHIN / 2
            return True

    def new_day(self) -> bool:
        """Whether a day has begun: what is heard from now on is heard on another day."""
        before, self.day = self.day, self._day()
        return before != self.day
