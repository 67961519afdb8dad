"""History: the import at connect, the gaps afterwards, and files; all resumable, all harmless when done twice."""

from __future__ import annotations

import gzip
import json
import lzma
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from app import jobs
from app.receive import history, quarantine
from app.receive.history import DAY, DAYS
from app.services import Services, keeper_of
from rules.event import Event
from rules.ports import Delivery, Disposition, Document, Refused, Unavailable
from tests.builders import NOON, TENANT, body_of, envelope, invoice, services_in_memory

NOW = int(NOON.timestamp())


class Stripe:
    """Stripe's list of events, 100 a page, newest first."""

    def __init__(self, events: Sequence[dict[str, Any]]) -> None:
        self.events = sorted(events, key=lambda event: event["created"], reverse=True)
        self.calls: list[tuple[int, int]] = []
        self.error: Exception | None = None

    def page(self, since: int, until: int, after: str | None, undelivered: bool) -> tuple[list[dict[str, Any]], bool]:
        self.calls.append((since, until))
        if self.error:
            raise self.error
        found = [e for e in self.events if since <= e["created"] < until and (e["pending_webhooks"] or not undelivered)]
        start = next((i + 1 for i, e in enumerate(found) if e["id"] == after), 0)
        return json.loads(json.dumps(found[start : start + 100])), start + 100 < len(found)


def past(count: int, days: int = DAYS) -> list[dict[str, Any]]:
    """So many events, spread evenly over the last days."""
    step = timedelta(days=days) / (count + 1)
    start = NOON - timedelta(days=days)
    return [envelope(f"evt_{i:04}", time=start + step * (i + 1)) for i in range(count)]


@pytest.fixture
def services() -> Services:
    return services_in_memory()


def job(services: Services, id: str) -> Document:
    found = services.store.get(TENANT, "job", id)
    assert found is not None
    return found


def run(services: Services, stripe: Stripe, steps: int = 10_000, now: datetime = NOON) -> int:
    """Steps until nothing is due; how many."""
    keep = partial(quarantine.keep, keeper_of(services))
    types = {
        name: lambda job, now: history.step(job, now, stripe, services.bus, services.vault, keep)
        for name in ("import", "gap")
    }
    return next(n for n in range(steps + 1) if n == steps or not jobs.run_one(services.store, types, now))


def published(services: Services) -> list[Event]:
    taken: list[Event] = []

    def take(batch: Sequence[Delivery]) -> list[Disposition]:
        taken.extend(delivery.event for delivery in batch)
        return [Disposition("done")] * len(batch)

    while services.inbox.drain(take, NOON):
        pass
    return taken


# ---- the import -----------------------------------------------------------------------------------------------------
def test_the_last_thirty_days_come_in_as_history_each_event_once(services: Services) -> None:
    stripe = Stripe(past(450))
    id = history.start_import(services.store, TENANT, NOON)
    run(services, stripe)
    events = published(services)
    assert sorted(event.id for event in events) == sorted(event["id"] for event in stripe.events)
    assert {event.source for event in events} == {"import"}
    assert job(services, id).body["state"] == "done"
    assert job(services, id).body["summary"]["events"] == 450
    assert min(since for since, _ in stripe.calls) == NOW - DAYS * DAY


def test_older_slices_come_before_younger_ones(services: Services) -> None:
    history.start_import(services.store, TENANT, NOON)
    run(services, Stripe(past(60)))
    days = [event.created // DAY for event in published(services)]
    assert [day for day, later in pairwise(days) if later < day - 1] == []


def test_its_progress_rises_and_never_falls(services: Services) -> None:
    stripe = Stripe(past(200))
    id = history.start_import(services.store, TENANT, NOON)
    seen = []
    while run(services, stripe, steps=1):
        seen.append(job(services, id).body["progress"])
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    assert len(set(seen)) > 10


def test_after_a_restart_it_goes_on_where_it_stopped(services: Services) -> None:
    stripe = Stripe(past(300))
    id = history.start_import(services.store, TENANT, NOON)
    run(services, stripe, steps=5)
    cursor = job(services, id).body["cursor"]["at"]
    stripe.calls.clear()
    run(services, stripe)
    assert min(since for since, _ in stripe.calls) == cursor
    assert len(published(services)) == 300


def test_a_second_with_thousands_of_events_comes_in_whole(services: Services) -> None:
    crowd = [envelope(f"evt_{i:04}", time=NOON - timedelta(days=3)) for i in range(1500)]
    history.start_import(services.store, TENANT, NOON)
    run(services, Stripe([*crowd, envelope("evt_last", time=NOON - timedelta(days=1))]))
    assert len(published(services)) == 1501


def test_an_event_that_came_by_webhook_too_is_there_once(services: Services) -> None:
    stripe = Stripe(past(3))
    history.start_import(services.store, TENANT, NOON)
    run(services, stripe)
    history.publish(json.loads(json.dumps(stripe.events)), services.bus, services.vault, NOON, "default", "webhook")
    assert len(published(services)) == 3


def test_what_stripe_does_not_answer_is_asked_again_and_nothing_is_lost(services: Services) -> None:
    stripe = Stripe(past(20))
    id = history.start_import(services.store, TENANT, NOON)
    stripe.error = Unavailable("Stripe does not answer")
    run(services, stripe)
    assert (job(services, id).body["state"], job(services, id).body["tries"]) == ("running", 1)
    stripe.error = None
    run(services, stripe, now=NOON + timedelta(hours=1))
    assert len(published(services)) == 20


def test_a_refused_key_ends_the_job_with_what_to_do(services: Services) -> None:
    stripe = Stripe([])
    stripe.error = Refused("Stripe refuses the API key. Check STRIPE_API_KEY.")
    id = history.start_import(services.store, TENANT, NOON)
    run(services, stripe)
    assert job(services, id).body["state"] == "failed"
    assert "STRIPE_API_KEY" in job(services, id).body["error"]


def test_personal_values_of_history_go_to_the_vault_too(services: Services) -> None:
    history.start_import(services.store, TENANT, NOON)
    run(services, Stripe([envelope(object=invoice(customer_name="Ada Lovelace"), time=NOON - timedelta(days=1))]))
    assert "Lovelace" not in json.dumps(published(services)[0].to_cloudevent())


# ---- gaps -----------------------------------------------------------------------------------------------------------
def test_a_gap_brings_only_what_nobody_took_and_rules_act_on_it(services: Services) -> None:
    events = [{**event, "pending_webhooks": i % 2} for i, event in enumerate(past(10, days=1))]
    history.start_gap(services.store, TENANT, NOW - DAY, NOON)
    run(services, Stripe(events))
    found = published(services)
    assert len(found) == 5
    assert {event.source for event in found} == {"webhook"}


def test_what_a_gap_brings_that_does_not_conform_is_quarantined_and_history_comes_as_it_is(services: Services) -> None:
    first, second = past(2, days=1)
    first["data"]["object"]["amount_due"] = "much"
    history.start_gap(services.store, TENANT, NOW - DAY, NOON)
    run(services, Stripe([{**event, "pending_webhooks": 1} for event in (first, second)]))
    assert [event.id for event in published(services)] == [second["id"]]
    assert quarantine.one(services.store, TENANT, first["id"])["state"] == "waiting"
    history.start_import(services.store, TENANT, NOON)
    run(services, Stripe([first]))
    assert [event.source for event in published(services)] == ["import"]


def test_a_gap_reaches_back_thirty_days_at_most(services: Services) -> None:
    id = history.start_gap(services.store, TENANT, 0, NOON)
    assert job(services, id).body["params"]["since"] == NOW - DAYS * DAY


def test_connecting_asks_for_the_import_then_hourly_for_gaps(services: Services) -> None:
    store, later = services.store, [NOON + timedelta(minutes=minutes) for minutes in range(0, 200, 5)]
    (first,) = history.schedule(store, TENANT, later[0], started=True)
    assert job(services, first).body["type"] == "import"
    (gap,) = history.schedule(store, TENANT, later[1])
    assert job(services, gap).body["params"]["since"] == NOW - history.OVERLAP
    assert history.schedule(store, TENANT, later[30]) == []  # the last one is still open
    run(services, Stripe([]), now=later[2])
    assert history.schedule(store, TENANT, later[6]) == []  # looked half an hour ago
    (at_start,) = history.schedule(store, TENANT, later[6], started=True)
    assert job(services, at_start).body["params"]["since"] == int(later[1].timestamp()) - history.OVERLAP
    run(services, Stripe([]), now=later[7])
    assert len(history.schedule(store, TENANT, later[6 + 12])) == 1  # an hour later


# ---- files ----------------------------------------------------------------------------------------------------------
LINES = [body_of(event).replace(b"\n", b" ") + b"\n" for event in past(5)]


@pytest.mark.parametrize(("suffix", "opener"), [("", open), (".gz", gzip.open), (".xz", lzma.open)])
def test_a_file_is_read_plain_or_compressed(services: Services, tmp_path: Path, suffix: str, opener: Any) -> None:
    path = tmp_path / f"events.jsonl{suffix}"
    with opener(path, "wb") as file:
        file.writelines(LINES)
    loaded = history.load(history.lines_of(path), services.bus, services.vault, NOON)
    assert (loaded.events, loaded.refused) == (5, [])
    assert {event.source for event in published(services)} == {"import"}
    assert loaded.oldest is not None
    assert loaded.newest is not None
    assert loaded.oldest < loaded.newest


def test_refused_lines_are_told_by_number_and_the_rest_comes_in(services: Services) -> None:
    deep = LINES[3].replace(b'"subscription_cycle"', b"[" * 300 + b"]" * 300)
    lines = [LINES[0], b"\n", b"not json\n", LINES[1], b'{"object": "invoice"}\n', b"x" * 2_000_000, deep, LINES[2]]
    loaded = history.load(lines, services.bus, services.vault, NOON)
    assert loaded.events == 3
    assert [found["line"] for found in loaded.refused] == [3, 5, 6, 7]
    assert "JSON" in loaded.refused[0]["problem"]


def test_of_many_refused_lines_the_first_hundred_are_quoted_and_all_are_counted(services: Services) -> None:
    loaded = history.load([b"no\n"] * 250, services.bus, services.vault, NOON)
    assert (loaded.refused_count, len(loaded.refused)) == (250, 100)


def test_a_file_that_was_cut_off_says_so(services: Services, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl.gz"
    path.write_bytes(gzip.compress(b"".join(LINES))[:-20])
    with pytest.raises(Refused, match="cannot be read"):
        history.load(history.lines_of(path), services.bus, services.vault, NOON)


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="cannot be read"):
        list(history.lines_of(tmp_path / "none.jsonl"))


def test_progress_is_told_while_it_loads(services: Services) -> None:
    told: list[int] = []
    history.load(LINES * 200, services.bus, services.vault, NOON, progress=lambda loaded: told.append(loaded.events))
    assert told == [256, 512, 768, 1000]
