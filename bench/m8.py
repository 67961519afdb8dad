"""M8: what an event, a run and an action cost on Google: documents read, written and deleted, counted where the real
client sends its requests to Google's emulator; and what a million events come to at list prices.

`python -m bench.m8` prints the tables of docs/scale.md, `--write` puts them there.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from app import emulators
from app.handle import handle
from app.perform.due import perform, wake
from app.worker import JOB_LOOK, Work
from bench.harness import Missing, free_port
from bench.report import Report
from rules.event import Event
from rules.ports import Delivery
from tests.builders import DAY, NOON, event
from tests.firestore_calls import Calls, recording_client
from tests.stories.world import LADDER, World, failed, paid

PAGE = Path(__file__).parents[1] / "docs" / "scale.md"
MINUTE = timedelta(minutes=1)
SPOKEN_FOR = 500  # events over which CPU is taken

# US dollars, list prices of us-central1 without free quotas and discounts, as Google's price pages had them
PRICED = "2026-11-23"
READ, WRITE, DELETE = 0.03 / 100_000, 0.09 / 100_000, 0.01 / 100_000  # Firestore, a document
RECEIVED = 0.00043  # CPU seconds of a webhook before its publish: M1's, with SQLite's commit in it
STORED = 0.15  # Firestore, a GiB and month
THROUGHPUT = 40.0 / 1024**4  # Pub/Sub, a byte published and again a byte delivered, each message at least 1,000
VCPU, MEMORY = 0.000018, 0.000002  # Cloud Run with its CPU always there, a second of one and of a GiB
REQUEST_VCPU, REQUEST_MEMORY, REQUEST = 0.000024, 0.0000025, 0.40 / 1e6  # Cloud Run by request
NOTHING = "An event that no rule reads"
COUNTS = "An event that counts and does not fire"
FIRES = "An event that fires, with one other in its window"
ACTION = "An action: claimed, checked, done, its run moved on"
WAIT = "A run whose wait is over"
LOOKS = 4  # a second, at what is due, here; true loops look more often and ask as often
# of a thousand events: how many change nothing, count without firing, fire, and how many actions one that fires takes
MIX = {"nothing": 900, "counts": 90, "fires": 10, "actions": 2}


@dataclass(frozen=True, slots=True)
class Cost:
    """What one of something costs. stored: bytes of documents as they are sent."""

    what: str
    reads: int
    writes: int
    deletes: int
    stored: int = 0

    @property
    def row(self) -> str:
        return f"| {self.what} | {self.reads} | {self.writes} | {self.deletes} |"

    @property
    def dollars(self) -> float:
        return self.reads * READ + self.writes * WRITE + self.deletes * DELETE


# ---- counting -------------------------------------------------------------------------------------------------------
class Counting:
    """The ladder of the README on a Firestore whose client's requests are counted."""

    def __init__(self, client: Any, calls: Calls) -> None:
        from app.adapters.firestore import FirestoreStore

        self.calls = calls
        self.world = World(opened=lambda: FirestoreStore(client, patience=60.0))
        self.world.publish(LADDER)
        self.costs: list[Cost] = []
        self.deliver(event("evt_warm", "customer.created", {"id": "cus_0", "object": "customer"}))

    def deliver(self, found: Event) -> None:
        s, now = self.world.services, self.world.clock.now()
        (said,) = handle([Delivery("1", found, 1)], s.store, s.rulesets, s.tracer, now)
        if said.kind != "done":
            raise AssertionError(said)

    def wake(self) -> None:
        s = self.world.services
        if wake(s.store, s.rulesets, self.world.clock.now()) != 1:
            raise AssertionError("not one run was woken")

    def perform(self) -> None:
        s = self.world.services
        now, lanes = self.world.clock.now(), self.world.lanes
        done = perform(s.store, s.rulesets, s.connectors, s.tracer, now, limit=1, lanes=lanes)
        if done != 1:
            raise AssertionError(f"{done} actions were done, not one")

    def count(self, what: str, body: Callable[[], object]) -> Cost:
        with self.calls.counted() as found:
            body()
        self.costs.append(Cost(what, found.reads, found.writes, found.deletes, found.stored))
        return self.costs[-1]


def every_cost(client: Any, calls: Calls) -> list[Cost]:
    """Each thing that costs, once, on an empty database."""
    c = Counting(client, calls)
    other = event("evt_other", "customer.updated", {"id": "cus_1", "object": "customer"})
    c.count(NOTHING, lambda: c.deliver(other))
    c.count(COUNTS, lambda: c.deliver(failed(1, NOON)))
    c.count(FIRES, lambda: c.deliver(failed(2, NOON)))
    c.count(ACTION, c.perform)
    c.world.clock.set(NOON + 2 * DAY)
    c.count(WAIT, c.wake)
    c.perform()  # the downgrade, which decides and issues the last notice
    c.perform()
    for number in range(1, 21):
        c.deliver(failed(number, NOON + 2 * DAY, "sub_9"))
    many = c.count("An event in whose window are 20 others", lambda: c.deliver(failed(21, NOON + 2 * DAY, "sub_9")))
    c.costs[-1] = replace(many, what="An event in whose window are 20 others, without these", reads=many.reads - 20)
    c.count("An event that stops a run", lambda: c.deliver(paid(NOON + 2 * DAY, "sub_9")))
    c.costs.append(idle_hour(client, calls, c.world))
    return c.costs


def idle_hour(client: Any, calls: Calls, world: World) -> Cost:
    """A worker with nothing to do, at the pace of its loops: a minute of it is counted."""
    from app.adapters.firestore import FirestoreStore
    from app.backends import IDLE

    store = FirestoreStore(client, patience=60.0, worker="worker", idle=IDLE)
    work = Work(replace(world.services, store=store))
    start = world.clock.now() + DAY
    for one in ("run", "command"):
        store.claim(one, start - MINUTE, MINUTE, 100)
    with calls.counted() as found:
        for look in range(60 * LOOKS):
            now = start + timedelta(seconds=look / LOOKS)
            work.wake_due(now)
            work.perform_due(now)
            if look % int(LOOKS * JOB_LOOK["google"]) == 0:
                work.job_due(now)
        work.announce(now)
        work.schedule(now)
    return Cost("An hour of a worker with nothing to do", found.reads * 60, found.writes * 60, found.deletes * 60)


def table(costs: list[Cost]) -> str:
    head = "| | documents read | written | deleted |\n|---|---|---|---|"
    return "\n".join([head, *(cost.row for cost in costs)])


# ---- what a million events come to ----------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Spent:
    """Of one event on the way: CPU seconds of the web process (to publish it) and of a worker (to handle it, and to do
    an action), bytes of its message, and of its documents without indexes."""

    publish: float
    handle: float
    act: float
    message: int
    document: int


def million(costs: list[Cost], spent: Spent) -> list[tuple[str, str, float]]:
    """(what, how much, dollars) of a million events of the mix."""
    by = {cost.what: cost for cost in costs}
    share = {name: count / 1000 for name, count in MIX.items()}
    parts = [
        (by[NOTHING], share["nothing"]),
        (by[COUNTS], share["counts"]),
        (by[FIRES], share["fires"]),
        (by[ACTION], share["fires"] * MIX["actions"]),
        (by[WAIT], share["fires"]),
    ]
    reads = sum(cost.reads * often for cost, often in parts) * 1e6
    writes = sum(cost.writes * often for cost, often in parts) * 1e6
    stored = sum(cost.stored * often for cost, often in parts) * 1e6 / 1024**3
    sent = 2 * max(spent.message, 1_000) * 1e6
    worker = (spent.handle + spent.act * share["fires"] * MIX["actions"]) * 1e6
    web = (RECEIVED + spent.publish) * 1e6
    return [
        ("Firestore reads", f"{reads / 1e6:.2f} million", reads * READ),
        ("Firestore writes", f"{writes / 1e6:.2f} million", writes * WRITE),
        ("Firestore storage, a month", f"{stored:.1f} GiB, and as much in indexes", 2 * stored * STORED),
        ("Pub/Sub, published and delivered once", f"{sent / 1024**3:.1f} GiB", sent * THROUGHPUT),
        ("Cloud Run, web: requests", "1 million", 1e6 * REQUEST),
        ("Cloud Run, web: CPU at work", f"{web:,.0f} s", web * (REQUEST_VCPU + REQUEST_MEMORY / 2)),
        ("Cloud Run, worker: CPU at work", f"{worker:,.0f} s", worker * (VCPU + MEMORY)),
    ]


def priced(rows: list[tuple[str, str, float]], idle: Cost) -> str:
    head = "| a million events | how much | US dollars |\n|---|---|---|"
    total = sum(dollars for _, _, dollars in rows)
    month = 730 * 3600 * (VCPU + MEMORY)
    lines = [f"| {what} | {much} | {dollars:.2f} |" for what, much, dollars in rows]
    lines.append(f"| **together** | | **{total:.2f}** |")
    lines.append(f"| beside it, a month: one worker always there (1 vCPU, 1 GiB) | 730 h | {month:.2f} |")
    lines.append(f"| beside it, a month: what that worker asks Firestore when idle | | {idle.dollars * 730:.2f} |")
    return "\n".join([head, *lines])


def needs(spent: Spent, costs: list[Cost]) -> str:
    """What so many events a second take: by measured CPU, each process at six tenths of its core."""
    by = {cost.what: cost for cost in costs}
    acting = MIX["fires"] / 1000 * MIX["actions"]
    writes = (MIX["nothing"] * by[NOTHING].writes + MIX["counts"] * by[COUNTS].writes) / 1000 + acting * 5
    lines = ["| events a second | web instances | workers | Firestore writes a second |", "|---|---|---|---|"]
    for rate in (10, 1_000, 10_000):
        web = max(1, -(-rate * (RECEIVED + spent.publish) // 0.6))
        workers = max(1, -(-rate * (spent.handle + acting * spent.act) // 0.6))
        lines.append(f"| {rate:,} | {web:,.0f} | {workers:,.0f} | {rate * writes:,.0f} |")
    return "\n".join(lines)


def spent_on(client: Any, calls: Calls, count: int) -> Spent:
    """CPU of this process, which is the client of both emulators."""
    c = Counting(client, calls)
    thing = {"id": "cus_1", "object": "customer"}
    others = [event(f"evt_o{number}", "customer.updated", thing) for number in range(count)]
    with calls.counted() as found:
        handling = _cpu(lambda: [c.deliver(one) for one in others]) / count
    acts = 20
    for number in range(acts):
        c.deliver(failed(1, NOON, f"sub_{number}"))
        c.deliver(failed(2, NOON, f"sub_{number}"))
    acting = _cpu(lambda: [c.perform() for _ in range(acts)]) / acts
    publishing, size = publishing_cpu(count)
    return Spent(publishing, handling, acting, size, found.stored // count)


def publishing_cpu(count: int) -> tuple[float, int]:
    """(CPU seconds, bytes) of a message of the benchmark's events, sixteen waiting at once as in the web process."""
    import json
    from concurrent.futures import ThreadPoolExecutor

    from app.adapters import pubsub_topics
    from app.adapters.pubsub import PubSubBus
    from bench import events

    names = pubsub_topics.names(f"bench-{uuid.uuid4().hex[:8]}")
    publisher, subscriber = pubsub_topics.clients()
    pubsub_topics.create(publisher, subscriber, names)
    bus = PubSubBus(publisher, names.topic)
    created = int(NOON.timestamp())
    bodies = [json.loads(events.body(number, created)) for number in range(count)]
    made = [replace(event(body["id"], body["type"]), data=body) for body in bodies]
    bus.publish(made[0])
    with ThreadPoolExecutor(16) as pool:
        cpu = _cpu(lambda: list(pool.map(bus.publish, made))) / count
    publisher.stop()
    subscriber.close()
    return cpu, len(json.dumps(made[0].to_cloudevent()))


def _cpu(body: Callable[[], object]) -> float:
    before = time.process_time()
    body()
    return time.process_time() - before


# ---- running it -----------------------------------------------------------------------------------------------------
@contextmanager
def emulated() -> Iterator[None]:
    """Both emulators, where they do not run yet. Raises Missing."""
    started = []
    try:
        for which, variable in emulators.VARIABLES.items():
            if not os.environ.get(variable):
                port = free_port()
                process = subprocess.Popen(
                    emulators.command(which, port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )
                started.append((process, variable))
                emulators.wait_for(port, process)
                os.environ[variable] = f"127.0.0.1:{port}"
        yield
    except emulators.Missing as error:
        raise Missing(str(error)) from error
    finally:
        for process, variable in started:
            os.environ.pop(variable, None)
            process.terminate()
            process.wait(10)


@contextmanager
def database() -> Iterator[tuple[Any, Calls]]:
    client, calls = recording_client(f"bench-{uuid.uuid4().hex[:8]}", os.environ["FIRESTORE_EMULATOR_HOST"])
    try:
        yield client, calls
    finally:
        client.close()


def tables(count: int = SPOKEN_FOR) -> tuple[dict[str, str], list[Cost], Spent]:
    """The tables of docs/scale.md by name."""
    with database() as (client, calls):
        costs = every_cost(client, calls)
    with database() as (client, calls):
        spent = spent_on(client, calls, count)
    found = {
        "counted": table(costs),
        "priced": priced(million(costs, spent), costs[-1]),
        "needed": needs(spent, costs),
    }
    return found, costs, spent


def written(page: str, found: dict[str, str]) -> str:
    """The page with these tables between their marks."""
    for name, text in found.items():
        head, _, rest = page.partition(f"<!-- {name} -->")
        _, _, tail = rest.partition(f"<!-- /{name} -->")
        page = f"{head}<!-- {name} -->\n{text}\n<!-- /{name} -->{tail}"
    return page


def measure(report: Report, quick: bool) -> None:
    report.title("M8  what it costs on Google")
    with emulated():
        _, costs, spent = tables(100 if quick else SPOKEN_FOR)
    report.row("", "read", "written", "deleted")
    for cost in costs:
        report.row(cost.what, str(cost.reads), str(cost.writes), str(cost.deletes))
    report.note(
        f"CPU us: publish {spent.publish * 1e6:.0f}, handle {spent.handle * 1e6:.0f}, an action {spent.act * 1e6:.0f};"
        f" message {spent.message:,} bytes, event document {spent.document:,} bytes"
    )
    for what, much, dollars in million(costs, spent):
        report.row(what, much, f"${dollars:.2f}")
    nothing = next(cost for cost in costs if cost.what == NOTHING)
    report.goal("documents read, no match", nothing.reads, 2, at_most=True)
    report.goal("documents written, no match", nothing.writes, 2, at_most=True)
    fires = next(cost for cost in costs if cost.what == FIRES)
    beyond = next(cost for cost in costs if cost.what.endswith("without these"))
    report.goal("reads beyond the window, 20 against 1", beyond.reads, fires.reads - 1, at_most=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.m8", description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/scale.md")
    given = parser.parse_args()
    with emulated():
        found, _, spent = tables()
    if given.write:
        PAGE.write_text(written(PAGE.read_text(), found))
    print("\n\n".join(found.values()), spent, sep="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
