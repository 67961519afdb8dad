"""`make bench`, or `python -m bench [--quick] [--only M1,M6] [--kills 30] [--rounds 3]`: the figures and their goals.

Every figure is checked as it is made: events accounted for, notices verified, every peer giving the same decisions.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from bench import attack, explain, m1, m1c, m2, m3, m4, m5, m6, m8, m9, tokens
from bench.harness import Failed, Missing
from bench.report import Report

NAMES = ("M1", "M1b", "M1c", "M2", "M3", "M4", "M5", "M6", "M8", "M9", "M10", "tokens", "explain", "attack")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="about two minutes: one round, few events, 5 kills")
    parser.add_argument("--only", default=",".join(NAMES), help="which, comma-separated: " + ", ".join(NAMES))
    parser.add_argument("--rounds", type=int, help="interleaved rounds (3; --quick 1)")
    parser.add_argument("--kills", type=int, help="kills of M6 (30; --quick 5; 200 at night)")
    parser.add_argument("--events", help="events of M2, comma-separated (2000,20000; --quick 400)")
    parser.add_argument("--asleep", type=int, help="sleeping runs of M5 (1000000; --quick 20000)")
    parser.add_argument("--json", type=Path, help="write the goals and their values here too")
    given = parser.parse_args()
    chosen = [name for name in NAMES if name.lower() in given.only.lower().split(",")]
    if not chosen:
        parser.error(f"--only takes some of {', '.join(NAMES)}")
    report = Report()
    report.machine()
    for name, run in plan(report, given).items():
        if name in chosen:
            attempt(report, name, run)
    if given.json:
        report.save(given.json)
    return 0 if report.end() else 1


def plan(report: Report, given: argparse.Namespace) -> dict[str, Callable[[], None]]:
    quick = given.quick
    rounds = given.rounds or (1 if quick else 3)
    kills = given.kills or (5 if quick else 30)
    counts = [int(text) for text in (given.events or ("400" if quick else "2000,20000")).split(",")]
    seconds = 2.0 if quick else 5.0

    def end_to_end() -> None:
        for count in counts:
            m2.measure(report, rounds, count, paced=60 if quick else 200 if count < 5000 else 0)

    return {
        "M1": lambda: m1.measure(report, rounds, seconds),
        "M1b": lambda: m1.measure_slow(report, rounds, seconds),
        "M1c": lambda: m1c.measure(report, rounds, seconds),
        "M2": end_to_end,
        "M3": lambda: m3.measure(report, rounds, m3.SIZES[:3] if quick else m3.SIZES, quick),
        "M4": lambda: m4.measure(report, rounds, m4.COUNT // 10 if quick else m4.COUNT),
        "M5": lambda: m5.measure(report, rounds, m5.ASLEEP // 50 if quick else given.asleep or m5.ASLEEP),
        "M6": lambda: m6.measure(report, kills),
        "M8": lambda: m8.measure(report, quick),
        "M9": lambda: m9.measure(report, max(rounds, 3), fresh=not quick),
        "M10": lambda: tokens.measure_together(report, rounds, seconds),
        "tokens": lambda: tokens.measure(report, max(rounds, 5) if not quick else rounds, seconds),
        "explain": lambda: explain.measure(report, rounds),
        "attack": lambda: attack.measure(report, rounds, 8.0 if not quick else 5.0),
    }


def attempt(report: Report, name: str, run: Callable[[], None]) -> None:
    try:
        run()
    except Missing as error:
        report.skip(name, str(error))
    except Failed as error:
        report.fail(name, str(error))


if __name__ == "__main__":
    sys.exit(main())
