"""The state that a rule stops on is read again just before every outside effect, whatever the log knows by then."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from app.connectors.stripe_answers import StripeAccess
from app.connectors.stripe_guard import StripeGuard
from rules.ports import Ask, Standing, Unavailable
from rules.standing import asks, judged
from tests.app.test_stripe_actions import act_on, an_open_invoice
from tests.builders import DAY, NOON, TENANT
from tests.fakes.stripe_api import FakeStripe, Fault
from tests.rules.world import rule
from tests.stories.test_undo import Stripe
from tests.stories.world import CLOSE, DOWNGRADE, LADDER, NOTIFY, World, failed, paid, twice_in_a_week

SECOND = NOON + DAY
GRACE_OVER = SECOND + 2 * DAY
STOPS = [
    {"event": ["invoice.paid", "invoice.voided"], "same": "invoice"},
    {"event": ["customer.subscription.deleted"], "same": "subscription"},
]


@dataclass
class Seen:
    """What Stripe would say; silent: how many questions nobody answers."""

    statuses: dict[str, str] = field(default_factory=dict)
    silent: int = 0
    asked: list[tuple[str, ...]] = field(default_factory=list)

    def look(self, tenant: str, asked: Sequence[Ask]) -> Standing:
        assert tenant == TENANT
        self.asked.append(tuple(ask.id for ask in asked))
        if self.silent:
            self.silent -= 1
            raise Unavailable("Stripe does not answer")
        return judged(asked, [self.statuses.get(ask.id, "open") for ask in asked])


def lived(document: Any, seen: Seen, *script: Any, until: Any = SECOND + 10 * DAY) -> World:
    world = World()
    world.guard = seen
    world.services = world._started()
    world.outside.answers = Stripe().answer
    world.publish(document)
    world.live(until, (NOON, failed(1, NOON)), (SECOND, failed(2, SECOND)), *script)
    return world


def story(world: World) -> str:
    (run,) = world.runs()
    return " ".join(one["text"] for one in run["story"])


def done(world: World) -> list[str]:
    return [effect.id.partition("/")[2] for effect in world.outside.requests]


def test_a_run_whose_invoice_was_paid_though_no_event_has_come_stops_at_its_next_step() -> None:
    seen = Seen()

    def pays() -> None:
        seen.statuses["in_1"] = "paid"

    world = lived(LADDER | {"stop_when": STOPS}, seen, (SECOND + DAY, pays))
    (run,) = world.runs()
    assert done(world) == ["tell-crm"]
    assert run["state"] == "stopped"
    assert run["reason"] == "invoice in_1 is paid, read again at Stripe just before acting"
    assert run["steps"]["downgrade"]["state"] == "skipped"
    assert [command["state"] for command in world.commands()] == ["done", "cancelled"]


def test_a_notice_to_the_crm_is_guarded_like_any_other_effect() -> None:
    world = lived(twice_in_a_week([NOTIFY], stop_when=STOPS), Seen({"sub_1": "canceled"}))
    assert done(world) == []
    assert "subscription sub_1 is canceled" in story(world)


def test_the_story_says_what_was_read_again() -> None:
    world = lived(LADDER | {"stop_when": STOPS}, Seen({"sub_1": "past_due"}))
    assert done(world) == ["tell-crm", "downgrade", "close"]
    assert "tell-crm: read again just before: invoice in_1 is open, subscription sub_1 is past due." in story(world)


def test_while_nobody_answers_the_effect_waits_and_then_happens_once() -> None:
    seen = Seen(silent=3)
    world = lived(LADDER | {"stop_when": STOPS}, seen)
    assert done(world) == ["tell-crm", "downgrade", "close"]
    assert len(seen.asked) == 6
    attempts = world.commands()[0]["attempts"]
    assert [one["outcome"] for one in attempts] == ["retry", "retry", "retry", "done"]


def test_a_rule_without_such_a_stop_reads_nothing() -> None:
    seen = Seen()
    lived(twice_in_a_week([NOTIFY, DOWNGRADE, CLOSE]), seen)
    assert seen.asked == []


def test_what_is_taken_back_is_not_held_up_by_the_very_payment_that_caused_it() -> None:
    undo = {"on": ["invoice.paid"], "same": "invoice", "within": "P60D"}
    seen = Seen()

    def pays() -> None:
        seen.statuses["in_1"] = "paid"

    at = SECOND + 5 * DAY
    document = twice_in_a_week([DOWNGRADE], stop_when=STOPS, undo=undo)
    world = lived(document, seen, (at - timedelta(hours=1), pays), (at, paid(at)))
    assert done(world) == ["downgrade", "undo/downgrade"]
    assert "Undone: the plan is price_pro again." in story(world)


def test_only_the_very_same_object_is_asked_for() -> None:
    from rules.model import Stop

    subjects = {"cus": "cus_1", "sub": "sub_1", "in": "in_1"}
    mine = rule(stop_when=(Stop(("invoice.paid",), "customer"), Stop(("invoice.voided", "charge.refunded"), "invoice")))
    assert asks(mine, subjects) == (Ask("invoice", "in_1", {"void": "invoice.voided"}),)
    assert asks(mine, {"cus": "cus_1"}) == ()


# ---- at Stripe ------------------------------------------------------------------------------------------------------
@pytest.fixture
def fake() -> FakeStripe:
    return FakeStripe(now=lambda: int(NOON.timestamp()), seed=3, sample=True)


@pytest.fixture
def base(fake: FakeStripe) -> Iterator[str]:
    with fake.running() as address:
        yield address


def ask(id: str, kind: str = "invoice") -> Ask:
    return Ask(kind, id, {"paid": "invoice.paid", "canceled": "customer.subscription.deleted"})


def test_the_state_is_read_at_stripe(fake: FakeStripe, base: str) -> None:
    guard = StripeGuard(StripeAccess("sk_test_1", base))
    id = an_open_invoice(fake, "pm_card_visa")
    assert guard.look(TENANT, [ask(id), ask("sub_1", "subscription")]).says.startswith(f"invoice {id} is open, ")
    from app.connectors.stripe import stripe_actions

    actions = {action.name: action for action in stripe_actions(StripeAccess("sk_test_1", base))}
    assert act_on(actions, "stripe.pay_invoice", id).kind == "done"
    assert guard.look(TENANT, [ask(id)]).stop.startswith(f"invoice {id} is paid")


def test_what_stripe_does_not_know_or_show_stops_nothing_and_is_said(fake: FakeStripe, base: str) -> None:
    guard = StripeGuard(StripeAccess("sk_test_1", base))
    found = guard.look(TENANT, [ask("in_unheard_of")])
    assert (found.stop, found.says) == ("", "Stripe does not say how invoice in_unheard_of stands")


def test_an_error_of_stripes_is_no_answer(fake: FakeStripe, base: str) -> None:
    fake.faults.append(Fault("500", method="GET"))
    with pytest.raises(Unavailable):
        StripeGuard(StripeAccess("sk_test_1", base)).look(TENANT, [ask("in_1")])


def test_without_a_key_there_is_nothing_to_ask(base: str) -> None:
    assert StripeGuard(StripeAccess("", base)).look(TENANT, [ask("in_1")]) == Standing()
