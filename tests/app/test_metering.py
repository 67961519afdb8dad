"""Metrics over OTLP from web and worker: what is counted, what it costs a webhook, and that it stays bounded."""

from __future__ import annotations

import itertools
import re
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.adapters import otel, otel_metrics
from app.adapters.memory import MemoryTracer
from app.adapters.sqlite_bus import SqliteBus
from app.handle import handle
from app.observe.metering import MeteredTracer, connector_of, outcome_of, readings
from app.observe.metric_names import METRICS
from app.observe.telemetry import telemetry
from app.provision.alerts import policies
from app.receive.webhook import receive
from app.web.webhooks import in_front_of
from rules.ports import Delivery, Disposition, Put, Span, Unavailable
from tests.builders import NOON, TENANT, body_of, envelope, event, services_in_memory, signed
from tests.fakes.collector import Collector, collecting
from tests.records import keep_command, keep_run, run, story
from tests.running import running, until


@pytest.fixture
def collector() -> Iterator[tuple[Collector, str]]:
    with collecting() as found:
        yield found


class Counted:
    """A meter that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, float, dict[str, str]]] = []

    def add(self, metric: str, amount: int = 1, **attributes: str) -> None:
        self.told.append((metric, amount, attributes))

    def record(self, metric: str, value: float) -> None:
        self.told.append((metric, value, {}))


def in_bounds(metric: str, attributes: dict[str, str]) -> bool:
    known = METRICS[metric].attributes
    return set(attributes) == set(known) and all(value in known[name] for name, value in attributes.items())


# ---- what is counted ------------------------------------------------------------------------------------------------
def test_every_answer_to_a_webhook_is_counted_by_what_it_came_to() -> None:
    meter = Counted()
    services = replace(services_in_memory(), meter=meter)
    application = in_front_of(lambda environ, start: [b""], services)
    good, bad = body_of(envelope()), b"{}"
    for body, headers in ((good, signed(good)), (bad, signed(bad)), (good, {"Stripe-Signature": "t=1,v1=0"})):
        environ = {
            "PATH_INFO": "/webhooks/stripe",
            "REQUEST_METHOD": "POST",
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_STRIPE_SIGNATURE": headers["Stripe-Signature"],
            "wsgi.input": BytesIO(body),
        }
        list(application(environ, lambda *answer: None))
    outcomes = [attributes["outcome"] for _, _, attributes in meter.told]
    assert outcomes == ["accepted", "refused", "refused"]
    assert outcome_of(503) == "unavailable"


def span(kind: Any, name: str = "x", start: int = 0, end: int = 0, **more: Any) -> Span:
    return Span("a" * 32, more.pop("id", "1" * 16), more.pop("parent", None), name, start, end, kind, more)


def test_a_decision_and_its_lag_are_read_from_the_spans() -> None:
    meter, tracer = Counted(), MemoryTracer()
    spans = [
        span("server", end=10**9, id="r" * 16),
        span("consumer", start=3 * 10**9, end=3_500_000_000, parent="r" * 16),
    ]
    MeteredTracer(tracer, meter).export(spans)
    assert meter.told == [("signalbox.decision.duration", 0.5, {}), ("signalbox.event.lag", 2.0, {})]
    assert tracer.spans == spans


@pytest.mark.parametrize("outcome", METRICS["signalbox.commands"].attributes["outcome"])
def test_a_try_of_an_action_is_counted_by_outcome_and_connector(outcome: str) -> None:
    meter = Counted()
    MeteredTracer(MemoryTracer(), meter).export([span("client", "stripe.change_plan", outcome=outcome)])
    assert meter.told == [("signalbox.commands", 1, {"outcome": outcome, "connector": "stripe"})]


def test_every_action_that_there_is_has_a_connector_among_the_names() -> None:
    known = set(METRICS["signalbox.commands"].attributes["connector"])
    assert {connector_of(name) for name in services_in_memory().connectors} == known - {"other"}


@given(st.text(max_size=40), st.sampled_from(METRICS["signalbox.commands"].attributes["outcome"]))
def test_no_name_of_an_action_makes_a_new_series(action: str, outcome: str) -> None:
    meter = Counted()
    MeteredTracer(MemoryTracer(), meter).export([span("client", action, outcome=outcome)])
    assert all(in_bounds(metric, attributes) for metric, _, attributes in meter.told)


def test_all_attributes_of_all_metrics_together_make_fewer_than_a_hundred_series() -> None:
    series = sum(
        len(list(itertools.product(*metric.attributes.values()))) for metric in METRICS.values() if metric.attributes
    )
    assert series < 100


def test_the_gauges_tell_what_is_stuck_over_all_tenants() -> None:
    s = services_in_memory()
    trigger, waiting, command = story(s.store)
    keep_run(s.store, replace(run(trigger), id="run_parked", state="parked"))
    keep_run(s.store, replace(run(trigger), id="run_asleep", state="waiting"))
    keep_command(s.store, replace(command, id="a/1", state="dead", due_at=None))
    late = (NOON - timedelta(minutes=3)).isoformat(timespec="microseconds")[:-6] + "Z"
    keep_command(s.store, replace(command, id="a/2", state="due", due_at=late))
    crm = {"name": "crm", "type": "webhook", "state": "failing", "created_at": "2026"}
    s.store.commit(TENANT, None, [Put("connection", "crm", crm)])
    s.bus.publish(event("evt_9"))
    s.inbox.drain(lambda batch: [Disposition("dead", "no")] * len(batch), NOON)
    s.bus.publish(event("evt_10"))
    found = {(name, *attributes.values()): value for name, value, attributes in readings(
        s.store, s.inbox, NOON + timedelta(seconds=90))}  # fmt: skip
    asleep = 1 + (waiting.state == "waiting")
    assert found["signalbox.runs.sleeping",] == asleep
    assert found["signalbox.runs.parked",] == 1
    assert found["signalbox.dead_letters", "actions"] == found["signalbox.dead_letters", "events"] == 1
    assert found["signalbox.connections.failing",] == 1
    assert found["signalbox.events.oldest_unacked",] == 90
    assert found["signalbox.actions.oldest_due",] == 270
    assert all(in_bounds(name, dict(attributes)) for name, _, attributes in readings(s.store, s.inbox, NOON))
    told = {name for name, _, _ in readings(s.store, s.inbox, NOON)}
    assert told == {name for name, metric in METRICS.items() if metric.kind == "gauge"}


class Away:
    def __getattr__(self, name: str) -> Any:
        raise Unavailable("away")


def test_gauges_that_cannot_be_read_are_left_out() -> None:
    s = services_in_memory()
    assert readings(Away(), s.inbox, NOON)  # type: ignore[arg-type]
    assert readings(s.store, Away(), NOON) == []  # type: ignore[arg-type]


# ---- over OTLP ------------------------------------------------------------------------------------------------------
def meter_to(address: str, look: Any = None) -> otel_metrics.OtelMeter:
    return otel_metrics.OtelMeter(otel_metrics.otlp(address), otel.resource("test", "a-project"), look, every_ms=10**7)


def test_every_metric_arrives_as_the_kind_that_is_declared(collector: tuple[Collector, str]) -> None:
    kept, address = collector
    s = services_in_memory()
    meter = meter_to(address, partial(readings, s.store, s.inbox, NOON))
    meter.add("signalbox.events.received", outcome="accepted")
    meter.add("signalbox.events.received", 4, outcome="accepted")
    meter.add("signalbox.commands", outcome="done", connector="crm")
    for name in ("signalbox.event.lag", "signalbox.decision.duration"):
        meter.record(name, 0.25)
    meter.close()
    kinds = {"counter": "sum", "histogram": "histogram", "gauge": "gauge"}
    assert kept.metrics == {name: kinds[metric.kind] for name, metric in METRICS.items()}
    assert kept.value("signalbox.events.received", outcome="accepted") == 5
    assert kept.value("signalbox.event.lag") == 1
    assert set(kept.paths) == {"/v1/metrics"}
    (who,) = {resource["service.instance.id"]: resource for resource in kept.resources}.values()
    assert (who["service.name"], who["gcp.project_id"]) == ("signalbox", "a-project")


def test_two_processes_are_two_instances() -> None:
    first, second = (otel.resource("web").attributes["service.instance.id"] for _ in range(2))
    assert first != second


def test_no_count_is_lost_between_threads(collector: tuple[Collector, str]) -> None:
    kept, address = collector
    meter = meter_to(address)

    def count() -> None:
        for _ in range(5_000):
            meter.add("signalbox.events.received", outcome="accepted")

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    meter.close()
    assert kept.value("signalbox.events.received", outcome="accepted") == 40_000


def test_a_look_that_raises_is_logged_and_the_counts_are_sent(collector: tuple[Collector, str]) -> None:
    kept, address = collector

    def look() -> Sequence[Any]:
        raise RuntimeError("a fault")

    meter = meter_to(address, look)
    meter.add("signalbox.events.received", outcome="refused")
    meter.close()
    assert kept.value("signalbox.events.received", outcome="refused") == 1


def test_one_sending_looks_once_for_all_gauges(collector: tuple[Collector, str]) -> None:
    _, address = collector
    looks: list[int] = []

    def look() -> Sequence[Any]:
        looks.append(1)
        return [("signalbox.runs.parked", 1.0, {})]

    meter_to(address, look).close()
    assert len(looks) == 1


def test_metrics_are_on_where_an_endpoint_is_set_whatever_traces_say() -> None:
    s = services_in_memory(otlp_endpoint="http://127.0.0.1:9", traces="off")
    told = telemetry(s.settings, "web", s.store, s.inbox, s.clock)
    assert isinstance(told.meter, otel_metrics.OtelMeter)
    off = telemetry(services_in_memory().settings, "web", s.store, s.inbox, s.clock)
    assert type(off.meter).__name__ == "NoMeter"


def test_web_and_worker_on_sqlite_send_what_they_did(collector: tuple[Collector, str], tmp_path: Path) -> None:
    kept, address = collector
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": address, "OTEL_METRIC_EXPORT_INTERVAL": "300"}
    with running(tmp_path / "data", "web", "--with-worker", **environ) as server:
        assert server.post_event(envelope("evt_1")) == 200
        until(lambda: kept.value("signalbox.event.lag") == 1)
        until(lambda: kept.value("signalbox.events.oldest_unacked") == 0)
    assert kept.value("signalbox.events.received", outcome="accepted") == 1
    assert kept.value("signalbox.decision.duration") == 1
    assert kept.value("signalbox.runs.sleeping") == 0


def test_the_page_about_metrics_names_each_with_its_unit_and_attributes() -> None:
    page = (Path(__file__).parents[2] / "docs" / "observing.md").read_text()
    for metric in METRICS.values():
        names = ", ".join(metric.attributes) + " " if metric.attributes else ""
        assert f"| `{metric.name}` | {metric.kind} | {metric.unit} | {names}| {metric.text} |" in page
    told = set(re.findall(r"^\| `([a-z-]+)` \|", page.partition("## Alerts")[2], re.MULTILINE))
    assert told == set(policies())


# ---- what it costs --------------------------------------------------------------------------------------------------
def seconds_of(body: Any, count: int) -> float:
    """CPU seconds of one, the best of seven."""
    best = float("inf")
    for _ in range(7):
        began = time.process_time()
        for _ in range(count):
            body()
        best = min(best, time.process_time() - began)
    return best / count


def test_counting_costs_a_webhook_less_than_a_hundredth_of_its_reception(
    collector: tuple[Collector, str], tmp_path: Path
) -> None:
    s, meter = services_in_memory(), meter_to(collector[1])
    bus, body = SqliteBus(tmp_path, s.clock.now), body_of(envelope())
    headers = signed(body)

    def reception() -> None:
        assert receive(headers, body, bus, s.vault, s.verifier, NOON).status == 200

    received = seconds_of(reception, 100)
    counted = seconds_of(lambda: meter.add("signalbox.events.received", outcome=outcome_of(200)), 20_000)
    meter.close()
    bus.close()
    assert counted < 0.01 * received, f"{counted * 1e6:.2f} us of {received * 1e6:.0f} us"


def test_handling_is_the_same_with_a_meter() -> None:
    s, meter = services_in_memory(), Counted()
    found = event("evt_1")
    said = handle([Delivery("7", found, 1)], s.store, s.rulesets, MeteredTracer(s.tracer, meter), NOON)
    assert [one.kind for one in said] == ["done"]
    assert [name for name, _, _ in meter.told] == ["signalbox.decision.duration"]
