"""The vault's append table and its indexes on SQLite: found before and after filing, erased in both, kept once."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.adapters import sqlite_values
from app.adapters.keys import Keyring
from app.adapters.memory import ManualClock
from app.adapters.sealed import today
from app.adapters.sqlite import connect, transaction
from app.adapters.sqlite_bus import SqliteBus
from app.adapters.sqlite_vault import SqliteVault
from tests.contracts.bus import NOON, event
from tests.contracts.vault import look

A, B = "default/live", "default/test"
KEYS = Keyring.make()
FORMAT_1 = (
    "CREATE TABLE inbox (seq INTEGER PRIMARY KEY AUTOINCREMENT, tenant TEXT NOT NULL, id TEXT NOT NULL,"
    " published TEXT NOT NULL, payload BLOB NOT NULL, UNIQUE (tenant, id))",
    "CREATE TABLE vault (tenant TEXT, token TEXT, subject TEXT, key_id TEXT NOT NULL, value BLOB NOT NULL,"
    " PRIMARY KEY (tenant, token, subject)) WITHOUT ROWID",
    "CREATE INDEX vault_subject ON vault (tenant, subject)",
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID",
    "PRAGMA user_version = 1",
)


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[SqliteBus]:
    bus = SqliteBus(tmp_path, ManualClock(NOON).now)
    yield bus
    bus.close()


def new_vault(folder: Path, bus: SqliteBus) -> SqliteVault:
    """A vault that knows nothing yet, as after a restart."""
    return SqliteVault(folder, KEYS, bus, lambda *look: None)


def kept(vault: SqliteVault, tenant: str, subject: str, *values: str) -> list[str]:
    tokens = vault.tokenise(tenant, subject, values)
    vault.flush()
    return tokens


def filed(folder: Path, most: int = sqlite_values.AT_ONCE) -> int:
    connection = connect(folder / "inbox.db")
    try:
        return sqlite_values.file(connection, most)
    finally:
        connection.close()


def counts(folder: Path) -> list[int]:
    """Rows of the vault and of both its indexes."""
    connection = sqlite3.connect(folder / "inbox.db")
    try:
        tables = ("vault", "vault_by_token", "vault_by_subject")
        return [connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables]
    finally:
        connection.close()


def test_values_are_found_and_erased_whether_filed_or_not(tmp_path: Path, bus: SqliteBus) -> None:
    vault = new_vault(tmp_path, bus)
    first = kept(vault, A, "cus_1", "Ada", "ada@example.com")
    assert filed(tmp_path) == 2
    second = kept(vault, A, "cus_1", "Lovelace")
    other = kept(vault, A, "cus_2", "Ada")
    assert counts(tmp_path) == [4, 2, 2]
    assert [look(vault, A, token) for token in first + second] == ["Ada", "ada@example.com", "Lovelace"]
    assert vault.erase(A, "cus_1") == 3
    assert [look(vault, A, token) for token in first + second] == ["Ada", None, None]
    assert vault.erase(A, "cus_2") == 1
    assert look(vault, A, other[0]) is None
    assert counts(tmp_path) == [0, 0, 0]


def test_filing_goes_on_where_it_stopped(tmp_path: Path, bus: SqliteBus) -> None:
    vault = new_vault(tmp_path, bus)
    tokens = kept(vault, A, "cus_1", *(f"value {number}" for number in range(25)))
    assert [filed(tmp_path, 10) for _ in range(4)] == [10, 10, 5, 0]
    assert counts(tmp_path) == [25, 25, 25]
    assert [look(vault, A, token) for token in tokens] == [f"value {number}" for number in range(25)]


def test_a_value_kept_again_after_a_restart_is_filed_once(tmp_path: Path, bus: SqliteBus) -> None:
    for _ in range(3):  # filed, then heard again twice
        tokens = kept(new_vault(tmp_path, bus), A, "cus_1", "Ada")
        filed(tmp_path)
    for _ in range(3):  # heard again before it is filed
        kept(new_vault(tmp_path, bus), A, "cus_1", "Ada", "new")
    vault = new_vault(tmp_path, bus)
    kept(vault, A, "cus_2", "Ada")
    kept(vault, B, "cus_1", "Ada")
    filed(tmp_path)
    assert counts(tmp_path) == [4, 4, 4]
    assert look(vault, A, tokens[0]) == "Ada"
    assert vault.erase(A, "cus_1") == 2


def test_one_kept_twice_counts_once_when_it_is_erased(tmp_path: Path, bus: SqliteBus) -> None:
    for _ in range(2):
        kept(new_vault(tmp_path, bus), A, "cus_1", "Ada")
    assert new_vault(tmp_path, bus).erase(A, "cus_1") == 1
    assert counts(tmp_path) == [0, 0, 0]


def test_what_comes_after_an_erasure_of_the_last_is_filed_too(tmp_path: Path, bus: SqliteBus) -> None:
    vault = new_vault(tmp_path, bus)
    kept(vault, A, "cus_1", "Ada")
    filed(tmp_path)
    vault.erase(A, "cus_1")
    (token,) = kept(vault, A, "cus_2", "Grace")  # would get the erased one's number, were numbers used again
    assert look(vault, A, token) == "Grace"
    assert filed(tmp_path) == 1
    assert look(vault, A, token) == "Grace"


def test_a_double_leaves_no_sealed_bytes_behind_when_the_value_is_erased(tmp_path: Path, bus: SqliteBus) -> None:
    for _ in range(2):
        kept(new_vault(tmp_path, bus), A, "cus_1", "Ada")
    connection = sqlite3.connect(tmp_path / "inbox.db")
    sealed = [row[0] for row in connection.execute("SELECT value FROM vault")]
    connection.close()
    filed(tmp_path)
    new_vault(tmp_path, bus).erase(A, "cus_1")
    files = b"".join(path.read_bytes() for path in tmp_path.glob("inbox.db*"))
    assert len(sealed) == 2
    assert not any(value in files for value in sealed)


def test_the_queue_files_by_itself_when_much_has_come(tmp_path: Path, bus: SqliteBus) -> None:
    vault = new_vault(tmp_path, bus)
    vault.tokenise(A, "cus_1", [f"value {number}" for number in range(sqlite_values.AT_ONCE + 1)])
    bus.publish(event())
    bus.close()
    assert counts(tmp_path)[1:] == [sqlite_values.AT_ONCE] * 2


def test_a_filing_that_takes_long_is_followed_by_smaller_ones(tmp_path: Path, bus: SqliteBus) -> None:
    ticks = iter([0.0, 100.0, 100.0, 100.001])
    filer = sqlite_values.Filer(lambda: next(ticks))
    filer.new = sqlite_values.AT_ONCE + 600
    connection = connect(tmp_path / "inbox.db")
    with transaction(connection):
        rows = [(A, f"tok_{n:010x}", "cus_1", "key", b"sealed", "other", 0) for n in range(filer.new)]
        sqlite_values.Appender().append(connection, rows)
    filer.file(connection)  # 100 seconds
    assert (filer.most, filer.new, filer.is_due) == (sqlite_values.FEWEST, 600, True)
    filer.file(connection)  # a thousandth
    assert (filer.most, filer.new, filer.is_due) == (sqlite_values.AT_ONCE, 100, False)
    connection.close()
    assert counts(tmp_path)[1:] == [sqlite_values.AT_ONCE + 500] * 2


def test_two_who_file_at_once_do_not_meet(tmp_path: Path, bus: SqliteBus) -> None:
    kept(new_vault(tmp_path, bus), A, "cus_1", *(f"value {number}" for number in range(5_000)))
    code = "import sys; from pathlib import Path; from tests.contracts.test_vault_filing import filed\n"
    code += "print(sum(filed(Path(sys.argv[1]), 50) for _ in range(150)))"
    command = [sys.executable, "-c", code, str(tmp_path)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ}) for _ in range(2)]
    said = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum(map(int, said)) == 5_000
    assert counts(tmp_path) == [5_000] * 3


def test_a_folder_of_the_first_format_keeps_its_values(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "inbox.db")
    for sql in FORMAT_1:
        connection.execute(sql)
    tokens = [KEYS.token_for(A, f"value {number}") for number in range(300)]
    for number, token in enumerate(tokens):
        row = (A, token, f"cus_{number % 3}", *KEYS.seal(f"vault\n{A}\n{token}", f"value {number}"))
        connection.execute("INSERT INTO vault VALUES (?, ?, ?, ?, ?)", row)
    connection.commit()
    connection.close()
    bus = SqliteBus(tmp_path, ManualClock(NOON).now)
    vault = new_vault(tmp_path, bus)
    assert counts(tmp_path) == [300, 300, 300]
    assert [look(vault, A, token) for token in tokens] == [f"value {number}" for number in range(300)]
    assert vault.erase(A, "cus_1") == 100
    assert look(vault, A, tokens[1]) is None
    bus.close()


def test_a_folder_of_the_second_format_keeps_its_values_as_heard_today(tmp_path: Path) -> None:
    bus = SqliteBus(tmp_path, ManualClock(NOON).now)
    tokens = kept(new_vault(tmp_path, bus), A, "cus_1", "Ada", "ada@example.com")
    bus.close()
    connection = sqlite3.connect(tmp_path / "inbox.db")
    for sql in ("ALTER TABLE vault DROP COLUMN sort", "ALTER TABLE vault DROP COLUMN heard", "DROP TABLE vault_barred"):
        connection.execute(sql)
    connection.execute("DELETE FROM meta WHERE name IN ('forgotten', 'retired')")
    connection.execute("PRAGMA user_version = 2")
    connection.commit()
    connection.close()
    bus = SqliteBus(tmp_path, ManualClock(NOON).now)
    vault = new_vault(tmp_path, bus)
    assert [look(vault, A, token) for token in tokens] == ["Ada", "ada@example.com"]
    assert vault.expiring(A, {"email": today(), "other": today()}) == {}
    assert vault.expiring(A, {"email": today() + 2, "other": today() + 2}) == {"email": 1, "other": 1}
    bus.close()


def test_a_forked_child_draws_other_nonces() -> None:
    KEYS.seal("context", "fill the store of nonces")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, b"".join(KEYS.seal("context", "x")[1][:12] for _ in range(20)))
        os._exit(0)
    os.waitpid(child, 0)
    drawn = os.read(reader, 240)
    os.close(reader)
    os.close(writer)
    theirs = {drawn[at : at + 12] for at in range(0, 240, 12)}
    mine = {KEYS.seal("context", "x")[1][:12] for _ in range(300)}
    assert len(theirs) == 20
    assert not theirs & mine
