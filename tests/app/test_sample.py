"""The sample business: what its history holds, and how it is played to a server."""

from __future__ import annotations

import gzip
import itertools
import json
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import stripe

from app import sample
from app.adapters.memory import ManualClock
from app.sample_data import make
from tests.builders import NOON, SHARED, WEBHOOK_SECRET

LAST = int(NOON.timestamp())
WEEK = 7 * 86400


def bodies() -> list[dict[str, Any]]:
    business = sample.load()
    return [json.loads(body) for body in business.deliveries(LAST)]


def failures(bodies: list[dict[str, Any]]) -> dict[str, list[int]]:
    """The times of each subscription's failures, each event once."""
    found: dict[str, list[int]] = defaultdict(list)
    for body in {body["id"]: body for body in bodies}.values():
        if body["type"] == "invoice.payment_failed":
            found[body["data"]["object"]["parent"]["subscription_details"]["subscription"]].append(body["created"])
    return {subscription: sorted(times) for subscription, times in found.items()}


def closest(times: list[int]) -> int:
    return min((later - earlier for earlier, later in itertools.pairwise(times)), default=10**9)


def test_the_checked_in_sample_is_what_its_maker_makes(tmp_path: Path) -> None:
    before = make.TARGET.read_bytes()
    made = tmp_path / "business.jsonl.gz"
    make.main(str(SHARED / "data"), made)
    assert gzip.decompress(made.read_bytes()) == gzip.decompress(before)


def test_it_is_a_small_business_of_three_months_with_duplicates_and_inversions() -> None:
    sent = bodies()
    times = [body["created"] for body in sent if not body["type"].startswith(("product.", "price."))]
    customers = {body["data"]["object"]["id"] for body in sent if body["type"] == "customer.created"}
    assert 25 <= len(customers) <= 40
    assert len(sent) > len({body["id"] for body in sent})
    assert any(earlier > later for earlier, later in itertools.pairwise(times))
    assert len(make.TARGET.read_bytes()) < 400_000


def test_the_story_ends_when_it_is_told_to_and_keeps_its_distances() -> None:
    business = sample.load()
    early, late = (json.loads(business.body(40, last)) for last in (LAST, LAST + 12345))
    assert late["created"] - early["created"] == 12345
    assert LAST - 3600 < max(body["created"] for body in bodies()) <= LAST


def test_eighteen_subscriptions_fail_twice_within_seven_days_and_two_only_nearly() -> None:
    gaps = {subscription: closest(times) for subscription, times in failures(bodies()).items()}
    assert sum(gap <= WEEK for gap in gaps.values()) == 18
    assert sum(8 * 86400 < gap < 10 * 86400 for gap in gaps.values()) == 2


def test_it_holds_several_currencies_hard_declines_and_disputes() -> None:
    sent = bodies()
    failed = [body["data"]["object"] for body in sent if body["type"] == "invoice.payment_failed"]
    assert {invoice["currency"] for invoice in failed} == {"usd", "eur", "gbp", "jpy"}
    declined = [body["data"]["object"] for body in sent if body["type"] == "charge.failed"]
    assert "stolen_card" in {(charge["outcome"] or {}).get("reason") for charge in declined}
    assert "charge.dispute.created" in {body["type"] for body in sent}


class Endpoint:
    """A webhook endpoint that answers as told and keeps what it got."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.answers: list[int] = []
        self.verify = True

    def take(self, body: bytes, header: str) -> int:
        if self.verify:
            stamp = int(header.split(",")[0].removeprefix("t="))
            assert stamp == LAST
            stripe.WebhookSignature.verify_header(body.decode(), header, WEBHOOK_SECRET)
        status = self.answers.pop(0) if self.answers else 200
        if status == 200:
            self.got.append(body)
        return status


@contextmanager
def served(endpoint: Endpoint) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.path == "/webhooks/stripe"
            status = endpoint.take(body, self.headers["Stripe-Signature"])
            self.send_response(status)
            self.send_header("Content-Length", "6")
            self.end_headers()
            self.wfile.write(b"answer")

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def small(count: int = 5) -> sample.Business:
    business = sample.load()
    return sample.Business(business.events, business.order[:count])


def play(address: str, business: sample.Business, waits: list[float], start: int = 0) -> list[tuple[int, int]]:
    told: list[tuple[int, int]] = []
    clock = ManualClock(NOON)
    sample.play(
        business,
        LAST - 10,
        address,
        WEBHOOK_SECRET,
        clock,
        waits.append,
        lambda done, of: told.append((done, of)),
        start,
    )
    return told


def test_every_delivery_is_signed_now_and_posted_in_order() -> None:
    endpoint, waits = Endpoint(), []  # type: tuple[Endpoint, list[float]]
    with served(endpoint) as address:
        told = play(address, small(), waits)
    assert endpoint.got == list(small().deliveries(LAST - 10))
    assert told == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]
    assert waits == []


def test_a_busy_server_is_asked_again() -> None:
    endpoint, waits = Endpoint(), []  # type: tuple[Endpoint, list[float]]
    endpoint.answers = [200, 503, 503, 200]
    with served(endpoint) as address:
        play(address, small(), waits)
    assert len(endpoint.got) == 5
    assert waits == [0.5, 0.5]


def test_a_refusal_stops_the_sample_and_says_so() -> None:
    endpoint = Endpoint()
    endpoint.answers = [400]
    with served(endpoint) as address, pytest.raises(sample.SampleFailed, match="refused a delivery with 400: answer"):
        play(address, small(), [])


def test_a_server_that_stays_away_is_named() -> None:
    waits: list[float] = []
    with pytest.raises(sample.SampleFailed, match="make run"):
        play("http://127.0.0.1:9", small(), waits)
    assert len(waits) == sample.PATIENCE


def test_it_goes_on_where_it_was_interrupted() -> None:
    endpoint = Endpoint()
    with served(endpoint) as address:
        play(address, small(), [], start=3)
    assert endpoint.got == list(small().deliveries(LAST - 10))[3:]


def test_time_moves_while_it_plays() -> None:
    clock = ManualClock(NOON)
    first = sample.headers(b"{}", WEBHOOK_SECRET, clock)["Stripe-Signature"]
    clock.forward(timedelta(seconds=5))
    assert sample.headers(b"{}", WEBHOOK_SECRET, clock)["Stripe-Signature"] != first
