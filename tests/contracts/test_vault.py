"""The Vault and Secrets contracts on each backend, and what only the encrypted ones can show."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.adapters.keys import Keyring, WrongKeys, load_keys, save_keys
from app.adapters.memory import ManualClock, MemorySecrets, MemoryVault
from app.adapters.sealed import Known
from app.adapters.sqlite_bus import SqliteBus
from app.adapters.sqlite_vault import SqliteSecrets, SqliteVault
from rules.ports import Secrets, Unavailable, Vault
from tests.contracts.bus import NOON, event
from tests.contracts.vault import ADA, SecretsContract, VaultContract, look

A = "default/live"
KEYS = Keyring.make()


class World:
    """A data folder with its bus, vault and notes of who looked."""

    def __init__(self, folder: Path, keys: Keyring = KEYS) -> None:
        self.looks: list[tuple[str, ...]] = []
        self.bus = SqliteBus(folder, ManualClock(NOON).now)
        self.vault = SqliteVault(folder, keys, self.bus, lambda *look: self.looks.append(look))

    def close(self) -> None:
        self.bus.close()
        self.vault.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


class TestMemoryVault(VaultContract):
    @pytest.fixture
    def vault(self) -> Vault:
        return MemoryVault()


class TestSqliteVault(VaultContract):
    @pytest.fixture
    def vault(self, world: World) -> Vault:
        return world.vault


class TestMemorySecrets(SecretsContract):
    @pytest.fixture
    def secrets(self) -> Secrets:
        return MemorySecrets()


class TestSqliteSecrets(SecretsContract):
    @pytest.fixture
    def secrets(self, tmp_path: Path) -> Iterator[Secrets]:
        secrets = SqliteSecrets(tmp_path, KEYS)
        yield secrets
        secrets.close()


def vault_rows(folder: Path) -> int:
    connection = sqlite3.connect(folder / "inbox.db")
    try:
        return int(connection.execute("SELECT count(*) FROM vault").fetchone()[0])
    finally:
        connection.close()


def test_values_are_durable_when_the_next_publish_is(tmp_path: Path, world: World) -> None:
    world.vault.tokenise(A, "cus_1", [ADA, "Ada"])
    world.bus.publish(event())
    assert vault_rows(tmp_path) == 2


def test_values_are_durable_after_a_flush_without_a_publish(tmp_path: Path, world: World) -> None:
    world.vault.tokenise(A, "cus_1", [ADA])
    world.vault.flush()
    assert vault_rows(tmp_path) == 1


def test_a_known_value_is_not_written_again(tmp_path: Path, world: World) -> None:
    for _ in range(3):
        world.vault.tokenise(A, "cus_1", [ADA])
        world.bus.publish(event())
    assert vault_rows(tmp_path) == 1


def test_a_value_that_stands_twice_in_an_event_is_kept_once(tmp_path: Path, world: World) -> None:
    tokens = world.vault.tokenise(A, "cus_1", ["Ada", ADA, "Ada"], ["name", "email", "name"])
    world.vault.flush()
    assert tokens[0] == tokens[2]
    assert vault_rows(tmp_path) == 2


def test_no_nonce_is_used_for_two_values(world: World) -> None:
    for number in range(3):
        world.vault.tokenise(A, f"cus_{number}", [f"value {at}" for at in range(100)])
        world.vault.flush()
    assert len({row[4][:12] for row in world.vault.rows()}) == 300


def test_values_sealed_together_open_each_for_its_own_place() -> None:
    names = [("place 1", "Ada"), ("place 2", "Grace"), ("place 3", "Ada")]
    key, sealed = KEYS.seal_all(names)
    opened = [KEYS.open(key, place, value) for (place, _), value in zip(names, sealed, strict=True)]
    assert opened == [value for _, value in names]
    with pytest.raises(WrongKeys):
        KEYS.open(key, "place 1", sealed[2])


def test_a_queue_writes_no_value_that_nobody_seals(tmp_path: Path) -> None:
    bus = SqliteBus(tmp_path, ManualClock(NOON).now)
    bus.hear([(A, "tok_1", "cus_1", "Ada Lovelace", "name", 0)])
    with pytest.raises(Unavailable, match="nobody to seal"):
        bus.publish(event())
    assert b"Lovelace" not in b"".join(path.read_bytes() for path in tmp_path.glob("inbox.db*"))
    bus.close()


def test_the_oldest_of_the_known_values_are_forgotten_first() -> None:
    known = Known(size=10)
    for number in range(14):
        known.add([str(number)])
    assert [str(number) in known for number in range(14)] == [False] * 5 + [True] * 9
    known.clear()
    assert not any(str(number) in known for number in range(14))


def test_another_process_sees_and_erases_what_one_has_kept(tmp_path: Path, world: World) -> None:
    (token,) = world.vault.tokenise(A, "cus_1", [ADA])
    world.bus.publish(event())
    other = World(tmp_path)
    assert look(other.vault, A, token) == ADA
    assert other.vault.erase(A, "cus_1") == 1
    other.close()
    assert look(world.vault, A, token) is None


def test_every_look_is_recorded_before_the_value_is_shown(tmp_path: Path, world: World) -> None:
    (token,) = world.vault.tokenise(A, "cus_1", [ADA])
    look(world.vault, A, token)
    assert world.looks == [(A, token, "kim", "a customer asked", "")]

    def cannot_record(*look: str) -> None:
        raise OSError("the audit log is away")

    blind = SqliteVault(tmp_path, KEYS, world.bus, cannot_record)
    with pytest.raises(OSError, match="audit log"):
        look(blind, A, token)


def test_no_file_of_the_folder_holds_a_value_in_the_clear(tmp_path: Path) -> None:
    world, secrets = World(tmp_path), SqliteSecrets(tmp_path, KEYS)
    world.vault.tokenise(A, "cus_1", ["Ada Lovelace", "ada@example.com"])
    world.bus.publish(event())
    secrets.put("connection/a/crm", "whsec_very_secret")
    found = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())
    world.close()
    secrets.close()
    assert b"Lovelace" not in found
    assert b"ada@" not in found
    assert b"very_secret" not in found


def test_erased_values_leave_no_sealed_bytes_behind(tmp_path: Path, world: World) -> None:
    world.vault.tokenise(A, "cus_1", [ADA])
    world.bus.publish(event())
    connection = sqlite3.connect(tmp_path / "inbox.db")
    sealed = connection.execute("SELECT value FROM vault").fetchone()[0]
    connection.close()
    assert sealed in b"".join(path.read_bytes() for path in tmp_path.glob("inbox.db*"))
    world.vault.erase(A, "cus_1")
    assert sealed not in b"".join(path.read_bytes() for path in tmp_path.glob("inbox.db*"))


def test_a_rotated_key_seals_anew_and_the_old_one_still_opens(tmp_path: Path) -> None:
    before = World(tmp_path)
    (token,) = before.vault.tokenise(A, "cus_1", [ADA])
    before.bus.publish(event())
    before.close()
    rotated = KEYS.rotated()
    after = World(tmp_path, rotated)
    assert after.vault.tokenise(A, "cus_1", [ADA]) == [token]
    assert look(after.vault, A, token) == ADA
    (second,) = after.vault.tokenise(A, "cus_1", ["new"])
    assert look(after.vault, A, second) == "new"
    after.close()
    with pytest.raises(WrongKeys, match="not among the keys"):
        look(World(tmp_path).vault, A, second)


def test_a_folder_refuses_keys_that_are_not_its_own(tmp_path: Path, world: World) -> None:
    with pytest.raises(WrongKeys, match=r"restore its keys\.json"):
        World(tmp_path, Keyring.make())


def test_a_sealed_value_moved_to_another_name_does_not_open() -> None:
    key_id, sealed = KEYS.seal("secret\na", "value")
    assert KEYS.open(key_id, "secret\na", sealed) == "value"
    with pytest.raises(WrongKeys):
        KEYS.open(key_id, "secret\nb", sealed)
    with pytest.raises(WrongKeys):
        KEYS.open(key_id, "secret\na", sealed[:-1] + bytes([sealed[-1] ^ 1]))


def test_the_key_file_is_made_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "data" / "keys.json"
    made = load_keys(path)
    assert load_keys(path) == made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    save_keys(path, made.rotated())
    assert load_keys(path).token == made.token
    assert len(load_keys(path).keys) == 2
    assert [found.name for found in path.parent.iterdir()] == ["keys.json"]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"token": "AA==", "current": "k", "keys": {"k": "AA=="}}'])
def test_keys_that_cannot_be_are_refused_with_their_form(text: str) -> None:
    with pytest.raises(WrongKeys):
        Keyring.from_text(text)


def test_secrets_from_the_environment_go_first(tmp_path: Path) -> None:
    secrets = SqliteSecrets(tmp_path, KEYS, given={"stripe/api_key": "from the environment"})
    secrets.put("stripe/api_key", "from the file")
    assert secrets.get("stripe/api_key") == "from the environment"
    secrets.close()


def test_a_secret_put_by_one_process_is_got_by_another(tmp_path: Path) -> None:
    web, worker = SqliteSecrets(tmp_path, KEYS), SqliteSecrets(tmp_path, KEYS)
    web.put("connection/a/crm", "whsec_1")
    assert worker.get("connection/a/crm") == "whsec_1"
    web.put("connection/a/crm", "whsec_2")
    assert worker.get("connection/a/crm") == "whsec_2"
    web.close()
    worker.close()
