"""The report: plain tables on the terminal, and a last list of every goal with what was measured against it."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from bench.harness import figure


class Report:
    def __init__(self, write: Callable[[str], object] = print) -> None:
        self._write = write
        self.goals: list[dict[str, object]] = []
        self.skipped: list[str] = []
        self.failed: list[str] = []
        self._section = ""

    def machine(self) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
        self._write(f"{now} · Python {platform.python_version()} · {platform.system()} {platform.machine()} · "
                    f"{os.cpu_count()} cores · {cpu_model()} · load before {load}")  # fmt: skip
        self._write("Figures are medians of the rounds, with their range; ratios are taken round by round.")

    def title(self, text: str) -> None:
        self._section = text.split()[0]
        self._write("")
        self._write(text)

    def row(self, name: str, *cells: str) -> None:
        self._write(f"  {name:<34}" + "".join(f"{cell:>23}" for cell in cells).rstrip())
        sys.stdout.flush()

    def note(self, text: str) -> None:
        self._write(f"  {text}")

    def skip(self, name: str, why: str) -> None:
        if f"{self._section} {name}" not in self.skipped:
            self.skipped.append(f"{self._section} {name}")
            self.note(f"skipped {name}: {why}")

    def fail(self, name: str, why: str) -> None:
        self.failed.append(f"{self._section} {name}: {why}")
        self.note(f"INVALID {name}: {why}")

    def goal(self, name: str, value: float, wanted: float, at_most: bool = False) -> None:
        met = value <= wanted if at_most else value >= wanted
        self.goals.append(
            {"figure": f"{self._section} {name}", "value": value, "goal": wanted, "at_most": at_most, "met": met}
        )

    def end(self) -> bool:
        """Print every goal; True when all figures were valid."""
        self.title("Goals")
        for goal in self.goals:
            sign = "<=" if goal["at_most"] else ">="
            value, wanted = float(str(goal["value"])), float(str(goal["goal"]))
            verdict = "met" if goal["met"] else "NOT MET"
            self._write(f"  {goal['figure']!s:<52}{figure(value):>12}  {sign} {figure(wanted):<8} {verdict}")
        for text in self.failed:
            self._write(f"  INVALID {text}")
        for text in self.skipped:
            self._write(f"  not measured: {text}")
        return not self.failed

    def save(self, path: Path) -> None:
        path.write_text(json.dumps({"goals": self.goals, "skipped": self.skipped, "failed": self.failed}, indent=1))


def cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown CPU"
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
