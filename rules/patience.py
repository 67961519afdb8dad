"""Patience: long work asks here, again and again, whether it is still waited for, before it has changed anything.

Who waits, and how long, is said outside, for one thread (app.web.gate.deadlines); there is no clock here. Where nobody
said anything, as in workers and on the command line, work takes the time it takes. What has begun to change something
is carried to its end: nothing is left half-done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


class Overdue(Exception):
    """Nobody waits for this any more; nothing was changed."""


@dataclass(slots=True)
class Wait:
    """is_over: whether its time has passed. has_begun: to change something."""

    is_over: Callable[[], bool]
    has_begun: bool = False

    @property
    def has_ended(self) -> bool:
        return not self.has_begun and self.is_over()


_waits: ContextVar[Wait | None] = ContextVar("waits", default=None)


@contextmanager
def waited(is_over: Callable[[], bool]) -> Iterator[Wait]:
    """While somebody waits for what this thread does.

    >>> with waited(lambda: True):
    ...     ask()
    Traceback (most recent call last):
    rules.patience.Overdue
    >>> with waited(lambda: False):
    ...     begin()
    >>> ask()
    """
    wait = Wait(is_over)
    before = _waits.set(wait)
    try:
        yield wait
    finally:
        _waits.reset(before)


def is_overdue() -> bool:
    """Whether somebody waited for what is done here, and waits no more."""
    wait = _waits.get()
    return wait is not None and wait.has_ended


def ask() -> None:
    """Raises Overdue when nobody waits any more. Takes a tenth of a microsecond."""
    if is_overdue():
        raise Overdue


def begin() -> None:
    """Something is changed now; from here on it is too late to turn back. Raises Overdue when nobody waits for it."""
    ask()
    wait = _waits.get()
    if wait is not None:
        wait.has_begun = True


def each(items: Iterable[T]) -> Iterator[T]:
    """The items, asking before each."""
    for item in items:
        ask()
        yield item
