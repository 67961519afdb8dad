"""The systems that are compared, each as a context: started with an empty data folder, ready, stopped at the end."""

from __future__ import annotations

import contextlib
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench import events, signalbox
from bench.harness import BENCH, NODE_RED, Missing, Process, answers, folder, free_port, peers_python, running

GUNICORN = ("-m", "gunicorn", "-k", "gthread", "-w", "1", "--threads", "32", "--backlog", "512", "--log-level", "error")


@dataclass(frozen=True)
class Running:
    """port: where the webhook is. processes: what is measured. stored: how many events are durable there."""

    port: int
    processes: tuple[Process, ...]
    stored: Callable[[], int]

    def cpu(self) -> float:
        return sum(process.cpu() for process in self.processes)

    def memory(self) -> float:
        return sum(process.memory() for process in self.processes)


@contextlib.contextmanager
def gunicorn(app: str, env: Mapping[str, str] | None = None, table: str = "") -> Iterator[Running]:
    with folder() as data:
        port = free_port()
        command = [peers_python(), *GUNICORN, "-b", f"127.0.0.1:{port}", f"bench.peers.{app}"]
        with running(command, lambda: answers(port), {"BENCH_DATA": str(data), **(env or {})}) as process:
            yield Running(port, (process,), lambda: rows(data, table))


@contextlib.contextmanager
def module(name: str, env: Mapping[str, str] | None = None, table: str = "") -> Iterator[Running]:
    """A peer on the same server as Signalbox, in Signalbox's own environment."""
    with folder() as data:
        port = free_port()
        command = [sys.executable, "-m", f"bench.peers.{name}", str(port)]
        with running(command, lambda: answers(port), {"BENCH_DATA": str(data), **(env or {})}) as process:
            yield Running(port, (process,), lambda: rows(data, table))


def rows(data: Path, table: str) -> int:
    """Events in a peer's table; -1 where it keeps none."""
    if not table:
        return -1
    with contextlib.closing(sqlite3.connect(data / table)) as database:
        return int(database.execute("select count(*) from event").fetchone()[0])


@contextlib.contextmanager
def huey(env: Mapping[str, str]) -> Iterator[Running]:
    with folder() as data, ExitStack() as stack:
        env = {"BENCH_DATA": str(data), **env}
        port = free_port()
        worker = [peers_python(), "-m", "huey.bin.huey_consumer", "bench.peers.huey_tasks.huey"]
        consumer = Process([*worker, "-w", "8", "-k", "thread", "-q", "-d", "0.01", "-m", "0.05"], env)
        stack.callback(consumer.stop)
        web = [peers_python(), *GUNICORN, "-b", f"127.0.0.1:{port}", "bench.peers.huey_web:app"]
        process = stack.enter_context(running(web, lambda: answers(port) and consumer.alive(), env))
        yield Running(port, (process, consumer), lambda: -1)


@contextlib.contextmanager
def node_red(env: Mapping[str, str]) -> Iterator[Running]:
    if not NODE_RED.exists():
        raise Missing("Node-RED is not installed: `make bench` does it where npm is")
    with folder() as data:
        port = free_port()
        env = {
            "BENCH_DATA": str(data),
            "BENCH_PORT": str(port),
            "BENCH_FLOWS": str(BENCH / "peers" / "node_red_flows.json"),
            **env,
        }
        command = [str(NODE_RED), "--settings", str(BENCH / "peers" / "node_red_settings.js")]
        with running(command, lambda: answers(port, "/webhooks/stripe", "POST"), env) as process:
            yield Running(port, (process,), lambda: -1)


@contextlib.contextmanager
def ours(env: Mapping[str, str] | None = None, receiver: int = 0, worker: bool = True) -> Iterator[Running]:
    """Signalbox as `make run` starts it, or its web process alone; with a receiver also the twenty rules."""
    with folder() as data, signalbox.started(data, env or {}, worker) as (port, process):
        if receiver:
            signalbox.prepare(port, receiver, events.rules())
        yield Running(port, (process,), lambda: signalbox.stored(data))
