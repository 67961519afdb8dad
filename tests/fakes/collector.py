"""An OTLP/HTTP receiver on loopback that keeps what it is sent: spans, and the last value of every metric."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

Key = tuple[str, tuple[tuple[str, str], ...]]  # a metric with its attributes


class Collector:
    """status, delay: what it answers, and when. metrics: the kind of each by name; values: its newest points."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.paths: list[str] = []
        self.authorization: set[str] = set()
        self.services: set[str] = set()
        self.resources: list[dict[str, str]] = []
        self.metrics: dict[str, str] = {}
        self.values: dict[Key, float] = {}
        self.status = 200
        self.delay = threading.Event()
        self.delay.set()

    def take(self, path: str, body: bytes) -> int:
        self.delay.wait(5)
        self.paths.append(path)
        if path == "/v1/metrics":
            self._take_metrics(ExportMetricsServiceRequest.FromString(body))
        else:
            self._take_spans(ExportTraceServiceRequest.FromString(body))
        return self.status

    def value(self, metric: str, **attributes: str) -> float | None:
        """The newest value: a counter's sum, a gauge, how many a histogram holds."""
        return self.values.get((metric, tuple(sorted(attributes.items()))))

    def _take_spans(self, request: Any) -> None:
        for resource in request.resource_spans:
            self._who(resource.resource)
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)

    def _take_metrics(self, request: Any) -> None:
        for resource in request.resource_metrics:
            self._who(resource.resource)
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    self._take_metric(metric)

    def _take_metric(self, metric: Any) -> None:
        kind = metric.WhichOneof("data")
        self.metrics[metric.name] = kind
        for point in getattr(metric, kind).data_points:
            attributes = tuple(sorted((one.key, one.value.string_value) for one in point.attributes))
            self.values[metric.name, attributes] = _value(kind, point)

    def _who(self, resource: Any) -> None:
        facts = {one.key: one.value.string_value for one in resource.attributes}
        self.resources.append(facts)
        self.services.add(facts["service.name"])


def _value(kind: str, point: Any) -> float:
    if kind == "histogram":
        return float(point.count)
    return float(point.as_int if point.HasField("as_int") else point.as_double)


@contextmanager
def collecting() -> Iterator[tuple[Collector, str]]:
    """A collector and its address."""
    kept = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            kept.authorization.add(self.headers.get("Authorization", ""))
            self.send_response(kept.take(self.path, body))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield kept, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
