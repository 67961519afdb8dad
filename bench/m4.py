"""M4: a backtest of a five-step rule over a million recorded events, of which a tenth are of types that it reads.

The store is made in bulk, with whole documents. What is timed is what the command does, in a process of its own and on
one thread: with columns still to be filed (once after an import), and with columns. The rows of a part of the history
are compared with those of the plain way, which reads whole documents and decides about every event.
"""

from __future__ import annotations

import json
import random
import resource
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from app.adapters.documents import encode, searched
from app.adapters.sqlite_columns import SqliteColumns
from app.adapters.sqlite_schema import TABLES, ListTable, marks, names
from app.adapters.sqlite_store import SqliteStore
from app.inquire import backtests
from app.inquire.columns import History
from app.services import catalogue
from bench import events
from bench.harness import ROOT, Failed, folder, median, spread
from bench.report import Report
from rules.backtest import Backtest, backtest
from rules.event import Event, iso, seconds
from rules.matcher import PythonMatcher
from rules.model import RuleVersion
from rules.rule import parse

TENANT = "default/test"
COUNT = 1_000_000
BATCH = 5_000
DAYS = 180
START = 1_780_000_000
READ = 10  # per cent of the events that are of types the rule reads
OTHERS = ("charge.succeeded", "customer.updated", "payment_intent.created", "invoice.created", "charge.updated")
RULE: dict[str, Any] = {
    "id": "two-failed-payments",
    "name": "Two failed payments in 7 days",
    "when": {"event": ["invoice.payment_failed"], "at_least": 2, "within": "P7D", "same": "subscription"},
    "only_if": {
        "all": [
            {"field": "data.object.billing_reason", "is": "equal to", "value": "subscription_cycle"},
            {"field": "data.object.amount_remaining", "is": "greater than", "value": 0},
        ]
    },
    "steps": [
        {"name": "tell", "do": "crm.notify", "with": {"connection": "crm"}},
        {"name": "two-days", "wait": {"for": "PT48H"}},
        {"name": "remind", "do": "crm.notify", "with": {"connection": "crm", "stage": "reminded"}},
        {"name": "a-week", "wait": {"for": "P7D"}},
        {"name": "downgrade", "do": "crm.notify", "with": {"connection": "crm", "stage": "lost"}},
    ],
    "stop_when": [{"event": ["invoice.paid"], "same": "subscription"}],
    "again": {"while_open": False, "after": "P30D"},
}


def measure(report: Report, rounds: int, count: int = COUNT) -> None:
    report.title("M4  backtest of a five-step windowed rule")
    with folder() as data:
        took = build(data, count)
        report.note(f"{count:,} events, {READ} % of types that the rule reads, made in {took:.0f} s; one thread")
        first = run(data)
        found = [run(data) for _ in range(rounds)]
        if len({one["digest"] for one in [first, *found]}) != 1:
            raise Failed("two runs over the same history differ")
        if not found[0]["runs"]:
            raise Failed("the rule matched nothing")
        compared = check(data, count)
    report.row("", "history events/s", "per CPU second", "peak MB", "grown MB")
    tell(report, "columns to be filed first", [first], count)
    tell(report, "with columns", found, count)
    whole = found[0]
    report.note(
        f"{whole['runs']:,} runs; {whole['decided']:,} of {whole['events']:,} events read had to be decided about; "
        f"{compared:,} rows of a part compared with the plain way, none different"
    )
    report.goal("history events/s", median([count / one["seconds"] for one in found]), 100_000)
    report.goal("history events a CPU second", median([count / one["cpu"] for one in found]), 100_000)
    report.goal("peak MB", max(one["peak"] for one in found), 250, at_most=True)


def tell(report: Report, name: str, found: list[dict[str, Any]], count: int) -> None:
    rates = [count / one["seconds"] for one in found]
    cpu = [count / one["cpu"] for one in found]
    report.row(
        name,
        spread(rates),
        spread(cpu),
        spread([one["peak"] for one in found]),
        spread([one["peak"] - one["before"] for one in found]),
    )


# ---- the history ----------------------------------------------------------------------------------------------------
def build(data: Path, count: int) -> float:
    """Fill a store, its indexes last; the seconds it took."""
    started = time.monotonic()
    SqliteStore(data / "store.db").close()
    connection = sqlite3.connect(data / "store.db", isolation_level=None)
    connection.execute("PRAGMA synchronous=OFF")
    for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE name GLOB 'ix_event__*'").fetchall():
        connection.execute(f"DROP INDEX {name}")
    (keys,) = TABLES["event"].lists
    connection.execute(f"CREATE TEMP TABLE loose ({names(keys.columns)})")
    made = enumerate(history(count), 1)
    while batch := list(islice(made, BATCH)):
        connection.execute("BEGIN")
        fill(connection, keys, batch)
        connection.execute("COMMIT")
    sql = f"INSERT INTO {keys.table} SELECT * FROM loose ORDER BY tenant, keys, created, id"
    connection.execute(sql)
    connection.execute("UPDATE meta SET value = '' WHERE name = 'declared'")  # so that the next start makes the indexes
    connection.close()
    SqliteStore(data / "store.db").close()
    return time.monotonic() - started


def fill(connection: sqlite3.Connection, keys: ListTable, batch: list[tuple[int, dict[str, Any]]]) -> None:
    table = TABLES["event"]
    rows, loose = [], []
    for number, one in batch:
        id = one["event"]["id"]
        rows.append((TENANT, id, number, *searched(table.kind, one), encode(one)))
        loose += keys.rows(TENANT, id, number, one)
    connection.executemany(table.insert, rows)
    connection.executemany(f"INSERT INTO loose VALUES ({marks(len(keys.columns))})", loose)


def history(count: int) -> Iterator[dict[str, Any]]:
    """Documents of the log, a few a minute over half a year; the customers' failures come in no order."""
    chance = random.Random(4)
    people = max(count // 50, 1)
    small = {"livemode": False, "api_version": "2026-10-28.endive", "pending_webhooks": 1}
    for number in range(count):
        created = START + number * DAYS * 86400 // count
        who = chance.randrange(people)
        if number % 100 < READ:
            type = "invoice.payment_failed" if chance.random() < 0.6 else "invoice.paid"
            envelope = {**orjson.loads(events.body(number, START)), "created": created}
            thing = envelope["data"]["object"]
            thing["customer"] = f"cus_{who}"
            thing["parent"]["subscription_details"]["subscription"] = f"sub_{who}"
            keys = (f"cus:cus_{who}", f"sub:sub_{who}", f"in:{thing['id']}", "acct:default")
            envelope["type"] = type
        else:
            type = OTHERS[number % len(OTHERS)]
            thing = {"id": f"obj_{number}", "object": type.split(".")[0], "customer": f"cus_{who}", "note": "x" * 400}
            envelope = {**small, "id": f"evt_{number}", "type": type, "created": created, "data": {"object": thing}}
            keys = (f"cus:cus_{who}", "acct:default")
        yield document(number, type, created, keys, envelope)


def document(number: int, type: str, created: int, keys: tuple[str, ...], envelope: dict[str, Any]) -> dict[str, Any]:
    one = Event(
        id=f"evt_{number:08d}",
        type=type,
        tenant=TENANT,
        created=created,
        recorded=seconds(created),
        data=envelope,
        correlation=envelope["data"]["object"]["id"],
        partition=keys[0],
        keys=keys,
        source="import",
    )
    return {
        "event": one.to_cloudevent(),
        "type": type,
        "created": created,
        "recorded": iso(one.recorded),
        "correlation": one.correlation,
        "customer": keys[0].partition(":")[2],
        "origin": "import",
        "keys": list(keys),
        "trace": one.trace_id,
        "fired": False,
        "decision": None,
        "spans": [],
    }


# ---- in a process of its own ----------------------------------------------------------------------------------------
def run(data: Path) -> dict[str, Any]:
    found = subprocess.run(
        [sys.executable, "-m", "bench.m4", str(data)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if found.returncode:
        raise Failed(f"the backtest failed: {found.stderr[-800:]}")
    result: dict[str, Any] = json.loads(found.stdout)
    return result


def once(data: Path) -> dict[str, Any]:
    """One backtest as the command does it, and what it took."""
    with_all(data, lambda lab: lab.store.count(TENANT, "event", []))
    now = datetime.fromtimestamp(START + (DAYS + 1) * 86400, UTC)
    before, cpu, started = peak(), time.process_time(), time.perf_counter()
    found = with_all(data, lambda lab: backtests.at_once(lab, backtests.Question(TENANT, [RULE]), now))
    took, used = time.perf_counter() - started, time.process_time() - cpu
    told = found["summary"]
    kept = {name: told[name] for name in ("runs", "decided", "events", "digest", "read", "plain")}
    if told["read"] != "columns" or told["plain"]:
        raise Failed(f"it went the long way: {kept}")
    return {"seconds": took, "cpu": used, "before": before, "peak": peak(), **kept}


def with_all(data: Path, what: Callable[[backtests.Lab], Any]) -> Any:
    store = SqliteStore(data / "store.db")
    columns = SqliteColumns(data / "columns.db", data / "store.db")
    try:
        # the rule names no personal value and is known to be right: neither a vault nor the actions are asked
        return what(backtests.Lab(store, None, catalogue(), None, columns))  # type: ignore[arg-type]
    finally:
        columns.close()
        store.close()


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# ---- against the plain way ------------------------------------------------------------------------------------------
def check(data: Path, count: int) -> int:
    """Compare the rows of the first part of the history; how many. Raises Failed."""
    upto = START + min(count, 60_000) * DAYS * 86400 // count
    version = RuleVersion(TENANT, parse(RULE), 0, "live", "")
    store = SqliteStore(data / "store.db")
    columns = SqliteColumns(data / "columns.db", data / "store.db")
    log = History(store, TENANT, columns)
    quick = Backtest([version], {}, PythonMatcher(), fetch=log.event)
    rows = [row for slim in log.slims(quick.reads, None, upto, quick=True) for row in quick.feed(slim)]
    rows += quick.finish(seconds(upto))
    whole = (one for slim in log.slims(quick.reads, None, upto, quick=False) if (one := log.event(slim.id)))
    plain = list(backtest([version], whole, seconds(upto), screened=False))
    columns.close()
    store.close()
    if rows != plain or not rows:
        raise Failed(f"{len(rows)} rows by columns, {len(plain)} by documents, and they differ")
    return len(rows)


if __name__ == "__main__":
    print(json.dumps(once(Path(sys.argv[1]))))
