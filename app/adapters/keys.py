"""The keys of a data folder: one that makes tokens, kept for ever, and those that seal values, which may be rotated."""

from __future__ import annotations

import base64
import contextlib
import hmac
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app.digests import Hmac

_EMAIL = re.compile(r"[^@\s]+@((?:[\w-]+\.)*[\w-]+)")


class WrongKeys(Exception):
    """What is sealed cannot be opened with the keys at hand; the message says which key is missing."""


def token_text(digest: str, value: str) -> str:
    """`tok_` and 24 hex digits; an e-mail address keeps its domain, in lower case, because rules ask for it."""
    address = _EMAIL.fullmatch(value) if "@" in value else None
    return f"tok_{digest[:24]}@{address[1].lower()}" if address else f"tok_{digest[:24]}"


@dataclass(frozen=True, slots=True)
class Keyring:
    """token: makes tokens, so it never changes. current: the id of the key that seals. keys: all, by id, 32 bytes."""

    token: bytes
    current: str
    keys: Mapping[str, bytes]

    @classmethod
    def make(cls) -> Keyring:
        key_id = _new_id()
        return cls(os.urandom(32), key_id, {key_id: os.urandom(32)})

    @classmethod
    def from_text(cls, text: str | bytes) -> Keyring:
        """What `to_text` wrote, or an environment variable holds. Raises WrongKeys."""
        try:
            read = orjson.loads(text)
            keys = {str(name): base64.b64decode(key) for name, key in read["keys"].items()}
            ring = cls(base64.b64decode(read["token"]), read["current"], keys)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise WrongKeys('the keys are no JSON of the form {"token", "current", "keys": {id: base64}}') from None
        if ring.current not in ring.keys or {len(ring.token), *map(len, keys.values())} != {32}:
            raise WrongKeys("every key has 32 bytes, and the current one is among them")
        return ring

    def to_text(self) -> str:
        keys = {name: base64.b64encode(key).decode() for name, key in self.keys.items()}
        return orjson.dumps(
            {"token": base64.b64encode(self.token).decode(), "current": self.current, "keys": keys},
            option=orjson.OPT_INDENT_2,
        ).decode()

    def rotated(self) -> Keyring:
        """With a new sealing key; the old ones still open what they sealed."""
        key_id = _new_id()
        return replace(self, current=key_id, keys={**self.keys, key_id: os.urandom(32)})

    def without_old(self) -> Keyring:
        """With the sealing key alone, when nothing is sealed with another any more."""
        return replace(self, keys={self.current: self.keys[self.current]})

    @property
    def old(self) -> frozenset[str]:
        return frozenset(self.keys) - {self.current}

    @property
    def fingerprint(self) -> str:
        """Says whether a data folder belongs to these keys, and nothing about them."""
        return hmac.digest(self.token, b"fingerprint", "sha256").hex()[:16]

    def token_for(self, tenant: str, value: str) -> str:
        """The token of a value: HMAC-SHA256 under a key of the tenant's own."""
        return token_text(_tenant_hmac(self.token, tenant).hexdigest(value.encode()), value)

    def tokens_for(self, tenant: str, values: Iterable[str]) -> list[str]:
        """The token of each value."""
        hexdigest = _tenant_hmac(self.token, tenant).hexdigest
        return [token_text(hexdigest(value.encode()), value) for value in values]

    def seal(self, context: str, value: str) -> tuple[str, bytes]:
        """(key id, nonce + AES-256-GCM). context: what the value belongs to; opening needs the same."""
        nonce = _nonce()
        return self.current, nonce + _cipher(self.keys[self.current]).encrypt(nonce, value.encode(), context.encode())

    def seal_all(self, values: Sequence[tuple[str, str]]) -> tuple[str, list[bytes]]:
        """`seal` of many: context and value of each. One after the other they take a third of the time that each takes
        between other work."""
        encrypt, drawn = _cipher(self.keys[self.current]).encrypt, os.urandom(12 * len(values))
        sealed = []
        for at, (context, value) in enumerate(values):
            nonce = drawn[12 * at : 12 * at + 12]
            sealed.append(nonce + encrypt(nonce, value.encode(), context.encode()))
        return self.current, sealed

    def open(self, key_id: str, context: str, sealed: bytes) -> str:
        if key_id not in self.keys:
            raise WrongKeys(f"this was sealed with key {key_id}, which is not among the keys at hand")
        try:
            return _cipher(self.keys[key_id]).decrypt(sealed[:12], sealed[12:], context.encode()).decode()
        except InvalidTag:
            raise WrongKeys(f"what key {key_id} sealed was changed, or belongs to something else") from None


class LiveKeys:
    """The keys of an installation as they are now: what another process has added is read when it is needed. A key
    that was dropped stays in this process's memory, for what it had sealed and not yet written.

    load, save: the keys where they are kept. save raises Conflict when somebody else was quicker.
    """

    def __init__(self, load: Callable[[], Keyring], save: Callable[[Keyring], None] = lambda ring: None) -> None:
        self._load, self._save = load, save
        self.ring = load()

    def refresh(self) -> None:
        """Raises WrongKeys when they are another installation's by now."""
        read = self._load()
        if read.token != self.ring.token:
            raise WrongKeys("the keys were replaced by those of another installation")
        if read.current != self.ring.current or read.keys.keys() - self.ring.keys.keys():
            self.ring = replace(read, keys={**self.ring.keys, **read.keys})

    def stored(self) -> Keyring:
        """The keys as they are kept, without what this process remembers."""
        return self._load()

    def save(self, ring: Keyring) -> None:
        self._save(ring)
        self.ring = replace(ring, keys={**self.ring.keys, **ring.keys})

    @property
    def fingerprint(self) -> str:
        return self.ring.fingerprint

    def to_text(self) -> str:
        return self.stored().to_text()

    def token_for(self, tenant: str, value: str) -> str:
        return self.ring.token_for(tenant, value)

    def seal(self, context: str, value: str) -> tuple[str, bytes]:
        return self.ring.seal(context, value)

    def open(self, key_id: str, context: str, sealed: bytes) -> str:
        if key_id not in self.ring.keys:
            self.refresh()
        return self.ring.open(key_id, context, sealed)


def live(keys: Keyring | LiveKeys) -> LiveKeys:
    """Keys that do not change are live, too."""
    return keys if isinstance(keys, LiveKeys) else LiveKeys(lambda: keys)


def load_keys(path: Path) -> Keyring:
    """The keys in this file, made at the first start, readable by its owner only. Two processes that start together
    end with the same keys."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        _write(draft, Keyring.make().to_text())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)  # unlike a rename, it never replaces what another process has made
        draft.unlink()
    return Keyring.from_text(path.read_bytes())


def save_keys(path: Path, keys: Keyring) -> None:
    """Replace the file at once, as after a rotation."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    _write(draft, keys.to_text())
    draft.replace(path)


def _write(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(file, text.encode())
        os.fsync(file)
    finally:
        os.close(file)


def _new_id() -> str:
    return "k" + os.urandom(4).hex()


_nonces: list[bytes] = []  # drawn ahead: each call of the operating system lets go of the interpreter
os.register_at_fork(after_in_child=_nonces.clear)  # parent and child must never use the same one


def _nonce() -> bytes:
    """12 random bytes; `pop` gives each to one thread only."""
    try:
        return _nonces.pop()
    except IndexError:
        drawn = os.urandom(12 * 256)
        _nonces.extend(drawn[at : at + 12] for at in range(12, len(drawn), 12))
        return drawn[:12]


@lru_cache(256)
def _tenant_hmac(token: bytes, tenant: str) -> Hmac:
    return Hmac(hmac.digest(token, tenant.encode(), "sha256"))


@lru_cache(16)
def _cipher(key: bytes) -> AESGCM:
    return AESGCM(key)
