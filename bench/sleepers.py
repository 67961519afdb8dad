"""Runs asleep, made in bulk through the true store; and what a worker does with them, measured in its own process.

python -m bench.sleepers FOLDER DUE [SECONDS]     the figures of one worker on that folder, as JSON
"""

from __future__ import annotations

import gc
import json
import resource
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from app.adapters.sqlite_store import SqliteStore
from app.perform.waking import wake
from app.rulesets import RuleSets
from app.worker import BATCH, NAP
from rules.event import Event, iso
from rules.matcher import PythonMatcher
from rules.model import RuleVersion
from rules.ports import ABSENT, Put, Store
from rules.rule import parse
from rules.workflow import start

TENANT = "default/test"
BEGAN = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
DUE = BEGAN + timedelta(days=10)  # the second at which many are due at once
RULES = 50
TOGETHER = 5000  # runs of one fsync
LEAST = timedelta(days=20)  # everybody else sleeps at least so long
MADE_IN = timedelta(seconds=5)  # until the first is due: all have been written by then, and wait


def document(number: int) -> dict[str, Any]:
    return {
        "id": f"sleep-{number}",
        "name": f"Sleep {number}",
        "when": {"event": ["invoice.payment_failed"], "same": "invoice"},
        "steps": [
            {"name": "grace", "wait": {"for": "P10D"}},
            {"name": "tell", "do": "crm.notify", "with": {"connection": "crm", "stage": "At risk"}},
        ],
        "stop_when": [{"event": ["invoice.paid"], "same": "invoice"}],
    }


def fill(store: Store, asleep: int, due: int, now: datetime = BEGAN) -> None:
    """asleep runs, `due` of which wake at DUE and the others between twenty and sixty days later."""
    versions = []
    writes = [Put("tenant", TENANT, {"id": TENANT, "created_at": iso(now)})]
    store.commit("system", None, writes)
    for number in range(RULES):
        one = document(number)
        version = {"rule_id": one["id"], "number": 1, "document": one, "published_at": iso(now), "mode": "live"}
        rule = {"id": one["id"], "name": one["name"], "state": "live", "number": 1, "draft": None, "problems": 0}
        rule |= {"created_at": iso(now), "updated_at": iso(now), "live_from": iso(now), "paused_from": None}
        puts = [Put("rule_version", f"{one['id']}@1", version), Put("rule", one["id"], rule)]
        store.commit(TENANT, None, puts)
        versions.append(RuleVersion(TENANT, parse(one), 1, "live", ""))
    for first in range(0, asleep, TOGETHER):
        with store.batch():
            for puts in _hundreds(versions, range(first, min(first + TOGETHER, asleep)), due, asleep):
                store.commit(TENANT, None, puts)


def _hundreds(versions: list[RuleVersion], numbers: range, due: int, asleep: int) -> Iterator[list[Put]]:
    puts: list[Put] = []
    spread = timedelta(days=40) / max(1, asleep)
    for number in numbers:
        puts.append(_run(versions[number % RULES], number, DUE if number < due else BEGAN + LEAST + number * spread))
        if len(puts) == 100:
            yield puts
            puts = []
    if puts:
        yield puts


def _run(version: RuleVersion, number: int, due: datetime) -> Put:
    began = due - timedelta(days=10)
    thing = {"id": f"in_{number}", "object": "invoice", "amount_remaining": 4900, "currency": "usd"}
    event = Event(
        id=f"evt_{number}",
        type="invoice.payment_failed",
        tenant=TENANT,
        created=int(began.timestamp()),
        recorded=began,
        data={"id": f"evt_{number}", "type": "invoice.payment_failed", "data": {"object": thing}},
        correlation=f"in_{number}",
        partition=f"cus:cus_{number % 100_000}",
        keys=(f"cus:cus_{number % 100_000}", f"in:in_{number}"),
    )
    run = start(version, event, f"in:in_{number}", (event.id,), began).run
    return Put("run", run.id, run.body(), ABSENT)


# ---- one worker on it -----------------------------------------------------------------------------------------------
def measured(folder: Path, due: int, seconds: float = 5.0) -> dict[str, float]:
    """us_idle: CPU microseconds of a look when nothing is due. wakes: a second, of all that are due at once. mb: what
    the process grew by. late: milliseconds after its time at which a run had been moved, when a hundred are due each
    second: the 99th of a hundred, and the worst."""
    store = SqliteStore(folder / "store.db")
    rulesets = RuleSets(PythonMatcher())
    wake(store, rulesets, BEGAN)
    gc.collect()
    before = _resident()
    began = time.process_time()
    for _ in range(2000):
        wake(store, rulesets, BEGAN + timedelta(hours=1), BATCH)
    idle = (time.process_time() - began) / 2000 * 1e6
    started, moved = time.perf_counter(), 0
    while count := wake(store, rulesets, DUE, BATCH):
        moved += count
    took = time.perf_counter() - started
    if moved != due:
        raise SystemExit(f"{moved} runs were woken, not {due}")
    late = _lateness(store, rulesets, seconds)
    grown = _resident() - before
    store.close()
    return {"us_idle": idle, "wakes": due / took, "first_to_last": took, "mb": grown, **late}


def _lateness(store: SqliteStore, rulesets: RuleSets, seconds: float) -> dict[str, float]:
    """A hundred runs a second come due while the loop of the worker looks as it does. The clock runs as ours does,
    from an hour after DUE, so that nobody else is due."""
    count = int(seconds * 100)
    nearest = store.find(TENANT, "run", order="due_at", limit=count).items
    began = time.perf_counter()

    def now() -> datetime:
        return DUE + timedelta(hours=1, seconds=time.perf_counter() - began)

    origin = now() + MADE_IN
    dues = [origin + timedelta(milliseconds=10 * number) for number in range(len(nearest))]
    with store.batch():
        for found, at in zip(nearest, dues, strict=True):
            steps = {**found.body["steps"], "grace": {**found.body["steps"]["grace"], "until": iso(at)}}
            body = {**found.body, "due_at": iso(at), "steps": steps}
            store.commit(TENANT, None, [Put("run", found.id, body, found.version)])
    if now() > origin:
        raise SystemExit("writing them took longer than they sleep")
    done, late = 0, []
    while done < len(dues):
        moved = wake(store, rulesets, now(), BATCH)
        ended = now()
        late += [(ended - at) / timedelta(milliseconds=1) for at in dues[done : done + moved]]
        done += moved
        if not moved:
            time.sleep(NAP)
    late.sort()
    return {"late_p99": late[int(len(late) * 0.99) - 1], "late_worst": late[-1]}


def _resident() -> float:
    """Megabytes now (Linux), or at most so far."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 1e6
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


if __name__ == "__main__":
    print(json.dumps(measured(Path(sys.argv[1]), int(sys.argv[2]), float((sys.argv[3:] or ["5"])[0]))))
