"""M2: end to end, from the signed webhook through twenty rules to the signed notice that the receiver verified."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from bench import events, systems
from bench.harness import Failed, Missing, call, median, quantile, ratios, receiver, send, spread, until
from bench.report import Report
from bench.systems import Running

Start = Callable[[int], AbstractContextManager[Running]]  # by the receiver's port
STALL = 60.0  # seconds without a new notice after which a system is given up
RATE = 20.0


def env(receiver: int) -> dict[str, str]:
    return {"BENCH_RECEIVER": f"http://127.0.0.1:{receiver}/notices"}


SYSTEMS: dict[str, Start] = {
    "Signalbox": lambda port: systems.ours(receiver=port),
    "DIY Flask + threads": lambda port: systems.gunicorn("diy:app", env(port)),
    "Node-RED": lambda port: systems.node_red(env(port)),
    "huey": lambda port: systems.huey(env(port)),
    "DBOS": lambda port: systems.gunicorn("dbos_web:app", env(port)),
}
GOALS = {"DIY Flask + threads": 1.0, "Node-RED": 1.0, "huey": 3.0, "DBOS": 10.0}


@dataclass
class Figures:
    per_second: list[float] = field(default_factory=list)
    micros: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)


def measure(report: Report, rounds: int, count: int, paced: int) -> None:
    """Every system in turn, `rounds` times; then at 20 a second for the latency."""
    report.title(f"M2  end to end, 20 rules, traces on: {count:,} events, half fire; {paced:,} more at 20 a second")
    figures = {name: Figures() for name in SYSTEMS}
    for _ in range(rounds):
        for name in list(figures):
            try:
                one_round(SYSTEMS[name], figures[name], count, paced)
            except Missing as error:
                report.skip(name, str(error))
                del figures[name]
            except Failed as error:
                report.fail(name, str(error))
                del figures[name]
    if "Signalbox" in figures:
        show(report, figures)


def one_round(start: Start, figures: Figures, count: int, paced: int) -> None:
    with receiver() as crm, start(crm) as system:
        before = system.cpu()
        sent = send(system.port, count)
        arrived = notices(crm, count)
        figures.per_second.append(count / (max(arrived.values()) - sent["began"]))
        figures.micros.append((system.cpu() - before) / count * 1e6)
        figures.memory.append(system.memory())
        latency(system, crm, count, paced, figures)


def latency(system: Running, crm: int, start: int, paced: int, figures: Figures) -> None:
    if not paced:
        return
    sent = dict(send(system.port, paced, start, RATE)["starts"])
    arrived = notices(crm, paced, start)
    times = [at - sent[int(event[-events.WIDTH :])] for (event, _), at in arrived.items() if number(event) >= start]
    figures.p50.append(quantile(times, 0.5) * 1000)
    figures.p99.append(quantile(times, 0.99) * 1000)


def number(event_id: str) -> int:
    return int(event_id[-events.WIDTH :])


def notices(crm: int, count: int, start: int = 0) -> dict[tuple[str, str], float]:
    """When each notice of everything sent so far arrived first; Failed unless they are exactly the right ones."""
    wanted = events.expected(start + count)
    progress = [0, time.monotonic()]

    def arrived() -> bool:
        found = call(crm, "/stats")[1]["count"]
        if found != progress[0]:
            progress[:] = [found, time.monotonic()]
        if time.monotonic() - progress[1] > STALL:
            raise Failed(f"stalled at {found} of {len(wanted)} notices")
        time.sleep(0.03)
        return bool(found >= len(wanted))

    until(arrived, 1800, lambda: "the notices did not come")
    stats = call(crm, "/stats?whole")[1]
    got = {(event, rule): at for event, rule, at in stats["notices"]}
    if set(got) != wanted or stats["bad"]:
        wrong = sorted(set(got) ^ wanted)[:3]
        raise Failed(f"wrong decisions: {wrong}, bad signatures: {stats['bad']}")
    return got


def show(report: Report, figures: dict[str, Figures]) -> None:
    ours = figures["Signalbox"]
    report.row("", "events/s", "ours is", "CPU us/event", "p50 ms", "p99 ms", "MB")
    for name, found in figures.items():
        report.row(
            name,
            spread(found.per_second),
            "" if name == "Signalbox" else f"{spread(ratios(ours.per_second, found.per_second))} x",
            spread(found.micros),
            spread(found.p50) if found.p50 else "",
            spread(found.p99) if found.p99 else "",
            f"{median(found.memory):.0f}",
        )
    for name, goal in GOALS.items():
        if name in figures:
            report.goal(f"{name}: events/s", median(ratios(ours.per_second, figures[name].per_second)), goal)
    if diy := figures.get("DIY Flask + threads"):
        report.goal("CPU of DIY", median(ratios(ours.micros, diy.micros)), 1.0, at_most=True)
        if ours.p50 and diy.p50:
            report.goal("p50 of DIY at 20/s", median(ratios(ours.p50, diy.p50)), 2.0, at_most=True)
            report.goal("p99 of DIY at 20/s", median(ratios(ours.p99, diy.p99)), 2.0, at_most=True)
    report.goal("memory of web + worker, MB", median(ours.memory), 250, at_most=True)
