"""What every Bus with its Inbox promises. `QueueContract` adds what a queue of our own promises beyond Pub/Sub."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.adapters.delivery import BACK_OFF, MAX_ATTEMPTS
from app.adapters.memory import ManualClock
from rules.event import Event
from rules.ports import DONE, Bus, Delivery, Disposition, Inbox, Unavailable

NOON = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
A, B = "default/live", "default/test"


def event(id: str = "evt_1", tenant: str = A, **more: Any) -> Event:
    return Event(
        **{
            "id": id,
            "type": "invoice.payment_failed",
            "tenant": tenant,
            "created": 1_795_000_000,
            "recorded": NOON,
            "data": {"id": id, "data": {"object": {"id": "in_1"}}},
            "correlation": "in_1",
            "partition": "cus:cus_1",
            "keys": ("cus:cus_1", "sub:sub_1"),
            **more,
        }
    )


class Seen:
    """A handler that notes what it was handed and answers what the test says, by event id."""

    def __init__(self, **answers: Disposition | Exception) -> None:
        self.batches: list[list[Delivery]] = []
        self.answers = answers

    def __call__(self, batch: Sequence[Delivery]) -> list[Disposition]:
        self.batches.append(list(batch))
        return [self._answer(delivery) for delivery in batch]

    def _answer(self, delivery: Delivery) -> Disposition:
        answer = self.answers.get(delivery.event.id, DONE)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def deliveries(self) -> list[Delivery]:
        return [delivery for batch in self.batches for delivery in batch]

    @property
    def ids(self) -> list[str]:
        return [delivery.event.id for delivery in self.deliveries]


RETRY = Disposition("retry", "not now")
Both = tuple[Bus, Inbox]


class BusContract:
    """Subclasses give a fixture `both`: a Bus and its Inbox on a clean world, reading `clock`."""

    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock(NOON)

    def test_tenants_with_the_same_event_ids_do_not_touch_each_other(self, both: Both) -> None:
        bus, inbox = both
        bus.publish(event("evt_1", A))
        bus.publish(event("evt_1", B))
        seen: list[Event] = []

        def handler(batch: Sequence[Delivery]) -> list[Disposition]:
            seen.extend(delivery.event for delivery in batch)
            return [DONE if delivery.event.tenant == A else Disposition("retry", "no") for delivery in batch]

        drain_all(inbox, handler, NOON, 2)
        assert sorted(found.tenant for found in seen) == [A, B]
        again = Seen()
        drain_all(inbox, again, NOON + timedelta(hours=1), 1)
        assert [found.event.tenant for found in again.deliveries] == [B]

    def test_an_event_arrives_as_it_was_published(self, both: Both) -> None:
        bus, inbox = both
        sent = event(
            "evt_ünï",
            data={
                "text": "żółć 🙂 \u2028 \x00",
                "big": "x" * 300_000,
                "number": 2**53,
                "none": None,
                "part": [1.5, {}],
            },
            causation="run/step",
            source="import",
            received={"span_id": "1", "start": 1, "end": 2},
        )
        bus.publish(sent)
        seen = Seen()
        drain_all(inbox, seen, NOON, 1)
        assert [delivery.event for delivery in seen.deliveries] == [sent]

    def test_what_is_done_does_not_come_again(self, both: Both) -> None:
        bus, inbox = both
        bus.publish(event())
        drain_all(inbox, Seen(), NOON, 1)
        assert inbox.drain(Seen(), NOON + timedelta(days=1)) == 0

    def test_every_event_of_many_publishers_arrives(self, both: Both) -> None:
        bus, inbox = both
        ids = [f"evt_{i}" for i in range(160)]
        in_threads(8, lambda n: [bus.publish(event(id)) for id in ids[n::8]])
        seen = Seen()
        drain_all(inbox, seen, NOON, len(ids))
        assert sorted(seen.ids) == sorted(ids)

    def test_a_batch_has_at_most_the_limit(self, both: Both) -> None:
        bus, inbox = both
        for i in range(10):
            bus.publish(event(f"evt_{i}"))
        seen = Seen()
        drain_all(inbox, seen, NOON, 10, limit=4)
        assert max(map(len, seen.batches)) <= 4
        assert len(set(seen.ids)) == 10

    def test_one_bad_delivery_of_a_batch_harms_no_other(self, both: Both) -> None:
        bus, inbox = both
        for i in range(5):
            bus.publish(event(f"evt_{i}"))
        done: list[str] = []

        def handler(batch: Sequence[Delivery]) -> list[Disposition]:
            if any(delivery.event.id == "evt_2" for delivery in batch):
                raise KeyError("poison")
            done.extend(delivery.event.id for delivery in batch)
            return [DONE for _ in batch]

        drain_all(inbox, handler, NOON, 5)
        assert sorted(done) == ["evt_0", "evt_1", "evt_3", "evt_4"]

    def test_a_handler_that_answers_for_too_few_settles_nothing(self, both: Both) -> None:
        bus, inbox = both
        bus.publish(event("evt_1"))
        drain_all(inbox, lambda batch: [], NOON, 1)
        seen = Seen()
        drain_all(inbox, seen, NOON + timedelta(hours=1), 1)
        assert seen.ids == ["evt_1"]


class QueueContract(BusContract):
    """Time is the caller's: back-off, attempts and dead letters to the second."""

    def test_a_duplicate_waits_once(self, both: Both) -> None:
        bus, inbox = both
        for _ in range(3):
            bus.publish(event())
        seen = Seen()
        inbox.drain(seen, NOON)
        assert seen.ids == ["evt_1"]

    def test_events_come_in_the_order_of_publishing(self, both: Both) -> None:
        bus, inbox = both
        ids = [f"evt_{i}" for i in (3, 1, 2, 5, 4)]
        for id in ids:
            bus.publish(event(id))
        seen = Seen()
        inbox.drain(seen, NOON)
        assert seen.ids == ids

    def test_a_retry_waits_for_its_back_off_and_counts_attempts(self, both: Both) -> None:
        bus, inbox = both
        bus.publish(event())
        seen = Seen(evt_1=RETRY)
        now = NOON
        for wait in BACK_OFF:
            assert inbox.drain(seen, now) == 1
            assert inbox.drain(seen, now + timedelta(seconds=wait, microseconds=-1)) == 0
            now += timedelta(seconds=wait)
        assert [delivery.attempt for delivery in seen.deliveries] == [1, 2, 3, 4, 5]

    def test_the_last_attempt_makes_it_dead_with_its_reason(self, both: Both) -> None:
        bus, inbox = both
        bus.publish(event())
        for attempt in range(MAX_ATTEMPTS):
            inbox.drain(Seen(evt_1=RETRY), NOON + timedelta(hours=attempt))
        (dead,) = inbox.dead()
        assert (dead.tenant, dead.event_id, dead.event_type) == (A, "evt_1", "invoice.payment_failed")
        assert (dead.reason, dead.attempts, dead.at) == ("not now", MAX_ATTEMPTS, NOON + timedelta(hours=5))
        assert inbox.drain(Seen(), NOON + timedelta(days=9)) == 0
        assert inbox.oldest() is None

    def test_what_waits_for_the_store_is_tried_until_it_succeeds(self, both: Both) -> None:
        bus, inbox = both
        bus.publish(event())
        waits = Seen(evt_1=Disposition("retry", "the store is away", waits=True))
        for attempt in range(3 * MAX_ATTEMPTS):
            inbox.drain(waits, NOON + timedelta(hours=attempt))
        assert len(waits.deliveries) == 3 * MAX_ATTEMPTS
        assert inbox.dead() == []
        seen = Seen()
        inbox.drain(seen, NOON + timedelta(days=9))
        assert seen.ids == ["evt_1"]

    def test_a_handler_may_give_up_at_once(self, both: Both) -> None:
        bus, inbox = both
        bus.publish(event())
        inbox.drain(Seen(evt_1=Disposition("dead", "schema 9 is unknown")), NOON)
        assert [(dead.reason, dead.attempts) for dead in inbox.dead()] == [("schema 9 is unknown", 1)]

    def test_what_raises_is_retried_and_dies_with_the_error_named(self, both: Both) -> None:
        bus, inbox = both
        bus.publish(event())
        for attempt in range(MAX_ATTEMPTS):
            inbox.drain(Seen(evt_1=KeyError("subscription")), NOON + timedelta(hours=attempt))
        assert [dead.reason for dead in inbox.dead()] == ["KeyError: 'subscription'"]

    def test_a_replayed_dead_delivery_starts_anew_and_ends_when_done(self, both: Both) -> None:
        bus, inbox = both
        bus.publish(event())
        inbox.drain(Seen(evt_1=Disposition("dead", "no")), NOON)
        (dead,) = inbox.dead()
        assert inbox.replay([dead.id], NOON) == 1
        assert inbox.replay([dead.id, "nonsense"], NOON) == 0  # it is not dead any more
        assert inbox.dead() == []
        seen = Seen()
        assert inbox.drain(seen, NOON) == 1
        assert [delivery.attempt for delivery in seen.deliveries] == [1]
        assert inbox.drain(seen, NOON + timedelta(days=1)) == 0
        assert inbox.oldest() is None

    def test_discarded_dead_deliveries_are_gone_and_the_living_stay(self, both: Both) -> None:
        bus, inbox = both
        for i in range(3):
            bus.publish(event(f"evt_{i}"))
        inbox.drain(
            Seen(evt_0=Disposition("dead", "no"), evt_1=Disposition("dead", "no"), evt_2=Disposition("retry")), NOON
        )
        first, second = inbox.dead()
        assert inbox.discard([first.id, "nonsense"]) == 1
        assert inbox.discard([first.id]) == 0
        assert [dead.id for dead in inbox.dead()] == [second.id]
        seen = Seen()
        inbox.drain(seen, NOON + timedelta(days=1))
        assert [delivery.event.id for delivery in seen.deliveries] == ["evt_2"]

    def test_dead_letters_are_listed_up_to_the_limit(self, both: Both) -> None:
        bus, inbox = both
        for i in range(5):
            bus.publish(event(f"evt_{i}"))
        inbox.drain(Seen(**{f"evt_{i}": Disposition("dead", "no") for i in range(5)}), NOON)
        assert len(inbox.dead()) == 5
        assert [dead.event_id for dead in inbox.dead(limit=2)] == ["evt_0", "evt_1"]

    def test_the_oldest_is_what_waits_longest_also_between_tries(self, both: Both, clock: ManualClock) -> None:
        bus, inbox = both
        assert inbox.oldest() is None
        bus.publish(event("evt_1"))
        clock.forward(timedelta(minutes=1))
        bus.publish(event("evt_2"))
        assert inbox.oldest() == NOON
        inbox.drain(Seen(evt_1=RETRY), NOON)
        assert inbox.oldest() == NOON
        inbox.drain(Seen(), NOON + timedelta(hours=1))
        assert inbox.oldest() is None
        bus.publish(event("evt_3"))
        assert inbox.oldest() == NOON + timedelta(minutes=1)

    def test_retries_do_not_hold_up_fresh_events(self, both: Both) -> None:
        bus, inbox = both
        stuck = [f"evt_{i}" for i in range(8)]
        for id in stuck:
            bus.publish(event(id))
        handler = Seen(**dict.fromkeys(stuck, RETRY))
        inbox.drain(handler, NOON)
        bus.publish(event("evt_fresh"))
        inbox.drain(handler, NOON + timedelta(hours=1), limit=4)
        assert "evt_fresh" in handler.ids

    def test_a_store_that_is_away_costs_no_attempt(self, both: Both) -> None:
        bus, inbox = both
        bus.publish(event())
        with pytest.raises(Unavailable):
            inbox.drain(Seen(evt_1=Unavailable("disk full")), NOON)
        seen = Seen()
        assert inbox.drain(seen, NOON) == 1
        assert [delivery.attempt for delivery in seen.deliveries] == [1]


def drain_all(
    inbox: Inbox,
    handler: Callable[[Sequence[Delivery]], Sequence[Disposition]],
    now: datetime,
    wanted: int,
    **more: int,
) -> None:
    """Drain until so many deliveries were handed over; a remote queue may give them in pieces."""
    handed = 0
    for _ in range(200):
        handed += inbox.drain(handler, now, **more)
        if handed >= wanted:
            return
    raise AssertionError(f"{handed} of {wanted} deliveries came")


def in_threads(count: int, work: Callable[[int], object]) -> None:
    """Run work(0..count-1), each in a thread, at one moment; the first exception rises."""
    gate = threading.Barrier(count)
    errors: list[BaseException] = []

    def body(n: int) -> None:
        gate.wait()
        try:
            work(n)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=body, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
