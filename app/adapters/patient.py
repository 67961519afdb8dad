"""Ports that ask, before each read, whether it is still waited for, and say so when something begins to be changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from app.adapters.instead import instead
from rules import patience
from rules.ports import Bus, Inbox, Secrets, Store, Vault

T = TypeVar("T")


def store(port: Store) -> Store:
    return _patient(port, asks=("get", "find", "count", "window"), begins=("commit", "claim", "batch", "wipe"))


def vault(port: Vault) -> Vault:
    """Values that are tokenised and then not used are forgotten with the others of their subject."""
    return _patient(port, asks=("tokenise",), begins=("reveal", "erase", "bar", "expire"))


def secrets(port: Secrets) -> Secrets:
    return _patient(port, begins=("put",))


def bus(port: Bus) -> Bus:
    return _patient(port, begins=("publish",))


def inbox(port: Inbox) -> Inbox:
    return _patient(port, asks=("dead", "oldest"), begins=("drain", "replay", "discard"))


def _patient(port: T, asks: Sequence[str] = (), begins: Sequence[str] = ()) -> T:
    asking = {name: _after(patience.ask, getattr(port, name)) for name in asks}
    return instead(port, asking | {name: _after(patience.begin, getattr(port, name)) for name in begins})


def _after(first: Callable[[], None], method: Callable[..., Any]) -> Callable[..., Any]:
    def called(*given: Any, **named: Any) -> Any:
        first()
        return method(*given, **named)

    return called
