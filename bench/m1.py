"""M1 and M1b: durable answers to webhooks a second, against the naive way, the raw no-op, and with a slow disk."""

from __future__ import annotations

import hmac
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from bench import events, systems
from bench.harness import BENCH, Failed, Missing, folder, median, ratios, spread
from bench.report import Report
from bench.storm import Sender
from bench.systems import Running

Start = Callable[[Mapping[str, str]], AbstractContextManager[Running]]
OURS: Start = lambda env: systems.ours(env, worker=False)  # noqa: E731
NAIVE: Start = lambda env: systems.gunicorn("naive:app", env, "naive.db")  # noqa: E731
NOOP: Start = lambda env: systems.module("noop", env)  # noqa: E731
ONE_COMMIT: Start = lambda env: systems.module("one_commit", env, "one.db")  # noqa: E731
SLOW_MS = 5


@dataclass
class Figures:
    per_second: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    micros: list[float] = field(default_factory=list)


def measure(report: Report, rounds: int, seconds: float) -> None:
    report.title("M1  durable webhook answers: distinct signed 5 KB invoice events, 32 connections, synchronous=FULL")
    chosen = {"Signalbox": OURS, "naive Flask": NAIVE, "raw no-op": NOOP}
    found = compare(report, chosen, rounds, seconds, {})
    show(report, found)
    ours = found["Signalbox"]
    if naive := found.get("naive Flask"):
        report.goal("answers/s of naive", median(ratios(ours.per_second, naive.per_second)), 8.0)
        report.goal("p99 of naive", median(ratios(ours.p99, naive.p99)), 0.25, at_most=True)
    if noop := found.get("raw no-op"):
        parts = median(noop.micros) + floor_of_parts()
        report.goal("answers/s of no-op", median(ratios(ours.per_second, noop.per_second)), 0.12)
        report.note(f"sum of the parts (no-op + signature + JSON + batched insert): {parts:.0f} us CPU")
        report.goal("CPU of the sum of the parts", median(ours.micros) / parts, 3.5, at_most=True)


def measure_slow(report: Report, rounds: int, seconds: float) -> None:
    report.title(f"M1b the same with {SLOW_MS} ms added to every fsync: group commit against one commit each")
    with tempfile.TemporaryDirectory() as place:
        try:
            env = {"LD_PRELOAD": str(slow_fsync(Path(place))), "BENCH_FSYNC_MS": str(SLOW_MS)}
        except Missing as error:
            report.skip("slow disk", str(error))
            return
        found = compare(report, {"Signalbox": OURS, "one commit each": ONE_COMMIT}, rounds, seconds, env)
    show(report, found)
    ours, one = found["Signalbox"], found["one commit each"]
    report.goal("answers/s of one commit each", median(ratios(ours.per_second, one.per_second)), 8.0)


def compare(
    report: Report, chosen: Mapping[str, Start], rounds: int, seconds: float, env: Mapping[str, str], each: int = 1
) -> dict[str, Figures]:
    """Every server in turn, `rounds` times, each time with an empty data folder; every other round goes backwards, so
    that none always runs after the same one. each: how many events come of one customer."""
    figures = {name: Figures() for name in chosen}
    with folder() as place:
        sender = Sender(place, distinct=int(seconds * 60_000) + 5_000, each=each)
        report.note("sender: " + ("wrk" if sender.wrk else "our own, in Python; wrk would leave more to the no-op"))
        for turn in range(rounds):
            for name in list(figures)[:: -1 if turn % 2 else 1]:
                try:
                    one_round(chosen[name], figures[name], sender, seconds, env)
                except Missing as error:
                    report.skip(name, str(error))
                    del figures[name]
    return figures


def one_round(start: Start, figures: Figures, sender: Sender, seconds: float, env: Mapping[str, str]) -> None:
    sender.sign()
    with start(env) as server:
        before = server.cpu()
        storm = sender.run(server.port, seconds, int(seconds * 1500))
        micros = (server.cpu() - before) / storm.answered * 1e6
        check(server, storm.answered)
    figures.per_second.append(storm.per_second)
    figures.p50.append(storm.p50 * 1000)
    figures.p99.append(storm.p99 * 1000)
    figures.micros.append(micros)


def check(server: Running, answered: int) -> None:
    """Every event that was answered 2xx is durable; at most the requests in flight at the end are more."""
    stored = server.stored()
    if stored >= 0 and not answered <= stored <= answered + 64:
        raise Failed(f"{answered} events were answered 2xx and {stored} are stored")


def show(report: Report, figures: Mapping[str, Figures]) -> None:
    ours = figures["Signalbox"]
    report.row("", "answers/s", "ours is", "p50 ms", "p99 ms", "CPU us/event")
    for name, found in figures.items():
        ratio = "" if name == "Signalbox" else f"{spread(ratios(ours.per_second, found.per_second))} x"
        report.row(name, spread(found.per_second), ratio, spread(found.p50), spread(found.p99), spread(found.micros))


def slow_fsync(place: Path) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler or not Path("/proc").exists():
        raise Missing("it needs Linux and a C compiler")
    made = place / "slow_fsync.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", made, BENCH / "slow_fsync.c", "-ldl"], check=True)
    return made


def floor_of_parts(count: int = 4000) -> float:
    """CPU microseconds of checking the signature, parsing, and inserting in batches of 64, added up."""
    now = int(time.time())
    bodies = [events.body(number, now) for number in range(count)]
    signed = [events.signature(body, now) for body in bodies]
    began = time.process_time()
    for body, header in zip(bodies, signed, strict=True):
        digest = hmac.digest(events.SECRET.encode(), b"%d." % now + body, "sha256").hex()
        if not hmac.compare_digest(digest, header.rsplit("=", 1)[1]):
            raise Failed("the floor's own signature is wrong")
    rows = [(orjson.loads(body)["id"], body) for body in bodies]
    with folder() as place:
        database = sqlite3.connect(place / "floor.db", isolation_level=None)
        database.execute("pragma journal_mode=wal")
        database.execute("pragma synchronous=full")
        database.execute("create table event (id text primary key, body blob)")
        for start in range(0, count, 64):
            database.execute("begin")
            database.executemany("insert into event values (?, ?)", rows[start : start + 64])
            database.execute("commit")
        database.close()
    return (time.process_time() - began) / count * 1e6
