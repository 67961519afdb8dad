"""From a page to Google: where spans are sent there, every event, run and journey leads to its trace."""

from __future__ import annotations

import html
import io
import json
import logging
from functools import partial
from typing import Any

import pytest

from app import logs
from app.handle import handle
from app.receive.webhook import receive
from app.web import create_app
from rules.event import trace_id
from tests.builders import NOON, TENANT, body_of, envelope, event, services_in_memory, signed
from tests.records import keep_event, keep_run, run

ADDRESS = "https://console.cloud.google.com/traces/list?tid={}&project=my-project"


def pages(**settings: Any) -> dict[str, str]:
    services = services_in_memory(**settings)
    found = event()
    keep_event(services.store, found)
    kept = run(found)
    keep_run(services.store, kept)
    browser = create_app(services).test_client()
    addresses = (f"/events/{found.id}", f"/runs/{kept.id}", f"/traces/{found.correlation}")
    return {address: html.unescape(browser.get(address).text) for address in addresses}


def test_an_event_a_run_and_a_journey_lead_to_their_trace_in_the_console() -> None:
    wanted = ADDRESS.format(trace_id(TENANT, event().correlation))
    for address, page in pages(google_project="my-project").items():
        assert wanted in page, address


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"google_project": "p", "firestore_emulator": "127.0.0.1:1"},
        {"google_project": "p", "traces": "off"},
    ],
)
def test_where_no_span_is_sent_nothing_leads_there(settings: dict[str, str]) -> None:
    assert not any("console.cloud.google.com" in page for page in pages(**settings).values())


def lines(project: str, *told: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """What is printed of these stations."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.JsonLines(project))
    logs.LOGGER.addHandler(handler)
    try:
        for station, facts in told:
            logs.line(station, logging.ERROR, **facts)
    finally:
        logs.LOGGER.removeHandler(handler)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


STATION = ("event.received", {"tenant": TENANT, "correlationid": "in_1", "span": "b" * 16})
TRACE = trace_id(TENANT, "in_1")


def test_a_line_about_a_station_names_its_trace_and_span_as_cloud_logging_reads_them() -> None:
    about, without, other = lines(
        "p", STATION, ("x", {"tenant": TENANT, "correlationid": "in_1"}), ("rules.swapped", {"tenant": TENANT})
    )
    assert about["severity"] == "ERROR"
    assert about["logging.googleapis.com/trace"] == f"projects/p/traces/{TRACE}"
    assert about["logging.googleapis.com/spanId"] == "b" * 16
    assert about["logging.googleapis.com/trace_sampled"] is True
    assert "span" not in about
    assert without["logging.googleapis.com/trace"] == f"projects/p/traces/{TRACE}"
    assert "logging.googleapis.com/spanId" not in without
    assert not [name for name in other if name.startswith("logging.")]


def test_without_a_project_a_line_names_them_as_opentelemetry_does() -> None:
    (about,) = lines("", STATION)
    assert (about["trace_id"], about["span_id"]) == (TRACE, "b" * 16)
    assert not [name for name in about if name.startswith("logging.")]


def test_every_station_of_an_event_prints_the_span_that_it_sends() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.JsonLines("p"))
    level, services = logs.LOGGER.level, services_in_memory()
    logs.LOGGER.addHandler(handler)
    logs.LOGGER.setLevel(logging.INFO)
    body = body_of(envelope())
    try:
        receive(signed(body), body, services.bus, services.vault, services.verifier, NOON)
        handled = partial(handle, store=services.store, rulesets=services.rulesets, tracer=services.tracer, now=NOON)
        services.inbox.drain(handled, NOON)
    finally:
        logs.LOGGER.removeHandler(handler)
        logs.LOGGER.setLevel(level)
    printed = {line["message"]: line for line in map(json.loads, stream.getvalue().splitlines())}
    sent = {span.name.split()[0]: span for span in services.tracer.spans}  # type: ignore[attr-defined]
    for message, station in (("event.received", "receive"), ("rule.decided", "handle")):
        assert printed[message]["logging.googleapis.com/spanId"] == sent[station].span_id
        assert printed[message]["logging.googleapis.com/trace"].endswith(sent[station].trace_id)
