"""What takes Stripe's actions back: from the stored before-value, never over what somebody changed meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from app.connectors.stripe import stripe_actions
from app.connectors.stripe_answers import StripeAccess
from app.perform.inverses import inverse_of
from rules.ports import ActionExecutor, Inverse, Outcome, Reversible
from tests.builders import task
from tests.fakes.stripe_api import FakeStripe, Fault

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.fixture
def fake() -> FakeStripe:
    return FakeStripe(now=lambda: int(NOW.timestamp()), seed=3, sample=True)


@pytest.fixture
def actions(fake: FakeStripe) -> Iterator[Mapping[str, ActionExecutor]]:
    with fake.running() as base:
        yield {action.name: action for action in stripe_actions(StripeAccess("sk_test_1", base))}


def do(actions: Mapping[str, ActionExecutor], name: str, params: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Do it; the command's body as it is settled."""
    given = task(name, params, **more)
    outcome = actions[name].execute(given, NOW)
    assert outcome.kind == "done", outcome
    return {**given, "outcome": {"kind": "done", "data": dict(outcome.data)}}


def back(actions: Mapping[str, ActionExecutor], command: Mapping[str, Any]) -> Inverse:
    action = actions[command["action"]]
    assert isinstance(action, Reversible)
    found = action.inverse(command)
    assert found is not None
    return found


def undone(actions: Mapping[str, ActionExecutor], inverse: Inverse) -> Outcome:
    given = task(inverse.action, inverse.params, idempotency_key="run_1/undo/step/0", id="run_1/undo/step")
    return actions[inverse.action].execute(given, NOW)


def prices(fake: FakeStripe) -> list[str]:
    return [item["price"]["id"] for item in fake.business.get("subscription", "sub_1")["items"]["data"]]


def set_price(actions: Mapping[str, ActionExecutor], price: str) -> None:
    actions["stripe.change_plan"].execute(task("stripe.change_plan", {"price": price}, idempotency_key=price), NOW)


CASES: dict[str, tuple[str, dict[str, Any], str]] = {
    "plan": ("stripe.change_plan", {"price": "price_free"}, "the plan is price_pro_monthly again"),
    "cancel": ("stripe.cancel_subscription", {"when": "period_end"}, "sub_1 goes on"),
    "pause": ("stripe.pause_collection", {"behavior": "void"}, "payments are collected again"),
    "metadata": ("stripe.update_customer_metadata", {"key": "stage", "value": "at risk"}, "stage is empty again"),
}


def state(fake: FakeStripe) -> dict[str, Any]:
    subscription = fake.business.get("subscription", "sub_1")
    names = ("cancel_at_period_end", "pause_collection", "status")
    metadata = dict(fake.business.get("customer", "cus_1")["metadata"])
    return {"prices": prices(fake), "metadata": metadata, **{name: subscription[name] for name in names}}


@pytest.mark.parametrize("case", CASES)
def test_what_was_done_is_put_back_as_it_was(
    case: str, fake: FakeStripe, actions: Mapping[str, ActionExecutor]
) -> None:
    name, params, says = CASES[case]
    before = state(fake)
    inverse = back(actions, do(actions, name, params))
    assert inverse.says == says
    assert state(fake) != before
    assert undone(actions, inverse).kind == "done"
    assert state(fake) == before
    again = undone(actions, inverse)
    assert (again.kind, again.data.get("already")) == ("done", True)


def test_a_pause_that_was_there_before_is_put_back_with_its_manner(
    fake: FakeStripe, actions: Mapping[str, ActionExecutor]
) -> None:
    do(actions, "stripe.pause_collection", {"behavior": "void"})
    resumed = do(actions, "stripe.resume_collection", {}, idempotency_key="run_1/resume/0")
    assert undone(actions, back(actions, resumed)).kind == "done"
    assert fake.business.get("subscription", "sub_1")["pause_collection"]["behavior"] == "void"


def test_a_plan_that_somebody_changed_meanwhile_is_not_overwritten(
    fake: FakeStripe, actions: Mapping[str, ActionExecutor]
) -> None:
    inverse = back(actions, do(actions, "stripe.change_plan", {"price": "price_free"}))
    set_price(actions, "price_gold")
    outcome = undone(actions, inverse)
    assert outcome.kind == "person"
    assert outcome.message == "The plan of sub_1 is price_gold by now, not price_free as we left it."
    assert prices(fake) == ["price_gold"]


def test_an_item_that_is_gone_needs_a_person(fake: FakeStripe, actions: Mapping[str, ActionExecutor]) -> None:
    inverse = back(actions, do(actions, "stripe.change_plan", {"price": "price_free"}))
    fake.business.get("subscription", "sub_1")["items"]["data"][0]["id"] = "si_another"
    assert undone(actions, inverse).kind == "person"


def test_metadata_and_a_pause_that_somebody_changed_meanwhile_are_not_overwritten(
    fake: FakeStripe, actions: Mapping[str, ActionExecutor]
) -> None:
    stage = back(actions, do(actions, "stripe.update_customer_metadata", {"key": "stage", "value": "at risk"}))
    fake.business.get("customer", "cus_1")["metadata"]["stage"] = "saved by hand"
    assert "saved by hand by now" in undone(actions, stage).message
    pause = back(actions, do(actions, "stripe.pause_collection", {"behavior": "void"}, idempotency_key="p"))
    fake.business.get("subscription", "sub_1")["pause_collection"]["behavior"] = "keep_as_draft"
    assert undone(actions, pause).kind == "person"
    assert fake.business.get("subscription", "sub_1")["pause_collection"]["behavior"] == "keep_as_draft"


def test_what_changed_nothing_has_nothing_to_take_back(actions: Mapping[str, ActionExecutor]) -> None:
    do(actions, "stripe.change_plan", {"price": "price_free"})
    again = do(actions, "stripe.change_plan", {"price": "price_free"}, idempotency_key="other")
    assert inverse_of(actions["stripe.change_plan"], again) == {
        "cannot": "It changed nothing, so there is nothing to take back."
    }


@pytest.mark.parametrize(
    "name", ["stripe.pay_invoice", "stripe.void_invoice", "stripe.refund", "stripe.mark_uncollectible"]
)
def test_what_is_final_says_that_it_cannot_be_undone(name: str, actions: Mapping[str, ActionExecutor]) -> None:
    command = {"action": name, "id": "run_1/step", "params": {}, "outcome": {"data": {"before": {}}}}
    assert inverse_of(actions[name], command)["cannot"].startswith("Cannot be undone: ")
    assert actions[name].undo.startswith("Cannot be undone: ")


def test_a_cancellation_that_happened_cannot_be_taken_back(actions: Mapping[str, ActionExecutor]) -> None:
    command = do(actions, "stripe.cancel_subscription", {"when": "now"})
    assert "cannot" in inverse_of(actions["stripe.cancel_subscription"], command)


def test_a_fault_in_working_out_the_way_back_unsettles_nothing(actions: Mapping[str, ActionExecutor]) -> None:
    broken = {"action": "stripe.change_plan", "id": "run_1/step", "outcome": {"data": {"before": 1, "subscription": 1}}}
    assert inverse_of(actions["stripe.change_plan"], broken)["cannot"].startswith("A fault of ours")


def test_what_was_there_before_is_remembered_before_the_change_is_made(
    fake: FakeStripe, actions: Mapping[str, ActionExecutor]
) -> None:
    kept: list[Any] = []

    def remember(data: Any) -> None:
        assert prices(fake) == ["price_pro_monthly"]
        kept.append(data)

    fake.faults.append(Fault("reset after"))
    given = task("stripe.change_plan", {"price": "price_free"}, remember=remember)
    assert actions["stripe.change_plan"].execute(given, NOW).kind == "retry"
    assert prices(fake) == ["price_free"]
    again = {**given, "outcome": {"data": kept[0]}, "remember": lambda data: None}
    outcome = actions["stripe.change_plan"].execute(again, NOW)
    assert outcome.data["before"]["price"] == "price_pro_monthly"


@pytest.mark.parametrize("case", CASES)
def test_the_preview_of_an_undo_shows_the_true_ids(case: str, actions: Mapping[str, ActionExecutor]) -> None:
    name, params, _ = CASES[case]
    inverse = back(actions, do(actions, name, params))
    shown = actions[inverse.action].preview(inverse.params)
    assert shown["url"].endswith(("/sub_1", "/cus_1"))
    assert "{" not in str(shown["body"]).replace("{'", "").replace("[{", "").replace("}", "")
