"""Customers: whom the newest events are about, and everything about one of them on one page."""

from __future__ import annotations

from flask import Blueprint, Response

from app import browse
from app.web import naming
from app.web.addresses import cursor, pages
from app.web.pages import now, page, services, tenant

blueprint = Blueprint("customers", __name__)


@blueprint.get("/customers")
def many() -> Response:
    found = browse.customers(services().store, tenant(), after=cursor())
    naming.name({"customer": row["id"]} for row in found["items"])
    return page("customers.html", "list", found=found, moment=now(), **pages("/customers", found["next"]))


@blueprint.get("/customers/<id>")
def one(id: str) -> Response:
    found = browse.customer(services().store, tenant(), id, after=cursor())
    naming.name([{"customer": id}])
    return page("customer.html", "history", customer=found, moment=now(), **pages(f"/customers/{id}", found["next"]))
