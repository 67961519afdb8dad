"""What tokenising personal values costs at receive: the same server with and without it, in turns."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping

from bench import signalbox
from bench.harness import answers, folder, free_port, median, ratios, running, spread
from bench.m1 import Start, compare
from bench.report import Report
from bench.systems import Running

MOST = 0.15  # of the throughput


def measure(report: Report, rounds: int, seconds: float) -> None:
    report.title("tokens  durable webhook answers with and without tokenising: 2 new personal values an event")
    chosen: dict[str, Start] = {"with tokens": _started("with"), "without": _started("without")}
    found = compare(report, chosen, rounds, seconds, {})
    ours, plain = found["with tokens"], found["without"]
    report.row("", "answers/s", "with is", "p50 ms", "p99 ms", "CPU us/event")
    for name, one in found.items():
        ratio = "" if name == "without" else f"{spread(ratios(ours.per_second, plain.per_second))} x"
        report.row(name, spread(one.per_second), ratio, spread(one.p50), spread(one.p99), spread(one.micros))
    report.goal("answers/s with tokens of without", median(ratios(ours.per_second, plain.per_second)), 1 - MOST)
    report.note(f"CPU us/event with tokens of without: {spread(ratios(ours.micros, plain.micros))}")


def _started(which: str) -> Start:
    @contextlib.contextmanager
    def start(env: Mapping[str, str]) -> Iterator[Running]:
        with folder() as data:
            port = free_port()
            settings = {**signalbox.environment(data, port), "SIGNALBOX_MATCHER": "python", **env}
            command = [sys.executable, "-m", "bench.peers.tokens_web", which]
            with running(command, lambda: answers(port, "/healthz"), settings) as process:
                yield Running(port, (process,), lambda: signalbox.stored(data))

    return start
