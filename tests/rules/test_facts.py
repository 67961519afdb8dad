"""Facts are a function of the set of events up to a second, and say where they came from."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.catalogue import Catalogue
from rules.constants import personal_constants
from rules.event import Event
from rules.facts import FACTS
from rules.folds import Said
from rules.knowing import about_event, read, settled
from rules.labels import NAMES
from rules.memory import Members, Question, ScoreOf, Window
from rules.model import All, Any_, Not
from rules.paths import split
from rules.scores import KEPT, with_value
from rules.subjects import PREFIX, carried_by
from rules.wanted import NEVER, TRUE, Wanted, possible, wanted_by
from tests.rules.known import asks, customer, failed, happened, intent, invoice, later, price, subscription
from tests.rules.naive_facts import FACTS as NAIVE
from tests.rules.naive_facts import fact
from tests.rules.world import DAY, NOW, START, TENANT

OTHER = "default/live"


class Log:
    """Recorded events, lists and scores that answer questions, and count them."""

    def __init__(self, events: Sequence[Event] = (), lists: Any = (), scores: Any = (), tenant: str = TENANT) -> None:
        self.recorded = [event for event in events if event.tenant == tenant]
        self.lists, self.scores = dict(lists), dict(scores)
        self.asked: list[Question] = []

    def answer(self, question: Question) -> Any:
        self.asked.append(question)
        match question:
            case Window(key, types, since, until):
                found = [one for one in self.recorded if key in one.keys and one.type in types]
                return sorted(
                    (one for one in found if since <= one.created <= until), key=lambda one: (one.created, one.id)
                )
            case Members(name):
                return self.lists.get(name, ())
            case ScoreOf(name, subject):
                return self.scores.get((name, subject))
        raise AssertionError(question)

    def said(self, name: str, event: Event, lists: Sequence[str] = (), **more: Any) -> Said:
        wanted = Wanted((split(name),), tuple(lists))
        known = settled(lambda memory: read(wanted, about_event(event, **more), memory), self.answer)
        return known.values[split(name)]


def known(name: str, *events: Event, at: Event | None = None) -> Any:
    """The fact's value as of the last event, which is about customer cus_1 in usd."""
    return Log(events).said(f"fact.{name}", at or events[-1]).value


def subscribed(at: int, thing: Any, type: str = "updated", id: str | None = None) -> Event:
    return happened(id or f"s_{at}", f"customer.subscription.{type}", at, thing)


PING = failed("ping", 90 * DAY, "in_ping", amount=0, attempted=False)


# ---- subscriptions --------------------------------------------------------------------------------------------------
def test_the_plan_is_that_of_the_current_subscription_by_id_and_by_key() -> None:
    old = subscribed(0, subscription("sub_0", price("price_old"), status="canceled"), "deleted")
    new = subscribed(1, subscription("sub_1", price("price_pro", product={"id": "prod_x"})))
    assert known("customer.plan", old, new, PING) == "price_pro"
    assert known("customer.plan_key", old, new, PING) == "pro"
    assert known("customer.product", old, new, PING) == "prod_x"
    assert known("customer.prices", old, new, PING) == ["price_pro", "pro"]
    assert known("customer.plan", old, PING) == "price_old"
    assert known("customer.prices", old, PING) == []


def test_the_surest_subscription_is_the_current_one_and_a_deleted_one_is_canceled() -> None:
    late = subscribed(0, subscription("sub_1", status="past_due"))
    good = subscribed(1, subscription("sub_2", status="trialing", created=START - DAY))
    gone = subscribed(2, subscription("sub_2", status="active"), "deleted")
    assert known("customer.status", late, good, PING) == "trialing"
    assert known("customer.status", late, good, gone, PING) == "past_due"
    assert known("customer.subscriptions", late, good, gone, PING) == 1


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([price(amount=4900)], 4900),
        ([{"price": price(amount=4900), "quantity": 3}], 14700),
        ([price(amount=12000, interval="year")], 1000),
        ([price(amount=30000, count=3)], 10000),
        ([price(amount=1000, interval="week")], 4333),
        ([price(amount=100, interval="day")], 3042),
        ([price(amount=1000), price("price_add", 505)], 1505),
        ([price(amount=None, unit_amount_decimal="12.5")], 13),
        ([price(amount=None, tiers_mode="graduated")], 0),
        ([price(amount=700, recurring={"interval": "month", "interval_count": 1, "usage_type": "metered"})], 0),
    ],
)
def test_monthly_revenue_is_price_times_quantity_by_the_month(items: list[Any], expected: int) -> None:
    assert known("customer.mrr", subscribed(0, subscription("sub_1", *items)), PING) == expected


def test_monthly_revenue_counts_only_what_earns_in_the_currency_of_the_event() -> None:
    history = [
        subscribed(0, subscription("sub_1", price(amount=100))),
        subscribed(1, subscription("sub_2", price(amount=20), status="trialing")),
        subscribed(2, subscription("sub_3", price(amount=3), status="past_due")),
        subscribed(3, subscription("sub_4", price(amount=7), currency="eur")),
    ]
    found = Log(history).said("fact.customer.mrr", PING)
    assert (found.value, found.currency, found.event) == (103, "usd", "s_2")
    euros = failed("f", DAY, currency="eur")
    assert known("customer.mrr", *history, euros) == 7


def test_money_of_an_event_without_a_currency_is_in_the_customers_own() -> None:
    changed = happened("c", "customer.updated", 5, customer(currency="eur"))
    plain = replace(changed, data={**changed.data, "data": {"object": {**customer(currency=None)}}})
    history = [subscribed(0, subscription("sub_1", price(amount=7), currency="eur"))]
    assert known("customer.mrr", *history, changed) == 7
    assert known("customer.mrr", *history, plain) == 7
    assert known("customer.currency", *history, plain) == "eur"


def test_subscriptions_of_old_api_versions_have_a_plan_instead_of_prices() -> None:
    plan = {
        "id": "gold",
        "object": "plan",
        "amount": 2500,
        "interval": "month",
        "interval_count": 1,
        "product": "prod_g",
    }
    old = {**subscription("sub_1"), "items": {"data": []}, "plan": plan, "quantity": 2}
    assert known("customer.plan", subscribed(0, old), PING) == "gold"
    assert known("customer.mrr", subscribed(0, old), PING) == 5000


def test_whether_an_end_is_set() -> None:
    assert known("customer.ending", subscribed(0, subscription()), PING) is False
    assert known("customer.ending", subscribed(0, subscription(cancel_at_period_end=True)), PING) is True
    assert known("customer.ending", subscribed(0, subscription(cancel_at=START + DAY)), PING) is True


# ---- invoices -------------------------------------------------------------------------------------------------------
def billed(at: int, thing: Any, type: str = "finalized", id: str | None = None) -> Event:
    return happened(id or f"i_{at}_{type}", f"invoice.{type}", at, thing)


def test_what_is_open_is_what_was_not_settled_since() -> None:
    history = [
        billed(0, invoice("in_1", amount=100)),
        billed(1, invoice("in_2", amount=20, created=START + 1)),
        billed(2, invoice("in_3", amount=3)),
        billed(3, invoice("in_1", "paid", amount=100), "paid"),
        billed(4, invoice("in_3", "void", amount=3), "voided"),
    ]
    ping = subscribed(9, subscription())
    assert known("customer.open_amount", *history, ping) == 20
    assert known("customer.open_invoices", *history, ping) == 1
    assert known("customer.newest_open_invoice", *history, ping) == "in_2"
    assert known("customer.lifetime_paid", *history, ping) == 100
    assert known("invoice.status", *history, failed("f", 9, "in_1")) == "open"  # as its own event says


def test_of_one_second_the_settled_state_of_an_invoice_is_the_later_one() -> None:
    paid, still = billed(5, invoice("in_1", "paid"), "paid", "a"), billed(5, invoice("in_1"), "updated", "z")
    assert known("customer.open_invoices", paid, still, subscribed(5, subscription())) == 0


def test_days_overdue_are_of_the_oldest_due_date_or_of_the_first_attempt() -> None:
    sent = billed(0, invoice("in_1", due_date=START + 2 * DAY, attempted=False))
    tried = billed(0, invoice("in_2", attempted=True, status_transitions={"finalized_at": START + DAY}), id="t")
    fresh = billed(0, invoice("in_3", attempted=False), id="u")

    def overdue(day: int, *events: Event) -> Any:
        return known("customer.days_overdue", *events, subscribed(day * DAY + 3600, subscription()))

    assert overdue(1, sent) == 0
    assert overdue(5, sent) == 3
    assert overdue(5, sent, tried) == 4
    assert overdue(5, fresh) == 0


def test_failures_count_this_one_and_those_of_the_30_days_before_both_ends_inclusive() -> None:
    now = failed("now", 40 * DAY)
    edge, before = failed("edge", 10 * DAY, "in_2"), failed("before", 10 * DAY - 1, "in_3")
    assert known("customer.failures_30_days", before, edge, now, now) == 2


# ---- customers and cards --------------------------------------------------------------------------------------------
def test_tenure_is_counted_from_the_customers_own_day() -> None:
    made = happened("c", "customer.updated", 50 * DAY, customer(created=START - 10 * DAY))
    assert known("customer.since", subscribed(0, subscription()), made, PING) == START - 10 * DAY
    assert known("customer.tenure_days", made, PING) == 100
    assert known("customer.tenure_days", subscribed(3 * DAY, subscription(created=START)), PING) == 90
    assert known("customer.tenure_days", PING) is None


def test_the_default_card_and_its_expiry_come_from_the_subscription_first() -> None:
    settings_ = {"invoice_settings": {"default_payment_method": "pm_2"}}
    whole = happened("c", "customer.updated", 0, customer(**settings_))
    own = subscribed(1, subscription(default_payment_method="pm_1"))
    cards = [
        happened(
            id, "payment_method.attached", at, {"id": pm, "object": "payment_method", "customer": "cus_1", "card": card}
        )
        for id, at, pm, card in (
            ("m1", 2, "pm_1", {"exp_month": 12, "exp_year": 2027}),
            ("m2", 3, "pm_2", {"exp_month": 3, "exp_year": 2028}),
        )
    ]
    assert known("customer.default_payment_method", whole, own, PING) == "pm_1"
    assert known("customer.default_payment_method", whole, PING) == "pm_2"
    found = Log([whole, own, *cards]).said("fact.customer.card_expires", PING)
    assert (found.value, found.event) == (1_830_297_600, "m1")  # 2028-01-01
    renewed = {
        "id": "pm_1",
        "object": "payment_method",
        "customer": "cus_1",
        "card": {"exp_month": 1, "exp_year": 2030},
    }
    newer = happened("m3", "payment_method.automatically_updated", 4, renewed)
    assert known("customer.card_expires", whole, own, *cards, newer, PING) == 1_896_134_400  # 2030-02-01
    assert known("customer.card_expires", whole, own, cards[1], PING) is None


# ---- payments, charges, links ---------------------------------------------------------------------------------------
def declined(at: int, code: str, id: str = "pi_1", amount: int = 4900, advice: str | None = None) -> Event:
    thing = intent(id, amount, code)
    thing["last_payment_error"]["advice_code"] = advice
    return happened(f"p_{id}_{at}", "payment_intent.payment_failed", at, thing)


@pytest.mark.parametrize(
    ("code", "advice", "expected"),
    [
        ("insufficient_funds", None, "soft"),
        ("stolen_card", None, "hard"),
        ("do_not_honor", "do_not_try_again", "hard"),
        ("do_not_honor", "try_again_later", "soft"),
        ("authentication_required", None, "authentication"),
    ],
)
def test_a_failed_invoice_has_the_decline_class_of_its_payment(code: str, advice: str | None, expected: str) -> None:
    history = [declined(0, code, advice=advice), failed("f", 0)]
    assert known("payment.decline_class", *history) == expected
    assert known("payment.decline_code", *history) == code
    assert known("payment.advice_code", *history) == advice
    assert Log(history).said("fact.payment.decline_class", history[-1]).event == "p_pi_1_0"


def test_the_payment_of_an_invoice_is_told_from_others_by_amount_then_by_time() -> None:
    mine, other = declined(0, "lost_card", "pi_1", 4900), declined(10, "do_not_honor", "pi_2", 700)
    assert known("payment.decline_code", mine, other, failed("f", 10)) == "lost_card"
    assert known("payment.decline_code", mine, other, failed("f", 10, amount=1)) == "do_not_honor"
    assert known("payment.decline_code", mine, failed("f", 3601)) is None


def test_the_invoices_own_payment_wins_over_one_of_the_moment() -> None:
    link = {"id": "inpay_1", "object": "invoice_payment", "invoice": "in_1", "payment": {"payment_intent": "pi_9"}}
    linked = happened("l", "invoice_payment.paid", 1, link)
    history = [declined(0, "lost_card", "pi_9"), linked, declined(100, "do_not_honor", "pi_1")]
    assert known("payment.decline_code", *history, failed("f", 100)) == "lost_card"


def test_a_charge_says_its_own_reason_where_no_payment_intent_does() -> None:
    outcome = {"reason": "expired_card", "advice_code": "confirm_card_data"}
    thing = {
        "id": "ch_1",
        "object": "charge",
        "customer": "cus_1",
        "amount": 4900,
        "currency": "usd",
        "outcome": outcome,
    }
    charge = happened("c", "charge.failed", 0, thing)
    assert known("payment.decline_code", charge) == "expired_card"
    assert known("payment.decline_class", charge) == "hard"


def test_a_dispute_finds_its_charge_and_through_it_the_customer() -> None:
    thing = {
        "id": "ch_1",
        "object": "charge",
        "customer": "cus_1",
        "amount": 2500,
        "currency": "usd",
        "amount_refunded": 0,
    }
    charge = happened("c", "charge.succeeded", 0, thing)
    dispute = happened("d", "charge.dispute.created", 9, {"id": "dp_1", "object": "dispute", "charge": "ch_1"})
    warning = {"id": "issfr_1", "object": "radar.early_fraud_warning", "charge": "ch_1", "actionable": True}
    history = [charge, subscribed(1, subscription())]
    for event in (dispute, happened("w", "radar.early_fraud_warning.created", 9, warning)):
        assert known("charge.customer", *history, at=event) == "cus_1"
        assert known("charge.amount", *history, at=event) == 2500
        assert known("customer.plan", *history, at=event) == "price_pro"


def test_what_an_event_names_no_subject_for_is_absent_even_a_count() -> None:
    payout = happened("p", "payout.paid", 0, {"id": "po_1", "object": "payout", "currency": "usd"})
    for name in FACTS:
        assert Log().said(name, payout).value is None, name


def test_without_any_event_every_fact_is_what_its_table_says() -> None:
    blank = happened("b", "customer.tax_id.created", 0, {"id": "t", "object": "tax_id", "customer": "cus_1"})
    ids = {"sub": "sub_1", "in": "in_1", "ch": "ch_1", "pi": "pi_1"}
    blank = replace(blank, keys=(*blank.keys, *(f"{prefix}:{id}" for prefix, id in ids.items())))
    for name, declared in FACTS.items():
        assert Log().said(name, blank).value == declared.empty, name


# ---- lists and scores -----------------------------------------------------------------------------------------------
def test_lists_are_those_that_the_rule_names_and_that_hold_the_customer_or_an_address() -> None:
    mail = failed("f", 0, customer_email="tok_ab@acme.com")
    lists = {"vip": ["cus_1"], "mail": ["tok_ab@acme.com"], "keys": ["cus:cus_1"], "others": ["cus_2"]}
    names = ["vip", "mail", "keys", "others", "gone"]
    assert Log(lists=lists).said("fact.customer.lists", mail, names).value == ["keys", "mail", "vip"]


def test_a_score_is_what_it_was_as_of_the_event() -> None:
    body: Any = None
    for at, value in ((10, 0.2), (30, 0.9), (20, 0.5)):
        body = with_value(body, "churn", "cus_1", value, START + at, "api", NOW)
    log = Log(scores={("churn", "cus_1"): body})
    found = {at: log.said("score.churn", failed("f", at)).value for at in (9, 10, 19, 20, 35)}
    assert found == {9: None, 10: 0.2, 19: 0.2, 20: 0.5, 35: 0.9}
    assert log.said("score.churn", failed("f", 20)).source == "api"


def test_the_history_of_a_score_is_short_and_the_later_word_about_a_second_stands() -> None:
    body: Any = None
    for at in range(KEPT + 10):
        body = with_value(body, "churn", "cus_1", at, START + at, "api", NOW)
    body = with_value(body, "churn", "cus_1", 7, START + KEPT + 9, "file", NOW)
    assert (len(body["history"]), body["value"], body["source"]) == (KEPT, 7, "file")


# ---- what is asked --------------------------------------------------------------------------------------------------
def test_all_facts_of_a_customer_are_read_with_one_window() -> None:
    log = Log([PING])
    names = ("status", "mrr", "open_amount", "failures_30_days", "card_expires")
    wanted = Wanted(tuple(("fact", "customer", name) for name in names))
    settled(lambda memory: read(wanted, about_event(PING), memory), log.answer)
    assert len(log.asked) == 1


def test_what_is_known_is_left_open_and_never_makes_an_event_fail() -> None:
    event, known_ = asks("data.object.total", "greater than", 5), asks("fact.customer.mrr", "greater than", 5)
    assert possible(All((event, known_))) == All((event,))
    assert possible(Any_((event, known_))) == TRUE
    assert possible(Not(Any_((event, known_)))) == Not(Any_((event,)))
    assert possible(Not(All((event, known_)))) == TRUE
    assert possible(All((event, NEVER, known_))) == NEVER
    assert possible(event) is event
    assert wanted_by(Not(known_)).paths == (("fact", "customer", "mrr"),)


# ---- a function of the set of events --------------------------------------------------------------------------------
@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    """Up to a dozen events of two customers in two tenants with equal ids, in two currencies, ties and all."""
    found = []
    for index in range(draw(st.integers(1, 12))):
        who = draw(st.integers(1, 2))
        about: Any = {"customer": f"cus_{who}", "currency": draw(st.sampled_from(["usd", "usd", "eur"]))}
        at, tenant = draw(st.integers(0, 6)) * 10 * DAY, draw(st.sampled_from([TENANT, TENANT, OTHER]))
        kind = draw(st.sampled_from(["subscription", "invoice", "failed", "customer"]))
        if kind == "subscription":
            type = draw(st.sampled_from(["created", "updated", "deleted"]))
            rate = price(
                amount=draw(st.integers(1, 999)), interval=draw(st.sampled_from(["month", "year", "week", "day"]))
            )
            status = draw(st.sampled_from(["active", "past_due", "canceled", "trialing"]))
            thing = subscription(f"sub_{who}{draw(st.integers(1, 2))}", rate, status=status, **about)
            found.append(happened(f"e_{index}", f"customer.subscription.{type}", at, thing, tenant))
        elif kind == "customer":
            thing = customer(f"cus_{who}", currency=about["currency"], created=START - draw(st.integers(0, 9)) * DAY)
            found.append(happened(f"e_{index}", "customer.updated", at, thing, tenant))
        else:
            state = "open" if kind == "failed" else draw(st.sampled_from(["open", "paid", "void", "uncollectible"]))
            due = draw(st.sampled_from([None, START + 15 * DAY]))
            thing = invoice(
                f"in_{who}{draw(st.integers(1, 2))}", state, draw(st.integers(1, 500)), due_date=due, **about
            )
            type = (
                "invoice.payment_failed"
                if kind == "failed"
                else draw(st.sampled_from(["invoice.updated", "invoice.paid"]))
            )
            found.append(happened(f"e_{index}", type, at, thing, tenant))
    return found


def all_of(events: Sequence[Event], at: Event) -> dict[str, Said]:
    log = Log(events, tenant=at.tenant)
    wanted = Wanted(tuple(declared.path for declared in FACTS.values()))
    found = settled(lambda memory: read(wanted, about_event(at), memory), log.answer)
    return {".".join(path): said for path, said in found.values.items()}


@settings(max_examples=300, deadline=None)
@given(histories(), st.randoms(use_true_random=False))
def test_facts_are_the_same_in_any_order_with_duplicates_and_late_news_of_other_times(
    history: list[Event], chance: random.Random
) -> None:
    at = chance.choice(history)
    expected = all_of(history, at)
    shuffled = [later(one, chance.randint(0, DAY)) for one in history] + chance.sample(history, len(history) // 2)
    chance.shuffle(shuffled)
    afterwards = [one for one in history if one.created > at.created]
    assert all_of(shuffled, at) == expected
    assert all_of([one for one in shuffled if one.id not in {two.id for two in afterwards}], at) == expected


@settings(max_examples=250, deadline=None)
@given(histories())
def test_facts_are_what_the_slow_reference_says_and_tenants_with_equal_ids_never_mix(history: list[Event]) -> None:
    for at in history:
        found = all_of(history, at)
        for name in NAIVE:
            assert found[name].value == fact(name, history, at, at.tenant), (name, at.id)


@pytest.mark.nightly
@settings(max_examples=10_000, deadline=None)
@given(histories())
def test_facts_are_what_the_slow_reference_says_all_night(history: list[Event]) -> None:
    for at in history:
        found = all_of(history, at)
        assert {name: found[name].value for name in NAIVE} == {
            name: fact(name, history, at, at.tenant) for name in NAIVE
        }


@settings(max_examples=100, deadline=None)
@given(histories())
def test_every_fact_is_json_and_names_an_event_that_was_known(history: list[Event]) -> None:
    at = history[-1]
    ids = {one.id for one in history if one.tenant == at.tenant and one.created <= at.created}
    for said in all_of(history, at).values():
        json.dumps(said.value)
        assert said.event is None or said.event in ids


def test_no_two_facts_have_one_name_and_none_has_that_of_a_field() -> None:
    titles = [declared.title for declared in FACTS.values()]
    assert len(set(titles)) == len(titles)
    assert not set(titles) & set(NAMES.values())
    assert all("’s " in title for title in titles)  # which no field that is named after its path has


def test_every_source_of_a_fact_is_an_event_type_that_names_its_subject() -> None:
    catalogue = Catalogue.load()
    subject = {prefix: name for name, prefix in PREFIX.items()}
    for declared in FACTS.values():
        for source in declared.sources:
            assert catalogue.event_type(source), source
            assert subject[declared.key] in carried_by(catalogue, source) or declared.name.startswith("fact.payment")


def test_an_address_that_is_compared_with_the_customers_is_to_be_a_token() -> None:
    part = {"field": "fact.customer.email", "is": "equal to", "value": "kim@acme.com"}
    document = {"when": {"event": ["invoice.paid"]}, "only_if": {"all": [part]}}
    assert personal_constants(document, Catalogue.load()) == [(part, "value")]
