"""Stripe's list of events over HTTP: paging, what is undelivered, and what each failure means."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from app import jobs
from app.adapters.stripe_events import StripeEvents
from app.receive import history
from app.receive.webhook import check
from rules.ports import Refused, Unavailable
from tests.builders import NOON, TENANT, envelope, services_in_memory
from tests.fakes.stripe_api import FakeStripe, Fault

NOW = int(NOON.timestamp())
DAY = 86400


@pytest.fixture
def fake() -> FakeStripe:
    fake = FakeStripe(now=lambda: NOW)
    fake.business.events.extend(
        {**envelope(f"evt_{i:03}", time=NOON - timedelta(hours=250 - i)), "pending_webhooks": i % 2} for i in range(250)
    )
    return fake


@pytest.fixture
def lister(fake: FakeStripe) -> Iterator[StripeEvents]:
    with fake.running() as base:
        yield StripeEvents("sk_test_1234567890123456", base)


def test_pages_follow_each_other_newest_first_to_the_end(lister: StripeEvents) -> None:
    found, more, after = [], True, None
    while more:
        page, more = lister.page(NOW - 30 * DAY, NOW, after, undelivered=False)
        found += [event["id"] for event in page]
        after = found[-1]
    assert found == [f"evt_{i:03}" for i in reversed(range(250))]


def test_a_slice_of_time_has_its_start_and_not_its_end(lister: StripeEvents) -> None:
    found, more = lister.page(NOW - 3 * 3600, NOW - 3600, None, undelivered=False)
    assert [event["id"] for event in found] == ["evt_248", "evt_247"]
    assert not more


def test_undelivered_ones_only(lister: StripeEvents) -> None:
    found, _ = lister.page(NOW - 10 * 3600, NOW, None, undelivered=True)
    assert [event["id"] for event in found] == ["evt_249", "evt_247", "evt_245", "evt_243", "evt_241"]


def test_what_it_hands_over_is_the_plain_event_that_a_webhook_brings(lister: StripeEvents) -> None:
    (event, *_), _ = lister.page(NOW - DAY, NOW, None, undelivered=False)
    check(event)
    assert type(event) is dict


def test_a_wrong_key_is_refused_with_what_to_do(fake: FakeStripe) -> None:
    with fake.running() as base, pytest.raises(Refused, match="STRIPE_API_KEY"):
        StripeEvents("nonsense", base).page(0, NOW, None, undelivered=False)


@pytest.mark.parametrize("kind", ["429", "500", "reset"])
def test_what_may_pass_is_unavailable(fake: FakeStripe, lister: StripeEvents, kind: Any) -> None:
    fake.faults.append(Fault(kind, method="GET", times=10))
    with pytest.raises(Unavailable):
        lister.page(0, NOW, None, undelivered=False)


def test_a_stripe_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        StripeEvents("sk_test_1", "http://127.0.0.1:9").page(0, NOW, None, undelivered=False)


def test_the_import_over_http_brings_all_of_it(lister: StripeEvents) -> None:
    services = services_in_memory()
    id = history.start_import(services.store, TENANT, NOON)
    types = {"import": lambda job, now: history.step(job, now, lister, services.bus, services.vault)}
    while jobs.run_one(services.store, types, NOON):
        pass
    done = services.store.get(TENANT, "job", id)
    assert done is not None
    assert (done.body["state"], done.body["summary"]["events"]) == ("done", 250)
