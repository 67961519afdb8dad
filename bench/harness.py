"""Processes under measurement: start, wait until ready, CPU and memory of the group, stop; and plain statistics."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
BENCH = ROOT / "bench"
PEERS_PYTHON = ROOT / ".venv-bench" / "bin" / "python"
NODE_RED = ROOT / ".bench-node" / "node_modules" / ".bin" / "node-red"
TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class Missing(Exception):
    """Something a measurement needs is not installed; the message says how to have it."""


class Failed(Exception):
    """A measurement whose answers were wrong: its figure does not count."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Process:
    """A command with everything it starts, in a process group of its own."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str] | None = None, cwd: Path = ROOT) -> None:
        self.log = tempfile.NamedTemporaryFile(prefix="bench-", suffix=".log", delete=False)  # noqa: SIM115
        self._popen = subprocess.Popen(
            list(command),
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self._popen.pid

    def alive(self) -> bool:
        return self._popen.poll() is None

    def pids(self) -> list[int]:
        """The process and all that it started and that started (Linux); elsewhere only itself."""
        parents = {pid: parent for pid, parent, _ in _stats()}
        found = [self.pid]
        for pid in found:  # grows while it is walked
            found += [child for child, parent in parents.items() if parent == pid]
        return found

    def cpu(self) -> float:
        """Seconds of CPU of all of them so far, ended children included."""
        mine = set(self.pids())
        return sum(ticks for pid, _, ticks in _stats() if pid in mine) / TICK

    def memory(self) -> float:
        """Proportional resident megabytes of all of them."""
        return sum(_pss(pid) for pid in self.pids()) / 1024

    def kill(self, which: signal.Signals = signal.SIGKILL) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, which)

    def stop(self) -> None:
        started = self.pids()
        self.kill(signal.SIGTERM)
        try:
            self._popen.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()
            self._popen.wait()
        for pid in started:  # what a supervisor left behind
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if pid != self.pid:
                    os.kill(pid, signal.SIGKILL)
        self.log.close()
        Path(self.log.name).unlink(missing_ok=True)

    def wait(self) -> None:
        self._popen.wait()

    def tail(self) -> str:
        return Path(self.log.name).read_text(errors="replace")[-1500:]


def _stats() -> Iterator[tuple[int, int, int]]:
    """(pid, parent, CPU ticks with those of ended children) of every process; nothing where there is no /proc."""
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            rest = entry.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        yield int(entry.parent.name), int(rest[1]), sum(int(value) for value in rest[11:15])


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


@contextlib.contextmanager
def running(
    command: Sequence[str],
    ready: Callable[[], bool],
    env: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
    patience: float = 60,
) -> Iterator[Process]:
    """The process while it runs, from the moment it is ready."""
    process = Process(command, env, cwd)
    try:
        until(ready, patience, lambda: f"{command[0]} is not ready: {process.tail()}", process.alive)
        yield process
    finally:
        process.stop()


def until(
    done: Callable[[], bool], patience: float, problem: Callable[[], str], alive: Callable[[], bool] = lambda: True
) -> None:
    deadline = time.monotonic() + patience
    while not done():
        if time.monotonic() > deadline or not alive():
            raise Failed(problem())
        time.sleep(0.02)


def answers(port: int, path: str = "/healthz", method: str = "GET") -> bool:
    try:
        return call(port, path, method)[0] < 500
    except OSError:
        return False


def call(
    port: int, path: str, method: str = "GET", body: Any = None, headers: Mapping[str, str] | None = None
) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection):
        text = None if body is None else json.dumps(body)
        connection.request(method, path, text, {"Content-Type": "application/json", **(headers or {})})
        answer = connection.getresponse()
        raw = answer.read()
        kind = answer.headers.get_content_type()
        return answer.status, json.loads(raw) if kind.endswith("json") and raw else raw.decode(errors="replace")


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextlib.contextmanager
def receiver() -> Iterator[int]:
    port = free_port()
    with running([sys.executable, "-m", "bench.receiver", str(port)], lambda: answers(port, "/stats")):
        yield port


def send(
    port: int, count: int, start: int = 0, rate: float = 0.0, connections: int = 32, each: int = 1
) -> dict[str, Any]:
    """Run the sender in a process of its own; what it measured."""
    order = {"port": port, "count": count, "connections": connections, "start": start, "rate": rate, "each": each}
    found = subprocess.run(
        [sys.executable, "-m", "bench.load", json.dumps(order)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if found.returncode:
        raise Failed(f"the sender failed: {found.stderr[-800:]}")
    result: dict[str, Any] = json.loads(found.stdout)
    if result["refused"]:
        raise Failed(f"{result['refused']} of {count} events were refused")
    return result


def peers_python() -> str:
    if not PEERS_PYTHON.exists():
        raise Missing("the peers are not installed: `make bench` does it (bench/requirements.txt into .venv-bench)")
    return str(PEERS_PYTHON)


# ---- statistics -----------------------------------------------------------------------------------------------------
def quantile(values: Sequence[float], q: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def spread(values: Sequence[float]) -> str:
    """`1,234 (1,100-1,400)`: the median and the range of the rounds."""
    return f"{figure(median(values))} ({figure(min(values))}-{figure(max(values))})"


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Round by round, since both ran next to each other."""
    return [mine / other for mine, other in zip(ours, theirs, strict=True) if other]


def figure(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
