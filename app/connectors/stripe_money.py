"""What Signalbox does with money at Stripe: refunds, credit notes, and items on the next invoice.

Each creates something. What an earlier try created though its answer was lost is found by the command's key in its
metadata, because Stripe forgets keys after a day.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

import stripe

from app import numbers
from app.connectors.stripe_action import Call, Kind, NotNow, StripeAction, already, other_result, ours
from app.connectors.stripe_answers import code_of
from rules.ports import Body, Field, Inverse, Outcome
from rules.words import amount as spoken

LOOKED_AT = 100  # of what there is already; more than this on one payment or invoice does not happen
AMOUNT = "Minor units, such as 500 for $5.00, or a field of the event. Empty: all that is left."


def whole(value: Any, what: str) -> Any:
    """An amount in minor units; a hole that is not filled yet (in a preview) stays. Anything else needs a person."""
    text = str(value).strip()
    if text.startswith("{"):
        return value
    found = numbers.whole(text)
    if not found:
        raise NotNow(Outcome("person", f"{what} is no amount in minor units: {text[:40]!r}."))
    return found


def listed(found: Any) -> list[dict[str, Any]]:
    return [one.to_dict(for_json=True) for one in found.data]


# ---- refunds --------------------------------------------------------------------------------------------------------
class Refund(StripeAction):
    name = "stripe.refund"
    title = "Refund the payment"
    kind: Kind = "charge"
    undo = "Cannot be undone: the money has gone back to the customer."
    stands_on: ClassVar[Body] = {"amount": "{amount}", "ours": None, "left": "{all that is left}"}
    fields: tuple[Field, ...] = (
        Field("amount", "Amount", "template", help=AMOUNT),
        Field(
            "reason",
            "Reason",
            "choice",
            choices=("requested_by_customer", "duplicate", "fraudulent"),
            help="fraudulent also puts the card and the e-mail address on Stripe's block list.",
        ),
    )

    def subject(self, client: stripe.StripeClient, task: Body) -> str:
        """The charge: the event's, or that of its payment intent or invoice."""
        subjects = task["subjects"]
        if subjects.get("ch"):
            return str(subjects["ch"])
        intent = subjects.get("pi") or self._of_invoice(client, subjects.get("in"))
        charge = client.v1.payment_intents.retrieve(intent).latest_charge if intent else None
        if not charge:
            raise NotNow(Outcome.dead("The event names no payment that could be refunded."))
        return str(charge)

    @staticmethod
    def _of_invoice(client: stripe.StripeClient, invoice: str | None) -> str | None:
        if not invoice:
            return None
        paid = client.v1.invoice_payments.list({"invoice": invoice, "limit": LOOKED_AT})
        found = [one["payment"].get("payment_intent") for one in listed(paid) if one["status"] == "paid"]
        return next((str(intent) for intent in found if intent), None)

    def read(self, client: stripe.StripeClient, id: str, task: Body) -> dict[str, Any]:
        charge = super().read(client, id, task)
        known = listed(client.v1.refunds.list({"charge": id, "limit": LOOKED_AT}))
        return {**charge, "left": charge["amount"] - charge["amount_refunded"], "ours": ours(known, task)}

    def call(self, thing: Body, params: Body, now: datetime) -> Call:
        if thing["ours"]:
            raise already(f"{thing['id']} was refunded already.", charge=thing["id"], made=thing["ours"]["id"])
        if thing["status"] != "succeeded":
            raise other_result(f"The payment {thing['id']} has {thing['status']}.", str(thing["status"]))
        if not thing["left"]:
            raise other_result(f"The payment {thing['id']} was refunded in full before.", "refunded")
        asked = whole(params["amount"], "The refund") if params.get("amount") else thing["left"]
        if isinstance(asked, int) and isinstance(thing["left"], int) and asked > thing["left"]:
            left = spoken(thing["left"], thing["currency"])
            raise NotNow(Outcome("person", f"Only {left} of the payment {thing['id']} are left to refund."))
        reason = {"reason": params["reason"]} if params.get("reason") else {}
        data = {"charge": thing["id"], "amount": asked, "currency": thing["currency"], "result": "refunded"}
        text = f"Refunded {_said(asked, thing['currency'])} of {thing['id']}."
        return Call("create", {"charge": thing["id"], "amount": asked, **reason}, text, data, "refunds")


def _said(amount: Any, currency: str) -> str:
    return spoken(amount, currency) if isinstance(amount, int) else str(amount)


# ---- credit notes ---------------------------------------------------------------------------------------------------
class CreditNote(StripeAction):
    name = "stripe.credit_note"
    title = "Issue a credit note for the invoice"
    kind: Kind = "invoice"
    undo = "the credit note is voided, as long as the invoice was open when it was issued"
    stands_on: ClassVar[Body] = {"amount_remaining": "{all that is left}", "amount_paid": 0, "ours": None}
    SHARES: ClassVar[Mapping[str, str]] = {
        "balance": "credit_amount",
        "refund": "refund_amount",
        "outside": "out_of_band_amount",
    }
    fields: tuple[Field, ...] = (
        Field("amount", "Amount", "template", help=AMOUNT),
        Field(
            "give",
            "If the invoice is paid",
            "choice",
            choices=("balance", "refund", "outside"),
            default="balance",
            help="balance: credit for the next invoice. refund: back to the card. outside: you settle it elsewhere.",
        ),
        Field(
            "reason",
            "Reason",
            "choice",
            choices=("order_change", "duplicate", "fraudulent", "product_unsatisfactory"),
        ),
        Field("memo", "Memo", "template", help="Printed on the credit note."),
        Field(
            "email",
            "E-mail to the customer",
            "choice",
            choices=("none", "credit_note"),
            default="none",
            help="credit_note: Stripe sends it. none: it does not.",
        ),
    )

    def read(self, client: stripe.StripeClient, id: str, task: Body) -> dict[str, Any]:
        invoice = super().read(client, id, task)
        known = listed(client.v1.credit_notes.list({"invoice": id, "limit": LOOKED_AT}))
        credited = sum(note["amount"] for note in known if note["type"] == "post_payment" and note["status"] != "void")
        return {**invoice, "amount_paid": invoice["amount_paid"] - credited, "ours": ours(known, task)}

    def call(self, thing: Body, params: Body, now: datetime) -> Call:
        if thing["ours"]:
            made = thing["ours"]["id"]
            of = "open" if thing["ours"]["type"] == "pre_payment" else "paid"
            raise already(f"The credit note {made} was issued already.", invoice=thing["id"], made=made, of=of)
        if thing["status"] not in ("open", "paid"):
            raise other_result(f"The invoice {thing['id']} is {thing['status']}.", str(thing["status"]))
        paid = thing["status"] == "paid"
        left = thing["amount_paid" if paid else "amount_remaining"]
        asked = whole(params["amount"], "The credit note") if params.get("amount") else left
        if isinstance(asked, int) and isinstance(left, int) and not 0 < asked <= left:
            said = spoken(left, thing["currency"])
            raise NotNow(Outcome("person", f"The invoice {thing['id']} has {said} left to credit, not more."))
        share = {self.SHARES[params.get("give") or "balance"]: asked} if paid else {}
        more = {name: params[name] for name in ("reason", "memo") if params.get(name)}
        given = {"invoice": thing["id"], "amount": asked, **share, **more, "email_type": params.get("email") or "none"}
        data = {
            "invoice": thing["id"],
            "amount": asked,
            "currency": thing["currency"],
            "of": thing["status"],
            "before": {"status": thing["status"]},
        }
        text = f"Issued a credit note over {_said(asked, thing['currency'])} for {thing['id']}."
        return Call("create", given, text, data, "credit_notes")

    def inverse(self, command: Body) -> Inverse | None:
        """Stripe voids a credit note only when it was issued before the payment."""
        data = command["outcome"].get("data", {})
        if data.get("of") != "open" or "made" not in data:
            return None
        return Inverse(VoidCreditNote.name, {"credit_note": data["made"]}, f"the credit note {data['made']} is void")


class VoidCreditNote(StripeAction):
    name = "stripe.void_credit_note"
    title = "Void a credit note"
    kind: Kind = "credit_note"
    undo = "Cannot be undone: a void credit note stays void."
    fields: tuple[Field, ...] = (
        Field("credit_note", "Credit note", "template", required=True, help="Its id, cn_..., or a field that has it."),
    )

    def call(self, thing: Body, params: Body, now: datetime) -> Call:
        if thing["status"] == "void":
            raise already(f"The credit note {thing['id']} is void already.", credit_note=thing["id"])
        if thing["type"] != "pre_payment":
            raise other_result(f"The credit note {thing['id']} was issued after the payment, so it stands.", "stands")
        text = f"Voided the credit note {thing['id']}."
        return Call("void_credit_note", {}, text, {"credit_note": thing["id"], "before": {"status": "issued"}})


# ---- invoice items --------------------------------------------------------------------------------------------------
class AddInvoiceItem(StripeAction):
    name = "stripe.add_invoice_item"
    title = "Add an item to the next invoice"
    kind: Kind = "customer"
    undo = "the item is removed, as long as no invoice has taken it up"
    stands_on: ClassVar[Body] = {"ours": None, "currency": "{currency}", "subscription": None}
    fields: tuple[Field, ...] = (
        Field("amount", "Amount", "template", required=True, help="Minor units, such as 500 for $5.00."),
        Field("less", "Credit instead of charge", "boolean", default=False, help="yes: the amount is taken off."),
        Field("currency", "Currency", "template", help="Such as usd. Empty: the event's, else the customer's."),
        Field("description", "Description", "template", help="Printed on the invoice."),
        Field("on", "Which invoice", "choice", choices=("customer", "subscription"), default="customer",
              help="customer: whichever comes next. subscription: the next one of the event's subscription."),
    )  # fmt: skip

    def read(self, client: stripe.StripeClient, id: str, task: Body) -> dict[str, Any]:
        customer = super().read(client, id, task)
        known = listed(client.v1.invoice_items.list({"customer": id, "limit": LOOKED_AT}))
        facts = task["run"].get("facts", {}).get("data", {}).get("object", {})
        currency = facts.get("currency") or customer.get("currency")
        subscription = task["subjects"].get("sub")
        return {**customer, "currency": currency, "subscription": subscription, "ours": ours(known, task)}

    def call(self, thing: Body, params: Body, now: datetime) -> Call:
        if thing["ours"]:
            made = thing["ours"]["id"]
            raise already(f"The item {made} was added already.", customer=thing["id"], made=made)
        currency = params.get("currency") or thing["currency"]
        if not currency:
            raise NotNow(Outcome("person", f"Nothing says in which currency {thing['id']} is billed."))
        amount = whole(params["amount"], "The item")
        if params.get("less") and isinstance(amount, int):
            amount = -amount
        given = {"customer": thing["id"], "amount": amount, "currency": str(currency).lower()}
        if params.get("description"):
            given["description"] = params["description"]
        if params.get("on") == "subscription":
            if not thing["subscription"]:
                raise NotNow(Outcome.dead("The event names no subscription."))
            given["subscription"] = thing["subscription"]
        data = {"customer": thing["id"], "amount": amount, "currency": given["currency"]}
        text = f"{_said(amount, given['currency'])} will be on the next invoice of {thing['id']}."
        return Call("create", given, text, data, "invoice_items")

    def inverse(self, command: Body) -> Inverse | None:
        made = command["outcome"].get("data", {}).get("made")
        return Inverse(RemoveInvoiceItem.name, {"invoice_item": made}, f"the item {made} is removed") if made else None


class RemoveInvoiceItem(StripeAction):
    name = "stripe.remove_invoice_item"
    title = "Remove an item from the next invoice"
    kind: Kind = "invoice_item"
    undo = "Cannot be undone: add the item again."
    fields: tuple[Field, ...] = (
        Field("invoice_item", "Item", "template", required=True, help="Its id, ii_..., or a field that has it."),
    )

    def read(self, client: stripe.StripeClient, id: str, task: Body) -> dict[str, Any]:
        try:
            return super().read(client, id, task)
        except stripe.InvalidRequestError as error:
            if code_of(error) != "resource_missing":
                raise
            raise already(f"The item {id} is gone already.", invoice_item=id) from error

    def call(self, thing: Body, params: Body, now: datetime) -> Call:
        if thing["invoice"]:
            raise other_result(f"The item {thing['id']} stands on {thing['invoice']} already.", "invoiced")
        return Call("delete", {}, f"Removed the item {thing['id']}.", {"invoice_item": thing["id"]})
