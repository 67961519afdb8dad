"""M1c: durable answers through Google's Pub/Sub emulator against the SQLite queue: bus alone, and whole webhook."""

from __future__ import annotations

import os
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from app.adapters.memory import MemoryVault
from app.receive.webhook import event_of
from bench import events, systems
from bench.harness import Failed, median, ratios, spread
from bench.m1 import OURS, Figures, Start, one_round
from bench.m8 import emulated
from bench.report import Report
from bench.storm import CONNECTIONS, Sender
from bench.systems import Running
from rules.event import Event
from rules.ports import Bus

Opened = Callable[[], Any]
COUNT = 2_000  # events of one round of the bus alone; the emulator keeps each in its 256 MB


def measure(report: Report, rounds: int, seconds: float) -> None:
    report.title(
        "M1c  the ack of Pub/Sub (Google's emulator) against the ack of SQLite, 32 callers, 5 KB invoice events"
    )
    with emulated():
        buses = alone(rounds, min(COUNT, int(seconds * 400)))
        whole = webhooks(report, rounds, seconds)
    report.row("", "bus alone, acks/s", "of SQLite", "whole webhook, answers/s", "of SQLite", "CPU us/event")
    for name in ("SQLite", "Pub/Sub"):
        of_bus = f"{spread(ratios(buses[name], buses['SQLite']))} x" if name != "SQLite" else ""
        found = whole[name]
        of_web = f"{spread(ratios(found.per_second, whole['SQLite'].per_second))} x" if name != "SQLite" else ""
        report.row(name, spread(buses[name]), of_bus, spread(found.per_second), of_web, spread(found.micros))
    report.goal("publish-ack through Pub/Sub of SQLite's", median(ratios(buses["Pub/Sub"], buses["SQLite"])), 0.5)


# ---- the bus alone --------------------------------------------------------------------------------------------------
def alone(rounds: int, count: int) -> dict[str, list[float]]:
    """Acks a second of each bus, taking turns."""
    sent, vault, now = [], MemoryVault(), datetime.now(UTC)
    for number in range(count):
        envelope = orjson.loads(events.body(number, int(time.time())))
        sent.append(event_of(envelope, "default", vault, now))
    found: dict[str, list[float]] = {"SQLite": [], "Pub/Sub": []}
    for _ in range(rounds):
        for name, opened in (("SQLite", on_sqlite), ("Pub/Sub", on_pubsub)):
            with opened() as (bus, arrived):
                found[name].append(count / published(bus, sent))
                if (there := arrived(count)) != count:
                    raise Failed(f"{name}: {count} events were acknowledged and {there} are there")
    return found


def published(bus: Bus, sent: Sequence[Event]) -> float:
    """Seconds until the last of them is durable, with 32 callers that each wait for their ack."""
    gate = threading.Barrier(CONNECTIONS + 1)
    failures: list[BaseException] = []

    def call(share: Sequence[Event]) -> None:
        gate.wait()
        try:
            for one in share:
                bus.publish(one)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=call, args=(sent[n::CONNECTIONS],)) for n in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    gate.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    if failures:
        raise Failed(f"a publish failed: {failures[0]}")
    return time.perf_counter() - began


@contextmanager
def on_sqlite() -> Iterator[tuple[Bus, Callable[[int], int]]]:
    from app.adapters.sqlite_bus import SqliteBus
    from bench.signalbox import stored

    with tempfile.TemporaryDirectory() as place, closing(SqliteBus(Path(place), lambda: datetime.now(UTC))) as bus:
        yield bus, lambda count: stored(Path(place))


@contextmanager
def on_pubsub() -> Iterator[tuple[Bus, Callable[[int], int]]]:
    from app.adapters import pubsub_topics
    from app.adapters.pubsub import PubSubBus

    publisher, subscriber = pubsub_topics.clients()
    names = pubsub_topics.names(f"bench-{uuid.uuid4().hex[:8]}")
    pubsub_topics.create(publisher, subscriber, names)
    yield PubSubBus(publisher, names.topic), lambda count: waiting(subscriber, names, count)
    publisher.stop()
    subscriber.close()


def waiting(subscriber: Any, names: Any, count: int) -> int:
    """Distinct events that the subscription hands over; all of them are taken."""
    from app.adapters.pubsub_calls import Subscription

    queue, found, end = Subscription(subscriber, names.subscription, 2.0), set[str](), time.monotonic() + 120
    while len(found) < count and time.monotonic() < end:
        taken = queue.take(1_000)
        found |= {one.message.attributes["ce-id"] for one in taken}
        queue.done(taken)
    return len(found)


# ---- the whole webhook ----------------------------------------------------------------------------------------------
def webhooks(report: Report, rounds: int, seconds: float) -> dict[str, Figures]:
    figures = {"SQLite": Figures(), "Pub/Sub": Figures()}
    starts: dict[str, Start] = {"SQLite": OURS, "Pub/Sub": on_google}
    with tempfile.TemporaryDirectory() as place:
        sender = Sender(Path(place), distinct=int(seconds * 60_000) + 5_000)
        for _ in range(rounds):
            for name, start in starts.items():
                one_round(start, figures[name], sender, seconds, {})
    report.note("the whole webhook on Google also writes its new personal values to Firestore's emulator, one an event")
    return figures


@contextmanager
def on_google(env: Mapping[str, str]) -> Iterator[Running]:
    """Our web process on the emulators; what it answered is counted by taking it from the subscription."""
    from app.adapters import pubsub_topics

    project = f"bench-{uuid.uuid4().hex[:8]}"
    hosts = {name: os.environ[name] for name in ("PUBSUB_EMULATOR_HOST", "FIRESTORE_EMULATOR_HOST")}
    settings = {"SIGNALBOX_BACKEND": "google", "GOOGLE_CLOUD_PROJECT": project, **hosts, **env}
    with systems.ours(settings, worker=False) as server:
        publisher, subscriber = pubsub_topics.clients()
        names = pubsub_topics.names(project)
        yield Running(server.port, server.processes, lambda: everything(subscriber, names))
        publisher.stop()
        subscriber.close()


def everything(subscriber: Any, names: Any) -> int:
    """How many events wait: until a look brings nothing new."""
    from app.adapters.pubsub_calls import Subscription

    queue, found, empty = Subscription(subscriber, names.subscription, 2.0), set[str](), 0
    while empty < 3:
        taken = queue.take(1_000)
        empty = 0 if taken else empty + 1
        found |= {one.message.attributes["ce-id"] for one in taken}
        queue.done(taken)
    return len(found)
