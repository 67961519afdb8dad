"""The crew: the threads that act, so many at once in all and so many for one connection, in lines that keep apart.

A slow or dead receiver has one thread and a short line; what does not fit goes back to the store, so the others' lines
stay open. What is in flight or not yet written down is bounded, because a crash repeats just that.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType

from app.desk import Attempt, Desk
from rules.ports import Document

THREADS = 8
WINDOW = 16  # in flight or not yet settled
EACH = 4  # at once to one connection
LINES = 64  # claimed and waiting for a thread, in all
SLOW_LINE = 4  # of them for a connection that is slow
SLOW = 0.5  # seconds that an attempt may take before its connection counts as slow
PATIENCE = 0.05  # seconds that one look waits for an answer
Line = tuple[str, str]  # tenant, connection


@dataclass(slots=True)
class _Flight:
    line: Line
    started: float


class Crew:
    """Keeps what is in flight between looks; used by one thread, the performing one. Use as a context manager."""

    def __init__(self, threads: int = THREADS, window: int = WINDOW, each: int = EACH) -> None:
        self.threads, self.window, self.each = threads, window, each
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="sending")
        self._lines: OrderedDict[Line, deque[Document]] = OrderedDict()
        self._flying: dict[Future[Attempt], _Flight] = {}
        self._unsettled: list[Attempt] = []
        self._pace: dict[Line, float] = {}  # seconds an attempt takes, lately
        self._troubled: set[Line] = set()  # whose last answer was a failure

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._pool.shutdown(wait=True)

    @property
    def busy(self) -> bool:
        return bool(self._flying or self._unsettled)

    def look(self, desk: Desk, limit: int) -> int:
        """One look: settle what came back, take what is due, start what there is a thread for. How much happened;
        more than nothing while anything is in flight, so that the caller looks again at once."""
        settled = self._settle(desk)
        self._take(desk, limit)
        self._trim(desk)
        while self._start(desk) or self._flying:
            self._land()
            if not self._unsettled:
                break
            settled += self._settle(desk)
        return settled + len(self._flying)

    def finish(self, desk: Desk, seconds: float = 30.0) -> int:
        """Take nothing new; wait for what is in flight and write it down. How many."""
        self._lines.clear()  # their leases end by themselves
        wait(list(self._flying), timeout=seconds)
        self._land()
        return self._settle(desk)

    # ---- taking -----------------------------------------------------------------------------------------------------
    def _take(self, desk: Desk, limit: int) -> None:
        room = min(limit, LINES - sum(len(line) for line in self._lines.values()))
        if room <= 0 or len(self._flying) >= self.threads:
            return
        for document in desk.claim(room):
            self._lines.setdefault((document.tenant, str(document.body["connection"])), deque()).append(document)

    def _trim(self, desk: Desk) -> None:
        """The line of a slow connection is kept short: the rest comes again when its turn may be."""
        surplus = []
        for name, line in self._lines.items():
            while self._is_slow(name) and len(line) > SLOW_LINE:
                surplus.append((line.pop(), self._turn(name)))
        if surplus:
            with desk.store.batch():
                for document, after in surplus:
                    desk.put_back(document, after)

    def _turn(self, name: Line) -> timedelta:
        return timedelta(seconds=min(30.0, max(1.0, SLOW_LINE * self._pace.get(name, 1.0))))

    def _is_slow(self, name: Line) -> bool:
        late = time.monotonic() - SLOW
        return name in self._troubled or any(f.line == name and f.started < late for f in self._flying.values())

    # ---- starting and landing ---------------------------------------------------------------------------------------
    def _start(self, desk: Desk) -> bool:
        """Start as much as threads, window and connections allow, one line after the other. Whether any was."""
        started = False
        for name in list(self._lines):
            line = self._lines[name]
            while line and self._may_start(name):
                started = self._launch(desk, name, line.popleft()) or started
            self._lines.move_to_end(name)
            if not line:
                del self._lines[name]
        return started

    def _may_start(self, name: Line) -> bool:
        if len(self._flying) >= self.threads or len(self._flying) + len(self._unsettled) >= self.window:
            return False
        now_flying = sum(1 for flight in self._flying.values() if flight.line == name)
        return now_flying < (1 if self._is_slow(name) else self.each)

    def _launch(self, desk: Desk, name: Line, document: Document) -> bool:
        ready = desk.prepare(document)
        if ready is None:
            return False
        self._flying[self._pool.submit(desk.attempt, ready)] = _Flight(name, time.monotonic())
        return True

    def _land(self) -> None:
        """Take in what has ended; waits a moment for the first."""
        ended, _ = wait(list(self._flying), timeout=PATIENCE, return_when=FIRST_COMPLETED)
        for future in ended:
            flight = self._flying.pop(future)
            attempt = future.result()
            took = time.monotonic() - flight.started
            self._pace[flight.line] = 0.7 * self._pace.get(flight.line, took) + 0.3 * took
            (self._troubled.add if attempt.outcome.kind == "retry" else self._troubled.discard)(flight.line)
            self._unsettled.append(attempt)

    def _settle(self, desk: Desk) -> int:
        """Write down what landed; what cannot be written now is kept for the next look."""
        count = len(self._unsettled)
        if count:
            desk.settle(self._unsettled)
            self._unsettled = []
        return count
