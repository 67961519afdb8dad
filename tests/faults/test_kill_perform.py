"""kill -9 of the process that sends, at any moment: nothing is lost, and only what was in flight comes twice."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from app import author
from app.handle import handle
from app.perform.crew import WINDOW
from app.services import Services, build
from app.settings import Settings
from rules.ports import Delivery
from tests.builders import DAY, TENANT
from tests.fakes.receiver import Receiver, Say
from tests.stories.world import ACTOR, CLOSE, NOTIFY, failed, twice_in_a_week

ROOT = Path(__file__).parents[2]


def prepared(folder: Path, url: str, runs: int) -> Services:
    """A data folder in which the rule has fired for so many subscriptions; each run has two notices to send."""
    s = build(Settings(data=folder, matcher="python"), "test")
    then = datetime.now(UTC) - 2 * DAY
    author.save_connection(
        s.store, s.secrets, TENANT, {"name": "crm", "type": "webhook", "url": url}, ACTOR, then, True
    )
    document: dict[str, Any] = twice_in_a_week([NOTIFY, CLOSE])
    author.save_draft(s.store, s.vault, s.catalogue, s.connectors, TENANT, document, ACTOR, then)
    author.publish(s.store, s.catalogue, s.connectors, TENANT, document["id"], ACTOR, "", then)
    deliveries = [
        Delivery(f"{count}-{number}", failed(count, then + count * DAY / 2, f"sub_{number}"), 1)
        for count in (1, 2)
        for number in range(runs)
    ]
    handle(deliveries, s.store, s.rulesets, s.tracer, datetime.now(UTC))
    return s


def killed_when(receiver: Receiver, count: int, folder: Path) -> None:
    """Run a performer and kill it when so many requests have come in all."""
    command = [sys.executable, "-m", "tests.faults.performer", str(folder)]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        assert receiver.wait_for(count), f"only {len(receiver.got)} requests came"
    finally:
        process.kill()
        process.wait(30)


def survives(tmp_path: Path, runs: int, kills: int) -> None:
    receiver = Receiver(usual=Say(how="hang", seconds=0.02))
    with receiver.running() as base:
        s = prepared(tmp_path, base, runs)
        every = 2 * runs // (kills + 1)
        for _ in range(kills):
            killed_when(receiver, len(receiver.got) + every, tmp_path)
        command = [sys.executable, "-m", "tests.faults.performer", str(tmp_path)]
        subprocess.run(command, cwd=ROOT, check=True, timeout=120)
    commands = s.store.find(TENANT, "command", order="created_at", limit=5000).items
    got = Counter(receiver.ids)
    s.close()
    assert len(commands) == 2 * runs
    assert {one.body["state"] for one in commands} == {"done"}
    assert set(got) == {one.id for one in commands}
    assert max(got.values()) <= kills + 1
    assert sum(got.values()) - len(got) <= kills * WINDOW


@pytest.mark.parametrize("kills", [30, pytest.param(200, marks=pytest.mark.nightly)])
def test_kills_lose_nothing_and_double_only_what_was_in_flight(tmp_path: Path, kills: int) -> None:
    survives(tmp_path, runs=5 * kills, kills=kills)
