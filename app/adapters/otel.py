"""Spans to OpenTelemetry: the values that the stations made, with the ids they derived, handed to an exporter.

The SDK's tracer is not used, because it invents ids and reads clocks; its batch processor is: a bounded queue and one
thread, so that a slow or absent collector costs a station nothing and loses spans only.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from app import logs
from app.adapters.otel_names import Queue, attributes_of
from rules.ports import Span

SCOPE = InstrumentationScope("signalbox")
KINDS = {
    "server": SpanKind.SERVER,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
    "internal": SpanKind.INTERNAL,
    "client": SpanKind.CLIENT,
}


SQLITE_NAMES: Queue = {"messaging.system": "signalbox", "messaging.destination.name": "inbox"}


def pubsub_names(project: str) -> Queue:
    """What spans about the queue say of it on Google."""
    from app.adapters.pubsub_topics import names

    known = names(project)
    return {
        "messaging.system": "gcp_pubsub",
        "messaging.destination.name": known.topic.rsplit("/", 1)[-1],
        "messaging.destination.subscription.name": known.subscription.rsplit("/", 1)[-1],
    }


def resource(process: str, google_project: str = "") -> Resource:
    """Who sends: each process is an instance of its own, so that counts of several are not mistaken for one.
    OTEL_RESOURCE_ATTRIBUTES adds to it, such as `cloud.region=europe-west1`."""
    facts = {
        "service.name": "signalbox",
        "service.instance.id": uuid.uuid4().hex[:16],
        "signalbox.process": process,
        **({"gcp.project_id": google_project} if google_project else {}),
    }
    return Resource.create(facts)


class OtelTracer:
    """Tracer over any OpenTelemetry exporter. queue: what spans about the queue say of it."""

    def __init__(
        self, exporter: SpanExporter, who: Resource | None = None, queue: Queue = SQLITE_NAMES, delay_ms: int = 1000
    ) -> None:
        self._resource = who or resource("signalbox")
        self._queue = queue
        self._processor = BatchSpanProcessor(
            exporter, max_queue_size=8192, schedule_delay_millis=delay_ms, export_timeout_millis=10_000
        )

    def export(self, spans: Sequence[Span]) -> None:
        for span in spans:
            try:
                self._processor.on_end(readable(span, self._resource, self._queue))
            except Exception as error:  # a span is never worth a station's failure
                logs.failed("span.not_exported", error, name=span.name)

    def close(self) -> None:
        """Send what waits; at most some seconds."""
        self._processor.shutdown()  # type: ignore[no-untyped-call]


def otlp(endpoint: str, session: Any = None) -> SpanExporter:
    """OTLP over HTTP to `endpoint`/v1/traces; headers come from OTEL_EXPORTER_OTLP_HEADERS. session: requests', which
    signs what Google's Telemetry API gets."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces", timeout=10, session=session)


def cloud_trace(project: str, client: Any = None) -> SpanExporter:
    """Cloud Trace's own API (SIGNALBOX_TRACES=gcp); Google recommends OTLP instead."""
    from opentelemetry.exporter.cloud_trace import CloudTraceSpanExporter

    return CloudTraceSpanExporter(project_id=project, client=client)  # type: ignore[no-untyped-call]


def readable(span: Span, resource: Resource, queue: Queue = SQLITE_NAMES) -> ReadableSpan:
    """The SDK's form of a span."""
    sent = span.attributes.get("sent.span")
    return ReadableSpan(
        name=span.name,
        context=_context(span.trace_id, span.span_id),
        parent=_context(span.trace_id, span.parent) if span.parent else None,
        resource=resource,
        attributes=attributes_of(span, queue),
        links=[Link(_context(span.trace_id, sent))] if sent else [],
        kind=KINDS[span.kind],
        status=Status(StatusCode.OK if span.ok else StatusCode.ERROR),
        start_time=span.start,
        end_time=span.end,
        instrumentation_scope=SCOPE,
    )


def _context(trace_id: str, span_id: str) -> SpanContext:
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
