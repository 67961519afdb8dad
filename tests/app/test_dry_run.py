"""A dry run sends nothing at all, whatever is decided, and loses nothing of what was due before it began."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app import author, browse, operate, tenant_settings, tenants
from app.connections import trial
from app.perform import dry_run
from app.perform.due import Crew, perform
from app.rulesets import RuleSets
from app.settings import Settings
from app.worker import Work
from rules.event import iso
from rules.matcher import PythonMatcher
from rules.ports import Conflict, Put
from tests.builders import DAY, NOON, TENANT, event, invoice, services_in_memory
from tests.contracts.access import Meddling
from tests.stories.world import ACTOR, DOWNGRADE, NOTIFY, World, failed, paid, twice_in_a_week

HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
GRACE = {"name": "grace", "wait": {"for": "PT2H"}}
WRITE = {"name": "write", "do": "mail.send", "with": {"connection": "mail", "subject": "Hello", "text": "Pay"}}
STEPS = (NOTIFY, GRACE, DOWNGRADE, WRITE)
ROUTE = {"name": "mesh", "type": "route", "url": "https://mesh.example.com/in", "types": ["*"]}
MAIL = {"name": "mail", "type": "smtp", "host": "smtp.example.com", "from": "billing@example.com"}
ALARM = {"name": "ops", "type": "slack", "secret": "https://hooks.slack.com/services/T0/B0/x"}


def each_failure(steps: Sequence[Any], **more: Any) -> dict[str, Any]:
    document = twice_in_a_week(steps, **more)
    return {**document, "when": {"event": ["invoice.payment_failed"], "same": "subscription"}, **more}


def installed(steps: Sequence[Any], **more: Any) -> World:
    """A world with everything that could send: a rule's steps, a route, alerts."""
    world = World()
    for body in (ROUTE, MAIL, ALARM):
        author.save_connection(world.durable, world.services.secrets, TENANT, body, ACTOR, NOON)
    given = {"alert_connection": "ops", "needs_you": 1}
    tenant_settings.save(world.durable, TENANT, given, ACTOR, NOON)
    world.publish(each_failure(steps, **more))
    return world


def dried(world: World) -> None:
    """As SIGNALBOX_DRY_RUN=1 does."""
    world.services = replace(world.services, rulesets=RuleSets(PythonMatcher(), dry_run=True))


subscriptions = st.sampled_from(["sub_1", "sub_2", "sub_3"])
minutes = st.integers(0, 6 * 60)
histories = st.lists(st.tuples(minutes, subscriptions, st.booleans()), min_size=1, max_size=8)
shapes = st.lists(st.sampled_from(STEPS), min_size=1, max_size=4, unique_by=lambda step: str(step["name"]))


def script(history: Sequence[tuple[int, str, bool]]) -> list[tuple[datetime, Any]]:
    found: list[tuple[datetime, Any]] = []
    for number, (minute, subscription, is_paid) in enumerate(history):
        at = NOON + timedelta(minutes=minute)
        one = paid(at, subscription) if is_paid else failed(number, at, subscription)
        found.append((at, replace(one, id=f"evt_{number}")))
    return found


@settings(max_examples=40, deadline=None)
@given(histories, shapes, st.booleans(), st.booleans())
def test_no_executor_is_ever_called_in_a_dry_run(history: Any, steps: Any, by_setting: bool, undoes: bool) -> None:
    more = {"undo": {"on": ["invoice.paid"], "same": "invoice", "within": "P60D"}} if undoes else {}
    world = installed(steps, limits={"runs": 1, "per": "P1D"}, **more)
    if by_setting:
        dried(world)
    else:
        dry_run.switch(world.durable, TENANT, True, ACTOR, "first look", NOON)
    world.live(NOON + DAY, *script(history))
    Work(world.services).announce(NOON + DAY)
    assert world.outside.requests == []
    assert world.commands() == []
    assert {run["mode"] for run in world.runs()} <= {"watch"}
    acted = [record["state"] for run in world.runs() for name, record in run["steps"].items() if name != "grace"]
    assert set(acted) <= {"would"}


@settings(max_examples=25, deadline=None)
@given(histories, st.integers(0, 300), st.integers(1, 200))
def test_nothing_goes_out_between_its_begin_and_its_end_and_what_waited_goes_afterwards(
    history: Any, begins: int, lasts: int
) -> None:
    world = installed([NOTIFY, GRACE, DOWNGRADE])
    begin, end = NOON + timedelta(minutes=begins, seconds=30), NOON + timedelta(minutes=begins + lasts, seconds=30)

    def switched(on: bool, at: datetime) -> Any:
        return at, lambda: dry_run.switch(world.durable, TENANT, on, ACTOR, "a trial", at)

    world.live(NOON + DAY, *script(history), switched(True, begin), switched(False, end))
    assert not [one for one in world.outside.requests if begin + SECOND < one.at < end]
    began = {run["id"]: run for run in world.runs() if run["mode"] == "live"}
    expected = {f"{id}/{name}" for id in began for name in ("tell-crm", "downgrade")}
    assert {one.id for one in world.outside.effects() if one.action != "route.forward"} == expected
    assert {run["state"] for run in world.runs()} <= {"done"}
    assert all((begin <= datetime.fromisoformat(run["created_at"]) < end) == (run["mode"] == "watch")
               for run in world.runs())  # fmt: skip


def test_a_dry_runs_runs_say_what_they_would_have_done_and_count_against_no_later_run() -> None:
    world = installed([NOTIFY])
    dry_run.switch(world.durable, TENANT, True, ACTOR, "first look", NOON)
    world.live(NOON + HOUR, (NOON, failed(1, NOON)))
    (run,) = world.runs()
    assert run["mode"] == "watch"
    assert run["steps"]["tell-crm"]["message"] == "Would have done crm.notify"
    dry_run.switch(world.durable, TENANT, False, ACTOR, "seen enough", NOON + HOUR)
    world.live(NOON + 3 * HOUR, (NOON + 2 * HOUR, failed(2, NOON + 2 * HOUR)))
    assert [run["mode"] for run in world.runs()] == ["watch", "live"]
    assert [one.id.partition("/")[2] for one in world.outside.requests if one.action == "crm.notify"] == ["tell-crm"]


def test_an_action_that_is_due_when_it_begins_says_why_it_waits() -> None:
    world = installed([GRACE, DOWNGRADE])
    world.live(NOON + HOUR, (NOON, failed(1, NOON)))
    dry_run.switch(world.durable, TENANT, True, ACTOR, "incident 7", NOON + HOUR)
    world.live(NOON + 3 * HOUR)
    (command,) = [one for one in world.commands() if one["action"] == "stripe.change_plan"]
    assert command["outcome"]["kind"] == "held"
    assert "dry run" in command["outcome"]["message"]
    assert command["attempts"] == []
    assert browse.command(world.durable, TENANT, command["id"])["held"]


@pytest.mark.parametrize("with_crew", [False, True])
def test_the_switch_holds_within_a_second_in_a_process_that_has_looked_before(with_crew: bool) -> None:
    world = installed([GRACE, DOWNGRADE])
    world.live(NOON + HOUR, (NOON, failed(1, NOON)))
    s, rulesets = world.services, RuleSets(PythonMatcher())
    due = NOON + 2 * HOUR - timedelta(seconds=1)
    assert not rulesets.is_dry(world.durable, due)
    dry_run.switch(world.durable, TENANT, True, ACTOR, "stop", due)
    world.services = replace(s, rulesets=rulesets)
    sent_before = len(world.outside.requests)
    Work(world.services).wake_due(due + SECOND)
    with Crew() as crew:
        pool = crew if with_crew else None
        for _ in range(3):
            perform(world.durable, rulesets, world.connectors, s.tracer, due + SECOND, pool=pool)
    assert len(world.outside.requests) == sent_before


def test_a_test_notice_and_a_test_mail_are_not_sent_either() -> None:
    world = installed([WRITE])
    actions = world.connectors
    notice = trial.send_test_notice(world.durable, actions, TENANT, "crm", ACTOR, NOON, is_dry=True)
    mail = trial.send_test_mail(
        world.durable, actions, TENANT, {"connection": "mail"}, "a@example.com", ACTOR, NOON, is_dry=True
    )
    assert world.outside.requests == []
    assert {notice.kind, mail.kind} == {"dead"}
    assert "dry run" in notice.message


def test_the_audit_log_says_who_began_and_ended_it_and_twice_is_refused() -> None:
    world = installed([NOTIFY])
    dry_run.switch(world.durable, TENANT, True, ACTOR, "first look", NOON)
    with pytest.raises(Conflict, match="on already"):
        dry_run.switch(world.durable, TENANT, True, ACTOR, "again", NOON)
    dry_run.switch(world.durable, TENANT, False, "ben", "seen enough", NOON + HOUR)
    with pytest.raises(Conflict, match="no dry run"):
        dry_run.switch(world.durable, TENANT, False, "ben", "again", NOON + HOUR)
    told = [(one["actor"], one["verb"], one["why"]) for one in browse.audit(world.durable, TENANT)["items"]]
    assert told[0] == ("ben", "end dry run", "seen enough")
    assert (ACTOR, "begin dry run", "first look") in told


def test_the_environment_switches_it_on_for_good() -> None:
    assert Settings.from_env({"SIGNALBOX_DRY_RUN": "1"}).dry_run
    assert not Settings.from_env({}).dry_run
    world = installed([NOTIFY])
    dried(world)
    assert world.services.rulesets.is_dry(world.durable, NOON)


def test_events_that_come_in_a_dry_run_are_kept_and_stop_what_had_begun() -> None:
    stops = [{"event": ["invoice.paid"], "same": "invoice"}]
    world = installed([GRACE, DOWNGRADE], stop_when=stops)
    world.live(NOON + HOUR / 2, (NOON, failed(1, NOON)))
    dry_run.switch(world.durable, TENANT, True, ACTOR, "first look", NOON + HOUR / 2)
    world.live(NOON + HOUR, (NOON + HOUR, paid(NOON + HOUR)))
    thing = invoice(id="in_9", customer="cus_9", subscription="sub_9")
    world.live(NOON + DAY, (NOON + 2 * HOUR, event("evt_9", "invoice.created", thing, NOON + 2 * HOUR)))
    assert [run["state"] for run in world.runs()] == ["stopped"]
    assert world.durable.get(TENANT, "event", "evt_9") is not None
    assert operate.switches(world.durable, TENANT)["all"] is False


def test_at_its_end_what_waited_is_due_in_every_tenant_and_nothing_at_its_begin() -> None:
    s = services_in_memory()
    held = {"outcome": {"kind": "held"}, "state": "due", "created_at": iso(NOON), "due_at": iso(NOON + 9 * HOUR)}
    for tenant in (TENANT, "acct_1/test"):
        tenants.ensure(s.store, tenant, NOON)
        s.store.commit(tenant, None, [Put("command", "run_1/tell", {"id": "run_1/tell", **held})])

    def due() -> set[str]:
        found = (s.store.get(tenant, "command", "run_1/tell") for tenant in (TENANT, "acct_1/test"))
        return {one.body["due_at"] for one in found if one}

    dry_run.switch(s.store, TENANT, True, ACTOR, "first look", NOON)
    assert due() == {iso(NOON + 9 * HOUR)}
    dry_run.switch(s.store, TENANT, False, ACTOR, "seen enough", NOON + HOUR)
    assert due() == {iso(NOON + HOUR)}


def test_of_two_who_begin_one_at_the_same_moment_the_first_is_said() -> None:
    store = services_in_memory().store
    late = Meddling(store, lambda: dry_run.switch(store, TENANT, True, "ben", "quicker", NOON))
    with pytest.raises(Conflict):
        dry_run.switch(late, TENANT, True, ACTOR, "first look", NOON)  # type: ignore[arg-type]
    assert dry_run.read(store)["by"] == "ben"
