"""Our words in OpenTelemetry's: what a span says, by the semantic conventions for messaging, HTTP and CloudEvents.

https://opentelemetry.io/docs/specs/semconv/; a word that has no convention is sent as `signalbox.<word>`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from rules.ports import Body, Span

WEBHOOK = "/webhooks/stripe"
SAME = {
    "event.id": "cloudevents.event_id",
    "event.type": "cloudevents.event_type",
    "http.status": "http.response.status_code",
    "delivery": "messaging.message.id",
}
PUBSUB = {
    "delivery.attempt": "messaging.gcp_pubsub.message.delivery_attempt",
    "partition": "messaging.gcp_pubsub.message.ordering_key",
}
UNSAID = ("request", "sent.span")  # told by others: the request's parts, the link
PORTS = {"http": 80, "https": 443}
Queue = Mapping[str, str]  # `messaging.` attributes that every span about the queue has


def attributes_of(span: Span, queue: Queue) -> dict[str, Any]:
    """The attributes of a span. Plain values stay, others become text, None is left out."""
    words = {**SAME, **PUBSUB} if queue.get("messaging.system") == "gcp_pubsub" else SAME
    found = {
        words.get(name, f"signalbox.{name}"): value if isinstance(value, (str, bool, int, float)) else str(value)
        for name, value in span.attributes.items()
        if value is not None and name not in UNSAID
    }
    return {**found, **dict(_by_kind(span, queue))}


def _by_kind(span: Span, queue: Queue) -> Iterator[tuple[str, Any]]:
    if span.kind == "server":
        yield from {"http.request.method": "POST", "http.route": WEBHOOK, "url.path": WEBHOOK}.items()
        yield from {"url.scheme": "https", "http.response.status_code": 200}.items()  # what was kept was answered so
    elif span.kind in ("producer", "consumer"):
        is_sent = span.kind == "producer"
        yield from queue.items()
        yield "messaging.operation.type", "send" if is_sent else "process"
        yield "messaging.operation.name", "publish" if is_sent else "handle"
    elif span.kind == "client":
        yield from _request(span.attributes)
        if not span.ok:
            yield "error.type", str(span.attributes.get("http.status") or span.attributes.get("outcome") or "_OTHER")


def _request(attributes: Body) -> Iterator[tuple[str, Any]]:
    """The call that an action made: without its query, which may hold a value, and without a password."""
    request = attributes.get("request") or {}
    method, url = str(request.get("method") or ""), str(request.get("url") or "")
    if method == "PUBLISH":
        yield "messaging.system", "gcp_pubsub"
        yield "messaging.operation.type", "send"
        yield "messaging.operation.name", "publish"
        yield "messaging.destination.name", url.rsplit("/", 1)[-1]
    elif method.isupper() and method != "SMTP":
        yield "http.request.method", method
        yield from _address(url)


def _address(url: str) -> Iterator[tuple[str, Any]]:
    parts = urlsplit(url)
    if parts.scheme not in PORTS or not parts.hostname:
        yield "url.path", parts.path
        return
    port = parts.port or PORTS[parts.scheme]
    where = parts.hostname if port == PORTS[parts.scheme] else f"{parts.hostname}:{port}"
    yield "url.full", f"{parts.scheme}://{where}{parts.path}"
    yield "server.address", parts.hostname
    yield "server.port", port
