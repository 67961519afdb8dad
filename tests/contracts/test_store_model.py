"""Whatever is done to it, the SQLite store answers as the reference does."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from app.adapters.memory import MemoryStore
from app.adapters.sqlite_store import SqliteStore
from rules.ports import ABSENT, ANY, AlreadyProcessed, Conflict, Delete, Put, Store
from tests.contracts.bus import A, B
from tests.contracts.store import FAILED, NOON, PAID, logged

TENANTS = st.sampled_from([A, B])
IDS = st.sampled_from(["1", "2", "3", "é"])
KEYS = st.lists(st.sampled_from(["sub:1", "sub:2", "cus:1"]), max_size=3).map(tuple)
DUE = st.one_of(st.none(), st.integers(0, 5))
WRITE = st.tuples(IDS, st.sampled_from(["put", "delete"]), st.sampled_from([ANY, ABSENT, "read", "stale"]), DUE)
WRITES = st.lists(WRITE, max_size=3, unique_by=lambda write: write[0])


def at(minute: int) -> Any:
    return NOON + timedelta(minutes=minute)


class Stores(RuleBasedStateMachine):
    """The same calls to both; versions differ in text only, so each store is sent its own."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.sqlite = SqliteStore(Path(self.folder.name) / "store.db")
        self.both: tuple[Store, Store] = (MemoryStore(), self.sqlite)
        self.old: list[dict[tuple[str, str], str]] = [{}, {}]  # the first version seen of each document
        self.now = 0

    def teardown(self) -> None:
        self.sqlite.close()
        self.folder.cleanup()

    @rule(tenant=TENANTS, event=st.one_of(st.none(), IDS), created=st.integers(0, 4), keys=KEYS, writes=WRITES)
    def commit(self, tenant: str, event: str | None, created: int, keys: tuple[str, ...], writes: Any) -> None:
        put = event and logged(event, tenant, created, keys=keys, type=PAID if created % 2 else FAILED)
        answers = [self._commit(n, tenant, put or None, writes) for n in (0, 1)]
        assert answers[0] == answers[1]

    @rule(tenant=TENANTS, id=IDS, created=st.integers(0, 4), keys=KEYS)
    def rewrite(self, tenant: str, id: str, created: int, keys: tuple[str, ...]) -> None:
        for store in self.both:
            store.commit(tenant, None, [logged(id, tenant, created, keys=keys)])

    @rule(limit=st.integers(1, 3), lease=st.integers(1, 3), forward=st.integers(0, 2))
    def claim(self, limit: int, lease: int, forward: int) -> None:
        self.now += forward
        claims = [store.claim("run", at(self.now), timedelta(minutes=lease), limit) for store in self.both]
        assert [(d.tenant, d.id, d.body) for d in claims[0]] == [(d.tenant, d.id, d.body) for d in claims[1]]

    @rule(tenant=TENANTS)
    def wipe(self, tenant: str) -> None:
        for store in self.both:
            store.wipe(tenant)

    @invariant()
    def answers_agree(self) -> None:
        first, second = ([self._everything(store, tenant) for tenant in (A, B)] for store in self.both)
        assert first == second

    def _commit(self, n: int, tenant: str, event: Put | None, writes: Any) -> str:
        try:
            self.both[n].commit(tenant, event, [self._write(n, tenant, *write) for write in writes])
        except (AlreadyProcessed, Conflict) as error:
            return repr(error)
        return "done"

    def _write(self, n: int, tenant: str, id: str, verb: str, expect: str, due: int | None) -> Put | Delete:
        found = self.both[n].get(tenant, "run", id)
        if expect == "read":
            expect = found.version if found else "404"
        elif expect == "stale":
            expect = self.old[n].get((tenant, id), "404")
        if found:
            self.old[n].setdefault((tenant, id), found.version)
        body = {"state": f"s{due}", "created_at": str((due or 0) % 2), "due_at": None if due is None else iso_at(due)}
        return Put("run", id, body, expect) if verb == "put" else Delete("run", id, expect)

    @staticmethod
    def _everything(store: Store, tenant: str) -> list[Any]:
        lists: list[tuple[str, list[Any], str | None]] = [
            ("run", [], None),
            ("run", [], "due_at"),
            ("run", [], "-created_at"),
            ("run", [("state", "==", "s1")], "created_at"),
            ("run", [("created_at", "<=", "0")], "-created_at"),
            ("event", [], "-created"),
            ("event", [("keys", "has", "sub:1")], "-created"),
            ("event", [("keys", "has", "cus:1"), ("type", "==", FAILED), ("created", ">", 1)], "created"),
        ]
        answers: list[Any] = [store.count(tenant, "run"), store.window(tenant, "sub:1", [PAID, FAILED], 1, 3)]
        for kind, where, order in lists:
            page = store.find(tenant, kind, where, order, limit=2)
            rest = store.find(tenant, kind, where, order, page.next, limit=9) if page.next else page
            answers += [[(d.id, d.body) for d in found.items] for found in (page, rest)] + [page.next]
        return answers


def iso_at(minute: int) -> str:
    from rules.event import iso

    return iso(at(minute))


TestStoresAgree = Stores.TestCase
TestStoresAgree.settings = settings(max_examples=40, stateful_step_count=20, deadline=None, database=None)
