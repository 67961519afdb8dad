"""Entries of the audit log are numbered by who writes them, so that one that goes before it is sealed is missed."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from app.adapters.memory import MemoryStore
from app.adapters.sqlite_store import SqliteStore
from app.audit import entry, is_whole
from app.audit.seal import seal
from app.audit.verify import Report, verify
from app.audit.writers import numbering
from rules.ports import ABSENT, Conflict, Document, Put, Store, Unavailable
from tests.builders import NOON, TENANT

MINUTE = timedelta(minutes=1)
OTHER = "default/live"


@pytest.fixture(params=["memory", "sqlite"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """The store behind."""
    store: Any = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "store.db")
    yield store
    if request.param == "sqlite":
        store.close()


def note(store: Store, number: int = 0, tenant: str = TENANT, *more: Put) -> None:
    store.commit(tenant, None, [entry(NOON + number * MINUTE, "ada", "publish", f"rule-{number}"), *more])


def written(store: Store, tenant: str = TENANT) -> list[Document]:
    return list(store.find(tenant, "audit", order="at", limit=1000).items)


def numbers(store: Store, tenant: str = TENANT) -> list[int]:
    return [one.body["number"] for one in written(store, tenant)]


def misses(report: Report, victim: Document) -> bool:
    """Whether it is named, alone or among those of which nobody knew what became."""
    for what, about in told(report):
        writer, _, span = about.partition(" ")
        low, _, high = span.partition("-")
        is_near = int(low) <= victim.body["number"] <= int(high or low)
        if what == "removed" and writer == victim.body["writer"] and is_near:
            return True
    return False


def told(report: Report) -> list[tuple[str, str]]:
    return [(one.what, one.about) for one in report.broken]


class Without:
    """The store without some entries, as if they had been taken out of its file."""

    def __init__(self, store: Store, gone: set[str]) -> None:
        self.store, self.gone = store, gone

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def find(self, *given: Any, **named: Any) -> Any:
        page = self.store.find(*given, **named)
        return type(page)(tuple(one for one in page.items if one.id not in self.gone), page.next)


def test_entries_are_numbered_for_each_tenant_and_are_whole(kept: Any) -> None:
    store = numbering(kept)
    for number in range(3):
        note(store, number)
    note(store, 0, OTHER)
    assert (numbers(kept), numbers(kept, OTHER)) == ([1, 2, 3], [1])
    assert len({one.body["writer"] for one in written(kept)}) == 1
    assert all(is_whole(one.id, one.body) for one in written(kept))
    assert verify(kept, TENANT).whole


def test_one_that_is_taken_out_before_it_is_sealed_is_named(kept: Any) -> None:
    store = numbering(kept)
    for number in range(5):
        note(store, number)
    victim = written(kept)[2]
    report = verify(Without(kept, {victim.id}), TENANT)  # type: ignore[arg-type]
    assert told(report) == [("removed", f"{victim.body['writer']} 3")]
    assert "was written and is not there any more" in report.broken[0].says


def test_the_first_one_is_missed_too_and_the_last_one_when_its_writer_has_written_again(kept: Any) -> None:
    store = numbering(kept)
    for number in range(3):
        note(store, number)
    first, _, last = written(kept)
    assert told(verify(Without(kept, {first.id}), TENANT)) == [("removed", f"{first.body['writer']} 1")]  # type: ignore[arg-type]
    without = Without(kept, {last.id})
    assert verify(without, TENANT).whole  # type: ignore[arg-type]
    note(store, 3)
    assert told(verify(without, TENANT)) == [("removed", f"{last.body['writer']} 3")]  # type: ignore[arg-type]


def test_it_is_missed_after_sealing_as_well(kept: Any) -> None:
    store = numbering(kept)
    for number in range(5):
        note(store, number)
    without = Without(kept, {written(kept)[2].id})
    seal(without, TENANT, NOON + 10 * MINUTE)  # type: ignore[arg-type]
    assert len(told(verify(without, TENANT))) == 1  # type: ignore[arg-type]


def test_a_number_whose_commit_was_refused_goes_to_the_next(kept: Any) -> None:
    store = numbering(kept)
    note(store, 0)
    store.commit(TENANT, None, [Put("list", "one", {"name": "one"}, ABSENT)])
    with pytest.raises(Conflict):
        note(store, 1, TENANT, Put("list", "one", {"name": "one"}, ABSENT))
    note(store, 2)
    assert numbers(kept) == [1, 2]
    assert verify(kept, TENANT).whole


class Shaky:
    """A store that now and then does not answer, whether it has committed or not."""

    def __init__(self, store: Store, rng: random.Random) -> None:
        self.store, self.rng = store, rng

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def commit(self, tenant: str, event: Put | None, writes: Any) -> None:
        chance = self.rng.random()
        if chance < 0.2:
            raise Unavailable("not committed")
        self.store.commit(tenant, event, writes)
        if chance < 0.4:
            raise Unavailable("committed, and nobody heard of it")


@pytest.mark.parametrize("seed", range(10))
def test_whatever_becomes_of_commits_nothing_is_missed_that_is_there_and_what_is_sure_is(kept: Any, seed: int) -> None:
    rng = random.Random(seed)
    store = numbering(Shaky(kept, rng))  # type: ignore[arg-type]
    sure = []
    for number in range(60):
        with suppress(Unavailable):
            note(store, number)
            sure.append(number)
    assert verify(kept, TENANT).whole
    for number in sure[:-1]:
        victim = next(one for one in written(kept) if one.body["about"] == f"rule-{number}")
        report = verify(Without(kept, {victim.id}), TENANT)  # type: ignore[arg-type]
        assert misses(report, victim), number


def test_what_a_batch_undid_is_not_missed(tmp_path: Path) -> None:
    kept = SqliteStore(tmp_path / "store.db")
    store = numbering(kept)
    note(store, 0)
    with suppress(ZeroDivisionError), store.batch():
        note(store, 1)
        note(store, 2)
        raise ZeroDivisionError
    with store.batch():
        note(store, 3)
        note(store, 4)
    note(store, 5)
    assert numbers(kept) == [1, 4, 5, 6]
    assert verify(kept, TENANT).whole
    for victim in written(kept)[:-1]:
        assert misses(verify(Without(kept, {victim.id}), TENANT), victim)  # type: ignore[arg-type]
    kept.close()


@pytest.mark.parametrize("seed", range(3))
def test_threads_processes_and_tenants_do_not_disturb_each_other(tmp_path: Path, seed: int) -> None:
    stores = [SqliteStore(tmp_path / "store.db") for _ in range(2)]
    writing = [numbering(one) for one in stores]

    def work(number: int) -> None:
        rng, store = random.Random(seed * 100 + number), writing[number % 2]
        for step in range(15):
            tenant = rng.choice((TENANT, OTHER))
            if rng.random() < 0.2:
                with suppress(ZeroDivisionError), store.batch():
                    note(store, step, tenant)
                    note(store, step, OTHER)
                    if rng.random() < 0.5:
                        raise ZeroDivisionError
            else:
                note(store, step, tenant)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for tenant in (TENANT, OTHER):
        assert verify(stores[0], tenant).whole
        given = [(one.body["writer"], one.body["number"]) for one in written(stores[0], tenant)]
        assert len(given) == len(set(given)) > 10
        newest = dict(sorted(given))
        victims = [one for one in written(stores[0], tenant) if one.body["number"] < newest[one.body["writer"]]]
        for victim in random.Random(seed).sample(victims, 5):
            assert misses(verify(Without(stores[0], {victim.id}), tenant), victim)  # type: ignore[arg-type]
    for store in stores:
        store.close()


def test_only_the_newer_part_is_looked_at_without_missing_what_lies_before(kept: Any) -> None:
    store, rng = numbering(kept), random.Random(1)
    for number in range(100):  # entries bear the time at which their work began, and come up to half an hour later
        note(store, number - rng.randrange(20))
    for since in range(0, 100, 7):
        assert verify(kept, TENANT, NOON + since * MINUTE).whole, since
    victim = next(one for one in written(kept) if one.body["number"] == 95)
    report = verify(Without(kept, {victim.id}), TENANT, NOON + 20 * MINUTE)  # type: ignore[arg-type]
    assert told(report) == [("removed", f"{victim.body['writer']} 95")]


def test_one_that_comes_in_behind_the_walk_is_not_missed(kept: Any) -> None:
    store = numbering(kept)
    for number in range(10, 13):
        note(store, number)

    class Meanwhile(Without):
        """Just after the first page was read a late entry comes in before it, and one more after it."""

        def find(self, tenant: str, kind: str, *given: Any, **named: Any) -> Any:
            page = self.store.find(tenant, kind, *given, **named)
            if kind == "audit" and not self.gone:
                self.gone.add("nothing")
                note(store, 1)
                note(store, 14)
                newest = max(written(self.store), key=lambda one: one.body["number"])
                return type(page)((*page.items, newest), None)
            return page

    assert verify(Meanwhile(kept, set()), TENANT).whole  # type: ignore[arg-type]


def test_entries_without_numbers_stay_valid_beside_those_with(kept: Any) -> None:
    note(kept, 0)
    note(numbering(kept), 1)
    note(kept, 2)
    assert verify(kept, TENANT).whole
    assert [("number" in one.body) for one in written(kept)] == [False, True, False]


def test_what_is_moved_from_elsewhere_keeps_its_number(kept: Any) -> None:
    elsewhere = MemoryStore()
    writing = numbering(elsewhere)
    for number in range(3):
        note(writing, number)
    moved = numbering(kept)
    moved.commit(TENANT, None, [Put("audit", one.id, one.body) for one in written(elsewhere)])
    assert [one.body for one in written(kept)] == [one.body for one in written(elsewhere)]
    note(moved, 5)
    assert verify(kept, TENANT).whole
