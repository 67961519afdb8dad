"""What the fake sells and to whom: customers, products, prices, plans, coupons, and the plain kinds beside them."""

from __future__ import annotations

from tests.fakes.stripe_payments import as_payment_method, card_source
from tests.fakes.stripe_state import (
    Business,
    Obj,
    Params,
    StripeError,
    listing,
    merged_metadata,
    need,
    readable,
    route,
    updated,
)

OLD_CUSTOMER = "coupon source payment_method test_clock promotion_code"


# ---- customers ------------------------------------------------------------------------------------------------------
@route("POST", "/v1/customers", "CustomerCreateParams", OLD_CUSTOMER)
def create_customer(business: Business, params: Params) -> Obj:
    customer: Obj = {
        "id": business.new_id("cus", 14),
        "object": "customer",
        "address": params.get("address"),
        "balance": params.get("balance", 0),
        "currency": None,
        "default_source": None,
        "delinquent": False,
        "description": params.get("description"),
        "discount": None,
        "email": params.get("email"),
        "invoice_prefix": business.new_id("x", 8)[2:].upper(),
        "invoice_settings": {"custom_fields": None, "default_payment_method": None, "footer": None},
        "metadata": dict(params.get("metadata") or {}),
        "name": params.get("name"),
        "next_invoice_sequence": 1,
        "phone": params.get("phone"),
        "preferred_locales": [],
        "shipping": params.get("shipping"),
        "tax_exempt": params.get("tax_exempt", "none"),
        "test_clock": params.get("test_clock"),
    }
    business.add(customer, "customer.created")
    _give_means(business, customer, params)
    if params.get("coupon"):
        _discount(business, customer, params["coupon"])
    return customer


def _give_means(business: Business, customer: Obj, params: Params) -> None:
    if params.get("payment_method"):
        method = as_payment_method(business, params["payment_method"])
        business.change(method, {"customer": customer["id"]}, "payment_method.attached")
    if params.get("source"):
        source = card_source(business, customer, params["source"])
        business.change(customer, {"default_source": source["id"]}, "customer.updated")
    if wanted := (params.get("invoice_settings") or {}).get("default_payment_method"):
        settings = customer["invoice_settings"] | {"default_payment_method": _owned(business, customer, wanted)["id"]}
        business.change(customer, {"invoice_settings": settings})


def _owned(business: Business, customer: Obj, id: str) -> Obj:
    """The payment method by id; a test card's name means the one made from it for this customer."""
    for method in business.find("payment_method", customer=customer["id"]):
        if id in (method["id"], method.get("_made_from")):
            return method
    raise StripeError(
        400,
        f"The customer does not have a payment method with the ID {id}. "
        "The payment method must be attached to the customer.",
        "resource_missing",
        param="invoice_settings[default_payment_method]",
    )


@route("GET", "/v1/customers")
def list_customers(business: Business, params: Params) -> Obj:
    wanted = {"email": params["email"]} if "email" in params else {}
    return listing(business.find("customer", **wanted), params, "/v1/customers")


@route("GET", "/v1/customers/{id}")
def retrieve_customer(business: Business, params: Params, id: str) -> Obj:
    gone = business.objects.get(id)
    if gone and gone.get("deleted"):
        return {"id": id, "object": "customer", "deleted": True}
    return business.get("customer", id)


@route("POST", "/v1/customers/{id}", "CustomerUpdateParams", OLD_CUSTOMER)
def update_customer(business: Business, params: Params, id: str) -> Obj:
    customer = business.get("customer", id)
    if "coupon" in params:
        _discount(business, customer, params["coupon"])
    changes: Obj = {}
    if wanted := (params.get("invoice_settings") or {}).get("default_payment_method"):
        changes["invoice_settings"] = {
            **customer["invoice_settings"],
            "default_payment_method": _owned(business, customer, wanted)["id"],
        }
    if params.get("source"):
        changes["default_source"] = card_source(business, customer, params["source"])["id"]
    plain = "address balance description email name phone preferred_locales shipping tax_exempt"
    changes |= {name: params[name] or None for name in plain.split() if name in params}
    changes["metadata"] = merged_metadata(customer, params)
    return business.change(customer, changes, "customer.updated")


def _discount(business: Business, customer: Obj, coupon: str) -> None:
    before = customer["discount"]
    if not coupon:
        if before:
            business.emit("customer.discount.deleted", before)
            business.change(customer, {"discount": None}, "customer.updated")
        return
    source = {"type": "coupon", "coupon": business.get("coupon", coupon, "coupon")["id"]}
    discount = {
        "id": business.new_id("di"),
        "object": "discount",
        "customer": customer["id"],
        "start": business.now(),
        "end": None,
        "source": source,
        "subscription": None,
    }
    business.emit("customer.discount.updated" if before else "customer.discount.created", discount, before)
    business.change(customer, {"discount": discount}, "customer.updated")


@route("DELETE", "/v1/customers/{id}")
def delete_customer(business: Business, params: Params, id: str) -> Obj:
    customer = business.get("customer", id)
    business.change(customer, {"deleted": True}, "customer.deleted")
    return {"id": id, "object": "customer", "deleted": True}


@route("POST", "/v1/customers/{id}/sources")
def create_source(business: Business, params: Params, id: str) -> Obj:
    need(params, "source")
    return card_source(business, business.get("customer", id), params["source"])


@route("POST", "/v1/customers/{id}/sources/{source}")
def update_source(business: Business, params: Params, id: str, source: str) -> Obj:
    return updated(business, business.get("card", source), params, "name exp_month exp_year", "customer.source.updated")


@route("GET", "/v1/customers/{id}/payment_methods")
def list_customer_methods(business: Business, params: Params, id: str) -> Obj:
    business.get("customer", id)
    found = business.find("payment_method", customer=id)
    return listing(found, params, f"/v1/customers/{id}/payment_methods")


# ---- products, prices, plans ----------------------------------------------------------------------------------------
readable("/v1/products", "product", "active")
readable("/v1/prices", "price", "active product currency")
readable("/v1/plans", "plan", "active product")


@route("POST", "/v1/products", "ProductCreateParams")
def create_product(business: Business, params: Params) -> Obj:
    need(params, "name")
    product: Obj = {
        "id": params.get("id") or business.new_id("prod", 14),
        "object": "product",
        "active": params.get("active", True),
        "default_price": None,
        "description": params.get("description"),
        "images": [],
        "marketing_features": [],
        "metadata": dict(params.get("metadata") or {}),
        "name": params["name"],
        "package_dimensions": None,
        "shippable": None,
        "statement_descriptor": None,
        "tax_code": None,
        "type": "service",
        "unit_label": None,
        "updated": business.now(),
        "url": None,
    }
    return business.add(product, "product.created")


@route("POST", "/v1/products/{id}", "ProductUpdateParams")
def update_product(business: Business, params: Params, id: str) -> Obj:
    return updated(business, business.get("product", id), params, "name active description url", "product.updated")


@route("DELETE", "/v1/products/{id}")
def delete_product(business: Business, params: Params, id: str) -> Obj:
    product = business.get("product", id)
    if business.find("price", product=id):
        raise StripeError(400, "This product cannot be deleted because it has one or more user-created prices.")
    return _deleted(business, product, "product.deleted")


@route("POST", "/v1/prices", "PriceCreateParams")
def create_price(business: Business, params: Params) -> Obj:
    need(params, "currency")
    if not params.get("product") and not params.get("product_data"):
        raise StripeError(400, "You must provide one of `product` or `product_data`.", "parameter_missing", ran=False)
    product = params.get("product") or create_product(business, params["product_data"])["id"]
    business.get("product", product, "product")
    recurring = params.get("recurring")
    price: Obj = {
        "id": business.new_id("price"),
        "object": "price",
        "active": params.get("active", True),
        "billing_scheme": "per_unit",
        "currency": params["currency"],
        "custom_unit_amount": None,
        "lookup_key": params.get("lookup_key"),
        "metadata": dict(params.get("metadata") or {}),
        "nickname": params.get("nickname"),
        "product": product,
        "recurring": _recurring(recurring) if recurring else None,
        "tax_behavior": params.get("tax_behavior", "unspecified"),
        "tiers_mode": None,
        "transform_quantity": None,
        "type": "recurring" if recurring else "one_time",
        "unit_amount": int(params.get("unit_amount", 0)),
        "unit_amount_decimal": str(params.get("unit_amount", 0)),
    }
    business.add(price, "price.created")
    if recurring:
        business.emit("plan.created", plan_of(price))
    return price


def _recurring(given: Params) -> Obj:
    need(given, "interval")
    fixed = {"meter": None, "trial_period_days": None, "usage_type": "licensed"}
    return {"interval": given["interval"], "interval_count": given.get("interval_count", 1)} | fixed


@route("POST", "/v1/prices/{id}", "PriceUpdateParams")
def update_price(business: Business, params: Params, id: str) -> Obj:
    return updated(business, business.get("price", id), params, "active nickname lookup_key", "price.updated")


@route("POST", "/v1/plans", "PlanCreateParams")
def create_plan(business: Business, params: Params) -> Obj:
    need(params, "currency", "interval", "product")
    given = params["product"]
    product = given if isinstance(given, str) else create_product(business, given)["id"]
    plan: Obj = {
        "id": params.get("id") or business.new_id("plan"),
        "object": "plan",
        "active": params.get("active", True),
        "amount": int(params.get("amount", 0)),
        "amount_decimal": str(params.get("amount", 0)),
        "billing_scheme": "per_unit",
        "currency": params["currency"],
        "interval": params["interval"],
        "interval_count": params.get("interval_count", 1),
        "metadata": dict(params.get("metadata") or {}),
        "meter": None,
        "nickname": params.get("nickname"),
        "product": business.get("product", product, "product")["id"],
        "tiers_mode": None,
        "transform_usage": None,
        "trial_period_days": params.get("trial_period_days"),
        "usage_type": "licensed",
    }
    return business.add(plan, "plan.created")


@route("POST", "/v1/plans/{id}", "PlanUpdateParams")
def update_plan(business: Business, params: Params, id: str) -> Obj:
    return updated(business, business.get("plan", id), params, "active nickname trial_period_days", "plan.updated")


@route("DELETE", "/v1/plans/{id}")
def delete_plan(business: Business, params: Params, id: str) -> Obj:
    return _deleted(business, business.get("plan", id), "plan.deleted")


def plan_of(price: Obj) -> Obj:
    """The old `plan` that stands beside a recurring price on a subscription item."""
    recurring = price.get("recurring") or {}
    same = "id active billing_scheme created currency livemode metadata nickname product tiers_mode"
    return {
        **{name: price.get(name) for name in same.split()},
        "object": "plan",
        "amount": price["unit_amount"],
        "amount_decimal": price["unit_amount_decimal"],
        "interval": recurring.get("interval", "month"),
        "interval_count": recurring.get("interval_count", 1),
        "meter": None,
        "transform_usage": None,
        "trial_period_days": None,
        "usage_type": "licensed",
    }


# ---- coupons and the plain kinds ------------------------------------------------------------------------------------
readable("/v1/coupons", "coupon")


@route("POST", "/v1/coupons", "CouponCreateParams")
def create_coupon(business: Business, params: Params) -> Obj:
    if not params.get("percent_off") and not params.get("amount_off"):
        raise StripeError(400, "Must provide percent_off or amount_off.", "parameter_missing", ran=False)
    coupon: Obj = {
        "id": params.get("id") or business.new_id("x", 8)[2:],
        "object": "coupon",
        "amount_off": params.get("amount_off"),
        "currency": params.get("currency"),
        "duration": params.get("duration", "once"),
        "duration_in_months": params.get("duration_in_months"),
        "max_redemptions": params.get("max_redemptions"),
        "metadata": dict(params.get("metadata") or {}),
        "name": params.get("name"),
        "percent_off": params.get("percent_off"),
        "redeem_by": None,
        "times_redeemed": 0,
        "valid": True,
    }
    return business.add(coupon, "coupon.created")


@route("POST", "/v1/coupons/{id}", "CouponUpdateParams")
def update_coupon(business: Business, params: Params, id: str) -> Obj:
    return updated(business, business.get("coupon", id), params, "name", "coupon.updated")


@route("DELETE", "/v1/coupons/{id}")
def delete_coupon(business: Business, params: Params, id: str) -> Obj:
    return _deleted(business, business.get("coupon", id), "coupon.deleted")


def _deleted(business: Business, obj: Obj, event: str) -> Obj:
    business.change(obj, {"deleted": True})
    business.emit(event, obj)
    return {"id": obj["id"], "object": obj["object"], "deleted": True}


def _plain(path: str, kind: str, prefix: str, create: str, update: str, also: str = "") -> None:
    """A kind that keeps what it is given: create, update, retrieve, list."""

    @route("POST", path, create, also)
    def create_plain(business: Business, params: Params) -> Obj:
        if params.get("coupon"):
            business.get("coupon", params["coupon"], "coupon")
        obj = {"id": business.new_id(prefix), "object": kind, "active": True, "metadata": {}} | dict(params)
        return business.add(obj, f"{kind}.created")

    @route("POST", path + "/{id}", update, also)
    def update_plain(business: Business, params: Params, id: str) -> Obj:
        fields = " ".join(name for name in params if name != "metadata")
        return updated(business, business.get(kind, id), params, fields, f"{kind}.updated")

    readable(path, kind)


_plain("/v1/tax_rates", "tax_rate", "txr", "TaxRateCreateParams", "TaxRateUpdateParams")
_plain(
    "/v1/promotion_codes", "promotion_code", "promo", "PromotionCodeCreateParams", "PromotionCodeUpdateParams", "coupon"
)
_plain("/v1/payment_links", "payment_link", "plink", "PaymentLinkCreateParams", "PaymentLinkUpdateParams")
