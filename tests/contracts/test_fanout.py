"""Groups of event types for other services: a filter takes what its group says; readers drop what is left."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.adapters import pubsub_topics
from app.adapters.pubsub import PubSubBus, attributes_of
from app.cli import google
from app.provision.fanout import LONGEST, Group, filter_of, groups_of
from rules.event import Event
from rules.fields import Catalogue
from rules.ports import Refused
from tests.builders import event
from tests.fakes.pubsub_filter import FilterError, matcher
from tests.running import ROOT

TYPES = [one.name for one in Catalogue.load().event_types()]
PREFIXES = sorted({f"{name.rpartition('.')[0]}.*" for name in TYPES if "." in name})
EXAMPLE = groups_of(orjson.loads((ROOT / "deploy" / "subscriptions.example.json").read_bytes()))


def wanted(group: Group, found: Event) -> bool:
    """What the group says, in plain words."""
    of_tenant = group.tenant in ("", found.tenant)
    of_time = group.history or found.source != "import"
    of_type = any(found.type.startswith(t[:-1]) if t.endswith("*") else found.type == t for t in group.types)
    return of_tenant and of_time and of_type


groups = st.builds(
    Group,
    st.just("reporting"),
    st.lists(st.sampled_from([*TYPES, *PREFIXES, "*"]), min_size=1, max_size=3).map(tuple),
    st.sampled_from(["", "default/live", "acct_1/test"]),
    history=st.booleans(),
)
events = st.builds(
    lambda type, tenant, source: event(type=type, tenant=tenant, source=source),
    st.sampled_from(TYPES),
    st.sampled_from(["default/live", "default/test", "acct_1/test"]),
    st.sampled_from(["webhook", "import"]),
)


@given(groups, events)
def test_a_filter_takes_exactly_what_its_group_says(group: Group, found: Event) -> None:
    text = filter_of(group)
    if len(text) <= LONGEST:
        assert matcher(text)(attributes_of(found)) == wanted(group, found)


@pytest.mark.parametrize("group", EXAMPLE, ids=[group.name for group in EXAMPLE])
def test_the_example_groups_have_filters_that_pubsub_takes(group: Group) -> None:
    matcher(filter_of(group))


@pytest.mark.parametrize(
    "wrong", ["nonsense ((", 'attributes.ce-type = "a"', "x" * 300, 'a = "b" AND a = "c" OR a = "d"']
)
def test_the_judge_of_filters_refuses_what_pubsub_would(wrong: str) -> None:
    with pytest.raises(FilterError):
        matcher(wrong)


def test_a_filter_that_pubsub_would_not_take_is_refused_with_the_mend() -> None:
    rows = [{"name": "many", "types": TYPES[:9]}]
    with pytest.raises(Refused, match="longer than 256 bytes: use prefixes, or two groups"):
        groups_of({"groups": rows})


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"name": "A b", "types": ["*"]}, "no name of a group"),
        ({"name": "a", "types": "invoice.paid"}, "types are event types"),
        ({"name": "a", "types": ['x" OR attributes:"y']}, "types are event types"),
        ({"name": "a", "types": ["*"], "tenant": "live"}, "default/live"),
        ({"name": "a", "types": ["*"], "reader": "somebody"}, "service account"),
        ({"name": "a", "types": ["*"], "history": "yes"}, "true or false"),
        ({"name": "a", "types": ["*"], "filter": ""}, "no part of a group"),
        ("a", "an object"),
    ],
)
def test_what_is_wrong_with_a_group_is_said(row: Any, said: str) -> None:
    with pytest.raises(Refused, match=said):
        groups_of({"groups": [row]})


def test_two_groups_of_one_name_are_refused() -> None:
    with pytest.raises(Refused, match="a is there twice"):
        groups_of({"groups": [{"name": "a", "types": ["*"]}, {"name": "a", "types": ["x"]}]})
    with pytest.raises(Refused, match="holds no groups"):
        groups_of([])


# ---- on Google's emulator -------------------------------------------------------------------------------------------
@pytest.fixture
def made(pubsub_emulator: None) -> Iterator[tuple[Any, Any, Any]]:
    """A project with the example's groups, as `provision --apply` makes it: (publisher, subscriber, names)."""
    project = f"test-{uuid.uuid4().hex[:12]}"
    assert [line for line in google.topics(project, True, tuple(EXAMPLE)) if "-for-reporting" in line]
    publisher, subscriber = pubsub_topics.clients()
    yield publisher, subscriber, pubsub_topics.names(project)
    publisher.stop()
    subscriber.close()


@pytest.mark.emulator
def test_pubsub_has_each_groups_filter_order_and_retry_policy(made: tuple[Any, Any, Any]) -> None:
    _, subscriber, names = made
    for group in EXAMPLE:
        there = subscriber.get_subscription(subscription=pubsub_topics.group_name(names, group))
        assert there.filter == filter_of(group)
        assert there.enable_message_ordering
        assert there.retry_policy.maximum_backoff.total_seconds() == pubsub_topics.SLOWEST
        assert there.message_retention_duration.days == 7
        assert not there.expiration_policy.ttl
    project = names.topic.split("/")[1]
    assert list(google.topics(project, False, tuple(EXAMPLE))) == []


@pytest.mark.emulator
def test_a_changed_filter_is_said_to_need_a_new_subscription(made: tuple[Any, Any, Any]) -> None:
    project = made[2].topic.split("/")[1]
    changed = (Group("reporting", ("payout.*",)),)
    (line,) = google.topics(project, False, changed)
    assert line.endswith("filter (filter cannot be changed: delete it and run this again)")


@pytest.mark.emulator
def test_every_group_gets_an_event_and_the_example_reader_drops_what_it_does_not_want(
    made: tuple[Any, Any, Any], tmp_path: Path
) -> None:
    publisher, _, names = made
    bus = PubSubBus(publisher, names.topic)
    for number, type in enumerate(("invoice.paid", "customer.updated", "invoice.voided")):
        for _ in range(2):  # twice, as a bus may
            bus.publish(event(f"evt_{number}", type=type))
    script = [sys.executable, ROOT / "docs" / "subscriber.py", pubsub_topics.group_name(names, EXAMPLE[1]), "invoice."]
    environ = {**os.environ, "DB": str(tmp_path / "seen.db"), "WAIT": "2"}
    done = subprocess.run(script, env=environ, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == ["invoice.paid in_1", "invoice.voided in_1"]
