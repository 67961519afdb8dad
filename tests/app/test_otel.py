"""Export of spans: over real OTLP to a collector on loopback, with our ids, never in a station's way."""

from __future__ import annotations

import importlib
import pkgutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from app.adapters.otel import SQLITE_NAMES, OtelTracer, cloud_trace, otlp, pubsub_names
from app.adapters.otel_names import attributes_of
from app.observe.telemetry import signed_session
from app.settings import Settings
from rules.event import span_id, trace_id
from rules.ports import Span
from tests.builders import envelope
from tests.fakes.collector import Collector, collecting
from tests.running import running, until

TRACE = trace_id("default/test", "in_1")


def span(name: str = "receive invoice.payment_failed", parent: str | None = None, **more: Any) -> Span:
    facts = {"event.id": "evt_1", "tries": 2, "ok": True, "keys": ["a"], "missing": None}
    return Span(TRACE, span_id("evt_1", name), parent, name, 1_700_000_000_000_000_000, 1_700_000_000_500_000_000,
                attributes=facts, **more)  # fmt: skip


@pytest.fixture
def collector() -> Iterator[tuple[Collector, str]]:
    with collecting() as found:
        yield found


def test_spans_arrive_over_otlp_with_the_ids_and_times_that_were_derived(collector: tuple[Collector, str]) -> None:
    kept, address = collector
    tracer = OtelTracer(otlp(address))
    first = span(kind="server")
    second = span("perform crm.notify", parent=first.span_id, kind="client", ok=False)
    tracer.export([first, second])
    tracer.close()
    assert kept.paths == ["/v1/traces"]
    assert kept.services == {"signalbox"}
    received, performed = kept.spans
    assert received.trace_id.hex() == performed.trace_id.hex() == TRACE
    assert (received.span_id.hex(), received.parent_span_id.hex()) == (first.span_id, "")
    assert performed.parent_span_id.hex() == first.span_id
    assert (received.start_time_unix_nano, received.end_time_unix_nano) == (first.start, first.end)
    assert (received.kind, performed.kind) == (2, 3)  # SERVER, CLIENT
    assert (received.status.code, performed.status.code) == (1, 2)  # OK, ERROR


def test_attributes_are_plain_and_none_is_left_out(collector: tuple[Collector, str]) -> None:
    kept, address = collector
    tracer = OtelTracer(otlp(address))
    tracer.export([span()])
    tracer.close()
    attributes = {a.key: a.value for a in kept.spans[0].attributes}
    assert attributes["cloudevents.event_id"].string_value == "evt_1"
    assert (attributes["signalbox.tries"].int_value, attributes["signalbox.ok"].bool_value) == (2, True)
    assert attributes["signalbox.keys"].string_value == "['a']"
    assert not any("missing" in name for name in attributes)


def test_a_collector_that_hangs_holds_nobody_up(collector: tuple[Collector, str]) -> None:
    kept, address = collector
    kept.delay.clear()
    tracer = OtelTracer(otlp(address), delay_ms=1)
    began = time.perf_counter()
    for _ in range(200):
        tracer.export([span()] * 100)  # more than its queue holds
    took = time.perf_counter() - began
    kept.delay.set()
    tracer.close()
    assert took < 5
    assert 0 < len(kept.spans) <= 20_000


class Raising(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        raise RuntimeError("no")


def test_neither_a_raising_exporter_nor_a_bad_span_reaches_the_station() -> None:
    tracer = OtelTracer(Raising())
    tracer.export([span(), Span("no hex", "x", None, "bad", 0, 0)])
    tracer.close()


@contextmanager
def cloud_trace_service() -> Iterator[tuple[list[Any], Any]]:
    """Cloud Trace's own API as a gRPC server in this process: what it was sent, and Google's client of it."""
    from google.cloud.trace_v2 import BatchWriteSpansRequest, TraceServiceClient
    from google.cloud.trace_v2.services.trace_service.transports import TraceServiceGrpcTransport
    from google.protobuf.empty_pb2 import Empty

    kept: list[Any] = []

    def write(request: Any, context: Any) -> Empty:
        kept.append(request)
        return Empty()

    handler = grpc.unary_unary_rpc_method_handler(
        write,
        request_deserializer=BatchWriteSpansRequest.deserialize,
        response_serializer=Empty.SerializeToString,
    )
    name = "google.devtools.cloudtrace.v2.TraceService"
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(name, {"BatchWriteSpans": handler})])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    channel = grpc.insecure_channel(f"127.0.0.1:{port}")
    yield kept, TraceServiceClient(transport=TraceServiceGrpcTransport(channel=channel))
    channel.close()
    server.stop(None)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_cloud_traces_own_exporter_sends_the_same_spans_over_its_own_api() -> None:
    first = span(kind="server")
    second = span("perform crm.notify", parent=first.span_id, kind="client")
    with cloud_trace_service() as (kept, client):
        tracer = OtelTracer(cloud_trace("a-project", client))
        tracer.export([first, second])
        tracer.close()
    received, performed = [one for request in kept for one in request.spans]
    assert received.name == f"projects/a-project/traces/{TRACE}/spans/{first.span_id}"
    assert performed.parent_span_id == first.span_id
    attributes = received.attributes.attribute_map
    assert attributes["cloudevents.event_id"].string_value.value == "evt_1"


# ---- what a span says, in OpenTelemetry's words ---------------------------------------------------------------------
def conventions() -> set[str]:
    """Every attribute name of the semantic conventions that are installed."""
    found: set[str] = set()
    for place in ("opentelemetry.semconv.attributes", "opentelemetry.semconv._incubating.attributes"):
        package = importlib.import_module(place)
        for module in pkgutil.iter_modules(package.__path__):
            names = vars(importlib.import_module(f"{package.__name__}.{module.name}"))
            found |= {value for name, value in names.items() if name.isupper() and isinstance(value, str)}
    return found


PUBSUB = pubsub_names("a-project")
KINDS = ("server", "producer", "consumer", "client", "internal")
CALLS: dict[str, dict[str, Any]] = {
    "http": {"request": {"method": "POST", "url": "https://ada:secret@crm.example:8443/hook?token=1"}},
    "path": {"request": {"method": "POST", "url": "/v1/subscriptions/sub_1"}, "http.status": 503},
    "topic": {"request": {"method": "PUBLISH", "url": "projects/p/topics/reporting"}},
    "mail": {"request": {"method": "SMTP", "url": "smtp://mail.example:587"}},
    "none": {"outcome": "retry"},
}


def said(kind: Any, queue: Any = PUBSUB, ok: bool = True, **attributes: Any) -> dict[str, Any]:
    return attributes_of(Span(TRACE, "a" * 16, None, "x", 0, 1, kind, attributes, ok), queue)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("queue", [PUBSUB, SQLITE_NAMES], ids=["pubsub", "sqlite"])
def test_every_name_is_one_of_the_conventions_or_plainly_our_own(kind: str, call: str, queue: Any) -> None:
    ours = {"tenant": "default/test", "event.id": "evt_1", "event.type": "invoice.paid", "delivery": "7"}
    names = said(kind, queue, False, **ours, **{"delivery.attempt": 2, "partition": "cus:cus_1"}, **CALLS[call])
    assert {name for name in names if not name.startswith("signalbox.")} <= conventions()


def test_a_message_is_told_by_system_destination_operation_id_and_attempt() -> None:
    found = said("consumer", delivery="7", partition="cus:cus_1", **{"delivery.attempt": 2})
    assert found["messaging.system"] == "gcp_pubsub"
    assert found["messaging.destination.name"] == "signalbox-events"
    assert found["messaging.destination.subscription.name"] == "signalbox-worker"
    assert (found["messaging.operation.type"], found["messaging.message.id"]) == ("process", "7")
    assert found["messaging.gcp_pubsub.message.delivery_attempt"] == 2
    assert found["messaging.gcp_pubsub.message.ordering_key"] == "cus:cus_1"
    assert said("producer")["messaging.operation.type"] == "send"
    assert not [name for name in said("consumer", SQLITE_NAMES, partition="x") if "gcp" in name]


def test_a_call_is_told_by_method_address_and_status_and_never_by_a_secret() -> None:
    found = said("client", ok=False, **CALLS["http"], **{"http.status": 503})
    assert found["http.request.method"] == "POST"
    assert found["url.full"] == "https://crm.example:8443/hook"
    assert (found["server.address"], found["server.port"]) == ("crm.example", 8443)
    assert (found["http.response.status_code"], found["error.type"]) == (503, "503")
    assert said("client", **CALLS["path"])["url.path"] == "/v1/subscriptions/sub_1"
    assert said("client", **CALLS["topic"])["messaging.destination.name"] == "reporting"
    assert "secret" not in repr(found)
    assert "token" not in repr(found)


def test_what_googles_telemetry_api_gets_is_signed_and_what_others_get_is_not(
    collector: tuple[Collector, str],
) -> None:
    from google.oauth2.credentials import Credentials

    kept, address = collector
    settings = Settings(otlp_endpoint=address)
    assert signed_session(settings) is None
    tracer = OtelTracer(otlp(address, signed_session(settings, Credentials("a-token"))))
    tracer.export([span()])
    tracer.close()
    assert kept.authorization == {"Bearer a-token"}


def test_a_webhook_leaves_its_journey_at_the_collector(collector: tuple[Collector, str], tmp_path: Path) -> None:
    kept, address = collector
    with running(tmp_path / "data", "web", "--with-worker", OTEL_EXPORTER_OTLP_ENDPOINT=address) as server:
        assert server.post_event(envelope("evt_1")) == 200
        until(lambda: len(kept.spans) >= 2)
    names = {span.name: span for span in kept.spans}
    received, handled = names["receive invoice.payment_failed"], names["handle invoice.payment_failed"]
    assert handled.parent_span_id == received.span_id
    assert received.trace_id.hex() == handled.trace_id.hex() == TRACE
    assert received.end_time_unix_nano > received.start_time_unix_nano
