"""Attempts to sign in, counted by account and by address for all processes; each is counted before it is judged.

So many guesses at once are as few as one after the other. An account that does not exist is counted like one that does.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from rules.event import instant, iso
from rules.kinds import SYSTEM
from rules.ports import ABSENT, Conflict, Delete, Document, Put, Store, Write

WINDOW = timedelta(minutes=15)
MOST: Mapping[str, int] = {
    "account": 8,
    "address": 30,
    "reveal": 100,
}  # in a window: failures; values shown to one person
TRIES = 8
TIDIED = 20  # documents that are over and go with one attempt


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try that was let through. keys: what it was counted under."""

    keys: tuple[str, ...]
    at: str


def begin(store: Store, pepper: str, now: datetime, **by: str) -> Attempt | timedelta:
    """Count one attempt `account=..., address=...`; how long to wait where there were too many. pepper: keeps what was
    typed unreadable in the store."""
    keys = tuple(f"{kind}-{_digest(pepper, kind, value)}" for kind, value in sorted(by.items()))
    for _ in range(TRIES):
        found = {key: store.get(SYSTEM, "attempt", key) for key in keys}
        times = {key: _recent(document, now) for key, document in found.items()}
        waits = [
            instant(recent[-MOST[key.split("-")[0]]]) + WINDOW - now
            for key, recent in times.items()
            if len(recent) >= MOST[key.split("-")[0]]
        ]
        if waits:
            return max(waits)
        writes: list[Write] = [_counted(key, [*times[key], iso(now)], found[key], now) for key in keys]
        try:
            store.commit(SYSTEM, None, [*writes, *_over(store, keys, now)])
        except Conflict:
            continue
        return Attempt(keys, iso(now))
    return timedelta(seconds=1)


def forgive(store: Store, attempt: Attempt) -> None:
    """It was the right person: the account's attempts are forgotten, of the address's only this one, so that a member
    cannot go on guessing others' passwords by signing in between."""
    for key in attempt.keys:
        for _ in range(TRIES):
            found = store.get(SYSTEM, "attempt", key)
            if found is None:
                break
            times = list(found.body["at"])
            if key.startswith("address-") and attempt.at in times:
                times.remove(attempt.at)
            left = times if key.startswith("address-") else []
            write = Put("attempt", key, {**found.body, "at": left}, found.version)
            try:
                store.commit(SYSTEM, None, [write if left else Delete("attempt", key, found.version)])
            except Conflict:
                continue
            break


def _recent(found: Document | None, now: datetime) -> list[str]:
    since = iso(now - WINDOW)
    return [at for at in found.body["at"] if at > since] if found else []


def _counted(key: str, times: list[str], found: Document | None, now: datetime) -> Put:
    return Put("attempt", key, {"at": times, "until": iso(now + WINDOW)}, found.version if found else ABSENT)


def _over(store: Store, keys: tuple[str, ...], now: datetime) -> list[Write]:
    found = store.find(SYSTEM, "attempt", [("until", "<", iso(now))], "until", limit=TIDIED).items
    return [Delete("attempt", one.id) for one in found if one.id not in keys]


def _digest(pepper: str, kind: str, value: str) -> str:
    return hmac.new(pepper.encode(), f"{kind}\n{value}".encode(), hashlib.sha256).hexdigest()[:32]
