"""The worker: what a tick does, and that its loops neither end nor wait for each other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from app import jobs
from app.jobs import Step
from app.services import Services
from app.worker import Work, Worker, tick
from rules.kinds import SYSTEM
from rules.ports import Unavailable
from tests.builders import NOON, TENANT, event, services_in_memory
from tests.running import until


@pytest.fixture
def services() -> Services:
    return services_in_memory()


def handled(services: Services, id: str) -> bool:
    return services.store.get(TENANT, "event", id) is not None


@contextmanager
def working(work: Work, **more: Any) -> Iterator[Worker]:
    worker = Worker(work, **more)
    worker.start()
    try:
        yield worker
    finally:
        worker.stop()
        assert worker.join(30)


# ---- one tick -------------------------------------------------------------------------------------------------------
def test_a_tick_does_all_that_is_due_and_says_how_much(services: Services) -> None:
    for number in range(600):
        services.bus.publish(event(f"evt_{number}"))
    assert tick(Work(services), NOON)["handled"] == 600
    assert all(handled(services, f"evt_{number}") for number in range(600))
    assert tick(Work(services), NOON) == {"handled": 0, "woken": 0, "performed": 0, "job_steps": 0}


def test_a_tick_takes_a_job_to_its_end(services: Services) -> None:
    id = jobs.enqueue(services.store, TENANT, "count", {}, NOON)

    def count(job: Any, now: datetime) -> Step:
        at = (job.body["cursor"] or 0) + 1
        return Step(at, at / 3, done=at == 3)

    assert tick(Work(services, {"count": count}), NOON)["job_steps"] == 3
    done = services.store.get(TENANT, "job", id)
    assert done is not None
    assert done.body["state"] == "done"


def test_an_event_of_a_new_tenant_makes_the_tenant_known(services: Services) -> None:
    services.bus.publish(event(tenant="acct_1/live"))
    tick(Work(services), NOON)
    assert services.store.get(SYSTEM, "tenant", "acct_1/live") is not None


@pytest.mark.parametrize(
    ("settings", "types"),
    [
        ({}, ["import"]),
        ({"stripe_api_key": ""}, []),
        ({"stand_in": True}, []),
        ({"stand_in": True, "sample": True}, ["sample"]),
    ],
)
def test_at_its_start_it_asks_for_the_import_where_there_is_an_account(
    settings: dict[str, Any], types: list[str]
) -> None:
    services = services_in_memory(**settings)
    Work(services).schedule(NOON, started=True)
    found = services.store.find(TENANT, "job", order="created_at").items
    assert [job.body["type"] for job in found] == types


def test_a_live_key_imports_into_the_live_tenant() -> None:
    services = services_in_memory(stripe_api_key="rk_live_1")
    Work(services).schedule(NOON, started=True)
    assert jobs.latest(services.store, "default/live", "import") is not None


# ---- the loops ------------------------------------------------------------------------------------------------------
def test_what_is_published_is_handled_until_it_is_stopped(services: Services) -> None:
    with working(Work(services)):
        for number in range(3):
            services.bus.publish(event(f"evt_{number}"))
            until(lambda number=number: handled(services, f"evt_{number}"))
    services.bus.publish(event("evt_late"))
    assert not handled(services, "evt_late")


def test_a_ring_wakes_it_at_once(services: Services) -> None:
    bell = threading.Event()
    with working(Work(services), wait=lambda seconds: bell.wait(30)):
        services.bus.publish(event("evt_1"))
        bell.set()
        until(lambda: handled(services, "evt_1"), seconds=10)


class Blocked(Work):
    """A receiver that does not answer."""

    answer = threading.Event()

    def perform_due(self, now: datetime, crew: Any = None) -> int:
        self.answer.wait(30)
        return 0


def test_a_receiver_that_hangs_does_not_delay_the_handling_of_events(services: Services) -> None:
    work = Blocked(services)
    try:
        with working(work):
            services.bus.publish(event("evt_1"))
            until(lambda: handled(services, "evt_1"), seconds=10)
            work.answer.set()
    finally:
        work.answer.set()


class Failing:
    """An inbox that fails so many times, then works."""

    def __init__(self, inbox: Any, errors: list[Exception]) -> None:
        self._inbox, self._errors = inbox, errors

    def drain(self, handler: Callable[..., Any], now: datetime, limit: int = 256) -> int:
        if self._errors:
            raise self._errors.pop()
        return int(self._inbox.drain(handler, now, limit))


def test_no_failure_ends_a_loop(services: Services) -> None:
    inbox = Failing(services.inbox, [Unavailable("disk full"), ValueError("a surprise")])
    with working(Work(replace(services, inbox=inbox))) as worker:  # type: ignore[arg-type]
        services.bus.publish(event("evt_1"))
        until(lambda: handled(services, "evt_1"), seconds=20)
        assert worker.alive
