"""How money moves in the fake: test cards, payment and setup intents, charges, refunds, disputes, payouts."""

from __future__ import annotations

from typing import Literal

from tests.fakes.stripe_state import (
    Business,
    Obj,
    Params,
    StripeError,
    listing,
    merged_metadata,
    missing,
    need,
    readable,
    route,
    updated,
)

# What a test card does when charged, by a part of its name; checked in this order.
DECLINES = {
    "chargeDeclinedInsufficientFunds": "insufficient_funds",
    "chargeDeclinedLostCard": "lost_card",
    "chargeDeclinedStolenCard": "stolen_card",
    "chargeDeclinedExpiredCard": "expired_card",
    "chargeDeclined": "generic_decline",
    "chargeCustomerFail": "generic_decline",
}
NUMBERS = {
    "4000000000000002": "tok_chargeDeclined",
    "4000000000009995": "tok_chargeDeclinedInsufficientFunds",
    "4000000000000341": "tok_chargeCustomerFail",
    "4000002500003155": "tok_authenticationRequired",
}
ATTACHABLE_BUT_FAILING = "chargeCustomerFail"
NEEDS_A_PERSON = ("authenticationRequired", "threeDSecure")
Result = Literal["succeeded", "declined", "requires_action", "processing"]


# ---- payment methods ------------------------------------------------------------------------------------------------
def new_method(business: Business, made_from: str, type_: str = "card") -> Obj:
    method: Obj = {
        "id": business.new_id("pm"),
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": {"address": None, "email": None, "name": None, "phone": None},
        "customer": None,
        "metadata": {},
        "type": type_,
        "_made_from": made_from,
    }
    if type_ == "card":
        number = "0341" if "Fail" in made_from else "0002" if "Declined" in made_from else "4242"
        method["card"] = {
            "brand": "visa",
            "country": "US",
            "exp_month": 11,
            "exp_year": 2030,
            "fingerprint": "fp" + number * 3,
            "funding": "credit",
            "last4": number,
        }
    return business.add(method)


def as_payment_method(business: Business, id: str) -> Obj:
    """The payment method of an id; a test card's name (`pm_card_visa`) makes a new one."""
    if id in business.objects:
        return business.get("payment_method", id)
    if id.startswith("pm_card_"):
        return new_method(business, id)
    raise missing("PaymentMethod", id, "payment_method")


def card_source(business: Business, customer: Obj, token: str) -> Obj:
    """A card of the old kind on a customer."""
    card: Obj = {
        "id": business.new_id("card"),
        "object": "card",
        "brand": "Visa",
        "customer": customer["id"],
        "exp_month": 11,
        "exp_year": 2030,
        "fingerprint": "fp" + "4242" * 3,
        "funding": "credit",
        "last4": "4242",
        "metadata": {},
        "name": None,
        "_made_from": token,
    }
    return business.add(card, "customer.source.created")


def default_method(business: Business, customer: Obj, *first: str | None) -> Obj | None:
    """What a charge without a named method takes: the given ids in order, then the customer's defaults."""
    settings = customer.get("invoice_settings") or {}
    for id in (*first, settings.get("default_payment_method"), customer.get("default_source")):
        if id and id in business.objects:
            return business.objects[id]
    return None


readable("/v1/payment_methods", "payment_method", "customer type")


@route("POST", "/v1/payment_methods", "PaymentMethodCreateParams")
def create_method(business: Business, params: Params) -> Obj:
    need(params, "type")
    details = params.get(params["type"]) or {}
    made_from = details.get("token") or NUMBERS.get(details.get("number", ""), "") or details.get("iban", "")
    method = new_method(business, made_from, params["type"])
    billing = {**method["billing_details"], **params.get("billing_details", {})}
    return business.change(method, {"billing_details": billing, "metadata": merged_metadata(method, params)})


@route("POST", "/v1/payment_methods/{id}", "PaymentMethodUpdateParams")
def update_method(business: Business, params: Params, id: str) -> Obj:
    method = business.get("payment_method", id)
    return updated(business, method, params, "billing_details allow_redisplay", "payment_method.updated")


@route("POST", "/v1/payment_methods/{id}/attach", "PaymentMethodAttachParams")
def attach_method(business: Business, params: Params, id: str) -> Obj:
    need(params, "customer")
    customer = business.get("customer", params["customer"], "customer")
    if "chargeDeclined" in id:
        raise declined("generic_decline")
    method = as_payment_method(business, id)
    return business.change(method, {"customer": customer["id"]}, "payment_method.attached")


@route("POST", "/v1/payment_methods/{id}/detach")
def detach_method(business: Business, params: Params, id: str) -> Obj:
    return business.change(business.get("payment_method", id), {"customer": None}, "payment_method.detached")


# ---- charging -------------------------------------------------------------------------------------------------------
def declined(code: str, **more: Obj | str | None) -> StripeError:
    own = {"insufficient_funds": "Your card has insufficient funds.", "expired_card": "Your card has expired."}
    return StripeError(
        402,
        own.get(code, "Your card was declined."),
        "expired_card" if code == "expired_card" else "card_declined",
        type="card_error",
        decline_code=code,
        **more,
    )


def result_of(business: Business, method: Obj) -> tuple[Result, str | None]:
    """What charging this method comes to, and the decline code."""
    told = business.declines.get(method["id"]) or business.declines.get(method.get("customer") or "")
    made_from = method.get("_made_from", "")
    if told:
        return "declined", told
    for part, code in DECLINES.items():
        if part in made_from:
            return "declined", code
    if any(part in made_from for part in NEEDS_A_PERSON):
        return "requires_action", None
    return ("processing" if method.get("type") == "sepa_debit" else "succeeded"), None


def new_intent(business: Business, amount: int, currency: str, **fields: object) -> Obj:
    id = business.new_id("pi")
    intent: Obj = {
        "id": id,
        "object": "payment_intent",
        "amount": amount,
        "amount_capturable": 0,
        "amount_received": 0,
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": "automatic",
        "client_secret": f"{id}_secret_{business.new_id('x', 12)[2:]}",
        "confirmation_method": "automatic",
        "currency": currency,
        "customer": None,
        "description": None,
        "last_payment_error": None,
        "latest_charge": None,
        "metadata": {},
        "next_action": None,
        "payment_method": None,
        "payment_method_types": ["card"],
        "setup_future_usage": None,
        "shipping": None,
        "status": "requires_payment_method",
    }
    return business.add(intent | fields, "payment_intent.created")


def confirm(business: Business, intent: Obj, method: Obj) -> Result:
    """Try to charge: the intent, its charge and their events; never raises for a decline."""
    result, code = result_of(business, method)
    intent["payment_method"] = method["id"]
    if result == "requires_action":
        action = {"type": "use_stripe_sdk", "use_stripe_sdk": {}}
        business.change(intent, {"status": "requires_action", "next_action": action}, "payment_intent.requires_action")
    elif result == "processing":
        business.change(intent, {"status": "processing"}, "payment_intent.processing")
    elif result == "declined":
        _fail(business, intent, method, code or "generic_decline")
    else:
        _succeed(business, intent, method)
    return result


def _fail(business: Business, intent: Obj, method: Obj, code: str) -> None:
    error = declined(code, payment_method=None).body["error"]
    charge = _charge(business, intent, method, status="failed", paid=False, failure_code=error["code"])
    business.change(charge, {"failure_message": error["message"], "outcome": _outcome(code)}, "charge.failed")
    business.change(
        intent,
        {"status": "requires_payment_method", "last_payment_error": error, "latest_charge": charge["id"]},
        "payment_intent.payment_failed",
    )


def _outcome(code: str) -> Obj:
    return {"network_status": "declined_by_network", "reason": code, "risk_level": "normal", "type": "issuer_declined"}


def _succeed(business: Business, intent: Obj, method: Obj) -> None:
    held = intent["capture_method"] == "manual"
    charge = _charge(business, intent, method, status="succeeded", paid=True, captured=not held)
    business.emit("charge.succeeded", charge)
    if held:
        changes: Obj = {"status": "requires_capture", "amount_capturable": intent["amount"]}
        event = "payment_intent.amount_capturable_updated"
    else:
        changes = {"status": "succeeded", "amount_received": intent["amount"]}
        event = "payment_intent.succeeded"
    business.change(intent, changes | {"latest_charge": charge["id"]})
    business.emit(event, intent)
    if "bypassPending" in method.get("_made_from", ""):
        business.emit("balance.available", balance(business, {}))
    if "createDispute" in method.get("_made_from", ""):
        _dispute(business, charge)


def _charge(business: Business, intent: Obj, method: Obj, **fields: object) -> Obj:
    charge: Obj = {
        "id": business.new_id("ch"),
        "object": "charge",
        "amount": intent["amount"],
        "amount_captured": intent["amount"] if fields.get("captured") else 0,
        "amount_refunded": 0,
        "captured": False,
        "currency": intent["currency"],
        "customer": intent["customer"],
        "description": intent["description"],
        "disputed": False,
        "failure_code": None,
        "failure_message": None,
        "metadata": dict(intent["metadata"]),
        "outcome": None,
        "paid": False,
        "payment_intent": intent["id"],
        "payment_method": method["id"],
        "payment_method_details": {"type": "card", "card": method.get("card")},
        "refunded": False,
        "status": "pending",
    }
    return business.add(charge | fields)


# ---- payment and setup intents --------------------------------------------------------------------------------------
readable("/v1/payment_intents", "payment_intent", "customer")
readable("/v1/setup_intents", "setup_intent", "customer")
readable("/v1/charges", "charge", "customer payment_intent")
INTENT_FIELDS = "capture_method confirmation_method customer description metadata payment_method_types shipping"


@route("POST", "/v1/payment_intents", "PaymentIntentCreateParams", "payment_method_types mandate_data")
def create_intent(business: Business, params: Params) -> Obj:
    need(params, "amount", "currency")
    kept = {name: params[name] for name in INTENT_FIELDS.split() if name in params}
    intent = new_intent(business, int(params["amount"]), params["currency"], **kept)
    if params.get("payment_method"):
        intent["payment_method"] = as_payment_method(business, params["payment_method"])["id"]
        intent["status"] = "requires_confirmation"
    return confirm_intent(business, {}, intent["id"]) if params.get("confirm") is True else intent


@route("POST", "/v1/payment_intents/{id}/confirm", "PaymentIntentConfirmParams")
def confirm_intent(business: Business, params: Params, id: str) -> Obj:
    intent = business.get("payment_intent", id)
    if intent["status"] not in ("requires_payment_method", "requires_confirmation", "requires_action"):
        raise _unexpected(intent, "confirm")
    wanted = params.get("payment_method") or intent["payment_method"]
    if not wanted:
        raise StripeError(
            400,
            "You cannot confirm this PaymentIntent because it's missing a payment method.",
            "payment_intent_unexpected_state",
        )
    if confirm(business, intent, as_payment_method(business, wanted)) == "declined":
        error = intent["last_payment_error"]
        raise declined(error["decline_code"], payment_intent=intent, charge=intent["latest_charge"])
    return intent


def _unexpected(intent: Obj, verb: str) -> StripeError:
    return StripeError(
        400,
        f"You cannot {verb} this PaymentIntent because it has a status of {intent['status']}.",
        "payment_intent_unexpected_state",
        payment_intent=intent,
    )


@route("POST", "/v1/payment_intents/{id}/capture", "PaymentIntentCaptureParams")
def capture_intent(business: Business, params: Params, id: str) -> Obj:
    intent = business.get("payment_intent", id)
    if intent["status"] != "requires_capture":
        raise _unexpected(intent, "capture")
    charge = business.get("charge", intent["latest_charge"])
    business.change(charge, {"captured": True, "amount_captured": intent["amount"]}, "charge.captured")
    changes = {"status": "succeeded", "amount_capturable": 0, "amount_received": intent["amount"]}
    return business.change(intent, changes, "payment_intent.succeeded")


@route("POST", "/v1/payment_intents/{id}/cancel", "PaymentIntentCancelParams")
def cancel_intent(business: Business, params: Params, id: str) -> Obj:
    intent = business.get("payment_intent", id)
    if intent["status"] in ("succeeded", "canceled", "processing"):
        raise _unexpected(intent, "cancel")
    reason = params.get("cancellation_reason")
    changes = {"status": "canceled", "canceled_at": business.now(), "cancellation_reason": reason}
    return business.change(intent, changes, "payment_intent.canceled")


@route("POST", "/v1/payment_intents/{id}", "PaymentIntentUpdateParams")
def update_intent(business: Business, params: Params, id: str) -> Obj:
    return updated(business, business.get("payment_intent", id), params, "amount description", "payment_intent.updated")


@route("POST", "/v1/setup_intents", "SetupIntentCreateParams", "payment_method_types")
def create_setup(business: Business, params: Params) -> Obj:
    setup: Obj = {
        "id": business.new_id("seti"),
        "object": "setup_intent",
        "cancellation_reason": None,
        "customer": params.get("customer"),
        "description": params.get("description"),
        "last_setup_error": None,
        "metadata": dict(params.get("metadata") or {}),
        "payment_method": None,
        "payment_method_types": params.get("payment_method_types", ["card"]),
        "status": "requires_payment_method",
        "usage": params.get("usage", "off_session"),
    }
    business.add(setup, "setup_intent.created")
    return _confirm_setup(business, setup, params) if params.get("confirm") is True else setup


def _confirm_setup(business: Business, setup: Obj, params: Params) -> Obj:
    need(params, "payment_method")
    method = as_payment_method(business, params["payment_method"])
    result, code = result_of(business, method)
    if result == "declined":
        error = declined(code or "generic_decline")
        changes = {"last_setup_error": error.body["error"]}
        business.change(setup, changes, "setup_intent.setup_failed")
        raise error
    business.change(method, {"customer": setup["customer"]})
    status = "requires_action" if result == "requires_action" else "succeeded"
    changes = {"status": status, "payment_method": method["id"]}
    return business.change(setup, changes, f"setup_intent.{status}")


@route("POST", "/v1/setup_intents/{id}/cancel", "SetupIntentCancelParams")
def cancel_setup(business: Business, params: Params, id: str) -> Obj:
    changes = {"status": "canceled", "cancellation_reason": params.get("cancellation_reason")}
    return business.change(business.get("setup_intent", id), changes, "setup_intent.canceled")


# ---- refunds and disputes -------------------------------------------------------------------------------------------
readable("/v1/refunds", "refund", "charge payment_intent")
readable("/v1/disputes", "dispute", "charge payment_intent")


@route("POST", "/v1/refunds", "RefundCreateParams")
def create_refund(business: Business, params: Params) -> Obj:
    charge = _refundable(business, params)
    left = charge["amount"] - charge["amount_refunded"]
    amount = int(params.get("amount", left))
    if left == 0:
        message = f"Charge {charge['id']} has already been refunded."
        raise StripeError(400, message, "charge_already_refunded", charge=charge["id"])
    if not 0 < amount <= left:
        raise StripeError(400, f"Refund amount is greater than unrefunded amount on charge ({left}).", param="amount")
    refund: Obj = {
        "id": business.new_id("re"),
        "object": "refund",
        "amount": amount,
        "charge": charge["id"],
        "currency": charge["currency"],
        "metadata": dict(params.get("metadata") or {}),
        "payment_intent": charge["payment_intent"],
        "reason": params.get("reason"),
        "status": "succeeded",
    }
    business.add(refund, "refund.created")
    total = charge["amount_refunded"] + amount
    business.change(charge, {"amount_refunded": total, "refunded": total == charge["amount"]})
    business.emit("charge.refunded", charge)
    return refund


def _refundable(business: Business, params: Params) -> Obj:
    if params.get("charge"):
        return business.get("charge", params["charge"], "charge")
    need(params, "payment_intent")
    intent = business.get("payment_intent", params["payment_intent"], "payment_intent")
    if intent["status"] != "succeeded":
        raise StripeError(400, f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund.")
    return business.get("charge", intent["latest_charge"])


@route("POST", "/v1/refunds/{id}", "RefundUpdateParams")
def update_refund(business: Business, params: Params, id: str) -> Obj:
    refund = updated(business, business.get("refund", id), params, "", "refund.updated")
    business.emit("charge.refund.updated", refund)
    return refund


def _dispute(business: Business, charge: Obj) -> Obj:
    dispute: Obj = {
        "id": business.new_id("du"),
        "object": "dispute",
        "amount": charge["amount"],
        "charge": charge["id"],
        "currency": charge["currency"],
        "evidence": {},
        "is_charge_refundable": True,
        "metadata": {},
        "payment_intent": charge["payment_intent"],
        "reason": "general",
        "status": "warning_needs_response",
    }
    charge["disputed"] = True
    return business.add(dispute, "charge.dispute.created")


@route("POST", "/v1/disputes/{id}", "DisputeUpdateParams")
def update_dispute(business: Business, params: Params, id: str) -> Obj:
    return updated(business, business.get("dispute", id), params, "evidence", "charge.dispute.updated")


@route("POST", "/v1/disputes/{id}/close")
def close_dispute(business: Business, params: Params, id: str) -> Obj:
    return business.change(business.get("dispute", id), {"status": "lost"}, "charge.dispute.closed")


# ---- payouts --------------------------------------------------------------------------------------------------------
readable("/v1/payouts", "payout", "status")


@route("POST", "/v1/payouts", "PayoutCreateParams")
def create_payout(business: Business, params: Params) -> Obj:
    need(params, "amount", "currency")
    payout: Obj = {
        "id": business.new_id("po"),
        "object": "payout",
        "amount": int(params["amount"]),
        "arrival_date": business.now() // 86400 * 86400 + 2 * 86400,
        "automatic": False,
        "currency": params["currency"],
        "description": params.get("description"),
        "failure_code": None,
        "metadata": dict(params.get("metadata") or {}),
        "method": params.get("method", "standard"),
        "reconciliation_status": "not_applicable",
        "source_type": "card",
        "statement_descriptor": None,
        "status": "pending",
        "type": "bank_account",
    }
    return business.add(payout, "payout.created")


@route("POST", "/v1/payouts/{id}", "PayoutUpdateParams")
def update_payout(business: Business, params: Params, id: str) -> Obj:
    return updated(business, business.get("payout", id), params, "", "payout.updated")


@route("GET", "/v1/balance")
def balance(business: Business, params: Params) -> Obj:
    held = sum(charge["amount_captured"] - charge["amount_refunded"] for charge in business.find("charge"))
    amount = {"amount": held, "currency": "usd", "source_types": {"card": held}}
    return {"object": "balance", "available": [amount], "livemode": False, "pending": []}


@route("GET", "/v1/invoice_payments")
def list_invoice_payments(business: Business, params: Params) -> Obj:
    wanted = {name: params[name] for name in ("invoice", "status") if name in params}
    return listing(business.find("invoice_payment", **wanted), params, "/v1/invoice_payments")


@route("GET", "/v1/invoice_payments/{id}")
def retrieve_invoice_payment(business: Business, params: Params, id: str) -> Obj:
    return business.get("invoice_payment", id)
