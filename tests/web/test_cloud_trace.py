"""From a page to Google: where spans are sent there, every event, run and journey leads to its trace."""

from __future__ import annotations

import html
import io
import json
import logging
from typing import Any

import pytest

from app import logs
from app.web import create_app
from rules.event import trace_id
from tests.builders import TENANT, event, services_in_memory
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


@pytest.mark.parametrize(("project", "wanted"), [("p", f"projects/p/traces/{trace_id(TENANT, 'in_1')}"), ("", None)])
def test_a_line_about_a_transaction_names_its_trace_where_there_is_a_project(project: str, wanted: str | None) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.JsonLines(project))
    logs.LOGGER.addHandler(handler)
    try:
        logs.line("event.received", logging.ERROR, tenant=TENANT, correlationid="in_1")
        logs.line("rules.swapped", logging.ERROR, tenant=TENANT)
    finally:
        logs.LOGGER.removeHandler(handler)
    about, other = (json.loads(line) for line in stream.getvalue().splitlines())
    assert about.get("logging.googleapis.com/trace") == wanted
    assert "logging.googleapis.com/trace" not in other
