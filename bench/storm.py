"""The sender of M1: wrk where it is installed (it leaves most of the machine to the servers), else our own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench import events
from bench.harness import BENCH, Failed, quantile, send

CONNECTIONS = 32
THREADS = 2
OLDEST = 120  # seconds: a signature is refused when it is older than 300, and a run takes some


@dataclass(frozen=True)
class Storm:
    """What came of it: answers of 2xx a second, seconds of the 50th and 99th percentile."""

    answered: int
    seconds: float
    p50: float
    p99: float

    @property
    def per_second(self) -> float:
        return self.answered / self.seconds


class Sender:
    """Signs its events ahead, for every server to get the same. each: how many events come of one customer, one after
    the other. wrk: its path; None sends with our own. now: seconds since 1970."""

    def __init__(
        self,
        folder: Path,
        distinct: int,
        wrk: str | None = shutil.which("wrk"),
        now: Callable[[], float] = time.time,
        each: int = 1,
    ) -> None:
        self.wrk = wrk
        self._now = now
        self._distinct, self._each = distinct, each
        self._stamp = 0
        self._template, self._signatures = folder / "template", folder / "signatures"
        self.sign()

    def sign(self) -> None:
        """Sign again what is too old. It takes seconds of CPU, so a comparison does it before a server starts."""
        if self.wrk and self._now() - self._stamp > OLDEST:
            self._stamp = int(self._now())
            self._write()

    def run(self, port: int, seconds: float, count: int) -> Storm:
        """Storm a server: for `seconds` with wrk, with `count` events without it. Failed when it refused any."""
        return self._run_wrk(port, seconds) if self.wrk else self._run_own(port, count)

    def _write(self) -> None:
        text = "\1N\1".join(events.template(self._stamp)).replace(events.AMOUNT, "\1A\1")
        self._template.write_text(text.replace(events.CUSTOMER, "\1C\1"))
        width = events.WIDTH
        with self._signatures.open("w") as file:
            for number in range(self._distinct):
                customer = number // self._each
                body = events.body(number, self._stamp, customer)
                digest = events.signature(body, self._stamp).split("v1=")[1]
                file.write(f"{number:0{width}d} {events.amount(number)} {digest} {customer:0{width}d}\n")

    def _run_wrk(self, port: int, seconds: float) -> Storm:
        env = {
            "BENCH_TEMPLATE": str(self._template),
            "BENCH_SIGNATURES": str(self._signatures),
            "BENCH_STAMP": str(self._stamp),
            "BENCH_THREADS": str(THREADS),
        }
        command = [str(self.wrk), f"-t{THREADS}", f"-c{CONNECTIONS}", f"-d{seconds:.0f}s", "--timeout", "30s"]
        command += ["-s", str(BENCH / "webhooks.lua"), f"http://127.0.0.1:{port}/"]
        found = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, check=False)
        if "JSON{" not in found.stdout:
            raise Failed(f"wrk: {found.stdout[-300:]} {found.stderr[-300:]}")
        result = json.loads(found.stdout.split("JSON", 1)[1])
        if result["refused"] or result["broken"]:
            raise Failed(f"{result['refused']} answers were no 2xx, {result['broken']} were broken")
        if result["requests"] > self._distinct:
            raise Failed(f"{result['requests']} answers, but only {self._distinct} distinct events: sign more")
        return Storm(result["requests"], result["seconds"], result["p50"], result["p99"])

    def _run_own(self, port: int, count: int) -> Storm:
        result = send(port, count, connections=CONNECTIONS, each=self._each)
        return Storm(result["ok"], result["seconds"], quantile(result["times"], 0.5), quantile(result["times"], 0.99))
