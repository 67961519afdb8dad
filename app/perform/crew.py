"""The crew: the threads that act, so many at once in all and so many for one connection, in lines that keep apart.

A slow or dead receiver has one thread and a short line; what does not fit goes back to the store, so the others' lines
stay open. What is in flight or not yet written down is bounded, because a crash repeats just that.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from types import TracebackType

from app.perform import holds
from app.perform.desk import Desk
from app.perform.glance import Glance
from app.perform.lanes import EACH, SHORTEST, Lane, Lanes, Line
from app.perform.ledger import Attempt
from rules.ports import Document

THREADS = 16
WINDOW = 16  # in flight or not yet settled
LINES = 64  # claimed and waiting for a thread, in all
SLOW_LINE = SHORTEST  # of them for a connection that is slow
SLOW = 0.5  # seconds that an attempt may take before its connection counts as slow
SLOW_THREADS = THREADS // 2  # for all the slow connections together
SPARE = 4  # threads that only a connection with nothing in flight may take
RELEASED = 200  # waiting actions of a connection that works again, at one look
PATIENCE = 0.05  # seconds that one look waits for an answer
TOGETHER = WINDOW // 2  # answers that are written down in one transaction, with what is taken next
LINGER = 0.02  # seconds that an answer waits at most for others to be written down with
LOOK = 0.2  # seconds after which a look ends, so that what has become due is taken in
ROUNDS = 16  # of taking, in one look: a long queue of one connection goes back, and what is behind it is seen

__all__ = ["EACH", "SLOW_LINE", "THREADS", "WINDOW", "Crew"]


@dataclass(slots=True)
class _Flight:
    line: Line
    started: float


class Crew:
    """Keeps what is in flight between looks; used by one thread, the performing one. Use as a context manager."""

    def __init__(self, threads: int = THREADS, window: int = WINDOW, lanes: Lanes | None = None) -> None:
        self.threads, self.window = threads, window
        self.lanes = lanes or Lanes()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="sending")
        self._lines: OrderedDict[Line, deque[Document]] = OrderedDict()
        self._flying: dict[Future[Attempt], _Flight] = {}
        self._landed: SimpleQueue[Future[Attempt]] = SimpleQueue()
        self._unsettled: list[Attempt] = []
        self._since = 0.0  # when the first of them landed
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
        desk = replace(desk, lanes=self.lanes)
        done = holds.release_recovered(desk.store, self.lanes.recovered, desk.now, RELEASED)
        done += self._turn(desk, limit)
        until, glance = time.monotonic() + LOOK, Glance(desk.store)
        while (self._start(desk, glance) or self._flying) and time.monotonic() < until:
            landed = self._land(LINGER if self._unsettled else PATIENCE)
            if not landed and not self._unsettled:
                break
            if not landed or len(self._unsettled) >= TOGETHER or time.monotonic() - self._since > LINGER:
                done += self._turn(desk, limit) if self._is_stuck(desk) else self._settled(desk)
                glance.forget()
        return done + len(self._flying) + len(self._unsettled)

    def finish(self, desk: Desk, seconds: float = 30.0) -> int:
        """Take nothing new; wait for what is in flight and write it down. How many."""
        desk = replace(desk, lanes=self.lanes)
        self._lines.clear()  # their leases end by themselves
        until = time.monotonic() + seconds
        while self._flying and self._land(max(0.0, until - time.monotonic())):
            continue
        return self._settled(desk)

    def _turn(self, desk: Desk, limit: int) -> int:
        """Write down what landed and take what is due, durable together: how many were written down."""
        before = OrderedDict((name, deque(line)) for name, line in self._lines.items())
        attempts = self._unsettled
        try:
            with desk.store.batch():
                desk.write(attempts)
                for _ in range(ROUNDS):
                    self._take(desk, limit)
                    if not self._trim(desk):
                        break
        except BaseException:
            self._lines = before  # nothing of it is true
            raise
        return self._told(desk)

    def _settled(self, desk: Desk) -> int:
        """Write down what landed; what cannot be written now is kept for the next look."""
        if self._unsettled:
            with desk.store.batch():
                desk.write(self._unsettled)
        return self._told(desk)

    def _told(self, desk: Desk) -> int:
        attempts, self._unsettled = self._unsettled, []
        desk.tell(attempts)
        return len(attempts)

    # ---- taking -----------------------------------------------------------------------------------------------------
    def _take(self, desk: Desk, limit: int) -> None:
        room = min(limit, LINES - sum(len(line) for line in self._lines.values()))
        if room <= 0 or len(self._flying) >= self.threads:
            return
        for document in desk.claim(room):
            self._lines.setdefault((document.tenant, str(document.body["connection"])), deque()).append(document)

    def _trim(self, desk: Desk) -> int:
        """A line is kept as short as its connection is slow: the rest comes again when its turn may be. How many went
        back; then there is room for what is due behind them."""
        surplus = []
        for name, line in self._lines.items():
            lane, is_slow = desk.lane(name), self._is_slow(name)
            beyond = [line.pop() for _ in range(len(line) - lane.length(is_slow))]
            surplus += [(one, lane.next_turn(desk.now, is_slow)) for one in reversed(beyond)]
        for document, after in surplus:
            desk.put_back(document, after)
        return len(surplus)

    def _is_slow(self, name: Line) -> bool:
        late = time.monotonic() - SLOW
        return name in self._troubled or any(f.line == name and f.started < late for f in self._flying.values())

    # ---- starting and landing ---------------------------------------------------------------------------------------
    def _start(self, desk: Desk, glance: Glance) -> bool:
        """Start as much as threads, window and connections allow, one line after the other. Whether any was."""
        started = False
        for name in list(self._lines):
            line, lane = self._lines[name], desk.lane(name)
            while line and self._may_start(name, lane) and lane.has_token(desk.now):
                started = self._launch(desk, glance, name, line.popleft()) or started
            self._lines.move_to_end(name)
            if not line:
                del self._lines[name]
        return started

    def _may_start(self, name: Line, lane: Lane) -> bool:
        if len(self._flying) >= self.threads or len(self._flying) + len(self._unsettled) >= self.window:
            return False
        if self._flights(name) and len(self._flying) >= self.threads - SPARE:
            return False
        return self._has_room(name, lane)

    def _has_room(self, name: Line, lane: Lane) -> bool:
        """Whether one more may be under way to this connection, threads and window aside."""
        is_slow = self._is_slow(name)
        if is_slow and self._slow_flights() >= SLOW_THREADS:
            return False
        return self._flights(name) < lane.at_once(is_slow)

    def _is_stuck(self, desk: Desk) -> bool:
        """Whether all that was taken waits for its own connection: a slow one keeps nobody else from their turn."""
        lanes = ((name, desk.lane(name)) for name in self._lines)
        return not any(self._has_room(name, lane) and lane.has_token(desk.now) for name, lane in lanes)

    def _flights(self, name: Line) -> int:
        return sum(1 for flight in self._flying.values() if flight.line == name)

    def _slow_flights(self) -> int:
        slow = {flight.line for flight in self._flying.values() if self._is_slow(flight.line)}
        return sum(1 for flight in self._flying.values() if flight.line in slow)

    def _launch(self, desk: Desk, glance: Glance, name: Line, document: Document) -> bool:
        ready = desk.prepare(document, glance)
        if ready is None:
            glance.forget()
            return False
        desk.lane(name).take()
        flight = self._pool.submit(desk.attempt, ready)
        self._flying[flight] = _Flight(name, time.monotonic())
        flight.add_done_callback(self._landed.put)
        return True

    def _land(self, patience: float) -> int:
        """Take in what has ended, after waiting so long for the first: how many."""
        ended: list[Future[Attempt]] = []
        with suppress(Empty):
            ended.append(self._landed.get(timeout=patience))
            while True:
                ended.append(self._landed.get_nowait())
        for future in ended:
            flight = self._flying.pop(future)
            attempt = future.result()
            lane = self.lanes.lane(flight.line)
            lane.took(time.monotonic() - flight.started)
            (self._troubled.add if attempt.outcome.kind == "retry" else self._troubled.discard)(flight.line)
            self._since = self._since if self._unsettled else time.monotonic()
            if lane.settings.in_order or attempt.outcome.kind != "done":
                self._since = float("-inf")  # what follows must know of it: the next one in line, the connection
            self._unsettled.append(attempt)
        return len(ended)
