"""At Stripe: a subscription that is paused and resumed as a whole, and a cancellation that is taken back.

Pausing a subscription ends its billing and its status is `paused`; pausing collection (app.connectors.stripe) leaves it
active and only keeps Stripe from asking for the money.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from app.connectors.stripe_action import GONE, Call, Kind, StripeAction, already, other_result
from rules.ports import Body, Field, Inverse

PRORATIONS = ("none", "create_prorations", "always_invoice")


def still_there(subscription: Body) -> None:
    if subscription["status"] in GONE:
        raise other_result(f"The subscription {subscription['id']} has ended ({subscription['status']}).", "gone")


class PauseSubscription(StripeAction):
    name = "stripe.pause_subscription"
    title = "Pause the subscription"
    kind: Kind = "subscription"
    undo = "the subscription is resumed"
    fields: tuple[Field, ...] = (
        Field(
            "unused_time",
            "Credit for the unused time",
            "choice",
            choices=("none", "now", "item_current_period_start"),
            default="none",
            help="none: no credit. now: from the pause on. item_current_period_start: for the whole period.",
        ),
        Field(
            "usage",
            "Usage so far",
            "choice",
            choices=("now", "none"),
            default="now",
            help="now: usage up to the pause is billed. none: it is not.",
        ),
        Field(
            "invoicing",
            "What there is to bill",
            "choice",
            choices=("pending_invoice_item", "invoice"),
            default="pending_invoice_item",
            help="pending_invoice_item: on the next invoice. invoice: at once.",
        ),
    )

    def call(self, thing: Body, params: Body, now: datetime) -> Call:
        still_there(thing)
        if thing["status"] == "paused":
            raise already(f"The subscription {thing['id']} is paused already.", subscription=thing["id"])
        bill_for = {
            "unused_time_from": {"type": params.get("unused_time") or "none"},
            "outstanding_usage_through": {"type": params.get("usage") or "now"},
        }
        given = {
            "type": "subscription",
            "invoicing_behavior": params.get("invoicing") or "pending_invoice_item",
            "bill_for": bill_for,
        }
        data = {"subscription": thing["id"], "before": {"status": thing["status"]}}
        return Call("pause", given, f"Paused the subscription {thing['id']}.", data)

    def inverse(self, command: Body) -> Inverse | None:
        subscription = changed(command)
        if subscription is None:
            return None
        return Inverse(ResumeSubscription.name, {"subscription": subscription}, f"{subscription} runs again")


class ResumeSubscription(StripeAction):
    name = "stripe.resume_subscription"
    title = "Resume the paused subscription"
    kind: Kind = "subscription"
    undo = "the subscription is paused again"
    stands_on: ClassVar[Body] = {"status": "paused"}
    fields: tuple[Field, ...] = (
        Field(
            "anchor",
            "Billing date",
            "choice",
            choices=("now", "unchanged"),
            default="now",
            help="now: a new period begins. unchanged: the date stays as it was.",
        ),
        Field("proration", "Proration", "choice", choices=PRORATIONS, default="none"),
        Field(
            "payment",
            "Resume on",
            "choice",
            choices=("resume_on_payment_attempt", "resume_on_payment_success"),
            default="resume_on_payment_attempt",
            help="Whether a payment that fails keeps the subscription paused.",
        ),
    )

    def call(self, thing: Body, params: Body, now: datetime) -> Call:
        still_there(thing)
        if thing["status"] != "paused":
            raise already(f"The subscription {thing['id']} is not paused.", subscription=thing["id"])
        given = {
            "billing_cycle_anchor": {"type": params.get("anchor") or "now"},
            "proration_behavior": params.get("proration") or "none",
            "payment_behavior": params.get("payment") or "resume_on_payment_attempt",
        }
        data = {"subscription": thing["id"], "before": {"status": "paused"}}
        return Call("resume", given, f"Resumed the subscription {thing['id']}.", data)

    def inverse(self, command: Body) -> Inverse | None:
        subscription = changed(command)
        if subscription is None:
            return None
        return Inverse(PauseSubscription.name, {"subscription": subscription}, f"{subscription} is paused again")


class KeepSubscription(StripeAction):
    name = "stripe.keep_subscription"
    title = "Take back a cancellation that is still to come"
    kind: Kind = "subscription"
    undo = "the subscription is set to end with its period again"
    stands_on: ClassVar[Body] = {"cancel_at_period_end": True}

    def call(self, thing: Body, params: Body, now: datetime) -> Call:
        still_there(thing)
        if not thing["cancel_at_period_end"]:
            raise already(f"The subscription {thing['id']} is not about to end.", subscription=thing["id"])
        data = {"subscription": thing["id"], "before": {"cancel_at_period_end": True}}
        return Call("update", {"cancel_at_period_end": False}, f"The subscription {thing['id']} goes on.", data)

    def inverse(self, command: Body) -> Inverse | None:
        subscription = changed(command)
        if subscription is None:
            return None
        params = {"subscription": subscription, "when": "period_end"}
        return Inverse("stripe.cancel_subscription", params, f"{subscription} ends with its period again")


def changed(command: Body) -> Any:
    """The subscription that a command changed; None when it found everything as wanted."""
    data = command["outcome"].get("data", {})
    return data.get("subscription") if "before" in data else None
