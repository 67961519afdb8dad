"""One wide log line per station, as JSON: what happened, to which transaction, with which ids; never a personal value
or a secret. Google's logging reads the same lines."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any, TextIO

from rules.event import trace_id

LOGGER = logging.getLogger("signalbox")
SEVERITY = {"DEBUG": "DEBUG", "INFO": "INFO", "WARNING": "WARNING", "ERROR": "ERROR", "CRITICAL": "CRITICAL"}


def line(station: str, level: int = logging.INFO, **facts: Any) -> None:
    """Log one station, such as `line("event.received", correlationid="in_1", event="evt_1")`. None is left out."""
    if LOGGER.isEnabledFor(level):
        LOGGER.log(level, station, extra={"facts": {name: fact for name, fact in facts.items() if fact is not None}})


def failed(station: str, error: BaseException, **facts: Any) -> None:
    """Log a surprise with its stack, on one line."""
    LOGGER.error(station, exc_info=error, extra={"facts": facts})


class JsonLines(logging.Formatter):
    """severity and message first, the way Cloud Logging reads structured lines from stdout and stderr. project: where
    the traces are; a line about a transaction then leads to its trace, and one about a station to its span. Without
    one they are named as OpenTelemetry names them."""

    def __init__(self, project: str = "") -> None:
        super().__init__()
        self._project = project

    def format(self, record: logging.LogRecord) -> str:
        body: dict[str, Any] = {
            "severity": SEVERITY.get(record.levelname, "DEFAULT"),
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}Z",
            "message": record.getMessage(),
            "logger": record.name,
        }
        body.update(getattr(record, "facts", {}))
        self._name_trace(body)
        if record.exc_info:
            body["stack"] = self.formatException(record.exc_info)
        return json.dumps(body, ensure_ascii=False, default=str)

    def _name_trace(self, body: dict[str, Any]) -> None:
        """Put the ids of trace and span where a line's reader looks for them."""
        span = body.pop("span", None)
        if not body.keys() >= {"tenant", "correlationid"}:
            return
        trace = trace_id(body["tenant"], body["correlationid"])
        named: dict[str, Any] = {"trace_id": trace, "span_id": span}
        if self._project:
            place = "logging.googleapis.com/"
            named = {f"{place}trace": f"projects/{self._project}/traces/{trace}", f"{place}spanId": span}
            named[f"{place}trace_sampled"] = True if span else None
        body.update({name: value for name, value in named.items() if value is not None})


def configure(level: str, stream: TextIO | None = None, project: str = "") -> None:
    """Send every logger's lines to a stream (stderr) from this level on. project: Google's, where traces go there."""
    import time

    formatter = JsonLines(project)
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
