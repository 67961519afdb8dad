"""Jobs: small steps that survive a restart, take turns, and end in a way that a person can read."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from app import jobs
from app.adapters.memory import MemoryStore
from app.jobs import LEASE, TRIES, JobFailed, Step, TryLater
from rules.ports import Document
from tests.builders import NOON, TENANT

MINUTE = timedelta(minutes=1)


class Counting:
    """A job that counts to `params.to`, one a step."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int]] = []

    def __call__(self, job: Document, now: datetime) -> Step:
        at = (job.body["cursor"] or 0) + 1
        self.seen.append((job.id, at))
        to = job.body["params"]["to"]
        return Step(at, at / to, {"counted": at}, done=at == to)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def body(store: MemoryStore, id: str) -> dict[str, object]:
    found = store.get(TENANT, "job", id)
    assert found is not None
    return dict(found.body)


def test_a_job_moves_step_by_step_to_its_end(store: MemoryStore) -> None:
    counting = Counting()
    id = jobs.enqueue(store, TENANT, "count", {"to": 3}, NOON)
    assert [jobs.run_one(store, {"count": counting}, NOON) for _ in range(4)] == [True, True, True, False]
    assert counting.seen == [(id, 1), (id, 2), (id, 3)]
    assert (body(store, id)["state"], body(store, id)["progress"]) == ("done", 1.0)
    assert body(store, id)["summary"] == {"counted": 3}


def test_a_restart_goes_on_with_the_step_that_was_not_finished(store: MemoryStore) -> None:
    id = jobs.enqueue(store, TENANT, "count", {"to": 5}, NOON)
    first, second = Counting(), Counting()
    for _ in range(2):
        jobs.run_one(store, {"count": first}, NOON)

    def killed(job: Document, now: datetime) -> Step:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        jobs.run_one(store, {"count": killed}, NOON)
    assert not jobs.run_one(store, {"count": second}, NOON + LEASE - MINUTE / 60)  # the dead one's lease
    later = NOON + LEASE
    while jobs.run_one(store, {"count": second}, later):
        pass
    assert second.seen == [(id, 3), (id, 4), (id, 5)]


def test_jobs_take_turns(store: MemoryStore) -> None:
    counting = Counting()
    jobs.enqueue(store, TENANT, "count", {"to": 3}, NOON, "long")
    jobs.enqueue(store, "other/test", "count", {"to": 3}, NOON + MINUTE, "late")
    now = NOON + 2 * MINUTE
    while jobs.run_one(store, {"count": counting}, now):
        now += MINUTE
    assert {id for id, _ in counting.seen[:3]} == {"long", "late"}


def test_a_cancelled_job_takes_no_further_step_and_keeps_what_it_did(store: MemoryStore) -> None:
    counting = Counting()
    id = jobs.enqueue(store, TENANT, "count", {"to": 3}, NOON)
    jobs.run_one(store, {"count": counting}, NOON)
    assert jobs.cancel(store, TENANT, id, NOON)
    assert not jobs.run_one(store, {"count": counting}, NOON)
    assert (body(store, id)["state"], body(store, id)["cursor"]) == ("cancelled", 1)
    assert not jobs.cancel(store, TENANT, id, NOON)


def test_cancelling_during_a_step_wins(store: MemoryStore) -> None:
    id = jobs.enqueue(store, TENANT, "count", {"to": 3}, NOON)

    def meanwhile(job: Document, now: datetime) -> Step:
        jobs.cancel(store, TENANT, id, now)
        return Step(1, 0.3)

    jobs.run_one(store, {"count": meanwhile}, NOON)
    assert body(store, id)["state"] == "cancelled"


def test_an_outside_failure_is_tried_again_later_and_not_for_ever(store: MemoryStore) -> None:
    id = jobs.enqueue(store, TENANT, "count", {}, NOON)
    now, waits = NOON, []

    def down(job: Document, at: datetime) -> Step:
        raise TryLater("Stripe does not answer")

    for _ in range(TRIES):
        assert jobs.run_one(store, {"count": down}, now)
        assert not jobs.run_one(store, {"count": down}, now)
        waits.append(body(store, id)["due_at"])
        now += timedelta(hours=1)
    assert (body(store, id)["state"], body(store, id)["error"]) == ("failed", "Stripe does not answer")
    assert waits == sorted(waits)


def test_a_step_that_works_forgets_earlier_failures(store: MemoryStore) -> None:
    id = jobs.enqueue(store, TENANT, "count", {"to": 2}, NOON)

    def down(job: Document, at: datetime) -> Step:
        raise TryLater("down")

    jobs.run_one(store, {"count": down}, NOON)
    jobs.run_one(store, {"count": Counting()}, NOON + timedelta(hours=1))
    assert (body(store, id)["tries"], body(store, id)["error"]) == (0, None)


@pytest.mark.parametrize(
    ("error", "said"), [(JobFailed("The key is refused."), "The key is refused."), (ValueError("x"), "fault")]
)
def test_what_cannot_go_on_fails_with_a_sentence(store: MemoryStore, error: Exception, said: str) -> None:
    id = jobs.enqueue(store, TENANT, "count", {}, NOON)

    def failing(job: Document, now: datetime) -> Step:
        raise error

    assert jobs.run_one(store, {"count": failing}, NOON)
    assert body(store, id)["state"] == "failed"
    assert said in str(body(store, id)["error"])


def test_asking_twice_with_one_id_makes_one_job(store: MemoryStore) -> None:
    assert [jobs.enqueue(store, TENANT, "count", {"to": 1}, NOON, "same") for _ in range(2)] == ["same", "same"]
    assert store.count(TENANT, "job") == 1


def test_a_type_that_this_process_cannot_do_is_left_alone(store: MemoryStore) -> None:
    id = jobs.enqueue(store, TENANT, "strange", {}, NOON)
    assert not jobs.run_one(store, {}, NOON)
    assert body(store, id)["state"] == "queued"


def test_the_latest_job_of_a_type_is_found(store: MemoryStore) -> None:
    assert jobs.latest(store, TENANT, "count") is None
    jobs.enqueue(store, TENANT, "count", {}, NOON, "one")
    jobs.enqueue(store, TENANT, "count", {}, NOON + MINUTE, "two")
    found = jobs.latest(store, TENANT, "count")
    assert found is not None
    assert found.id == "two"


def test_what_a_worker_has_in_hand_is_left_to_it_until_it_is_gone() -> None:
    store = MemoryStore()
    id = jobs.enqueue(store, TENANT, "count", {}, NOON)
    took: list[str] = []

    def by(worker: str) -> dict[str, jobs.Run]:
        def step(job: Document, now: datetime) -> jobs.Step:
            took.append(worker)
            return jobs.Step(len(took), 0.5, in_hand=True)

        return {"count": step}

    assert jobs.run_one(store, by("a"), NOON, "a")
    assert not jobs.run_one(store, by("b"), NOON, "b")
    assert jobs.run_one(store, by("a"), NOON, "a")
    assert jobs.run_one(store, by("b"), NOON + 2 * jobs.LEASE, "b")
    assert took == ["a", "a", "b"]
    assert jobs.cancel(store, TENANT, id, NOON)
