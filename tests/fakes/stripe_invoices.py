"""The fake's invoices: items and lines, the life from draft to paid, void or uncollectible, payments, credit notes."""

from __future__ import annotations

from typing import Any

from tests.fakes.stripe_payments import as_payment_method, confirm, declined, default_method, new_intent
from tests.fakes.stripe_state import (
    Business,
    Obj,
    Params,
    StripeError,
    merged_metadata,
    need,
    readable,
    route,
    updated,
)

RETRY_AFTER = 3 * 86400  # when Stripe would try a failed payment again


# ---- invoice items --------------------------------------------------------------------------------------------------
readable("/v1/invoiceitems", "invoiceitem", "customer invoice")


@route("POST", "/v1/invoiceitems", "InvoiceItemCreateParams")
def create_item(business: Business, params: Params) -> Obj:
    need(params, "customer")
    business.get("customer", params["customer"], "customer")
    price = (params.get("pricing") or {}).get("price")
    unit = business.get("price", price, "pricing[price]")["unit_amount"] if price else 0
    amount = int(params.get("amount", unit * int(params.get("quantity", 1))))
    item = new_item(business, params["customer"], amount, params.get("currency", "usd"), params.get("description"))
    item["metadata"] = dict(params.get("metadata") or {})
    business.emit("invoiceitem.created", item)
    if params.get("invoice"):
        _add_lines(business, _editable(business, params["invoice"]), [item])
    return item


def new_item(
    business: Business, customer: str, amount: int, currency: str, description: str | None, subscription: str = ""
) -> Obj:
    parent = {"type": "subscription_details", "subscription_details": {"subscription": subscription}}
    item: Obj = {
        "id": business.new_id("ii"),
        "object": "invoiceitem",
        "amount": amount,
        "currency": currency,
        "customer": customer,
        "date": business.now(),
        "description": description,
        "discountable": True,
        "discounts": [],
        "invoice": None,
        "metadata": {},
        "parent": parent if subscription else None,
        "period": {"start": business.now(), "end": business.now()},
        "proration": bool(subscription),
        "quantity": 1,
    }
    return business.add(item)


@route("POST", "/v1/invoiceitems/{id}", "InvoiceItemUpdateParams")
def update_item(business: Business, params: Params, id: str) -> Obj:
    return updated(business, business.get("invoiceitem", id), params, "amount description", "invoiceitem.updated")


@route("DELETE", "/v1/invoiceitems/{id}")
def delete_item(business: Business, params: Params, id: str) -> Obj:
    item = business.get("invoiceitem", id)
    if item["invoice"]:
        _editable(business, item["invoice"])
    business.change(item, {"deleted": True})
    business.emit("invoiceitem.deleted", item)
    return {"id": id, "object": "invoiceitem", "deleted": True}


# ---- invoices -------------------------------------------------------------------------------------------------------
readable("/v1/invoices", "invoice", "customer status collection_method")


@route("POST", "/v1/invoices", "InvoiceCreateParams")
def create_invoice(business: Business, params: Params) -> Obj:
    need(params, "customer")
    customer = business.get("customer", params["customer"], "customer")
    collection = params.get("collection_method", "charge_automatically")
    if collection == "send_invoice" and not (params.get("days_until_due") or params.get("due_date")):
        message = "If invoice collection method is 'send_invoice', you must specify 'due_date' or 'days_until_due'."
        raise StripeError(400, message, ran=False)
    invoice = new_invoice(business, customer, "manual", params.get("currency", "usd"))
    invoice |= {"collection_method": collection, "description": params.get("description")}
    invoice |= {"metadata": merged_metadata(invoice, params), "auto_advance": params.get("auto_advance", False)}
    invoice["default_payment_method"] = params.get("default_payment_method")
    if params.get("days_until_due"):
        invoice["due_date"] = business.now() + int(params["days_until_due"]) * 86400
    business.objects[invoice["id"]] = invoice
    if params.get("pending_invoice_items_behavior") == "include":
        _add_lines(business, invoice, _pending(business, customer["id"]))
    business.emit("invoice.created", invoice)
    return invoice


def _pending(business: Business, customer: str) -> list[Obj]:
    return [item for item in business.find("invoiceitem", customer=customer) if item["invoice"] is None]


def new_invoice(business: Business, customer: Obj, reason: str, currency: str, subscription: Obj | None = None) -> Obj:
    id, now = business.new_id("in"), business.now()
    details = {"metadata": subscription["metadata"], "subscription": subscription["id"]} if subscription else None
    parent = {"quote_details": None, "subscription_details": details, "type": "subscription_details"}
    invoice: Obj = {
        "id": id,
        "object": "invoice",
        "account_country": "US",
        "amount_due": 0,
        "amount_overpaid": 0,
        "amount_paid": 0,
        "amount_remaining": 0,
        "attempt_count": 0,
        "attempted": False,
        "auto_advance": True,
        "billing_reason": reason,
        "collection_method": "charge_automatically",
        "currency": currency,
        "customer": customer["id"],
        "customer_email": customer["email"],
        "customer_name": customer["name"],
        "default_payment_method": None,
        "description": None,
        "discounts": [],
        "due_date": None,
        "hosted_invoice_url": None,
        "lines": {"object": "list", "data": [], "has_more": False, "total_count": 0, "url": f"/v1/invoices/{id}/lines"},
        "metadata": {},
        "next_payment_attempt": None,
        "number": None,
        "parent": parent if details else None,
        "period_end": now,
        "period_start": now,
        "status": "draft",
        "status_transitions": dict.fromkeys(("finalized_at", "marked_uncollectible_at", "paid_at", "voided_at")),
        "subtotal": 0,
        "total": 0,
        "_intent": None,
    }
    return business.add(invoice)


def line_from(business: Business, invoice: Obj, amount: int, description: str | None, **fields: Any) -> Obj:
    line: Obj = {
        "id": business.new_id("il"),
        "object": "line_item",
        "amount": amount,
        "currency": invoice["currency"],
        "description": description,
        "discountable": True,
        "invoice": invoice["id"],
        "livemode": False,
        "metadata": {},
        "parent": None,
        "period": {"start": invoice["period_start"], "end": invoice["period_end"]},
        "pricing": None,
        "quantity": 1,
        "subtotal": amount,
    }
    return line | fields


def _add_lines(business: Business, invoice: Obj, items: list[Obj]) -> None:
    for item in items:
        item["invoice"] = invoice["id"]
        invoice["currency"] = item["currency"]
        details = {"invoice_item": item["id"], "proration": item["proration"], "subscription": None}
        parent = {"type": "invoice_item_details", "invoice_item_details": details, "subscription_item_details": None}
        line = line_from(business, invoice, item["amount"], item["description"], parent=parent)
        invoice["lines"]["data"].append(line)
    total_up(invoice)


def total_up(invoice: Obj) -> None:
    total = sum(line["amount"] for line in invoice["lines"]["data"])
    due = max(total, 0)
    invoice |= {"subtotal": total, "total": total, "amount_due": due, "amount_remaining": due - invoice["amount_paid"]}
    invoice["lines"]["total_count"] = len(invoice["lines"]["data"])


def _editable(business: Business, id: str) -> Obj:
    invoice = business.get("invoice", id, "invoice")
    if invoice["status"] != "draft":
        raise StripeError(400, f"Invoice {id} is no longer editable", "invoice_not_editable")
    return invoice


@route("POST", "/v1/invoices/{id}", "InvoiceUpdateParams")
def update_invoice(business: Business, params: Params, id: str) -> Obj:
    invoice = business.get("invoice", id)
    always = {"metadata", "auto_advance", "collection_method", "default_payment_method", "expand"}
    if set(params) - always:
        _editable(business, id)
    fields = "auto_advance collection_method default_payment_method description due_date"
    return updated(business, invoice, params, fields, "invoice.updated")


@route("DELETE", "/v1/invoices/{id}")
def delete_invoice(business: Business, params: Params, id: str) -> Obj:
    invoice = business.get("invoice", id)
    if invoice["status"] != "draft":
        raise StripeError(400, "You can only delete draft invoices.", "invoice_not_editable")
    for item in business.find("invoiceitem", invoice=id):
        item["invoice"] = None
    business.change(invoice, {"deleted": True})
    business.emit("invoice.deleted", invoice)
    return {"id": id, "object": "invoice", "deleted": True}


@route("GET", "/v1/invoices/{id}/lines")
def list_lines(business: Business, params: Params, id: str) -> Obj:
    return {**business.get("invoice", id)["lines"], "has_more": False}


@route("POST", "/v1/invoices/{id}/finalize", "InvoiceFinalizeInvoiceParams")
def finalize_route(business: Business, params: Params, id: str) -> Obj:
    return finalize(business, _editable(business, id))


def finalize(business: Business, invoice: Obj) -> Obj:
    """Draft to open; an invoice of nothing is paid at once."""
    customer = business.get("customer", invoice["customer"])
    number = f"{customer['invoice_prefix']}-{customer['next_invoice_sequence']:04}"
    customer["next_invoice_sequence"] += 1
    times = invoice["status_transitions"] | {"finalized_at": business.now()}
    changes = {"status": "open", "number": number, "status_transitions": times}
    changes["hosted_invoice_url"] = f"https://invoice.stripe.com/i/acct_fake/{invoice['id']}"
    business.change(invoice, changes, "invoice.finalized", "invoice.updated")
    if invoice["amount_due"] == 0:
        _paid(business, invoice, None)
    elif invoice["collection_method"] == "charge_automatically":
        _intent_of(business, invoice)
    return invoice


def _intent_of(business: Business, invoice: Obj) -> Obj:
    if invoice["_intent"] is None:
        intent = new_intent(business, invoice["amount_due"], invoice["currency"], customer=invoice["customer"])
        invoice["_intent"] = intent["id"]
        payment: Obj = {
            "id": business.new_id("inpay"),
            "object": "invoice_payment",
            "amount_paid": None,
            "amount_requested": invoice["amount_due"],
            "currency": invoice["currency"],
            "invoice": invoice["id"],
            "is_default": True,
            "payment": {"payment_intent": intent["id"], "type": "payment_intent"},
            "status": "open",
            "status_transitions": {"canceled_at": None, "paid_at": None},
        }
        business.add(payment)
    return business.get("payment_intent", invoice["_intent"])


@route("POST", "/v1/invoices/{id}/pay", "InvoicePayParams")
def pay_route(business: Business, params: Params, id: str) -> Obj:
    invoice = business.get("invoice", id)
    if invoice["status"] == "draft":
        finalize(business, invoice)
    elif invoice["status"] == "paid":
        raise StripeError(400, "Invoice is already paid")
    if invoice["status"] not in ("open", "uncollectible"):
        raise StripeError(400, f"Invoice {id} has status {invoice['status']} and cannot be paid.")
    if params.get("paid_out_of_band") is True:
        return _paid(business, invoice, None)
    method = _method_for(business, invoice, params)
    refused = pay(business, invoice, method)
    if refused:
        raise refused
    return invoice


def _method_for(business: Business, invoice: Obj, params: Params) -> Obj:
    if params.get("payment_method"):
        return as_payment_method(business, params["payment_method"])
    customer = business.get("customer", invoice["customer"])
    details = (invoice["parent"] or {}).get("subscription_details") or {}
    subscription = business.objects.get(details.get("subscription", ""), {})
    own = (invoice["default_payment_method"], subscription.get("default_payment_method"))
    found = default_method(business, customer, *own)
    if found is None:
        message = (
            "There is no `default_payment_method` set on this Customer or Invoice. "
            "Please attach a Payment Method to pay this invoice."
        )
        raise StripeError(400, message, "missing")
    return found


def pay(business: Business, invoice: Obj, method: Obj) -> StripeError | None:
    """One attempt; what the caller of `pay` would be told when it fails, else None."""
    intent = _intent_of(business, invoice)
    invoice |= {"attempted": True, "attempt_count": invoice["attempt_count"] + 1}
    result = confirm(business, intent, method)
    if result == "succeeded":
        _paid(business, invoice, intent)
        return None
    if result == "processing":
        return None
    return _unpaid(business, invoice, intent, result)


def _paid(business: Business, invoice: Obj, intent: Obj | None) -> Obj:
    times = invoice["status_transitions"] | {"paid_at": business.now()}
    amounts = {"amount_paid": invoice["amount_due"] if intent else 0, "amount_remaining": 0}
    changes = {"status": "paid", "attempted": True, "next_payment_attempt": None, "status_transitions": times}
    business.change(invoice, changes | amounts, "invoice.updated")
    for payment in business.find("invoice_payment", invoice=invoice["id"]):
        done = {"status": "paid", "amount_paid": invoice["amount_due"]}
        business.change(payment, done, "invoice_payment.paid")
    business.emit("invoice.paid", invoice)
    business.emit("invoice.payment_succeeded", invoice)
    _subscription_becomes(business, invoice, "active")
    return invoice


def _unpaid(business: Business, invoice: Obj, intent: Obj, result: str) -> StripeError:
    business.change(invoice, {"next_payment_attempt": business.now() + RETRY_AFTER}, "invoice.updated")
    business.emit("invoice.payment_failed", invoice)
    _subscription_becomes(business, invoice, "past_due")
    if result == "requires_action":
        business.emit("invoice.payment_action_required", invoice)
        return StripeError(
            402,
            "Payment for this invoice requires additional user action before it can be completed successfully.",
            "invoice_payment_intent_requires_action",
            type="card_error",
            payment_intent=intent,
        )
    return declined(intent["last_payment_error"]["decline_code"], charge=intent["latest_charge"])


def _subscription_becomes(business: Business, invoice: Obj, status: str) -> None:
    details = (invoice["parent"] or {}).get("subscription_details") or {}
    subscription = business.objects.get(details.get("subscription", ""))
    if subscription is None or subscription["status"] in ("canceled", "incomplete_expired", "paused", "trialing"):
        return
    if subscription["status"] == "incomplete" and status == "past_due":
        return
    business.change(subscription, {"status": status}, "customer.subscription.updated")


@route("POST", "/v1/invoices/{id}/void", "InvoiceVoidInvoiceParams")
def void(business: Business, params: Params, id: str) -> Obj:
    return _closed(business, id, "void", "voided", ("open", "uncollectible"))


@route("POST", "/v1/invoices/{id}/mark_uncollectible", "InvoiceMarkUncollectibleParams")
def mark_uncollectible(business: Business, params: Params, id: str) -> Obj:
    return _closed(business, id, "uncollectible", "marked_uncollectible", ("open",))


def _closed(business: Business, id: str, status: str, event: str, from_: tuple[str, ...]) -> Obj:
    invoice = business.get("invoice", id)
    if invoice["status"] not in from_:
        raise StripeError(400, "You can only pass in open invoices. This invoice isn't open.", "invoice_not_editable")
    times = invoice["status_transitions"] | {f"{event}_at": business.now()}
    changes = {"status": status, "status_transitions": times, "next_payment_attempt": None}
    return business.change(invoice, changes, "invoice.updated", f"invoice.{event}")


@route("POST", "/v1/invoices/{id}/send", "InvoiceSendInvoiceParams")
def send(business: Business, params: Params, id: str) -> Obj:
    invoice = business.get("invoice", id)
    if invoice["status"] == "draft":
        finalize(business, invoice)
    if invoice["collection_method"] != "send_invoice":
        message = "You can only manually send an invoice if its collection method is 'send_invoice'."
        raise StripeError(400, message)
    business.emit("invoice.sent", invoice)
    return invoice


# ---- credit notes ---------------------------------------------------------------------------------------------------
readable("/v1/credit_notes", "credit_note", "invoice customer")


@route("POST", "/v1/credit_notes", "CreditNoteCreateParams")
def create_credit_note(business: Business, params: Params) -> Obj:
    need(params, "invoice")
    invoice = business.get("invoice", params["invoice"], "invoice")
    if invoice["status"] not in ("open", "paid", "uncollectible"):
        raise StripeError(400, f"Credit notes cannot be issued for {invoice['status']} invoices.")
    lines = params.get("lines") or []
    of_lines = sum(int(line.get("unit_amount", line.get("amount", 0))) * int(line.get("quantity", 1)) for line in lines)
    amount = int(params.get("amount", of_lines))
    room = invoice["amount_remaining"] if invoice["status"] == "open" else invoice["amount_paid"]
    shares = sum(int(params.get(name, 0)) for name in ("credit_amount", "refund_amount", "out_of_band_amount"))
    if invoice["status"] == "paid" and shares != amount:
        raise StripeError(400, "The sum of credit, refund and out of band amounts must equal the credit note's total.")
    if not 0 < amount <= room:
        raise StripeError(400, f"The credit note amount must be between 1 and {room}.", param="amount")
    note: Obj = {
        "id": business.new_id("cn"),
        "object": "credit_note",
        "amount": amount,
        "currency": invoice["currency"],
        "customer": invoice["customer"],
        "invoice": invoice["id"],
        "lines": {"object": "list", "data": lines, "has_more": False, "url": "/v1/credit_notes/lines"},
        "memo": params.get("memo"),
        "metadata": dict(params.get("metadata") or {}),
        "number": f"{invoice['number']}-CN-{len(business.find('credit_note', invoice=invoice['id'])) + 1:02}",
        "reason": params.get("reason"),
        "refunds": [],
        "status": "issued",
        "total": amount,
        "type": "pre_payment" if invoice["status"] == "open" else "post_payment",
        "voided_at": None,
    }
    if invoice["status"] == "open":
        left = {name: invoice[name] - amount for name in ("amount_due", "amount_remaining")}
        business.change(invoice, left, "invoice.updated")
    return business.add(note, "credit_note.created")


@route("POST", "/v1/credit_notes/{id}", "CreditNoteUpdateParams")
def update_credit_note(business: Business, params: Params, id: str) -> Obj:
    return updated(business, business.get("credit_note", id), params, "memo", "credit_note.updated")


@route("POST", "/v1/credit_notes/{id}/void")
def void_credit_note(business: Business, params: Params, id: str) -> Obj:
    note = business.get("credit_note", id)
    if note["type"] != "pre_payment":
        raise StripeError(400, "You can only void pre-payment credit notes.")
    invoice = business.get("invoice", note["invoice"])
    back = {name: invoice[name] + note["amount"] for name in ("amount_due", "amount_remaining")}
    business.change(invoice, back, "invoice.updated")
    changes = {"status": "void", "voided_at": business.now()}
    return business.change(note, changes, "credit_note.voided")
