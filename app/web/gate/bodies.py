"""The bodies of requests: turns to read them, fewer for an address that keeps them back, and an end to their patience.

Granian waits for a body in the thread that reads it, for as long as its sender likes, and will not limit that
(https://github.com/emmett-framework/granian/issues/728). So bodies may hold most threads and never all, those of one
address some and never most, and an address that keeps several back is told at once to come again. What does not come
is ended from beside: the reader cannot be interrupted, but its connection can be closed (on Linux, where the system
says how little came over it).
"""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from app import logs
from rules.ports import Unavailable

TURN_SECONDS = 0.25  # that a reader waits for its turn
KEPT_BACK = 0.1  # seconds after which a body counts as kept back; one that came with its head takes no time
HELD = 8  # bodies kept back by one address; its next ones are refused at once
# An address that kept back so many comes again with a rush, which nothing tells from good senders at first. For some
# seconds it may therefore have fewer threads, those that wait for a turn among them.
REMEMBERED = 10.0  # seconds since it last kept one back
READING, WAITING = 12, 8
PATIENCE, SHORT = 10.0, 2.0  # seconds for a body; for those of an address that keeps so many back
LOOK = 0.5  # seconds between looks at what is late
LEAST = 512  # bytes a second, over a look, below which a connection counts as silent
RECEIVED = 128  # where struct tcp_info of linux/tcp.h has bytes_received
Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
Cut = Callable[[set[str]], object]


@dataclass(eq=False, slots=True)
class _Reading:
    address: str
    began: float


@dataclass
class Bodies:
    """most: that are read at one moment; each: of one address. monotonic: a stopwatch."""

    most: int
    each: int
    monotonic: Callable[[], float] = time.monotonic
    _reading: set[_Reading] = field(default_factory=set)
    _waiting: Counter[str] = field(default_factory=Counter)
    _known: dict[str, float] = field(default_factory=dict)  # who kept bodies back, and when last
    _free: threading.Condition = field(default_factory=threading.Condition)

    @contextmanager
    def turn(self, address: str) -> Iterator[None]:
        """While the body of this address is read. Raises Unavailable when there is no turn to be had."""
        with self._free:
            if self._is_refused(address) or not self._comes(address):
                raise Unavailable("too many senders keep their bodies back")
            mine = _Reading(address, self.monotonic())
            self._reading.add(mine)
        try:
            yield
        finally:
            with self._free:
                self._reading.discard(mine)
                self._free.notify()

    def late(self) -> set[str]:
        """The addresses that have kept a body back for longer than their patience."""
        now = self.monotonic()
        with self._free:
            held = Counter(one.address for one in self._reading if now - one.began > KEPT_BACK)
            return {
                one.address
                for one in self._reading
                if now - one.began > (SHORT if held[one.address] >= HELD else PATIENCE)
            }

    def _is_refused(self, address: str) -> bool:
        """Whether it is told at once to come again; remembers who keeps bodies back."""
        kept, now = self._kept_back(address), self.monotonic()
        known = self._known.get(address, float("-inf")) > now - REMEMBERED
        if kept >= HELD or (known and kept):
            self._known[address] = now
            self._known = {one: at for one, at in self._known.items() if at > now - REMEMBERED}
        return kept >= HELD or (known and self._waiting[address] >= WAITING)

    def _comes(self, address: str) -> bool:
        """Wait for a turn; whether it came."""
        self._waiting[address] += 1
        try:
            return self._free.wait_for(lambda: self._has_room(address), TURN_SECONDS)
        finally:
            self._waiting[address] -= 1
            if not self._waiting[address]:
                del self._waiting[address]

    def _has_room(self, address: str) -> bool:
        mine = sum(1 for one in self._reading if one.address == address)
        since = self.monotonic() - REMEMBERED
        each = min(self.each, READING) if self._known.get(address, float("-inf")) > since else self.each
        return len(self._reading) < self.most and mine < each

    def _kept_back(self, address: str) -> int:
        since = self.monotonic() - KEPT_BACK
        return sum(1 for one in self._reading if one.address == address and one.began < since)

    def watch(self, stop: threading.Event, cut: Cut) -> None:
        """Until stop: end what is late."""
        while not stop.wait(LOOK):
            if late := self.late():
                cut(late)


def bounded(application: Wsgi, bodies: Bodies) -> Wsgi:
    """The application, whose requests take turns to read their bodies."""

    def within(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        environ["wsgi.input"] = _Body(environ["wsgi.input"], bodies, str(environ.get("REMOTE_ADDR", "")))
        return application(environ, start_response)

    return within


class _Body:
    """The body of a request, as PEP 3333 has it."""

    def __init__(self, stream: Any, bodies: Bodies, address: str) -> None:
        self._stream, self._bodies, self._address = stream, bodies, address

    def read(self, *size: int) -> bytes:
        with self._bodies.turn(self._address):
            return bytes(self._stream.read(*size))

    def readline(self, *size: int) -> bytes:
        with self._bodies.turn(self._address):
            return bytes(self._stream.readline(*size))

    def readlines(self, *hint: int) -> list[bytes]:
        with self._bodies.turn(self._address):
            return list(self._stream.readlines(*hint))

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readlines())


# ---- ending them ----------------------------------------------------------------------------------------------------
class Silent:
    """Closes this process's connections from given addresses over which next to nothing has come since the last look:
    the senders who wait, and with them those of the same address that are idle, which connect again."""

    def __init__(self) -> None:
        self._received: dict[tuple[int, Any], tuple[float, int]] = {}

    def __call__(self, addresses: set[str]) -> int:
        """How many were closed."""
        seen: dict[tuple[int, Any], tuple[float, int]] = {}
        closed = sum(self._closed(number, addresses, seen) for number in _descriptors())
        self._received = seen
        if closed:
            logs.line("bodies.cut", count=closed, addresses=len(addresses))
        return closed

    def _closed(self, number: int, addresses: set[str], seen: dict[tuple[int, Any], tuple[float, int]]) -> bool:
        try:
            copied = os.dup(number)
        except OSError:
            return False  # gone by now
        try:
            connection = socket.socket(fileno=copied)
        except OSError:
            os.close(copied)  # no socket: each look would leave a copy of it behind, and then copies of copies
            return False
        with connection, suppress(OSError, AttributeError, struct.error):
            peer = connection.getpeername()
            if not isinstance(peer, tuple) or peer[0] not in addresses:
                return False
            info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, RECEIVED + 8)
            now, received = time.monotonic(), struct.unpack_from("Q", info, RECEIVED)[0]
            before = self._received.get((number, peer))
            if before and received - before[1] < LEAST * (now - before[0]):
                connection.shutdown(socket.SHUT_RD)
                return True
            seen[number, peer] = (now, received)
        return False


def _descriptors() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        return []  # another system: the turns alone hold
