"""Declines: what a failed payment's codes mean for trying again. The codes are Stripe's (docs.stripe.com/declines)."""

from __future__ import annotations

from typing import Final, Literal

DeclineClass = Literal["hard", "soft", "authentication"]
CLASSES: Final[tuple[DeclineClass, ...]] = ("hard", "soft", "authentication")

# the customer has to prove who they are: trying again without them fails again
AUTHENTICATION: Final = frozenset(
    {
        "authentication_not_handled",
        "authentication_required",
        "payment_intent_authentication_failure",
        "setup_intent_authentication_failure",
    }
)
# the same card or account will not pay, however often it is tried
HARD: Final = frozenset(
    {
        "account_closed",
        "bank_account_closed",
        "bank_account_unusable",
        "card_not_supported",
        "charge_not_authorized",
        "debit_not_authorized",
        "expired_card",
        "fraudulent",
        "incorrect_number",
        "invalid_account",
        "invalid_account_number",
        "invalid_expiry_month",
        "invalid_expiry_year",
        "invalid_number",
        "lost_card",
        "merchant_blacklist",
        "new_account_information_available",
        "no_account",
        "not_permitted",
        "pickup_card",
        "restricted_card",
        "revocation_of_all_authorizations",
        "revocation_of_authorization",
        "security_violation",
        "service_not_allowed",
        "stolen_card",
        "stop_payment_order",
        "transaction_not_allowed",
    }
)


def decline_class(code: str | None, advice: str | None) -> DeclineClass | None:
    """What the bank's answer means: the network's advice first, then the code. None when neither is known.

    >>> decline_class("stolen_card", None), decline_class("insufficient_funds", None), decline_class(None, None)
    ('hard', 'soft', None)
    >>> decline_class("do_not_honor", "do_not_try_again"), decline_class("authentication_required", None)
    ('hard', 'authentication')
    """
    if code in AUTHENTICATION:
        return "authentication"
    if advice in ("do_not_try_again", "confirm_card_data") or code in HARD:
        return "hard"
    return "soft" if code or advice else None
