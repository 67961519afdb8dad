"""What every Store promises. `LocalStoreContract` adds what holds where a batch is one transaction."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.adapters.documents import MAX_WRITES, AppendOnly, TooLarge
from app.audit import entry
from app.audit.seal import seal
from app.audit.verify import verify
from rules.event import Event, iso
from rules.kinds import KINDS
from rules.ports import ABSENT, AlreadyProcessed, Conflict, Delete, Document, Put, RefusedQuery, Store, Where
from tests.contracts.bus import A, B, event, in_threads

NOON = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
QUERIES = [(kind.name, query) for kind in KINDS.values() for query in kind.queries]


def logged(id: str = "evt_1", tenant: str = A, created: int = 100, **more: Any) -> Put:
    """The Put of an event as handle makes it."""
    top = {name: more.pop(name) for name in ("fired", "customer", "decision") if name in more}
    found = event(id, tenant, created=created, **more)
    return Put("event", id, body_of(found, **top))


def body_of(found: Event, **top: Any) -> dict[str, Any]:
    return {
        "event": found.to_cloudevent(),
        "type": found.type,
        "created": found.created,
        "recorded": iso(found.recorded),
        "correlation": found.correlation,
        "customer": "cus_1",
        "origin": found.source,
        "keys": list(found.keys),
        "fired": False,
        **top,
    }


def run(id: str = "run_1", due: datetime | None = NOON, expect: str = "any", **more: Any) -> Put:
    return Put("run", id, {"state": "active", "created_at": iso(NOON), "due_at": due and iso(due), **more}, expect)


def rule(id: str, at: int, state: str = "live", expect: str = "any") -> Put:
    return Put("rule", id, {"state": state, "updated_at": f"2026-01-{at:02}"}, expect)


def ids(documents: Any) -> list[str]:
    return [found.id for found in documents]


def got(store: Store, tenant: str, kind: str, id: str) -> Document:
    found = store.get(tenant, kind, id)
    assert found is not None
    return found


def pages(store: Store, kind: str, where: list[Where], order: str | None, limit: int) -> list[list[str]]:
    """Every page of a list of tenant A, by its cursor."""
    found, after = [], None
    for _ in range(50):
        page = store.find(A, kind, where, order, after, limit)
        found.append(ids(page.items))
        after = page.next
        if after is None:
            return found
    raise AssertionError("the pages do not end")


class StoreContract:
    """Subclasses give a fixture `store`, empty."""

    # ---- isolation: first, because what fails here shows another customer's data ------------------------------------
    def test_tenants_that_share_all_ids_do_not_see_each_other(self, store: Store) -> None:
        for tenant, state in ((A, "live"), (B, "watch")):
            store.commit(tenant, logged("evt_1", tenant), [rule("r1", 1, state), run(state=state)])
        for tenant, state in ((A, "live"), (B, "watch")):
            assert got(store, tenant, "rule", "r1").body["state"] == state
            assert got(store, tenant, "rule", "r1").tenant == tenant
            assert ids(store.find(tenant, "rule", [("state", "==", state)], "updated_at").items) == ["r1"]
            assert store.count(tenant, "rule") == 1
            assert store.count(tenant, "run", [("state", "==", state)]) == 1
            assert [found.tenant for found in store.window(tenant, "sub:sub_1", [PAID, FAILED], 0, 200)] == [tenant]
            (one,) = store.find(tenant, "event", [("keys", "has", "sub:sub_1")], "created").items
            assert one.body["event"]["tenant"] == tenant
        assert store.find(A, "rule", [("state", "==", "watch")], "updated_at").items == ()

    def test_a_change_of_one_tenant_changes_nothing_of_another(self, store: Store) -> None:
        for tenant in (A, B):
            store.commit(tenant, logged("evt_1", tenant), [rule("r1", 1), rule("r2", 2)])
        before = [got(store, B, "rule", "r1"), got(store, B, "rule", "r2")]
        store.commit(A, None, [rule("r1", 9, "paused", got(store, A, "rule", "r1").version), Delete("rule", "r2")])
        store.commit(A, None, [Put("event", "evt_1", {**logged("evt_1", A).body, "keys": ["sub:other"]})])
        assert [got(store, B, "rule", "r1"), got(store, B, "rule", "r2")] == before
        assert len(store.window(B, "sub:sub_1", [FAILED], 0, 200)) == 1
        assert store.get(A, "rule", "r2") is None

    def test_an_event_of_one_tenant_does_not_mark_anothers_as_processed(self, store: Store) -> None:
        store.commit(A, logged("evt_1", A), [])
        store.commit(B, logged("evt_1", B), [])
        with pytest.raises(AlreadyProcessed):
            store.commit(B, logged("evt_1", B), [])

    def test_claims_of_tenants_that_share_ids_are_apart(self, store: Store) -> None:
        store.commit(A, None, [run(state="active")])
        store.commit(B, None, [run(state="asleep")])
        claimed = store.claim("run", NOON, MINUTE, 10)
        assert [(found.tenant, found.body["state"]) for found in claimed] == [(A, "active"), (B, "asleep")]
        store.commit(A, None, [run(due=None, expect=claimed[0].version)])
        again = store.claim("run", NOON + 2 * MINUTE, MINUTE, 10)
        assert [found.tenant for found in again] == [B]

    def test_wiping_a_tenant_leaves_the_others(self, store: Store) -> None:
        for tenant in (A, B):
            store.commit(tenant, logged("evt_1", tenant), [rule("r1", 1), run()])
        store.wipe(A)
        assert store.get(A, "rule", "r1") is None
        assert store.window(A, "sub:sub_1", [FAILED], 0, 200) == []
        assert store.count(A, "event") == 0
        assert [found.tenant for found in store.claim("run", NOON, MINUTE, 10)] == [B]
        assert len(store.window(B, "sub:sub_1", [FAILED], 0, 200)) == 1
        store.commit(A, logged("evt_1", A), [])  # it is new again

    # ---- commits ----------------------------------------------------------------------------------------------------
    def test_an_event_is_committed_once_with_its_writes(self, store: Store) -> None:
        store.commit(A, logged(), [Put("memory", "m", {"n": 1}, ABSENT)])
        with pytest.raises(AlreadyProcessed):
            store.commit(A, logged(decision="another"), [Put("memory", "m", {"n": 2}), rule("r1", 1)])
        assert got(store, A, "memory", "m").body == {"n": 1}
        assert store.get(A, "rule", "r1") is None
        assert "decision" not in got(store, A, "event", "evt_1").body
        assert len(store.window(A, "sub:sub_1", [FAILED], 0, 200)) == 1

    def test_a_known_event_is_told_before_a_conflict(self, store: Store) -> None:
        store.commit(A, logged(), [rule("r1", 1)])
        with pytest.raises(AlreadyProcessed):
            store.commit(A, logged(), [rule("r1", 2, expect=ABSENT)])

    @pytest.mark.parametrize("position", [0, 1, 2, 3])
    def test_a_commit_that_fails_at_any_write_leaves_nothing_behind(self, store: Store, position: int) -> None:
        store.commit(A, None, [rule("there", 1), Put("memory", "kept", {"n": 1})])
        writes: list[Any] = [rule("new", 2), Put("memory", "kept", {"n": 2}), Delete("rule", "there")]
        writes.insert(position, Put("list", "failing", {}, expect="12345"))
        with pytest.raises(Conflict):
            store.commit(A, logged(), writes)
        assert store.get(A, "event", "evt_1") is None
        assert store.get(A, "rule", "new") is None
        assert store.get(A, "rule", "there") is not None
        assert got(store, A, "memory", "kept").body == {"n": 1}
        assert store.window(A, "sub:sub_1", [FAILED], 0, 200) == []
        assert store.count(A, "event", [("keys", "has", "sub:sub_1"), ("created", "==", 100)]) == 0
        store.commit(A, logged(), [])  # and nothing marks it as processed

    def test_a_write_goes_through_only_at_the_version_that_was_read(self, store: Store) -> None:
        store.commit(A, None, [rule("r1", 1, expect=ABSENT)])
        first = got(store, A, "rule", "r1")
        store.commit(A, None, [rule("r1", 2, expect=first.version)])
        second = got(store, A, "rule", "r1")
        assert second.version != first.version
        for stale in (first.version, ABSENT, "", "nonsense"):
            with pytest.raises(Conflict):
                store.commit(A, None, [rule("r1", 3, expect=stale)])
            with pytest.raises(Conflict):
                store.commit(A, None, [Delete("rule", "r1", stale)])
        assert got(store, A, "rule", "r1") == second
        store.commit(A, None, [Delete("rule", "r1", second.version)])
        assert store.get(A, "rule", "r1") is None

    def test_a_version_of_what_is_not_there_conflicts(self, store: Store) -> None:
        store.commit(A, None, [rule("r1", 1)])
        version = got(store, A, "rule", "r1").version
        store.commit(A, None, [Delete("rule", "r1")])
        for write in (rule("r1", 2, expect=version), Delete("rule", "r1", version)):
            with pytest.raises(Conflict):
                store.commit(A, None, [write])
        store.commit(A, None, [Delete("rule", "r1")])  # whatever is there: nothing is fine

    def test_what_was_deleted_and_made_anew_is_not_what_was_read(self, store: Store) -> None:
        store.commit(A, None, [rule("r1", 1)])
        read = got(store, A, "rule", "r1")
        store.commit(A, None, [Delete("rule", "r1")])
        store.commit(A, None, [rule("r1", 1)])
        with pytest.raises(Conflict):
            store.commit(A, None, [rule("r1", 2, expect=read.version)])

    def test_an_event_rewritten_is_found_by_its_new_keys_only(self, store: Store) -> None:
        store.commit(A, logged("evt_1", keys=("sub:old", "sub:both")), [])
        version = got(store, A, "event", "evt_1").version
        changed = logged("evt_1", keys=("sub:new", "sub:both"), created=101, fired=True)
        with pytest.raises(Conflict):
            store.commit(A, None, [Put("event", "evt_1", changed.body, "77")])
        store.commit(A, None, [Put("event", "evt_1", changed.body, version)])
        assert store.window(A, "sub:old", [FAILED], 0, 200) == []
        for key in ("sub:new", "sub:both"):
            assert [found.created for found in store.window(A, key, [FAILED], 0, 200)] == [101]
        store.commit(A, None, [Delete("event", "evt_1")])
        assert store.window(A, "sub:both", [FAILED], 0, 200) == []
        assert store.find(A, "event", [("keys", "has", "sub:both")], "created").items == ()

    def test_a_commit_of_too_many_writes_or_one_document_twice_is_refused(self, store: Store) -> None:
        store.commit(A, logged(), [Put("memory", f"m{i}", {}) for i in range(MAX_WRITES)])
        with pytest.raises(ValueError, match="at most 100"):
            store.commit(A, None, [Put("memory", f"n{i}", {}) for i in range(MAX_WRITES + 1)])
        with pytest.raises(ValueError, match="once"):
            store.commit(A, None, [rule("r1", 1), Delete("rule", "r1")])
        with pytest.raises(ValueError, match="once"):
            store.commit(A, logged("evt_2"), [logged("evt_2")])
        assert store.count(A, "memory") == MAX_WRITES
        assert store.get(A, "event", "evt_2") is None

    # ---- what is only ever appended ---------------------------------------------------------------------------------
    def test_an_audit_entry_is_neither_written_over_nor_let_go(self, store: Store) -> None:
        put = entry(NOON, "ada", "publish", "r1", None, {"version": 1}, "why not")
        store.commit(A, None, [put])
        version = got(store, A, "audit", put.id).version
        forged = {**put.body, "actor": "eve"}
        for write in (Put("audit", put.id, forged), Put("audit", put.id, forged, ABSENT)):
            with pytest.raises(Conflict):
                store.commit(A, None, [rule("r1", 1), write])
        for refused in (
            Put("audit", put.id, forged, version),
            Delete("audit", put.id),
            Delete("audit", put.id, version),
            Delete("audit_seal", "000000000001"),
        ):
            with pytest.raises(AppendOnly):
                store.commit(A, None, [rule("r1", 1), refused])
        assert got(store, A, "audit", put.id).body == put.body
        assert store.get(A, "rule", "r1") is None  # nothing of such a commit is there

    def test_the_audit_log_is_sealed_and_verifies(self, store: Store) -> None:
        for tenant in (A, B):
            for minute in range(12):
                store.commit(tenant, None, [entry(NOON + minute * MINUTE, "ada", "publish", f"r{minute}", None, 1.5)])
                if minute % 4 == 3:
                    seal(store, tenant, NOON + (minute + 1) * MINUTE)
        report = verify(store, A)
        assert (report.whole, report.entries, report.sealed, report.seals) == (True, 12, 12, 3)
        assert seal(store, A, NOON + 12 * MINUTE) == 0

    # ---- bodies and ids ---------------------------------------------------------------------------------------------
    def test_a_body_comes_back_as_it_was_written(self, store: Store) -> None:
        body = {
            "text": "żółć 🙂 \u2028 \x00",
            "n": 2**53,
            "f": 0.1,
            "no": None,
            "yes": True,
            "": {"a.b/c`": [1, [], {}]},
        }
        deep: dict[str, Any] = {}
        for _ in range(60):  # deeper than Firestore's own maps may be
            deep = {"deeper": deep}
        body["deep"], body["big"] = deep, "x" * 400_000
        store.commit(A, None, [Put("memory", "m", body)])
        assert got(store, A, "memory", "m").body == body
        assert store.find(A, "memory").items[0].body == body

    def test_any_text_is_an_id(self, store: Store) -> None:
        odd = ["a/b", "a%2Fb", "..", ".", "__x__", "ünï 🙂", "a b", "~", "rule|2026-01-01", "x" * 900, "A", "a"]
        store.commit(A, None, [Put("memory", id, {"id": id}) for id in odd])
        for id in odd:
            assert got(store, A, "memory", id).body == {"id": id}
            assert got(store, A, "memory", id).id == id
        assert sorted(ids(store.find(A, "memory").items)) == sorted(odd)

    def test_what_the_caller_changes_later_is_not_stored(self, store: Store) -> None:
        body = {"list": [1]}
        store.commit(A, None, [Put("memory", "m", body)])
        body["list"].append(2)
        read = got(store, A, "memory", "m").body["list"]
        read.append(3)
        assert got(store, A, "memory", "m").body == {"list": [1]}

    def test_what_no_backend_can_keep_is_refused_and_nothing_is_written(self, store: Store) -> None:
        noise = "".join(chr(0x4E00 + (i * i * 7919 + i) % 20_000) for i in range(1_000_000))
        refused: list[tuple[type[Exception], Put]] = [
            (TooLarge, Put("memory", "m", {"noise": noise})),
            (TooLarge, Put("memory", "x" * 1_100, {})),
            (TooLarge, Put("memory", "", {})),
            (TooLarge, Put("rule", "m", {"state": "x" * 1_600})),
            (TypeError, Put("memory", "m", {"when": NOON})),
            (TypeError, Put("rule", "m", {"state": ["live"]})),
            (ValueError, Put("event", "m", {"keys": ["a"], "type": "t"})),
            (ValueError, Put("unheard", "m", {})),
        ]
        for error, put in refused:
            with pytest.raises(error):
                store.commit(A, None, [rule("r1", 1), put])
        assert store.get(A, "rule", "r1") is None

    # ---- windows ----------------------------------------------------------------------------------------------------
    def test_both_edges_of_a_window_are_in_it(self, store: Store) -> None:
        for created in (99, 100, 101, 199, 200, 201):
            store.commit(A, logged(f"evt_{created}", created=created), [])
        assert ids(store.window(A, "sub:sub_1", [FAILED], 100, 200)) == ["evt_100", "evt_101", "evt_199", "evt_200"]
        assert ids(store.window(A, "sub:sub_1", [FAILED], 101, 101)) == ["evt_101"]
        assert store.window(A, "sub:sub_1", [FAILED], 102, 101) == []

    def test_a_window_has_the_key_and_the_types_asked_for(self, store: Store) -> None:
        store.commit(A, logged("evt_1", keys=("sub:sub_1", "cus:cus_1")), [])
        store.commit(A, logged("evt_2", keys=("sub:sub_2", "cus:cus_1")), [])
        store.commit(A, logged("evt_3", type=PAID), [])
        store.commit(A, logged("evt_4", keys=("sub:sub_11",)), [])
        assert ids(store.window(A, "sub:sub_1", [FAILED], 0, 200)) == ["evt_1"]
        assert ids(store.window(A, "sub:sub_1", [FAILED, PAID], 0, 200)) == ["evt_1", "evt_3"]
        assert ids(store.window(A, "cus:cus_1", [FAILED], 0, 200)) == ["evt_1", "evt_2"]
        assert store.window(A, "sub:sub_1", [], 0, 200) == []
        assert store.window(A, "sub:none", [FAILED], 0, 200) == []

    def test_a_window_is_in_event_time_whatever_came_first_and_ties_by_id(self, store: Store) -> None:
        for id, created in (("evt_9", 150), ("evt_b", 120), ("evt_a", 120), ("evt_10", 150), ("evt_1", 100)):
            store.commit(A, logged(id, created=created), [])
        assert ids(store.window(A, "sub:sub_1", [FAILED], 0, 200)) == ["evt_1", "evt_a", "evt_b", "evt_10", "evt_9"]

    def test_a_window_gives_whole_events(self, store: Store) -> None:
        whole = event("evt_1", created=100, causation="run/step", received={"span_id": "1"}, data={"ü": [1]})
        store.commit(A, Put("event", "evt_1", body_of(whole)), [])
        assert store.window(A, "cus:cus_1", [FAILED], 0, 200) == [whole]

    # ---- finding ----------------------------------------------------------------------------------------------------
    def test_a_count_goes_no_further_than_it_is_asked_to(self, store: Store) -> None:
        store.commit(A, None, [rule(f"r{n}", n, "live" if n % 2 else "watch") for n in range(1, 10)])
        live: Where = ("state", "==", "live")
        assert [store.count(A, "rule", most=most) for most in (1, 8, 9, 10, None)] == [1, 8, 9, 9, 9]
        assert [store.count(A, "rule", [live], most) for most in (2, 5, 6)] == [2, 5, 5]
        assert store.count(B, "rule", most=3) == 0

    def test_a_list_is_ordered_by_its_field_and_ties_by_id_in_either_direction(self, store: Store) -> None:
        store.commit(A, None, [rule("c", 2), rule("a", 2), rule("b", 1), rule("d", 3), rule("B", 2)])
        assert ids(store.find(A, "rule", order="updated_at").items) == ["b", "B", "a", "c", "d"]
        assert ids(store.find(A, "rule", order="-updated_at").items) == ["d", "c", "a", "B", "b"]
        assert ids(store.find(A, "rule").items) == ["B", "a", "b", "c", "d"]

    @pytest.mark.parametrize("order", ["updated_at", "-updated_at", None])
    @pytest.mark.parametrize("where", [[], [("state", "==", "live")]])
    @pytest.mark.parametrize("limit", [1, 2, 3, 7, 8])
    def test_pages_make_up_the_list_each_once(
        self, store: Store, order: str | None, where: list[Where], limit: int
    ) -> None:
        store.commit(A, None, [rule(f"r{i}", i // 3) for i in range(7)] + [rule("other", 1, "paused")])
        whole = ids(store.find(A, "rule", where, order).items)
        found = pages(store, "rule", where, order, limit)
        assert [id for page in found for id in page] == whole
        assert len(whole) == (7 if where else 8)
        assert all(len(page) == limit for page in found[:-1])
        assert len(found) == -(-len(whole) // limit)

    def test_a_cursor_stays_where_it_is_when_others_write(self, store: Store) -> None:
        store.commit(A, None, [rule(f"r{i}", i) for i in (2, 4, 6, 8)])
        first = store.find(A, "rule", order="-updated_at", limit=2)
        assert ids(first.items) == ["r8", "r6"]
        store.commit(A, None, [rule("r9", 9), rule("r7", 7), rule("r5", 5), Delete("rule", "r6")])
        rest = store.find(A, "rule", order="-updated_at", after=first.next)
        assert ids(rest.items) == ["r5", "r4", "r2"]

    def test_ranges_hold_at_their_edges(self, store: Store) -> None:
        store.commit(A, None, [rule(f"r{i}", i) for i in (1, 2, 3, 4)])
        at = "2026-01-02"
        expected = {"<": ["r1"], "<=": ["r1", "r2"], ">": ["r3", "r4"], ">=": ["r2", "r3", "r4"]}
        for op, found in expected.items():
            test: Any = ("updated_at", op, at)
            assert ids(store.find(A, "rule", [test], "updated_at").items) == found
            assert ids(store.find(A, "rule", [test], "-updated_at").items) == found[::-1]
            assert ids(store.find(A, "rule", [test]).items) == found
            assert store.count(A, "rule", [test]) == len(found)
            assert ids(store.find(A, "rule", [("state", "==", "live"), test], "updated_at").items) == found
        both: Any = [("updated_at", ">", "2026-01-01"), ("updated_at", "<=", "2026-01-03")]
        assert ids(store.find(A, "rule", both, "updated_at").items) == ["r2", "r3"]
        page = store.find(A, "rule", both, "updated_at", limit=1)
        assert ids(store.find(A, "rule", both, "updated_at", after=page.next).items) == ["r3"]

    def test_lists_are_searched_by_their_members(self, store: Store) -> None:
        store.commit(A, logged("evt_1", created=1, keys=("sub:1", "cus:1", "sub:1")), [])
        store.commit(A, logged("evt_2", created=2, keys=("sub:2", "cus:1")), [])
        store.commit(A, logged("evt_3", created=3, keys=("sub:1",), type=PAID), [])
        has: Any = ("keys", "has", "sub:1")
        assert ids(store.find(A, "event", [has], "-created").items) == ["evt_3", "evt_1"]
        assert ids(store.find(A, "event", [has, ("type", "==", FAILED)], "created").items) == ["evt_1"]
        assert ids(store.find(A, "event", [has, ("created", ">=", 2)], "created").items) == ["evt_3"]
        assert store.count(A, "event", [("keys", "has", "cus:1"), ("created", ">", 0)]) == 2
        assert pages(store, "event", [("keys", "has", "cus:1")], "created", 1) == [["evt_1"], ["evt_2"]]

    def test_truth_values_are_searched(self, store: Store) -> None:
        store.commit(A, logged("evt_1", fired=True), [])
        store.commit(A, logged("evt_2", fired=False), [])
        assert ids(store.find(A, "event", [("fired", "==", True)], "-created").items) == ["evt_1"]
        assert ids(store.find(A, "event", [("fired", "==", False)], "-created").items) == ["evt_2"]

    def test_a_document_without_the_order_field_is_in_no_list_ordered_by_it(self, store: Store) -> None:
        store.commit(A, None, [run("r1", due=None), run("r2"), Put("run", "r3", {"state": "x"})])
        assert ids(store.find(A, "run", order="due_at").items) == ["r2"]
        assert ids(store.find(A, "run", order="-created_at").items) == ["r2", "r1"]
        assert ids(store.find(A, "run").items) == ["r1", "r2", "r3"]

    @pytest.mark.parametrize(("kind", "query"), QUERIES)
    def test_every_declared_query_is_answered_in_both_directions(
        self, store: Store, kind: str, query: tuple[str, ...]
    ) -> None:
        lists = KINDS[kind].lists
        where: list[Any] = [(name, "has" if name in lists else "==", "x") for name in query[:-1]]
        ranged: list[Any] = [*where, (query[-1], ">", "a"), (query[-1], "<=", "b")]
        for order in (query[-1], "-" + query[-1]):
            assert store.find(A, kind, where, order).items == ()
            assert store.find(A, kind, ranged, order).items == ()
        assert store.find(A, kind, where).items == ()
        assert store.count(A, kind, ranged) == 0

    @pytest.mark.parametrize(
        ("kind", "where", "order"),
        [
            ("unheard", [], None),
            ("rule", [("name", "==", "x")], None),
            ("rule", [], "state"),
            ("rule", [("state", ">", "a")], "updated_at"),
            ("run", [("state", "==", "x"), ("customer", "==", "y")], "created_at"),
            ("run", [("state", "==", "x")], "due_at"),
            ("run", [("created_at", ">", "x")], "due_at"),
            ("event", [("keys", "==", "x")], "created"),
            ("event", [("type", "has", "x")], "created"),
            ("event", [("keys", "has", "a"), ("keys", "has", "b")], "created"),
            ("run", [("customer", "==", None)], "created_at"),
            ("run", [("customer", "==", ["x"])], "created_at"),
        ],
    )
    def test_a_query_without_an_index_is_refused(
        self, store: Store, kind: str, where: list[Where], order: str | None
    ) -> None:
        with pytest.raises(RefusedQuery):
            store.find(A, kind, where, order)

    @pytest.mark.parametrize(
        "cursor",
        ["nonsense", "", "ünï", "WzFd", "bnVsbA", "WyJydWxlIHVwZGF0ZWRfYXQiLDkyMjMzNzIwMzY4NTQ3NzU4MDgsIngiXQ"],
    )
    def test_what_is_no_cursor_is_refused(self, store: Store, cursor: str) -> None:
        with pytest.raises(RefusedQuery):
            store.find(A, "rule", order="updated_at", after=cursor)

    def test_a_cursor_of_another_list_is_refused(self, store: Store) -> None:
        store.commit(A, None, [rule("r1", 1), rule("r2", 2)])
        page = store.find(A, "rule", order="updated_at", limit=1)
        for kind, order in (("rule", "-updated_at"), ("rule", None), ("list", "updated_at")):
            with pytest.raises(RefusedQuery):
                store.find(A, kind, (), order, page.next)

    # ---- claims -----------------------------------------------------------------------------------------------------
    def test_what_is_due_is_claimed_earliest_first_up_to_the_limit(self, store: Store) -> None:
        late, edge, early = NOON + timedelta(microseconds=1), NOON, NOON - MINUTE
        writes = [run("r1", edge), run("r2", early), run("r3", late), run("r4", None), Put("run", "r5", {})]
        store.commit(A, None, writes)
        assert ids(store.claim("run", NOON, MINUTE, 1)) == ["r2"]
        assert ids(store.claim("run", NOON, MINUTE, 10)) == ["r1"]
        assert store.claim("run", NOON, MINUTE, 10) == []
        assert store.claim("command", NOON, MINUTE, 10) == []

    def test_a_claim_is_a_lease_that_ends(self, store: Store) -> None:
        store.commit(A, None, [run()])
        (first,) = store.claim("run", NOON, MINUTE, 10)
        assert first == got(store, A, "run", "run_1")
        assert first.body["due_at"] == iso(NOON + MINUTE)
        assert store.claim("run", NOON + MINUTE - timedelta(microseconds=1), MINUTE, 10) == []
        (second,) = store.claim("run", NOON + MINUTE, MINUTE, 10)
        assert second.version != first.version
        with pytest.raises(Conflict):  # whose lease has ended may not finish
            store.commit(A, None, [run(due=None, expect=first.version)])
        store.commit(A, None, [run(due=None, expect=second.version)])
        assert store.claim("run", NOON + timedelta(days=1), MINUTE, 10) == []
        assert got(store, A, "run", "run_1").body["due_at"] is None

    def test_a_leased_document_is_listed_where_its_lease_ends(self, store: Store) -> None:
        store.commit(A, None, [run("r1"), run("r2", NOON + MINUTE)])
        store.claim("run", NOON, 5 * MINUTE, 10)
        assert ids(store.find(A, "run", order="due_at").items) == ["r2", "r1"]
        assert pages(store, "run", [], "due_at", 1) == [["r2"], ["r1"]]
        assert store.find(A, "run", order="-due_at").items[0].body["due_at"] == iso(NOON + 5 * MINUTE)

    def test_due_again_after_a_commit_is_claimed_again(self, store: Store) -> None:
        store.commit(A, None, [run()])
        (claimed,) = store.claim("run", NOON, MINUTE, 10)
        store.commit(A, None, [run(due=NOON + 3 * MINUTE, expect=claimed.version, state="waiting")])
        assert store.claim("run", NOON + 2 * MINUTE, MINUTE, 10) == []
        (again,) = store.claim("run", NOON + 3 * MINUTE, MINUTE, 10)
        assert again.body["state"] == "waiting"

    def test_only_what_can_be_due_is_claimed(self, store: Store) -> None:
        with pytest.raises(ValueError, match="claimable"):
            store.claim("rule", NOON, MINUTE, 10)

    def test_claimers_at_one_moment_share_nothing(self, store: Store) -> None:
        store.commit(A, None, [run(f"r{i:02}") for i in range(40)])
        claimed: list[str] = []

        def claim(_: int) -> None:
            while found := store.claim("run", NOON, timedelta(hours=1), 3):
                claimed.extend(ids(found))

        in_threads(4, claim)
        assert sorted(claimed) == [f"r{i:02}" for i in range(40)]

    # ---- at the same moment -----------------------------------------------------------------------------------------
    def test_no_update_is_lost_between_two_who_read_count_and_write(self, store: Store) -> None:
        store.commit(A, None, [Put("memory", "m", {"n": 0})])

        def count(_: int) -> None:
            for _ in range(self.increments):
                while True:
                    read = got(store, A, "memory", "m")
                    try:
                        store.commit(A, None, [Put("memory", "m", {"n": read.body["n"] + 1}, read.version)])
                        break
                    except Conflict:
                        continue

        in_threads(2, count)
        assert got(store, A, "memory", "m").body == {"n": 2 * self.increments}

    increments = 100

    def test_one_of_many_racers_with_the_same_event_wins(self, store: Store) -> None:
        won: list[int] = []

        def race(n: int) -> None:
            try:
                store.commit(A, logged(), [Put("command", f"c{n}", {"n": n}), Put("memory", "m", {"n": n})])
                won.append(n)
            except AlreadyProcessed:
                pass

        in_threads(8, race)
        assert len(won) == 1
        assert ids(store.find(A, "command").items) == [f"c{won[0]}"]
        assert got(store, A, "memory", "m").body == {"n": won[0]}

    # ---- batches ----------------------------------------------------------------------------------------------------
    def test_reads_inside_a_batch_see_its_commits(self, store: Store) -> None:
        with store.batch():
            store.commit(A, logged(), [rule("r1", 1), run()])
            assert got(store, A, "rule", "r1").body["state"] == "live"
            assert len(store.window(A, "sub:sub_1", [FAILED], 0, 200)) == 1
            assert ids(store.find(A, "rule", order="updated_at").items) == ["r1"]
            assert ids(store.claim("run", NOON, MINUTE, 10)) == ["run_1"]
            store.commit(A, None, [rule("r1", 2, expect=got(store, A, "rule", "r1").version)])
        assert got(store, A, "rule", "r1").body["updated_at"] == "2026-01-02"
        assert store.claim("run", NOON, MINUTE, 10) == []

    def test_one_refused_commit_of_a_batch_leaves_the_others(self, store: Store) -> None:
        store.commit(A, logged("evt_0"), [])
        with store.batch():
            store.commit(A, logged("evt_1"), [rule("r1", 1)])
            with pytest.raises(AlreadyProcessed):
                store.commit(A, logged("evt_0"), [rule("r0", 1)])
            with pytest.raises(Conflict):
                store.commit(A, logged("evt_2"), [rule("r2", 1), rule("r1", 2, expect=ABSENT)])
            with pytest.raises(ValueError, match="once"):
                store.commit(A, None, [rule("r3", 1), rule("r3", 2)])
            with pytest.raises(TooLarge):
                store.commit(A, logged("evt_4", keys=("sub:1", "x" * 1_600)), [rule("r3", 1)])
            store.commit(A, logged("evt_3"), [rule("r4", 1)])
        assert sorted(ids(store.find(A, "event").items)) == ["evt_0", "evt_1", "evt_3"]
        assert sorted(ids(store.find(A, "rule").items)) == ["r1", "r4"]


FAILED = "invoice.payment_failed"
PAID = "invoice.paid"


class Stopped(Exception):
    """The handler ends here."""


class LocalStoreContract(StoreContract):
    """Where a batch is one transaction: it is there whole, or not at all."""

    def test_a_batch_that_does_not_end_leaves_nothing(self, store: Store) -> None:
        store.commit(A, None, [rule("r1", 1), rule("gone", 1), run()])
        before = got(store, A, "rule", "r1")
        with pytest.raises(Stopped), store.batch():  # noqa: PT012 - what is inside is the point
            store.commit(A, logged(), [rule("r1", 2), rule("r2", 2), Delete("rule", "gone")])
            store.commit(A, None, [rule("r1", 3)])
            store.claim("run", NOON, MINUTE, 10)
            raise Stopped
        assert got(store, A, "rule", "r1") == before
        assert ids(store.find(A, "rule").items) == ["gone", "r1"]
        assert store.window(A, "sub:sub_1", [FAILED], 0, 200) == []
        assert ids(store.claim("run", NOON, MINUTE, 10)) == ["run_1"]
        store.commit(A, logged(), [])

    def test_another_thread_sees_a_batch_whole_or_not_at_all(self, store: Store) -> None:
        inside, looked = threading.Event(), threading.Event()
        seen: list[int] = []

        def look() -> None:
            inside.wait(5)
            looked.set()
            seen.append(store.count(A, "rule"))

        thread = threading.Thread(target=look)
        thread.start()
        with store.batch():
            store.commit(A, None, [rule("r1", 1)])
            inside.set()
            looked.wait(5)
            store.commit(A, None, [rule("r2", 1)])
        thread.join()
        assert seen in ([0], [2])

    def test_a_commit_of_another_thread_waits_for_the_batch(self, store: Store) -> None:
        threads = []
        with store.batch():
            store.commit(A, None, [rule("r1", 1)])
            threads = [threading.Thread(target=store.commit, args=(A, None, [rule(f"other{n}", 1)])) for n in range(3)]
            for thread in threads:
                thread.start()
            store.commit(A, None, [rule("r2", 1)])
        for thread in threads:
            thread.join()
        assert store.count(A, "rule") == 5

    def test_a_batch_inside_a_batch_is_refused(self, store: Store) -> None:
        with store.batch(), pytest.raises(RuntimeError, match="re-entrant"), store.batch():
            pass
        store.commit(A, None, [rule("r1", 1)])
        assert store.count(A, "rule") == 1
