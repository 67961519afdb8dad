"""An attacker: bad signatures at a steady rate, and slow senders of heads and bodies; runs as a process of its own.

`python -m bench.flood '{"port": 8080, "rate": 2000, "seconds": 10, "slow": 100}'` prints one JSON line.
"""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
import sys
import time
from collections import Counter
from typing import Any

from bench import events
from bench.load import whole

SLOW_HEAD = b"POST /webhooks/stripe HTTP/1.1\r\nHost: x\r\nX-Slow: "
SLOW_BODY = b"POST /webhooks/stripe HTTP/1.1\r\nHost: x\r\nStripe-Signature: t=1,v1=00\r\nContent-Length: 5000\r\n\r\n{"
DRIP = 0.4  # seconds between the bytes of a slow sender


class Flood:
    """source: the address of ours that the attack comes from."""

    def __init__(self, port: int, rate: float, connections: int, slow: int, source: str) -> None:
        self._port, self._rate, self._source = port, rate, source
        self._selector = selectors.DefaultSelector()
        self._idle: list[socket.socket] = []
        self._buffers: dict[socket.socket, bytearray] = {}
        self._slow: list[socket.socket | None] = [None] * slow
        self._request = _bad(port)
        self.sent = self.reopened = 0
        self.answers: Counter[str] = Counter()
        for _ in range(connections if rate else 0):
            self._idle.append(self._fresh())

    def run(self, seconds: float) -> None:
        began = drip = time.monotonic()
        while (now := time.monotonic()) - began < seconds:
            while self._idle and self.sent < (now - began) * self._rate:
                self._send(self._idle.pop())
            if now >= drip and self._slow:
                self._drip()
                drip = now + DRIP
            for key, _ in self._selector.select(0.002):
                self._receive(key.fileobj)  # type: ignore[arg-type]

    def _fresh(self) -> socket.socket:
        made = socket.create_connection(("127.0.0.1", self._port), timeout=10, source_address=(self._source, 0))
        self._selector.register(made, selectors.EVENT_READ)
        self._buffers[made] = bytearray()
        return made

    def _send(self, connection: socket.socket) -> None:
        self.sent += 1
        try:
            connection.sendall(self._request)
        except OSError:
            self._drop(connection)

    def _receive(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(65536)
        except OSError:
            data = b""
        buffer = self._buffers[connection]
        buffer += data
        if not data:
            self._drop(connection)
        elif whole(buffer):
            self.answers[bytes(buffer[9:12]).decode()] += 1
            buffer.clear()
            self._idle.append(connection)

    def _drop(self, connection: socket.socket) -> None:
        self._selector.unregister(connection)
        del self._buffers[connection]
        connection.close()
        if connection in self._idle:
            self._idle.remove(connection)
        self.answers["closed"] += 1
        with contextlib.suppress(OSError):
            self._idle.append(self._fresh())

    def _drip(self) -> None:
        """A byte more on each slow connection; one that was ended is opened again."""
        for number, connection in enumerate(self._slow):
            try:
                if connection is None:
                    connection = socket.create_connection(
                        ("127.0.0.1", self._port), timeout=1, source_address=(self._source, 0)
                    )
                    connection.sendall(SLOW_HEAD if number % 2 else SLOW_BODY)
                    connection.settimeout(0)
                    self._slow[number] = connection
                    self.reopened += 1
                connection.send(b"a")
            except OSError:
                if connection is not None:
                    connection.close()
                self._slow[number] = None


def _bad(port: int) -> bytes:
    """A whole event with a signature of the right form, made with another key, and good for ten minutes."""
    content = events.body(0, int(time.time()))
    head = (
        f"POST /webhooks/stripe HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Stripe-Signature: t={int(time.time())},v1={'0' * 64}\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def run(
    port: int, rate: float, seconds: float, connections: int = 32, slow: int = 0, source: str = "127.0.0.2"
) -> dict[str, Any]:
    flood = Flood(port, rate, connections, slow, source)
    flood.run(seconds)
    return {"sent": flood.sent, "answers": dict(flood.answers), "slow_opened": flood.reopened}


if __name__ == "__main__":
    print(json.dumps(run(**json.loads(sys.argv[1]))))
