"""Who is refused, and how often: after some bad signatures or lost bodies an address gets no line in the log for each.

A good signature is let in whoever sends it: Stripe and a stranger may come through one proxy.
"""

from __future__ import annotations

import ipaddress
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from app import logs

BURST = 20  # bad signatures of one address at once, such as after a secret was rolled
EACH_SECOND = 1.0  # and so many go on being told what is wrong
ADDRESSES = 4096  # that are remembered; the one longest quiet is forgotten first
LOGGED = 60.0  # seconds between the lines that tell of an address


def address(remote: str, forwarded: str, proxies: int) -> str:
    """Where a request comes from, by the word of our own proxies only; an IPv6 network counts as one."""
    heard = [part.strip() for part in forwarded.split(",") if part.strip()]
    text = heard[-proxies] if proxies and len(heard) >= proxies else remote
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return text[:60]
    if isinstance(found, ipaddress.IPv6Address):
        return str(found.ipv4_mapped or ipaddress.ip_network((int(found), 64), strict=False))
    return str(found)


@dataclass(slots=True)
class _Sender:
    left: float
    at: float
    refused: int = 0
    told: float = float("-inf")

    def count(self) -> tuple[bool, int]:
        """Whether this one is still among the few; else how many a line has to tell of now."""
        if self.left >= 1:
            self.left -= 1
            return True, 0
        self.refused += 1
        if self.at - self.told < LOGGED:
            return False, 0
        told, self.refused, self.told = self.refused, 0, self.at
        return False, told


@dataclass
class Floods:
    """monotonic: a stopwatch. station, flood: what the lines are called that tell of one, and of many. Safe from many
    threads."""

    monotonic: Callable[[], float] = time.monotonic
    station: str = "event.refused"
    flood: str = "webhooks.flooded"
    _senders: OrderedDict[str, _Sender] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def refuse(self, address: str, problem: str) -> bool:
        """Count a bad signature, and log it as long as there are few. Whether the address has sent too many."""
        with self._lock:
            sender = self._sender(address, self.monotonic())
            few, silent = sender.count()
        if few:
            logs.line(self.station, logging.WARNING, problem=problem)
        elif silent:
            logs.line(self.flood, logging.WARNING, refused=silent, problem=problem)
        return not few

    def _sender(self, address: str, now: float) -> _Sender:
        found = self._senders.pop(address, None) or _Sender(BURST, now)
        self._senders[address] = found
        if len(self._senders) > ADDRESSES:
            self._senders.popitem(last=False)
        found.left = min(float(BURST), found.left + (now - found.at) * EACH_SECOND)
        found.at = now
        return found
