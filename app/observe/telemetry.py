"""Where an installation tells of itself: spans and metrics over OTLP, or spans to Cloud Trace; wired by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from app.adapters.untraced import NoMeter, NoTracer
from app.settings import Settings
from rules.ports import Clock, Inbox, Meter, Store, Tracer, Unavailable

TELEMETRY_API = "telemetry.googleapis.com"  # Google's own OTLP receiver: it wants its own kind of sign-in
READS_GAUGES = ("worker", "tick")  # the processes that work look at the queue; a hundred receivers need not


@dataclass(frozen=True, slots=True)
class Telemetry:
    tracer: Tracer
    meter: Meter
    close: Callable[[], None]


def telemetry(settings: Settings, process: str, store: Store, inbox: Inbox, clock: Clock) -> Telemetry:
    """What this process sends, and where. Exporters are imported only where one is set: OpenTelemetry's take a third
    of a second. Metrics go where OTEL_EXPORTER_OTLP_ENDPOINT says, on every backend."""
    tracer, stop_tracing = _tracer(settings, process)
    if not settings.otlp_endpoint:
        return Telemetry(tracer, NoMeter(), stop_tracing)
    from app.adapters import otel, otel_metrics
    from app.observe import metering

    look = partial(_readings, store, inbox, clock) if process in READS_GAUGES else None
    exporter = otel_metrics.otlp(settings.otlp_endpoint, signed_session(settings))
    meter = otel_metrics.OtelMeter(exporter, otel.resource(process, settings.google_project), look)

    def close() -> None:
        meter.close()
        stop_tracing()

    return Telemetry(metering.MeteredTracer(tracer, meter), meter, close)


def _readings(store: Store, inbox: Inbox, clock: Clock) -> Any:
    from app.observe import metering

    return metering.readings(store, inbox, clock.now())


def _tracer(settings: Settings, process: str) -> tuple[Tracer, Callable[[], None]]:
    chosen = settings.traces
    if chosen == "auto":
        chosen = "otlp" if settings.otlp_endpoint else "off"
    if chosen == "off":
        return NoTracer(), lambda: None
    from app.adapters import otel

    if chosen == "gcp":
        exporter = otel.cloud_trace(settings.google_project)
    else:
        exporter = otel.otlp(settings.otlp_endpoint, signed_session(settings))
    queue = otel.pubsub_names(settings.google_project) if settings.backend == "google" else otel.SQLITE_NAMES
    tracer = otel.OtelTracer(exporter, otel.resource(process, settings.google_project), queue)
    return tracer, tracer.close


def signed_session(settings: Settings, credentials: Any = None) -> Any:
    """What signs requests to Google's Telemetry API with the service account; None elsewhere: other receivers take
    what OTEL_EXPORTER_OTLP_HEADERS says."""
    if urlsplit(settings.otlp_endpoint).hostname != TELEMETRY_API and credentials is None:
        return None
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError
    from google.auth.transport.requests import AuthorizedSession

    if credentials is None:
        try:
            credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
        except DefaultCredentialsError as error:
            raise Unavailable(f"{TELEMETRY_API} takes spans of a Google account only: {error}") from None
    return AuthorizedSession(credentials)
