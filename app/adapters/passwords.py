"""Passwords as argon2id hashes, two at a time: each takes its memory, and a flood of sign-ins must not take it all."""

from __future__ import annotations

import threading
from functools import cached_property
from secrets import token_urlsafe
from typing import Any

MEMORY, TIMES, LANES = 19 * 1024, 2, 1  # KiB; OWASP's Password Storage Cheat Sheet, its first choice for argon2id
AT_ONCE = 2


class Argon2Passwords:
    """Hashes carry their own parameters and salt, so those made with others go on to hold."""

    def __init__(self) -> None:
        self._turn = threading.BoundedSemaphore(AT_ONCE)

    @cached_property
    def _hasher(self) -> Any:
        from argon2 import PasswordHasher, Type

        return PasswordHasher(time_cost=TIMES, memory_cost=MEMORY, parallelism=LANES, type=Type.ID)

    @cached_property
    def decoy(self) -> str:
        return self.hash(token_urlsafe(16))

    def hash(self, password: str) -> str:
        with self._turn:
            return str(self._hasher.hash(password))

    def holds(self, hash: str, password: str) -> bool:
        from argon2.exceptions import InvalidHashError, VerificationError

        with self._turn:
            try:
                return bool(self._hasher.verify(hash, password))
            except (VerificationError, InvalidHashError):
                return False
