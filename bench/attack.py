"""Attack: good webhooks' p99 beside bad signatures at the capacity for good ones, and beside slow senders."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from bench import systems
from bench.harness import ROOT, Failed, folder, median, quantile, send, spread
from bench.report import Report
from bench.storm import Sender

GOOD = 40.0  # good events a second meanwhile: three million a day
SLOW = 200  # slow senders, half of heads and half of bodies
WARM = 200  # events before anything is measured


def measure(report: Report, rounds: int, seconds: float) -> None:
    report.title(f"attack  good webhooks at {GOOD:.0f} a second, p99 quiet and under attack")
    capacity = measured_capacity(seconds)
    attacks: dict[str, Mapping[str, Any]] = {
        "bad signatures at the capacity": {"rate": capacity, "slow": 0},
        f"{SLOW} slow senders": {"rate": 0, "slow": SLOW},
        "both": {"rate": capacity, "slow": SLOW},
    }
    quiet: list[float] = []
    under: dict[str, list[float]] = {name: [] for name in attacks}
    answered: dict[str, list[float]] = {name: [] for name in attacks}
    for _ in range(rounds):
        with systems.ours({}, worker=False) as server:
            send(server.port, WARM, rate=GOOD * 2)
            start = WARM
            quiet.append(p99(server.port, start, seconds))
            for name, attack in attacks.items():
                start += int(GOOD * seconds) + 1
                found, came = beside(server.port, start, seconds, attack)
                under[name].append(found)
                answered[name].append(came)
    report.row("", "p99 ms", "of quiet", "bad ones answered/s")
    report.row("quiet", spread(quiet), "", "")
    for name, found in under.items():
        ratios = [one / still for one, still in zip(found, quiet, strict=True)]
        report.row(name, spread(found), spread(ratios), spread(answered[name]))
        report.goal(f"p99 beside {name}, of quiet", median(ratios), 3.0, at_most=True)
    report.note(f"the capacity for good ones, with nothing else to do: {capacity:,.0f} a second")


def measured_capacity(seconds: float) -> float:
    with folder() as place, systems.ours({}, worker=False) as server:
        sender = Sender(place, distinct=int(seconds * 20_000) + 5_000)
        return sender.run(server.port, seconds, int(seconds * 1500)).per_second


def p99(port: int, start: int, seconds: float) -> float:
    """Milliseconds. Every good event was answered 2xx, or the figure does not count."""
    return quantile(send(port, int(GOOD * seconds), start, GOOD, 8)["times"], 0.99) * 1000


def beside(port: int, start: int, seconds: float, attack: Mapping[str, Any]) -> tuple[float, float]:
    """(p99 in ms, bad requests that were answered a second)."""
    order = json.dumps({"port": port, "seconds": seconds + 3, **attack})
    command = [sys.executable, "-m", "bench.flood", order]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as attacker:
        try:
            send(port, int(GOOD), start + 900_000, GOOD, 8)  # the attack has begun by its end
            found = p99(port, start, seconds)
            said, _ = attacker.communicate(timeout=60)
        finally:
            attacker.kill()
    answers = json.loads(said)["answers"]
    if answers.get("200"):
        raise Failed("a bad signature was taken")
    return found, sum(count for name, count in answers.items() if name.isdigit()) / (seconds + 3)
