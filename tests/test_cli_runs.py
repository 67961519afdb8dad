"""The command line on runs: counted and previewed first, and done only when told so."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.services import build
from app.settings import Settings
from app.worker import Work, tick
from rules.ports import Delivery, Outcome
from tests.builders import DAY, NOON, TENANT
from tests.stories.world import DOWNGRADE, NOTIFY, Recording, World, failed, twice_in_a_week
from tests.test_cli import Cli, cli

__all__ = ["cli"]
FIRST = NOON - 30 * DAY  # the commands go by the true clock
SECOND = FIRST + DAY


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """A data folder with one run that has downgraded; its id."""
    from app import author
    from app.handle import handle

    world = World()
    before = {"subscription": "sub_1", "price": "price_free", "before": {"item": "si_1", "price": "price_pro"}}
    world.outside.answers = lambda effect, times: Outcome.done("done", data=before)
    s = build(Settings(data=tmp_path / "data", matcher="python", admin_token="t0ken", port=9))
    body = {"name": "crm", "type": "webhook", "url": "https://crm.example.com/hook"}
    author.save_connection(s.store, s.secrets, TENANT, body, "ada", FIRST)
    document = twice_in_a_week([NOTIFY, DOWNGRADE])
    author.save_draft(s.store, s.vault, s.catalogue, s.connectors, TENANT, document, "ada", FIRST)
    author.publish(s.store, s.catalogue, s.connectors, TENANT, document["id"], "ada", "", FIRST)
    for number, at in enumerate((FIRST, SECOND)):
        one = failed(number, at)
        handle([Delivery(one.id, one, 1)], s.store, s.rulesets, s.tracer, SECOND)
    from dataclasses import replace

    tick(Work(replace(s, connectors=world.connectors, guard=None)), SECOND)
    (run,) = s.store.find(TENANT, "run").items
    s.close()
    assert isinstance(world.connectors["crm.notify"], Recording)
    return run.id


def test_an_undo_says_its_calls_and_is_done_only_when_told_so(cli: Cli, folder: str) -> None:
    assert cli("runs", "act", folder, "undo") == 0, cli.err
    assert "POST /v1/subscriptions/sub_1" in cli.out
    assert "then the plan is price_pro again" in cli.out
    assert "Nothing was done." in cli.out
    assert cli("runs", "show", folder) == 0
    assert "Undo" not in cli.out
    assert cli("runs", "act", folder, "undo", "--yes", "--why", "a mistake") == 0, cli.err
    assert f"{folder} is acting" in cli.out
    assert cli("runs", "act", folder, "undo", "--yes") == 2 or cli.err
    assert "Not possible: what the run did was taken back once already." in cli.err


def test_many_runs_are_counted_and_only_then_acted_on(cli: Cli, folder: str) -> None:
    assert cli("runs", "list", "--state", "done") == 0
    assert folder in cli.out
    assert cli("runs", "many", "undo", "--state", "done") == 0
    assert cli.out.strip() == "1 runs ($49.00) would be asked to undo. Say --yes to do it."
    assert cli("runs", "many", "undo", "--state", "done", "--called", "Incident 1234", "--why", "x", "--yes") == 0
    assert cli.out.strip() == "1 of 1 done"


def test_a_customer_is_left_alone(cli: Cli, folder: str) -> None:
    assert cli("runs", "exclude", "cus_1", "--why", "contract") == 0
    assert "cus_1 is on the list excluded; 0 open runs were cancelled" in cli.out
    assert "go on as before" not in cli.out  # every rule leaves alone who is on it
