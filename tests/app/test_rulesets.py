"""What is in force: read again when the revision moves, compiled once, swapped without a gap."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from app.adapters.memory import MemoryStore
from app.rulesets import RuleSets
from rules.matcher import PythonMatcher
from rules.ports import Put
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
