"""What safety costs at receive: the same server with and without it, in turns. Tokens alone, and (M10) tokens, schema
check and tracing together."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping

from bench import signalbox
from bench.harness import answers, folder, free_port, median, ratios, running, spread
from bench.m1 import Figures, Start, compare
from bench.report import Report
from bench.systems import Running

MOST = 0.15  # of the throughput
MOST_TOGETHER = 0.25


def measure(report: Report, rounds: int, seconds: float) -> None:
    report.title("tokens  durable webhook answers with and without tokenising: 2 new personal values an event")
    chosen: dict[str, Start] = {"with tokens": _without("nothing"), "without": _without("tokens")}
    found = compare(report, chosen, rounds, seconds, {})
    _show(report, found, "without")
    ours, plain = found["with tokens"], found["without"]
    report.goal("answers/s with tokens of without", median(ratios(ours.per_second, plain.per_second)), 1 - MOST)
    report.note(f"CPU us/event with tokens of without: {spread(ratios(ours.micros, plain.micros))}")


def measure_together(report: Report, rounds: int, seconds: float) -> None:
    report.title("M10 durable webhook answers with tokens, schema check and tracing, and without: what safety costs")
    chosen = {
        "all on": _without("nothing"),
        "without tokens": _without("tokens"),
        "without schema check": _without("schema"),
        "without tracing": _without("tracing"),
        "all off": _without("tokens,schema,tracing"),
    }
    found = compare(report, chosen, rounds, seconds, {})
    _show(report, found, "all off")
    ours, plain = found["all on"], found["all off"]
    of_plain = median(ratios(ours.per_second, plain.per_second))
    report.goal("answers/s with all on of all off", of_plain, 1 - MOST_TOGETHER)
    report.note(f"CPU us/event with all on of all off: {spread(ratios(ours.micros, plain.micros))}")


def _show(report: Report, found: Mapping[str, Figures], plain: str) -> None:
    report.row("", "answers/s", f"of {plain}", "p50 ms", "p99 ms", "CPU us/event")
    for name, one in found.items():
        ratio = "" if name == plain else f"{spread(ratios(one.per_second, found[plain].per_second))} x"
        report.row(name, spread(one.per_second), ratio, spread(one.p50), spread(one.p99), spread(one.micros))


def _without(parts: str) -> Start:
    @contextlib.contextmanager
    def start(env: Mapping[str, str]) -> Iterator[Running]:
        with folder() as data:
            port = free_port()
            settings = {**signalbox.environment(data, port), "SIGNALBOX_MATCHER": "python", **env}
            command = [sys.executable, "-m", "bench.peers.safety_web", parts]
            with running(command, lambda: answers(port, "/healthz"), settings) as process:
                yield Running(port, (process,), lambda: signalbox.stored(data))

    return start
