"""Metrics over OTLP: counts are plain numbers until a thread sends them, once a minute (OTEL_METRIC_EXPORT_INTERVAL).

A station adds to a number under a lock, which costs it half a microsecond; the SDK's own counter takes three.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

from app import logs
from app.observe.metric_names import METRICS, Metric, Reading

BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
FRESH = 1.0  # seconds that a look at the gauges serves: one sending asks once for each of them
Look = Callable[[], Sequence[Reading]]
_Counts = dict[tuple[tuple[str, str], ...], int]


class OtelMeter:
    """Meter over any OpenTelemetry exporter. look: reads the gauges, where this process tells them."""

    def __init__(
        self, exporter: MetricExporter, resource: Resource, look: Look | None = None, every_ms: float | None = None
    ) -> None:
        self._counts: dict[str, _Counts] = {name: {} for name, metric in METRICS.items() if metric.kind == "counter"}
        self._lock = threading.Lock()
        self._look = look
        self._seen: tuple[float, Sequence[Reading]] = (float("-inf"), ())
        reader = PeriodicExportingMetricReader(exporter, export_interval_millis=every_ms)
        self._provider = MeterProvider([reader], resource)
        meter = self._provider.get_meter("signalbox")
        self._histograms = {
            name: meter.create_histogram(
                name, unit=metric.unit, description=metric.text, explicit_bucket_boundaries_advisory=BOUNDS
            )
            for name, metric in METRICS.items()
            if metric.kind == "histogram"
        }
        for metric in METRICS.values():
            self._observe(meter, metric)

    def add(self, metric: str, amount: int = 1, **attributes: str) -> None:
        key = tuple(attributes.items())
        counts = self._counts[metric]
        with self._lock:
            counts[key] = counts.get(key, 0) + amount

    def record(self, metric: str, value: float) -> None:
        self._histograms[metric].record(value)

    def close(self) -> None:
        """Send what there is; at most some seconds."""
        self._provider.shutdown(timeout_millis=10_000)

    def _observe(self, meter: Any, metric: Metric) -> None:
        if metric.kind == "counter":
            told = [lambda options: self._counted(metric.name)]
            meter.create_observable_counter(metric.name, told, metric.unit, metric.text)
        elif metric.kind == "gauge" and self._look is not None:
            told = [lambda options: self._read(metric.name)]
            meter.create_observable_gauge(metric.name, told, metric.unit, metric.text)

    def _counted(self, name: str) -> Iterable[Observation]:
        with self._lock:
            counts = list(self._counts[name].items())
        return [Observation(count, dict(key)) for key, count in counts]

    def _read(self, name: str) -> Iterable[Observation]:
        return [Observation(value, dict(attributes)) for found, value, attributes in self._gauges() if found == name]

    def _gauges(self) -> Sequence[Reading]:
        at, seen = self._seen
        if self._look is not None and time.monotonic() - at > FRESH:
            try:
                seen = self._look()
            except Exception as error:  # a gauge is never worth a process's failure
                logs.failed("metrics.not_read", error)
                seen = ()
            self._seen = (time.monotonic(), seen)
        return seen


def otlp(endpoint: str, session: Any = None) -> MetricExporter:
    """OTLP over HTTP to `endpoint`/v1/metrics; headers come from OTEL_EXPORTER_OTLP_HEADERS. session: requests', which
    signs what Google's Telemetry API gets."""
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

    return OTLPMetricExporter(endpoint=f"{endpoint}/v1/metrics", timeout=10, session=session)
