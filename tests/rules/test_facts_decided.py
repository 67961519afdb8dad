"""Decisions with facts: asked only when the event alone cannot say no, judged at the trigger, told in the trace."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.adapters.memory import MemoryStore
from app.perform.waking import wake
from rules.backtest import backtest
from rules.event import Event, iso, seconds
from rules.explain import explain
from rules.facts import FACTS
from rules.matcher import Matcher, PythonMatcher
from rules.model import All, Any_, Approve, Condition, Do, If, Not, Other, RuleVersion, Span, Stop, StopStep, Wait, When
from rules.ports import Put
from rules.rete import DurableMatcher
from rules.scores import value_id, with_value
from tests.rules.known import asks, customer, failed, happened, invoice, price, subscription
from tests.rules.naive_facts import fact
from tests.rules.test_facts import declined
from tests.rules.world import DAY, START, TENANT, World, rule, told

FAILS = When(("invoice.payment_failed",), "customer")
TWICE = When(("invoice.payment_failed",), "customer", at_least=2, within=7 * DAY)
RICH = asks("fact.customer.mrr", "greater than", 5000)
BIG = asks("data.object.amount_due", "greater than", 1000)
MATCHERS: list[Matcher] = [PythonMatcher(), DurableMatcher()]


class Counting(MemoryStore):
    """A store that counts the windows that are read."""

    def __init__(self) -> None:
        super().__init__()
        self.windows: list[tuple[str, int]] = []

    def window(self, tenant: str, key: str, types: Sequence[str], since: int, until: int) -> list[Event]:
        self.windows.append((key, len(types)))
        return super().window(tenant, key, types, since, until)


def paying(amount: int, at: int = 0, **more: Any) -> Event:
    thing = subscription("sub_1", price(amount=amount), **more)
    return happened(f"s_{at}_{amount}", "customer.subscription.updated", at, thing)


def world(condition: Condition, when: When = FAILS, matcher: Matcher | None = None, **more: Any) -> World:
    made = World(rule(when=when, only_if=condition, **more), matcher=matcher)
    made.store = Counting()
    return made


# ---- at the trigger -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("matcher", MATCHERS, ids=lambda matcher: matcher.name)
@pytest.mark.parametrize(("revenue", "fires"), [(5001, True), (5000, False)])
def test_a_condition_on_a_fact_decides(matcher: Matcher, revenue: int, fires: bool) -> None:
    here = world(All((BIG, RICH)), matcher=matcher)
    here.deliver(paying(revenue), failed("f", 10))
    assert bool(here.runs()) is fires


def test_an_event_whose_own_conditions_fail_reads_nothing() -> None:
    here = world(All((BIG, RICH)))
    here.deliver(failed("f", 10, amount=1000))
    assert here.store.windows == []
    assert here.trace("f")["sentence"].startswith("Condition 1 of 2 is not true: the amount due")
    here.deliver(failed("g", 11, amount=1001))
    assert len(here.store.windows) == 1


def test_a_rule_without_facts_reads_what_it_did_before() -> None:
    here = world(BIG)
    here.deliver(failed("f", 10))
    assert here.store.windows == []
    assert "facts" not in here.trace("f")


def test_the_trace_of_a_match_tells_needed_actual_and_the_event_it_came_from() -> None:
    here = world(RICH)
    here.deliver(paying(9800), failed("f", 10))
    entry = here.trace("f")
    node = entry["tree"]
    assert (node["needed"], node["actual"], node["true"]) == (5000, 9800, True)
    assert node["from"] == {"event": "s_0_9800", "path": "data.object.items.data", "currency": "usd"}
    assert node["text"] == "the customer’s monthly revenue is more than $50.00"
    assert entry["facts"]["fact.customer.mrr"]["value"] == 9800


def test_the_trace_of_a_miss_says_what_is_known_instead_as_people_write_it() -> None:
    here = world(All((BIG, RICH)))
    here.deliver(paying(4200), failed("f", 10))
    entry = here.trace("f")
    assert entry["gate"] == "condition"
    assert entry["sentence"] == (
        "Condition 2 of 2 is not true: the customer’s monthly revenue is more than $50.00; "
        "it is $42.00 (from s_0_4200)."
    )
    assert entry["facts"]["fact.customer.mrr"]["event"] == "s_0_4200"


def test_many_rules_with_facts_of_their_own_read_the_log_once_for_each_subject() -> None:
    names = [
        name for name in FACTS if name.startswith(("fact.customer", "fact.invoice")) and name != "fact.customer.lists"
    ]
    here = World(*[rule(name, FAILS, only_if=asks(name, "is present")) for name in names])
    here.store = Counting()
    here.deliver(paying(4200), failed("f", 10))
    assert sorted(key for key, _ in here.store.windows) == ["cus:cus_1", "in:in_1"]
    assert here.trace("f", "fact.customer.mrr")["outcome"] == "fired"
    assert len(names) > 20


def test_what_is_not_known_makes_every_comparison_false_and_absence_true() -> None:
    for operator, value, fires in (("equal to", "x", False), ("not equal to", "x", False), ("is absent", None, True)):
        here = world(asks("fact.customer.plan", operator, value))
        here.deliver(failed("f", 10))
        assert bool(here.runs()) is fires, operator


def test_a_fact_is_as_of_the_trigger_and_not_of_when_it_was_heard() -> None:
    here = world(RICH)
    here.deliver(paying(100, 0), paying(9000, 20), failed("f", 10))
    assert not here.runs()
    here.deliver(failed("g", 20))
    assert len(here.runs()) == 1


def test_a_late_fact_does_not_decide_again() -> None:
    here = world(RICH)
    here.deliver(failed("f", 10), paying(9000, 5))
    assert not here.runs()


def test_imported_history_reads_no_facts_and_starts_nothing() -> None:
    here = world(RICH)
    here.deliver(replace(failed("f", 10), source="import"))
    assert here.store.windows == []
    assert not here.runs()


def test_a_fact_may_be_compared_with_a_field_of_the_event() -> None:
    twice_as_much = Other("data.object.amount_due", ("data", "object", "amount_due"), times=2)
    here = world(replace(asks("fact.customer.open_amount", "greater than"), other=twice_as_much))
    other = happened("i", "invoice.finalized", 0, invoice("in_9", amount=6000))
    here.deliver(other, failed("f", 1, amount=6000), failed("g", 2, amount=5999))
    assert [run.trigger for run in here.runs()] == ["g"]


# ---- windows --------------------------------------------------------------------------------------------------------
def test_in_a_window_the_fact_is_judged_once_at_the_trigger() -> None:
    here = world(RICH, TWICE)
    here.deliver(paying(100, 0), failed("f", 10), paying(9000, 20), failed("g", 30))
    assert [run.events for run in here.runs()] == [("f", "g")]
    other = world(RICH, TWICE)
    other.deliver(paying(9000, 0), failed("f", 10), paying(100, 20), failed("g", 30))
    assert not other.runs()


def test_a_window_that_is_not_full_reads_no_facts() -> None:
    here = world(RICH, TWICE)
    here.deliver(failed("f", 10))
    assert [size for _, size in here.store.windows] == [1]  # its own window alone


def test_a_late_event_that_completes_a_window_is_judged_with_the_facts_of_the_trigger() -> None:
    here = world(RICH, TWICE)
    here.deliver(paying(100, 0), paying(9000, 20), failed("g", 30), paying(100, 40), failed("f", 10))
    assert [run.trigger for run in here.runs()] == ["g"]


def test_events_count_when_their_own_conditions_could_hold() -> None:
    either = Any_((RICH, asks("data.object.amount_due", "less than", 100)))
    here = world(All((BIG, either)), TWICE)
    here.deliver(paying(9000, 0), failed("small", 5, amount=1000), failed("f", 10), failed("g", 30))
    assert [run.events for run in here.runs()] == [("f", "g")]


def test_of_a_sequence_and_an_absence_facts_are_as_of_the_trigger() -> None:
    then = When(("invoice.payment_failed",), "customer", then=Span(("invoice.paid",), DAY))
    here = world(All((BIG, RICH)), then)
    paid = happened("p", "invoice.paid", 30, invoice("in_1", "paid"))
    here.deliver(paying(100, 0), failed("f", 10), paying(9000, 20), paid)
    assert [run.trigger for run in here.runs()] == ["p"]
    absence = When(("invoice.payment_failed",), "customer", and_not=Span(("invoice.paid",), DAY))
    waits = world(RICH, absence)
    waits.deliver(paying(9000, 0), failed("f", 10))
    assert len(waits.runs()) == 1
    poor = world(RICH, absence)
    poor.deliver(paying(9, 0), failed("f", 10))
    assert not poor.runs()


# ---- texts ----------------------------------------------------------------------------------------------------------
def test_texts_say_facts_as_people_write_them_and_parameters_keep_their_type() -> None:
    params = {
        "connection": "crm",
        "text": "{{ fact.customer.mrr }} since {{ fact.customer.since }}, {{ fact.customer.prices }}",
        "mrr": "{{ fact.customer.mrr }}",
        "nothing": "{{ fact.payment.decline_code }}",
        "score": "{{ score.churn }}",
    }
    here = world(All(()), steps=(Do("tell", "crm.notify", params),))
    body = with_value(None, "churn", "cus_1", 0.25, START, "api", here.now)
    here.store.commit(TENANT, None, [Put("score_value", value_id("churn", "cus_1"), body)])
    made = happened("c", "customer.created", 0, customer())
    here.deliver(made, paying(4950, 1), failed("f", 10))
    (command,) = here.commands()
    assert command.params["text"] == "$49.50 since Fri 15 Jan 2027 08:00 UTC, price_pro, pro"
    assert (command.params["mrr"], command.params["nothing"], command.params["score"]) == (4950, "", 0.25)
    assert here.run().facts["fact"]["customer"]["mrr"] == 4950
    assert here.trace("f")["facts"]["score.churn"]["source"] == "api"


# ---- steps ----------------------------------------------------------------------------------------------------------
STILL_OPEN = asks("fact.invoice.status", "equal to", "open")
LADDER = (
    Wait("grace", seconds=2 * DAY),
    If(
        "unpaid",
        STILL_OPEN,
        (Do("tell", "crm.notify", {"connection": "crm", "t": "owes {{ fact.customer.open_amount }}"}),),
    ),
)


def woken(here: World) -> None:
    while wake(here.store, here.rules, here.now):  # type: ignore[arg-type]
        pass


def climbing(*between: Event, steps: Any = LADDER, mode: Any = "live") -> World:
    here = World(rule(when=FAILS, steps=steps), mode=mode)
    here.now = seconds(START + 10)
    here.deliver(failed("f", 10))
    here.deliver(*between)
    here.now = seconds(START + 3 * DAY)
    woken(here)
    return here


def test_an_if_reads_facts_when_its_time_comes_and_the_story_says_what_was_read() -> None:
    here = climbing()
    assert [command.step for command in here.commands()] == ["tell"]
    assert "unpaid: the invoice’s known status is open (from f). unpaid: yes." in told(here.run())
    paid = climbing(happened("p", "invoice.paid", DAY, invoice("in_1", "paid")))
    assert not paid.commands()
    assert "unpaid: the invoice’s known status is paid (from p). unpaid: no." in told(paid.run())
    assert paid.run().state == "done"
    assert paid.run().steps["unpaid"]["data"]["facts"]["fact.invoice.status"]["event"] == "p"


def test_an_if_that_is_the_first_step_is_due_at_once_and_does_not_act_before_it_is_read() -> None:
    here = World(rule(when=FAILS, steps=(If("unpaid", STILL_OPEN, (StopStep("s", "open"),)),)))
    here.deliver(failed("f", 10))
    assert (here.run().state, here.run().due_at) == ("waiting", iso(here.now))
    woken(here)
    assert (here.run().state, here.run().reason) == ("stopped", "open")


def test_a_clock_behind_stripes_does_not_hide_the_trigger_from_its_run() -> None:
    here = World(rule(when=FAILS, steps=(If("unpaid", STILL_OPEN, (StopStep("s", "open"),)),)))
    here.now = seconds(START + 5)
    here.deliver(failed("f", 10))
    woken(here)
    assert here.run().reason == "open"


def test_several_conditions_in_a_row_are_each_read() -> None:
    inner = If("rich", RICH, (StopStep("s", "rich"),), (StopStep("t", "poor"),))
    here = climbing(paying(9000, 20), steps=(If("unpaid", STILL_OPEN, (inner,)),))
    assert here.run().reason == "rich"


def test_an_approval_is_asked_for_only_when_its_fact_says_so() -> None:
    steps = (Approve("ok", "approver", condition=RICH), StopStep("s", "went on"))
    assert climbing(paying(9000, 20), steps=steps).run().state == "needs_person"
    assert climbing(paying(9, 20), steps=steps).run().reason == "went on"


def test_a_watched_run_reads_the_same_facts() -> None:
    here = climbing(mode="watch")
    assert here.run().steps["tell"]["state"] == "would"


def test_a_wait_until_a_fact_is_until_what_was_known_at_the_trigger() -> None:
    expiry = Wait("expiry", until="fact.customer.since", minus=0)
    here = World(rule(when=FAILS, steps=(expiry, StopStep("s", "over"))))
    here.now = seconds(START)
    here.deliver(happened("c", "customer.created", 0, customer(created=START + 5 * DAY)), failed("f", 10))
    assert here.run().due_at == iso(seconds(START + 5 * DAY))


@pytest.mark.parametrize("member", ["cus_1", "tok_ab@acme.com"])
def test_an_if_asks_for_lists_by_id_and_by_the_token_of_an_address(member: str) -> None:
    listed = If("vip", asks("fact.customer.lists", "contains", "vip"), (StopStep("s", "is one"),))
    here = World(rule(when=FAILS, steps=(listed,)))
    here.store.commit(TENANT, None, [Put("list", "vip", {"name": "vip", "members": [member], "updated_at": ""})])
    here.deliver(failed("f", 10, customer_email="tok_ab@acme.com"), failed("g", 11, "in_2", customer="cus_2"))
    woken(here)
    assert {run.trigger: run.reason for run in here.runs()} == {"f": "is one", "g": ""}


def test_a_run_about_a_dispute_asks_for_the_customer_of_its_charge() -> None:
    disputes = When(("charge.dispute.created",), "charge")
    here = World(rule(when=disputes, steps=(If("rich", RICH, (StopStep("s", "rich"),)),)))
    charge = {"id": "ch_1", "object": "charge", "customer": "cus_1", "amount": 4900, "currency": "usd"}
    dispute = {"id": "dp_1", "object": "dispute", "charge": "ch_1", "amount": 4900, "currency": "usd"}
    here.deliver(happened("c", "charge.succeeded", 0, charge), paying(9000, 1))
    here.deliver(happened("d", "charge.dispute.created", 9, dispute))
    woken(here)
    assert here.run().reason == "rich"


def test_a_stop_ends_a_run_that_is_about_to_look_something_up() -> None:
    steps = (If("unpaid", STILL_OPEN, (Do("tell", "crm.notify", {"connection": "crm"}),)),)
    here = World(rule(when=FAILS, steps=steps, stop_when=(Stop(("invoice.paid",), "invoice"),)))
    here.deliver(failed("f", 10), happened("p", "invoice.paid", 20, invoice("in_1", "paid")))
    woken(here)
    assert here.run().state == "stopped"
    assert not here.commands()


# ---- explained and backtested ---------------------------------------------------------------------------------------
def versions(condition: Condition, when: When = FAILS, **more: Any) -> list[RuleVersion]:
    return [RuleVersion(TENANT, rule(when=when, only_if=condition, **more), 1, "live", "")]


def test_explain_names_the_failing_fact_and_what_it_is() -> None:
    (version,) = versions(All((BIG, RICH)))
    found = explain(version, [paying(4200), failed("f", 10)], event="f")
    assert (found["fired"], found["gate"]) == (False, "condition")
    assert "the customer’s monthly revenue is more than $50.00; it is $42.00 (from s_0_4200)" in found["sentence"]


def test_a_backtest_knows_facts_as_of_then_and_reads_steps_on_virtual_time() -> None:
    history = [
        paying(9000, 0),
        failed("f", 10),
        paying(10, 20),
        failed("g", 3 * DAY, "in_2"),
        happened("p", "invoice.paid", 40 * DAY, invoice("in_1", "paid")),
    ]
    rows = list(backtest(versions(RICH, steps=LADDER), history))
    assert [row["trigger"] for row in rows] == ["f"]
    states = {step["name"]: step["state"] for step in rows[0]["steps"]}
    assert states == {"grace": "done", "unpaid": "done", "tell": "would"}
    early = [*history[:2], happened("p", "invoice.paid", DAY, invoice("in_1", "paid")), *history[2:4]]
    rows = list(backtest(versions(RICH, steps=LADDER), early))
    assert "tell" not in {step["name"] for step in rows[0]["steps"]}


# ---- the same everywhere --------------------------------------------------------------------------------------------
@st.composite
def conditions(draw: st.DrawFn, depth: int = 2) -> Condition:
    if depth and draw(st.booleans()):
        parts = tuple(draw(st.lists(conditions(depth - 1), min_size=1, max_size=3)))
        return draw(st.sampled_from([All(parts), Any_(parts), Not(parts[0])]))
    return draw(
        st.sampled_from(
            [
                asks("data.object.amount_due", "greater than", 2),
                asks("data.object.amount_due", "less or equal to", 1),
                asks("fact.customer.mrr", "greater than", 5),
                asks("fact.customer.mrr", "less than", 3),
                asks("fact.customer.status", "one of", ["active", "past_due"]),
                asks("fact.customer.failures_30_days", "greater or equal to", 2),
                asks("fact.customer.open_invoices", "equal to", 1),
            ]
        )
    )


@st.composite
def stories(draw: st.DrawFn) -> list[Event]:
    found = []
    for index in range(draw(st.integers(1, 7))):
        at, who = draw(st.integers(0, 9)), draw(st.integers(1, 2))
        about = {"customer": f"cus_{who}"}
        if draw(st.booleans()):
            thing = invoice(f"in_{who}{draw(st.integers(1, 2))}", "open", draw(st.integers(0, 5)), **about)
            found.append(happened(f"e{index}", "invoice.payment_failed", at, thing))
        else:
            state = draw(st.sampled_from(["active", "past_due", "canceled"]))
            thing = subscription(f"sub_{who}", price(amount=draw(st.integers(0, 9))), status=state, **about)
            found.append(happened(f"e{index}", "customer.subscription.updated", at, thing))
    return found


def holds(condition: Condition, event: Event, facts: dict[str, Any]) -> bool | None:
    """Three-valued: None where it depends on facts that are not given."""
    if isinstance(condition, All | Any_):
        found = [holds(part, event, facts) for part in condition.parts]
        decides = isinstance(condition, Any_)
        return decides if decides in found else None if None in found else not decides
    if isinstance(condition, Not):
        inner = holds(condition.part, event, facts)
        return None if inner is None else not inner
    if condition.field.startswith("fact."):
        if condition.field not in facts:
            return None
        value = facts[condition.field]
    else:
        value = event.data["data"]["object"].get(condition.field.rpartition(".")[2])
    if value is None:
        return False
    wanted = condition.value
    return {
        "greater than": lambda: value > wanted,
        "greater or equal to": lambda: value >= wanted,
        "less than": lambda: value < wanted,
        "less or equal to": lambda: value <= wanted,
        "equal to": lambda: value == wanted,
        "one of": lambda: value in wanted,
    }[condition.operator]()


NAMED = ("mrr", "status", "failures_30_days", "open_invoices")


def naively(condition: Condition, order: Sequence[Event], needed: int) -> set[str]:
    """The triggers, by the documentation: what the event alone refuses does not count; the rest is judged at the
    trigger with what had been heard of its time by then."""
    matched: set[str] = set()
    heard: list[Event] = []
    for event in order:
        heard.append(event)
        if event.type != "invoice.payment_failed" or holds(condition, event, {}) is False:
            continue
        mine = [
            one
            for one in {one.id: one for one in heard}.values()
            if one.type == event.type and one.key("cus") == event.key("cus") and holds(condition, one, {}) is not False
        ]
        for trigger in mine:
            count = [one for one in mine if trigger.created - 7 * DAY <= one.created <= trigger.created]
            before = [one for one in count if one.id != event.id]
            if len(count) < needed or (trigger.id != event.id and len(before) >= needed):
                continue
            facts = {f"fact.customer.{name}": fact(f"fact.customer.{name}", heard, trigger, TENANT) for name in NAMED}
            if holds(condition, trigger, facts):
                matched.add(trigger.id)
    return matched


@settings(max_examples=250, deadline=None)
@given(conditions(), stories(), st.randoms(use_true_random=False), st.booleans())
def test_matches_with_facts_are_the_slow_references_in_the_order_they_were_heard_on_both_matchers(
    condition: Condition, history: list[Event], chance: random.Random, twice: bool
) -> None:
    agree(condition, history, chance, twice)


@pytest.mark.nightly
@settings(max_examples=10_000, deadline=None)
@given(conditions(depth=3), stories(), st.randoms(use_true_random=False), st.booleans())
def test_matches_with_facts_are_the_slow_references_all_night(
    condition: Condition, history: list[Event], chance: random.Random, twice: bool
) -> None:
    agree(condition, history, chance, twice)


def agree(condition: Condition, history: list[Event], chance: random.Random, twice: bool) -> None:
    chance.shuffle(history)
    order = [replace(one, recorded=seconds(START + 90 * DAY) + timedelta(seconds=n)) for n, one in enumerate(history)]
    for matcher in MATCHERS:
        here = World(rule(when=TWICE if twice else FAILS, only_if=condition), matcher=matcher)
        here.deliver(*order)
        found = {trigger for _, _, trigger in here.matches(one.id for one in order)}
        here.rules.current(here.store, TENANT).close()
        assert found == naively(condition, order, 2 if twice else 1)


@settings(max_examples=60, deadline=None)
@given(conditions(), stories(), st.randoms(use_true_random=False))
def test_the_same_log_gives_the_same_bytes_with_facts_in_it(
    condition: Condition, history: list[Event], chance: random.Random
) -> None:
    chance.shuffle(history)
    worlds = [World(rule(when=FAILS, only_if=condition, steps=LADDER)) for _ in range(2)]
    for here in worlds:
        here.deliver(*history)
        woken(here)
    for kind in ("event", "run", "command", "memory"):
        first, second = (json.dumps([(d.id, d.body) for d in here.documents(kind)]) for here in worlds)
        assert first == second


def test_a_failed_payment_that_was_declined_for_good_is_told_apart() -> None:
    hard = asks("fact.payment.decline_class", "equal to", "hard")
    here = world(Not(hard))
    here.deliver(declined(10, "stolen_card"), failed("f", 10))
    assert not here.runs()
    other = world(Not(hard))
    other.deliver(declined(10, "insufficient_funds"), failed("f", 10))
    assert len(other.runs()) == 1


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_an_explanation_worked_out_later_is_what_was_decided(data: st.DataObject) -> None:
    condition, history = data.draw(conditions()), data.draw(stories())
    order = [replace(one, recorded=seconds(START + 90 * DAY + n)) for n, one in enumerate(history)]
    here = World(rule(when=FAILS, only_if=condition))
    here.deliver(*order)
    (version,) = versions(condition)
    for one in order:
        if one.type not in FAILS.types:
            continue
        entry = here.trace(one.id)
        mine = [each for each in order if set(each.keys) & set(one.keys) - {"acct:default"}]
        found = explain(version, mine, event=one.id)
        if entry["outcome"] == "fired":
            assert found["tree"] == entry["tree"]
        elif "facts" in entry and entry["gate"] == "condition":
            assert (found["gate"], found["sentence"]) == (entry["gate"], entry["sentence"])
