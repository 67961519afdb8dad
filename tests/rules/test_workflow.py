"""The way of a run through its steps: in order, once each, on time, and never past its end."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from rules.event import iso, seconds
from rules.model import (
    Approve,
    Do,
    If,
    Limits,
    Rule,
    RuleVersion,
    Span,
    Step,
    Stop,
    StopStep,
    Test,
    Wait,
    When,
)
from rules.ports import Outcome
from rules.run import Command, Run
from rules.workflow import (
    Advance,
    NotPossible,
    admit,
    contradicted,
    heard,
    operate,
    settled,
    start,
    stopped,
    woke,
)
from tests.rules.world import START, TENANT, event, rule, told

NOW = seconds(START + 10)
EMAIL = Do("email", "crm.notify", {"connection": "crm", "amount": "{{ data.object.amount }}"})
WAIT = Wait("wait", seconds=48 * 3600)
SUSPEND = Do("suspend", "access.suspend", {"connection": "api"})
PAID = Stop(("invoice.paid",), "invoice")
KEYS = ("cus:cus_1", "sub:sub_1", "in:in_1")


def begun(
    *steps: Step, mode: Any = "live", when: When | None = None, now: datetime = NOW, **more: Any
) -> tuple[Advance, Rule]:
    one = rule(steps=steps, when=when, **more)
    trigger = event("evt_1", keys=KEYS, amount=4900, currency="usd", due=START + 86400)
    return start(RuleVersion(TENANT, one, 3, mode, ""), trigger, "sub:sub_1", ("evt_0", "evt_1"), now), one


def step_of(run: Run, name: str) -> Any:
    return run.steps[name]["state"]


# ---- in order ------------------------------------------------------------------------------------------------------
def test_the_first_command_is_asked_for_at_once_and_carries_the_runs_ids() -> None:
    advance, _ = begun(EMAIL, SUSPEND)
    (command,) = advance.commands
    assert advance.run.state == "acting"
    assert command.id == f"{advance.run.id}/email"
    assert command.idempotency_key == f"{advance.run.id}/email/0"
    assert command.connection == "crm"
    assert command.params == {"connection": "crm", "amount": 4900}
    assert command.subjects == {"cus": "cus_1", "sub": "sub_1", "in": "in_1"}
    assert command.customer == "cus_1"
    assert command.due_at == iso(NOW)


def test_the_run_id_is_the_same_on_every_version_and_in_every_mode() -> None:
    live, _ = begun(EMAIL)
    watched, _ = begun(EMAIL, mode="watch")
    assert live.run.id == watched.run.id


def test_each_step_waits_for_the_one_before_it() -> None:
    advance, one = begun(EMAIL, WAIT, SUSPEND)
    advance = settled(advance.run, one, "email", Outcome.done("sent"), NOW)
    assert advance.run.state == "waiting"
    assert advance.commands == ()
    assert advance.run.due_at == iso(NOW + timedelta(hours=48))
    early = woke(advance.run, one, NOW + timedelta(hours=47))
    assert early.run.state == "waiting"
    assert early.run.due_at == iso(NOW + timedelta(hours=48))
    advance = woke(advance.run, one, NOW + timedelta(hours=48))
    assert [command.step for command in advance.commands] == ["suspend"]
    advance = settled(advance.run, one, "suspend", Outcome.done("suspended"), NOW + timedelta(hours=49))
    assert advance.run.state == "done"
    assert advance.run.due_at is None


def test_a_claimed_run_that_is_woken_early_is_due_again_when_its_wait_ends() -> None:
    advance, one = begun(WAIT)
    leased = Run.from_body({**advance.run.body(), "due_at": iso(NOW + timedelta(seconds=60))})
    assert woke(leased, one, NOW).run.due_at == iso(NOW + timedelta(hours=48))


def test_a_run_survives_being_written_and_read_between_all_its_steps() -> None:
    advance, one = begun(EMAIL, If("big", _amount(1000), (WAIT, SUSPEND)))
    run = Run.from_body(_stored(settled(advance.run, one, "email", Outcome.done("ok"), NOW).run.body()))
    advance = woke(run, one, NOW + timedelta(days=3))
    command = Command.from_body(_stored(advance.commands[0].body()))
    assert command == advance.commands[0]
    assert Run.from_body(_stored(advance.run.body())) == advance.run


def _stored(body: dict[str, Any]) -> dict[str, Any]:
    import json

    return json.loads(json.dumps(body))  # type: ignore[no-any-return]


def _amount(value: int) -> Test:
    return Test("data.object.amount", ("data", "object", "amount"), "greater than", value)


def test_an_if_takes_its_branch_and_goes_on_behind_it() -> None:
    for limit, expected in ((1000, "email"), (9000, "suspend")):
        advance, one = begun(
            If("big", _amount(limit), (EMAIL,), (SUSPEND,)), Do("last", "crm.notify", {"connection": "x"})
        )
        assert [command.step for command in advance.commands] == [expected]
        advance = settled(advance.run, one, expected, Outcome.done("ok"), NOW)
        assert [command.step for command in advance.commands] == ["last"]


def test_nested_ifs_without_an_else_fall_through_to_the_end() -> None:
    inner = If("inner", _amount(9000), (EMAIL,))
    advance, _ = begun(If("outer", _amount(1), (inner,)))
    assert advance.run.state == "done"


def test_an_if_reads_the_outcome_of_an_earlier_step() -> None:
    failed = Test("step.email.reason", ("step", "email", "reason"), "equal to", "card_declined")
    advance, one = begun(EMAIL, If("declined", failed, (SUSPEND,)))
    declined = Outcome("branch", "declined", {"reason": "card_declined"})
    assert settled(advance.run, one, "email", declined, NOW).commands[0].step == "suspend"
    assert settled(advance.run, one, "email", Outcome.done("paid"), NOW).run.state == "done"


def test_a_text_may_name_the_outcome_of_an_earlier_step() -> None:
    tell = Do(
        "tell", "crm.notify", {"connection": "crm", "text": "Paid {{ step.email.amount }} of {{data.object.amount}}"}
    )
    advance, one = begun(EMAIL, tell)
    advance = settled(advance.run, one, "email", Outcome.done("ok", data={"amount": 12}), NOW)
    assert advance.commands[0].params["text"] == "Paid 12 of 4900"


def test_a_stop_step_ends_the_run_with_its_reason() -> None:
    advance, _ = begun(StopStep("enough", "too small to chase"), EMAIL)
    assert (advance.run.state, advance.run.reason) == ("stopped", "too small to chase")
    assert advance.commands == ()


# ---- waits ----------------------------------------------------------------------------------------------------------
def test_a_wait_until_a_fields_time_less_a_span() -> None:
    advance, _ = begun(Wait("before-due", until="data.object.due", minus=3600))
    assert advance.run.due_at == iso(seconds(START + 86400 - 3600))


def test_a_wait_until_a_time_that_has_passed_is_over_at_once() -> None:
    advance, _ = begun(Wait("past", until="2020-01-01T00:00:00Z"), EMAIL)
    assert advance.commands[0].step == "email"


def test_a_wait_until_a_field_without_a_time_needs_a_person() -> None:
    advance, one = begun(Wait("lost", until="data.object.trial_end"), EMAIL)
    assert advance.run.state == "needs_person"
    assert "data.object.trial_end is no time" in advance.run.reason
    assert operate(advance.run, one, "skip", "ada", "", NOW).commands[0].step == "email"


def test_the_first_of_several_events_ends_a_wait_and_says_which() -> None:
    voided = Stop(("invoice.voided",), "invoice")
    wait = Wait("for-payment", for_event=(PAID, voided), at_most=7 * 86400)
    by_void = Test("x", ("step", "for-payment", "ended_by"), "equal to", "invoice.voided")
    advance, one = begun(wait, If("voided", by_void, (EMAIL,)))
    assert advance.run.state == "waiting"
    other = event("evt_2", "invoice.voided", 20, ("cus:cus_1", "in:in_2"))
    assert heard(advance.run, one, other, NOW).run.state == "waiting"
    advance = heard(advance.run, one, event("evt_3", "invoice.voided", 20, ("in:in_1",)), NOW)
    assert advance.run.steps["for-payment"]["ended_by"] == "invoice.voided"
    assert advance.commands[0].step == "email"


def test_a_wait_for_an_event_that_does_not_come_ends_by_timeout() -> None:
    advance, one = begun(Wait("for-payment", for_event=(PAID,), at_most=60))
    advance = woke(advance.run, one, NOW + timedelta(seconds=60))
    assert advance.run.steps["for-payment"]["ended_by"] == "timeout"
    assert advance.run.state == "done"


def test_an_event_that_came_before_the_wait_began_is_not_missed() -> None:
    advance, one = begun(EMAIL, Wait("for-payment", for_event=(PAID,), at_most=60))
    run = heard(advance.run, one, event("evt_2", "invoice.paid", 20, ("in:in_1",)), NOW).run
    assert run.state == "acting"
    advance = settled(run, one, "email", Outcome.done("sent"), NOW)
    assert advance.run.state == "done"
    assert advance.run.steps["for-payment"]["ended_by"] == "invoice.paid"


def test_an_event_ends_one_wait_only() -> None:
    waits = [Wait(name, for_event=(PAID,), at_most=60) for name in ("first", "second")]
    advance, one = begun(*waits)
    run = heard(advance.run, one, event("evt_2", "invoice.paid", 20, ("in:in_1",)), NOW).run
    assert (step_of(run, "first"), step_of(run, "second"), run.state) == ("done", "waiting", "waiting")


def test_an_event_older_than_the_trigger_ends_no_wait() -> None:
    advance, one = begun(Wait("for-payment", for_event=(PAID,), at_most=60))
    assert heard(advance.run, one, event("evt_early", "invoice.paid", -1, ("in:in_1",)), NOW).run is advance.run


def test_an_event_that_came_early_ends_one_wait_only() -> None:
    waits = [Wait(name, for_event=(PAID,), at_most=60) for name in ("first", "second")]
    advance, one = begun(EMAIL, *waits)
    run = heard(advance.run, one, event("evt_2", "invoice.paid", 20, ("in:in_1",)), NOW).run
    assert heard(run, one, event("evt_2", "invoice.paid", 20, ("in:in_1",)), NOW).run is run
    run = settled(run, one, "email", Outcome.done("sent"), NOW).run
    assert (step_of(run, "first"), step_of(run, "second"), run.state) == ("done", "waiting", "waiting")


# ---- outcomes -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("on_failure", "state", "next_step"),
    [("stop", "failed", None), ("continue", "acting", "suspend"), ("person", "needs_person", None)],
)
def test_a_permanent_failure_does_what_the_step_says(on_failure: Any, state: str, next_step: str | None) -> None:
    advance, one = begun(Do("email", "crm.notify", {"connection": "crm"}, on_failure), SUSPEND)
    advance = settled(advance.run, one, "email", Outcome.dead("410 Gone"), NOW)
    assert advance.run.state == state
    assert [command.step for command in advance.commands] == ([next_step] if next_step else [])
    assert step_of(advance.run, "email") == "failed"


def test_a_retry_leaves_the_run_as_it_is() -> None:
    advance, one = begun(EMAIL)
    assert settled(advance.run, one, "email", Outcome.retry("503"), NOW).run is advance.run


def test_an_outcome_that_needs_a_person_asks_one_whatever_the_step_says() -> None:
    advance, one = begun(Do("email", "crm.notify", {"connection": "crm"}, "continue"), SUSPEND)
    advance = settled(advance.run, one, "email", Outcome("person", "unknown customer"), NOW)
    assert (advance.run.state, advance.run.reason) == ("needs_person", "email: unknown customer")


def test_an_outcome_after_the_stop_is_told_and_starts_nothing() -> None:
    advance, one = begun(EMAIL, SUSPEND)
    run = stopped(advance.run, "invoice.paid", NOW, "evt_9").run
    advance = settled(run, one, "email", Outcome.done("sent after all"), NOW)
    assert advance.run.state == "stopped"
    assert advance.commands == ()
    assert step_of(advance.run, "email") == "done"
    assert "sent after all" in told(advance.run)


def test_a_run_that_has_ended_is_not_stopped_again() -> None:
    advance, one = begun(EMAIL)
    done = settled(advance.run, one, "email", Outcome.done("sent"), NOW).run
    assert stopped(done, "invoice.paid", NOW).run is done


# ---- watch, limits, absence -----------------------------------------------------------------------------------------
def test_a_watched_run_goes_through_its_steps_and_sends_nothing() -> None:
    advance, one = begun(EMAIL, Approve("ok", "approver"), WAIT, SUSPEND, mode="watch", limits=Limits(runs=1))
    assert advance.commands == ()
    assert (step_of(advance.run, "email"), step_of(advance.run, "ok")) == ("would", "would")
    assert advance.run.steps["email"]["data"] == {"params": {"connection": "crm", "amount": 4900}}
    advance = woke(advance.run, one, NOW + timedelta(days=2))
    assert advance.commands == ()
    assert advance.run.state == "done"
    assert "would have done access.suspend" in told(advance.run)


def test_a_run_of_a_rule_with_limits_stands_in_line_until_it_is_admitted() -> None:
    advance, one = begun(EMAIL, limits=Limits(runs=1))
    assert (advance.run.state, advance.run.due_at, advance.commands) == ("pending", iso(NOW), ())
    assert woke(advance.run, one, NOW).run.state == "pending"
    advance = admit(advance.run, one, NOW)
    assert [command.step for command in advance.commands] == ["email"]
    with pytest.raises(NotPossible, match="acting"):
        admit(advance.run, one, NOW)


def test_an_absence_is_decided_one_second_after_its_span() -> None:
    when = When(("t.a",), "customer", and_not=Span(("invoice.paid",), 3600))
    advance, one = begun(EMAIL, when=when)
    assert (advance.run.state, advance.run.due_at) == ("waiting", iso(seconds(START + 3601)))
    assert woke(advance.run, one, seconds(START + 3600)).run.state == "waiting"
    advance = woke(advance.run, one, seconds(START + 3601))
    assert [command.step for command in advance.commands] == ["email"]
    assert "Within 1 hour it did not happen that an invoice is paid" in told(advance.run)


def test_an_absence_whose_span_has_passed_acts_at_once() -> None:
    when = When(("t.a",), "customer", and_not=Span(("invoice.paid",), 3600))
    advance, _ = begun(EMAIL, when=when, now=seconds(START + 9000))
    assert [command.step for command in advance.commands] == ["email"]


def test_a_late_contradiction_stops_a_run_that_has_not_acted_and_marks_one_that_has() -> None:
    late = event("evt_9", "t.c", -5)
    advance, one = begun(EMAIL, SUSPEND)
    fresh = contradicted(advance.run, late, NOW).run
    assert (fresh.state, fresh.contradicted_by) == ("stopped", "evt_9")
    acting = settled(advance.run, one, "email", Outcome.done("sent"), NOW).run
    marked = contradicted(acting, late, NOW).run
    assert (marked.state, marked.contradicted_by) == ("acting", "evt_9")
    assert "Contradicted by evt_9" in told(marked)
    assert contradicted(marked, event("evt_10", "t.c"), NOW).run is marked


# ---- persons --------------------------------------------------------------------------------------------------------
ASK = Approve("ok", "approver", at_most=3600)


def test_an_approval_lets_the_run_go_and_a_refusal_stops_it() -> None:
    advance, one = begun(ASK, EMAIL)
    assert (advance.run.state, advance.run.due_at) == ("needs_person", iso(NOW + timedelta(hours=1)))
    assert operate(advance.run, one, "approve", "ada", "fine", NOW).commands[0].step == "email"
    declined = operate(advance.run, one, "decline", "ada", "no", NOW)
    assert (declined.run.state, declined.commands) == ("stopped", ())


def test_an_approval_nobody_answers_stops_or_continues_as_it_says() -> None:
    for on_timeout, state in (("stop", "stopped"), ("continue", "acting")):
        advance, one = begun(Approve("ok", "approver", 3600, on_timeout), EMAIL)  # type: ignore[arg-type]
        assert woke(advance.run, one, NOW + timedelta(hours=1)).run.state == state


def test_an_approval_is_not_asked_for_where_its_condition_is_false() -> None:
    advance, _ = begun(Approve("ok", "approver", condition=_amount(9000)), EMAIL)
    assert advance.commands[0].step == "email"


def test_an_operator_cancels_an_open_run_and_no_other() -> None:
    advance, one = begun(EMAIL)
    run = operate(advance.run, one, "cancel", "ada", "incident 1234", NOW).run
    assert (run.state, run.reason) == ("cancelled", "incident 1234")
    with pytest.raises(NotPossible, match="cancelled"):
        operate(run, one, "cancel", "ada", "", NOW)


def test_an_operator_skips_a_wait() -> None:
    advance, one = begun(WAIT, EMAIL)
    advance = operate(advance.run, one, "skip", "ada", "", NOW)
    assert advance.commands[0].step == "email"
    assert step_of(advance.run, "wait") == "skipped"


def test_a_retry_keeps_the_key_and_again_takes_the_next() -> None:
    advance, one = begun(EMAIL)
    run = settled(advance.run, one, "email", Outcome.dead("410"), NOW).run
    assert operate(run, one, "retry", "ada", "", NOW).commands[0].idempotency_key.endswith("/email/0")
    again = operate(run, one, "again", "ada", "", NOW)
    assert again.commands[0].idempotency_key.endswith("/email/1")
    assert again.commands[0].id == advance.commands[0].id
    with pytest.raises(NotPossible, match="acting"):
        operate(again.run, one, "retry", "ada", "", NOW)


def test_a_retry_of_a_failed_run_opens_it_again() -> None:
    advance, one = begun(Do("email", "crm.notify", {"connection": "crm"}, "stop"), SUSPEND)
    run = settled(advance.run, one, "email", Outcome.dead("410"), NOW).run
    advance = operate(run, one, "retry", "ada", "", NOW)
    assert advance.run.state == "acting"
    assert settled(advance.run, one, "email", Outcome.done("ok"), NOW).commands[0].step == "suspend"


def test_money_is_the_invoices_open_amount_unless_the_rule_says_otherwise() -> None:
    trigger = event("evt_1", keys=KEYS, amount_remaining=700, total=900, currency="jpy")
    for money, expected in ((None, {"jpy": 700}), ("data.object.total", {"jpy": 900}), ("data.object.nothing", {})):
        advance = start(RuleVersion(TENANT, rule(money=money), 1, "live", ""), trigger, "cus:cus_1", ("evt_1",), NOW)
        assert advance.run.money == expected
