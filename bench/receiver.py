"""The CRM of the benchmark: verifies every signed notice, keeps when each arrived, and tells on GET /stats.

One process, one loop, as cheap as plain Python goes, so that it holds back none of the systems measured.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import sys
import time
from typing import Any

from bench.events import NOTICE_KEY


class State:
    """notices: (event id, rule id) -> [arrivals]. bad: notices whose signature or shape is wrong."""

    def __init__(self) -> None:
        self.notices: dict[tuple[str, str], list[float]] = {}
        self.ids: dict[str, int] = {}
        self.bad: list[str] = []

    def take(self, head: bytes, body: bytes) -> int:
        headers = fields(head)
        problem = check(headers, body)
        if problem:
            self.bad.append(problem)
            return 400
        id = headers[b"webhook-id"].decode()
        self.ids[id] = self.ids.get(id, 0) + 1
        self.notices.setdefault(what(json.loads(body)), []).append(time.monotonic())
        return 200

    def stats(self, whole: bool) -> dict[str, Any]:
        last = max((times[0] for times in self.notices.values()), default=0.0)
        short = {
            "count": len(self.notices),
            "posts": sum(self.ids.values()),
            "ids": len(self.ids),
            "bad": self.bad[:5],
            "last": last,
        }
        return short | ({"notices": [[*key, times[0]] for key, times in self.notices.items()]} if whole else {})


def fields(head: bytes) -> dict[bytes, bytes]:
    lines = head.split(b"\r\n")[1:]
    pairs = (line.split(b":", 1) for line in lines if b":" in line)
    return {name.strip().lower(): value.strip() for name, value in pairs}


def check(headers: dict[bytes, bytes], body: bytes) -> str:
    """What is wrong with the signature (Standard Webhooks), or nothing."""
    id, stamp = headers.get(b"webhook-id", b""), headers.get(b"webhook-timestamp", b"")
    digest = hmac.new(NOTICE_KEY, b"%s.%s.%s" % (id, stamp, body), hashlib.sha256).digest()
    wanted = b"v1," + base64.b64encode(digest)
    given = headers.get(b"webhook-signature", b"")
    return "" if id and wanted in given.split() else f"bad signature on {id.decode()!r}"


def what(notice: dict[str, Any]) -> tuple[str, str]:
    """The event and the rule that a notice is about: the peers say it plainly, Signalbox in its CloudEvent."""
    data = notice.get("data", notice)
    rule = data.get("rule")
    return find_event(data), rule["id"] if isinstance(rule, dict) else str(rule)


def find_event(data: dict[str, Any]) -> str:
    for name in ("event", "trigger"):
        found = data.get(name)
        if isinstance(found, dict):
            return str(found["id"])
        if found:
            return str(found)
    return str(data["events"][-1])


class Protocol(asyncio.Protocol):
    def __init__(self, state: State) -> None:
        self._state = state
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._buffer[:end])
            length = int(fields(head).get(b"content-length", b"0"))
            if len(self._buffer) < end + 4 + length:
                return
            body = bytes(self._buffer[end + 4 : end + 4 + length])
            del self._buffer[: end + 4 + length]
            self._answer(head, body)

    def _answer(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"GET"):
            text = json.dumps(self._state.stats(b"whole" in head.split(b"\r\n", 1)[0])).encode()
            status = 200
        elif head.startswith(b"DELETE"):
            self._state.__init__()  # type: ignore[misc]
            status, text = 200, b"{}"
        else:
            status, text = self._state.take(head, body), b"{}"
        line = b"HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        self._transport.write(line % (status, b"OK" if status == 200 else b"Bad Request", len(text)) + text)


async def main(port: int) -> None:
    state = State()
    server = await asyncio.get_running_loop().create_server(lambda: Protocol(state), "127.0.0.1", port, backlog=256)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
