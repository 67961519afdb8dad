"""The example consumer of docs/ acts once on an event, however often it comes, and on nothing that is not signed."""

from __future__ import annotations

import base64
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.adapters.memory import MemorySecrets, MemoryVault
from app.connectors.delivery import Courier
from app.connectors.route import Forward
from app.connectors.signed import Signer
from rules.ports import Outcome
from tests.builders import TENANT, event, task
from tests.running import ROOT, free_port, until

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
OTHER = "whsec_" + base64.b64encode(b"o" * 32).decode()


@dataclass
class Consumer:
    port: int
    log: Path

    @property
    def acted(self) -> list[str]:
        return self.log.read_text().splitlines()

    def listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def sent(self, id: str, secret: str = SECRET, ago: timedelta = timedelta(0)) -> Outcome:
        name = f"connection/{TENANT}/mesh"
        url = f"http://127.0.0.1:{self.port}/"
        connection = {"name": "mesh", "type": "route", "url": url, "secret_name": name}
        signer = Signer(Courier(development=True), MemorySecrets({name: secret}), MemoryVault())
        forward = Forward(signer, lambda tenant, one: event(one).to_cloudevent(), None)
        asked = {**task("route.forward", {}, connection), "id": f"route/mesh/{id}", "trigger": id, "connection": "mesh"}
        return forward.execute(asked, datetime.now(UTC) - ago)


@pytest.fixture
def consumer(tmp_path: Path) -> Iterator[Consumer]:
    port, log = free_port(), tmp_path / "acted"
    known = {"SECRET": SECRET, "DB": str(tmp_path / "consumer.db")}
    with log.open("wb") as out:
        command = [sys.executable, str(ROOT / "docs" / "consumer.py"), str(port)]
        process = subprocess.Popen(command, env={**os.environ, **known}, stdout=out, stderr=subprocess.DEVNULL)
    try:
        found = Consumer(port, log)
        until(found.listens)
        yield found
    finally:
        process.kill()
        process.wait()


def test_the_example_consumer_acts_once_on_each_event(consumer: Consumer) -> None:
    assert [consumer.sent(id).kind for id in ("evt_1", "evt_1", "evt_2", "evt_1")] == ["done"] * 4
    assert consumer.acted == ["invoice.payment_failed in_1"] * 2


def test_the_example_consumer_refuses_what_is_not_signed_or_old(consumer: Consumer) -> None:
    assert consumer.sent("evt_1", OTHER).response["status"] == 401
    assert consumer.sent("evt_1", ago=timedelta(minutes=6)).response["status"] == 400
    assert consumer.acted == []


def test_the_example_consumer_can_be_read_at_a_glance() -> None:
    assert len((ROOT / "docs" / "consumer.py").read_text().splitlines()) <= 35
