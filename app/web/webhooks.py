"""The door for webhooks: a small WSGI function in front of Flask, in the same process.

Flask would cost a webhook three times what all the rest of it costs, so `POST /webhooks/stripe` and the health checks
are answered here, and everything else goes on to Flask. Bodies are bounded before and while they are read.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any

import orjson

from app import logs
from app.observe.metering import outcome_of
from app.receive import quarantine
from app.receive.webhook import LIMIT, Receipt, receive
from app.services import Services, keeper_of
from app.web.gate import floods
from rules.kinds import SYSTEM
from rules.ports import Unavailable

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Wsgi = Callable[[Environ, StartResponse], Iterable[bytes]]
PATH = "/webhooks/stripe"
AGAIN = 60  # seconds until who sent too many bad signatures is told again what is wrong
TOO_MANY = "Too many requests without a valid signature came from this address."


def in_front_of(flask: Wsgi, services: Services) -> Wsgi:
    """The WSGI application: webhooks and health checks here, the rest by Flask."""
    bad, slow = floods.Floods(), floods.Floods(station="event.not_read", flood="webhooks.held_up")

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == PATH:
            answer = _stripe(environ, services, bad, slow)
            services.meter.add("signalbox.events.received", outcome=outcome_of(answer[0]))
            return _answer(start_response, *answer)
        if path == "/healthz":
            return _answer(start_response, 200, {"status": "ok"}, {})
        if path == "/readyz":
            return _answer(start_response, *_ready(services))
        return flask(environ, start_response)

    return application


# ---- stripe ---------------------------------------------------------------------------------------------------------
def _stripe(
    environ: Environ, services: Services, bad: floods.Floods, slow: floods.Floods
) -> tuple[int, Any, Mapping[str, str]]:
    """bad, slow: who sends bad signatures, and who keeps bodies back."""
    if environ["REQUEST_METHOD"] != "POST":
        return *_problem(405, "Stripe posts its events here; other methods are not answered."), {"Allow": "POST"}
    now = services.clock.now()
    try:
        body = _body(environ)
        if isinstance(body, Receipt):
            receipt = body
        else:
            headers = {"Stripe-Signature": environ.get("HTTP_STRIPE_SIGNATURE", "")}
            receipt = receive(
                headers,
                body,
                services.bus,
                services.vault,
                services.verifier,
                now,
                clock=services.clock,
                quarantine=partial(quarantine.keep, keeper_of(services)),
            )
    except Unavailable as error:
        slow.refuse(_address(environ, services), str(error))
        return *_problem(503, "The body could not be read just now; send the event again."), {"Retry-After": "10"}
    except Exception as error:  # a fault of ours: say nothing of it to the outside, and let Stripe send it again
        logs.failed("event.failed", error)
        return *_problem(500, "A fault on this side; it was written to the log. Send the event again."), {}
    if receipt.unsigned and bad.refuse(_address(environ, services), receipt.problem or ""):
        return *_problem(429, TOO_MANY), {"Retry-After": str(AGAIN)}
    if receipt.status == 200:
        return 200, {"received": True, "id": receipt.event_id}, {}
    more = {"Retry-After": str(receipt.retry_after)} if receipt.retry_after else {}
    return *_problem(receipt.status, receipt.problem or ""), more


def _address(environ: Environ, services: Services) -> str:
    remote, heard = environ.get("REMOTE_ADDR", ""), environ.get("HTTP_X_FORWARDED_FOR", "")
    return floods.address(remote, heard, services.settings.proxies)


def _body(environ: Environ) -> bytes | Receipt:
    """The raw bytes of the request, or the refusal of what cannot be one."""
    if environ.get("HTTP_CONTENT_ENCODING", "identity").lower() not in ("", "identity"):
        return Receipt(415, "The body is compressed; Stripe signs and sends plain JSON.")
    announced = environ.get("CONTENT_LENGTH") or None
    if announced is not None and not (announced.isascii() and announced.isdigit()):
        return Receipt(400, "The Content-Length header is no number.")
    if announced is not None and int(announced[:12]) > LIMIT:
        return Receipt(413, f"The body is larger than {LIMIT} bytes; Stripe sends no such event.")
    body = _read(environ["wsgi.input"], int(announced) if announced is not None else LIMIT + 1)
    if announced is not None and len(body) != int(announced):
        return Receipt(400, "The body is shorter than its Content-Length says.")
    return body  # one that came in chunks and is too long is refused by receive


def _read(stream: Any, size: int) -> bytes:
    """Up to this many bytes; a stream may hand them over in parts."""
    parts: list[bytes] = []
    while size > 0:
        part = stream.read(size)
        if not part:
            break
        parts.append(bytes(part))
        size -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


# ---- health ---------------------------------------------------------------------------------------------------------
def _ready(services: Services) -> tuple[int, Any, Mapping[str, str]]:
    """Ready means that the store answers."""
    try:
        services.store.get(SYSTEM, "tenant", "none")
    except Exception as error:
        logs.line("not.ready", logging.WARNING, error=type(error).__name__)
        return *_problem(503, "The store does not answer."), {"Retry-After": "5"}
    return 200, {"status": "ready"}, {}


# ---- answers --------------------------------------------------------------------------------------------------------
def _problem(status: int, detail: str) -> tuple[int, dict[str, Any]]:
    """An RFC 9457 problem."""
    return status, {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}


def _answer(start: StartResponse, status: int, body: Mapping[str, Any], more: Mapping[str, str]) -> list[bytes]:
    payload = orjson.dumps(body)
    kind = "application/json" if status < 400 else "application/problem+json"
    headers = [("Content-Type", kind), ("Content-Length", str(len(payload))), ("Cache-Control", "no-store")]
    start(f"{status} {HTTPStatus(status).phrase}", [*headers, *more.items()])
    return [payload]
