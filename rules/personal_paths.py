"""The paths of personal values, by Stripe object class: data that `rules.personal` walks.

Read off the types of stripe 16.1.0 and the fixtures, with the paths of older API versions. A key maps to PERSONAL (it
and everything below it), OBJECT (an embedded Stripe object, or a list of them, declared by its own class), or to the
keys below it. "*" stands for any other key; lists are entered without being named. `{}` only looks at the metadata.
What looks personal and is left out here stands in `rules.personal_clear` with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

PERSONAL: Final = "personal"
OBJECT: Final = "object"
Node = str | Mapping[str, Any]


def _leaves(names: str) -> dict[str, Node]:
    return dict.fromkeys(names.split(), PERSONAL)


def _objects(names: str) -> dict[str, Node]:
    return dict.fromkeys(names.split(), OBJECT)


_ERROR: dict[str, Node] = _objects("payment_method source payment_intent setup_intent")
_AGREED: dict[str, Node] = _leaves("ip user_agent")  # where and with what somebody agreed to terms
_ADDRESS: dict[str, Node] = _leaves("line1 line2 city postal_code town")
_KINDS_OF_ADDRESS = (
    "address address_kana address_kanji registered_address shipping_address billing_address physical_address "
    "administrative_address normalized_address verified_address support_address account_holder_address"
)
_CONTACT: dict[str, Node] = {
    **_leaves(
        "name email phone phone_number business_name individual_name first_name last_name tax_id ip_address "
        "first_name_kana first_name_kanji last_name_kana last_name_kanji name_kana name_kanji maiden_name "
        "full_name_aliases verified_name verified_email verified_phone dob id_number user_agent "
        "tracking_number tracking_url"
    ),
    **dict.fromkeys(_KINDS_OF_ADDRESS.split(), _ADDRESS),
    "tax_ids": _leaves("value"),
}
_METHOD: dict[str, Node] = {  # one payment method's own details, whatever its type
    **_leaves(
        "cardholder_name verified_name account_holder_name payer_email payer_name payer_id buyer_id buyer_address "
        "cashtag tax_id vpa pay_id iban account_number sort_code email dob fax verified_email "
        "first_name last_name verified_phone_last4 persistent_token"
    ),
    "wallet": {"*": {**_CONTACT, "shipping_address": _ADDRESS}},
    "receipt": _leaves("account_number"),
    "generated_from": {"payment_method_details": {"*": _leaves("cardholder_name")}},
    **dict.fromkeys(("verified_address", "shipping", "payer_details"), _CONTACT),
    "online": _leaves("ip_address user_agent"),
}
_METHODS: dict[str, Node] = {"*": _METHOD, "billing_details": _CONTACT}
_TRANSFER: dict[str, Node] = {
    **_leaves("sender_name sender_iban sender_account_number sender_address_line1 refund_iban iban customer_data")
}
_FINANCIAL_ADDRESS: dict[str, Node] = {
    "*": {**_leaves("account_holder_name account_number iban clabe bic"), "account_holder_address": _ADDRESS}
}
_COMPANY: dict[str, Node] = {**_CONTACT, **_leaves("registered_name registration_number vat")}
_INVOICED: dict[str, Node] = {"payment_method_options": {"billie": {"company_details": _COMPANY}}}
_SENDERS: dict[str, Node] = {"bank_transfer": {"*": _leaves("sender_name")}}
_EXCHANGE: dict[str, Node] = {**_leaves("body"), "headers": _leaves("value")}  # what was forwarded to a third party
_DATED: dict[str, Node] = _leaves("issued_date expiration_date")
_ORDER: dict[str, Node] = {"billing_details": _CONTACT, "shipping": _CONTACT, "shipping_details": _CONTACT}
_CUSTOMER: dict[str, Node] = {
    **_CONTACT,
    **_leaves("description"),
    "shipping": _CONTACT,
    "tax": _leaves("ip_address"),
    **_objects("tax_ids sources cards default_card default_source"),
}
_PAYMENT: dict[str, Node] = {  # charges, payment intents and their records
    **_ORDER,
    **_leaves("receipt_email client_secret"),
    "customer_details": _CONTACT,
    "payment_method_details": _METHODS,
    "level3": _leaves("shipping_address_zip"),
    "next_action": {"*": {"financial_addresses": _FINANCIAL_ADDRESS, **_leaves("sign")}},
    **dict.fromkeys(("last_payment_error", "last_setup_error", "setup_error"), _ERROR),
    "payment_method_options": {"billie": {"company_details": _COMPANY}, "link": _leaves("persistent_token")},
    "amount_details": {"shipping": _leaves("to_postal_code")},
    **_objects("latest_charge charges payment_method source card customer refunds dispute"),
}
_TREASURY: dict[str, Node] = {
    "initiating_payment_method_details": _METHODS,
    "destination_payment_method_details": _METHODS,
    "origin_payment_method_details": _METHODS,
    "end_user_details": _leaves("ip_address"),
}
_EVIDENCE_TRANSACTION: dict[str, Node] = {
    **_leaves(
        "customer_account_id customer_device_fingerprint customer_device_id customer_email_address customer_purchase_ip"
    ),
    "shipping_address": _ADDRESS,
}
_VERIFIED: dict[str, Node] = {**_CONTACT, **_leaves("number unparsed_place_of_birth sex unparsed_sex"), **_DATED}

_CLASSES: Mapping[str, Mapping[str, Node]] = {
    "account": {
        **_CONTACT,
        "business_profile": {**_leaves("support_email support_phone"), "support_address": _ADDRESS},
        "company": {
            **_CONTACT,
            "principal_place_of_business": _ADDRESS,
            **dict.fromkeys(
                ("directorship_declaration", "ownership_declaration", "representative_declaration"), _AGREED
            ),
        },
        "settings": {
            "*": {"tos_acceptance": _AGREED},
            "paypay_payments": {"site": {"in_development": _leaves("username password")}},
        },
        "individual": OBJECT,
        "tos_acceptance": _AGREED,
        "external_accounts": OBJECT,
        "legal_entity": {**_CONTACT, "personal_address": _ADDRESS, "additional_owners": _CONTACT},
        **_leaves("support_email support_phone"),
    },
    "account_link": _leaves("url"),
    "account_session": _leaves("client_secret"),
    "apps.secret": _leaves("payload"),
    "bank_account": _leaves("account_holder_name name"),
    "billing_portal.session": _leaves("url"),
    "card": _leaves("name address_line1 address_line2 address_city address_zip"),
    "charge": _PAYMENT,
    "checkout.session": {
        **_leaves("client_secret customer_email"),
        "customer_details": _CONTACT,
        "collected_information": {**_CONTACT, "shipping_details": _CONTACT},
        "shipping_details": _CONTACT,
        "shipping": _CONTACT,
        "custom_fields": {"text": _leaves("value"), "numeric": _leaves("value")},
        **_objects("customer payment_intent setup_intent invoice subscription"),
    },
    "confirmation_token": {
        "payment_method_preview": _METHODS,
        "shipping": _CONTACT,
        "mandate_data": {"customer_acceptance": {"online": _AGREED | _leaves("ip_address")}},
    },
    "credit_note": {**_objects("customer invoice")},
    "customer": _CUSTOMER,
    "customer_cash_balance_transaction": {"funded": _SENDERS},
    "customer_session": _leaves("client_secret"),
    "dispute": {
        "evidence": {
            **_leaves(
                "access_activity_log billing_address customer_email_address customer_name customer_purchase_ip "
                "shipping_address shipping_tracking_number uncategorized_text cancellation_rebuttal "
                "duplicate_charge_explanation refund_refusal_explanation"
            ),
            "enhanced_evidence": {
                "visa_compelling_evidence_3": {
                    "disputed_transaction": _EVIDENCE_TRANSACTION,
                    "prior_undisputed_transactions": _EVIDENCE_TRANSACTION,
                }
            },
        },
        "payment_method_details": _METHODS,
        **_objects("charge payment_intent"),
    },
    "ephemeral_key": _leaves("secret"),
    "file": _leaves("url filename title"),
    "file_link": _leaves("url"),
    "file_upload": _leaves("url filename title"),
    "financial_connections.account": {**_objects("ownership owners"), **_leaves("display_name")},
    "financial_connections.account_owner": {**_CONTACT, **_leaves("raw_address")},
    "financial_connections.account_ownership": _objects("owners"),
    "financial_connections.session": {**_leaves("client_secret"), **_objects("accounts")},
    "forwarding.request": {"request_details": _EXCHANGE, "response_details": _EXCHANGE},
    "funding_instructions": {"bank_transfer": {"financial_addresses": _FINANCIAL_ADDRESS}},
    "identity.verification_report": {
        **dict.fromkeys(("document", "id_number", "email", "phone", "selfie"), _VERIFIED),
    },
    "identity.verification_session": {
        **_leaves("client_secret url"),
        "provided_details": _VERIFIED,
        "verified_outputs": _VERIFIED,
        **_objects("last_verification_report"),
    },
    "invoice": {
        **_leaves("customer_email customer_name customer_phone receipt_email"),
        "customer_address": _ADDRESS,
        "customer_shipping": _CONTACT,
        "customer_tax_ids": _leaves("value"),
        "shipping_details": _CONTACT,
        "confirmation_secret": _leaves("client_secret"),
        "last_finalization_error": _ERROR,
        "lines": {},
        "payment_settings": _INVOICED,
        "parent": {"subscription_details": {}, "quote_details": {}},
        "subscription_details": {},
        **_objects("charge payment_intent customer default_payment_method default_source payments"),
    },
    "issuing.authorization": {
        "verification_data": _leaves("postal_code"),
        "fleet": {"cardholder_prompt_data": PERSONAL},
        **_objects("card cardholder token"),
    },
    "issuing.card": {
        **_leaves("number cvc"),
        "shipping": {**_CONTACT, "address_validation": _CONTACT},
        **_objects("cardholder"),
    },
    "issuing.cardholder": {
        **_CONTACT,
        "billing": _CONTACT,
        "individual": {
            **_CONTACT,
            "card_issuing": {"user_terms_acceptance": _AGREED},
            "verification": PERSONAL,
        },
    },
    "issuing.dispute": {"evidence": {"*": _leaves("explanation")}},
    "issuing.transaction": {
        **_objects("card cardholder token"),
        "purchase_details": {
            "fleet": {"cardholder_prompt_data": PERSONAL},
            "flight": _leaves("passenger_name"),
        },
    },
    "issuing.token": {
        **_objects("card"),
        **_leaves("device_fingerprint"),
        "network_data": {
            "device": _leaves("device_fingerprint ip_address name phone_number location"),
            "wallet_provider": {
                **_leaves("cardholder_name hashed_account_email_address"),
                "cardholder_address": _ADDRESS,
            },
        },
    },
    "login_link": _leaves("url"),
    "mandate": {
        "customer_acceptance": {"online": _leaves("ip_address user_agent")},
        "payment_method_details": {**_METHODS, "*": {**_METHOD, **_leaves("url")}},
        **_objects("payment_method"),
    },
    "payment_attempt_record": _PAYMENT,
    "payment_intent": _PAYMENT,
    "payment_method": {**_METHODS, **_objects("customer")},
    "payment_record": _PAYMENT,
    "payout": _objects("destination"),
    "person": {
        **_CONTACT,
        **_leaves("gender nationality political_exposure"),
        "verification": PERSONAL,
        "additional_tos_acceptances": {"account": _AGREED},
        "us_cfpb_data": PERSONAL,
    },
    "quote": _objects("customer invoice"),
    "radar.payment_evaluation": {
        "customer_details": _CONTACT,
        "payment_details": {"shipping_details": _CONTACT, "payment_method_details": _METHODS},
    },
    "radar.value_list": _leaves("created_by"),
    "radar.value_list_item": _leaves("value created_by"),
    "refund": {
        **_leaves("instructions_email"),
        "destination_details": {"*": _leaves("buyer_id")},
        "next_action": {"display_details": {"email_sent": _leaves("email_sent_to")}},
        **_objects("charge payment_intent"),
    },
    "review": {
        **_leaves("ip_address billing_zip"),
        "ip_address_location": _leaves("city latitude longitude region"),
        "session": PERSONAL,
        **_objects("charge payment_intent"),
    },
    "setup_attempt": {**_PAYMENT, **_objects("setup_intent")},
    "setup_intent": _PAYMENT,
    "source": {
        **_leaves("client_secret"),
        "owner": _CONTACT,
        "receiver": _leaves("address"),
        "source_order": {**_leaves("email"), "shipping": _CONTACT},
        "redirect": _leaves("url"),
        "*": {
            **_METHOD,
            **_leaves(
                "name refund_account_holder_name refund_account_holder_address_line1 refund_account_number refund_iban "
                "refund_account_holder_address_line2 refund_account_holder_address_city client_token "
                "refund_account_holder_address_postal_code shipping_first_name shipping_last_name bank_address_city "
                "bank_address_line_1 bank_address_line_2 bank_address_postal_code evidence_customer_signature"
            ),
        },
    },
    "source_mandate_notification": _objects("source"),
    "source_transaction": {"*": _TRANSFER},
    "subscription": {
        "cancellation_details": _leaves("comment"),
        "payment_settings": _INVOICED,
        "items": {},
        **_objects("customer latest_invoice default_payment_method default_source pending_setup_intent"),
    },
    "subscription_schedule": _objects("customer subscription"),
    "tax.calculation": {"customer_details": _CONTACT},
    "tax.transaction": {"customer_details": _CONTACT},
    "tax_id": {**_leaves("value"), "verification": _leaves("verified_address verified_name")},
    "terminal.configuration": {
        "wifi": {
            "*": _leaves("username password private_key_file_password"),
        },
    },
    "terminal.connection_token": _leaves("secret"),
    "terminal.reader": {
        **_leaves("ip_address"),
        "action": {"api_error": _ERROR, "collect_inputs": {"inputs": {"*": _leaves("value")}}},
    },
    "three_d_secure.authentication": {
        **_CONTACT,
        **_leaves("challenge_url fingerprinting_url"),
        "channel": {"browser": _leaves("ip_address user_agent")},
    },
    "token": {**_leaves("client_ip email"), **_objects("card bank_account")},
    "topup": _objects("source"),
    "treasury.financial_account": {"financial_addresses": _FINANCIAL_ADDRESS},
    "treasury.inbound_transfer": _TREASURY,
    "treasury.outbound_payment": _TREASURY,
    "treasury.outbound_transfer": _TREASURY,
    "treasury.received_credit": _TREASURY,
    "treasury.received_debit": _TREASURY,
    "webhook_endpoint": _leaves("secret"),
}
# The classes that an embedded object may have, where only its path is known; its key names the class otherwise.
_SOURCE = ("source", "card", "bank_account", "account")
EMBEDDED: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(("source", "sources", "default_source"), _SOURCE),
    **dict.fromkeys(("external_accounts", "destination"), ("bank_account", "card")),
    **dict.fromkeys(("card", "cards", "default_card"), ("card", "issuing.card")),
    "default_payment_method": ("payment_method",),
    "latest_charge": ("charge",),
    "charges": ("charge",),
    "refunds": ("refund",),
    "tax_ids": ("tax_id",),
    "individual": ("person",),
    "latest_invoice": ("invoice",),
    "pending_setup_intent": ("setup_intent",),
    "cardholder": ("issuing.cardholder",),
    "owners": ("financial_connections.account_owner",),
    "ownership": ("financial_connections.account_ownership",),
    "accounts": ("financial_connections.account",),
    "last_verification_report": ("identity.verification_report",),
}
# Classes of the SDK that are about things: what a thing is called stays in the clear, whoever it reaches does not.
_OF_A_THING: Final[dict[str, Node]] = {
    **{key: node for key, node in _CONTACT.items() if key != "name"},
    **_leaves(
        "customer_email customer_name customer_phone receipt_email client_secret secret account_holder_name iban "
        "cardholder_name payer_email payer_name client_ip ip surname given_name full_name contact_email contact_phone"
    ),
    "customer_address": _ADDRESS,
}
_OF_A_THING["*"] = _OF_A_THING
_THINGS = """
    apple_pay_domain application application_fee apps.install balance balance_settings balance_transaction billing.alert
    billing.alert_triggered billing.credit_balance_summary billing.credit_balance_transaction billing.credit_grant
    billing.feedback_option billing.meter billing.meter_event billing.meter_event_adjustment billing.meter_event_summary
    billing_portal.configuration capability cash_balance climate.order climate.product climate.supplier
    connect_collection_transfer country_spec coupon credit_note_line_item customer_balance_transaction discount
    entitlements.active_entitlement entitlements.active_entitlement_summary entitlements.feature event exchange_rate
    fee_refund financial_connections.authorization financial_connections.transaction invoice_payment
    invoice_rendering_template invoiceitem issuing.personalization_design issuing.physical_bundle item line_item list
    payment_intent_amount_details_line_item payment_link payment_method_configuration payment_method_domain plan price
    product product_catalog.trial_offer product_feature promotion_code radar.early_fraud_warning
    reporting.report_run reporting.report_type reserve.hold reserve.plan reserve.release reserve_transaction
    scheduled_query_run search_result shipping_rate subscription_item tax.association tax.calculation_line_item
    tax.location tax.registration tax.settings tax.transaction_line_item tax_code tax_deducted_at_source tax_rate
    terminal.location terminal.onboarding_link test_helpers.test_clock transfer transfer_reversal
    treasury.credit_reversal treasury.debit_reversal treasury.financial_account_features treasury.transaction
    treasury.transaction_entry
"""
CLASSES: Final[Mapping[str, Mapping[str, Node]]] = {
    **dict.fromkeys(_THINGS.split(), _OF_A_THING),
    **_CLASSES,
}
# An object of any other class is one that Stripe added later. Until somebody has looked at it, every key that looks as
# if it named, reached, located or opened something is taken for personal, at any depth: its `name`, too.
UNKNOWN: Final[Mapping[str, Node]] = {}
LOOKS_PERSONAL: Final = re.compile(
    r"(?:^|_)(?:e_?mails?|phones?|mobile|fax|names?|surname|line_?\d|address|addresses|city|town|street|postal|postcode"
    r"|zip|ip|ips|dob|birth\w*|ssn|itin|tax_ids?|vat|passport|licen[cs]e|iban|clabe|account_number|sort_code|id_numbers?"
    r"|signature|user_agent|secret|password|gender|sex|nationality|latitude|longitude|maiden|alias|aliases|selfie|vpa"
    r"|cashtag|username|login|cvc|holder|payer|recipient|sender|beneficiary|device_id|device_fingerprint)(?:_|$)",
    re.IGNORECASE,
)
# Metadata has the seller's own keys; these say by themselves that the value names or reaches a person.
METADATA_KEY: Final = re.compile(
    r"(?:^|_|-|\b)(?:e-?mail|phone|mobile|(?:first|last|full|given|family|customer|contact|billing|cardholder)[_-]?name"
    r"|surname|street|ip|ip[_-]?address|dob|birth(?:day|date)|date[_-]of[_-]birth|iban|passport|ssn)$",
    re.IGNORECASE,
)
