"""kill -9 of the true processes under load, with a receiver that fails, is slow and breaks off: tests 1, 3, 7 and 11.

Every event that got a 2xx is kept once, every notice of it is delivered, copies come under one id and no more of them
than the kills and the receiver account for, and the notices of a customer arrive in order.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app import author
from app.perform import turns
from app.perform.crew import WINDOW
from app.services import Services, build
from app.settings import Settings
from rules.ports import Put
from tests.builders import TENANT, envelope, invoice
from tests.fakes.receiver import Got, Receiver, Say
from tests.running import Running, free_port, running, until
from tests.stories.world import ACTOR

RULE: dict[str, Any] = {
    "id": "tell",
    "name": "Tell of each failure",
    "when": {"event": ["invoice.payment_failed"], "same": "invoice"},
    "again": {"while_open": True, "after": "PT0S"},
    "steps": [{"name": "tell-crm", "do": "crm.notify", "with": {"connection": "crm", "stage": "x"}}],
}


@dataclass
class Trouble(Receiver):
    """Fails a fifth of the requests, is slow with a tenth, and breaks one in twenty off in the middle."""

    rng: random.Random = field(default_factory=lambda: random.Random(4))
    accepted: list[str] = field(default_factory=list)

    def take(self, got: Got) -> Say:
        super().take(got)
        drawn = self.rng.random()
        if drawn < 0.2:
            return Say(500, headers={"Retry-After": "0"})  # else a customer's queue waits for seconds each time
        if drawn < 0.25:
            return Say(how="half")
        self.accepted.append(got.id)
        return Say(how="hang", seconds=0.05) if drawn < 0.35 else Say()


@dataclass
class Load:
    """Posts the events of each customer one after the other, as several senders; each until it is answered."""

    server: Running
    customers: int
    each: int
    accepted: set[str] = field(default_factory=set)
    refused: Counter[int] = field(default_factory=Counter)
    waits: list[float] = field(default_factory=list)

    def send(self, customer: int) -> None:
        for number in range(self.each):
            id = f"evt_{customer}_{number}"
            thing = invoice(id=f"in_{customer}_{number}", customer=f"cus_{customer}", subscription=f"sub_{customer}")
            began = time.monotonic()
            while not self._posted(envelope(id, object=thing, time=datetime.now(UTC))):
                threading.Event().wait(0.02)
            self.accepted.add(id)
            self.waits.append(time.monotonic() - began)

    def _posted(self, event: dict[str, Any]) -> bool:
        try:
            status = self.server.post_event(event)
        except OSError:
            return False  # it is being started again; Stripe sends again too
        if status != 200:
            self.refused[status] += 1
        return status == 200

    @contextmanager
    def running(self, senders: int = 8) -> Iterator[None]:
        with ThreadPoolExecutor(senders) as pool:
            jobs = [pool.submit(self.send, customer) for customer in range(self.customers)]
            yield
            for job in jobs:
                job.result()


def prepared(data: Path, url: str) -> None:
    s = build(Settings(data=data, matcher="python"), "test")
    then = datetime.now(UTC) - timedelta(hours=1)
    author.save_connection(
        s.store, s.secrets, TENANT, {"name": "crm", "type": "webhook", "url": url}, ACTOR, then, True
    )
    found = s.store.get(TENANT, "connection", "crm")
    assert found
    s.store.commit(TENANT, None, [Put("connection", "crm", {**found.body, "in_order": True})])
    author.save_draft(s.store, s.vault, s.catalogue, s.connectors, TENANT, RULE, ACTOR, then)
    author.publish(s.store, s.catalogue, s.connectors, TENANT, "tell", ACTOR, "", then)
    s.close()


def settled(s: Services) -> bool:
    """Every event handled, every action at an end."""
    return s.inbox.oldest() is None and s.store.count(TENANT, "command", [("state", "==", "due")]) == 0


def survives(tmp_path: Path, customers: int, each: int, kills: int) -> dict[str, float]:
    """The figures."""
    data, receiver, rng = tmp_path / "data", Trouble(), random.Random(kills)
    with receiver.running() as base:
        prepared(data, base + "/hook")
        with running(data, "serve", port=free_port()) as server:  # type: ignore[arg-type]
            load = Load(server, customers, each)
            with load.running():
                for kill in range(kills):
                    wanted = customers * each * (kill + 1) // (kills + 1)
                    until(lambda wanted=wanted: len(load.accepted) >= wanted, seconds=300)
                    threading.Event().wait(rng.random() * 0.05)
                    part = rng.choice(["web", "work"])
                    if part in (children := server.children()):
                        os.kill(children[part], signal.SIGKILL)
            s = build(Settings(data=data, matcher="python"), "test")
            until(lambda: settled(s), seconds=300)
            figures = checked(s, load, receiver, kills)
            s.close()
    return figures


def checked(s: Services, load: Load, receiver: Trouble, kills: int) -> dict[str, float]:
    total = load.customers * load.each
    assert s.store.count(TENANT, "event") == total == len(load.accepted)
    commands = {one.id: one for one in every(s, "command")}
    assert len(commands) == total
    assert {one.body["state"] for one in commands.values()} == {"done"}
    copies = Counter(receiver.ids)
    assert set(copies) == set(commands)
    tries = sum(len(one.body["attempts"]) for one in commands.values())
    doubled = sum(copies.values()) - tries  # what was sent and not written down when a worker died
    assert 0 <= doubled <= kills * WINDOW
    assert set(load.refused) <= {503}
    first = list(dict.fromkeys(receiver.ids))
    for customer in range(load.customers):
        mine = [id for id in first if commands[id].body["customer"] == f"cus_{customer}"]
        assert mine == sorted(mine, key=lambda id: turns._place_of(s.store, commands[id]))
    return {"events": total, "kills": kills, "doubled": doubled, "worst": max(load.waits)}


def every(s: Services, kind: str) -> Iterator[Any]:
    after = None
    while True:
        page = s.store.find(TENANT, kind, order="created_at", after=after, limit=500)
        yield from page.items
        after = page.next
        if after is None:
            return


@pytest.mark.parametrize(
    ("customers", "each", "kills"),
    [
        (30, 10, 8),
        pytest.param(100, 50, 30, marks=pytest.mark.nightly),
        pytest.param(100, 50, 200, marks=pytest.mark.nightly),
    ],
)
def test_kills_under_load_lose_nothing_double_little_and_keep_the_order(
    tmp_path: Path, customers: int, each: int, kills: int, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = survives(tmp_path, customers, each, kills)
    with capsys.disabled():
        os.write(2, f"\nkills: {figures}\n".encode())
    assert figures["worst"] < 30


@pytest.mark.parametrize("count", [150, pytest.param(500, marks=pytest.mark.nightly)])
def test_a_storm_of_duplicates_has_one_row_and_one_effect_each(tmp_path: Path, count: int) -> None:
    """Test 7: each event ten times over 32 connections, shuffled."""
    receiver = Receiver()
    with receiver.running() as base:
        prepared(tmp_path / "data", base + "/hook")
        with running(tmp_path / "data", "serve", port=free_port()) as server:  # type: ignore[arg-type]
            names = [(customer % count) for customer in range(count * 10)]
            random.Random(1).shuffle(names)
            things = [invoice(id=f"in_{n}", customer=f"cus_{n}", subscription=f"sub_{n}") for n in range(count)]
            now = datetime.now(UTC)
            with ThreadPoolExecutor(32) as pool:
                posted = pool.map(lambda n: server.post_event(envelope(f"evt_{n}", object=things[n], time=now)), names)
                assert set(posted) == {200}
            s = build(Settings(data=tmp_path / "data", matcher="python"), "test")
            until(lambda: settled(s))
            assert s.store.count(TENANT, "event") == count
            assert sorted(Counter(receiver.ids).values()) == [1] * count
            s.close()


@pytest.mark.parametrize("count", [600, pytest.param(5_000, marks=pytest.mark.nightly)])
def test_a_burst_is_taken_or_told_to_come_again_and_then_worked_off(tmp_path: Path, count: int) -> None:
    """Test 11: all of it as fast as 64 senders can, with the worker dead at first."""
    receiver = Receiver()
    with receiver.running() as base:
        prepared(tmp_path / "data", base + "/hook")
        with running(tmp_path / "data", "serve", port=free_port()) as server:  # type: ignore[arg-type]
            os.kill(server.children()["work"], signal.SIGKILL)
            load = Load(server, customers=count, each=1)
            with load.running(senders=64):
                pass
            assert set(load.refused) <= {503}
            s = build(Settings(data=tmp_path / "data", matcher="python"), "test")
            until(lambda: settled(s), seconds=120)
            assert s.store.count(TENANT, "event") == count
            assert sorted(Counter(receiver.ids).values()) == [1] * count
            s.close()
