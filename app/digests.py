"""SHA-256 and HMAC-SHA256 of short messages without letting go of the interpreter.

hashlib releases the GIL for every piece over 2,047 bytes, and `hmac.digest` always. For 4 us of work that is no gain:
among thirty threads that answer webhooks each release is a turn in the queue, and was a third of a webhook's time.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

PIECE = 2_047  # bytes; hashlib holds on for so many
SHORT = 65_536  # bytes; beyond, the digest takes long enough to let others work meanwhile
_BLOCK = 64


def sha256(message: bytes) -> str:
    """Hexadecimal SHA-256."""
    return _fed(hashlib.sha256(), message).hexdigest()


class Hmac:
    """HMAC-SHA256 under one key, whose two halves are hashed once."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        padded = (hashlib.sha256(key).digest() if len(key) > _BLOCK else key).ljust(_BLOCK, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in padded))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in padded))

    def hexdigest(self, message: bytes) -> str:
        inner, outer = self._inner.copy(), self._outer.copy()
        if len(message) <= PIECE:
            inner.update(message)
        else:
            _fed(inner, message)
        outer.update(inner.digest())
        return outer.hexdigest()


@lru_cache(256)
def hmac_of(key: bytes) -> Hmac:
    """The Hmac of a key that is used again and again."""
    return Hmac(key)


def _fed(digest: hashlib._Hash, message: bytes) -> hashlib._Hash:
    if len(message) <= PIECE or len(message) > SHORT:
        digest.update(message)
        return digest
    view = memoryview(message)
    for start in range(0, len(message), PIECE):
        digest.update(view[start : start + PIECE])
    return digest
