"""What people call Stripe's fields: short names for some paths, and which fields of an object they ask for first."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

Path = tuple[str, ...]

# Paths (below data.object) whose last words alone would be dark or long. No two have the same name.
NAMES: Final[Mapping[str, str]] = {
    "parent.subscription_details.subscription": "subscription",
    "parent.subscription_details.metadata": "subscription metadata",
    "parent.type": "what the invoice is for",
    "automatic_tax.status": "automatic tax status",
    "cancellation_details.comment": "cancellation comment",
    "cancellation_details.feedback": "cancellation feedback",
    "cancellation_details.reason": "cancellation reason",
    "evidence_details.due_by": "evidence due",
    "invoice_settings.default_payment_method": "default payment method for invoices",
    "last_finalization_error.code": "finalization error",
    "last_payment_error.advice_code": "advice code",
    "last_payment_error.code": "payment error",
    "last_payment_error.decline_code": "decline code",
    "last_payment_error.payment_method.type": "type of the payment method that failed",
    "outcome.advice_code": "advice of the outcome",
    "outcome.reason": "reason of the outcome",
    "outcome.risk_level": "risk level",
    "outcome.risk_score": "risk score",
    "outcome.type": "outcome",
    "payment.payment_intent": "payment",
    "payment_method_details.card.brand": "card brand",
    "payment_method_details.card.country": "card country",
    "payment_method_details.card.fingerprint": "card fingerprint",
    "payment_method_details.card.funding": "card funding",
    "payment_method_details.type": "type of payment method",
    "billing_details.email": "billing e-mail",
    "card.exp_month": "card expiry month",
    "card.exp_year": "card expiry year",
    "card.brand": "brand of the card",
    "card.country": "country of the card",
    "card.fingerprint": "fingerprint of the card",
    "card.funding": "funding of the card",
    "card.last4": "last four digits",
    "customer_details.email": "customer’s e-mail at checkout",
    "customer_email": "customer e-mail",
    "email": "e-mail",
    "recurring.interval": "billing interval",
    "status_details.paused.subscription.type": "reason of the pause",
    "status_transitions.finalized_at": "finalized at",
    "status_transitions.marked_uncollectible_at": "written off at",
    "status_transitions.paid_at": "paid at",
    "status_transitions.voided_at": "voided at",
    "trace_id.value": "trace number",
    "trial_settings.end_behavior.missing_payment_method": "when the trial ends without a payment method",
    "pause_collection.behavior": "how collection is paused",
    "items": "list of items",
    "amount_paid_off_stripe": "amount paid outside Stripe",
    "cancel_at": "date of the cancellation",
    "cancel_at_period_end": "cancellation at the end of the period",
    "items.data": "items",
    "lines.data": "lines",
}

# object class -> the fields that a rule most often asks for, most useful first
COMMON: Final[Mapping[str, str]] = {
    "invoice": "amount_due amount_remaining amount_paid total currency billing_reason collection_method status "
    "attempt_count next_payment_attempt due_date customer parent.subscription_details.subscription parent.type "
    "customer_email customer_tax_exempt account_country auto_advance created period_end number description "
    "default_payment_method hosted_invoice_url metadata parent.subscription_details.metadata lines.data "
    "last_finalization_error.code automatic_tax.status status_transitions.paid_at",
    "subscription": "status cancel_at_period_end cancel_at canceled_at ended_at cancellation_details.reason "
    "cancellation_details.feedback cancellation_details.comment collection_method currency customer "
    "default_payment_method latest_invoice start_date trial_start trial_end "
    "trial_settings.end_behavior.missing_payment_method pause_collection.behavior days_until_due metadata items.data "
    "discounts created schedule status_details.paused.subscription.type",
    "customer": "email name delinquent balance currency invoice_settings.default_payment_method default_source "
    "created description metadata tax_exempt preferred_locales address.country phone test_clock",
    "charge": "amount amount_refunded currency status failure_code failure_message outcome.type outcome.reason "
    "outcome.advice_code outcome.risk_level outcome.risk_score payment_method_details.type "
    "payment_method_details.card.brand payment_method_details.card.country "
    "payment_method_details.card.fingerprint payment_method_details.card.funding captured disputed refunded paid "
    "customer payment_intent description billing_details.email created metadata",
    "payment_intent": "amount amount_received currency status last_payment_error.decline_code "
    "last_payment_error.advice_code last_payment_error.code last_payment_error.payment_method.type "
    "cancellation_reason capture_method customer description receipt_email setup_future_usage created metadata",
    "dispute": "amount currency reason status charge payment_intent evidence_details.due_by is_charge_refundable "
    "created metadata",
    "refund": "amount currency reason status failure_reason charge payment_intent created metadata",
    "payout": "amount currency status arrival_date automatic reconciliation_status failure_code failure_message method "
    "type trace_id.value statement_descriptor destination created metadata",
    "payment_method": "type customer card.brand card.country card.exp_month card.exp_year card.fingerprint "
    "card.funding card.last4 billing_details.email created metadata",
    "checkout.session": "status payment_status mode amount_total currency customer customer_details.email "
    "subscription invoice payment_intent created expires_at metadata",
    "credit_note": "amount total currency reason status type customer invoice created metadata",
    "quote": "status amount_total currency collection_method customer expires_at created metadata",
    "radar.early_fraud_warning": "actionable fraud_type charge payment_intent created",
    "price": "unit_amount currency active type recurring.interval product nickname lookup_key created metadata",
    "product": "name active default_price description created metadata",
    "coupon": "name percent_off amount_off currency duration duration_in_months redeem_by times_redeemed valid "
    "metadata",
    "promotion_code": "code active customer expires_at times_redeemed max_redemptions metadata",
    "invoiceitem": "amount currency customer invoice description quantity proration metadata",
    "invoice_payment": "amount_paid amount_requested currency status invoice payment.payment_intent is_default created",
    "setup_intent": "status customer cancellation_reason usage payment_method description created metadata",
    "subscription_schedule": "status customer subscription end_behavior canceled_at completed_at released_at metadata",
    "review": "open reason opened_reason closed_reason charge payment_intent created",
    "billing.alert_triggered": "value customer alert.title alert.id created",
    "discount": "customer subscription invoice source.coupon start end promotion_code",
    "tax_id": "customer country type verification.status created",
    "account": "country default_currency charges_enabled payouts_enabled details_submitted business_type type metadata",
    "balance": "livemode",
    "entitlements.active_entitlement_summary": "customer entitlements.data",
}

_WORD = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")
_SHORT: Final = {"id": "ID", "ids": "IDs", "url": "URL", "iban": "IBAN", "ip": "IP", "pdf": "PDF", "vat": "VAT"}
_NAMES: Final = {tuple(path.split(".")): name for path, name in NAMES.items()}
_TAKEN: Final = frozenset(NAMES.values())


def common_paths(object_class: str) -> tuple[str, ...]:
    """The paths, below data.object, that people ask for first."""
    return tuple(COMMON.get(object_class, "").split())


def label(path: Path) -> str:
    """What people call the field at this path below its object. Different paths have different names.

    >>> label(("amount_remaining",)), label(("metadata", "tier")), label(("customer_address", "country"))
    ('amount remaining', 'metadata › tier', 'customer address › country')
    """
    known = _NAMES.get(path)
    if known:
        return known
    text = breadcrumb(path)
    return f"({text})" if text in _TAKEN else text


def breadcrumb(path: Path) -> str:
    """The keys of a path as words; different paths give different words."""
    return " › ".join(_key(key) for key in path)


def _key(key: str) -> str:
    """A key as words; one that is no plain word stands in quotes as it is."""
    plain = key.removesuffix("[]")
    if not _WORD.fullmatch(plain):
        return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return " ".join(_SHORT.get(word, word) for word in plain.split("_"))


_TYPES: Final = {
    "id": "an id",
    "enum": "one of a few words",
    "boolean": "true or false",
    "amount": "an amount in minor units",
    "text": "text",
    "decimal": "a decimal number in text",
    "object": "an object with fields of its own",
    "map": "an object with fields of its own",
    "any": "anything",
}


def type_words(type: str) -> str:
    """What a field of this type is, with its article."""
    return _TYPES.get(type, f"a {type}")
