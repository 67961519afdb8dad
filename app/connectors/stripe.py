"""What Signalbox does to subscriptions, invoices and customers at Stripe; how it does it is stripe_action's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from app.connectors.params import time_of
from app.connectors.stripe_action import (
    GONE,
    Call,
    Kind,
    NotNow,
    StripeAction,
    already,
    other_result,
    unless_changed,
)
from app.connectors.stripe_answers import StripeAccess
from app.connectors.stripe_money import AddInvoiceItem, CreditNote, Refund, RemoveInvoiceItem, VoidCreditNote
from app.connectors.stripe_pausing import KeepSubscription, PauseSubscription, ResumeSubscription, changed
from rules.ports import ActionExecutor, Body, Field, Inverse, Outcome

BEFORE_RENEWAL = timedelta(hours=1)  # a change for the end of the period must be there when Stripe drafts the invoice


# ---- subscriptions --------------------------------------------------------------------------------------------------
def _alive(subscription: Body) -> None:
    if subscription["status"] in GONE:
        raise other_result(f"The subscription {subscription['id']} has ended ({subscription['status']}).", "gone")


class ChangePlan(StripeAction):
    name = "stripe.change_plan"
    title = "Change the subscription's plan"
    kind: Kind = "subscription"
    undo = "the item goes back to its former price"
    fields: tuple[Field, ...] = (
        Field("price", "New price", "price", required=True, help="The price's id at Stripe, price_..."),
        Field(
            "proration",
            "Proration",
            "choice",
            choices=("none", "create_prorations", "always_invoice"),
            default="none",
            help="none: no credit for the rest of the period. always_invoice: settle the difference at once.",
        ),
        Field(
            "when",
            "When",
            "choice",
            choices=("now", "period_end"),
            default="now",
            help="period_end: an hour before the paid period ends, so that the next invoice has the new price.",
        ),
        Field("from_price", "Price to replace", "price", help="Needed only when a subscription has several items."),
        Field(
            "payment",
            "If the payment fails",
            "choice",
            choices=("allow_incomplete", "default_incomplete", "error_if_incomplete", "pending_if_incomplete"),
            help="allow_incomplete: change all the same. error_if_incomplete: do not change.",
        ),
        Field("anchor", "Billing date", "choice", choices=("unchanged", "now"), help="now: a new period begins."),
    )

    def call(self, thing: Body, params: Body, now: datetime) -> Call:
        _alive(thing)
        price = params["price"]
        item = self._item(thing, params)
        was = item["price"]["id"]
        if was == price:
            raise already(f"The subscription is on {price} already.", subscription=thing["id"], price=price)
        if params.get("when") == "period_end":
            self._not_before_the_end(item, now)
        return Call(
            "update",
            {
                "items": [{"id": item["id"], "price": price}],
                "proration_behavior": params.get("proration") or "none",
                **({"payment_behavior": params["payment"]} if params.get("payment") else {}),
                **({"billing_cycle_anchor": {"type": params["anchor"]}} if params.get("anchor") else {}),
            },
            f"Changed the plan of {thing['id']} from {was} to {price}.",
            {
                "subscription": thing["id"],
                "price": price,
                "before": {"item": item["id"], "price": was, "quantity": item.get("quantity", 1)},
            },
        )

    @staticmethod
    def _item(thing: Body, params: Body) -> dict[str, Any]:
        """The item to change. Without its id Stripe would add a second one."""
        items: list[dict[str, Any]] = thing["items"]["data"]
        from_price = params.get("from_price")
        if params.get("item"):
            return ChangePlan._left(thing, items, params)
        wanted = [item for item in items if item["price"]["id"] in (from_price, params["price"])]
        if from_price and wanted:
            return wanted[0]
        if len(items) == 1 and not from_price:
            return items[0]
        what = f"no item with {from_price}" if from_price else f"{len(items)} items; the rule must say which to replace"
        raise NotNow(Outcome("person", f"The subscription {thing['id']} has {what}."))

    @staticmethod
    def _left(thing: Body, items: list[dict[str, Any]], params: Body) -> dict[str, Any]:
        """The item that an undo is about, as the change left it."""
        item = next((item for item in items if item["id"] == params["item"]), None)
        if item is None:
            raise NotNow(Outcome("person", f"The subscription {thing['id']} has no item {params['item']} any more."))
        if item["price"]["id"] != params["price"]:
            unless_changed(f"The plan of {thing['id']}", item["price"]["id"], params.get("from_price"))
        return item

    def imagined(self, params: Body) -> Body:
        if not params.get("item"):
            return {}
        return {"items": {"data": [{"id": params["item"], "price": {"id": params["from_price"]}, "quantity": 1}]}}

    def inverse(self, command: Body) -> Inverse | None:
        subscription = changed(command)
        if subscription is None:
            return None
        data = command["outcome"]["data"]
        before = data["before"]
        params = {
            "subscription": subscription,
            "item": before["item"],
            "price": before["price"],
            "from_price": data["price"],
            "proration": command["params"].get("proration") or "none",
        }
        return Inverse(self.name, params, f"the plan is {before['price']} again")

    @staticmethod
    def _not_before_the_end(item: Body, now: datetime) -> None:
        moment = datetime.fromtimestamp(item["current_period_end"], UTC) - BEFORE_RENEWAL
        if now < moment:
            message = f"The paid period ends at {item['current_period_end']}; the change waits until an hour before."
            raise NotNow(Outcome.retry(message, after=moment - now, data={"postponed": True}))


class CancelSubscription(StripeAction):
    name = "stripe.cancel_subscription"
    title = "Cancel the subscription"
    kind: Kind = "subscription"
    undo = "a cancellation at the period's end can be taken back until then; one that happened cannot"
    fields: tuple[Field, ...] = (
        Field("when", "When", "choice", choices=("period_end", "now"), default="period_end"),
        Field("comment", "Comment", "template", help="Kept at Stripe with the cancellation."),
        Field(
            "feedback",
            "Reason",
            "choice",
            choices=(
                "customer_service",
                "low_quality",
                "missing_features",
                "switched_service",
                "too_complex",
                "too_expensive",
                "unused",
                "other",
            ),
        ),
        Field("prorate", "Credit for the unused time", "boolean", help="When it is cancelled now."),
        Field("invoice_now", "Bill what is left at once", "boolean", help="When it is cancelled now."),
    )

    def call(self, thing: Body, params: Body, now: datetime) -> Call:
        if thing["status"] in GONE:
            raise already(f"The subscription {thing['id']} has ended already.", subscription=thing["id"])
        said = {name: params[name] for name in ("comment", "feedback") if params.get(name)}
        details: dict[str, Any] = {"cancellation_details": said} if said else {}
        data = {"subscription": thing["id"], "before": {"cancel_at_period_end": thing["cancel_at_period_end"]}}
        if params.get("when") == "now":
            details |= {name: True for name in ("prorate", "invoice_now") if params.get(name)}
            return Call("cancel", details, f"Cancelled the subscription {thing['id']}.", data)
        if thing["cancel_at_period_end"]:
            raise already(f"The subscription {thing['id']} ends with its period already.", subscription=thing["id"])
        text = f"The subscription {thing['id']} will end with its paid period."
        return Call("update", {"cancel_at_period_end": True, **details}, text, data)

    def inverse(self, command: Body) -> Inverse | None:
        subscription = changed(command)
        if subscription is None or command["params"].get("when") == "now":
            return None
        return Inverse(KeepSubscription.name, {"subscription": subscription}, f"{subscription} goes on")


class PauseCollection(StripeAction):
    name = "stripe.pause_collection"
    title = "Pause collecting payments"
    kind: Kind = "subscription"
    undo = "collection is resumed"
    fields: tuple[Field, ...] = (
        Field(
            "behavior",
            "Invoices meanwhile",
            "choice",
            choices=("keep_as_draft", "mark_uncollectible", "void"),
            default="keep_as_draft",
        ),
        Field("resumes_at", "Until", "template", help="2026-12-01T09:00:00Z, or a field with a time. Empty: no end."),
    )

    def call(self, thing: Body, params: Body, now: datetime) -> Call:
        _alive(thing)
        behavior = params.get("behavior") or "keep_as_draft"
        paused = thing["pause_collection"]
        if "expect" in params and paused and paused["behavior"] != behavior:
            unless_changed(f"Collection for {thing['id']}", paused["behavior"], params["expect"])
        wanted = {"behavior": behavior, **_until(params.get("resumes_at"))}
        if paused and {name: value for name, value in paused.items() if value is not None} == wanted:
            raise already(f"Collection for {thing['id']} is paused already.", subscription=thing["id"])
        data = {"subscription": thing["id"], "before": {"pause_collection": paused}}
        text = f"Paused collection for {thing['id']} ({behavior.replace('_', ' ')})."
        return Call("update", {"pause_collection": wanted}, text, data)

    def inverse(self, command: Body) -> Inverse | None:
        subscription = changed(command)
        if subscription is None:
            return None
        left = command["params"].get("behavior") or "keep_as_draft"
        before = command["outcome"]["data"]["before"]["pause_collection"]
        if before:
            params = {"subscription": subscription, **_paused_as(before), "expect": left}
            return Inverse(self.name, params, f"collection is paused as before ({before['behavior']})")
        params = {"subscription": subscription, "expect": left}
        return Inverse(ResumeCollection.name, params, "payments are collected again")


def _paused_as(before: Body) -> dict[str, Any]:
    until = {"resumes_at": before["resumes_at"]} if before.get("resumes_at") else {}
    return {"behavior": before["behavior"], **until}


def _until(text: Any) -> dict[str, Any]:
    """`resumes_at` in unix seconds; a hole that is not filled yet (in a preview) stays."""
    if text in (None, "") or str(text).startswith("{"):
        return {"resumes_at": text} if text else {}
    try:
        found = time_of(text)
    except (ValueError, OverflowError):
        raise NotNow(Outcome("person", f"Collection cannot pause until {str(text)[:40]!r}: that is no time.")) from None
    return {"resumes_at": int(found.timestamp())} if found else {}


class ResumeCollection(StripeAction):
    name = "stripe.resume_collection"
    title = "Resume collecting payments"
    kind: Kind = "subscription"
    undo = "collection is paused again"
    stands_on: ClassVar[Body] = {"pause_collection": {"behavior": "keep_as_draft"}}

    def call(self, thing: Body, params: Body, now: datetime) -> Call:
        _alive(thing)
        if not thing["pause_collection"]:
            raise already(f"Collection for {thing['id']} is not paused.", subscription=thing["id"])
        if "expect" in params:
            unless_changed(f"Collection for {thing['id']}", thing["pause_collection"]["behavior"], params["expect"])
        data = {"subscription": thing["id"], "before": {"pause_collection": thing["pause_collection"]}}
        return Call("update", {"pause_collection": ""}, f"Resumed collection for {thing['id']}.", data)

    def inverse(self, command: Body) -> Inverse | None:
        subscription = changed(command)
        if subscription is None:
            return None
        before = command["outcome"]["data"]["before"]["pause_collection"]
        params = {"subscription": subscription, **_paused_as(before), "expect": ""}
        return Inverse(PauseCollection.name, params, f"collection is paused again ({before['behavior']})")


# ---- invoices -------------------------------------------------------------------------------------------------------
def _invoice_data(invoice: Body) -> dict[str, Any]:
    names = ("status", "amount_remaining", "currency")
    return {"invoice": invoice["id"], "before": {name: invoice.get(name) for name in names}}


def _open(invoice: Body, wanted: str, statuses: tuple[str, ...] = ("open",)) -> None:
    """Return when the invoice is open; done when it is as wanted, another result when it is otherwise."""
    if invoice["status"] == wanted:
        raise already(f"The invoice {invoice['id']} is {wanted} already.", invoice=invoice["id"])
    if invoice["status"] not in statuses:
        raise other_result(f"The invoice {invoice['id']} is {invoice['status']}.", str(invoice["status"]))


class PayInvoice(StripeAction):
    name = "stripe.pay_invoice"
    title = "Try the payment again"
    kind: Kind = "invoice"
    fields: tuple[Field, ...] = (
        Field("invoice", "Invoice", "template", help="in_..., or a field or fact that has it. Empty: the event's."),
        Field("payment_method", "Payment method", "template", help="pm_..., or a field that has it. Empty: as usual."),
        Field("paid_out_of_band", "Paid elsewhere", "boolean", help="yes: nothing is charged, it is called paid."),
        Field("forgive", "Forgive what a source cannot pay", "boolean", help="As Stripe says; for old sources."),
    )

    def call(self, thing: Body, params: Body, now: datetime) -> Call:
        _open(thing, "paid", ("open", "uncollectible"))
        given = {name: params[name] for name in ("payment_method", "paid_out_of_band", "forgive") if params.get(name)}
        return Call("pay", given, f"The invoice {thing['id']} was paid.", {**_invoice_data(thing), "result": "paid"})


class VoidInvoice(StripeAction):
    name = "stripe.void_invoice"
    title = "Void the invoice"
    kind: Kind = "invoice"

    def call(self, thing: Body, params: Body, now: datetime) -> Call:
        _open(thing, "void", ("open", "uncollectible"))
        return Call("void_invoice", {}, f"Voided the invoice {thing['id']}.", _invoice_data(thing))


class MarkUncollectible(StripeAction):
    name = "stripe.mark_uncollectible"
    title = "Mark the invoice uncollectible"
    kind: Kind = "invoice"

    def call(self, thing: Body, params: Body, now: datetime) -> Call:
        _open(thing, "uncollectible")
        text = f"Marked the invoice {thing['id']} uncollectible."
        return Call("mark_uncollectible", {}, text, _invoice_data(thing))


class SendInvoice(StripeAction):
    name = "stripe.send_invoice"
    title = "Send the invoice by e-mail"
    kind: Kind = "invoice"

    def call(self, thing: Body, params: Body, now: datetime) -> Call:
        if thing["status"] not in ("open", "draft"):
            raise other_result(f"The invoice {thing['id']} is {thing['status']}.", str(thing["status"]))
        return Call("send_invoice", {}, f"Stripe sent the invoice {thing['id']}.", _invoice_data(thing))


# ---- customers ------------------------------------------------------------------------------------------------------
class SetMetadata(StripeAction):
    name = "stripe.update_customer_metadata"
    title = "Set a metadata value on the customer"
    kind: Kind = "customer"
    undo = "the value goes back to what it was"
    fields: tuple[Field, ...] = (
        Field("key", "Key", required=True),
        Field("value", "Value", "template", help="Empty removes the key."),
    )

    def imagined(self, params: Body) -> Body:
        return {"metadata": {str(params.get("key")): "{value now}"}}

    def call(self, thing: Body, params: Body, now: datetime) -> Call:
        key, value = str(params["key"]), str(params.get("value") or "")
        before = thing["metadata"].get(key, "")
        if before == value:
            raise already(f"{key} of {thing['id']} is {value!r} already.", customer=thing["id"])
        if "expect" in params:
            unless_changed(f"{key} of {thing['id']}", before, params["expect"])
        data = {"customer": thing["id"], "before": {"metadata": {key: before}}}
        return Call("update", {"metadata": {key: value}}, f"Set {key} of {thing['id']} to {value!r}.", data)

    def inverse(self, command: Body) -> Inverse | None:
        data = command["outcome"].get("data", {})
        if "before" not in data:
            return None
        ((key, before),) = data["before"]["metadata"].items()
        left = str(command["params"].get("value") or "")
        params = {"customer": data["customer"], "key": key, "value": before, "expect": left}
        return Inverse(self.name, params, f"{key} is {before or 'empty'} again")


def stripe_actions(access: StripeAccess) -> list[ActionExecutor]:
    return [
        ChangePlan(access),
        CancelSubscription(access),
        PauseCollection(access),
        ResumeCollection(access),
        PayInvoice(access),
        VoidInvoice(access),
        MarkUncollectible(access),
        SendInvoice(access),
        SetMetadata(access),
        PauseSubscription(access),
        ResumeSubscription(access),
        KeepSubscription(access),
        Refund(access),
        CreditNote(access),
        VoidCreditNote(access),
        AddInvoiceItem(access),
        RemoveInvoiceItem(access),
    ]
