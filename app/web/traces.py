"""Traces: recent journeys, and one transaction from the webhook to the CRM as a waterfall."""

from __future__ import annotations

from flask import Blueprint, Response

from app import browse
from app.web import naming
from app.web.addresses import cursor, pages
from app.web.pages import now, page, services, tenant

blueprint = Blueprint("traces", __name__)


@blueprint.get("/traces")
def many() -> Response:
    found = browse.journeys(services().store, tenant(), after=cursor())
    naming.name(found["items"])
    return page("traces.html", "list", found=found, moment=now(), **pages("/traces", found["next"]))


@blueprint.get("/traces/<id>")
def one(id: str) -> Response:
    return page("trace.html", journey=browse.journey(services().store, tenant(), id), moment=now())
