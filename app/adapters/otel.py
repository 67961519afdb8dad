"""Spans to OpenTelemetry: the values that the stations made, with the ids they derived, handed to an exporter.

The SDK's tracer is not used, because it invents ids and reads clocks; its batch processor is: a bounded queue and one
thread, so that a slow or absent collector costs a station nothing and loses spans only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from app import logs
from rules.ports import Span

SCOPE = InstrumentationScope("signalbox")
KINDS = {
    "server": SpanKind.SERVER,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
    "internal": SpanKind.INTERNAL,
    "client": SpanKind.CLIENT,
}


class OtelTracer:
    """Tracer over any OpenTelemetry exporter."""

    def __init__(self, exporter: SpanExporter, process: str = "signalbox", delay_ms: int = 1000) -> None:
        self._resource = Resource.create({"service.name": "signalbox", "signalbox.process": process})
        self._processor = BatchSpanProcessor(
            exporter, max_queue_size=8192, schedule_delay_millis=delay_ms, export_timeout_millis=10_000
        )

    def export(self, spans: Sequence[Span]) -> None:
        for span in spans:
            try:
                self._processor.on_end(readable(span, self._resource))
            except Exception as error:  # a span is never worth a station's failure
                logs.failed("span.not_exported", error, span=span.name)

    def close(self) -> None:
        """Send what waits; at most some seconds."""
        self._processor.shutdown()  # type: ignore[no-untyped-call]


def otlp(endpoint: str) -> SpanExporter:
    """OTLP over HTTP to `endpoint`/v1/traces; headers come from OTEL_EXPORTER_OTLP_HEADERS."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces", timeout=10)


def cloud_trace(project: str, client: Any = None) -> SpanExporter:
    """Cloud Trace's own API (SIGNALBOX_TRACES=gcp); Google recommends OTLP instead."""
    from opentelemetry.exporter.cloud_trace import CloudTraceSpanExporter

    return CloudTraceSpanExporter(project_id=project, client=client)  # type: ignore[no-untyped-call]


def readable(span: Span, resource: Resource) -> ReadableSpan:
    """The SDK's form of a span."""
    return ReadableSpan(
        name=span.name,
        context=_context(span.trace_id, span.span_id),
        parent=_context(span.trace_id, span.parent) if span.parent else None,
        resource=resource,
        attributes=_attributes(span.attributes),
        kind=KINDS[span.kind],
        status=Status(StatusCode.OK if span.ok else StatusCode.ERROR),
        start_time=span.start,
        end_time=span.end,
        instrumentation_scope=SCOPE,
    )


def _context(trace_id: str, span_id: str) -> SpanContext:
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def _attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes are plain values; what is not becomes text, what is None is left out."""
    return {
        name: value if isinstance(value, (str, bool, int, float)) else str(value)
        for name, value in attributes.items()
        if value is not None
    }
