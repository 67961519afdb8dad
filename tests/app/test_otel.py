"""Export of spans: over real OTLP to a collector on loopback, with our ids, never in a station's way."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from app.adapters.otel import OtelTracer, cloud_trace, otlp
from rules.event import span_id, trace_id
from rules.ports import Span
from tests.builders import envelope
from tests.running import running, until

TRACE = trace_id("default/test", "in_1")


def span(name: str = "receive invoice.payment_failed", parent: str | None = None, **more: Any) -> Span:
    facts = {"event.id": "evt_1", "tries": 2, "ok": True, "keys": ["a"], "missing": None}
    return Span(TRACE, span_id("evt_1", name), parent, name, 1_700_000_000_000_000_000, 1_700_000_000_500_000_000,
                attributes=facts, **more)  # fmt: skip


class Collector:
    """An OTLP/HTTP receiver that keeps what it is sent."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.paths: list[str] = []
        self.services: set[str] = set()
        self.status = 200
        self.delay = threading.Event()
        self.delay.set()

    def take(self, path: str, body: bytes) -> int:
        self.delay.wait(5)
        request = ExportTraceServiceRequest.FromString(body)
        self.paths.append(path)
        for resource in request.resource_spans:
            self.services |= {a.value.string_value for a in resource.resource.attributes if a.key == "service.name"}
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)
        return self.status


@pytest.fixture
def collector() -> Iterator[tuple[Collector, str]]:
    kept = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status = kept.take(self.path, self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield kept, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


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
    assert attributes["event.id"].string_value == "evt_1"
    assert (attributes["tries"].int_value, attributes["ok"].bool_value) == (2, True)
    assert attributes["keys"].string_value == "['a']"
    assert "missing" not in attributes


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


class Client:
    """Stands for the Cloud Trace client."""

    def __init__(self) -> None:
        self.written: list[Any] = []

    def batch_write_spans(self, request: Any, **_: Any) -> None:
        self.written.append(request)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_cloud_traces_own_exporter_takes_the_same_spans() -> None:
    client = Client()
    tracer = OtelTracer(cloud_trace("a-project", client))
    tracer.export([span()])
    tracer.close()
    (written,) = client.written[0].spans
    assert written.name == f"projects/a-project/traces/{TRACE}/spans/{span().span_id}"


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
