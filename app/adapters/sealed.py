"""What the encrypted vaults share: what a value is sealed for, who may look, and which values have a token already."""

from __future__ import annotations

import threading
from collections import OrderedDict

from rules.ports import Refused

KNOWN = 65_536  # values whose token is remembered, so that a customer's second event costs no sealing
LONGEST_KNOWN = 512  # characters; a whole refused payload is not worth remembering

Value = tuple[str, str, str]  # tenant, subject, value


def context_of(tenant: str, token: str) -> str:
    """What a value of the vault is sealed for: it opens nowhere else."""
    return f"vault\n{tenant}\n{token}"


def check_look(actor: str, reason: str) -> None:
    if not actor.strip() or not reason.strip():
        raise Refused("Say who looks at a personal value, and why.")


class Known:
    """The tokens of values kept lately, the oldest forgotten first. For several threads."""

    def __init__(self, size: int = KNOWN) -> None:
        self._size = size
        self._tokens: OrderedDict[Value, str] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, value: Value) -> str | None:
        return self._tokens.get(value)

    def add(self, value: Value, token: str) -> None:
        if len(value[2]) > LONGEST_KNOWN:
            return
        with self._lock:
            self._tokens[value] = token
            if len(self._tokens) > self._size:
                self._tokens.popitem(last=False)

    def clear(self) -> None:
        with self._lock:
            self._tokens.clear()
