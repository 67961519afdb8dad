"""Run the parts of one installation as processes: start them, say when they answer, restart what dies, stop them all.

A child learns that its supervisor is gone by the end of a pipe, so that killing the supervisor leaves nothing behind.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

PARENT = "SIGNALBOX_PARENT_FD"  # the child's end of the pipe
PATIENCE = 60.0  # seconds until the address must answer
GRACE = 35.0  # seconds a child has to stop: a call in flight takes at most 30, and its answer is to be kept
FAST = 10.0  # a child that lives shorter has failed to start
MOST_FAST = 3  # such failures in a row end everything


@dataclass(slots=True)
class Part:
    """A child. arguments: of this same Python. quiet: what it prints is for nobody."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    quiet: bool = False
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    failures: int = 0


class Supervisor:
    """say: prints one line to the person at the terminal."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._parts: list[Part] = []
        self._stopping = threading.Event()
        self._alive, self._lifeline = os.pipe()

    def start(self, part: Part) -> None:
        environment = {**os.environ, **part.environment, PARENT: str(self._alive)}
        part.started = time.monotonic()
        part.process = subprocess.Popen(  # noqa: S603  the program and its arguments are our own
            [sys.executable, *part.arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if part.quiet else None,
            pass_fds=[self._alive],
            start_new_session=True,  # Ctrl-C reaches the supervisor alone, which stops the parts in order
        )
        if part not in self._parts:
            self._parts.append(part)

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    def stop_on_signals(self) -> None:
        """The first signal asks every part to stop; a second one while they do ends them at once."""

        def stop(*_: object) -> None:
            if self._stopping.is_set():
                for part in self._parts:
                    _signal(part, signal.SIGKILL)
            self._stopping.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)

    def wait_until_ready(self, address: str) -> bool:
        """Whether the address answers before a part fails for good, time runs out or someone stops us."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and not self._stopping.is_set():
            if answers(address):
                return True
            if not self.look():
                return False
            self._stopping.wait(0.05)
        return False

    def run(self) -> int:
        """Watch until stopped; the exit code."""
        while not self._stopping.wait(0.2):
            if not self.look():
                return 1
        return 0

    def look(self) -> bool:
        """Restart what died; False when a part cannot be kept alive."""
        for part in self._parts:
            code = part.process.poll() if part.process else None
            if code is None or self._stopping.is_set():
                continue
            lived = time.monotonic() - part.started
            is_start = lived < FAST and code >= 0  # one that was killed did not fail to start
            part.failures = part.failures + 1 if is_start else 1
            if part.failures >= MOST_FAST or code == 2:  # 2: it said itself that it cannot run here
                self._say(f"{part.name} ended with code {code} and cannot be kept running; stopping.")
                return False
            self._say(f"{part.name} ended with code {code} after {lived:.0f} s; starting it again.")
            self.start(part)
        return True

    def stop(self) -> None:
        """Stop every part, and end what does not stop."""
        self._stopping.set()
        running = [part for part in self._parts if part.process and part.process.poll() is None]
        for part in running:
            _signal(part, signal.SIGTERM)
        deadline = time.monotonic() + GRACE
        for part in running:
            try:
                if part.process:
                    part.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._say(f"{part.name} did not stop within {GRACE:.0f} s and was ended.")
                _signal(part, signal.SIGKILL)
        os.close(self._lifeline)
        os.close(self._alive)


def _signal(part: Part, number: int) -> None:
    if part.process and part.process.poll() is None:
        part.process.send_signal(number)


def end_with_parent() -> None:
    """In a child: stop when the supervisor is gone."""
    if PARENT not in os.environ:
        return
    pipe = int(os.environ.pop(PARENT))

    def watch() -> None:
        try:
            os.read(pipe, 1)  # nothing is ever written: this returns when the other end is closed
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def answers(address: str) -> bool:
    """Whether /readyz says yes."""
    parts = urlsplit(address)
    connection = HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
