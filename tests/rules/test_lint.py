"""What lint says about rules, that every finding shows it, and that nothing is claimed that an event refutes."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.catalogue import Catalogue
from rules.expr import compile_condition
from rules.lint import Finding, Lint, lint
from rules.model import (
    Again,
    Aggregate,
    All,
    Any_,
    Condition,
    Do,
    If,
    Not,
    Other,
    Rule,
    Span,
    Step,
    Stop,
    Test,
    Wait,
    When,
)
from rules.satisfy import Frame, apart, ranges, satisfy
from rules.witness import Trial
from tests.rules.conditions import conditions, envelopes
from tests.rules.world import rule

CATALOGUE = Catalogue.load()
FAILED = When(("invoice.payment_failed",), "subscription")
CANCEL = Do("cancel", "stripe.cancel_subscription", {})
PAUSE = Do("pause", "stripe.pause_collection", {})
PRO = Do("up", "stripe.change_plan", {"price": "price_pro"})
FREE = Do("down", "stripe.change_plan", {"price": "price_free"})


def tells(name: str, operator: str, value: Any = None, **more: Any) -> Test:
    return Test(f"data.object.{name}", ("data", "object", name), operator, value, **more)


def invoice(id: str, *parts: Condition, steps: tuple[Step, ...] = (PAUSE,), when: When = FAILED, **more: Any) -> Rule:
    return rule(id, when, steps, All(parts), **more)


def found(*rules: Rule, about: str | None = None) -> list[Finding]:
    return lint(rules, CATALOGUE, about)


def kinds(*rules: Rule) -> list[str]:
    return [finding.kind for finding in found(*rules)]


# ---- can never fire -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "parts",
    [
        (tells("amount_due", "greater than", 500), tells("amount_due", "less than", 500)),
        (tells("amount_due", "between", (1, 5)), tells("amount_due", "equal to", 6)),
        (tells("currency", "equal to", "usd"), tells("currency", "one of", ("eur", "gbp"))),
        (tells("currency", "equal to", "usd"), tells("currency", "starts with", "e")),
        (tells("currency", "is absent"), tells("currency", "not equal to", "usd")),
        (tells("paid", "is true"), tells("paid", "is false")),
        (tells("status", "changed to", "open"), tells("status", "equal to", "paid")),
        (tells("currency", "equal to", "usd"), Not(tells("currency", "is present"))),
        (
            Any_((tells("amount_due", "less than", 1), tells("amount_due", "is absent"))),
            tells("amount_due", "equal to", 2),
        ),
        (tells("object", "equal to", "subscription"),),
    ],
)
def test_conditions_that_contradict_each_other_are_found_with_an_event_that_shows_it(parts: tuple[Test, ...]) -> None:
    (finding,) = found(invoice("never", tells("attempt_count", "greater than", 1), *parts))
    assert finding.kind == "never fires"
    (event,) = finding.witness
    culprit = int(finding.path.removeprefix("only_if.all[")[:-1])
    assert not compile_condition(parts[culprit - 1])(event)
    others = [int(path.removeprefix("only_if.all[")[:-1]) for path in finding.others]
    assert all(compile_condition(parts[index - 1])(event) for index in others)
    assert 0 not in others


@pytest.mark.parametrize(
    "parts",
    [
        (tells("amount_due", "greater or equal to", 500), tells("amount_due", "less or equal to", 500)),
        (tells("currency", "starts with", "us"), tells("currency", "ends with", "sd")),
        (tells("amount_due", "greater than", None, other=Other("data.object.total", ("data", "object", "total"), 5)),),
        (tells("due_date", "in the last", 86400), tells("due_date", "is present")),
        (tells("lines", "any item", where=Test("amount", ("amount",), "greater than", 100)),),
        (tells("status", "changed from", "draft"), tells("status", "equal to", "open")),
        (Any_((tells("currency", "equal to", "usd"), tells("currency", "equal to", "eur"))),),
    ],
)
def test_conditions_that_can_hold_are_shown_to_hold(parts: tuple[Test, ...]) -> None:
    assert kinds(invoice("fine", *parts)) in ([], ["changes nothing"])
    event = satisfy(All(parts), Frame.of("invoice.payment_failed", "invoice")).event
    assert event is not None
    assert compile_condition(All(parts))(event)


def test_a_count_that_its_own_events_start_again_is_never_reached() -> None:
    when = replace(FAILED, at_least=2, within=86400, start_again_after=("invoice.payment_failed",))
    (finding,) = found(invoice("never", when=when))
    assert (finding.kind, finding.path, len(finding.witness)) == ("never fires", "when.start_again_after", 2)
    fine = replace(when, start_again_after=("invoice.paid",))
    assert kinds(invoice("fine", when=fine)) == []


def test_different_values_of_a_field_that_may_have_one_are_never_enough() -> None:
    when = replace(FAILED, at_least=2, within=86400, counting="data.object.currency")
    (finding,) = found(invoice("never", tells("currency", "equal to", "usd"), when=when))
    assert (finding.kind, finding.path) == ("never fires", "when.counting")
    assert kinds(invoice("fine", when=when)) == []


def test_a_maximum_that_the_conditions_forbid_is_never_reached() -> None:
    wanted = Aggregate("max", "data.object.amount_due", ("data", "object", "amount_due"), "greater than", 500)
    when = replace(FAILED, aggregate=wanted, within=86400)
    assert [one.path for one in found(invoice("never", tells("amount_due", "less than", 100), when=when))] == [
        "when.aggregate.value"
    ]
    assert kinds(invoice("fine", tells("amount_due", "less than", 1000), when=when)) == []


# ---- changes nothing ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("kept", "idle"),
    [
        (tells("amount_due", "greater than", 500), tells("amount_due", "greater than", 100)),
        (tells("currency", "equal to", "usd"), tells("currency", "is present")),
        (tells("currency", "equal to", "usd"), tells("currency", "equal to", "usd")),
        (tells("paid", "is true"), tells("paid", "not equal to", False)),
        (tells("amount_due", "greater than", 500), tells("object", "equal to", "invoice")),
    ],
)
def test_a_condition_that_another_says_already_changes_nothing(kept: Test, idle: Test) -> None:
    (finding,) = found(invoice("idle", kept, idle))
    assert (finding.kind, finding.path) == ("changes nothing", "only_if.all[1]")
    assert compile_condition(All((kept, idle)))(finding.witness[0])


def test_conditions_that_each_exclude_something_are_left_alone() -> None:
    assert kinds(invoice("fine", tells("amount_due", "greater than", 100), tells("currency", "is present"))) == []


# ---- two rules ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("mine", "theirs"), [(PRO, FREE), (CANCEL, PAUSE), (CANCEL, PRO)])
def test_opposite_actions_on_one_event_collide(mine: Do, theirs: Do) -> None:
    left = invoice("a", tells("amount_due", "greater than", 100), steps=(mine,))
    right = invoice("b", tells("amount_due", "less than", 500), steps=(theirs,))
    (finding,) = found(left, right)
    assert (finding.kind, finding.rules, finding.path, finding.others) == (
        "collision",
        ("a", "b"),
        "steps[0]",
        ("steps[0]",),
    )
    for one in (left, right):
        assert compile_condition(one.only_if)(finding.witness[0])


def test_rules_that_no_event_satisfies_both_do_not_collide() -> None:
    left = invoice("a", tells("amount_due", "greater than", 500), steps=(PRO,))
    right = invoice("b", tells("amount_due", "less than", 500), steps=(FREE,))
    assert kinds(left, right) == []


def test_rules_of_different_events_or_with_the_same_effect_do_not_collide() -> None:
    other = replace(FAILED, types=("invoice.paid",))
    assert kinds(invoice("a", steps=(PRO,)), invoice("b", steps=(FREE,), when=other)) == []
    assert kinds(invoice("a", tells("amount_due", "greater than", 1)), invoice("b", steps=(PAUSE, PAUSE))) == []


def test_a_branch_collides_only_where_it_is_reached() -> None:
    small = If("small", tells("amount_due", "less than", 100), (FREE,))
    assert (
        kinds(invoice("a", tells("amount_due", "greater than", 500), steps=(PRO,)), invoice("b", steps=(small,))) == []
    )
    (finding,) = found(invoice("a", steps=(PRO,)), invoice("b", steps=(small,)))
    assert finding.others == ("steps[0].then[0]",)


def test_access_switched_on_and_off_by_one_event_collides() -> None:
    on, off = (Do("s", "stripe.update_customer_metadata", {"key": "access", "value": one}) for one in ("on", "off"))
    assert kinds(invoice("a", steps=(on,)), invoice("b", steps=(off,))) == ["collision"]


def test_what_another_rule_does_already_is_shadowed_by_it() -> None:
    narrow = invoice("narrow", tells("amount_due", "greater than", 500))
    (finding,) = found(invoice("all", tells("amount_due", "greater than", 100)), narrow)
    assert (finding.kind, finding.rules) == ("shadowed", ("narrow", "all"))


def test_the_rule_in_question_comes_first_and_others_are_left_out() -> None:
    rules = [invoice("a", steps=(PRO,)), invoice("b", steps=(FREE,)), invoice("c", steps=(CANCEL,))]
    assert {finding.rules for finding in found(*rules, about="b")} == {("b", "a"), ("b", "c")}


def test_rules_that_start_one_another_are_a_loop_only_when_they_hear_their_own_events() -> None:
    heard = When(("customer.subscription.updated",), "subscription", ignore_own=False)
    pause, resume = (Do("s", f"stripe.{name}_collection", {}) for name in ("pause", "resume"))
    left = rule("a", heard, (pause,), All((tells("status", "equal to", "past_due"),)), again=Again(True, 0))
    right = rule("b", heard, (resume,), All((tells("status", "equal to", "active"),)))
    loops = [finding for finding in found(left, right) if finding.kind == "loop"]
    assert {finding.rules for finding in loops} == {("a",), ("b",), ("a", "b")}
    deaf = [replace(one, when=replace(heard, ignore_own=True)) for one in (left, right)]
    assert kinds(*deaf) == []


@pytest.mark.parametrize(
    ("trigger", "stop", "comes"),
    [
        ("customer.subscription.deleted", "customer.subscription.updated", False),
        ("customer.subscription.updated", "customer.subscription.created", False),
        ("invoice.voided", "invoice.paid", False),
        ("invoice.payment_failed", "invoice.paid", True),
        ("customer.subscription.updated", "customer.subscription.deleted", True),
    ],
)
def test_a_stop_that_can_only_come_before_the_trigger_is_found(trigger: str, stop: str, comes: bool) -> None:
    same = "invoice" if trigger.startswith("invoice") else "subscription"
    made = invoice("r", when=When((trigger,), same), stop_when=(Stop((stop,), same),))
    assert (kinds(made) == []) is comes


# ---- nested groups ---------------------------------------------------------------------------------------------------
USD = tells("currency", "equal to", "usd")


@pytest.mark.parametrize(
    ("condition", "path"),
    [
        (
            Any_((tells("amount_due", "greater than", 500), tells("amount_due", "greater than", 100))),
            "only_if.any[0]",
        ),
        (
            All((USD, Any_((tells("currency", "equal to", "eur"), tells("paid", "is true"))))),
            "only_if.all[1].any[0]",
        ),
        (
            Not(All((tells("paid", "is true"), tells("paid", "not equal to", False)))),
            "only_if.not.all[0]",
        ),
        (
            Any_((USD, All((tells("amount_due", "equal to", 7), tells("amount_due", "less than", 9))))),
            "only_if.any[1].all[1]",
        ),
    ],
)  # fmt: skip
def test_a_part_of_a_nested_group_that_changes_nothing_is_found(condition: Condition, path: str) -> None:
    one = replace(invoice("idle"), only_if=condition)
    (finding,) = found(one)
    assert (finding.kind, finding.path) == ("changes nothing", path)
    assert compile_condition(condition)(finding.witness[-1])


def test_parts_of_a_nested_group_that_each_let_something_in_are_left_alone() -> None:
    condition = Any_((tells("amount_due", "greater than", 500), tells("currency", "equal to", "usd")))
    assert kinds(replace(invoice("fine"), only_if=condition)) == []


# ---- occurrences and sequences ---------------------------------------------------------------------------------------
def test_events_that_stripe_sends_for_one_occurrence_collide_too() -> None:
    charge = replace(FAILED, types=("charge.failed",), same="customer")
    (finding,) = found(invoice("a", steps=(CANCEL,)), invoice("b", steps=(PAUSE,), when=charge))
    assert finding.kind == "collision"
    assert [event["type"] for event in finding.witness] == ["invoice.payment_failed", "charge.failed"]
    succeeded = replace(FAILED, types=("charge.succeeded",), same="customer")
    assert kinds(invoice("a", steps=(CANCEL,)), invoice("b", steps=(PAUSE,), when=succeeded)) == []


def test_two_types_of_one_invoice_collide_only_where_both_conditions_hold_of_it() -> None:
    paid, succeeded = (replace(FAILED, types=(f"invoice.{name}",)) for name in ("paid", "payment_succeeded"))
    small, big = tells("amount_due", "less than", 100), tells("amount_due", "greater than", 500)
    assert kinds(invoice("a", small, steps=(PRO,), when=paid), invoice("b", big, steps=(FREE,), when=succeeded)) == []
    assert kinds(invoice("a", small, steps=(PRO,), when=paid), invoice("b", steps=(FREE,), when=succeeded)) == [
        "collision"
    ]


@pytest.mark.parametrize(
    "when",
    [
        When(("customer.subscription.created",), "subscription", then=Span(("invoice.payment_failed",), 86400)),
        When(("invoice.payment_failed",), "subscription", and_not=Span(("invoice.paid",), 86400)),
        When(("invoice.payment_failed",), "subscription", at_least=3, within=86400),
        When(("invoice.payment_failed",), "subscription", at_least=3, within=86400, counting="data.object.number"),
        When(("invoice.payment_failed",), "subscription", first=True),
        When(
            ("invoice.payment_failed",),
            "subscription",
            within=86400,
            aggregate=Aggregate("sum", "data.object.amount_due", ("data", "object", "amount_due"), "greater than", 900),
        ),
    ],
)
def test_rules_that_count_wait_and_follow_collide_on_a_history_that_starts_both(when: When) -> None:
    (finding,) = found(invoice("a", steps=(CANCEL,)), invoice("b", steps=(PAUSE,), when=when))
    assert finding.kind == "collision"
    assert finding.witness[-1]["type"] == "invoice.payment_failed"


# ---- borne out -------------------------------------------------------------------------------------------------------
def test_what_no_decision_bears_out_is_not_shown() -> None:
    stopping = invoice("b", steps=(Wait("w", seconds=60), PAUSE), stop_when=(Stop(("invoice.paid",), "subscription"),))
    assert kinds(invoice("a", steps=(CANCEL,)), stopping) == ["collision"]
    asking = tells("mrr", "greater than", 5)
    asking = replace(asking, field="fact.customer.mrr", path=("fact", "customer", "mrr"))
    seen = Lint([invoice("a", steps=(CANCEL,)), invoice("b", asking, steps=(PAUSE,))], CATALOGUE)
    assert (seen.findings(), seen.unshown) == ([], 1)  # no constructed history says what a customer pays


@settings(max_examples=40, deadline=None)
@given(st.lists(conditions, min_size=1, max_size=3), st.lists(conditions, min_size=1, max_size=3))
def test_every_finding_is_borne_out_by_deciding_about_its_witness(
    left: list[Condition], right: list[Condition]
) -> None:
    rules = {one.id: one for one in (invoice("a", *left, steps=(CANCEL,)), invoice("b", *right, steps=(PAUSE,)))}
    for finding in found(*rules.values()):
        rows = Trial().rows([rules[id] for id in finding.rules], finding.witness)
        fired = {row["rule"] for row in rows}
        assert fired == (set() if finding.kind == "never fires" else set(finding.rules)), finding


def test_200_rules_are_linted_in_about_a_second() -> None:
    rules = many(["invoice.payment_failed", "invoice.paid"], 2000)
    began = time.process_time()
    seen = Lint(rules, CATALOGUE)
    assert len(seen.findings()) > 100
    assert time.process_time() - began < 5  # 1 s is the aim; the bound leaves room for a busy machine


# ---- never wrong ----------------------------------------------------------------------------------------------------
@settings(max_examples=250, deadline=None)
@given(conditions, st.lists(envelopes(), min_size=1, max_size=8))
def test_what_is_called_impossible_no_event_satisfies(condition: Condition, events: list[dict[str, Any]]) -> None:
    answer = satisfy(condition, Frame.of("invoice.paid"))
    holds = compile_condition(condition)
    if answer.impossible:
        assert not any(holds(event) for event in events)
    if answer.event is not None:
        assert not answer.impossible
        assert holds(answer.event)
        assert answer.event["type"] == "invoice.paid"


@settings(max_examples=80, deadline=None)
@given(st.lists(conditions, min_size=1, max_size=3), envelopes())
def test_conditions_made_true_by_a_random_event_raise_no_alarm(drawn: list[Condition], event: dict[str, Any]) -> None:
    no_alarm(drawn, event)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@settings(max_examples=3000, deadline=None)
@given(st.lists(conditions, min_size=1, max_size=3), envelopes())
def test_conditions_made_true_by_a_random_event_raise_no_alarm_all_night(
    drawn: list[Condition], event: dict[str, Any]
) -> None:
    no_alarm(drawn, event)


def no_alarm(drawn: list[Condition], event: dict[str, Any]) -> None:
    true = [one if compile_condition(one)(event) else Not(one) for one in drawn]
    assert not satisfy(All(tuple(true)), Frame.of("invoice.paid")).impossible
    made = invoice("r", *true, when=When(("invoice.paid",), "customer"))
    assert "never fires" not in kinds(made)


def many(types: list[str], width: int) -> list[Rule]:
    """200 rules over these types, half of them one way, half the other; amounts overlap where `width` says so."""
    return [
        invoice(
            f"r{number}",
            tells("amount_due", "between", (100 * number, 100 * number + width)),
            steps=((PRO, FREE)[number // 20 % 2],),
            when=When((types[number % len(types)],), "customer"),
        )
        for number in range(200)
    ]


@pytest.mark.parametrize("count", [1, 20])
def test_of_200_rules_only_those_are_compared_that_share_a_type_and_an_amount(count: int) -> None:
    types = [event.name for event in CATALOGUE.event_types() if event.name.startswith("invoice.")]
    types = [*types, *(event.name for event in CATALOGUE.event_types() if event.name.startswith("customer."))][:count]
    seen = Lint(many(types, 50), CATALOGUE)
    assert seen.findings() == []
    assert seen.compared == 0
    seen = Lint(many(types, 2000), CATALOGUE)
    assert {finding.kind for finding in seen.findings()} <= {"collision"}
    assert 0 < seen.compared <= 200 * 20  # each with the twenty on either side that its amounts reach


@settings(max_examples=150, deadline=None)
@given(conditions, conditions, envelopes())
def test_conditions_told_apart_at_a_glance_are_never_true_together(
    left: Condition, right: Condition, event: dict[str, Any]
) -> None:
    if apart(ranges(left), ranges(right)):
        assert not (compile_condition(left)(event) and compile_condition(right)(event))
        assert satisfy(All((left, right)), Frame.of("invoice.paid")).event is None
