"""Reading a window from SQLite: only the event is read out of its document, once, and never one that was undone."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.adapters.documents import encode
from app.adapters.sqlite_events import EventsInHand, event_in
from app.adapters.sqlite_store import SqliteStore
from rules.event import Event, iso
from rules.ports import Put
from tests.rules.world import TENANT, event

HARD = ('"},"type":"t.a","created":5,"recorded":"', '},"type":"t.a",', "\\", '"', "é\n", "x" * 20_000)
texts = st.one_of(st.text(max_size=8), st.sampled_from(HARD))
values = st.recursive(
    st.one_of(st.none(), st.integers(-5, 5), texts), lambda v: st.dictionaries(texts, v, max_size=3), max_leaves=6
)


def body(one: Event, **more: Any) -> dict[str, Any]:
    known = {"type": one.type, "created": one.created, "recorded": iso(one.recorded), "keys": list(one.keys)}
    return {"event": one.to_cloudevent(), **known, "correlation": one.correlation, "origin": one.source, **more}


def put(one: Event) -> Put:
    return Put("event", one.id, body(one))


@settings(max_examples=200, deadline=None)
@given(values, st.booleans())
def test_the_event_is_read_out_of_its_document_whatever_stands_in_it(value: Any, own: bool) -> None:
    one = event("evt_1", at=5, causation="run_1/pay" if own else None, anything=value)
    lookalike = {"type": "t.a", "created": one.created, "recorded": "then"}
    hard = event("evt_2", at=5, inner={"thing": {}, **lookalike})
    for whole in (one, hard):
        assert event_in(encode(body(whole, decision={"rules": []})), whole.type, whole.created) == whole
        assert event_in(encode({"fired": True, **body(whole)}), whole.type, whole.created) == whole


def test_an_event_is_read_once_while_it_is_in_hand_and_again_when_it_is_not() -> None:
    one = event("evt_1")
    stored = encode(body(one))
    in_hand = EventsInHand(most=len(stored) * 2)
    first = in_hand.event(7, one.type, one.created, stored, True)
    assert in_hand.event(7, one.type, one.created, stored, True) is first
    for version in range(8, 16):
        in_hand.event(version, one.type, one.created, stored, True)
    again = in_hand.event(7, one.type, one.created, stored, True)
    assert again == first
    assert again is not first


def test_what_a_failed_batch_wrote_is_not_read_for_another_event_of_the_same_version(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    first, second = event("evt_1", at=1), event("evt_2", at=2)
    with pytest.raises(RuntimeError):
        fail_after(store, first)
    store.commit(TENANT, put(second), [])
    assert store.window(TENANT, "cus:cus_1", ["t.a"], 0, 1 << 40) == [second]
    store.close()


def fail_after(store: SqliteStore, one: Event) -> None:
    with store.batch():
        store.commit(TENANT, put(one), [])
        assert store.window(TENANT, "cus:cus_1", ["t.a"], 0, 1 << 40) == [one]
        raise RuntimeError


def test_a_window_that_was_just_read_costs_little_to_read_again(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    with store.batch():
        for number in range(200):
            store.commit(TENANT, put(event(f"evt_{number}", at=number, lines=[{"amount": n} for n in range(150)])), [])

    def read() -> float:
        began = time.process_time()
        assert len(store.window(TENANT, "cus:cus_1", ["t.a"], 0, 1 << 40)) == 200
        return time.process_time() - began

    cold = read()
    assert min(read() for _ in range(5)) < cold / 2
    store.close()
