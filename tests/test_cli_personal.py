"""`vault rotate`, `vault status` and `erase` on a data folder, where no worker runs."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from app.adapters.keys import load_keys
from app.receive import history
from app.services import build
from app.settings import Settings
from app.worker import Work, tick
from main import parser
from tests.builders import TENANT, envelope, invoice


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    found = Settings(data=tmp_path / "data", backend="sqlite", matcher="python")
    services = build(found)
    now = datetime.now(UTC)
    history.load([json.dumps(envelope(object=invoice())).encode()], services.bus, services.vault, now, source="webhook")
    services.vault.flush()
    tick(Work(services), now)
    services.close()
    return found


def run(settings: Settings, *arguments: str) -> int:
    chosen = parser().parse_args(arguments)
    return int(chosen.run(chosen, settings) or 0)


def value(settings: Settings) -> str | None:
    services = build(settings)
    event = services.store.get(TENANT, "event", "evt_1")
    assert event is not None
    thing: dict[str, Any] = event.body["event"]["data"]["data"]["object"]
    found = services.vault.reveal(TENANT, thing["customer_name"], "kim", "test", subject="cus_1")
    services.close()
    return found


def test_a_rotation_is_done_when_the_command_ends(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    before = load_keys(settings.data / "keys.json")
    assert run(settings, "vault", "rotate", "--reason", "yearly") == 0
    after = load_keys(settings.data / "keys.json")
    assert (after.token, len(after.keys)) == (before.token, 1)
    assert after.current != before.current
    assert "values sealed anew" in capsys.readouterr().out
    assert value(settings) == "Ada Example"
    assert run(settings, "vault", "status", "--json") == 0
    assert json.loads(capsys.readouterr().out)["key"] == after.current


def test_erase_without_yes_only_counts_and_with_it_wants_a_reason(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(settings, "erase", "cus_1") == 0
    said = capsys.readouterr().out
    assert "2 values" in said
    assert "Nothing was removed" in said
    assert value(settings) == "Ada Example"
    assert run(settings, "erase", "cus_1", "--yes") == 2  # no reason
    assert run(settings, "erase", "cus_none") == 2
    assert value(settings) == "Ada Example"


@pytest.mark.nightly  # it waits for other processes to hear of it
def test_erase_is_done_when_the_command_ends(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(settings, "erase", "cus_1", "--yes", "--reason", "by letter") == 0
    assert "2 values removed" in capsys.readouterr().out
    assert value(settings) is None
    assert run(settings, "erase", "cus_1", "--lift", "--reason", "came back") == 0
