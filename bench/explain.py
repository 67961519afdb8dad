"""Explain: what an explanation costs on 1,000 events of one customer, and a window of 200 read from SQLite.

Small machines are noisy, so each figure is also a ratio to reading the same events' JSON with the standard library.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from app.adapters.sqlite_store import SqliteStore
from bench import matching
from bench.harness import Failed, folder, median, spread
from bench.report import Report
from rules.decide import decide, documents, reads
from rules.event import Event, iso
from rules.explain import explain
from rules.memory import DocumentOf, Memory, NotRead, Question, Read, Window
from rules.model import RuleVersion
from rules.ports import ABSENT, Put
from rules.rule import parse
from rules.ruleset import RuleSet, keyed
from rules.subjects import correlation_of, keys_of, partition_of

TENANT = "default/test"
KIND = "invoice.payment_failed"
NOW = datetime(2027, 6, 1, tzinfo=UTC)
EVENTS, WINDOW = 1_000, 200
ROW = 5  # explanations in a row, as a page and its details ask for them
WHEN = {"event": [KIND], "at_least": 500, "within": "P7D", "same": "customer", "start_again_after": ["invoice.paid"]}
TESTS = [
    {"field": "data.object.amount_remaining", "is": "greater than", "value": 0},
    {"field": "data.object.collection_method", "is": "one of", "value": ["charge_automatically", "send_invoice"]},
]


def measure(report: Report, rounds: int) -> None:
    report.title(f"explain  CPU of an explanation on {EVENTS:,} events, and of a window of {WINDOW} read from SQLite")
    events = history(EVENTS)
    texts = [json.dumps(event.data) for event in events]
    document = {"id": "r", "name": "r", "when": WHEN, "only_if": {"all": TESTS}, "steps": [STEP]}
    version = RuleVersion(TENANT, parse(document), 1, "live", "")
    base, explained = [], []
    checked(version, events)  # a process explains more than once: its first time imports and compiles
    for _ in range(rounds * 3):
        base.append(cpu(lambda: [json.loads(text) for text in texts]))
        explained.append(cpu(lambda: [checked(version, events) for _ in range(ROW)]) / ROW)
    ratio = [mine / theirs for mine, theirs in zip(explained, base, strict=True)]
    report.row("", "ms CPU", "of reading its JSON")
    report.row(f"explain, {EVENTS:,} events", spread([one * 1000 for one in explained]), spread(ratio))
    report.goal("explain at 1,000 events, ms", median(explained) * 1000, 5.0, at_most=True)
    report.goal("explain of reading its JSON", median(ratio), 0.5, at_most=True)
    windows(report, rounds, events[-WINDOW:], texts[-WINDOW:])


def windows(report: Report, rounds: int, events: list[Event], texts: list[str]) -> None:
    """The same window read by a store that has just opened the file, then again, then with the decision about it."""
    with folder() as place:
        store = SqliteStore(place / "store.db")
        with store.batch():
            for event in events:
                store.commit(TENANT, Put("event", event.id, body(event)), [])
        store.close()
        cold, warm, whole, base = [], [], [], []
        for _ in range(rounds * 3):
            store = SqliteStore(place / "store.db")
            base.append(cpu(lambda: [json.loads(text) for text in texts]))
            cold.append(cpu(lambda store=store: window(store)))  # type: ignore[misc]
            warm.append(cpu(lambda store=store: window(store)))  # type: ignore[misc]
            whole.append(cpu(decision(store, events)))
            store.close()
    for name, spent in (("first read", cold), ("read again", warm), ("read again and decide", whole)):
        ratio = [mine / theirs for mine, theirs in zip(spent, base, strict=True)]
        report.row(f"window of {WINDOW}, {name}", spread([one * 1000 for one in spent]), spread(ratio))
    report.goal("window of 200 read again and decide, ms", median(whole) * 1000, 1.0, at_most=True)
    first = median([mine / theirs for mine, theirs in zip(cold, base, strict=True)])
    report.goal("window of 200, first read of reading its JSON", first, 1.5, at_most=True)


def checked(version: RuleVersion, events: list[Event]) -> None:
    found = explain(version, events, subject="cus_bench")
    if (found["gate"], found["sentence"][:10]) != ("window", "145 of 500"):
        raise Failed(f"it says: {found['sentence']}")


STEP = {"name": "tell", "do": "crm.notify", "with": {"connection": "crm"}}


def decision(store: SqliteStore, events: list[Event]) -> Callable[[], None]:
    """One event more of the customer, decided about with its window from the store."""
    document = {"id": "r", "name": "r", "when": WHEN, "only_if": {"all": TESTS}, "steps": [STEP]}
    ruleset = matching.built([parse(document)])
    data = {**events[-1].data, "id": "evt_next", "created": events[-1].created + 60}
    event = keyed(_event(data), ruleset)
    return lambda: _decided(store, ruleset, event)


def _decided(store: SqliteStore, ruleset: RuleSet, event: Event) -> None:
    known = {id: Read({}, ABSENT) for id in documents(event, ruleset)}
    plan = reads(event, ruleset, known)
    memory = Memory(documents=known, candidates=plan.candidates)
    questions = plan.questions
    while True:
        memory = memory.answered({question: _answer(store, question) for question in questions})
        try:
            return _expected(decide(event, ruleset, memory, NOW).trace)
        except NotRead as missing:
            questions = missing.questions


def _answer(store: SqliteStore, question: Question) -> Any:
    if isinstance(question, Window):
        return store.window(TENANT, question.key, sorted(question.types), question.since, question.until)
    return Read({}, ABSENT) if isinstance(question, DocumentOf) else None


def _expected(trace: Any) -> None:
    if trace["rules"][0]["gate"] != "window":
        raise Failed(f"it decided {trace['rules'][0]['sentence']}")


def window(store: SqliteStore) -> None:
    if len(store.window(TENANT, "cus:cus_bench", [KIND], 0, 1 << 40)) != WINDOW:
        raise Failed("events are missing in the window")


def history(count: int) -> list[Event]:
    """Failed payments of one customer, an hour apart, some of them of nothing."""
    made = []
    for number, one in enumerate(matching.plain_events(count)):
        thing = {**one["data"]["object"], "amount_remaining": number % 7 * 100}
        data = {**one, "id": f"evt_{number}", "type": KIND, "created": matching.CREATED + number * 3600}
        made.append(_event({**data, "data": {"object": thing}}))
    return made


def _event(data: dict[str, Any]) -> Event:
    keys = keys_of(data, "default")
    return Event(
        data["id"], data["type"], TENANT, data["created"], NOW, data, correlation_of(data), partition_of(keys), keys
    )


def body(event: Event) -> dict[str, Any]:
    """As app.handle keeps it, with the trace of a few rules that did not fire."""
    entry = {"rule": "r", "number": 1, "outcome": "missed", "gate": "condition", "sentence": "not so " * 15}
    return {
        "event": event.to_cloudevent(),
        "type": event.type,
        "created": event.created,
        "recorded": iso(event.recorded),
        "correlation": event.correlation,
        "customer": "cus_bench",
        "origin": event.source,
        "keys": list(event.keys),
        "trace": event.trace_id,
        "fired": False,
        "decision": {"rules": [entry] * 5},
        "spans": [{"name": "receive", "trace_id": event.trace_id}] * 2,
    }


def cpu(work: Callable[[], object]) -> float:
    """Seconds of CPU. What earlier work left for the collector is collected before: it is not this work's to pay."""
    gc.collect()
    began = time.process_time()
    work()
    return time.process_time() - began
