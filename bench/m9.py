"""M9: how soon it answers: the web process from nothing to its first 200, and `make run` on a fresh copy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from bench import signalbox
from bench.harness import ROOT, Failed, Process, answers, call, folder, free_port, median, spread
from bench.report import Report


def measure(report: Report, rounds: int, fresh: bool) -> None:
    report.title("M9  start")
    with folder() as data:
        cold = [first_answer(data / str(number)) for number in range(rounds)]
        again = [first_answer(data / "0") for _ in range(rounds)]
    report.row("", "seconds to first 200")
    report.row("web, new data folder", spread(cold))
    report.row("web, same folder again", spread(again))
    report.goal("cold start of web, s", median(cold), 2.0, at_most=True)
    if not fresh:
        report.skip("make run on a fresh copy", "left out by --quick")
        return
    setup, start = fresh_copy()
    report.row("make run, fresh copy: set-up", f"{setup:.1f}", "(packages from the registry or pip's cache)")
    report.row("make run, fresh copy: start", f"{start:.1f}", "(packages there)")
    report.goal("make run beside downloads, s", start, 60.0, at_most=True)


def first_answer(data: Path) -> float:
    port = free_port()
    began = time.monotonic()
    process = Process([sys.executable, "main.py", "web"], signalbox.environment(data, port))
    try:
        return wait_for_page(port, process, began, 60)
    finally:
        process.stop()


def wait_for_page(port: int, process: Process, began: float, patience: float) -> float:
    while time.monotonic() - began < patience:
        if answers(port) and call(port, "/")[0] == 200:
            return time.monotonic() - began
        if not process.alive():
            break
        time.sleep(0.01)
    raise Failed(f"no first page: {process.tail()}")


def fresh_copy() -> tuple[float, float]:
    """Seconds that `make run` takes in a new clone to set up, and then, stopped and started again, to answer."""
    with folder() as place:
        copy = place / "signalbox"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(copy)], check=True)
        first = make_run(copy, 600)
        shutil.rmtree(copy / "data", ignore_errors=True)
        return first, make_run(copy, 60)


def make_run(copy: Path, patience: float) -> float:
    port = free_port()
    env = {**signalbox.environment(copy / "data", port), "VIRTUAL_ENV": "", "PATH": plain_path()}
    began = time.monotonic()
    process = Process(["make", "run"], env, copy)
    try:
        return wait_for_page(port, process, began, patience)
    finally:
        process.stop()


def plain_path() -> str:
    """The PATH without this project's own environment, as a stranger's shell has it."""
    own = str(Path(sys.prefix) / "bin")
    return os.pathsep.join(part for part in os.environ["PATH"].split(os.pathsep) if part != own)
