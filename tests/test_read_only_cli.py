"""The command line of an installation that is read-only: what changes something is refused, at any port."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import main
from app.adapters import read_only
from app.cli.commands import reading
from app.services import Services
from app.settings import Settings
from rules.ports import Outcome, Refused
from tests.builders import NOON, TENANT, envelope, event
from tests.web.test_audited import CLI, LOOKS, NO_COMMAND, RUNS_IT, World, commands
from tests.web.test_rules_pages import ready

SAYS = "Signalbox is read-only"
Prepare = Callable[[World], Any]


def nothing(world: World) -> None:
    """What the command is about need not be there."""


def disabled(world: World) -> None:
    world.member()
    run("members disable dan@example.com", world, world.services)


# beside those that leave an entry
CHANGES: Mapping[str, Prepare] = {
    **{line: prepare for line, (_, prepare) in CLI.items()},
    "erase cus_1 --reason why --yes": World.personal,
    "erase cus_1 --reason why --lift": World.erased,
    "vault rotate --reason yearly": nothing,
    "members enable dan@example.com": disabled,
}
READS = sorted(name for name, why in NO_COMMAND.items() if why == LOOKS)
ELSEWHERE = {
    **dict.fromkeys([name for name, why in NO_COMMAND.items() if why == RUNS_IT], "webhooks, runs and actions go on"),
    "export": "it reads",
    "import": "held below",
    "provision": "held below",
    "quarantine discard": "it takes a payload in quarantine; it asks for a job as those above do",
    "quarantine replay": "it takes a payload in quarantine; it asks for a job as those above do",
    **dict.fromkeys(
        ("proposals approve", "proposals acknowledge"), "they take a token; each is one commit of the store"
    ),
    "members password": "it asks for the password at the terminal and commits as `members change` does",
}
FILES = {
    "file": json.dumps(ready()),
    "events": json.dumps(envelope("evt_9")),
    "scores": "customer,one\ncus_1,5",
}


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, Path]:
    for name, text in FILES.items():
        (tmp_path / f"{name}.json").write_text(text + "\n")
    return {name: tmp_path / f"{name}.json" for name in FILES}


def run(line: str, world: World, services: Services, **paths: Any) -> Any:
    arguments = main.parser().parse_args(line.format(**world.names, **paths).split())
    return arguments.body(arguments, services)


def everything(services: Services) -> str:
    """All that the ports keep, as a text."""
    ports = (services.store, services.secrets, services.vault, services.bus)
    return repr([{k: v for k, v in vars(one).items() if "lock" not in k and not callable(v)} for one in ports])


class Rotation:
    """Another key for a vault that seals."""

    grace = timedelta(0)
    begun = 0

    def keys(self) -> tuple[str, tuple[str, ...]]:
        return f"key-{self.begun}", ()

    def begin(self) -> None:
        self.begun += 1


def test_every_command_is_here() -> None:
    there = set(commands(main.parser()))
    changing = {name for name in there for line in CHANGES if f"{line} ".startswith(f"{name} ")}
    assert there == changing | set(READS) | set(ELSEWHERE)


@pytest.mark.parametrize("line", CHANGES)
def test_what_changes_something_is_refused_and_has_changed_nothing(line: str, paths: dict[str, Path]) -> None:
    world = World()
    CHANGES[line](world)
    rotation = Rotation()
    services = replace(world.services, rotation=rotation)  # type: ignore[arg-type]
    before = everything(services)
    with pytest.raises(Refused, match=SAYS):
        run(line, world, reading(services), **paths)
    assert everything(services) == before
    assert rotation.begun == 0


READING = ("rules list", "runs list", "members list", "tokens list", "proposals list", "scores list", "starters",
           "schemas list", "dead-letters", "facts", "quarantine list", "audit verify", "audit head", "audit export",
           "rules check {file}", "rules lint", "backtest {file}")  # fmt: skip


@pytest.mark.parametrize("line", READING)
def test_what_reads_goes_on(line: str, paths: dict[str, Path]) -> None:
    world = World()
    before = everything(world.services)
    assert not run(line, world, reading(world.services), **paths)
    assert everything(world.services) == before


PORTS: Mapping[str, Callable[[Services], Any]] = {
    "secrets.put": lambda s: s.secrets.put("a", "b"),
    "vault.tokenise": lambda s: s.vault.tokenise(TENANT, "cus_1", ["ada@example.com"]),
    "vault.flush": lambda s: s.vault.flush(),
    "vault.reveal": lambda s: s.vault.reveal(TENANT, "tok_1", "ann", "why"),
    "vault.erase": lambda s: s.vault.erase(TENANT, "cus_1"),
    "vault.bar": lambda s: s.vault.bar(TENANT, ["cus_1"]),
    "vault.expire": lambda s: s.vault.expire(TENANT, {}, None, 1),
    "bus.publish": lambda s: s.bus.publish(event()),
    "inbox.drain": lambda s: s.inbox.drain(lambda found: [], NOON),
    "inbox.replay": lambda s: s.inbox.replay(["one"], NOON),
    "inbox.discard": lambda s: s.inbox.discard(["one"]),
    "store.commit": lambda s: s.store.commit(TENANT, None, []),
    "store.wipe": lambda s: s.store.wipe(TENANT),
    "rotation.finish": lambda s: s.rotation and read_only.rotation(s.rotation).finish(),
    "action": lambda s: s.connectors["stripe.change_plan"].execute({}, NOON),
}


@pytest.mark.parametrize("name", PORTS)
def test_every_port_that_writes_refuses(name: str) -> None:
    services = replace(World().services, rotation=Rotation())  # type: ignore[arg-type]
    before = everything(services)
    with pytest.raises(Refused, match=SAYS):
        PORTS[name](reading(services))
    assert everything(services) == before


def test_what_only_asks_a_port_is_answered() -> None:
    world = World()
    world.services.secrets.put("a", "b")
    services = reading(world.services)
    assert services.secrets.get("a") == "b"
    assert services.vault.tokenise(TENANT, "cus_1", []) == []
    assert services.inbox.oldest() is None
    assert services.connectors["stripe.change_plan"].preview({"price": "price_1"}) is not None
    assert not isinstance(services.connectors["stripe.change_plan"].name, Outcome)


@pytest.mark.parametrize("line", ["import {folder}", "provision --apply"])
def test_moving_in_and_preparing_a_project_are_refused_too(
    line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(data=tmp_path / "data", read_only=True, google_project="demo")
    arguments = main.parser().parse_args(line.format(folder=tmp_path).split())
    assert arguments.run(arguments, settings) == 2
    assert SAYS in capsys.readouterr().err
    assert not (tmp_path / "data").exists()
