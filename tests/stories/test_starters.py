"""A story for each starter of the library: from the signed webhook to what receivers saw, its stop and its undo."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from app import author
from app.receive.webhook import receive
from app.starters import find
from rules import skeletons
from rules.ports import Outcome, Store
from tests.builders import NOON, TENANT, signed
from tests.stories.world import ACTOR, Effect, World

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NOW = timedelta(0)
ASKED = {"price": "price_free", "link": "https://billing.example.com"}
CONNECTIONS = (
    {"name": "crm", "type": "webhook", "url": "https://crm.example.com/hook"},
    {"name": "access", "type": "access", "url": "https://gate.example.com/hook"},
    {"name": "slack", "type": "slack", "secret": "https://hooks.slack.com/services/T0/B0/x"},
    {"name": "mail", "type": "smtp", "host": "mail.example.com", "port": 587, "from": "billing@example.com"},
)
FAILED, PAID, UPDATED = "invoice.payment_failed", "invoice.paid", "customer.subscription.updated"
DELETED = "customer.subscription.deleted"
Sent = tuple[timedelta, dict[str, Any]]
BEFORE = {
    "stripe.change_plan": {
        "subscription": "sub_example",
        "price": "price_free",
        "before": {"item": "si_1", "price": "price_pro"},
    },
    "crm.stage": {"stage": "At risk - payment", "before": {"stage": "Customer"}},
}


def sent(after: timedelta, type: str, set: dict[str, Any] | None = None, **more: Any) -> Sent:
    """An event so long after noon. set: values of the object by path. before: what an update changed."""
    at = int((NOON + after).timestamp())
    before, subjects = more.pop("before", None), more
    envelope = skeletons.envelope(f"evt_{type.replace('.', '_')}_{at}", type, at, subjects)
    for path, value in (set or {}).items():
        skeletons.put(envelope, ("data", "object", *path.split(".")), value)
    if before is not None:
        envelope["data"]["previous_attributes"] = before
    return after, envelope


class Play(World):
    """A world with every connection, whose events come as signed webhooks."""

    def __init__(
        self,
        *ids: str,
        answers: dict[str, str] | None = None,
        crash_at: int | None = None,
        opened: Callable[[], Store] | None = None,
    ) -> None:
        super().__init__(crash_at, opened)
        said = answers or {}
        self.outside.answers = lambda effect, times: _answer(effect, said)
        for body in CONNECTIONS:
            author.save_connection(self.durable, self.services.secrets, TENANT, body, ACTOR, self.clock.now())
        for id in ids:
            known = {one.name for one in find(id).parameters}
            document = find(id).filled({name: value for name, value in ASKED.items() if name in known})
            self.publish(document)

    def play(self, until: timedelta, *script: Sent) -> Play:
        self.live(NOON + until, *((NOON + after, self._post(envelope)) for after, envelope in script))
        return self

    def _post(self, envelope: dict[str, Any]) -> Callable[[], object]:
        def post() -> None:
            body, now = json.dumps(envelope).encode(), self.clock.now()
            base = self.base
            answer = receive(signed(body, now), body, self.bus, base.vault, base.verifier, now)
            assert answer.status == 200, answer.problem

        return post

    def done(self) -> list[tuple[str, timedelta]]:
        """(step, when) of everything that reached the outside, in whole minutes."""
        effects = self.outside.effects()
        return [(one.id.partition("/")[2], _minutes(one.at - NOON)) for one in effects]

    def effect(self, step: str) -> Effect:
        return next(one for one in self.outside.effects() if one.id.endswith(f"/{step}"))

    def run(self, rule: str) -> Any:
        (found,) = [run for run in self.runs() if run["rule_id"] == rule]
        return found


def _answer(effect: Effect, said: dict[str, str]) -> Outcome:
    kind: Any = said.get(effect.action, "done")
    return Outcome(kind, f"{effect.action}: {kind}", data=BEFORE.get(effect.action, {}))


def _minutes(span: timedelta) -> timedelta:
    return timedelta(minutes=span // timedelta(minutes=1))


# ---- failed payments ------------------------------------------------------------------------------------------------
def test_two_failed_payments_lower_the_plan_and_open_a_task() -> None:
    world = Play("two-failed-payments").play(4 * DAY, sent(NOW, FAILED), sent(3 * DAY, FAILED))
    assert world.done() == [("downgrade", 3 * DAY), ("stage", 3 * DAY), ("task", 3 * DAY)]
    assert world.effect("downgrade").params["price"] == "price_free"
    assert world.effect("task").params["title"].startswith("Call about invoice ")


def test_two_failed_payments_with_a_payment_between_do_nothing() -> None:
    world = Play("two-failed-payments").play(4 * DAY, sent(NOW, FAILED), sent(DAY, PAID), sent(3 * DAY, FAILED))
    assert world.done() == []


def test_the_ladder_writes_retries_and_only_then_lowers_and_suspends_and_payment_takes_it_back() -> None:
    world = Play("dunning-ladder", answers={"stripe.pay_invoice": "branch"})
    world.play(6 * DAY, sent(NOW, FAILED), sent(5 * DAY, PAID))
    rungs = [("write", NOW), *((step, 2 * DAY) for step in ("retry-payment", "downgrade", "suspend", "task"))]
    back = [(f"undo/{step}", 5 * DAY) for step in ("task", "suspend", "downgrade")]
    assert world.done() == rungs + back
    assert [world.effect(step).action for step, _ in back] == ["crm.close_task", "access.resume", "stripe.change_plan"]
    assert world.effect("undo/downgrade").params["price"] == "price_pro"
    assert "https://invoice.stripe.com/" in world.effect("write").params["text"]


def test_the_ladder_ends_with_the_payment_at_its_first_rung() -> None:
    world = Play("dunning-ladder").play(6 * DAY, sent(NOW, FAILED), sent(DAY, PAID))
    assert world.done() == [("write", NOW)]
    assert world.run("dunning-ladder")["state"] == "stopped"


def test_the_ladder_leaves_a_hard_decline_to_the_other_rule_which_asks_for_a_card() -> None:
    stolen = {"last_payment_error.decline_code": "stolen_card"}
    world = Play("dunning-ladder", "hard-decline")
    known = sent(-DAY, "customer.created", {"email": "tok_exampleexampleexample@acme.com"})
    world.play(4 * DAY, known, sent(NOW, "payment_intent.payment_failed", stolen), sent(HOUR / 60, FAILED))
    assert world.done() == [("write", NOW), ("task", 3 * DAY)]
    assert {run["rule_id"] for run in world.runs()} == {"hard-decline"}
    assert "https://billing.example.com" in world.effect("write").params["text"]
    assert world.effect("write").params["to"].endswith("@acme.com")


def test_a_hard_decline_stops_the_ladders_of_its_customer_and_ends_when_another_card_pays() -> None:
    advised = {"last_payment_error.advice_code": "do_not_try_again"}
    world = Play("dunning-ladder", "hard-decline")
    world.play(
        4 * DAY,
        sent(NOW, FAILED),
        sent(DAY, "payment_intent.payment_failed", advised),
        sent(2 * DAY, "payment_intent.succeeded"),
    )
    assert world.done() == [("write", NOW), ("write", DAY)]
    assert world.run("dunning-ladder")["reason"] == "Hard decline: ask for another card stops it"
    assert world.run("hard-decline")["state"] == "stopped"


def test_who_must_confirm_is_told_reminded_and_called() -> None:
    world = Play("bank-wants-authentication").play(4 * DAY, sent(NOW, "invoice.payment_action_required"))
    assert world.done() == [("write", NOW), ("remind", DAY), ("task", 3 * DAY)]


def test_who_has_confirmed_is_left_alone() -> None:
    world = Play("bank-wants-authentication")
    world.play(4 * DAY, sent(NOW, "invoice.payment_action_required"), sent(HOUR, PAID))
    assert world.done() == [("write", NOW)]


def test_a_new_card_pays_the_newest_open_invoice_at_once() -> None:
    older, newer = (
        sent(-5 * DAY, FAILED, invoice="in_old"),
        sent(-DAY, FAILED, {"created": 1_795_300_000}, invoice="in_new"),
    )
    world = Play("new-card-collect").play(HOUR, older, newer, sent(NOW, "customer.updated"))
    assert world.done() == [("pay", NOW), ("thank", NOW), ("note", NOW)]
    assert world.effect("pay").params["invoice"] == "in_new"


def test_a_new_card_that_is_declined_too_thanks_nobody() -> None:
    world = Play("new-card-collect", answers={"stripe.pay_invoice": "branch"})
    world.play(HOUR, sent(-DAY, FAILED), sent(NOW, "payment_method.automatically_updated"))
    assert world.done() == [("pay", NOW)]


def test_a_payment_takes_back_what_dunning_did() -> None:
    world = Play("two-failed-payments", "paid-again")
    world.play(9 * DAY, sent(NOW, FAILED), sent(DAY, FAILED), sent(8 * DAY, PAID))
    back = [(f"undo/{step}", 8 * DAY) for step in ("task", "stage", "downgrade")]
    did = [(step, DAY) for step in ("downgrade", "stage", "task")]
    assert sorted(world.done()) == sorted([*did, *back, ("thank", 8 * DAY)])
    assert [step for step, _ in world.done() if step.startswith("undo/")] == [step for step, _ in back]
    assert world.effect("undo/stage").params["stage"] == "Customer"


def test_a_payment_after_which_nothing_is_to_be_taken_back_thanks_nobody() -> None:
    world = Play("paid-again").play(2 * DAY, sent(NOW, FAILED), sent(DAY, PAID))
    assert world.done() == []
    assert world.run("paid-again")["state"] == "done"


# ---- trials ---------------------------------------------------------------------------------------------------------
END = "customer.subscription.trial_will_end"
KNOWN = sent(-9 * DAY, "customer.created", {"email": "tok_exampleexampleexample@acme.com"})


def test_a_trial_without_a_card_is_asked_twice_and_then_called() -> None:
    world = Play("trial-without-card").play(3 * DAY, KNOWN, sent(NOW, END))
    assert world.done() == [("ask", NOW), ("remind", 2 * DAY), ("task", 2 * DAY)]
    assert world.effect("ask").params["to"].endswith("@acme.com")
    assert world.effect("task").params["text"] == "Without a card Stripe will: cancel"


def test_a_trial_with_a_card_at_last_is_left_alone() -> None:
    world = Play("trial-without-card").play(3 * DAY, KNOWN, sent(NOW, END), sent(DAY, "payment_method.attached"))
    assert world.done() == [("ask", NOW)]
    assert world.run("trial-without-card")["state"] == "stopped"


def test_a_trial_that_became_paying_moves_the_stage_and_tells_what_it_brings() -> None:
    item = {"quantity": 3, "price": {"unit_amount": 4900, "recurring": {"interval": "month"}}}
    won = sent(NOW, UPDATED, {"status": "active", "items.data": [item]}, before={"status": "trialing"})
    world = Play("trial-became-paying").play(HOUR, won)
    assert world.done() == [("stage", NOW), ("tell", NOW)]
    assert world.effect("stage").params["stage"] == "Customer"
    assert "$147.00 a month" in world.effect("tell").params["message"]


# ---- invoices and disputes ------------------------------------------------------------------------------------------
def test_a_large_overdue_invoice_is_told_and_escalated() -> None:
    large = sent(NOW, "invoice.overdue", {"amount_remaining": 250000})
    world = Play("invoice-overdue").play(4 * DAY, large)
    assert world.done() == [("tell", NOW), ("task", NOW), ("escalate", 3 * DAY)]


def test_a_large_overdue_invoice_that_is_paid_is_not_escalated_and_a_small_one_not_told() -> None:
    large = sent(NOW, "invoice.overdue", {"amount_remaining": 250000})
    small = sent(HOUR, "invoice.overdue", {"amount_remaining": 99999}, invoice="in_small")
    world = Play("invoice-overdue").play(4 * DAY, large, small, sent(DAY, PAID))
    assert world.done() == [("tell", NOW), ("task", NOW)]


DISPUTE = "charge.dispute.created"


def test_a_dispute_stops_dunning_opens_a_case_and_reminds_before_its_day() -> None:
    world = Play("dunning-ladder", "dispute-opened")
    due = int((NOON + 10 * DAY).timestamp())
    world.play(
        11 * DAY,
        sent(-DAY, "charge.succeeded"),
        sent(NOW, FAILED),
        sent(HOUR, DISPUTE, {"evidence_details.due_by": due, "reason": "fraudulent"}),
    )
    assert world.done() == [("write", NOW), ("case", HOUR), ("remind", 8 * DAY)]
    assert world.run("dunning-ladder")["reason"] == "A dispute opens stops it"
    case = world.effect("case").params
    assert (case["title"], case["due"]) == ("Dispute: fraudulent", due)
    assert "customer cus_example" in case["text"]


def test_a_dispute_that_is_settled_is_not_reminded() -> None:
    world = Play("dispute-opened").play(30 * DAY, sent(NOW, DISPUTE), sent(DAY, "charge.dispute.closed"))
    assert world.done() == [("case", NOW)]


# ---- leaving and coming back ----------------------------------------------------------------------------------------
LEAVES = {"cancel_at_period_end": True, "cancel_at": 1_800_000_000, "cancellation_details.feedback": "too_expensive"}
STAYS = {"cancel_at_period_end": False, "cancel_at": None}


def test_who_wants_to_leave_gets_a_task_at_once_and_an_offer_later() -> None:
    leaves = sent(NOW, UPDATED, LEAVES, before=STAYS)
    world = Play("cancellation-scheduled").play(3 * DAY, KNOWN, leaves)
    assert world.done() == [("task", NOW), ("offer", 2 * DAY)]
    assert world.effect("task").params["title"] == "Wants to leave: too_expensive"


def test_who_stays_after_all_gets_no_offer() -> None:
    leaves = sent(NOW, UPDATED, LEAVES, before=STAYS)
    stays = sent(DAY, UPDATED, STAYS, before={"cancel_at_period_end": True, "cancel_at": 1_800_000_000})
    world = Play("cancellation-scheduled").play(3 * DAY, KNOWN, leaves, stays)
    assert world.done() == [("task", NOW)]
    assert world.run("cancellation-scheduled")["reason"] == "the cancellation was taken back"


def test_who_has_left_before_the_offer_gets_none() -> None:
    leaves = sent(NOW, UPDATED, LEAVES, before=STAYS)
    world = Play("cancellation-scheduled").play(3 * DAY, KNOWN, leaves, sent(DAY, DELETED))
    assert world.done() == [("task", NOW)]


def test_an_end_is_tagged_by_its_reason_and_access_removed() -> None:
    for reason, stage in (
        ("payment_failed", "Churned - unpaid"),
        ("payment_disputed", "Churned - disputed"),
        ("cancellation_requested", "Churned - asked"),
    ):
        world = Play("subscription-ended").play(HOUR, sent(NOW, DELETED, {"cancellation_details.reason": reason}))
        (first, *rest) = world.outside.effects()
        assert first.params["stage"] == stage
        assert [one.action for one in rest] == ["access.suspend", "crm.task"]


def test_who_left_because_a_payment_failed_is_written_to_twice() -> None:
    paid = sent(-40 * DAY, PAID, {"amount_paid": 15000})
    lost = sent(NOW, DELETED, {"cancellation_details.reason": "payment_failed"})
    world = Play("ended-unpaid").play(31 * DAY, paid, lost)
    assert world.done() == [("write", 7 * DAY), ("offer", 30 * DAY)]
    assert world.effect("write").params["to"].endswith("@example.com")


def test_who_comes_back_is_not_won_back_again_and_who_paid_little_not_at_all() -> None:
    paid = sent(-40 * DAY, PAID, {"amount_paid": 15000})
    lost = sent(NOW, DELETED, {"cancellation_details.reason": "payment_failed"})
    world = Play("ended-unpaid").play(31 * DAY, paid, lost, sent(8 * DAY, "customer.subscription.created"))
    assert world.done() == [("write", 7 * DAY)]
    assert Play("ended-unpaid").play(31 * DAY, sent(-40 * DAY, PAID, {"amount_paid": 9999}), lost).runs() == []


def test_a_subscription_that_brings_less_opens_one_task_a_week() -> None:
    def item(seats: int) -> dict[str, Any]:
        return {"quantity": seats, "price": {"unit_amount": 1000, "recurring": {"interval": "month"}}}

    def change(after: timedelta, before: int, now: int) -> Sent:
        return sent(after, UPDATED, {"items.data": [item(now)]}, before={"items": {"data": [item(before)]}})

    world = Play("contraction").play(9 * DAY, change(NOW, 10, 8), change(DAY, 8, 5), change(2 * DAY, 5, 9))
    assert world.done() == [("task", NOW)]
    assert world.effect("task").params["title"] == "Pays $80.00 a month instead of $100.00"
