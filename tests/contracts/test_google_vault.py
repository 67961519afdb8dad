"""The Vault and Secrets contracts on Google: Firestore's emulator, Secret Manager and KMS played by gRPC servers."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.adapters.keys import Keyring, WrongKeys
from app.adapters.kms import FileWrapper, KmsWrapper
from app.adapters.secret_manager import FRESH, SecretManager, secret_id
from rules.ports import Secrets, Unavailable, Vault
from tests.contracts.bus import in_threads
from tests.contracts.vault import ADA, SecretsContract, VaultContract, look
from tests.fakes.google_keys import FakeKms, FakeSecretManager, serving

A = "default/live"
KEYS = Keyring.make()
KEY = "projects/p/locations/global/keyRings/signalbox/cryptoKeys/vault"


@pytest.fixture
def client(firestore_emulator: None) -> Iterator[Any]:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import firestore

    client = firestore.Client(project=f"test-{uuid.uuid4().hex[:12]}", credentials=AnonymousCredentials())
    yield client
    client.close()


@pytest.mark.emulator
class TestFirestoreVault(VaultContract):
    @pytest.fixture
    def vault(self, client: Any) -> Vault:
        from app.adapters.firestore_vault import FirestoreVault

        return FirestoreVault(client, KEYS, lambda *look: None)


@pytest.mark.emulator
class TestFirestoreSecrets(SecretsContract):
    @pytest.fixture
    def secrets(self, client: Any) -> Secrets:
        from app.adapters.firestore_keys import FirestoreSecrets

        return FirestoreSecrets(client, KEYS)


@pytest.fixture
def manager() -> Iterator[tuple[FakeSecretManager, Any]]:
    fake = FakeSecretManager()
    with serving(fake) as client:
        yield fake, client


class TestSecretManager(SecretsContract):
    @pytest.fixture
    def secrets(self, manager: tuple[FakeSecretManager, Any]) -> Secrets:
        return SecretManager(manager[1], "p")


def test_another_process_sees_a_new_secret_when_what_it_read_is_no_longer_fresh(
    manager: tuple[FakeSecretManager, Any],
) -> None:
    now = [0.0]
    web, worker = SecretManager(manager[1], "p", lambda: now[0]), SecretManager(manager[1], "p", lambda: now[0])
    web.put("connection/a/crm", "whsec_1")
    assert worker.get("connection/a/crm") == "whsec_1"
    web.put("connection/a/crm", "whsec_2")
    assert worker.get("connection/a/crm") == "whsec_1"
    now[0] = FRESH
    assert worker.get("connection/a/crm") == "whsec_2"
    before = manager[0].accesses
    for _ in range(100):
        worker.get("connection/a/crm")
    assert manager[0].accesses == before


def test_a_secret_manager_that_is_away_is_unavailable(manager: tuple[FakeSecretManager, Any]) -> None:
    manager[0].away = True
    secrets = SecretManager(manager[1], "p", patience=0.3)
    with pytest.raises(Unavailable, match="Secret Manager"):
        secrets.get("name")
    with pytest.raises(Unavailable, match="Secret Manager"):
        secrets.put("name", "value")


def test_a_secrets_name_says_what_it_is_and_is_never_that_of_another() -> None:
    names = ["connection/a/b-c", "connection/a-b/c", "connection/ä", "connection/ö", "x" * 400]
    ids = [secret_id(name) for name in names]
    assert len(set(ids)) == len(ids)
    assert all(len(id) <= 255 and id.isascii() and "/" not in id for id in ids)
    assert ids[0].startswith("signalbox-connection-a-b-c-")


# ---- the keyring ----------------------------------------------------------------------------------------------------
@pytest.mark.emulator
def test_processes_that_start_together_end_with_the_same_keys(client: Any, tmp_path: Path) -> None:
    from app.adapters.firestore_keys import StoredKeyring

    wrapper, found = FileWrapper(tmp_path / "wrap.json"), []
    in_threads(6, lambda n: found.append(StoredKeyring(client, wrapper).load()))
    assert len({ring.fingerprint for ring in found}) == 1
    assert StoredKeyring(client, wrapper).load() == found[0]


@pytest.mark.emulator
def test_firestore_holds_the_keys_only_as_kms_wrapped_them(client: Any) -> None:
    from app.adapters.firestore_keys import StoredKeyring

    fake = FakeKms(KEY)
    with serving(fake) as kms:
        wrapper = KmsWrapper(kms, KEY)
        keyring = StoredKeyring(client, wrapper)
        ring = keyring.load()
        stored = client.collection("installation").document("keyring").get().get("wrapped")
        assert ring.token not in stored
        assert ring.to_text().encode() not in stored
        keyring.save(ring.rotated())
        assert len(StoredKeyring(client, wrapper).load().keys) == 2
        with pytest.raises(WrongKeys, match="other tokens"):
            keyring.save(Keyring.make())
        fake.rotate()
        assert StoredKeyring(client, wrapper).load().fingerprint == ring.fingerprint


def test_what_another_key_wrapped_does_not_open(tmp_path: Path) -> None:
    with serving(FakeKms(KEY)) as one, serving(FakeKms(KEY)) as other:
        wrapped = KmsWrapper(one, KEY).wrap(b"keys")
        assert KmsWrapper(one, KEY).unwrap(wrapped) == b"keys"
        with pytest.raises(WrongKeys):
            KmsWrapper(other, KEY).unwrap(wrapped)
        with pytest.raises(Unavailable, match="Cloud KMS"):
            KmsWrapper(one, KEY + "-lost").wrap(b"keys")
    mine, yours = FileWrapper(tmp_path / "mine.json"), FileWrapper(tmp_path / "yours.json")
    assert mine.unwrap(mine.wrap(b"keys")) == b"keys"
    with pytest.raises(WrongKeys):
        yours.unwrap(mine.wrap(b"keys"))


# ---- the vault ------------------------------------------------------------------------------------------------------
@pytest.mark.emulator
def test_every_look_is_recorded_before_the_value_is_shown(client: Any) -> None:
    from app.adapters.firestore_vault import FirestoreVault

    looks: list[tuple[str, ...]] = []
    vault = FirestoreVault(client, KEYS, lambda *look: looks.append(look))
    (token,) = vault.tokenise(A, "cus_1", [ADA])
    assert look(vault, A, token) == ADA
    assert looks == [(A, token, "kim", "a customer asked", "")]

    def cannot_record(*look: str) -> None:
        raise OSError("the audit log is away")

    with pytest.raises(OSError, match="audit log"):
        look(FirestoreVault(client, KEYS, cannot_record), A, token)


@pytest.mark.emulator
def test_no_document_of_the_vault_holds_a_value_in_the_clear(client: Any) -> None:
    from app.adapters.firestore_vault import FirestoreVault

    FirestoreVault(client, KEYS, lambda *look: None).tokenise(A, "cus_1", ["Ada Lovelace", "ada@example.com"])
    held = [found.to_dict() for found in client.collection_group("values").stream()]
    assert len(held) == 2
    assert "Lovelace" not in str(held)
    assert "ada@" not in str(held)


@pytest.mark.emulator
def test_a_subject_with_more_values_than_a_batch_is_erased_whole(client: Any) -> None:
    from app.adapters.firestore_vault import FirestoreVault

    vault = FirestoreVault(client, KEYS, lambda *look: None)
    vault.tokenise(A, "cus_1", [f"value {n}" for n in range(230)])
    assert vault.erase(A, "cus_1") == 230
    assert vault.erase(A, "cus_1") == 0
