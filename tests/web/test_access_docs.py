"""What docs/access.md says about roles, routes and settings is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from app.access import api_tokens, attempts, members, sessions
from app.access.members import ROLES
from app.web.gate import roles
from tests.web.access_table import known

TEXT = (Path(__file__).parents[2] / "docs" / "access.md").read_text()


def test_the_table_of_rights_is_the_real_one() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \|$", TEXT, re.MULTILINE)
    assert {right: (says, who.split(", ")) for right, says, who in rows} == {
        right: (roles.SAYS[right], [role for role in ROLES if right in roles.OF_ROLE[role]]) for right in roles.RIGHTS
    }


def test_every_address_that_it_names_is_there() -> None:
    there = {address for _, address in known()}
    for named in re.findall(r"`(?:GET |POST )?(/[a-z][^` ]*)`", TEXT):
        address = re.sub(r"{\w+}", "one", named)
        assert address in there or address.startswith(("/projects/", "/webhooks/")), named


def test_the_limits_are_those_of_the_code() -> None:
    assert f"{members.SHORTEST} to {members.LONGEST} characters" in TEXT
    assert f"{attempts.MOST['account']} failures for an account or {attempts.MOST['address']} from an address" in TEXT
    assert f"at most {sessions.MOST}." in TEXT
    assert f"at most {api_tokens.LONGEST}\ndays" in TEXT
    assert (sessions.IDLE.total_seconds(), sessions.LONGEST.total_seconds()) == (2 * 3600, 12 * 3600)
