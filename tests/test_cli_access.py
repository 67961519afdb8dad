"""The commands on members and tokens, and the command line of an installation that is read-only."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from app.access import api_tokens, members, sessions
from app.services import Services, build
from tests.builders import NOON
from tests.test_cli import Cli

PASSWORD = "seven boats on a lake"


@pytest.fixture
def cli(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(tmp_path, capsys)


@contextmanager
def opened(cli: Cli) -> Iterator[Services]:
    services = build(cli._settings)
    yield services
    services.close()


@contextmanager
def typed(line: str) -> Iterator[None]:
    """A program that writes to standard input."""
    before, sys.stdin = sys.stdin, io.StringIO(line + "\n")
    yield
    sys.stdin = before


def test_the_first_administrator_is_made_at_the_terminal(cli: Cli) -> None:
    assert cli("members", "list") == 0
    assert "members add" in cli.out
    with typed(PASSWORD):
        assert cli("members", "add", "Ada@example.com", "--roles", "admin,author", "--called", "Ada", "--password") == 0
    assert "ada@example.com may come in" in cli.out
    (row,) = cli.json("members", "list")
    assert (row["email"], row["roles"], row["has_password"]) == ("ada@example.com", ["author", "admin"], True)
    assert "argon2" not in cli.out
    with opened(cli) as services:
        assert members.with_password(services.store, services.passwords, "ada@example.com", PASSWORD) is not None


def test_what_is_wrong_with_a_member_is_said_at_once(cli: Cli) -> None:
    assert cli("members", "add", "no address", "--roles", "god") == 2
    assert "email:" in cli.err
    assert "roles:" in cli.err
    assert cli("members", "change", "nobody@example.com", "--roles", "viewer") == 2
    assert "is no member" in cli.err


def test_roles_state_password_and_sessions_are_changed_at_the_terminal(cli: Cli) -> None:
    cli("members", "add", "bo@example.com", "--roles", "viewer")
    with opened(cli) as services:
        bo = members.read(services.store, members.member_id("bo@example.com"))
        secret = sessions.begin(services.store, bo, "password", NOON)
    assert cli("members", "change", "bo@example.com", "--roles", "operator", "--note", "joined ops") == 0
    with opened(cli) as services:
        found = sessions.find(services.store, secret, NOON)
        assert found is not None
        assert found.roles == ("operator",)
    assert cli("members", "change", "bo@example.com") == 2
    assert cli("members", "sign-out", "bo@example.com") == 0
    with opened(cli) as services:
        assert sessions.find(services.store, secret, NOON) is None
    with typed(PASSWORD):
        assert cli("members", "password", "bo@example.com") == 0
    for verb, state in (("disable", "disabled"), ("enable", "active")):
        assert cli.json("members", verb, "bo@example.com")["state"] == state


def test_a_token_is_printed_once_on_standard_output_alone(cli: Cli) -> None:
    assert cli("tokens", "make", "nightly", "--rights", "read,author", "--days", "30") == 0
    text = cli.out.strip()
    with opened(cli) as services:
        assert api_tokens.check(services.store, text, services.clock.now()) is not None
    (row,) = cli.json("tokens", "list")
    assert (row["name"], row["rights"], row["state"]) == ("nightly", ["read", "author"], "active")
    assert text.split("_", 2)[2] not in cli.out
    assert cli("tokens", "revoke", row["id"], "--note", "lost") == 0
    with opened(cli) as services:
        assert api_tokens.check(services.store, text, services.clock.now()) is None
    assert cli("tokens", "make", "x", "--rights", "everything") == 2


def test_read_only_the_command_line_reads_and_changes_nothing(cli: Cli) -> None:
    cli("members", "add", "bo@example.com", "--roles", "viewer")
    cli._settings = replace(cli._settings, read_only=True)
    for command in (
        ("members", "disable", "bo@example.com"),
        ("members", "add", "cy@example.com", "--roles", "admin"),
        ("tokens", "make", "x", "--rights", "read"),
    ):
        assert cli(*command) == 2
        assert "Signalbox is read-only" in cli.err
    assert [row["state"] for row in cli.json("members", "list")] == ["active"]
