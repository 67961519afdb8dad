"""Play the sample business: sign each of its deliveries and post it to the real webhook endpoint of a running server.

The story ends at a moment that the caller chooses, and every instant in it moves by the same whole seconds, so
windows keep their length. Event ids never change: playing again is harmless duplicates. As a job it goes on, after a
restart, with the delivery at which it stopped and the moment that was chosen first.
"""

from __future__ import annotations

import gzip
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from app import author, jobs
from app.crm_inbox import ensure_sample_connection
from app.settings import Settings
from rules.event import iso
from rules.fields import Catalogue
from rules.ports import ActionExecutor, Clock, Document, Put, Secrets, Store, Vault

FOLDER = Path(__file__).parent / "sample_data"
INSTANT = re.compile(r'"@(-?\d+)"')
TENANT = "default/test"
PATIENCE = 40  # tries of one delivery, half a second apart: a server that starts takes less
BUSY = (429, 500, 502, 503, 504)
JOB = "sample"  # the job's id: there is one sample in a tenant
STEP = 50  # deliveries that one step of the job posts: well within its lease, and often enough for a progress bar
ACTOR = "sample business"
WATCHED = ("large-invoice-fails",)  # sample rules that only watch


class SampleFailed(Exception):
    """The server did not take the sample; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Business:
    """events: JSON texts whose instants are relative to the last delivery. order: line numbers, as delivered, with
    Stripe's duplicates and inversions."""

    events: tuple[str, ...]
    order: tuple[int, ...]

    def body(self, number: int, last: int) -> bytes:
        """The event as posted when the story ends at `last`, unix seconds."""
        return INSTANT.sub(lambda found: str(last + int(found[1])), self.events[number]).encode()

    def deliveries(self, last: int, start: int = 0) -> Iterator[bytes]:
        return (self.body(number, last) for number in self.order[start:])


@lru_cache(maxsize=1)
def load() -> Business:
    """The checked-in sample."""
    first, *events = gzip.decompress((FOLDER / "business.jsonl.gz").read_bytes()).decode().splitlines()
    return Business(tuple(events), tuple(json.loads(first)["order"]))


def rules() -> list[dict[str, Any]]:
    """The sample's rule documents, in the order in which they are published."""
    return [json.loads(path.read_bytes()) for path in sorted((FOLDER / "rules").glob("*.json"))]


def refusal(settings: Settings) -> str:
    """Why the sample may not be played here; empty when it may."""
    if not settings.development:
        return "The sample is a made-up business and is played only where SIGNALBOX_ENV is development."
    if settings.stripe_api_key and not settings.stand_in:
        return "A Stripe key is set, and the sample's actions must not reach a real account: start without the key."
    return ""


# ---- as a job -------------------------------------------------------------------------------------------------------
def begin(store: Store, now: datetime, tenant: str = TENANT) -> str:
    """Ask for the sample, to end now; the job's id. Asked again it goes on where it failed, or does nothing."""
    id = jobs.enqueue(store, tenant, "sample", {"last": int(now.timestamp())}, now, JOB)
    found = store.get(tenant, "job", id)
    if found is not None and found.body["state"] in ("failed", "cancelled"):
        again = {"state": "queued", "error": None, "tries": 0, "due_at": iso(now), "updated_at": iso(now)}
        store.commit(tenant, None, [Put("job", id, {**found.body, **again}, found.version)])
    return id


def job(
    store: Store,
    secrets: Secrets,
    vault: Vault,
    catalogue: Catalogue,
    actions: Mapping[str, ActionExecutor],
    address: str,
    secret: Callable[[], str | None],
    clock: Clock,
    wait: Callable[[float], object],
) -> jobs.Run:
    """The job type `sample`: first what it needs, then its deliveries, some in each step."""

    def run(job: Document, now: datetime) -> jobs.Step:
        if job.body["cursor"] is None:
            prepare(store, secrets, vault, catalogue, actions, job.tenant, address, now)
            return jobs.Step(0, 0.0)
        return _some(job, address, secret(), clock, wait)

    return run


def _some(job: Document, address: str, secret: str | None, clock: Clock, wait: Callable[[float], object]) -> jobs.Step:
    if not secret:
        raise jobs.JobFailed("No webhook secret is set, so nothing can be signed: set STRIPE_WEBHOOK_SECRET.")
    business, start = load(), int(job.body["cursor"])
    part = Business(business.events, business.order[: start + STEP])
    try:
        play(part, int(job.body["params"]["last"]), address, secret, clock, wait, start=start)
    except SampleFailed as error:
        raise jobs.JobFailed(str(error)) from error
    done, of = len(part.order), len(business.order)
    return jobs.Step(done, done / of, {"deliveries": done, "of": of}, done == of)


def prepare(
    store: Store,
    secrets: Secrets,
    vault: Vault,
    catalogue: Catalogue,
    actions: Mapping[str, ActionExecutor],
    tenant: str,
    address: str,
    now: datetime,
) -> None:
    """The connection to the built-in CRM inbox and the sample's rules; what is there already is left as it is."""
    ensure_sample_connection(store, secrets, tenant, address, now)
    for document in rules():
        if store.get(tenant, "rule", document["id"]) is None:
            author.save_draft(store, vault, catalogue, actions, tenant, document, ACTOR, now)
            mode: author.Mode = "watch" if document["id"] in WATCHED else "live"
            author.publish(store, catalogue, actions, tenant, document["id"], ACTOR, "Sample rule", now, mode)


# ---- over HTTP ------------------------------------------------------------------------------------------------------
def signature(body: bytes, secret: str, now: int) -> str:
    """Stripe's signature header over these bytes."""
    digest = hmac.new(secret.encode(), b"%d." % now + body, hashlib.sha256).hexdigest()
    return f"t={now},v1={digest}"


def play(
    business: Business,
    last: int,
    address: str,
    secret: str,
    clock: Clock,
    wait: Callable[[float], object],
    progress: Callable[[int, int], object] = lambda done, of: None,
    start: int = 0,
) -> int:
    """Post every delivery from number `start` on, one after the other; how many the server accepted.

    last: unix seconds at which the story ends. wait: sleeps that many seconds. progress: told (done, of) after each.
    Raises SampleFailed when the server refuses one or stays away.
    """
    with closing(Client(address)) as client:
        for done, body in enumerate(business.deliveries(last, start), start + 1):
            client.post(body, lambda body=body: headers(body, secret, clock), wait)  # type: ignore[misc]
            progress(done, len(business.order))
    return len(business.order) - start


def headers(body: bytes, secret: str, clock: Clock) -> dict[str, str]:
    now = int(clock.now().timestamp())
    return {"Content-Type": "application/json; charset=utf-8", "Stripe-Signature": signature(body, secret, now)}


class Client:
    """One kept-alive connection to a webhook endpoint; connects again when it was closed."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        make = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._connection = make(parts.hostname or "127.0.0.1", parts.port, timeout=30)
        self._path = parts.path.rstrip("/") + "/webhooks/stripe"
        self._address = address

    def post(self, body: bytes, sign: Callable[[], Mapping[str, str]], wait: Callable[[float], object]) -> None:
        """Post until it is accepted, signing each try anew; SampleFailed when it never is."""
        problem = ""
        for _ in range(PATIENCE):
            try:
                status, problem = self._try(body, sign())
            except (OSError, HTTPException) as error:
                self._connection.close()
                status, problem = 503, str(error) or type(error).__name__
            if status < 300:
                return
            if status not in BUSY:
                raise SampleFailed(f"{self._address} refused a delivery with {status}: {problem}")
            wait(0.5)
        raise SampleFailed(f"{self._address} does not take deliveries ({problem}). Is `make run` running?")

    def _try(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, str]:
        self._connection.request("POST", self._path, body, dict(headers))
        answer = self._connection.getresponse()
        return answer.status, answer.read(2000).decode(errors="replace").strip()

    def close(self) -> None:
        self._connection.close()
