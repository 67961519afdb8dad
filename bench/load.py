"""The sender: keeps connections busy with signed events and times every answer; runs as a process of its own.

`python -m bench.load '{"port": 8080, "count": 2000, ...}'` prints one JSON line. Closed loop without a rate (each
connection sends its next event when the last was answered), open loop with one (events leave on schedule).
"""

from __future__ import annotations

import json
import resource
import selectors
import socket
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from bench import events


@dataclass
class Connection:
    socket: socket.socket
    busy: bool = False
    number: int = -1
    sent: float = 0.0
    buffer: bytearray = field(default_factory=bytearray)


def run(
    port: int, count: int, connections: int = 32, start: int = 0, rate: float = 0.0, each: int = 1
) -> dict[str, Any]:
    """Send events `start .. start+count`, so many of each customer; times are seconds of the clock that every process
    shares."""
    created, host = int(time.time()), f"127.0.0.1:{port}"
    requests = [events.request(number, created, host, number // each) for number in range(start, start + count)]
    sender = Sender(port, requests, start, rate)
    began = time.monotonic()
    sender.run(connections)
    ended = time.monotonic()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "sent": count,
        "ok": sender.ok,
        "refused": sender.refused,
        "began": began,
        "seconds": ended - began,
        "times": [round(value, 6) for value in sender.times],
        "starts": sender.starts if rate else [],
        "cpu": usage.ru_utime + usage.ru_stime,
    }


class Sender:
    def __init__(self, port: int, requests: list[bytes], start: int, rate: float) -> None:
        self._port = port
        self._requests = requests
        self._start = start
        self._rate = rate
        self._next = 0
        self._selector = selectors.DefaultSelector()
        self.ok = self.refused = 0
        self.times: list[float] = []
        self.starts: list[tuple[int, float]] = []

    def run(self, connections: int) -> None:
        began = time.monotonic()
        idle = [self._connect() for _ in range(min(connections, len(self._requests)))]
        while self.ok + self.refused < len(self._requests):
            while idle and self._next < len(self._requests) and self._due(began):
                self._send(idle.pop())
            for key, _ in self._selector.select(0.002 if self._rate else 1.0):
                if self._receive(key.data):
                    idle.append(key.data)

    def _due(self, began: float) -> bool:
        return not self._rate or time.monotonic() - began >= self._next / self._rate

    def _connect(self) -> Connection:
        made = socket.create_connection(("127.0.0.1", self._port), timeout=30)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(made)
        self._selector.register(made, selectors.EVENT_READ, connection)
        return connection

    def _send(self, connection: Connection) -> None:
        connection.busy, connection.number = True, self._next
        self._next += 1
        connection.sent = time.monotonic()
        connection.buffer.clear()
        if self._rate:
            self.starts.append((self._start + connection.number, connection.sent))
        connection.socket.sendall(self._requests[connection.number])

    def _receive(self, connection: Connection) -> bool:
        """Read what is there; True when the answer is whole."""
        data = connection.socket.recv(65536)
        if not data and not connection.busy:  # the server ends what is idle for long
            self._replace(connection)
            return False
        if not data:
            self._reconnect(connection)
            return False
        connection.buffer += data
        if not whole(connection.buffer):
            return False
        connection.busy = False
        self.times.append(time.monotonic() - connection.sent)
        if connection.buffer[9:10] == b"2":
            self.ok += 1
        else:
            self.refused += 1
        if b"connection: close" in connection.buffer[:400].lower():
            self._replace(connection)
        return True

    def _reconnect(self, connection: Connection) -> None:
        """The server closed before it answered: connect again and send the same event."""
        self._replace(connection)
        connection.buffer.clear()
        connection.socket.sendall(self._requests[connection.number])

    def _replace(self, connection: Connection) -> None:
        self._selector.unregister(connection.socket)
        connection.socket.close()
        connection.socket = socket.create_connection(("127.0.0.1", self._port), timeout=30)
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(connection.socket, selectors.EVENT_READ, connection)


def whole(buffer: bytearray) -> bool:
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return False
    head = bytes(buffer[:end]).lower()
    at = head.find(b"content-length:")
    if at >= 0:
        return len(buffer) >= end + 4 + int(head[at + 15 :].split(b"\r\n", 1)[0])
    return b"chunked" not in head or buffer.endswith(b"0\r\n\r\n")


if __name__ == "__main__":
    print(json.dumps(run(**json.loads(sys.argv[1]))))
