"""The audit log: sealed into a chain by anyone at any moment, and verified; whatever is done to the file is named."""

from __future__ import annotations

import json
import logging
import random
import sqlite3
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app import tenants
from app.adapters.memory import MemoryStore
from app.adapters.sqlite_store import SqliteStore
from app.audit import entry, entry_hash
from app.audit import seal as audit_seal
from app.audit.export import exported
from app.audit.seal import LATE, MOST, head, seal, seal_due
from app.audit.verify import Report, read_anchor, verify
from rules.event import instant, iso
from rules.kinds import SYSTEM
from rules.ports import Conflict, Delete, Put, Refused, Store
from tests.builders import DAY, NOON, TENANT

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


def note(store: Store, at: datetime, about: str = "rule-1", tenant: str = TENANT, **more: Any) -> str:
    """An entry as a use case writes it; its id."""
    put = entry(at, more.pop("actor", "ada"), more.pop("verb", "publish"), about, more.pop("before", None), more)
    store.commit(tenant, None, [put])
    return put.id


def lived_in(store: Store, entries: int = 60) -> list[str]:
    """A log of some hours, sealed every few entries; the ids in their order."""
    ids = []
    for number in range(entries):
        at = NOON + number * 5 * MINUTE
        ids.append(note(store, at, f"rule-{number}"))
        if number % 3 == 2:
            seal(store, TENANT, at + 2 * MINUTE)
    return ids


@pytest.fixture
def store() -> Store:
    return MemoryStore()


# ---- sealing --------------------------------------------------------------------------------------------------------
def test_what_settled_is_sealed_and_what_is_fresh_waits(store: Store) -> None:
    note(store, NOON)
    note(store, NOON + 5 * MINUTE)
    assert seal(store, TENANT, NOON + 5 * MINUTE) == 1
    report = verify(store, TENANT)
    assert (report.whole, report.entries, report.sealed, report.unsealed) == (True, 2, 1, 1)
    assert report.oldest_unsealed == iso(NOON + 5 * MINUTE)


def test_an_entry_that_arrives_after_later_ones_were_sealed_is_sealed_next(store: Store) -> None:
    for minute in (0, 10, 20):
        note(store, NOON + minute * MINUTE)
    seal(store, TENANT, NOON + 21 * MINUTE)
    late = note(store, NOON + MINUTE, "slow")
    report = verify(store, TENANT)
    assert (report.whole, report.unsealed) == (True, 1)
    note(store, NOON + 23 * MINUTE)
    assert seal(store, TENANT, NOON + 24 * MINUTE) == 2
    assert verify(store, TENANT).whole
    assert late in [id for one in audit_seal.seals(store, TENANT) for id, _ in one["entries"]]


def test_seals_are_a_minute_apart_unless_many_entries_wait(store: Store) -> None:
    for number in range(MOST + 200):
        note(store, NOON, f"rule-{number}")  # all of one moment, as a bulk action writes them
    assert seal(store, TENANT, NOON + MINUTE) == MOST
    assert seal(store, TENANT, NOON + MINUTE) == 200
    note(store, NOON + MINUTE)
    assert seal(store, TENANT, NOON + MINUTE + timedelta(seconds=50)) == 0
    assert seal(store, TENANT, NOON + 3 * MINUTE) == 1
    report = verify(store, TENANT)
    assert (report.whole, report.sealed, report.seals) == (True, MOST + 201, 3)


def test_more_late_entries_than_one_seal_holds_do_not_turn_the_chain_back(store: Store) -> None:
    note(store, NOON + 10 * MINUTE)
    seal(store, TENANT, NOON + 11 * MINUTE)
    before = head(store, TENANT)
    for number in range(MOST + 5):
        note(store, NOON, f"rule-{number}")  # their work took ten minutes
    note(store, NOON + 12 * MINUTE)
    assert seal(store, TENANT, NOON + 13 * MINUTE) == MOST
    after = head(store, TENANT)
    assert before
    assert after
    assert after.until >= before.until
    assert seal(store, TENANT, NOON + 14 * MINUTE) == 6
    report = verify(store, TENANT)
    assert (report.whole, report.unsealed) == (True, 0)


def test_who_takes_the_head_away_does_not_make_a_sealer_write_over_a_seal(store: Store) -> None:
    note(store, NOON)
    seal(store, TENANT, NOON + MINUTE)
    before = list(audit_seal.seals(store, TENANT))
    store.commit(TENANT, None, [Delete(audit_seal.HEAD, audit_seal.ID)])
    note(store, NOON + 2 * MINUTE)
    assert seal(store, TENANT, NOON + 4 * MINUTE) == 0
    assert list(audit_seal.seals(store, TENANT)) == before
    assert not verify(store, TENANT).whole


def test_a_log_in_which_nothing_happens_is_sealed_once_a_day(store: Store) -> None:
    note(store, NOON)
    seal(store, TENANT, NOON + MINUTE)
    before = head(store, TENANT)
    assert seal(store, TENANT, NOON + HOUR) == 0
    assert head(store, TENANT) == before
    seal(store, TENANT, NOON + DAY + HOUR)
    after = head(store, TENANT)
    assert before
    assert after
    assert (after.number, verify(store, TENANT).whole) == (2, True)


def test_each_days_head_is_logged(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "signalbox"):
        for hour in range(0, 50, 5):
            note(store, NOON + hour * HOUR)
            seal(store, TENANT, NOON + hour * HOUR + MINUTE)
    facts = [record.facts for record in caplog.records if record.message == "audit.head"]  # type: ignore[attr-defined]
    assert [one["number"] for one in facts] == [1, 4, 9]
    assert not verify(store, TENANT, anchors=[read_anchor(f"{one['number']}:{one['hash']}") for one in facts]).wrong


def test_two_sealers_at_the_same_moment_make_one_seal(store: Store) -> None:
    class Racing:
        """Lets another sealer go first, just before the commit."""

        def __init__(self) -> None:
            self.raced = False

        def __getattr__(self, name: str) -> Any:
            return getattr(store, name)

        def commit(self, *given: Any) -> None:
            if not self.raced:
                self.raced = True
                seal(store, TENANT, NOON + MINUTE)
            store.commit(*given)

    note(store, NOON)
    assert seal(Racing(), TENANT, NOON + MINUTE) == 0  # type: ignore[arg-type]
    report = verify(store, TENANT)
    assert (report.whole, report.sealed, report.seals) == (True, 1, 1)


def test_entries_written_at_once_by_many_threads_are_all_sealed(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")

    def write(writer: int) -> None:
        for number in range(25):
            note(store, NOON + number * MINUTE, f"rule-{writer}-{number}", actor=f"person {writer}")
            seal(store, TENANT, NOON + number * MINUTE + MINUTE)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    note(store, NOON + 26 * MINUTE)
    seal(store, TENANT, NOON + HOUR)
    report = verify(store, TENANT)
    store.close()
    assert (report.whole, report.sealed, report.unsealed) == (True, 101, 0)


class Crash(Exception):
    pass


class Crashing:
    """A store whose process dies just before or just after its nth commit."""

    def __init__(self, store: Store, at: int, after: bool) -> None:
        self._store, self._left, self._after = store, at, after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def commit(self, *given: Any) -> None:
        self._left -= 1
        if not self._left and not self._after:
            raise Crash
        self._store.commit(*given)
        if not self._left:
            raise Crash


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", range(1, 9))
def test_a_crash_at_any_moment_leaves_a_log_that_holds(store: Store, at: int, after: bool) -> None:
    dying = Crashing(store, at, after)
    with pytest.raises(Crash):
        lived_in(dying, 20)  # type: ignore[arg-type]
    assert verify(store, TENANT).whole
    note(store, NOON + DAY)
    seal(store, TENANT, NOON + DAY + MINUTE)
    report = verify(store, TENANT)
    assert (report.whole, report.unsealed) == (True, 0)


def test_every_tenant_has_a_chain_of_its_own_and_an_entry_moved_to_another_is_found(store: Store) -> None:
    for tenant in (TENANT, "default/live"):
        tenants.ensure(store, tenant, NOON)
    moved = note(store, NOON)
    note(store, NOON, tenant=SYSTEM)
    note(store, NOON, tenant="default/live")
    assert seal_due(store, NOON + MINUTE) == 3
    found = store.get(TENANT, "audit", moved)
    assert found
    for tenant in ("default/live", SYSTEM):
        note(store, NOON + HOUR, tenant=tenant)
        seal(store, tenant, NOON + HOUR + MINUTE)
        assert verify(store, tenant).whole
    store.commit("default/live", None, [Put("audit", moved, found.body)])
    assert [one.what for one in verify(store, "default/live").broken] == ["inserted"]


def test_the_entries_of_earlier_versions_are_sealed_as_they_are(store: Store) -> None:
    body = {"at": iso(NOON), "actor": "ada", "verb": "publish", "about": "r", "from": None, "to": 1.5, "why": "é"}
    store.commit(TENANT, None, [Put("audit", f"{iso(NOON)}-0123456789ab", body)])
    seal(store, TENANT, NOON + MINUTE)
    report = verify(store, TENANT)
    assert (report.whole, report.sealed) == (True, 1)


def test_random_lives_always_verify(store: Store) -> None:
    rng = random.Random(20261123)
    for life in range(30):
        mine, now = f"acct_{life}/test", NOON
        for _ in range(rng.randint(1, 60)):
            now += timedelta(seconds=rng.choice((0, 1, 20, 90, 600, 4000)))
            for _ in range(rng.randint(0, 4)):
                note(store, now - rng.random() * LATE * rng.choice((0, 0.9)), tenant=mine)
            if rng.random() < 0.6:
                seal(store, mine, now)
        report = verify(store, mine)
        assert report.whole, (life, report.broken)
        since = NOON + rng.random() * (now - NOON)
        part = verify(store, mine, since)
        assert part.whole, (life, part.broken)
        assert part.entries == store.count(mine, "audit", [("at", ">=", iso(since))])


# ---- what is done to the file ---------------------------------------------------------------------------------------
Tampering = Callable[[sqlite3.Connection, list[str]], tuple[str, str]]  # what must be found, about what


def changed_body(db: sqlite3.Connection, ids: list[str]) -> tuple[str, str]:
    db.execute("UPDATE audit SET body = replace(body, '\"ada\"', '\"eve\"') WHERE id = ?", (ids[10],))
    return "changed", ids[10]


def changed_body_with_its_own_digest(db: sqlite3.Connection, ids: list[str]) -> tuple[str, str]:
    body = json.loads(db.execute("SELECT body FROM audit WHERE id = ?", (ids[10],)).fetchone()[0])
    body["why"] = "nothing to see"
    body["hash"] = entry_hash(body)
    db.execute("UPDATE audit SET body = ? WHERE id = ?", (json.dumps(body).encode(), ids[10]))
    return "changed", ids[10]


def unreadable_body(db: sqlite3.Connection, ids: list[str]) -> tuple[str, str]:
    db.execute("UPDATE audit SET body = x'0102' WHERE id = ?", (ids[10],))
    return "changed", "the first"


def removed_row(db: sqlite3.Connection, ids: list[str]) -> tuple[str, str]:
    db.execute("DELETE FROM audit WHERE id = ?", (ids[10],))
    return "removed", ids[10]


def inserted_row(db: sqlite3.Connection, ids: list[str]) -> tuple[str, str]:
    put = entry(NOON + 51 * MINUTE, "eve", "approve", "rule-9")
    _insert(db, put)
    return "inserted", put.id


def replaced_row(db: sqlite3.Connection, ids: list[str]) -> tuple[str, str]:
    removed_row(db, ids)
    inserted_row(db, ids)
    return "removed", ids[10]


def swapped_bodies(db: sqlite3.Connection, ids: list[str]) -> tuple[str, str]:
    rows = [db.execute("SELECT body, at FROM audit WHERE id = ?", (id,)).fetchone() for id in ids[10:12]]
    for id, (body, at) in zip(ids[10:12], reversed(rows), strict=True):
        db.execute("UPDATE audit SET body = ?, at = ? WHERE id = ?", (body, at, id))
    return "removed", ids[10]


def swapped_times(db: sqlite3.Connection, ids: list[str]) -> tuple[str, str]:
    db.execute("UPDATE audit SET at = ? WHERE id = ?", (ids[40][:27], ids[10]))
    return "removed", ids[10]


def hidden_from_the_index(db: sqlite3.Connection, ids: list[str]) -> tuple[str, str]:
    db.execute("UPDATE audit SET at = NULL WHERE id = ?", (ids[10],))
    return "removed", ids[10]


def truncated_entries(db: sqlite3.Connection, ids: list[str]) -> tuple[str, str]:
    db.execute("DELETE FROM audit WHERE at >= ?", (ids[45][:27],))
    return "removed", ids[45]


def truncated_tail(db: sqlite3.Connection, ids: list[str]) -> tuple[str, str]:
    truncated_entries(db, ids)
    db.execute("DELETE FROM audit_seal WHERE until >= ?", (ids[45][:27],))
    return "removed", "seal 16"


def removed_seal(db: sqlite3.Connection, ids: list[str]) -> tuple[str, str]:
    db.execute("DELETE FROM audit_seal WHERE id = '000000000005'")
    return "removed", "seal 5"


def forged_seal(db: sqlite3.Connection, ids: list[str]) -> tuple[str, str]:
    """The entry is gone, from its seal as well, whose digest is right again."""
    removed_row(db, ids)
    body = json.loads(db.execute("SELECT body FROM audit_seal WHERE id = '000000000004'").fetchone()[0])
    body["entries"] = [pair for pair in body["entries"] if pair[0] != ids[10]]
    body["hash"] = audit_seal.seal_hash(body)
    db.execute("UPDATE audit_seal SET body = ? WHERE id = '000000000004'", (json.dumps(body).encode(),))
    return "changed", "seal 5"


def garbled_seal(db: sqlite3.Connection, ids: list[str]) -> tuple[str, str]:
    db.execute("UPDATE audit_seal SET body = x'7b7d' WHERE id = '000000000005'")
    return "changed", "seal 5"


def removed_head(db: sqlite3.Connection, ids: list[str]) -> tuple[str, str]:
    db.execute("DELETE FROM audit_head")
    return "removed", "head"


def _insert(db: sqlite3.Connection, put: Put) -> None:
    body = json.dumps(put.body).encode()
    db.execute(
        "INSERT INTO audit (tenant, id, version, at, actor, verb, about, body) VALUES (?, ?, 1, ?, ?, ?, ?, ?)",
        (TENANT, put.id, put.body["at"], put.body["actor"], put.body["verb"], put.body["about"], body),
    )


TAMPERINGS: tuple[Tampering, ...] = (
    changed_body,
    changed_body_with_its_own_digest,
    unreadable_body,
    removed_row,
    inserted_row,
    replaced_row,
    swapped_bodies,
    swapped_times,
    hidden_from_the_index,
    truncated_entries,
    truncated_tail,
    removed_seal,
    forged_seal,
    garbled_seal,
    removed_head,
)


@pytest.fixture
def file(tmp_path: Path) -> tuple[Path, list[str], str]:
    """A store file with a sealed log, nobody at it; the ids; the anchor that was kept."""
    store = SqliteStore(tmp_path / "store.db")
    ids = lived_in(store)
    known = head(store, TENANT)
    store.close()
    assert known
    return tmp_path / "store.db", ids, known.anchor


def verified(path: Path, *anchors: str, since: datetime | None = None) -> Report:
    store = SqliteStore(path)
    try:
        return verify(store, TENANT, since, [read_anchor(one) for one in anchors])
    finally:
        store.close()


def edit(path: Path, tampering: Tampering, ids: list[str]) -> tuple[str, str]:
    db = sqlite3.connect(path, isolation_level=None)
    try:
        return tampering(db, ids)
    finally:
        db.close()


@pytest.mark.parametrize("tampering", TAMPERINGS, ids=lambda one: one.__name__)
def test_what_was_done_to_the_file_by_hand_is_named(file: tuple[Path, list[str], str], tampering: Tampering) -> None:
    path, ids, _ = file
    assert verified(path).whole
    what, about = edit(path, tampering, ids)
    report = verified(path)
    assert not report.whole
    assert (report.broken[0].what, report.broken[0].about) == (what, about), report.broken


def test_a_whole_chain_that_was_made_anew_is_found_by_an_anchor_kept_elsewhere(
    file: tuple[Path, list[str], str],
) -> None:
    path, ids, anchor = file
    assert verified(path, anchor).whole

    def made_anew(db: sqlite3.Connection, ids: list[str]) -> tuple[str, str]:
        removed_row(db, ids)
        for table in ("audit_seal", "audit_head"):
            db.execute(f"DELETE FROM {table}")
        return "", ""

    edit(path, made_anew, ids)
    store = SqliteStore(path)
    for minutes in range(0, 600, 2):
        seal(store, TENANT, NOON + minutes * MINUTE)
    store.close()
    assert verified(path).whole  # in itself it is a chain like any other
    (broken,) = verified(path, anchor).broken
    assert broken.about == f"seal {anchor.split(':')[0]}"
    assert broken.what in ("changed", "removed")


def test_a_tail_that_was_cut_off_with_its_head_is_found_by_an_anchor(file: tuple[Path, list[str], str]) -> None:
    path, ids, anchor = file

    def cut(db: sqlite3.Connection, ids: list[str]) -> tuple[str, str]:
        truncated_tail(db, ids)
        last = json.loads(db.execute("SELECT body FROM audit_seal ORDER BY id DESC LIMIT 1").fetchone()[0])
        pointer = {**{name: last[name] for name in ("number", "hash", "until", "at")}, "more": False}
        db.execute("UPDATE audit_head SET body = ?", (json.dumps(pointer).encode(),))
        db.execute("DELETE FROM audit WHERE at > ?", (last["until"],))
        return "", ""

    edit(path, cut, ids)
    assert verified(path).whole
    (broken,) = verified(path, anchor).broken
    assert (broken.what, broken.about) == ("removed", "seal 20")
    assert "the chain ends at seal 15" in broken.says


@pytest.mark.parametrize(("minutes", "is_late"), [(29, True), (31, False)])
def test_what_bears_a_time_of_more_than_half_an_hour_before_the_seals_end_was_put_in(
    store: Store, minutes: int, is_late: bool
) -> None:
    note(store, NOON)
    seal(store, TENANT, NOON + MINUTE)
    known = head(store, TENANT)
    assert known
    put_in = note(store, instant(known.until) - minutes * MINUTE, "rule-2")
    report = verify(store, TENANT)
    told = [] if is_late else [("inserted", put_in)]
    assert ([(one.what, one.about) for one in report.broken], report.unsealed) == (told, int(is_late))


def test_a_whole_chain_that_was_copied_to_another_tenant_is_found(store: Store) -> None:
    lived_in(store, 6)
    for kind in ("audit", audit_seal.SEAL, audit_seal.HEAD):
        copies = [Put(kind, found.id, found.body) for found in store.find(TENANT, kind, limit=100).items]
        store.commit("acct_1/live", None, copies)
    assert verify(store, TENANT).whole
    assert verify(store, "acct_1/live").broken[0].about == "seal 1"


def test_an_export_has_the_entries_from_a_time_up_to_another(store: Store) -> None:
    for hour in range(4):
        note(store, NOON + hour * HOUR, f"rule-{hour}")
    told = exported(store, TENANT, since=NOON + HOUR, until=NOON + 2 * HOUR)
    assert [one["subject"] for one in told] == ["rule-1", "rule-2"]


def test_an_entry_that_stands_under_another_id_is_found_before_it_is_sealed(store: Store) -> None:
    put = entry(NOON, "ada", "publish", "rule-1")
    moved = put.id[:-12] + "0" * 12
    store.commit(TENANT, None, [Put(put.kind, moved, put.body)])
    assert [(one.what, one.about) for one in verify(store, TENANT).broken] == [("changed", moved)]


def test_an_address_in_what_a_person_typed_is_left_out_however_deep_it_stands() -> None:
    typed = {"why": ["ask ada@example.com", {"more": "or ada%40example.com"}], "url": "https://crm.example/@hook"}
    body = entry(NOON, "ada", "decline", "prop_1", typed, {"given": {"note": "for ada@example.com"}}).body
    assert "ada@" not in json.dumps(body)
    assert "ada%40" not in json.dumps(body)
    assert body["from"]["url"] == typed["url"]  # only what people type freely


def test_of_many_anchors_each_is_held_against_the_chain_of_its_own_tenant(store: Store) -> None:
    for tenant in (TENANT, "acct_1/live"):
        note(store, NOON, tenant=tenant)
        seal(store, tenant, NOON + MINUTE)
    anchors = [
        read_anchor(f"{tenant}={known.anchor}") for tenant in (TENANT, "acct_1/live") if (known := head(store, tenant))
    ]
    report = verify(store, TENANT, anchors=anchors)
    assert (report.whole, report.anchors) == (True, 1)
    forged = read_anchor(f"{TENANT}=1:{'0' * 64}")
    assert [one.about for one in verify(store, TENANT, anchors=[forged]).broken] == ["seal 1"]
    assert verify(store, "acct_1/live", anchors=[forged]).whole


def test_since_looks_at_the_newer_part_alone(file: tuple[Path, list[str], str]) -> None:
    path, ids, _ = file
    edit(path, removed_row, ids)
    assert not verified(path, since=NOON).whole
    later = verified(path, since=NOON + 51 * MINUTE)
    assert (later.whole, later.entries) == (True, 49)


@pytest.mark.parametrize("text", ["", "12", "0:" + "0" * 64, "1:xyz", "a b=1:" + "0" * 64])
def test_what_is_no_anchor_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="is no anchor"):
        read_anchor(text)


def test_an_entry_cannot_be_written_over_even_by_its_own_writer(store: Store) -> None:
    put = entry(NOON, "ada", "publish", "r")
    store.commit(TENANT, None, [put])
    with pytest.raises(Conflict):
        store.commit(TENANT, None, [put])
