"""Moving an installation between backends: everything arrives, whatever interrupts it, and life goes on from there."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from app import moving
from app.adapters.keys import Keyring
from app.adapters.memory import ManualClock
from app.adapters.sqlite_bus import SqliteBus
from app.adapters.sqlite_store import SqliteStore
from app.adapters.sqlite_vault import SqliteSecrets, SqliteVault
from app.audit import entry
from app.audit.seal import head, seal
from app.audit.verify import read_anchor, verify
from app.cli.moving import Bar
from app.moving import Kept
from rules.ports import Put, Refused, Store
from tests.builders import DAY, NOON, TENANT
from tests.contracts.store import MINUTE, A, logged
from tests.contracts.vault import ADA, look
from tests.stories.world import LADDER, World, failed

KEYS = Keyring.make()
SECRET = "connection/default/test/crm"
Made = Callable[[], Kept]


@pytest.fixture
def on_sqlite(tmp_path: Path) -> Iterator[Made]:
    """A data folder of its own at each call, all under the same keys."""
    closers: list[Callable[[], None]] = []

    def make() -> Kept:
        folder = tmp_path / uuid.uuid4().hex
        bus = SqliteBus(folder, ManualClock(NOON).now)
        store, secrets = SqliteStore(folder / "store.db"), SqliteSecrets(folder, KEYS)
        vault = SqliteVault(folder, KEYS, bus, lambda *look: None)
        closers.extend((bus.close, vault.close, secrets.close, store.close))
        return Kept(store, vault, secrets, KEYS)

    yield make
    for close in closers:
        close()


@pytest.fixture
def on_google(firestore_emulator: None) -> Iterator[Made]:
    from app.adapters.firestore import FirestoreStore
    from app.adapters.firestore_keys import FirestoreSecrets
    from app.adapters.firestore_vault import FirestoreVault
    from tests.firestore_calls import recording_client

    clients: list[Any] = []

    def make() -> Kept:
        client, _ = recording_client(f"test-{uuid.uuid4().hex[:12]}", os.environ["FIRESTORE_EMULATOR_HOST"])
        clients.append(client)
        vault = FirestoreVault(client, KEYS, lambda *look: None)
        return Kept(FirestoreStore(client), vault, FirestoreSecrets(client, KEYS), KEYS)

    yield make
    for client in clients:
        client.close()


def lived_in(kept: Kept) -> Kept:
    """A story in the middle of its wait, with personal values and a secret."""
    world = World(opened=lambda: kept.store)
    world.publish(LADDER)
    world.live(NOON + 2 * DAY, (NOON, failed(1, NOON)), (NOON + DAY, failed(2, NOON + DAY)))
    assert [run["state"] for run in world.runs()] == ["waiting"]
    soon = NOON + 2 * DAY + MINUTE
    kept.store.commit(TENANT, None, [entry(soon, "ada", "save draft", "r"), entry(soon, "bob", "publish", "r", 1.5)])
    assert seal(kept.store, TENANT, soon + MINUTE) == 2
    kept.vault.tokenise(TENANT, "cus_1", [ADA, "Ada"])
    kept.vault.tokenise(TENANT, "cus_2", [ADA])
    kept.vault.bar(TENANT, ["cus_gone"])
    kept.secrets.put(SECRET, "whsec_1")
    return kept


def same(here: Kept, there: Kept) -> None:
    """The other installation keeps the same."""
    assert moving.summed(there.store).body() == moving.summed(here.store).body()
    known = head(here.store, TENANT)
    assert known
    report = verify(there.store, TENANT, anchors=[read_anchor(known.anchor)])
    assert (report.whole, report.anchor, report.unsealed) == (True, known.anchor, 0)
    for value in (ADA, "Ada"):
        assert look(there.vault, TENANT, KEYS.token_for(TENANT, value)) == value
    assert there.vault.is_barred(TENANT, "cus_gone")
    assert there.secrets.get(SECRET) == "whsec_1"
    assert there.vault.erase(TENANT, "cus_1") == 2
    assert look(there.vault, TENANT, KEYS.token_for(TENANT, ADA)) == ADA  # of the other customer too


def goes_on(kept: Kept) -> list[str]:
    """What happens after the move: the wait ends, and the ladder goes on to its end."""
    world = World(opened=lambda: kept.store)
    world.clock.set(NOON + 2 * DAY)
    world.live(NOON + 6 * DAY)
    assert [run["state"] for run in world.runs()] == ["done"]
    return [effect.id for effect in world.outside.effects()]


def test_what_was_exported_is_what_arrives_and_life_goes_on(on_sqlite: Made, tmp_path: Path) -> None:
    here, there = lived_in(on_sqlite()), on_sqlite()
    manifest = moving.export(here, tmp_path / "out")
    assert moving.load(tmp_path / "out", there) == manifest
    same(here, there)
    assert goes_on(there) == goes_on(here) != []


@pytest.mark.emulator
def test_from_sqlite_to_firestore_and_back_everything_is_the_same(
    on_sqlite: Made, on_google: Made, tmp_path: Path
) -> None:
    here, cloud, back = lived_in(on_sqlite()), on_google(), on_sqlite()
    there = moving.export(here, tmp_path / "out")
    moving.load(tmp_path / "out", cloud)
    again = moving.export(cloud, tmp_path / "back")
    assert again == there
    moving.load(tmp_path / "back", back)
    same(here, back)
    same(here, cloud)
    assert goes_on(cloud) == goes_on(back) == goes_on(here) != []


class Interrupted(Exception):
    pass


def until(number: int) -> moving.Tell:
    """Interrupts what it is told of at this file."""
    count = [0]

    def tell(what: str, moved: int) -> None:
        count[0] += 1
        if count[0] == number:
            raise Interrupted

    return tell


@pytest.mark.parametrize("number", [1, 3, 6, 9])
def test_what_is_interrupted_goes_on_where_it_was(on_sqlite: Made, tmp_path: Path, number: int) -> None:
    here, there = lived_in(on_sqlite()), on_sqlite()
    with pytest.raises(Interrupted):
        moving.export(here, tmp_path / "out", until(number))
    manifest = moving.export(here, tmp_path / "out")
    with pytest.raises(Interrupted):
        moving.load(tmp_path / "out", there, until(number))
    assert moving.load(tmp_path / "out", there) == manifest
    same(here, there)


class Failing:
    """A store whose process dies at one of its calls."""

    def __init__(self, store: Store, at: int) -> None:
        self._store, self._left = store, at

    def __getattr__(self, name: str) -> Any:
        asked = getattr(self._store, name)

        def call(*arguments: Any, **named: Any) -> Any:
            self._left -= 1
            if self._left == 0:
                raise Interrupted
            done = asked(*arguments, **named)
            self._left -= 1
            if self._left == 0:
                raise Interrupted  # it happened, and nobody heard
            return done

        return call


def insists(body: Callable[[Kept], Any], kept: Kept, chance: random.Random) -> tuple[Any, int]:
    """Try again and again, dying at a random call each time, until it comes through; with how many deaths."""
    for deaths in range(40):
        store: Any = Failing(kept.store, chance.randrange(1, 30 + 40 * deaths))
        try:
            return body(replace(kept, store=store)), deaths
        except Interrupted:
            continue
    raise AssertionError("it never came through")


@pytest.mark.parametrize("seed", range(6))
def test_killed_at_any_call_again_and_again_everything_arrives_once(on_sqlite: Made, tmp_path: Path, seed: int) -> None:
    dies_anywhere(lived_in(on_sqlite()), on_sqlite(), tmp_path, seed)


@pytest.mark.emulator
@pytest.mark.parametrize("seed", [7, 8])
def test_killed_at_any_call_on_the_way_to_firestore_everything_arrives_once(
    on_sqlite: Made, on_google: Made, tmp_path: Path, seed: int
) -> None:
    dies_anywhere(lived_in(on_sqlite()), on_google(), tmp_path, seed)


def dies_anywhere(here: Kept, there: Kept, path: Path, seed: int) -> None:
    chance = random.Random(seed)
    manifest, out = insists(lambda kept: moving.export(kept, path / "out"), here, chance)
    assert manifest["digest"] == moving.summed(here.store).body()["digest"]
    loaded, back = insists(lambda kept: moving.load(path / "out", kept), there, chance)
    assert loaded == manifest
    assert out + back > 0
    same(here, there)


@pytest.mark.nightly
def test_commands_that_are_killed_go_on_where_they_were(tmp_path: Path) -> None:
    """kill -9 at random moments of export and import, until both come through."""
    here, there, out = tmp_path / "here", tmp_path / "there", tmp_path / "out"
    filled(here)
    chance = random.Random(1)
    for data, arguments in ((here, ("export", str(out))), (there, ("import", str(out)))):
        deaths = 0
        while True:
            process = subprocess.Popen(
                program_of(*arguments),
                env=environ_of(data),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            try:
                said, _ = process.communicate(timeout=0.4 + chance.random() * (1 + deaths))
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                deaths += 1
                continue
            assert process.returncode == 0, said
            break
        assert deaths > 0
    assert (out / moving.MANIFEST).exists()
    store = SqliteStore(there / "store.db")
    assert moving.summed(store).body()["counts"]["event"] == 12_000
    store.close()


def filled(data: Path) -> None:
    store = SqliteStore(data / "store.db")
    store.commit("system", None, [Put("tenant", A, {"id": A, "created_at": "2026"})])
    with store.batch():
        for n in range(12_000):
            store.commit(A, logged(f"evt_{n}", data={"id": f"evt_{n}", "noise": "x" * 2_000}), [])
    store.close()


def test_large_documents_go_in_several_requests(on_sqlite: Made) -> None:
    rows = [{"tenant": A, "kind": "event", "id": str(n), "body": {"noise": "x" * 700_000}} for n in range(20)]
    parts = list(moving._parts(rows))
    assert [row["id"] for part in parts for row in part] == [row["id"] for row in rows]
    assert all(len(orjson.dumps([row["body"] for row in part])) <= moving.BYTES + 20 for part in parts)
    assert [len(part) for part in moving._parts(rows[:1] * 101)] == [7] * 14 + [3]


def test_a_bar_tells_how_far_it_is() -> None:
    bar = Bar(2_000, on_terminal=False)
    bar.moved = 1_000
    assert bar.line("event of a") == "[##########..........]  50%  1,000 of 2,000: event of a"
    assert Bar(0, on_terminal=False).line("x").endswith("] 100%  0 of 0: x")


def test_many_documents_go_in_several_files(on_sqlite: Made, tmp_path: Path) -> None:
    here, there = on_sqlite(), on_sqlite()
    here.store.commit("system", None, [Put("tenant", A, {"id": A, "created_at": "2026"})])
    with here.store.batch():
        for n in range(moving.CHUNK + 700):
            here.store.commit(A, logged(f"evt_{n}"), [])
    assert moving.export(here, tmp_path / "out")["counts"]["event"] == moving.CHUNK + 700
    assert len(list((tmp_path / "out").glob("*.event.*"))) == 2
    moving.load(tmp_path / "out", there)
    assert there.store.count(A, "event") == moving.CHUNK + 700


def test_two_histories_are_never_mixed(on_sqlite: Made, tmp_path: Path) -> None:
    here, other = lived_in(on_sqlite()), lived_in(on_sqlite())
    moving.export(here, tmp_path / "out")
    with pytest.raises(Refused, match="not empty"):
        moving.load(tmp_path / "out", other)


def test_a_file_that_was_changed_is_found_out(on_sqlite: Made, tmp_path: Path) -> None:
    import gzip

    moving.export(lived_in(on_sqlite()), tmp_path / "out")
    path = next((tmp_path / "out").glob("*.run.*"))
    row = orjson.loads(gzip.decompress(path.read_bytes()))
    row["body"]["money"] = {"usd": 1}
    path.write_bytes(gzip.compress(orjson.dumps(row)))
    with pytest.raises(Refused, match="not what left"):
        moving.load(tmp_path / "out", on_sqlite())


def test_what_ended_and_was_not_heard_of_is_done_when_it_is_asked_for_again(on_sqlite: Made, tmp_path: Path) -> None:
    here, there = lived_in(on_sqlite()), on_sqlite()
    manifest = moving.export(here, tmp_path / "out")
    assert moving.export(here, tmp_path / "out") == manifest
    assert moving.load(tmp_path / "out", there) == moving.load(tmp_path / "out", there) == manifest
    same(here, there)
    with pytest.raises(Refused, match="something else"):
        moving.export(on_sqlite(), tmp_path / "out")


def test_an_export_that_was_not_finished_is_no_import(on_sqlite: Made, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        moving.export(lived_in(on_sqlite()), tmp_path / "out", until(2))
    with pytest.raises(Refused, match="no finished export"):
        moving.load(tmp_path / "out", on_sqlite())


def test_the_folder_is_its_owners_alone_and_holds_no_value_in_the_clear(on_sqlite: Made, tmp_path: Path) -> None:
    import gzip

    moving.export(lived_in(on_sqlite()), tmp_path / "out")
    for path in (tmp_path / "out").iterdir():
        assert path.stat().st_mode & 0o077 == 0, path
        content = path.read_bytes()
        text = gzip.decompress(content) if path.suffix == ".gz" else content
        assert ADA.encode() not in text
        assert b"whsec_1" not in text


def test_a_store_that_changes_meanwhile_is_noticed(on_sqlite: Made, tmp_path: Path) -> None:
    here = lived_in(on_sqlite())

    def meddle(what: str, count: int) -> None:
        if what.startswith("run of"):
            run = here.store.find(TENANT, "run").items[0]
            here.store.commit(TENANT, None, [Put("run", run.id, {**run.body, "reason": "changed"})])

    with pytest.raises(Refused, match="changed meanwhile"):
        moving.export(here, tmp_path / "out", meddle)


def environ_of(data: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "SIGNALBOX_DATA": str(data), "SIGNALBOX_MATCHER": "python"}


def program_of(*arguments: str) -> list[str]:
    return [sys.executable, str(Path(__file__).parents[2] / "main.py"), *arguments]


def command(data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(program_of(*arguments), env=environ_of(data), capture_output=True, text=True, check=False)


def test_the_commands_move_a_data_folder_and_keep_its_keys(tmp_path: Path) -> None:
    here, there, out = tmp_path / "here", tmp_path / "there", tmp_path / "out"
    assert command(here, "doctor").returncode in (0, 1)
    done = command(here, "export", str(out))
    assert (done.returncode, done.stderr) == (0, "")
    assert "Exported and verified" in done.stdout
    done = command(there, "import", str(out))
    assert (done.returncode, done.stderr) == (0, "")
    ours, theirs = (Keyring.from_text((folder / "keys.json").read_bytes()) for folder in (here, there))
    assert ours.fingerprint == theirs.fingerprint
    other = tmp_path / "other"
    command(other, "doctor")
    refused = command(other, "import", str(out))
    assert refused.returncode == 2
    assert "has other keys" in refused.stderr
