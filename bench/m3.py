"""M3: what a decision costs: our two matchers, the whole `decide`, and the rule engines that one could pick instead."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import matching
from bench.harness import BENCH, ROOT, Failed, Missing, figure, folder, median, peers_python, spread
from bench.peers import matching as peers
from bench.report import Report
from rules.fields import Catalogue
from rules.lint import Lint
from rules.rule import parse

SIZES = (10, 100, 1_000, 10_000)
EVENTS = 100
NODE = "json-rules-engine (Node)"
NODE_MODULES = ROOT / ".bench-node" / "node_modules"
PEERS = (*peers.SYSTEMS, NODE)
WINDOWS = "decide, windows"
OURS = ("plain Python", "durable-rules", "decide", "decide, no trace")


@dataclass
class Figures:
    compile: float
    memory: float
    micros: list[float] = field(default_factory=list)


class Worker:
    """A system in a process of its own: rules compiled, waiting for its turn."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def ask(self) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write("turn\n")
        self._process.stdin.flush()
        return self.read()

    def read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            assert self._process.stderr is not None
            error = self._process.stderr.read().strip().splitlines()[-1:]
            absent = error and error[0].startswith(("ModuleNotFoundError", "ImportError"))
            raise (Missing if absent else Failed)(error[0] if error else "it ended without a word")
        return json.loads(line)

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()


def measure(report: Report, rounds: int, sizes: Sequence[int] = SIZES, quick: bool = False) -> None:
    made = matching.plain_events(EVENTS)
    size = sum(len(json.dumps(one, separators=(",", ":"))) for one in made) // len(made)
    title = f"M3  decision cost: us CPU an event, invoice events of {size:,} bytes, {len(matching.TYPES)} event types"
    report.title(title)
    with folder() as place:
        for count in sizes:
            rules = matching.plain_rules(count)
            found = compare(report, place, f"{count:,} rules", rules, made, rounds, [*OURS, *PEERS])
            goals(report, count, found)
        others(report, place, made, rounds)
        windows(report, place, made, rounds)
    linted(report, rounds)
    changed(report, rounds)
    steady(report, quick)


def changed(report: Report, rounds: int) -> None:
    """One rule of many changes: what has not changed is taken over, so nobody waits."""
    for count in (1_000, 10_000):
        rules = [parse(matching.document(rule)) for rule in matching.plain_rules(count)]
        began = time.process_time()
        before = matching.built(rules)
        whole = time.process_time() - began
        spent = []
        for number in range(rounds):
            other = parse({**rules[0].document, "name": f"change {number}", "only_if": {"all": []}})
            began = time.process_time()
            after = matching.built([other, *rules[1:]], before)
            spent.append((time.process_time() - began) * 1000)
            before.close()
            before = after
        before.close()
        report.note(
            f"one rule of {count:,} changes: {spread(spent)} ms of CPU; all of them at once {whole * 1000:,.0f} ms"
        )
        if count == 1_000:
            report.goal("one rule of 1,000 changes, ms", median(spent), 100, at_most=True)


def steady(report: Report, quick: bool) -> None:
    """Memory over a million decisions and ten thousand swaps, each in a process of its own."""
    for what, count in (("decisions", 50_000 if quick else 1_000_000), ("swaps", 300 if quick else 10_000)):
        command = [sys.executable, "-m", "bench.steady", what, str(count)]
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if ran.returncode:
            report.fail(f"{count:,} {what}", ran.stderr.strip().splitlines()[-1])
            continue
        found = json.loads(ran.stdout)
        report.note(f"{count:,} {what}: {json.dumps(found)}")
        report.goal(f"memory grown over {count:,} {what}, MB", found["end"] - found["warm"], 8, at_most=True)
        if what == "swaps":
            report.goal(f"wrong answers during {count:,} swaps", found["wrong"], 0, at_most=True)


def linted(report: Report, rounds: int) -> None:
    """Lint of 200 rules over 20 event types, half of whose actions are opposite to the other half's."""
    actions = ({"do": "stripe.cancel_subscription", "with": {}}, {"do": "stripe.pause_collection", "with": {}})
    documents = [matching.document(rule) for rule in matching.plain_rules(200)]
    for number, document in enumerate(documents):
        document["steps"] = [{"name": "act", **actions[number // len(matching.TYPES) % 2]}]
    rules = [parse(document) for document in documents]
    spent = []
    for _ in range(rounds):
        looked, began = Lint(rules, Catalogue.load()), time.process_time()
        found = looked.findings()
        spent.append(time.process_time() - began)
    report.note("")
    report.note(f"lint of 200 rules: {len(found)} findings, {looked.compared} pairs compared, {spread(spent)} s of CPU")
    report.goal("lint of 200 rules, s", median(spent), 1.0, at_most=True)


def others(report: Report, place: Path, made: list[Any], rounds: int) -> None:
    """The same 50 rules of one event type, alone and among 950 of other types."""
    kind = matching.TYPES[0]
    rules = matching.plain_rules(1_000)
    given = [{**one, "type": kind} for one in made]
    mine = [rule for rule in rules if rule["type"] == kind]
    alone = compare(report, place, f"{len(mine)} rules of one event type", mine, given, rounds, OURS)
    among = compare(report, place, f"the same among {len(rules):,} rules", rules, given, rounds, OURS)
    for name in OURS:
        if name in alone and name in among:
            ratio = median(among[name].micros) / median(alone[name].micros)
            report.goal(f"{name} among 950 other rules", ratio, 1.2, at_most=True)


def windows(report: Report, place: Path, made: list[Any], rounds: int) -> None:
    """Rules that count to two, and a customer whose 200 remembered events hold a twin of each: the answers stay."""
    name = WINDOWS
    rules = matching.plain_rules(20 * len(matching.TYPES))
    found = compare(report, place, "20 windowed rules an event type, 200 events", rules, made, rounds, [name])
    if name in found:
        report.goal("decide with a window of 200, ms", median(found[name].micros) / 1000, 1.0, at_most=True)


def compare(
    report: Report,
    place: Path,
    heading: str,
    rules: list[Any],
    given: list[Any],
    rounds: int,
    names: Sequence[str],
) -> dict[str, Figures]:
    """Every system builds, answers, and then takes turns, `rounds` each."""
    work = place / "work.json"
    work.write_text(json.dumps({"rules": rules, "events": given}))
    wanted = matching.expected(rules, given)
    found: dict[str, Figures] = {}
    with ExitStack() as stack:
        running = {}
        for name in names:
            try:
                worker = stack.enter_context(started(name, work))
                found[name] = ready(worker, wanted)
                running[name] = worker
            except Missing as error:
                report.skip(name, str(error))
            except Failed as error:
                report.fail(f"{name} at {heading}", str(error))
        for _ in range(rounds):
            for name, worker in running.items():
                found[name].micros.append(worker.ask()["micros"])
    show(report, heading, found)
    return found


@contextlib.contextmanager
def started(name: str, work: Path) -> Iterator[Worker]:
    worker = Worker(command_of(name, work))
    try:
        yield worker
    finally:
        worker.stop()


def command_of(name: str, work: Path) -> list[str]:
    if name in OURS or name == WINDOWS:
        return [sys.executable, "-m", "bench.matching", name, str(work)]
    if name != NODE:
        return [peers_python(), "-m", "bench.peers.matching", name, str(work)]
    node = shutil.which("node")
    if node is None or not (NODE_MODULES / "json-rules-engine").exists():
        raise Missing("json-rules-engine is not installed: `make bench` does it where npm is")
    return ["env", f"NODE_PATH={NODE_MODULES}", node, str(BENCH / "peers" / "json_rules.js"), str(work)]


def ready(worker: Worker, wanted: list[list[str]]) -> Figures:
    cost = worker.read()
    answers = worker.read()["answers"]
    if answers != wanted:
        wrong = sum(mine != right for mine, right in zip(answers, wanted, strict=True))
        raise Failed(f"{wrong} of {len(wanted)} answers are wrong")
    return Figures(cost["compile"], cost["memory"])


def show(report: Report, heading: str, found: dict[str, Figures]) -> None:
    report.note("")
    report.row(heading, "us CPU an event", "of plain Python", "compile, s", "memory, MB")
    base = found.get("plain Python")
    for name, one in found.items():
        ratio = f"{figure(median(one.micros) / median(base.micros))} x" if base else ""
        report.row(name, spread(one.micros), ratio, f"{one.compile:.2f}", f"{one.memory:.0f}")


def goals(report: Report, count: int, found: dict[str, Figures]) -> None:
    """Against the fastest peer of this run."""
    theirs = {name: median(one.micros) for name, one in found.items() if name in PEERS}
    if not theirs or count < 1_000:
        return
    fastest = min(theirs, key=lambda name: theirs[name])
    report.note(f"the fastest peer: {fastest}")
    if "durable-rules" in found:
        ratio = median(found["durable-rules"].micros) / theirs[fastest]
        report.goal(f"durable-rules of the fastest peer, {count:,}", ratio, 1.0, at_most=True)
    if "plain Python" in found:
        ratio = theirs[fastest] / median(found["plain Python"].micros)
        report.goal(f"plain Python faster than it, {count:,}", ratio, 5.0)
