"""M5: a million runs asleep. What an idle look costs, a thousand due in the same second, how late runs wake when a
hundred are due each second, what memory grows by, and the pages of runs. Beside APScheduler on SQL.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import signalbox, sleepers
from bench.harness import ROOT, Failed, folder, median, peers_python, spread
from bench.report import Report

ASLEEP = 1_000_000
DUE = 1_000
PEER_ASLEEP = 2_000  # jobs that sleep in the peer: each is added by a transaction of its own
LOOKS = 20


def measure(report: Report, rounds: int, asleep: int) -> None:
    report.title(f"M5  {asleep:,} runs asleep, {DUE:,} due in the same second")
    with folder() as data:
        report.note(f"made in {made(data, asleep):.0f} s, {size(data):,.0f} MB on disk")
        ours = worker(data, DUE)
        pages(report, data)
    more = [ours] + [again(asleep) for _ in range(rounds - 1)] if asleep <= ASLEEP // 10 else [ours]
    theirs = [peer(PEER_ASLEEP, DUE) for _ in range(rounds)]
    report.row("", "wakes/s", "us an idle look", "MB grown", "p99 ms late")
    report.row(
        "Signalbox",
        *(spread([one[name] for one in more]) for name in ("wakes", "us_idle", "mb", "late_p99")),
    )
    report.row("APScheduler on SQL", spread(theirs))
    report.note(f"APScheduler had {PEER_ASLEEP:,} more jobs asleep, not {asleep:,}: it adds them one by one")
    report.goal("wakes/s of APScheduler", median([one["wakes"] for one in more]) / median(theirs), 8.0)
    report.goal("memory that sleeping costs, MB", max(one["mb"] for one in more), 10.0, at_most=True)
    report.goal("p99 late at 100 wakes/s, ms", median([one["late_p99"] for one in more]), 100.0, at_most=True)


def made(data: Path, asleep: int) -> float:
    began = time.perf_counter()
    store = sleepers.SqliteStore(data / "store.db")
    sleepers.fill(store, asleep, DUE)
    store.close()
    return time.perf_counter() - began


def size(data: Path) -> float:
    return sum(path.stat().st_size for path in data.iterdir()) / 1e6


def again(asleep: int) -> dict[str, float]:
    with folder() as data:
        made(data, asleep)
        return worker(data, DUE)


def worker(data: Path, due: int) -> dict[str, float]:
    return _child([sys.executable, "-m", "bench.sleepers", str(data), str(due)])


def peer(asleep: int, due: int) -> float:
    with folder() as data:
        command = [peers_python(), "-m", "bench.peers.apscheduler_jobs", str(data), str(asleep), str(due)]
        found = _child(command)
    if found["done"] != due:
        raise Failed(f"APScheduler woke {found['done']} of {due} jobs")
    return found["wakes"]


def _child(command: list[str]) -> dict[str, float]:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise Failed(done.stderr.strip()[-500:] or done.stdout.strip()[-500:])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


# ---- pages ----------------------------------------------------------------------------------------------------------
def pages(report: Report, data: Path) -> None:
    """The pages of runs on the same folder, through the whole web application without a socket."""
    from app.services import build
    from app.settings import Settings
    from app.web import create_app

    services = build(Settings.from_env({**signalbox.environment(data, 0), "SIGNALBOX_DATA": str(data)}))
    try:
        client = create_app(services).test_client()
        run = services.store.find(sleepers.TENANT, "run", order="-created_at", limit=1).items[0]
        addresses = {
            "runs": "/runs",
            "runs of a state": "/runs?state=waiting",
            "runs of a rule and state": f"/runs?rule={run.body['rule_id']}&state=waiting",
            "one run": f"/runs/{run.id}",
            "its customer": f"/customers/{run.body['customer']}",
            "needs you": "/needs-you",
        }
        found = {name: _slowest(lambda address=address: client.get(address)) for name, address in addresses.items()}  # type: ignore[misc]
    finally:
        services.close()
    report.row("pages, ms (p95)", *(f"{name} {value:.0f}" for name, value in found.items()))
    report.goal("slowest page of runs, ms", max(found.values()), 100.0, at_most=True)


def _slowest(get: Callable[[], Any]) -> float:
    times = []
    for _ in range(LOOKS):
        began = time.perf_counter()
        answer = get()
        times.append((time.perf_counter() - began) * 1000)
        if answer.status_code != 200:
            raise Failed(f"a page answered {answer.status_code}")
    return sorted(times)[int(LOOKS * 0.95) - 1]
