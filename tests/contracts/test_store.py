"""The Store contract on each backend, and what only the SQLite file can show."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.adapters.memory import MemoryStore
from app.adapters.sqlite import NewerData
from app.adapters.sqlite_store import SqliteStore
from rules.ports import Conflict, Put, Store, Unavailable
from tests.contracts.store import FAILED, MINUTE, NOON, A, LocalStoreContract, got, ids, logged, rule, run


class TestMemoryStore(LocalStoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore()


class TestSqliteStore(LocalStoreContract):
    @pytest.fixture
    def store(self, sqlite_store: SqliteStore) -> Store:
        return sqlite_store


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "store.db")
    yield store
    store.close()


def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    first = SqliteStore(tmp_path / "store.db")
    first.commit(A, logged(), [rule("r1", 1), run()])
    (claimed,) = first.claim("run", NOON, MINUTE, 10)
    before = got(first, A, "rule", "r1")
    first.close()
    second = SqliteStore(tmp_path / "store.db")
    assert got(second, A, "rule", "r1") == before
    assert second.claim("run", NOON, MINUTE, 10) == []
    assert len(second.window(A, "sub:sub_1", [FAILED], 0, 200)) == 1
    second.commit(A, None, [run(due=None, expect=claimed.version), rule("r1", 2, expect=before.version)])
    assert got(second, A, "rule", "r1").version not in (before.version, claimed.version)
    second.close()


def test_two_processes_see_each_others_commits_and_share_no_version(tmp_path: Path) -> None:
    web, worker = SqliteStore(tmp_path / "store.db"), SqliteStore(tmp_path / "store.db")
    web.commit(A, None, [rule("r1", 1)])
    read = got(worker, A, "rule", "r1")
    worker.commit(A, None, [rule("r2", 1), rule("r1", 2, expect=read.version)])
    web.commit(A, None, [rule("r3", 1)])
    versions = {found.version for found in web.find(A, "rule").items}
    assert len(versions) == 3
    web.close()
    worker.close()


@pytest.mark.parametrize("failing", ["a", "b", "c"])
def test_an_error_inside_a_commit_leaves_nothing_of_it(tmp_path: Path, sqlite_store: SqliteStore, failing: str) -> None:
    database = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    database.execute(
        "CREATE TRIGGER broken BEFORE INSERT ON rule WHEN new.id = "
        f"'{failing}' BEGIN SELECT json('the disk says no'); END"  # an error of SQLite's own, not a constraint
    )
    writes = [rule(id, 1) for id in "abc"]
    with pytest.raises(Unavailable):
        sqlite_store.commit(A, logged("evt_1"), writes)
    with pytest.raises(Unavailable), sqlite_store.batch():  # noqa: PT012 - nor of the others of its batch
        sqlite_store.commit(A, logged("evt_0"), [])
        sqlite_store.commit(A, logged("evt_1"), writes)
    assert sqlite_store.count(A, "event") == sqlite_store.count(A, "rule") == 0
    database.execute("DROP TRIGGER broken")
    database.close()
    sqlite_store.commit(A, logged("evt_1"), writes)
    assert sqlite_store.count(A, "rule") == 3


def test_a_batch_whose_error_was_swallowed_still_does_not_count(tmp_path: Path, sqlite_store: SqliteStore) -> None:
    database = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    database.execute("CREATE TRIGGER broken BEFORE INSERT ON rule BEGIN SELECT json('no'); END")
    database.close()
    with pytest.raises(Unavailable), sqlite_store.batch():  # noqa: PT012 - the point is what follows inside
        sqlite_store.commit(A, logged("evt_1"), [])
        with pytest.raises(Unavailable):
            sqlite_store.commit(A, None, [rule("r1", 1)])
        with pytest.raises(Unavailable):
            sqlite_store.commit(A, logged("evt_2"), [])
    assert sqlite_store.count(A, "event") == 0


def test_a_file_of_a_newer_format_is_not_opened(tmp_path: Path) -> None:
    SqliteStore(tmp_path / "store.db").close()
    database = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(NewerData, match="format 99"):
        SqliteStore(tmp_path / "store.db")


def test_a_field_and_a_query_declared_later_find_what_was_written_before(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    store.commit(A, logged(), [rule("r1", 1), run(rule_id="r1")])
    (claimed,) = store.claim("run", NOON, MINUTE, 10)
    store.close()
    database = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    stale = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE name GLOB 'ix_run__rule_id*'")]
    for name in (*stale, "ix_event__fired__created"):
        database.execute(f'DROP INDEX "{name}"')
    database.execute("ALTER TABLE run DROP COLUMN rule_id")
    database.execute("DROP TABLE event_keys")
    database.execute("CREATE INDEX ix_rule__forgotten ON rule (version)")
    database.execute("UPDATE meta SET value = 'an older declaration' WHERE name = 'declared'")
    database.close()
    store = SqliteStore(tmp_path / "store.db")
    assert ids(store.find(A, "run", [("rule_id", "==", "r1")], "created_at").items) == ["run_1"]
    assert got(store, A, "run", "run_1") == claimed  # the lease is as it was
    assert len(store.window(A, "sub:sub_1", [FAILED], 0, 200)) == 1
    store.close()
    database = sqlite3.connect(tmp_path / "store.db")
    assert not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'ix_rule__forgotten'").fetchall()
    database.close()


def test_every_declared_query_is_served_by_an_index_without_sorting(tmp_path: Path, sqlite_store: SqliteStore) -> None:
    from app.adapters.documents import check_query
    from app.adapters.sqlite_store import _select
    from tests.contracts.store import KINDS, QUERIES

    database = sqlite3.connect(tmp_path / "store.db")
    for kind, query in QUERIES:
        where = [(name, "has" if name in KINDS[kind].lists else "==", "x") for name in query[:-1]]
        for order in (query[-1], "-" + query[-1]):
            sql, parameters = _select(A, check_query(kind, where, order), None)
            plan = " / ".join(row[3] for row in database.execute("EXPLAIN QUERY PLAN " + sql, (*parameters, 10)))
            assert "TEMP B-TREE" not in plan, (kind, query, plan)
            assert "SCAN" not in plan, (kind, query, plan)
    database.close()


def test_a_body_that_is_large_is_kept_compressed(tmp_path: Path, sqlite_store: SqliteStore) -> None:
    sqlite_store.commit(A, None, [Put("memory", "m", {"text": "again and again " * 2000})])
    database = sqlite3.connect(tmp_path / "store.db")
    assert database.execute("SELECT length(body) FROM memory").fetchone()[0] < 1_000
    database.close()


# ---- a worker that is gone ------------------------------------------------------------------------------------------
def test_what_a_dead_worker_had_claimed_is_due_at_its_own_time_again(sqlite_store: SqliteStore) -> None:
    writes = [run("claimed", due=NOON), run("asleep", due=NOON + 30 * MINUTE), run("soon", due=NOON + MINUTE / 2)]
    sqlite_store.commit(A, None, writes)
    (claimed,) = sqlite_store.claim("run", NOON, MINUTE, 10)
    assert sqlite_store.claim("run", NOON, MINUTE, 10) == []
    assert sqlite_store.release("run", NOON, MINUTE) == 1
    (again,) = sqlite_store.claim("run", NOON, MINUTE, 10)
    assert (again.id, got(sqlite_store, A, "run", "soon").body["due_at"]) == ("claimed", writes[2].body["due_at"])
    with pytest.raises(Conflict):  # the dead one's, should it come to life
        sqlite_store.commit(A, None, [run("claimed", due=None, expect=claimed.version)])


def test_what_was_settled_or_put_off_after_its_claim_is_not_released(sqlite_store: SqliteStore) -> None:
    sqlite_store.commit(A, None, [run("done", due=NOON), run("later", due=NOON)])
    done, later = sorted(sqlite_store.claim("run", NOON, MINUTE, 10), key=lambda found: found.id)
    sqlite_store.commit(A, None, [run("done", due=None, expect=done.version)])
    sqlite_store.commit(A, None, [run("later", due=NOON + MINUTE / 3, expect=later.version)])
    assert sqlite_store.release("run", NOON, MINUTE) == 0
