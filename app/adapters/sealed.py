"""What the encrypted vaults share: what a value is sealed for, who may look, and what a process knows is kept.

No value stays in a process's memory: it remembers by tokens what is kept already, and looks at most every
`HEARD_WITHIN` seconds whether another process has erased something or made a new key.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from rules.ports import HEARD_WITHIN, Refused

KNOWN = 65_536  # values that are known to be kept, so that a customer's second event costs no sealing
DAY = 86_400  # seconds

Value = tuple[str, str, str]  # tenant, subject, token
Looked = Callable[[str, str, str, str, str], None]  # tenant, token, actor, reason, on


def context_of(tenant: str, token: str) -> str:
    """What a value of the vault is sealed for: it opens nowhere else."""
    return f"vault\n{tenant}\n{token}"


def check_look(actor: str, reason: str) -> None:
    if not actor.strip() or not reason.strip():
        raise Refused("Say who looks at a personal value, and why.")


def today() -> int:
    """Days since 1970, UTC: as exactly as anybody needs to know when a value was last heard."""
    return int(time.time()) // DAY


class Known:
    """The values kept lately and today, the oldest forgotten first. For several threads."""

    def __init__(self, size: int = KNOWN) -> None:
        self._size = size
        self._tokens: OrderedDict[Value, None] = OrderedDict()
        self._lock = threading.Lock()

    def __contains__(self, value: Value) -> bool:
        return value in self._tokens

    def add(self, value: Value) -> None:
        with self._lock:
            self._tokens[value] = None
            if len(self._tokens) > self._size:
                self._tokens.popitem(last=False)

    def clear(self) -> None:
        with self._lock:
            self._tokens.clear()


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
