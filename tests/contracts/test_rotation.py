"""Another key for the vault, on SQLite and on Google: everything stays readable, wherever it is interrupted."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from app import jobs
from app.adapters.keys import Keyring, LiveKeys, WrongKeys, load_keys, save_keys
from app.adapters.memory import ManualClock, MemoryStore
from app.adapters.sealed import Ear, Known
from app.adapters.sqlite_bus import SqliteBus
from app.adapters.sqlite_rotation import SqliteRotation
from app.adapters.sqlite_vault import SqliteSecrets, SqliteVault
from app.personal import rotating
from rules.kinds import SYSTEM
from rules.ports import Secrets, Vault
from tests.contracts.bus import NOON, event
from tests.contracts.vault import look
from tests.stories.world import Crash, Points

A, B = "default/live", "default/test"
VALUES = [f"value {number}" for number in range(7)]


@dataclass
class Process:
    """One process of an installation: its keys, vault, secrets, and a rotation that may die on its way."""

    keys: LiveKeys
    vault: Vault
    secrets: Secrets
    rotation: rotating.Rotation
    close: Callable[[], None]


@dataclass
class Installation:
    start: Callable[[Points], Process]
    sealed_with: Callable[[], set[str]]  # every key id that a value is sealed with


def sqlite(folder: Path) -> Installation:
    path = folder / "keys.json"

    def start(points: Points) -> Process:
        keys = LiveKeys(partial(load_keys, path), partial(save_keys, path))
        bus = SqliteBus(folder, ManualClock(NOON).now)
        vault, secrets = SqliteVault(folder, keys, bus, lambda *look: None), SqliteSecrets(folder, keys)
        rotation = SqliteRotation(folder, keys, vault, secrets, points.pass_)

        def close() -> None:
            bus.close()
            vault.close()
            secrets.close()

        return Process(keys, vault, secrets, rotation, close)

    def sealed_with() -> set[str]:
        process = start(Points())
        found = {row[3] for row in process.vault.rows()}  # type: ignore[attr-defined]
        process.close()
        return found

    return Installation(start, sealed_with)


@pytest.fixture
def folder(tmp_path: Path) -> Installation:
    return sqlite(tmp_path)


@pytest.fixture
def project(firestore_emulator: None, tmp_path: Path) -> Iterator[Installation]:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import firestore

    from app.adapters.firestore_keys import FirestoreRotation, FirestoreSecrets, StoredKeyring
    from app.adapters.firestore_vault import FirestoreVault
    from app.adapters.kms import FileWrapper

    client = firestore.Client(project=f"test-{uuid.uuid4().hex[:12]}", credentials=AnonymousCredentials())

    def start(points: Points) -> Process:
        keyring = StoredKeyring(client, FileWrapper(tmp_path / "wrap.json"))
        keys = LiveKeys(keyring.load, keyring.save)
        vault, secrets = FirestoreVault(client, keys, lambda *look: None), FirestoreSecrets(client, keys)
        rotation = FirestoreRotation(client, keys, secrets, points.pass_, timedelta(minutes=10))
        return Process(keys, vault, secrets, rotation, lambda: None)

    def sealed_with() -> set[str]:
        return {found.get("key") for found in client.collection_group("values").stream()}

    yield Installation(start, sealed_with)
    client.close()


def filled(process: Process) -> list[str]:
    tokens = process.vault.tokenise(A, "cus_1", VALUES)
    process.vault.tokenise(B, "cus_1", VALUES[:2])
    process.vault.flush()
    process.secrets.put("connection/a/crm", "whsec_1")
    return tokens


def rotated(start: Callable[[Points], Process], at: int | None = None) -> tuple[Points, list[timedelta]]:
    """The whole job, with a new process after each crash: the points it passed, and how long it rested."""
    store, points, clock, rests = MemoryStore(), Points(at), ManualClock(NOON), []
    process, id = start(points), ""
    for _ in range(60):
        try:
            id = id or rotating.start(store, process.rotation, "kim", "yearly", clock.now())
            while (job := store.get(SYSTEM, "job", id)) and job.body["state"] in jobs.OPEN:
                if not jobs.run_one(store, {rotating.JOB: rotating.job(process.rotation)}, clock.now()):
                    rests.append(timedelta(minutes=1))
                    clock.forward(timedelta(minutes=1))
            assert job is not None
            assert job.body["state"] == "done"
            break
        except Crash:
            process.close()
            process = start(points)
            clock.forward(timedelta(minutes=2))  # the lease of the one that died
    process.close()
    return points, rests


def check_all(installation: Installation, before: Keyring, tokens: list[str]) -> None:
    process = installation.start(Points())
    ring = process.keys.stored()
    assert len(ring.keys) == 1
    assert ring.current != before.current
    assert ring.token == before.token
    assert installation.sealed_with() == {ring.current}
    assert [look(process.vault, A, token) for token in tokens] == VALUES
    assert process.vault.tokenise(A, "cus_1", VALUES) == tokens
    assert process.secrets.get("connection/a/crm") == "whsec_1"
    process.close()


def test_every_value_and_secret_is_sealed_anew_and_the_old_key_goes(folder: Installation) -> None:
    process = folder.start(Points())
    tokens, before = filled(process), process.keys.stored()
    process.close()
    _, rests = rotated(folder.start)
    assert rests == []
    check_all(folder, before, tokens)


def test_wherever_it_dies_it_goes_on_and_nothing_is_lost(tmp_path: Path) -> None:
    (tmp_path / "count").mkdir()
    counted = sqlite(tmp_path / "count")
    process = counted.start(Points())
    filled(process)
    process.close()
    points, _ = rotated(counted.start)
    assert points.seen >= 8
    for at in range(1, points.seen + 1):
        (tmp_path / str(at)).mkdir()
        installation = sqlite(tmp_path / str(at))
        process = installation.start(Points())
        tokens, before = filled(process), process.keys.stored()
        process.close()
        rotated(installation.start, at)
        check_all(installation, before, tokens)


def test_another_process_reads_and_keeps_values_at_every_point_of_it(folder: Installation) -> None:
    other = folder.start(Points())  # has been running since before the rotation
    tokens = filled(other)
    kept: list[tuple[str, str]] = []

    class Watching(Points):
        def pass_(self, name: str) -> None:
            super().pass_(name)
            if name.startswith("before values"):
                return  # inside a transaction: whoever writes waits for its end
            assert [look(other.vault, A, token) for token in tokens] == VALUES, name
            assert other.secrets.get("connection/a/crm") == "whsec_1"
            value = f"heard {name}"
            kept.append((other.vault.tokenise(A, "cus_2", [value])[0], value))
            if name != "before the old key is dropped":
                other.secrets.put(f"put {name}", name)

    watching = Watching()
    rotated(lambda _: folder.start(watching))
    other.vault.flush()
    fresh = folder.start(Points())
    assert len(kept) >= 5
    assert [look(fresh.vault, A, token) for token, _ in kept] == [value for _, value in kept]
    assert fresh.secrets.get("put after the old key is retired") == "after the old key is retired"
    other.close()
    fresh.close()


def test_what_waited_with_a_retired_key_is_sealed_anew_on_its_way(tmp_path: Path) -> None:
    installation = sqlite(tmp_path)
    ring = load_keys(tmp_path / "keys.json")
    keys = LiveKeys(partial(load_keys, tmp_path / "keys.json"))
    bus = SqliteBus(tmp_path, ManualClock(NOON).now)
    vault = SqliteVault(tmp_path, keys, bus, lambda *look: None)
    token = "tok_" + "0" * 24
    row = (A, token, "cus_1", *keys.seal(f"vault\n{A}\n{token}", "late"), "name", 0)
    rotated(installation.start)
    bus.publish_bytes("evt_1", A, b"{}", [row])
    assert look(vault, A, token) == "late"
    assert installation.sealed_with() == {load_keys(tmp_path / "keys.json").current} != {ring.current}
    bus.close()


def test_what_was_heard_before_a_key_was_retired_is_sealed_with_the_new_one(tmp_path: Path) -> None:
    installation = sqlite(tmp_path)
    unaware = installation.start(Points())
    filled(unaware)
    rotated(installation.start)
    (token,) = unaware.vault.tokenise(A, "cus_3", ["late"])
    unaware.vault.flush()
    assert installation.sealed_with() == {load_keys(tmp_path / "keys.json").current}
    assert look(unaware.vault, A, token) == "late"
    unaware.close()


def test_a_key_stays_while_anything_is_sealed_with_it(folder: Installation) -> None:
    process = folder.start(Points())
    tokens = filled(process)
    process.rotation.begin()
    assert not process.rotation.finish()
    assert len(process.keys.stored().keys) == 2
    assert process.rotation.reseal(None, 100)[0] == 9
    assert process.rotation.finish()
    assert len(process.keys.stored().keys) == 1
    assert [look(process.vault, A, token) for token in tokens] == VALUES
    process.close()


def test_a_secret_that_somebody_still_seals_with_the_old_key_holds_it(folder: Installation, tmp_path: Path) -> None:
    process = folder.start(Points())
    filled(process)
    unaware = SqliteSecrets(tmp_path, process.keys.stored())  # knows no key but this one
    process.close()

    class Late(Points):
        def pass_(self, name: str) -> None:
            super().pass_(name)
            if name == "after the old key is retired" and "late" not in unaware.names():
                unaware.put("late", "whsec_2")

    late = Late()
    rotated(lambda _: folder.start(late))
    fresh = folder.start(Points())
    assert len(fresh.keys.stored().keys) == 1
    assert fresh.secrets.get("late") == "whsec_2"
    unaware.close()
    fresh.close()


def test_a_key_that_is_gone_opens_nothing(folder: Installation, tmp_path: Path) -> None:
    process = folder.start(Points())
    old, _ = process.keys.stored(), filled(process)
    key, sealed = old.seal("vault", "value")
    process.close()
    rotated(folder.start)
    with pytest.raises(WrongKeys):
        load_keys(tmp_path / "keys.json").open(key, "vault", sealed)


def test_asking_twice_goes_on_with_what_was_begun(folder: Installation) -> None:
    store, process = MemoryStore(), folder.start(Points())
    first = rotating.start(store, process.rotation, "kim", "yearly", NOON)
    assert rotating.start(store, process.rotation, "lee", "again", NOON) == first
    assert len(process.keys.stored().keys) == 2
    said = rotating.status(store, process.rotation)
    assert said["job"]["state"] == "queued"
    assert len(said["old"]) == 1
    process.close()


def test_begun_twice_it_makes_one_key(folder: Installation) -> None:
    process = folder.start(Points())
    process.rotation.begin()
    process.rotation.begin()
    assert len(process.keys.stored().keys) == 2
    process.close()


@dataclass
class Slow:
    """A rotation that finds so many values at each look; whether the old key may go, at each try."""

    finds: list[int]
    goes: list[bool]
    grace: timedelta = timedelta(minutes=10)

    def keys(self) -> tuple[str, tuple[str, ...]]:
        return "new", ("old",)

    def begin(self) -> None:
        """There is a new key already."""

    def reseal(self, after: str | None, most: int) -> tuple[int, str | None]:
        return self.finds.pop(0), None

    def finish(self) -> bool:
        return self.goes.pop(0)


@pytest.mark.parametrize(
    ("finds", "goes", "rests"),
    [
        ([7, 0], [True], 10),
        ([7, 1, 0], [True], 20),  # somebody sealed with the old key during the grace: it begins anew
        ([7, 0, 0], [False, True], 10),  # the old key may not go yet: it looks again
    ],
)
def test_it_rests_and_looks_until_nothing_is_found_and_the_old_key_is_gone(
    finds: list[int], goes: list[bool], rests: int
) -> None:
    rotation = Slow(finds, goes)
    found = rotated(lambda points: Process(None, None, None, rotation, lambda: None))[1]  # type: ignore[arg-type]
    assert (rotation.finds, rotation.goes) == ([], [])
    assert sum(found, timedelta()) == timedelta(minutes=rests)


def test_the_events_go_on_while_it_runs(tmp_path: Path) -> None:
    installation = sqlite(tmp_path)
    process = installation.start(Points())
    filled(process)
    bus = SqliteBus(tmp_path, ManualClock(NOON).now)
    process.rotation.begin()
    process.rotation.reseal(None, 3)
    bus.publish(event())
    process.rotation.reseal("3", 3)
    bus.close()
    process.close()


# ---- Google ---------------------------------------------------------------------------------------------------------
@pytest.mark.emulator
def test_on_google_the_old_key_stays_for_the_grace_and_then_goes(project: Installation) -> None:
    process = project.start(Points())
    tokens, before = filled(process), process.keys.stored()
    _, rests = rotated(project.start)
    assert sum(rests, timedelta()) >= timedelta(minutes=10)
    check_all(project, before, tokens)
    assert [look(process.vault, A, token) for token in tokens] == VALUES  # a process from before reads on


@pytest.mark.emulator
def test_on_google_wherever_it_dies_it_goes_on(project: Installation) -> None:
    process = project.start(Points())
    tokens = filled(process)
    for at in range(1, 10):
        before = process.keys.stored()
        rotated(project.start, at)
        check_all(project, before, tokens)


@pytest.mark.emulator
def test_two_who_begin_at_once_make_one_key(project: Installation) -> None:
    one, other = project.start(Points()), project.start(Points())
    ring = one.keys.stored()
    one.rotation.begin()
    other.rotation.begin()
    assert len(other.keys.stored().keys) == 2
    tokens = other.vault.tokenise(A, "cus_1", ["a"])
    assert look(one.vault, A, tokens[0]) == "a"
    assert one.keys.stored().token == ring.token


def test_the_ear_listens_every_few_seconds_and_hears_a_new_day() -> None:
    now, day = [0.0], [5]
    ear = Ear(lambda: day[0], lambda: now[0])
    assert ear.is_time()
    assert not ear.is_time()
    now[0] = 6.0
    assert ear.is_time()
    assert not ear.new_day()
    day[0] = 6
    assert ear.new_day()
    assert ear.day == 6


def test_what_a_process_knows_is_kept_has_an_end_and_the_oldest_goes_first() -> None:
    known = Known(4)
    values = [f"tok_{number}" for number in range(7)]
    for value in values:
        known.add([value])
    assert [value in known for value in values] == [False] * 4 + [True] * 3
