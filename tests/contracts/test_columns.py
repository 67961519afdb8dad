"""Columns hold what rules read of every recorded event, in order, and notice when the store is another one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.adapters.sqlite_columns import SqliteColumns
from app.adapters.sqlite_store import SqliteStore
from app.inquire import backtests
from app.inquire.columns import History
from rules.columns import Reads, slim_of
from rules.event import Event
from tests.builders import NOON, TENANT, event, invoice, services_in_memory
from tests.records import keep_event

AMOUNT = ("data", "object", "amount_due")
STATUS = ("data", "object", "status")
FAILED, PAID = "invoice.payment_failed", "invoice.paid"
READS = Reads(frozenset({FAILED, PAID}), {FAILED: (AMOUNT,), PAID: ()})


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[SqliteStore, SqliteColumns]]:
    store = SqliteStore(tmp_path / "store.db")
    columns = SqliteColumns(tmp_path / "columns.db", tmp_path / "store.db")
    yield store, columns
    columns.close()
    store.close()


def keep(store: SqliteStore, id: str, type: str = FAILED, after: int = 0, tenant: str = TENANT, **more: Any) -> Event:
    one = event(id, type, object=invoice(**more), time=NOON + timedelta(seconds=after), tenant=tenant)
    return keep_event(store, one)


def filled(history: History, reads: Reads = READS, limit: int = 3) -> int:
    looked = 0
    while step := history.fill(reads, limit):
        looked += step
    return looked


def read(history: History, reads: Reads = READS, since: int | None = None, until: int | None = None) -> list[Any]:
    return list(history.slims(reads, since, until, quick=True))


def wanted(*events: Event) -> list[Any]:
    found = [slim_of(one, READS.paths[one.type]) for one in events]
    return [tuple(slim._replace(keys=list(slim.keys))) for slim in sorted(found, key=lambda s: (s.created, s.id))]


def test_one_tenant_never_sees_anothers_columns(place: tuple[SqliteStore, SqliteColumns]) -> None:
    store, columns = place
    mine = keep(store, "evt_1")
    keep(store, "evt_1", tenant="acct_2/test", amount_due=7)
    history = History(store, TENANT, columns)
    filled(history)
    filled(History(store, "acct_2/test", columns))
    assert [tuple(slim) for slim in read(history)] == wanted(mine)


def test_types_that_no_rule_reads_are_not_there_and_time_has_two_ends(place: Any) -> None:
    store, columns = place
    kept = [keep(store, f"evt_{n}", (FAILED, PAID, "invoice.sent")[n % 3], n) for n in range(12)]
    history = History(store, TENANT, columns)
    filled(history)
    noon = int(NOON.timestamp())
    mine = [one for one in kept if one.type in READS.types and noon + 3 <= one.created <= noon + 9]
    assert [tuple(slim) for slim in read(history, since=noon + 3, until=noon + 9)] == wanted(*mine)


def test_a_path_that_is_read_later_is_taken_from_every_event(place: Any) -> None:
    store, columns = place
    kept = [keep(store, f"evt_{n}", after=n, status="open") for n in range(7)]
    history = History(store, TENANT, columns)
    filled(history)
    filled(history, Reads(frozenset({FAILED}), {FAILED: (STATUS,)}))
    keep(store, "evt_9", after=9, status="void")
    filled(history)
    assert [slim.data["data"]["object"]["status"] for slim in read(history)] == ["open"] * len(kept) + ["void"]
    assert read(history)[0].data["data"]["object"]["amount_due"] == 4900


def test_a_store_that_was_wiped_is_filed_again(place: Any) -> None:
    store, columns = place
    for number in range(5):
        keep(store, f"evt_{number}", after=number)
    history = History(store, TENANT, columns)
    filled(history)
    store.wipe(TENANT)
    assert filled(history) == 0
    assert read(history) == []
    again = keep(store, "evt_1", after=50)
    filled(history)
    assert [tuple(slim) for slim in read(history)] == wanted(again)


def test_documents_and_columns_tell_the_same_events(place: Any) -> None:
    store, columns = place
    for number in range(20):
        keep(store, f"evt_{number * 7 % 20:02}", (FAILED, PAID)[number % 2], number // 3)
    history = History(store, TENANT, columns)
    filled(history)
    whole = list(history.slims(READS, None, None, quick=False))
    assert [slim[:3] for slim in whole] == [slim[:3] for slim in read(history)]
    assert len(whole) == 20


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_events_that_come_while_it_is_filed_are_all_there_once(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore(Path(folder, "store.db"))
        columns = SqliteColumns(Path(folder, "columns.db"), Path(folder, "store.db"))
        history, kept = History(store, TENANT, columns), []
        for number in range(data.draw(st.integers(1, 14))):
            if data.draw(st.booleans()):
                history.fill(data.draw(st.sampled_from([READS, Reads(frozenset({PAID}), {PAID: ()})])), 2)
            type = data.draw(st.sampled_from([FAILED, PAID, "invoice.sent"]))
            kept.append(keep(store, f"evt_{number}", type, data.draw(st.integers(0, 5))))
        filled(history, limit=2)
        assert [tuple(slim) for slim in read(history)] == wanted(*(one for one in kept if one.type in READS.types))
        columns.close()
        store.close()


def test_a_backtest_says_the_same_by_columns_and_by_documents(place: Any) -> None:
    store, columns = place
    for number in range(30):
        keep(store, f"evt_{number:02}", (FAILED, FAILED, PAID)[number % 3], number * 7000, customer=f"cus_{number % 4}")
    when = {"event": [FAILED], "at_least": 2, "within": "P1D", "same": "customer"}
    more = {"field": "data.object.amount_due", "is": "greater than", "value": 5}
    rule = {"id": "r", "name": "r", "when": when, "only_if": more, "steps": [{"name": "s", "wait": {"for": "PT1H"}}]}
    asked = backtests.Question(TENANT, [{**rule, "again": {"while_open": True, "after": "PT0S"}}])
    found = []
    for kept in (columns, None):
        ports = services_in_memory()
        lab = backtests.Lab(store, ports.vault, ports.catalogue, ports.connectors, kept)
        found.append(backtests.at_once(lab, asked, NOON + timedelta(days=9)))
    assert found[0]["summary"]["digest"] == found[1]["summary"]["digest"]
    assert found[0]["runs"] == found[1]["runs"] != []
    assert [one["summary"]["read"] for one in found] == ["columns", "documents"]
