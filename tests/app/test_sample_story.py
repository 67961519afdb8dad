"""The sample played whole: through the real webhook, the worker, a stand-in for Stripe, and the built-in CRM inbox."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from werkzeug.serving import WSGIRequestHandler, make_server

from app import author, browse, jobs, sample
from app.services import Services
from app.web import create_app
from app.web.webhooks import in_front_of
from app.worker import Work
from tests.builders import NOON, TENANT, WEBHOOK_SECRET, services_in_memory
from tests.fakes.stripe_api import FakeStripe

TWICE = "two-failed-payments"


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *args: Any) -> None:
        pass


@contextmanager
def served(services: Services) -> Iterator[str]:
    """The web process's own application, at an address."""
    server = make_server("127.0.0.1", 0, in_front_of(create_app(services), services), True, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class Installation:
    """Web, worker and the stand-in, on the memory adapters."""

    def __init__(self, services: Services, address: str, stripe: FakeStripe) -> None:
        self.services, self.stripe = services, stripe
        s = services
        play = sample.job(
            s.store,
            s.secrets,
            s.vault,
            s.catalogue,
            s.connectors,
            address,
            lambda: WEBHOOK_SECRET,
            s.clock,
            lambda seconds: None,
        )
        self.work = Work(services, {"sample": play})

    def run(self) -> None:
        """The worker, until nothing is due."""
        while True:
            job = self.work.job_due(NOON)
            done = self.work.handle_due(NOON) + self.work.wake_due(NOON) + self.work.perform_due(NOON)
            if not job and not done:
                return

    def runs(self, rule: str) -> list[Any]:
        return list(browse.runs(self.services.store, TENANT, rule=rule, limit=200)["items"])


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    stripe = FakeStripe(sample=True)
    with stripe.running() as base:
        services = services_in_memory(stripe_api_base=base, stand_in=True)
        with served(services) as address:
            made = Installation(services, address, stripe)
            sample.begin(services.store, NOON)
            made.run()
            yield made


def test_each_of_the_eighteen_is_downgraded_once_and_the_crm_told(installation: Installation) -> None:
    runs = installation.runs(TWICE)
    assert [run["state"] for run in runs] == ["done"] * 18
    assert len({run["key"] for run in runs}) == 18
    changed = [entry for entry in installation.stripe.requests("POST", "/v1/subscriptions/") if not entry.replayed]
    assert len(changed) == 18
    page = installation.services.store.find(TENANT, "notice", order="received_at", limit=200)
    told = Counter(document.body["notice"]["data"]["rule"]["id"] for document in page.items)
    assert told[TWICE] == 18


def test_a_payment_ends_the_wait_of_the_ladder_and_the_watching_rule_sends_nothing(installation: Installation) -> None:
    states = Counter(run["state"] for run in installation.runs("first-failure-follow-up"))
    assert set(states) == {"stopped", "waiting"}
    watched = installation.runs("large-invoice-fails")
    assert watched
    assert {run["mode"] for run in watched} == {"watch"}
    sent = browse.commands(installation.services.store, TENANT, limit=200)["items"]
    assert "large-invoice-fails" not in {command["rule_id"] for command in sent}


def test_playing_it_again_changes_nothing(installation: Installation) -> None:
    store = installation.services.store
    before = store.count(TENANT, "run"), store.count(TENANT, "event"), store.count(TENANT, "command")
    job = store.get(TENANT, "job", sample.JOB)
    assert job is not None
    assert job.body["state"] == "done"
    sample.begin(store, NOON)
    installation.run()
    assert (store.count(TENANT, "run"), store.count(TENANT, "event"), store.count(TENANT, "command")) == before


def test_a_failed_sample_goes_on_where_it_stopped_when_it_is_asked_for_again(installation: Installation) -> None:
    services = services_in_memory()
    play = sample.job(
        services.store,
        services.secrets,
        services.vault,
        services.catalogue,
        services.connectors,
        "http://127.0.0.1:9",
        lambda: None,
        services.clock,
        lambda seconds: None,
    )
    id = sample.begin(services.store, NOON)
    while jobs.run_one(services.store, {"sample": play}, NOON):
        pass
    failed = services.store.get(TENANT, "job", id)
    assert failed is not None
    assert failed.body["state"] == "failed"
    assert "STRIPE_WEBHOOK_SECRET" in failed.body["error"]
    sample.begin(services.store, NOON)
    again = services.store.get(TENANT, "job", id)
    assert again is not None
    assert (again.body["state"], again.body["params"], again.body["cursor"]) == ("queued", failed.body["params"], 0)


def test_the_sample_leaves_rules_that_are_there_as_they_are() -> None:
    services = services_in_memory()
    s = services
    for _ in range(2):
        sample.prepare(s.store, s.secrets, s.vault, s.catalogue, s.connectors, TENANT, "http://127.0.0.1:9", NOON)
    modes = {row["id"]: (row["state"], row["number"]) for row in author.rules(s.store, TENANT)}
    assert modes == {
        TWICE: ("live", 1),
        "dispute-opened": ("live", 1),
        "first-failure-follow-up": ("live", 1),
        "large-invoice-fails": ("watch", 1),
    }


def test_it_is_not_played_against_a_real_account_nor_in_production() -> None:
    live = services_in_memory(stripe_api_key="sk_live_made_up").settings
    assert "Stripe key is set" in sample.refusal(live)
    assert "development" in sample.refusal(services_in_memory(environment="production").settings)
    assert sample.refusal(services_in_memory(stand_in=True).settings) == ""
