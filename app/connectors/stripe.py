"""What Signalbox does at Stripe. Each action reads the state first, then makes one call under the command's key.

A try whose answer was lost is made again with the same key; Stripe forgets keys after a day, so what is so already is
said to be done and not done again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Literal

import stripe

from app.connectors.stripe_answers import StripeAccess, kept_request, kept_response, outcome_of, state_changed
from rules.ports import ActionExecutor, Body, Field, Outcome

GONE = ("canceled", "incomplete_expired")
BEFORE_RENEWAL = timedelta(hours=1)  # a change for the end of the period must be there when Stripe drafts the invoice
Kind = Literal["subscription", "invoice", "customer"]
PREFIX: dict[Kind, str] = {"subscription": "sub", "invoice": "in", "customer": "cus"}
# the SDK's verb: its method and what follows the object's path
VERBS = {
    "update": ("POST", ""),
    "cancel": ("DELETE", ""),
    "pay": ("POST", "/pay"),
    "void_invoice": ("POST", "/void"),
    "mark_uncollectible": ("POST", "/mark_uncollectible"),
    "send_invoice": ("POST", "/send"),
}
# what a preview stands on: nothing has been read yet
IMAGINED: dict[Kind, dict[str, Any]] = {
    "subscription": {
        "id": "{subscription}",
        "status": "active",
        "cancel_at_period_end": False,
        "pause_collection": None,
        "items": {"data": [{"id": "{item}", "price": {"id": "{price now}"}, "quantity": 1, "current_period_end": 0}]},
    },
    "invoice": {"id": "{invoice}", "status": "open", "amount_remaining": 0, "currency": "usd"},
    "customer": {"id": "{customer}", "metadata": {}},
}


class NotNow(Exception):
    """The state that was read settles it without a call: the outcome says how."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.message)
        self.outcome = outcome


def already(message: str, **data: Any) -> NotNow:
    return NotNow(Outcome.done(message, data={"already": True, **data}))


def other_result(message: str, result: str) -> NotNow:
    """The step cannot be taken any more; the run goes on and its later steps can ask `step.<name>.result`."""
    return NotNow(Outcome("branch", message, data={"result": result}))


@dataclass(frozen=True, slots=True)
class Call:
    """One request. done: the sentence when it succeeded. data: what later steps and an undo read."""

    verb: str
    params: Mapping[str, Any]
    done: str
    data: Mapping[str, Any]


class _Action:
    """The way of every action: read the object, see what is to be done, do it, say what came of it."""

    name: str
    title: str
    kind: Kind
    fields: tuple[Field, ...] = ()
    undo = "cannot be undone"
    stands_on: ClassVar[Body] = {}  # what a preview takes for granted beyond IMAGINED

    def __init__(self, access: StripeAccess) -> None:
        self.access = access

    def call(self, thing: Body, params: Body, now: datetime) -> Call:
        """The request to make on this state of the object; raises NotNow when there is none to make."""
        raise NotImplementedError

    def preview(self, params: Body) -> Body:
        """The exact call; what the rule leaves open, and what only the true object says, stands in braces."""
        thing = {**IMAGINED[self.kind], **self.stands_on}
        blank = {field.name: f"{{{field.name}}}" for field in self.fields if field.required}
        given = {name: value for name, value in params.items() if value not in (None, "") and name != "from_price"}
        call = self.call(thing, {**blank, **given}, datetime.fromtimestamp(0, UTC))
        return {**self._request(call, thing["id"], "(run)/(step)/0"), "undo": self.undo}

    def execute(self, task: Body, now: datetime) -> Outcome:
        id = task["params"].get(self.kind) or task["subjects"].get(PREFIX[self.kind])
        if not id:
            return Outcome.dead(f"The event names no {self.kind}.")
        client = self.access.client(task["tenant"])
        try:
            thing = self._read(client, str(id))
            return self._make(client, task, thing, self.call(thing, task["params"], now), now)
        except NotNow as settled:
            return _remembering(settled.outcome, task)
        except stripe.StripeError as error:
            return outcome_of(error, kept_request("GET", f"/v1/{self.kind}s/{id}", {}, None))

    def _make(self, client: stripe.StripeClient, task: Body, thing: Body, call: Call, now: datetime) -> Outcome:
        key = task["idempotency_key"]
        request = self._request(call, thing["id"], key)
        try:
            answer = getattr(self._service(client), call.verb)(thing["id"], dict(call.params), {"idempotency_key": key})
        except stripe.StripeError as error:
            if state_changed(error):
                self.call(self._read(client, thing["id"]), task["params"], now)  # NotNow when that settles it
            outcome = outcome_of(error, request)
            return replace(outcome, data={**call.data, **outcome.data})
        return Outcome.done(call.done, data=call.data, request=request, response=kept_response(answer))

    def _service(self, client: stripe.StripeClient) -> Any:
        return getattr(client.v1, f"{self.kind}s")

    def _read(self, client: stripe.StripeClient, id: str) -> dict[str, Any]:
        found: dict[str, Any] = self._service(client).retrieve(id).to_dict(for_json=True)
        if found.get("deleted"):
            raise other_result(f"The {self.kind} {id} was deleted.", "gone")
        return found

    def _request(self, call: Call, id: str, key: str) -> dict[str, Any]:
        method, more = VERBS[call.verb]
        return kept_request(method, f"/v1/{self.kind}s/{id}{more}", call.params, key)


def _remembering(outcome: Outcome, task: Body) -> Outcome:
    """What an earlier try had read before its answer was lost: the state before the change."""
    earlier = task.get("outcome", {}).get("data", {})
    if outcome.kind == "done" and "before" in earlier:
        return replace(outcome, data={**outcome.data, **earlier})
    return outcome


# ---- subscriptions --------------------------------------------------------------------------------------------------
def _alive(subscription: Body) -> None:
    if subscription["status"] in GONE:
        raise other_result(f"The subscription {subscription['id']} has ended ({subscription['status']}).", "gone")


class ChangePlan(_Action):
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
        wanted = [item for item in items if item["price"]["id"] in (from_price, params["price"])]
        if from_price and wanted:
            return wanted[0]
        if len(items) == 1 and not from_price:
            return items[0]
        what = f"no item with {from_price}" if from_price else f"{len(items)} items; the rule must say which to replace"
        raise NotNow(Outcome("person", f"The subscription {thing['id']} has {what}."))

    @staticmethod
    def _not_before_the_end(item: Body, now: datetime) -> None:
        moment = datetime.fromtimestamp(item["current_period_end"], UTC) - BEFORE_RENEWAL
        if now < moment:
            message = f"The paid period ends at {item['current_period_end']}; the change waits until an hour before."
            raise NotNow(Outcome.retry(message, after=moment - now, data={"postponed": True}))


class CancelSubscription(_Action):
    name = "stripe.cancel_subscription"
    title = "Cancel the subscription"
    kind: Kind = "subscription"
    undo = "a cancellation at the period's end can be taken back until then; one that happened cannot"
    fields: tuple[Field, ...] = (
        Field("when", "When", "choice", choices=("period_end", "now"), default="period_end"),
        Field("comment", "Comment", "template", help="Kept at Stripe with the cancellation."),
    )

    def call(self, thing: Body, params: Body, now: datetime) -> Call:
        if thing["status"] in GONE:
            raise already(f"The subscription {thing['id']} has ended already.", subscription=thing["id"])
        comment = {"cancellation_details": {"comment": params["comment"]}} if params.get("comment") else {}
        data = {"subscription": thing["id"], "before": {"cancel_at_period_end": thing["cancel_at_period_end"]}}
        if params.get("when") == "now":
            return Call("cancel", comment, f"Cancelled the subscription {thing['id']}.", data)
        if thing["cancel_at_period_end"]:
            raise already(f"The subscription {thing['id']} ends with its period already.", subscription=thing["id"])
        text = f"The subscription {thing['id']} will end with its paid period."
        return Call("update", {"cancel_at_period_end": True, **comment}, text, data)


class PauseCollection(_Action):
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
    )

    def call(self, thing: Body, params: Body, now: datetime) -> Call:
        _alive(thing)
        behavior = params.get("behavior") or "keep_as_draft"
        paused = thing["pause_collection"]
        if paused and paused["behavior"] == behavior:
            raise already(f"Collection for {thing['id']} is paused already.", subscription=thing["id"])
        data = {"subscription": thing["id"], "before": {"pause_collection": paused}}
        text = f"Paused collection for {thing['id']} ({behavior.replace('_', ' ')})."
        return Call("update", {"pause_collection": {"behavior": behavior}}, text, data)


class ResumeCollection(_Action):
    name = "stripe.resume_collection"
    title = "Resume collecting payments"
    kind: Kind = "subscription"
    undo = "collection is paused again"
    stands_on: ClassVar[Body] = {"pause_collection": {"behavior": "keep_as_draft"}}

    def call(self, thing: Body, params: Body, now: datetime) -> Call:
        _alive(thing)
        if not thing["pause_collection"]:
            raise already(f"Collection for {thing['id']} is not paused.", subscription=thing["id"])
        data = {"subscription": thing["id"], "before": {"pause_collection": thing["pause_collection"]}}
        return Call("update", {"pause_collection": ""}, f"Resumed collection for {thing['id']}.", data)


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


class PayInvoice(_Action):
    name = "stripe.pay_invoice"
    title = "Try the payment again"
    kind: Kind = "invoice"

    def call(self, thing: Body, params: Body, now: datetime) -> Call:
        _open(thing, "paid", ("open", "uncollectible"))
        return Call("pay", {}, f"The invoice {thing['id']} was paid.", {**_invoice_data(thing), "result": "paid"})


class VoidInvoice(_Action):
    name = "stripe.void_invoice"
    title = "Void the invoice"
    kind: Kind = "invoice"

    def call(self, thing: Body, params: Body, now: datetime) -> Call:
        _open(thing, "void", ("open", "uncollectible"))
        return Call("void_invoice", {}, f"Voided the invoice {thing['id']}.", _invoice_data(thing))


class MarkUncollectible(_Action):
    name = "stripe.mark_uncollectible"
    title = "Mark the invoice uncollectible"
    kind: Kind = "invoice"

    def call(self, thing: Body, params: Body, now: datetime) -> Call:
        _open(thing, "uncollectible")
        text = f"Marked the invoice {thing['id']} uncollectible."
        return Call("mark_uncollectible", {}, text, _invoice_data(thing))


class SendInvoice(_Action):
    name = "stripe.send_invoice"
    title = "Send the invoice by e-mail"
    kind: Kind = "invoice"

    def call(self, thing: Body, params: Body, now: datetime) -> Call:
        if thing["status"] not in ("open", "draft"):
            raise other_result(f"The invoice {thing['id']} is {thing['status']}.", str(thing["status"]))
        return Call("send_invoice", {}, f"Stripe sent the invoice {thing['id']}.", _invoice_data(thing))


# ---- customers ------------------------------------------------------------------------------------------------------
class SetMetadata(_Action):
    name = "stripe.update_customer_metadata"
    title = "Set a metadata value on the customer"
    kind: Kind = "customer"
    undo = "the value goes back to what it was"
    fields: tuple[Field, ...] = (
        Field("key", "Key", required=True),
        Field("value", "Value", "template", help="Empty removes the key."),
    )

    def call(self, thing: Body, params: Body, now: datetime) -> Call:
        key, value = str(params["key"]), str(params.get("value") or "")
        before = thing["metadata"].get(key, "")
        if before == value:
            raise already(f"{key} of {thing['id']} is {value!r} already.", customer=thing["id"])
        data = {"customer": thing["id"], "before": {"metadata": {key: before}}}
        return Call("update", {"metadata": {key: value}}, f"Set {key} of {thing['id']} to {value!r}.", data)


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
    ]
