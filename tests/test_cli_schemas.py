"""The commands on schemas and on the quarantine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app import tenants
from app.receive import quarantine
from app.services import build, keeper_of
from app.settings import Settings
from rules import registry
from rules.conforming import shared
from tests.builders import NOON, TENANT, body_of, envelope, invoice
from tests.test_cli import Cli, cli

__all__ = ["cli"]
OLD, NEW = registry.versions()[0], registry.versions()[-1]


@pytest.fixture
def held(tmp_path: Path) -> None:
    """Three payloads in quarantine."""
    services = build(Settings(data=tmp_path / "data", matcher="python", admin_token="t0ken", port=9))
    tenants.ensure(services.store, TENANT, NOON)
    for n in range(3):
        body = envelope(f"evt_{n}", object=invoice(amount_due="much"))
        quarantine.keep(keeper_of(services), body, "default", body_of(body), shared().faults(body), NOON)
    services.close()


def test_schemas_are_listed_shown_and_compared(cli: Cli) -> None:
    assert cli("schemas", "list") == 0, cli.err
    assert "payout.paid" in cli.out
    assert cli("schemas", "show", "invoice.paid", "--version", OLD, "--json") == 0, cli.err
    assert json.loads(cli.out)["$id"] == f"urn:stripe:{OLD}:invoice.paid"
    assert cli("schemas", "diff", OLD, NEW, "--type", "invoice.paid") == 0, cli.err
    assert "data.object.subscription  -> data.object.parent.subscription_details.subscription" in cli.out
    assert "No rule reads what goes or moves." in cli.out
    assert cli("schemas", "show", "invoice.nonsense") == 2


@pytest.mark.usefixtures("held")
def test_what_is_quarantined_is_listed_and_counted_before_anything_is_done(cli: Cli) -> None:
    assert cli("quarantine", "list") == 0, cli.err
    assert "evt_2" in cli.out
    assert cli("quarantine", "discard", "--type", "invoice.payment_failed") == 0, cli.err
    assert "3 payloads fit" in cli.out
    assert cli("quarantine", "discard", "--yes") == 2
    assert "--why" in cli.err
