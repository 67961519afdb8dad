"""Signalbox speaks up by itself: once when something begins, seldom while it grows, once when it is over."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import author, operate, tenant_settings
from app.audit import seal
from app.audit.verify import read_anchor, verify
from app.operate import alerts
from app.operate.alerts import APART, CALM, Finding, what_to_say
from app.worker import Work, tick
from rules.ports import Outcome
from rules.rule import RuleError
from tests.builders import DAY, NOON, TENANT
from tests.stories.world import ACTOR, NOTIFY, Effect, World, failed, twice_in_a_week

SECOND = NOON + DAY
MINUTE = timedelta(minutes=1)
SLACK = {"name": "ops", "type": "slack", "secret": "https://hooks.slack.com/services/T0/B0/x"}


def told(world: World) -> list[str]:
    """The first lines of what went to the operators."""
    return [effect.params["text"] for effect in world.outside.requests if effect.action == "slack.post"]


def watched(**given: Any) -> World:
    """A world whose rule refuses to work, and where alerts go to Slack."""
    world = World()
    s = world.services
    author.save_connection(world.durable, s.secrets, TENANT, SLACK, ACTOR, NOON)
    tenant_settings.save(world.durable, TENANT, {"alert_connection": "ops", **given}, ACTOR, NOON)
    world.publish(twice_in_a_week([NOTIFY]))
    world.outside.answers = lambda effect, times: (
        Outcome.dead("refused (400)") if effect.action == "crm.notify" else Outcome.done("taken")
    )
    return world


def fails(world: World, number: int, at: Any) -> None:
    subscription = f"sub_{number}"
    world.live(at, (NOON, failed(1, NOON, subscription)), (at, failed(2, at, subscription)))


def looked_each_minute(world: World, minutes: int) -> None:
    for _ in range(minutes):
        world.live(world.clock.now() + MINUTE)


def test_a_dead_letter_is_told_once_and_its_end_once() -> None:
    world = watched()
    fails(world, 1, SECOND)
    looked_each_minute(world, 40)
    assert len(told(world)) == 1
    assert told(world)[0].startswith("Signalbox needs you.")
    assert "1 thing for a person to decide" in told(world)[0]
    world.outside.answers = lambda effect, times: Outcome.done("taken")
    run = world.runs()[0]
    operate.act(world.durable, TENANT, run["id"], "retry", ACTOR, "mended", world.clock.now())
    looked_each_minute(world, 40)
    assert [text.partition("\n")[0] for text in told(world)[1:]] == [
        "Signalbox: all is well again. Nothing is stuck and nothing waits for a person."
    ]


def test_a_message_carries_the_head_of_the_audit_log_to_another_place() -> None:
    world = watched()
    assert seal.seal(world.durable, TENANT, NOON + MINUTE)
    fails(world, 1, SECOND)
    looked_each_minute(world, 40)
    line = told(world)[0].splitlines()[-1]
    assert line.startswith(f"Audit log: {TENANT}=")
    anchor = read_anchor(line.removeprefix("Audit log: "))
    assert verify(world.durable, TENANT, anchors=[anchor]).whole


def test_what_grows_is_told_at_most_every_quarter_of_an_hour_and_all_in_one_message() -> None:
    world = watched()
    for number in range(1, 31):
        fails(world, number, SECOND + number * MINUTE)
        looked_each_minute(world, 1)
    assert 2 <= len(told(world)) <= 1 + 30 // 15
    assert "still needs you" in told(world)[1]


def test_an_announcement_that_slack_does_not_take_is_tried_again_under_one_id() -> None:
    world = watched()
    answered = world.outside.answers

    def busy(effect: Effect, times: int) -> Outcome:
        return Outcome.retry("busy") if effect.action == "slack.post" and times < 3 else answered(effect, times)

    world.outside.answers = busy
    fails(world, 1, SECOND)
    looked_each_minute(world, 30)
    ids = [effect.id for effect in world.outside.requests if effect.action == "slack.post"]
    assert ids == ["alert_000001/alert"] * 3


def test_without_a_connection_nothing_is_told_and_thresholds_are_kept() -> None:
    silent, patient = watched(alert_connection=""), watched(needs_you=2)
    for world in (silent, patient):
        fails(world, 1, SECOND)
        looked_each_minute(world, 5)
        assert told(world) == []
    fails(patient, 2, patient.clock.now() + MINUTE)
    looked_each_minute(patient, 5)
    assert len(told(patient)) == 1


def test_events_and_actions_that_nobody_works_on_are_told_with_their_age() -> None:
    world = watched(oldest_minutes=10)
    world.bus.publish(failed(1, NOON))
    world.clock.set(NOON + 12 * MINUTE)
    found = list(alerts.findings(world.durable, world.bus, TENANT, world.clock.now()))
    assert [(one.name, one.value) for one in found] == [("events", 12)]
    assert alerts.announce(world.durable, world.bus, world.clock.now(), "https://signals.example.com") == 1
    tick(Work(world.services), world.clock.now())
    assert told(world)[0].endswith("\nhttps://signals.example.com/needs-you")


def test_two_workers_that_look_together_say_it_once() -> None:
    world = watched()
    fails(world, 1, SECOND)
    world.durable.commit(TENANT, None, [])
    assert alerts.announce(world.durable, world.bus, world.clock.now()) == 0  # the tick had said it


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(1, 5), max_size=3), max_size=200))
def test_however_it_goes_messages_are_seldom_and_the_last_word_is_right(minutes: list[Mapping[str, int]]) -> None:
    """One look a minute. Never two growing messages within a quarter of an hour; every episode begins with a message
    at once and ends with one, five minutes after the last at the earliest."""
    said: Mapping[str, int] = {}
    last, started, ended, growing = None, 0, 0, []
    for minute, state in enumerate(minutes):
        now = NOON + minute * MINUTE
        text = what_to_say(said, [Finding(name, value, name) for name, value in sorted(state.items())], last, now)
        assert bool(text) or not (state and not said), "an episode begins unheard"
        assert bool(text) or not (said and not state and last and now - last >= CALM), "an episode ends unheard"
        if text:
            growing += [now] if said and state else []
            started, ended = started + (not said), ended + (not state)
            said, last = state, now
    assert 0 <= started - ended <= 1
    assert all(later - earlier >= APART for earlier, later in pairwise(growing))
    assert len(growing) <= math.ceil(len(minutes) / 15) + 1


# ---- the settings ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"zone": "Europe/Atlantis"}, "zone"),
        ({"alert_connection": "nobody"}, "alert_connection"),
        ({"oldest_minutes": 0}, "oldest_minutes"),
        ({"needs_you": "many"}, "needs_you"),
        ({"colour": "blue"}, "colour"),
    ],
)
def test_settings_that_cannot_be_are_refused_at_their_field(given: dict[str, Any], path: str) -> None:
    world = World()
    with pytest.raises(RuleError) as refused:
        tenant_settings.save(world.durable, TENANT, given, ACTOR, NOON)
    assert [one.path for one in refused.value.problems] == [path]
    assert tenant_settings.read(world.durable, TENANT) == tenant_settings.DEFAULTS


def test_mail_needs_an_address_for_its_alerts() -> None:
    world = World()
    smtp = {"name": "post", "type": "smtp", "host": "smtp.example.com", "from": "me@example.com"}
    author.save_connection(world.durable, world.services.secrets, TENANT, smtp, ACTOR, NOON)
    with pytest.raises(RuleError, match="write the address"):
        tenant_settings.save(world.durable, TENANT, {"alert_connection": "post"}, ACTOR, NOON)
    kept = tenant_settings.save(
        world.durable, TENANT, {"alert_connection": "post", "alert_to": "ops@example.com"}, ACTOR, NOON
    )
    assert (kept.alert_connection, kept.alert_to) == ("post", "ops@example.com")


def test_the_accounts_hours_are_those_of_its_zone_from_the_moment_it_is_set() -> None:
    """Tuesday 12:00 UTC is 21:00 in Tokyo: the notice waits for nine o'clock there, which is midnight UTC."""
    hours = {"days": ["mon", "tue", "wed", "thu", "fri"], "from": "09:00", "to": "18:00", "zone": "account"}
    document = twice_in_a_week([NOTIFY], hours={**hours, "applies_to": ["crm"]})
    at_once, later = World(), World()
    for world in (at_once, later):
        world.publish(document)
    tenant_settings.save(later.durable, TENANT, {"zone": "Asia/Tokyo"}, ACTOR, NOON)
    for world in (at_once, later):
        world.live(SECOND + DAY, (NOON, failed(1, NOON)), (SECOND, failed(2, SECOND)))
    assert [effect.at for effect in at_once.outside.requests] == [SECOND]
    assert [effect.at for effect in later.outside.requests] == [SECOND + timedelta(hours=12)]
