"""Turns to read bodies: never all threads, of one address never most, and an end to patience with slow senders."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from app.web.gate.bodies import HELD, KEPT_BACK, PATIENCE, READING, REMEMBERED, SHORT, WAITING, Bodies
from rules.ports import Unavailable

SLOW, GOOD = "203.0.113.9", "198.51.100.7"


class Watch:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def watch() -> Watch:
    return Watch()


def held(bodies: Bodies, address: str, count: int, stack: ExitStack) -> None:
    for _ in range(count):
        stack.enter_context(bodies.turn(address))


def has_turn(bodies: Bodies, address: str) -> bool:
    try:
        with bodies.turn(address):
            return True
    except Unavailable:
        return False


def test_so_many_bodies_are_read_at_one_moment_and_the_next_when_one_is_done(watch: Watch) -> None:
    bodies = Bodies(most=3, each=2, monotonic=watch)
    with ExitStack() as stack:
        held(bodies, SLOW, 2, stack)
        assert not has_turn(bodies, SLOW)  # its share
        held(bodies, GOOD, 1, stack)
        assert not has_turn(bodies, "192.0.2.1")  # all of them
    assert has_turn(bodies, "192.0.2.1")


def test_a_reader_that_fails_gives_its_turn_back(watch: Watch) -> None:
    bodies = Bodies(most=1, each=1, monotonic=watch)
    with pytest.raises(OSError, match="gone"), bodies.turn(SLOW):
        raise OSError("the connection is gone")
    assert has_turn(bodies, GOOD)


def test_who_keeps_many_bodies_back_is_refused_and_nobody_else(watch: Watch) -> None:
    bodies = Bodies(most=100, each=50, monotonic=watch)
    with ExitStack() as stack:
        held(bodies, SLOW, HELD, stack)
        assert has_turn(bodies, SLOW)  # they may be good ones that have just come
        watch.now += 2 * KEPT_BACK
        assert not has_turn(bodies, SLOW)
        assert has_turn(bodies, GOOD)


def test_patience_with_one_slow_body_is_longer_than_with_many_of_one_address(watch: Watch) -> None:
    bodies = Bodies(most=100, each=50, monotonic=watch)
    with ExitStack() as stack:
        held(bodies, SLOW, HELD, stack)
        held(bodies, GOOD, 1, stack)
        watch.now += SHORT
        assert bodies.late() == set()
        watch.now += 0.1
        assert bodies.late() == {SLOW}
        watch.now += PATIENCE
        assert bodies.late() == {SLOW, GOOD}
    assert bodies.late() == set()


def test_who_kept_bodies_back_has_fewer_turns_for_some_seconds_those_that_wait_among_them(watch: Watch) -> None:
    bodies = Bodies(most=100, each=50, monotonic=watch)
    with ExitStack() as stack:
        held(bodies, SLOW, HELD, stack)
        watch.now += 2 * KEPT_BACK
        assert not has_turn(bodies, SLOW)  # from here on it is known
    with ExitStack() as rush:
        held(bodies, SLOW, READING, rush)
        assert not has_turn(bodies, SLOW)
        held(bodies, GOOD, READING + 1, rush)
    bodies._waiting[SLOW] = WAITING
    assert not has_turn(bodies, SLOW)
    bodies._waiting.clear()
    watch.now += REMEMBERED + 1
    with ExitStack() as later:
        held(bodies, SLOW, READING + 1, later)


def test_who_waited_for_a_turn_is_not_counted_as_waiting_afterwards(watch: Watch) -> None:
    bodies = Bodies(most=1, each=1, monotonic=watch)
    for _ in range(WAITING):
        assert has_turn(bodies, SLOW)
    assert not bodies._waiting
