"""Ready alert policies: one for each thing that can be stuck, about metrics that the code emits, made once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.cli import google
from app.observe.metric_names import METRICS
from app.provision import Command, Place
from app.provision.alerts import changes, policies
from rules.ports import Unavailable

PLACE = Place("my-project", "europe-west1", "123")
ADDRESS = "ops@example.com"
SUFFIX = {"gauge": "gauge", "counter": "counter", "histogram": "histogram"}
GOOGLES = {"pubsub.googleapis.com/subscription/oldest_unacked_message_age"}
STUCK = ("oldest-unacked", "dead-letters", "failing-connection", "parked-runs", "lag", "no-events")


class Console:
    """Cloud Monitoring behind the Google Cloud CLI."""

    def __init__(self) -> None:
        self.policies: list[dict[str, Any]] = []
        self.channels: list[dict[str, Any]] = []
        self.made = 0

    def __call__(self, command: Command) -> tuple[int, str]:
        _, _, what, verb, *rest = command.arguments
        kept = self.policies if what == "policies" else self.channels
        if verb == "list":
            return 0, json.dumps(kept)
        self.made += 1
        flags = dict(part[2:].split("=", 1) for part in rest if part.startswith("--") and "=" in part)
        if what == "channels":
            address = flags["channel-labels"].removeprefix("email_address=")
            kept.append({"name": "channels/1", "type": "email", "labels": {"email_address": address}})
        elif verb == "create":
            kept.append({"name": f"policies/{len(kept)}", **json.loads(flags["policy"])})
        else:
            (index,) = [n for n, row in enumerate(kept) if row["name"] == rest[0]]
            kept[index] = {"name": rest[0], **json.loads(flags["policy"])}
        return 0, ""


@pytest.fixture
def console() -> Console:
    return Console()


def applied(console: Console, notify: str = "", apply: bool = True) -> list[str]:
    return list(google.alerts(PLACE, console, apply, notify))


def conditions() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, policy in policies().items():
        for condition in policy["conditions"]:
            yield name, condition.get("conditionThreshold") or condition["conditionAbsent"]


def test_there_is_a_policy_for_each_thing_that_can_be_stuck() -> None:
    assert set(policies()) == set(STUCK)


def test_every_metric_of_a_policy_is_one_that_the_code_emits_or_that_pubsub_has() -> None:
    emitted = {f"prometheus.googleapis.com/{one.name}/{SUFFIX[one.kind]}" for one in METRICS.values()}
    for name, condition in conditions():
        (metric,) = re.findall(r'metric\.type = "([^"]+)"', condition["filter"])
        assert metric in emitted | GOOGLES, name


def test_every_label_of_a_policy_is_one_that_the_metric_has_with_a_value_that_it_takes() -> None:
    for _, condition in conditions():
        known = re.search(r"googleapis\.com/(signalbox\.[a-z_.]+)/", condition["filter"])
        attributes = METRICS[known[1]].attributes if known else {}
        for label, value in re.findall(r'metric\.label\.(\w+) = "([^"]+)"', condition["filter"]):
            assert value in attributes[label]
        grouped = condition["aggregations"][0].get("groupByFields", [])
        assert {field.removeprefix("metric.label.") for field in grouped if "metric." in field} <= set(attributes)


def test_a_count_is_aligned_as_a_count_and_a_gauge_as_a_gauge() -> None:
    for name, condition in conditions():
        (aggregation,) = condition["aggregations"]
        counts = "/counter" in condition["filter"] or "/histogram" in condition["filter"]
        assert (aggregation["perSeriesAligner"] == "ALIGN_DELTA") == counts, name


@pytest.mark.parametrize("name", STUCK)
def test_a_policy_says_what_it_means_and_what_to_do(name: str) -> None:
    policy = policies()[name]
    assert policy["displayName"].startswith("Signalbox: ")
    assert len(policy["documentation"]["content"]) > 80
    assert policy["combiner"] == "OR"


def test_policies_are_planned_then_made_once(console: Console) -> None:
    planned = applied(console, apply=False)
    assert planned == [f"missing: alert policy {name}" for name in sorted(STUCK)]
    assert console.made == 0
    assert applied(console) == [f"making: alert policy {name}" for name in sorted(STUCK)]
    assert applied(console) == []


def test_a_policy_made_from_an_older_file_is_set_right_and_keeps_whom_it_tells(console: Console) -> None:
    applied(console)
    console.policies[0]["userLabels"]["signalbox-file"] = "older"
    console.policies[0]["notificationChannels"] = ["channels/pager"]
    (line,) = applied(console)
    assert line.endswith(": set otherwise")
    assert console.policies[0]["notificationChannels"] == ["channels/pager"]
    assert applied(console) == []


def test_somebody_elses_policies_stay_as_they_are(console: Console) -> None:
    theirs = {"name": "policies/theirs", "displayName": "Theirs", "conditions": []}
    console.policies.append(theirs)
    applied(console)
    assert console.policies[0] == theirs
    assert len(console.policies) == 1 + len(STUCK)


def test_the_address_that_is_named_is_told_by_every_policy_and_made_known_once(console: Console) -> None:
    applied(console)
    lines = applied(console, ADDRESS)
    assert lines[0] == f"making: alerts to {ADDRESS}"
    assert len(lines) == 1 + len(STUCK)
    assert all(policy["notificationChannels"] == ["channels/1"] for policy in console.policies)
    assert applied(console, ADDRESS) == []
    assert len(console.channels) == 1


def test_what_the_command_line_refuses_is_said() -> None:
    with pytest.raises(Unavailable, match="PERMISSION_DENIED"):
        list(changes(PLACE, lambda command: (1, "PERMISSION_DENIED")))


def test_the_files_are_plain_policies_that_can_be_made_by_hand() -> None:
    for path in (Path(__file__).parents[2] / "deploy" / "alerts").glob("*.json"):
        assert "name" not in json.loads(path.read_text())
