"""The contract of members, sessions, tokens and attempts on each backend; and what passwords and moving promise."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.access import api_tokens, members, sessions
from app.access.members import Member
from app.adapters.keys import Keyring
from app.adapters.memory import MemoryStore
from app.adapters.sqlite_store import SqliteStore
from app.moving import summed
from rules.kinds import MOVED
from rules.ports import Conflict, Store
from rules.rule import RuleError
from tests.builders import NOON
from tests.contracts.access import PASSWORD, PASSWORDS, AccessContract, add

KEYS = Keyring.make()


class TestAccessInMemory(AccessContract):
    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore()


class TestAccessOnSqlite(AccessContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        store = SqliteStore(tmp_path / "store.db")
        yield store
        store.close()


@pytest.mark.emulator
class TestAccessOnFirestore(AccessContract):
    @pytest.fixture
    def store(self, firestore_emulator: None) -> Iterator[Store]:
        from app.adapters.firestore import FirestoreStore
        from tests.contracts.test_firestore import check_indexes
        from tests.firestore_calls import recording_client

        client, calls = recording_client(f"test-{uuid.uuid4().hex[:12]}", os.environ["FIRESTORE_EMULATOR_HOST"])
        yield FirestoreStore(client)
        client.close()
        check_indexes(calls)


def test_members_and_tokens_move_and_sessions_stay() -> None:
    store = MemoryStore()
    sessions.begin(store, add(store, password=PASSWORD), "password", NOON)
    api_tokens.make(store, {"name": "etl", "rights": ["read"]}, "root", NOON)
    counts = summed(store).counts
    assert (counts["member"], counts["api_token"]) == (1, 1)
    assert "session" not in counts
    assert {"session", "attempt"}.isdisjoint(MOVED)


# ---- what is refused ------------------------------------------------------------------------------------------------
def problems(**given: Any) -> dict[str, str]:
    with pytest.raises(RuleError) as error:
        members.add(MemoryStore(), PASSWORDS, {"email": "ada@example.com", "roles": ["viewer"], **given}, "root", NOON)
    return {one.path: one.message for one in error.value.problems}


@pytest.mark.parametrize(
    "password", ["short", "x" * 11, "x" * 40, "ada@example.com", "adaada123456", "y" * 201, "abab" * 4]
)
def test_a_password_that_can_be_guessed_is_refused(password: str) -> None:
    assert list(problems(password=password)) == ["password"]


def test_a_password_has_an_end() -> None:
    words = "".join(f"word {number} " for number in range(30))
    assert list(problems(password=words[: members.LONGEST + 1])) == ["password"]


def test_a_member_without_a_role_may_not_come_in() -> None:
    assert not Member("mem_1", "ada@example.com").may_come_in
    assert Member("mem_1", "ada@example.com", roles=("viewer",)).may_come_in


class Asked:
    """Passwords that are asked to hold; every one does."""

    decoy = "decoy"

    def __init__(self) -> None:
        self.hashes: list[str] = []

    def hash(self, password: str) -> str:
        return f"hash of {password}"

    def holds(self, hash: str, password: str) -> bool:
        self.hashes.append(hash)
        return True


def test_the_time_tells_not_whether_there_is_such_a_member() -> None:
    store, passwords = MemoryStore(), Asked()
    add(store)  # has no password
    gone = add(store, "bob@example.com", password=PASSWORD)
    members.change(store, gone.id, {"state": "disabled"}, "root", NOON)
    for email in ("ada@example.com", "bob@example.com", "nobody@example.com"):
        assert members.with_password(store, passwords, email, PASSWORD) is None
    assert passwords.hashes == ["decoy"] * 3  # as long for each


@pytest.mark.parametrize("email", ["", "ada", "a b@x.de", "a@b@c", "<a@b.de>", "a@b.de\nbcc", "token x", "admin token"])
def test_an_address_is_an_address_so_that_no_member_is_called_like_a_token(email: str) -> None:
    assert "email" in problems(email=email)


@pytest.mark.parametrize("roles", [[], ["god"], "admin", ["viewer", "root"], None])
def test_roles_are_those_that_there_are(roles: Any) -> None:
    assert "roles" in problems(roles=roles)


def test_nobody_takes_the_own_right_away_by_mistake() -> None:
    store = MemoryStore()
    made = add(store, "ada@example.com", "admin")
    for given in ({"roles": ["viewer"]}, {"state": "disabled"}):
        with pytest.raises(RuleError, match="another administrator"):
            members.change(store, made.id, given, "ada@example.com", NOON)


def test_a_form_that_was_opened_before_another_change_changes_nothing() -> None:
    store = MemoryStore()
    made = add(store)
    members.change(store, made.id, {"name": "Ada"}, "root", NOON)
    with pytest.raises(Conflict, match="Open it again"):
        members.change(store, made.id, {"roles": ["admin"]}, "root", NOON, expect=made.version)


@pytest.mark.parametrize(
    "given",
    [
        {"name": "", "rights": ["read"]},
        {"name": "x\n", "rights": ["read"], "days": 0},
        {"name": "ok", "rights": []},
        {"name": "ok", "rights": ["root"]},
        {"name": "ok", "rights": ["read"], "days": 366},
        {"name": "ok", "rights": ["read"], "days": True},
    ],
)
def test_a_token_has_a_name_rights_and_an_end(given: dict[str, Any]) -> None:
    with pytest.raises(RuleError):
        api_tokens.make(MemoryStore(), given, "root", NOON)


def test_a_damaged_hash_opens_nothing() -> None:
    assert not PASSWORDS.holds("", "")
    assert not PASSWORDS.holds("$argon2id$v=19$m=1", "x")
