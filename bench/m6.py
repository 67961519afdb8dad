"""M6: nothing is lost. Processes are killed with -9 at random moments while events come in and notices go out.

The sender repeats what was not answered, as Stripe does. At the end every event that any try got a 2xx for is in the
store once, and the receiver has every notice that is owed, each under one id; repeats are counted.
"""

from __future__ import annotations

import contextlib
import http.client
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from bench import events, signalbox
from bench.harness import Failed, Process, answers, call, folder, free_port, median, receiver, until
from bench.report import Report

LEASE = 90  # seconds until an action whose worker was killed is due again
WINDOW = 16  # notices in flight: what one kill may repeat at most
SENDERS = 4
CALM = (0.4, 1.6)  # seconds between a restart and the next kill


class Sender:
    """Stripe: posts each event until it is answered 2xx, from a few threads, at a bounded rate."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._lock = threading.Lock()
        self._next = 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(SENDERS)]
        self.acknowledged: list[tuple[int, float]] = []

    def __enter__(self) -> Sender:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> int:
        """Send no new events, finish those begun; how many events there were."""
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
        return self._next

    def first_after(self, moment: float) -> float | None:
        with self._lock:
            return min((at for _, at in self.acknowledged if at > moment), default=None)

    def _run(self) -> None:
        connection: http.client.HTTPConnection | None = None
        while not self._stop.is_set():
            with self._lock:
                number = self._next
                self._next += 1
            while True:
                connection = connection or http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
                if self._post(connection, number):
                    break
                connection.close()
                connection = None
                self._stop.wait(0.02) if not self._stop.is_set() else time.sleep(0.02)
            self._stop.wait(0.01)

    def _post(self, connection: http.client.HTTPConnection, number: int) -> bool:
        now = int(time.time())
        content = events.body(number, now)
        headers = {"Content-Type": "application/json", "Stripe-Signature": events.signature(content, now)}
        try:
            connection.request("POST", "/webhooks/stripe", content, headers)
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            return False
        if answer.status < 300:
            with self._lock:
                self.acknowledged.append((number, time.monotonic()))
        return answer.status < 300


@contextlib.contextmanager
def system(data: Path, port: int) -> Iterator[dict[str, Process]]:
    """Web and worker as two processes, so that each can be killed alone."""
    processes = {name: start(data, port, name) for name in ("web", "work")}
    try:
        until(lambda: answers(port), 60, lambda: processes["web"].tail())
        yield processes
    finally:
        for process in processes.values():
            process.stop()


def start(data: Path, port: int, name: str) -> Process:
    return Process([sys.executable, "main.py", name], signalbox.environment(data, port))


def measure(report: Report, kills: int, seed: int = 7) -> None:
    report.title(f"M6  nothing lost: {kills} kills -9 of web, worker or both, at random moments")
    chance = random.Random(seed)
    port = free_port()
    restarts: list[float] = []
    with folder() as data, receiver() as crm, system(data, port) as processes:
        signalbox.prepare(port, crm, events.rules())
        with Sender(port) as sender:
            for _ in range(kills):
                time.sleep(chance.uniform(*CALM))
                restarts += kill(processes, data, port, chance, sender)
            time.sleep(1)
            count = sender.end()
        stats = drained(crm, sender, count)
        stored = signalbox.stored(data)
    judge(report, kills, sender, stored, stats, restarts)


def kill(processes: dict[str, Process], data: Path, port: int, chance: random.Random, sender: Sender) -> list[float]:
    """Kill one or both, start them again; seconds until the web's first 2xx when it was killed."""
    names = chance.choice((("web",), ("work",), ("web", "work")))
    for name in names:
        processes[name].kill(signal.SIGKILL)
        processes[name].wait()
    moment = time.monotonic()
    for name in names:
        processes[name].stop()
        processes[name] = start(data, port, name)
    if "web" not in names:
        return []
    until(lambda: sender.first_after(moment) is not None, 60, lambda: processes["web"].tail())
    return [float(sender.first_after(moment) or 0) - moment]


def drained(crm: int, sender: Sender, count: int) -> dict[str, object]:
    """The receiver's tally once every owed notice has come, or nothing has come for longer than a lease lasts."""
    owed = events.expected(count)
    seen = [0, time.monotonic()]

    def done() -> bool:
        found = call(crm, "/stats")[1]["count"]
        if found != seen[0]:
            seen[:] = [found, time.monotonic()]
        time.sleep(0.2)
        return bool(found >= len(owed) or time.monotonic() - seen[1] > LEASE + 30)

    until(done, 900, lambda: "the notices did not come")
    stats: dict[str, object] = call(crm, "/stats?whole")[1]
    got = {(event, rule) for event, rule, _ in stats["notices"]}  # type: ignore[attr-defined]
    return {**stats, "missing": sorted(owed - got), "extra": sorted(got - owed)}


def judge(
    report: Report, kills: int, sender: Sender, stored: int, stats: dict[str, object], restarts: list[float]
) -> None:
    answered = len({number for number, _ in sender.acknowledged})
    missing, extra = stats["missing"], stats["extra"]
    assert isinstance(missing, list)
    assert isinstance(extra, list)
    posts, distinct = int(str(stats["posts"])), int(str(stats["ids"]))
    lost = max(answered - stored, 0) + len(missing)
    report.row("", "events answered 2xx", "stored", "notices owed", "arrived", "repeats", "lost")
    owed = int(str(stats["count"])) + len(missing)
    report.row("Signalbox", *(f"{value:,}" for value in (answered, stored, owed, distinct, posts - distinct, lost)))
    report.row(
        "first 2xx after a kill of web, s", f"{median(restarts):.2f}" if restarts else "", f"max {max(restarts):.2f}"
    )
    if extra or stats["bad"] or distinct != int(str(stats["count"])):
        raise Failed(f"wrong notices: {extra[:3]}, bad signatures {stats['bad']}, {distinct} ids for {stats['count']}")
    report.goal("lost", lost, 0, at_most=True)
    report.goal("repeats a kill", (posts - distinct) / max(kills, 1), WINDOW, at_most=True)
    report.goal("first 2xx after a restart, s (worst)", max(restarts, default=0.0), 3.0, at_most=True)
