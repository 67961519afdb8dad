"""The benchmark's own judgement: its events, its twenty rules, and its peers agree on what has to happen."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import orjson
import pytest
import stripe

from app.services import catalogue, connectors
from app.settings import Settings
from bench import events, m4, matching, tokens
from bench.peers import common
from bench.receiver import check, what
from bench.storm import Sender
from rules.expr import compile_condition
from rules.personal import places
from rules.rule import parse
from tests.builders import NOON, SHARED, services_in_memory

CREATED = int(NOON.timestamp())
NUMBERS = range(60)


def test_every_event_is_distinct_signed_and_of_five_kilobytes() -> None:
    bodies = [events.body(number, CREATED) for number in NUMBERS]
    assert len({json.loads(body)["id"] for body in bodies}) == len(bodies)
    assert {len(body) for body in bodies} == {len(bodies[0])}
    assert 5000 < len(bodies[0]) < 6000
    header = events.signature(bodies[0], CREATED)
    assert stripe.WebhookSignature.verify_header(bodies[0].decode(), header, events.SECRET)


def test_the_cost_of_tokens_is_measured_with_no_fewer_new_values_than_a_real_business_has() -> None:
    heard: set[tuple[str, str]] = set()
    with lzma.open(SHARED / "data" / "story.jsonl.xz") as lines:
        story = [orjson.loads(line) for line in lines]
    for event in story:
        customer = event["data"]["object"].get("customer") or event["data"]["object"].get("id", "")
        heard |= {(customer, str(container[key])) for container, key in places(event)}
    assert 0.1 < len(heard) / len(story) <= 2 / tokens.EACH
    several = [json.loads(events.body(number, CREATED, number // tokens.EACH)) for number in range(4 * tokens.EACH)]
    new = {(event["data"]["object"]["customer"], at[key]) for event in several for at, key in places(event)}
    assert len(new) / len(several) == 2 / tokens.EACH


def test_what_wrk_sends_is_what_was_signed(tmp_path: Path) -> None:
    Sender(tmp_path, 5, wrk="wrk", now=lambda: CREATED, each=2)
    template = (tmp_path / "template").read_text()
    for line in (tmp_path / "signatures").read_text().splitlines():
        number, amount, digest, customer = line.split()
        body = template.replace("\1N\1", number).replace("\1A\1", amount).replace("\1C\1", customer)
        assert events.signature(body.encode(), CREATED).endswith(f"v1={digest}")
        assert json.loads(body)["data"]["object"]["customer"] == f"cus_bench{int(number) // 2:08d}"


def test_a_comparison_that_lasts_long_sends_no_signature_that_is_too_old(tmp_path: Path) -> None:
    def first_signature() -> str:
        return (tmp_path / "signatures").read_text().split()[2]

    def signed(at: int) -> str:
        return events.signature(events.body(0, at), at).split("v1=")[1]

    times = [CREATED]
    sender = Sender(tmp_path, 3, wrk="wrk", now=lambda: times[-1])
    assert first_signature() == signed(CREATED)
    for later, stamp in ((100, 0), (130, 130), (250, 130), (251, 251)):
        times.append(CREATED + later)
        sender.sign()
        assert first_signature() == signed(CREATED + stamp)


def test_our_rules_and_the_peers_decide_what_is_expected() -> None:
    services = services_in_memory()
    actions = connectors(Settings(), services.secrets, services.vault)
    rules = [parse(document, catalogue(), actions) for document in events.rules()]
    conditions = {rule.id: compile_condition(rule.only_if) for rule in rules}
    ours, theirs = set(), set()
    for number in NUMBERS:
        event = json.loads(events.body(number, CREATED))
        ours |= {(event["id"], id) for id, holds in conditions.items() if holds(event)}
        theirs |= {(event["id"], id) for id in common.decide(event)}
    assert ours == theirs == events.expected(len(NUMBERS))
    assert len(ours) == len(NUMBERS) / 2


@pytest.mark.parametrize(
    "notice",
    [
        {"event": "evt_1", "rule": "bench-01"},
        {"specversion": "1.0", "data": {"events": ["evt_0", "evt_1"], "rule": {"id": "bench-01", "number": 1}}},
    ],
)
def test_the_receiver_reads_whose_notice_it_is(notice: dict[str, object]) -> None:
    assert what(notice) == ("evt_1", "bench-01")


def test_the_receiver_knows_a_forged_notice() -> None:
    forged = {b"webhook-id": b"run/step", b"webhook-timestamp": b"1", b"webhook-signature": b"v1,AAAA"}
    assert check(forged, b"{}") == "bad signature on 'run/step'"


@pytest.mark.parametrize("name", ["plain Python", "decide", "decide, windows"])
def test_our_matchers_and_the_whole_decision_answer_as_the_plainest_loop(name: str) -> None:
    rules, given = matching.plain_rules(400), matching.plain_events(60)
    wanted = matching.expected(rules, given)
    match = matching.SYSTEMS[name](rules)
    assert [sorted(match(event)) for event in given] == wanted
    assert sum(map(bool, wanted)) > 5


def test_the_backtest_of_the_benchmark_goes_the_quick_way_and_has_the_plain_ways_rows(tmp_path: Path) -> None:
    m4.build(tmp_path, 4_000)
    first, again = m4.once(tmp_path), m4.once(tmp_path)
    assert (first["read"], first["plain"], first["events"]) == ("columns", "", 400)
    assert first["digest"] == again["digest"]
    assert first["decided"] < first["events"] / 2
    assert m4.check(tmp_path, 4_000) == first["runs"] > 5
