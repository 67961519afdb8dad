"""The fake's subscriptions: creation with its first invoice, changes of plan with proration, pausing, the end."""

from __future__ import annotations

from tests.fakes.stripe_catalog import plan_of
from tests.fakes.stripe_invoices import finalize, line_from, new_invoice, new_item, pay, total_up
from tests.fakes.stripe_payments import declined, default_method
from tests.fakes.stripe_state import Business, Obj, Params, StripeError, listing, merged_metadata, need, readable, route

DAYS = {"day": 1, "week": 7, "month": 30, "year": 365}
TRIAL_ENDS_SOON = 3 * 86400
CHANGEABLE = "cancel_at default_payment_method description days_until_due collection_method"


readable("/v1/subscription_items", "subscription_item", "subscription")


@route("GET", "/v1/subscriptions")
def list_subscriptions(business: Business, params: Params) -> Obj:
    wanted = {"customer": params["customer"]} if "customer" in params else {}
    status = params.get("status", "")
    found = [
        subscription
        for subscription in business.find("subscription", **wanted)
        if status == "all" or (subscription["status"] == status if status else subscription["status"] != "canceled")
    ]
    return listing(found, params, "/v1/subscriptions")


@route("GET", "/v1/subscriptions/{id}")
def retrieve_subscription(business: Business, params: Params, id: str) -> Obj:
    return business.get("subscription", id)


@route("POST", "/v1/subscriptions", "SubscriptionCreateParams")
def create_subscription(business: Business, params: Params) -> Obj:
    need(params, "customer", "items")
    customer = business.get("customer", params["customer"], "customer")
    prices = [_price(business, item, index) for index, item in enumerate(params["items"])]
    method = default_method(business, customer, params.get("default_payment_method"))
    trial = _trial_end(business, params)
    if not trial and not method and params.get("collection_method") != "send_invoice" and _billable(prices):
        message = (
            "This customer has no attached payment source or default payment method. "
            "Please consider adding a default payment method."
        )
        raise StripeError(400, message, "resource_missing")
    subscription = _new(business, customer, prices, params, trial)
    business.add(subscription)
    if trial:
        subscription["status"] = "trialing"
        business.emit("customer.subscription.created", subscription)
        if trial - business.now() <= TRIAL_ENDS_SOON:
            business.emit("customer.subscription.trial_will_end", subscription)
        return subscription
    return _first_invoice(business, subscription, customer, method, params)


def _billable(prices: list[Obj]) -> bool:
    return any(price["unit_amount"] for price in prices)


def _price(business: Business, item: Params, index: int) -> Obj:
    wanted = item.get("price") or item.get("plan")
    if not wanted:
        raise StripeError(400, "You must provide `price` or `price_data`.", "parameter_missing", ran=False)
    price = business.get("price", wanted, f"items[{index}][price]")
    if price["type"] != "recurring":
        message = "The price specified is set to `type=one_time` but this field only accepts recurring prices."
        raise StripeError(400, message, param=f"items[{index}][price]")
    return price


def _trial_end(business: Business, params: Params) -> int | None:
    if params.get("trial_period_days"):
        return business.now() + int(params["trial_period_days"]) * 86400
    end = params.get("trial_end")
    return int(end) if end and end != "now" else None


def _item(business: Business, subscription: str, price: Obj, quantity: int, start: int, end: int) -> Obj:
    return {
        "id": business.new_id("si", 14),
        "object": "subscription_item",
        "created": business.now(),
        "current_period_end": end,
        "current_period_start": start,
        "discounts": [],
        "metadata": {},
        "plan": plan_of(price),
        "price": price,
        "quantity": quantity,
        "subscription": subscription,
        "tax_rates": [],
    }


def _new(business: Business, customer: Obj, prices: list[Obj], params: Params, trial: int | None, id: str = "") -> Obj:
    id, now = id or business.new_id("sub"), business.now()
    end = trial or now + DAYS[prices[0]["recurring"]["interval"]] * 86400
    quantities = [int(item.get("quantity", 1)) for item in params["items"]]
    items = [_item(business, id, price, n, now, end) for price, n in zip(prices, quantities, strict=True)]
    return {
        "id": id,
        "object": "subscription",
        "billing_cycle_anchor": now,
        "cancel_at": None,
        "cancel_at_period_end": params.get("cancel_at_period_end", False),
        "canceled_at": None,
        "cancellation_details": {"comment": None, "feedback": None, "reason": None},
        "collection_method": params.get("collection_method", "charge_automatically"),
        "currency": prices[0]["currency"],
        "customer": customer["id"],
        "days_until_due": params.get("days_until_due"),
        "default_payment_method": params.get("default_payment_method"),
        "description": params.get("description"),
        "discounts": [],
        "ended_at": None,
        "items": _list(items, id),
        "latest_invoice": None,
        "metadata": dict(params.get("metadata") or {}),
        "pause_collection": None,
        "schedule": None,
        "start_date": now,
        "status": "incomplete",
        "test_clock": None,
        "trial_end": trial,
        "trial_settings": params.get("trial_settings"),
        "trial_start": now if trial else None,
    }


def _list(items: list[Obj], subscription: str) -> Obj:
    url = f"/v1/subscription_items?subscription={subscription}"
    return {"object": "list", "data": items, "has_more": False, "total_count": len(items), "url": url}


def _first_invoice(business: Business, subscription: Obj, customer: Obj, method: Obj | None, params: Params) -> Obj:
    invoice = _bill(business, subscription, customer, "subscription_create")
    subscription["latest_invoice"] = invoice["id"]
    business.emit("customer.subscription.created", subscription)
    finalize(business, invoice)
    if invoice["status"] == "paid" or params.get("payment_behavior") == "default_incomplete" or method is None:
        return subscription
    if pay(business, invoice, method) and params.get("payment_behavior") == "error_if_incomplete":
        raise declined("generic_decline")
    return subscription


def _bill(business: Business, subscription: Obj, customer: Obj, reason: str) -> Obj:
    invoice = new_invoice(business, customer, reason, subscription["currency"], subscription)
    for item in subscription["items"]["data"]:
        price = item["price"]
        details = {"subscription": subscription["id"], "subscription_item": item["id"], "proration": False}
        parent = {"type": "subscription_item_details", "subscription_item_details": details}
        price_details = {"price": price["id"], "product": price["product"]}
        line = line_from(
            business,
            invoice,
            price["unit_amount"] * item["quantity"],
            f"{item['quantity']} x {price['nickname'] or price['id']}",
            parent=parent | {"invoice_item_details": None},
            pricing={"type": "price_details", "price_details": price_details},
            period={"start": item["current_period_start"], "end": item["current_period_end"]},
        )
        invoice["lines"]["data"].append(line)
    total_up(invoice)
    business.emit("invoice.created", invoice)
    return invoice


# ---- changes --------------------------------------------------------------------------------------------------------
@route("POST", "/v1/subscriptions/{id}", "SubscriptionUpdateParams")
def update_subscription(business: Business, params: Params, id: str) -> Obj:
    subscription = business.get("subscription", id)
    if subscription["status"] in ("canceled", "incomplete_expired"):
        if set(params) - {"metadata", "cancellation_details", "expand"}:
            message = "A canceled subscription can only update its cancellation_details and metadata."
            raise StripeError(400, message)
        changes: Obj = {"metadata": merged_metadata(subscription, params)}
        return business.change(subscription, changes, "customer.subscription.updated")
    changes = {name: params[name] or None for name in CHANGEABLE.split() if name in params}
    changes["metadata"] = merged_metadata(subscription, params)
    if "items" in params:
        changes["items"] = _changed_items(business, subscription, params)
    if "pause_collection" in params:
        changes["pause_collection"] = params["pause_collection"] or None
    if "cancel_at_period_end" in params:
        changes |= _ending(business, subscription, params["cancel_at_period_end"] is True)
    if params.get("trial_end") == "now" and subscription["status"] == "trialing":
        changes |= _end_of_trial(business, subscription)
    paused = changes.get("status") == "paused"
    business.change(subscription, changes, "customer.subscription.updated")
    if paused:
        business.emit("customer.subscription.paused", subscription)
    return subscription


def _changed_items(business: Business, subscription: Obj, params: Params) -> Obj:
    """Items after the update: by `id` they change, without one a second item is added (Stripe's trap)."""
    kept = {item["id"]: dict(item) for item in subscription["items"]["data"]}
    first = next(iter(kept.values()))
    for index, wanted in enumerate(params["items"]):
        if "id" in wanted and wanted["id"] not in kept:
            raise StripeError(404, f"No such subscription_item: '{wanted['id']}'", "resource_missing", ran=False)
        if wanted.get("deleted") is True:
            del kept[wanted["id"]]
            continue
        price = _same_currency(_price(business, wanted, index), subscription) if "price" in wanted else None
        if "id" not in wanted:
            if price is None:
                raise StripeError(400, "You must provide `price`.", "parameter_missing", ran=False)
            span = first["current_period_start"], first["current_period_end"]
            item = _item(business, subscription["id"], price, int(wanted.get("quantity", 1)), *span)
            kept[item["id"]] = item
            continue
        _prorate(business, subscription, kept[wanted["id"]], price, params.get("proration_behavior"))
        item = kept[wanted["id"]]
        item["quantity"] = int(wanted.get("quantity", item["quantity"]))
        if price:
            item |= {"price": price, "plan": plan_of(price)}
    if len(kept) > 20:
        raise StripeError(400, "A subscription can have at most 20 items.")
    return _list(list(kept.values()), subscription["id"])


def _same_currency(price: Obj, subscription: Obj) -> Obj:
    if price["currency"] != subscription["currency"] and not price.get("_any_currency"):
        message = (
            f"The price specified only supports `{price['currency']}`. "
            f"This doesn't match the expected currency: `{subscription['currency']}`."
        )
        raise StripeError(400, message, param="items[0][price]")
    return price


def _prorate(business: Business, subscription: Obj, item: Obj, price: Obj | None, behavior: str | None) -> None:
    """Credit for the rest of the old price and a charge for the rest of the new one, as pending invoice items."""
    if price is None or behavior == "none" or subscription["status"] == "trialing":
        return
    whole = item["current_period_end"] - item["current_period_start"]
    left = max(0, min(1, (item["current_period_end"] - business.now()) / whole)) if whole else 0
    for sign, each, word in ((-1, item["price"], "Unused time on"), (1, price, "Remaining time on")):
        amount = round(sign * each["unit_amount"] * item["quantity"] * left)
        text = f"{word} {each['nickname'] or each['id']}"
        line = new_item(business, subscription["customer"], amount, subscription["currency"], text, subscription["id"])
        business.emit("invoiceitem.created", line)


def _ending(business: Business, subscription: Obj, ending: bool) -> Obj:
    end = subscription["items"]["data"][0]["current_period_end"]
    details = {"comment": None, "feedback": None, "reason": "cancellation_requested" if ending else None}
    return {
        "cancel_at_period_end": ending,
        "cancel_at": end if ending else None,
        "canceled_at": business.now() if ending else None,
        "cancellation_details": details,
    }


def _end_of_trial(business: Business, subscription: Obj) -> Obj:
    customer = business.get("customer", subscription["customer"])
    method = default_method(business, customer, subscription["default_payment_method"])
    behavior = ((subscription["trial_settings"] or {}).get("end_behavior") or {}).get("missing_payment_method")
    ended = {"trial_end": business.now()}
    if method is None and behavior == "pause":
        return {**ended, "status": "paused"}
    invoice = finalize(business, _bill(business, subscription, customer, "subscription_update"))
    failed = invoice["status"] != "paid" and (method is None or pay(business, invoice, method))
    return {**ended, "latest_invoice": invoice["id"], "status": "past_due" if failed else "active"}


@route("DELETE", "/v1/subscriptions/{id}", "SubscriptionCancelParams")
def cancel_subscription(business: Business, params: Params, id: str) -> Obj:
    subscription = business.get("subscription", id)
    if subscription["status"] == "canceled":
        raise StripeError(404, f"No such subscription: {id}", "resource_missing", param="id")
    details = {"comment": None, "feedback": None, "reason": "cancellation_requested"}
    details |= params.get("cancellation_details") or {}
    now = business.now()
    changes = {"status": "canceled", "canceled_at": now, "ended_at": now, "cancellation_details": details}
    return business.change(subscription, changes, "customer.subscription.deleted")


@route("POST", "/v1/subscriptions/{id}/pause", "SubscriptionPauseParams")
def pause_subscription(business: Business, params: Params, id: str) -> Obj:
    subscription = business.get("subscription", id)
    if subscription["status"] not in ("active", "trialing", "past_due"):
        raise StripeError(400, f"A subscription that is {subscription['status']} cannot be paused.")
    return business.change(subscription, {"status": "paused"}, "customer.subscription.paused")


@route("POST", "/v1/subscriptions/{id}/resume", "SubscriptionResumeParams")
def resume_subscription(business: Business, params: Params, id: str) -> Obj:
    subscription = business.get("subscription", id)
    if subscription["status"] != "paused":
        raise StripeError(400, "Only paused subscriptions can be resumed.")
    return business.change(subscription, {"status": "active"}, "customer.subscription.resumed")


# ---- a subscription that nobody created -----------------------------------------------------------------------------
def imagined(business: Business, kind: str, id: str) -> Obj | None:
    """What sample mode answers for an unknown id: a monthly subscription, its customer, a free or ten-dollar price."""
    if kind == "price" and id.startswith("price_"):
        return _imagined_price(business, id)
    if kind == "customer" and id.startswith("cus_"):
        blank = {"email": None, "name": None, "invoice_prefix": id[4:12].upper(), "next_invoice_sequence": 1}
        return business.add({"id": id, "object": "customer", "metadata": {}, "invoice_settings": {}} | blank)
    if kind == "subscription" and id.startswith("sub_"):
        customer = business.get("customer", f"cus_of_{id[4:]}")
        price = _imagined_price(business, "price_pro_monthly")
        params = {"items": [{}], "metadata": {}}
        return business.add(_new(business, customer, [price], params, None, id) | {"status": "active"})
    return None


def _imagined_price(business: Business, id: str) -> Obj:
    amount = 0 if "free" in id else 1000
    recurring = {"interval": "month", "interval_count": 1, "meter": None, "usage_type": "licensed"}
    price: Obj = {
        "id": id,
        "object": "price",
        "active": True,
        "billing_scheme": "per_unit",
        "currency": "usd",
        "metadata": {},
        "nickname": id.removeprefix("price_").replace("_", " ").title(),
        "product": "prod_sample",
        "recurring": recurring,
        "tiers_mode": None,
        "type": "recurring",
        "unit_amount": amount,
        "unit_amount_decimal": str(amount),
        "_any_currency": True,
    }
    return business.add(price)
