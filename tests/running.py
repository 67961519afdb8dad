"""Signalbox as its users run it: real processes on a data folder of their own, on a free port of loopback."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.builders import ADMIN_TOKEN, WEBHOOK_SECRET, body_of, signed

ROOT = Path(__file__).parents[1]
PATIENCE = 60.0  # seconds; everything here is there within two on an idle machine


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def until(what: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """The first true answer; fails the test when there is none in time."""
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while not (found := what()):
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        pause.wait(0.02)
    return found


@dataclass
class Running:
    """A process and what it printed. port: where its pages are."""

    process: subprocess.Popen[bytes]
    port: int
    data: Path
    log: Path
    pause: threading.Event = field(default_factory=threading.Event)

    @property
    def printed(self) -> str:
        return self.log.read_text(errors="replace")

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def post_event(self, envelope: Mapping[str, Any]) -> int:
        """Deliver it as Stripe would, signed now; the status."""
        body = body_of(envelope)
        return self.request("POST", "/webhooks/stripe", body, signed(body, datetime.now(UTC)))[0]

    def raw(self, data: bytes, seconds: float = 10.0, end: bool = False) -> bytes:
        """What the server says to these very bytes. end: whether we then say that no more will come."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as connection:
            connection.sendall(data)
            if end:
                connection.shutdown(socket.SHUT_WR)
            said = b""
            try:
                while part := connection.recv(65_536):
                    said += part
            except (TimeoutError, ConnectionResetError):
                pass
            return said

    def is_ready(self) -> bool:
        assert self.process.poll() is None, f"it ended with {self.process.returncode}:\n{self.printed}"
        try:
            return self.request("GET", "/readyz")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def children(self) -> dict[str, int]:
        """The process ids below it by their command: web, work, ..."""
        listed = subprocess.run(
            ["ps", "-e", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True
        ).stdout
        rows = [line.split(None, 2) for line in listed.splitlines()]
        mine = [row for row in rows if len(row) == 3 and int(row[1]) == self.process.pid]
        return {row[2].rsplit("main.py ", 1)[-1]: int(row[0]) for row in mine}

    def stop(self, number: int = signal.SIGTERM, seconds: float = PATIENCE) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(seconds)


def start(data: Path, *arguments: str, port: int | None = None, **environment: str) -> Running:
    """Start `main.py` with these arguments; does not wait. The environment is its own, not the tests'."""
    port = free_port() if port is None else port
    log = data.parent / f"{data.name}.{time.monotonic_ns()}.log"
    given = {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", "/"),
        "PORT": str(port),
        "SIGNALBOX_DATA": str(data),
        "SIGNALBOX_MATCHER": "python",
        "SIGNALBOX_ADMIN_TOKEN": ADMIN_TOKEN,
        "STRIPE_WEBHOOK_SECRET": WEBHOOK_SECRET,
        "STRIPE_API_KEY": "sk_test_made_up",
        "STRIPE_API_BASE": "http://127.0.0.1:9",  # nothing listens there
        "SIGNALBOX_STAND_IN": "1",
        **environment,
    }
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "main.py"), *arguments],
            env={name: value for name, value in given.items() if value},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=data.parent,
        )
    return Running(process, port, data, log)


@contextmanager
def running(data: Path, *arguments: str, **environment: str) -> Iterator[Running]:
    """The same, ready; stopped at the end, whatever happens."""
    started = start(data, *arguments, **environment)
    try:
        until(started.is_ready)
        yield started
    finally:
        try:
            started.stop(seconds=45)
        except subprocess.TimeoutExpired:
            started.process.kill()
