"""Caps: a customer is reached no more often than they say, whatever rules and however many workers there are."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rules.caps import counted, room, spans, tags_of, too_old
from rules.event import instant, iso, seconds
from rules.model import Cap
from tests.rules.world import DAY, START, rule

NOW = seconds(START)
ONE = Cap("crm", 1, DAY)
ONE_A_DAY = rule(caps=(ONE,))


def used(*ages: int, tag: str = "crm") -> list[Any]:
    """Entries of other actions, each so many seconds old."""
    return [
        {"command": f"run_{number}/tell", "tags": [tag], "at": iso(NOW - timedelta(seconds=age))}
        for number, age in enumerate(ages)
    ]


def free_at(entries: list[Any], cap: Cap = ONE, now: datetime = NOW) -> datetime | None:
    found = room(rule(caps=(cap,)), "crm.notify", "run_x/tell", entries, now)
    return found.at if found else None


def test_the_first_has_room_and_the_second_waits_until_the_span_is_over() -> None:
    assert free_at([]) is None
    assert free_at(used(60)) == NOW + timedelta(seconds=DAY - 60)


def test_the_span_is_over_at_its_very_end() -> None:
    assert free_at(used(DAY - 1)) == NOW + timedelta(seconds=1)
    assert free_at(used(DAY)) is None


def test_of_two_places_the_one_that_frees_first_is_waited_for() -> None:
    assert free_at(used(50), Cap("crm", 2, DAY)) is None
    assert free_at(used(50, 100), Cap("crm", 2, DAY)) == NOW + timedelta(seconds=DAY - 100)
    assert free_at(used(50, 100, 200), Cap("crm", 2, DAY)) == NOW + timedelta(seconds=DAY - 100)


def test_another_tag_does_not_count() -> None:
    assert free_at(used(60, tag="email")) is None


def test_an_action_is_never_in_its_own_way() -> None:
    entries = counted([], "run_x/tell", ["crm"], {"crm": DAY}, NOW)
    assert free_at(entries) is None


def test_a_cap_by_a_tag_of_the_rule_speaks_of_all_its_actions() -> None:
    one = rule(tags=("dunning",), caps=(Cap("dunning", 1, DAY),))
    assert room(one, "stripe.change_plan", "run_x/a", used(60, tag="dunning"), NOW) is not None
    assert tags_of(one, "crm.notify") == {"crm.notify", "crm", "dunning"}


def test_the_cap_that_is_full_for_longest_is_the_one_that_is_waited_for() -> None:
    one = rule(caps=(Cap("crm", 1, DAY), Cap("crm", 2, 7 * DAY)))
    found = room(one, "crm.notify", "run_x/tell", used(60, 2 * DAY), NOW)
    assert found is not None
    assert found.at == NOW + timedelta(days=5)


def test_what_has_waited_a_whole_span_is_too_old() -> None:
    found = room(ONE_A_DAY, "crm.notify", "run_x/tell", used(60), NOW)
    assert found is not None
    assert not too_old(found, iso(NOW - timedelta(seconds=DAY - 1)), NOW)
    assert too_old(found, iso(NOW - timedelta(seconds=DAY)), NOW)


def test_what_no_cap_looks_back_at_is_forgotten() -> None:
    longest = spans([ONE_A_DAY, rule(caps=(Cap("crm", 3, 7 * DAY),))])
    assert longest == {"crm": 7 * DAY, "email": DAY}
    kept = counted(used(60, 6 * DAY, 7 * DAY), "run_x/tell", ["crm", "crm.notify"], longest, NOW)
    assert [entry["command"] for entry in kept] == ["run_0/tell", "run_1/tell", "run_x/tell"]
    assert kept[-1]["tags"] == ["crm"]


@given(st.integers(1, 4), st.integers(60, 3600), st.lists(st.integers(0, 900), min_size=1, max_size=40))
def test_no_span_ever_holds_more_than_the_cap(at_most: int, per: int, gaps: list[int]) -> None:
    """Actions come at any times and go when there is room: every span of the cap's length holds at most as many."""
    one, now, entries = rule(caps=(Cap("crm", at_most, per),)), NOW, list[Any]()
    for number, gap in enumerate(gaps):
        now += timedelta(seconds=gap)
        if found := room(one, "crm.notify", f"run_{number}/tell", entries, now):
            assert found.at > now
            now = found.at
            assert room(one, "crm.notify", f"run_{number}/tell", entries, now) is None
        entries = counted(entries, f"run_{number}/tell", ["crm"], {"crm": 10 * per}, now)
    times = sorted(instant(entry["at"]) for entry in entries)
    for first, later in zip(times, times[at_most:], strict=False):
        assert later - first >= timedelta(seconds=per)
