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
# A quarter of a value an event was never heard before. It is a fifth in four months of a whole business with 300
# customers, counted from its first day; a test compares.
EACH = 8


def measure(report: Report, rounds: int, seconds: float) -> None:
    report.title(f"tokens  durable webhook answers with and without tokenising: a new customer every {EACH} events")
    report.goal("answers/s with tokens of without", _cost(report, rounds, seconds, EACH), 1 - MOST)
    report.title("tokens  the worst case: every event of a customer nobody has heard of, with 2 new personal values")
    report.goal("answers/s with tokens of without, all customers new", _cost(report, rounds, seconds, 1), 1 - MOST)


def _cost(report: Report, rounds: int, seconds: float, each: int) -> float:
    chosen: dict[str, Start] = {"with tokens": _without("nothing"), "without": _without("tokens")}
    found = compare(report, chosen, rounds, seconds, {}, each)
    _show(report, found, "without")
    ours, plain = found["with tokens"], found["without"]
    report.note(f"CPU us/event with tokens of without: {spread(ratios(ours.micros, plain.micros))}")
    return median(ratios(ours.per_second, plain.per_second))


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
