"""Lint beside the recorded history, explanations of the log, and advice that only the store can give."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from app import author, browse
from app.author import advice as author_advice
from app.author import lint
from app.inquire import explaining
from app.services import Services
from app.web import create_app
from rules.lint import Finding
from rules.ports import Put
from tests.builders import DAY, NOON, TENANT, event, invoice, services_in_memory
from tests.records import keep_event

Document = dict[str, Any]
START = NOON - 40 * DAY


@pytest.fixture
def services() -> Services:
    return services_in_memory()


def document(id: str, when: Any, *steps: Any, **more: Any) -> Document:
    kinds = {"event": [when], "same": "subscription"} if isinstance(when, str) else when
    return {"id": id, "name": id.title(), "when": kinds, "steps": list(steps), **more}


def do(name: str, action: str, **params: Any) -> Document:
    return {"name": name, "do": action, "with": params}


WAIT = {"name": "wait", "wait": {"for": "P30D"}}
DOWN, UP = do("down", "stripe.change_plan", price="price_free"), do("up", "stripe.change_plan", price="price_pro")


def live(services: Services, *documents: Document) -> None:
    s = services
    for one in documents:
        author.save_draft(s.store, s.vault, s.catalogue, s.connectors, TENANT, one, "ada", START)
        author.publish(s.store, s.catalogue, s.connectors, TENANT, one["id"], "ada", "because", START)


def fails(services: Services, number: int, days: float, attempt: int = 1) -> None:
    happens(services, "invoice.payment_failed", number, days, attempt_count=attempt)


def happens(services: Services, type: str, number: int, days: float, tenant: str = TENANT, **more: Any) -> None:
    thing = invoice(f"in_{number}", f"cus_{number}", f"sub_{number}", **more)
    keep_event(services.store, event(f"evt_{type}_{number}_{days}", type, thing, START + days * DAY, tenant=tenant))


def cancelled(services: Services, number: int, days: float, reason: str = "payment_failed") -> None:
    thing = {"object": "subscription", "id": f"sub_{number}", "customer": f"cus_{number}", "status": "canceled",
             "cancellation_details": {"reason": reason}}  # fmt: skip
    at = START + days * DAY
    keep_event(services.store, event(f"evt_gone_{number}", "customer.subscription.deleted", thing, at))


def found(services: Services, kind: str, rule: Document | None = None) -> list[Finding]:
    looked = lint.looked(services.store, services.catalogue, TENANT, NOON, rule)
    return [one for one in looked.findings if one.kind == kind]


# ---- Stripe's own doings ---------------------------------------------------------------------------------------------
def test_a_ladder_that_ends_after_stripe_has_cancelled_is_too_late_and_names_customers(
    services: Services,
) -> None:
    live(services, document("late", "invoice.payment_failed", WAIT, DOWN))
    for number in range(4):
        fails(services, number, 0)
        cancelled(services, number, 14 + number)
    (one,) = found(services, "too late")
    assert one.sentence == (
        "Stripe cancelled 4 of 4 unpaid subscriptions by day 17 after the first failed payment, in the history here. "
        "The step “down” comes 30 days after the rule has begun: too late."
    )
    assert (one.path, one.overlap) == ("steps[1]", 4)
    assert {seen["subject"] for seen in one.seen} == {f"sub_{number}" for number in range(4)}


@pytest.mark.parametrize("reason", ["cancellation_requested", None])
def test_what_customers_cancel_themselves_says_nothing_of_stripe(services: Services, reason: str | None) -> None:
    live(services, document("late", "invoice.payment_failed", WAIT, DOWN))
    for number in range(4):
        fails(services, number, 0)
        cancelled(services, number, 14, reason or "payment_disputed")
    assert found(services, "too late") == []


def test_a_ladder_that_is_quicker_than_stripe_is_in_time(services: Services) -> None:
    quick = {"name": "wait", "wait": {"for": "P2D"}}
    live(services, document("quick", "invoice.payment_failed", quick, DOWN))
    for number in range(4):
        fails(services, number, 0)
        cancelled(services, number, 14)
    assert found(services, "too late") == []


def test_a_retry_of_ours_is_one_more_where_stripe_tries_again_within_hours(services: Services) -> None:
    live(services, document("retry", "invoice.payment_failed", do("pay", "stripe.pay_invoice")))
    for number in range(4):
        fails(services, number, 0)
        fails(services, number, 0.25, attempt=2)
    (one,) = found(services, "retried already")
    assert one.sentence.startswith("Stripe already tries again within 12 hours: it did so for 4 of 8 failed payments")
    assert one.overlap == 4


# ---- rules that met --------------------------------------------------------------------------------------------------
def test_rules_of_other_events_collide_only_where_they_undid_each_other(services: Services) -> None:
    late = document("ladder", "invoice.payment_failed", WAIT, DOWN)
    back = document("back", "invoice.paid", UP, again={"while_open": True, "after": "PT0S"})
    live(services, late, back)
    assert found(services, "collision") == []
    fails(services, 1, 0)
    happens(services, "invoice.paid", 1, 2)
    happens(services, "invoice.paid", 2, 2)
    (one,) = found(services, "collision")
    assert (one.overlap, [seen["customer"] for seen in one.seen]) == (1, ["cus_1"])
    live(services, {**late, "stop_when": [{"event": ["invoice.paid"], "same": "subscription"}]})
    assert found(services, "collision") == []


def test_a_rule_that_had_acted_before_the_other_began_is_not_undone_by_it(services: Services) -> None:
    back = document("back", "invoice.paid", UP, again={"while_open": True, "after": "PT0S"})
    live(services, document("quick", "invoice.payment_failed", DOWN), back)
    fails(services, 1, 0)
    happens(services, "invoice.paid", 1, 2)
    assert found(services, "collision") == []


def test_what_the_history_shows_most_often_comes_first(services: Services) -> None:
    live(
        services,
        document("pause", "invoice.payment_failed", do("pause", "stripe.pause_collection")),
        document("resume", "invoice.payment_failed", do("resume", "stripe.resume_collection")),
        document("void", "invoice.finalized", do("void", "stripe.void_invoice")),
        document("send", "invoice.finalized", do("send", "stripe.send_invoice")),
    )
    happens(services, "invoice.finalized", 1, 0)
    for number in (1, 2, 3):
        fails(services, number, number)
    assert [(one.rules, one.overlap) for one in found(services, "collision")] == [
        (("pause", "resume"), 3),
        (("send", "void"), 1),
    ]
    mine = author.rule(services.store, TENANT, "void")["document"]
    assert [one.rules for one in found(services, "collision", mine)] == [("void", "send")]


def test_history_of_another_tenant_is_not_looked_at(services: Services) -> None:
    live(services, document("pause", "invoice.payment_failed", do("pause", "stripe.pause_collection")),
         document("resume", "invoice.payment_failed", do("resume", "stripe.resume_collection")))  # fmt: skip
    happens(services, "invoice.payment_failed", 1, 0, tenant="acct_2/live")
    assert [one.overlap for one in found(services, "collision")] == [0]


# ---- pages -----------------------------------------------------------------------------------------------------------
def test_the_page_names_the_customers_and_the_publish_page_leads_to_it(services: Services) -> None:
    live(services, document("pause", "invoice.payment_failed", do("pause", "stripe.pause_collection")))
    resume = document("resume", "invoice.payment_failed", do("resume", "stripe.resume_collection"))
    s = services
    author.save_draft(s.store, s.vault, s.catalogue, s.connectors, TENANT, resume, "ada", START)
    fails(services, 7, 1)
    browser = create_app(services).test_client()
    page = browser.get("/lint?rule=resume").text
    assert "Collides" in page
    assert "/customers/cus_7" in page
    assert "/why?rule=resume&amp;subject=sub_7" in page
    asked = browser.get("/rules/resume/publish").text
    assert "It collides with “Pause”" in asked
    assert 'href="/lint?rule=resume"' in asked


def test_a_rule_is_found_by_words_of_its_name(services: Services) -> None:
    live(services, document("late", "invoice.payment_failed", DOWN) | {"name": "Downgrade who failed twice"})
    assert [one["to"] for one in browse.find(services.store, TENANT, "Failed downgrade")["choices"]] == ["/rules/late"]
    assert browse.find(services.store, TENANT, "upgrade twice thrice")["choices"] == []


# ---- explanations ----------------------------------------------------------------------------------------------------
def explain(services: Services, rule: Any, **about: Any) -> Document:
    s = services
    return explaining.explain(s.store, s.vault, s.catalogue, s.connectors, TENANT, rule, NOON, **about)


def test_a_live_customer_asked_of_a_test_rule_is_another_tenants(services: Services) -> None:
    live(services, document("late", "invoice.payment_failed", DOWN))
    services.store.commit("system", None, [Put("tenant", "acct_2/live", {"id": "acct_2/live", "created_at": "2026"})])
    happens(services, "invoice.payment_failed", 1, 0, tenant="acct_2/live")
    assert explain(services, "late", subject="cus_1")["gate"] == "tenant"
    assert explain(services, "late", event="evt_invoice.payment_failed_1_0")["gate"] == "tenant"
    assert explain(services, "late", subject="cus_2")["gate"] == "event"


def test_a_stop_that_had_come_is_read_from_the_log(services: Services) -> None:
    stop = [{"event": ["invoice.paid"], "same": "invoice"}]
    rule = document("late", "invoice.payment_failed", DOWN, stop_when=stop)
    happens(services, "invoice.paid", 1, 1)
    thing = invoice("in_1", "cus_1", "sub_1")
    late = event("evt_late", "invoice.payment_failed", thing, START, recorded=START + timedelta(days=2))
    keep_event(services.store, late)
    assert explain(services, rule, event="evt_late")["gate"] == "stopped"


def test_any_version_can_be_asked(services: Services) -> None:
    big = {"field": "data.object.amount_due", "is": "greater than", "value": 9000}
    live(services, document("late", "invoice.payment_failed", DOWN, only_if=big))
    live(services, document("late", "invoice.payment_failed", DOWN))
    fails(services, 1, 1)
    assert explain(services, "late", subject="sub_1", number=1)["gate"] == "condition"
    assert explain(services, "late", subject="sub_1", number=2)["gate"] is None


# ---- advice ----------------------------------------------------------------------------------------------------------
def advice(services: Services, *steps: Document) -> dict[str, str]:
    given = document("r", "invoice.payment_failed", *steps)
    return {one.path: one.message for one in author_advice.advice(services.store, TENANT, given)}


def test_a_price_that_no_event_has_named_is_advice_with_the_nearest_one(services: Services) -> None:
    assert advice(services, UP) == {}
    price = {"object": "price", "id": "price_free", "nickname": "Free"}
    keep_event(services.store, event("evt_p", "price.created", price))
    thing = {"object": "subscription", "id": "sub_1", "items": {"data": [{"price": {**price, "id": "price_pro1"}}]}}
    keep_event(services.store, event("evt_s", "customer.subscription.created", thing))
    assert advice(services, DOWN) == {}
    assert list(advice(services, {"name": "if", "if": {}, "then": [UP]})) == ["steps[0].then[0].with.price"]
    (one,) = author_advice.advice(services.store, TENANT, document("r", "invoice.paid", UP))
    assert (one.severity, one.suggestion) == ("advice", "price_pro1")
    assert advice(services, do("up", "stripe.change_plan", price="{{ data.object.metadata.price }}")) == {}


def test_a_connection_of_another_type_than_the_action_needs_is_advice(services: Services) -> None:
    body = {"name": "team", "type": "slack", "state": "on", "created_at": "2026"}
    services.store.commit(TENANT, None, [Put("connection", "team", body)])
    said = advice(services, do("tell", "crm.notify", connection="team"))
    assert said == {
        "steps[0].with.connection": "'team' is a connection of the kind Slack; this step needs one of the kind Signed "
        "webhook, and will wait"
    }
    assert advice(services, do("tell", "slack.post", connection="team", text="x")) == {}
