"""What is in force: read again when the revision moves, compiled once, swapped without a gap."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from app.adapters.memory import MemoryStore
from app.rulesets import READS, RuleSets
from rules.matcher import PythonMatcher
from rules.ports import Put, Unavailable
from rules.rete import DurableMatcher
from tests.rules.world import NOW, TENANT

SECOND = timedelta(seconds=1)


def document(rule_id: str, event_type: str = "invoice.paid") -> dict[str, Any]:
    step = {"name": "tell", "do": "crm.notify", "with": {"connection": "crm"}}
    return {"id": rule_id, "name": rule_id, "when": {"event": [event_type]}, "steps": [step]}


def publish(store: MemoryStore, revision: int, *rules: tuple[str, str, int | None], broken: bool = False) -> None:
    """rules: (id, state, number in force)."""
    for rule_id, state, number in rules:
        body = {"id": rule_id, "state": state, "number": number, "live_from": "2026", "updated_at": str(revision)}
        store.commit(TENANT, None, [Put("rule", rule_id, body)])
        version = {"rule_id": rule_id, "number": number, "document": {"no": "rule"} if broken else document(rule_id)}
        store.commit(TENANT, None, [Put("rule_version", f"{rule_id}@{number}", version)])
    store.commit(TENANT, None, [Put("ruleset", "current", {"revision": revision})])


def in_force(rulesets: RuleSets, store: MemoryStore, now: Any = None) -> dict[str, tuple[str, int]]:
    return {
        version.rule.id: (version.mode, version.number) for version in rulesets.current(store, TENANT, now).versions
    }


def test_live_watched_and_paused_rules_are_in_force_and_no_others() -> None:
    store = MemoryStore()
    publish(store, 1, ("a", "live", 2), ("b", "watch", 1), ("c", "paused", 4), ("d", "off", 1), ("e", "archived", 1))
    assert in_force(RuleSets(PythonMatcher()), store) == {"a": ("live", 2), "b": ("watch", 1), "c": ("paused", 4)}


def test_a_tenant_without_rules_has_none() -> None:
    assert in_force(RuleSets(PythonMatcher()), MemoryStore()) == {}


def test_a_published_rule_is_in_force_within_a_second_and_read_no_more_often() -> None:
    store, rulesets = MemoryStore(), RuleSets(PythonMatcher())
    publish(store, 1, ("a", "live", 1))
    assert set(in_force(rulesets, store, NOW)) == {"a"}
    publish(store, 2, ("b", "live", 1))
    assert set(in_force(rulesets, store, NOW + SECOND / 2)) == {"a"}
    assert set(in_force(rulesets, store, NOW + SECOND)) == {"a", "b"}


def test_without_a_time_the_revision_is_looked_at_each_time() -> None:
    store, rulesets = MemoryStore(), RuleSets(PythonMatcher())
    publish(store, 1, ("a", "live", 1))
    first = rulesets.current(store, TENANT)
    assert rulesets.current(store, TENANT) is first
    publish(store, 2, ("a", "off", 1))
    assert rulesets.current(store, TENANT).versions == ()


def test_a_clock_that_goes_back_does_not_keep_an_old_set() -> None:
    store, rulesets = MemoryStore(), RuleSets(PythonMatcher())
    publish(store, 1, ("a", "live", 1))
    in_force(rulesets, store, NOW)
    publish(store, 2, ("b", "live", 1))
    assert set(in_force(rulesets, store, NOW - timedelta(days=1))) == {"a", "b"}


def test_a_decision_that_began_on_the_old_set_ends_on_it() -> None:
    store, rulesets = MemoryStore(), RuleSets(DurableMatcher())
    publish(store, 1, ("a", "live", 1))
    old = rulesets.current(store, TENANT)
    publish(store, 2, ("a", "live", 2))
    new = rulesets.current(store, TENANT)
    assert new is not old
    assert old.program.candidates("invoice.paid", {"data": {"object": {}}}) == {"a"}
    rulesets.close()
    assert new.program.candidates("invoice.paid", {"data": {"object": {}}}) == {"a"}


def test_a_rule_that_cannot_be_read_leaves_the_others_in_force() -> None:
    store = MemoryStore()
    publish(store, 1, ("bad", "live", 1), broken=True)
    publish(store, 2, ("good", "live", 1))
    assert set(in_force(RuleSets(PythonMatcher()), store)) == {"good"}


def test_a_version_is_found_in_force_or_not_and_kept() -> None:
    store, rulesets = MemoryStore(), RuleSets(PythonMatcher())
    publish(store, 1, ("a", "off", 7))
    found = rulesets.rule(store, TENANT, "a", 7)
    assert found.id == "a"
    assert rulesets.rule(store, TENANT, "a", 7) is found
    with pytest.raises(LookupError, match="no version 8"):
        rulesets.rule(store, TENANT, "a", 8)


def test_two_tenants_have_each_their_own() -> None:
    store, rulesets = MemoryStore(), RuleSets(PythonMatcher())
    publish(store, 1, ("a", "live", 1))
    assert rulesets.current(store, "default/live").versions == ()
    assert set(in_force(rulesets, store)) == {"a"}


# ---- while somebody publishes ---------------------------------------------------------------------------------------
class Meddling:
    """A store in which something happens just before each of the next reads of a kind."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.happens: list[tuple[str, Any]] = []  # (before a find of this kind in this state, what)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def find(self, tenant: str, kind: str, where: Any = (), *more: Any, **named: Any) -> Any:
        for planned in [one for one in self.happens if one[0] == (where[0][2] if where else kind)][:1]:
            self.happens.remove(planned)
            planned[1]()
        return self.store.find(tenant, kind, where, *more, **named)


def change(store: MemoryStore, revision: int, **states: str) -> None:
    """In one commit, as publishing does."""
    writes = []
    for rule_id, state in states.items():
        found = store.get(TENANT, "rule", rule_id)
        assert found is not None
        writes.append(Put("rule", rule_id, {**found.body, "state": state}))
    store.commit(TENANT, None, [*writes, Put("ruleset", "current", {"revision": revision})])


def test_a_set_that_changes_while_it_is_read_is_read_again_and_never_half_of_each() -> None:
    """Rules are read state by state: one that goes from watched to live between the two would be in neither."""
    store, rulesets = Meddling(MemoryStore()), RuleSets(PythonMatcher())
    publish(store.store, 1, ("a", "watch", 1), ("b", "live", 1))
    store.happens.append(("watch", lambda: change(store.store, 2, a="live", b="off")))
    assert in_force(rulesets, store) == {"a": ("live", 1)}  # type: ignore[arg-type]


def test_while_rules_change_without_a_pause_the_last_whole_set_decides() -> None:
    store, rulesets = Meddling(MemoryStore()), RuleSets(PythonMatcher())
    publish(store.store, 1, ("a", "live", 1))
    whole = in_force(rulesets, store)  # type: ignore[arg-type]
    change(store.store, 2, a="off")
    for revision in range(3, 3 + READS):
        state = "watch" if revision % 2 else "live"
        store.happens.append(("paused", lambda revision=revision, state=state: change(store.store, revision, a=state)))
    assert in_force(rulesets, store) == whole  # type: ignore[arg-type]
    assert store.happens == []
    assert in_force(rulesets, store) == {"a": ("watch", 1)}  # type: ignore[arg-type]


def test_where_no_whole_set_was_ever_read_the_event_waits() -> None:
    store, rulesets = Meddling(MemoryStore()), RuleSets(PythonMatcher())
    publish(store.store, 1, ("a", "live", 1))
    for revision in range(2, 2 + READS):
        store.happens.append(("paused", lambda revision=revision: change(store.store, revision, a="live")))
    with pytest.raises(Unavailable):
        rulesets.current(store, TENANT)  # type: ignore[arg-type]
    assert in_force(rulesets, store) == {"a": ("live", 1)}  # type: ignore[arg-type]
