"""Heads of the audit log's chain that were kept elsewhere, in whatever form: as printed, as logged, as mailed."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path

import pytest

from app import logs
from app.audit import seal
from app.services import build
from rules.kinds import SYSTEM
from tests.builders import DAY
from tests.test_cli import Cli


@pytest.fixture
def cli(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    """With a sealed entry."""
    found = Cli(tmp_path, capsys)
    found("members", "add", "bo@example.com", "--roles", "viewer")
    services = build(found._settings)
    assert seal.seal(services.store, SYSTEM, services.clock.now() + timedelta(minutes=5))
    services.close()
    return found


def test_the_line_that_is_logged_each_day_is_an_anchor(
    cli: Cli, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    services = build(cli._settings)
    with caplog.at_level(logging.INFO, "signalbox"):
        seal.seal(services.store, SYSTEM, services.clock.now() + 2 * DAY)
    services.close()
    (record,) = [one for one in caplog.records if one.message == "audit.head"]
    lines, kept = [logs.JsonLines().format(record)], tmp_path / "heads.txt"
    kept.write_text("\n".join(lines) + "\n")
    assert cli("audit", "verify", "--anchors", str(kept)) == 0
    assert "held against 1 head kept elsewhere" in cli.out
    kept.write_text(lines[0].replace(record.facts["hash"], "0" * 64))  # type: ignore[attr-defined]
    assert cli("audit", "verify", "--anchors", str(kept)) == 1
    assert "the chain was made anew" in cli.out


def test_so_is_the_last_line_of_an_alert_and_what_is_neither_is_refused(cli: Cli, tmp_path: Path) -> None:
    cli("audit", "head")
    kept = tmp_path / "heads.txt"
    kept.write_text(f"Audit log: {cli.out.strip()}\n")
    assert cli("audit", "verify", "--anchors", str(kept)) == 0
    assert "held against 1 head kept elsewhere" in cli.out
    kept.write_text('{"message": "audit.head"}\n')
    assert cli("audit", "verify", "--anchors", str(kept)) == 2
    assert "is no line of `audit.head`" in cli.err
