"""What looks personal in Stripe's objects and deliberately stays in the clear, each with the reason.

A test walks every class and field of the installed SDK; whatever its name or description makes look personal is either
declared in `rules.personal_paths` or stands here. An entry is a key, which holds wherever that key ends a path; the end
of a path (`custom_fields.name`); or `class: path` for one place, `class: path.*` for all below it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Final

CLEAR: Final[Mapping[str, str]] = {
    "Stripe's own ids and those of files: without the account's key they open nothing, and rules follow them.": """
        customer customer_account account_tax_ids default_account_tax_ids tax_rate tax_code credit_note payment_link
        customer_balance_transaction value_list location performance_location related_customer
        related_customer_account person
        dispute: evidence.customer_communication
        dispute: evidence.customer_signature
        dispute: evidence.uncategorized_file
        issuing.dispute: evidence.duplicate.card_statement
        issuing.dispute: evidence.duplicate.check_image
        identity.verification_report: selfie.document
        identity.verification_report: selfie.selfie
        issuing.authorization: token
        issuing.transaction: token
        file_link: file
        account: settings.paypay_payments.site.restricted.payment_flow_file
        checkout.session: branding_settings.icon.file
        checkout.session: branding_settings.logo.file
        terminal.configuration: wifi.*
        terminal.reader: action.print_content.image.filename
        confirmation_token: payment_method_options.card.cvc_token
    """,
    "A fingerprint tells that two cards or accounts are the same and names nobody; rules count by it.": """
        fingerprint
    """,
    "What a card or an account shows on a statement: banks, brands, expiry and last digits are no way to it.": """
        bank_name bic iban_last4 account_number_last4 routing_number refund_routing_number bsb_number
        institution_number transit_number institution_name branch_name exp_month exp_year emv_auth_data
        application_preferred_name dedicated_file_name sender_bank sender_branch sender_sort_code sort_code
        service_user_number
    """,
    "Where a bank has its seat, and the bank's side of a transfer.": """
        bank_address.city bank_address.line1 bank_address.line2 bank_address.postal_code
    """,
    "Numbers of payments, invoices and receipts: they stand on papers that go round anyway; people search by them.": """
        reference reference_status reference_type reference_prefix payment_reference receipt_number
        confirmation_number mandate_reference client_reference_id order_reference subscription_reference
        merchant_reference customer_reference transaction_link_id system_trace_audit_number card_reference_id
        token_reference_id token_requestor_id token_requestor_name token_risk_score device_trust_score
        tax_deduction_account_number flight_number
        invoice: number
        credit_note: number
        quote: number
        payment_intent: next_action.boleto_display_details.number
        charge: payment_method_details.oxxo.number
        payment_attempt_record: payment_method_details.oxxo.number
        payment_record: payment_method_details.oxxo.number
        payment_intent: next_action.oxxo_display_details.number
        three_d_secure.authentication: future_usage.installment.number
        payout: trace_id.value
    """,
    "Pages and codes to pay, confirm or look by: a rule's message must be able to carry them.": """
        hosted_invoice_url receipt_url hosted_instructions_url hosted_voucher_url hosted_verification_url
        hosted_regulatory_receipt_url image_url_png image_url_svg mobile_auth_url native_url native_data
        image_data_url redirect_to_url.url alipay_handle_redirect.url data_string qr_code_url
        klarna_display_qr_code.data paynow_display_qr_code.data pix_display_qr_code.data
        promptpay_display_qr_code.data qr_code.data wechat_pay_display_qr_code.data pay_later_redirect_url
        pay_now_redirect_url pay_over_time_redirect_url
        checkout.session: url
        checkout.session: after_expiration.recovery.url
        payment_link: url
        source: klarna.redirect_url
        source: sepa_debit.mandate_url
    """,
    "The seller's own addresses on the web and pictures.": """
        return_url success_url cancel_url default_return_url support_url privacy_policy_url terms_of_service_url
        specified_commercial_transactions_act_url doc_url request_log_url custom_mandate_url redirect_url image_url
        product_url image_src logo_url background_image_url domain_name info_url registry_url
        after_completion.redirect.url custom.logo.content_type
        account: business_profile.url
        billing_portal.configuration: login_page.url
        checkout.session: branding_settings.icon.url
        checkout.session: branding_settings.logo.url
        forwarding.request: url
        payment_method: custom.logo.url
        product: url
        webhook_endpoint: url
        issuing.authorization: merchant_data.url
        issuing.transaction: merchant_data.url
    """,
    "What things are called: prices, products, plans, features, funds and settings have names, too.": """
        display_name display_name_kana display_name_kanji event_name product_name pay_later_name pay_now_name
        pay_over_time_name public_name merchant_name headers.name custom_fields.name event_payload_key
        account: business_profile.name
        apps.secret: name
        application: name
        billing.credit_grant: name
        billing_portal.configuration: name
        climate.product: name
        climate.supplier: name
        coupon: name
        entitlements.feature: name
        invoice: account_name
        issuing.personalization_design: name
        issuing.physical_bundle: name
        issuing.authorization: merchant_data.name
        issuing.transaction: merchant_data.name
        payment_method_configuration: name
        product: name
        product: marketing_features.name
        radar.value_list: name
        radar.value_list: alias
        reporting.report_type: name
        tax_code: name
        terminal.configuration: name
        test_helpers.test_clock: name
    """,
    "The words of the seller about what is sold, and of Stripe about what went wrong: rules read them, and an e-mail "
    "address in them is replaced wherever it stands.": """
        description message failure_message error_message seller_message reason_message product_description memo
        statement_descriptor statement_descriptor_kana statement_descriptor_kanji statement_descriptor_prefix
        statement_descriptor_prefix_kana statement_descriptor_prefix_kanji statement_descriptor_suffix
        statement_descriptor_suffix_kana statement_descriptor_suffix_kanji calculated_statement_descriptor
        custom_message inactive_message interval_description return_description carrier_text.footer_body
        carrier_text.header_body rejection_reasons.carrier_text selection.choices.text selection.text
        custom_fields.value options.value default_value dropdown.value
        link_options.apple_terms_and_conditions.merchant_display_name
        billing.meter_event: payload
    """,
    "Results of a check, kinds and settings, not the value that was checked.": """
        address_line1_check address_postal_code_check address_zip_check cvc_check account_holder_type
        refund_account_holder_type requested_address_types amount_tax_display data_type tax_id_registrar
        device_sw_version fiscal_year_end cardholder_verification_method preferred_locales default_tax_rates
        day_of_month delivery_year expected_delivery_year accept_header color_depth screen_height screen_width
        timezone_offset
    """,
    "Country and state: many people share one, and taxes and rules go by it.": """
        address_country address_state sender_address_country refund_account_holder_address_country
        refund_account_holder_address_state
        tax_id: country
    """,
    "Where the seller or another company is, not a person.": """
        shipping_from_zip from_postal_code export_license_id eori_number pos_device_id
        evidence_transaction_certificate serial_number destination_ip_address
        climate.order: delivery_details.location.*
        climate.supplier: locations.*
        issuing.authorization: merchant_data.*
        issuing.transaction: merchant_data.*
        tax.calculation: ship_from_details.*
        tax.transaction: ship_from_details.*
        account: company.registration_date.*
    """,
    "Amounts and numbers that a field of this name holds.": """
        aggregated_value cash.available credit.used balance.current monetary.value delivery_estimate.maximum.value
        delivery_estimate.minimum.value
        billing.alert_triggered: value
        subscription: billing_cycle_anchor_config.month
    """,
}


@cache
def entries() -> Mapping[str, str]:
    """Each entry with its reason."""
    found = {}
    for reason, text in CLEAR.items():
        for line in text.strip().splitlines():
            line = line.strip()
            found.update(dict.fromkeys([line] if ": " in line else line.split(), reason))
    return found


def entry_for(object_class: str, path: str) -> str | None:
    """The entry that leaves this path in the clear; None when there is none. path: dotted, without list marks."""
    parts = path.split(".")
    ends = [".".join(parts[at:]) for at in range(len(parts) - 1, -1, -1)]
    below = [f"{object_class}: {'.'.join(parts[:end])}.*" for end in range(1, len(parts))]
    return next((one for one in (f"{object_class}: {path}", *ends, *below) if one in entries()), None)
