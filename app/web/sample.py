"""The sample business: start it, and watch it come in through the real webhook endpoint."""

from __future__ import annotations

from flask import Blueprint, Response

from app import browse, jobs, sample
from app.web.pages import go, now, page, services, tenant
from rules.ports import Refused

blueprint = Blueprint("sample", __name__)


@blueprint.get("/sample")
def look() -> Response:
    store = services().store
    job = jobs.latest(store, sample.TENANT, "sample")
    runs = browse.runs(store, sample.TENANT, limit=1)["items"]
    return page(
        "sample.html",
        "progress",
        job=job.body if job else None,
        deliveries=len(sample.load().order),
        rules=[(document["id"], document["name"]) for document in sample.rules()],
        refusal=refusal(),
        started=bool(runs),
        elsewhere=tenant() != sample.TENANT,
        sample_tenant=sample.TENANT,
    )


@blueprint.post("/sample")
def start() -> Response:
    if problem := refusal():
        raise Refused(problem)
    sample.begin(services().store, now())
    return go("/sample")


def refusal() -> str:
    """Why the sample may not be played here; empty when it may."""
    settings = services().settings
    if not settings.development:
        return "The sample is a made-up business and is played only where SIGNALBOX_ENV is development."
    if settings.stripe_api_key and not settings.stand_in:
        return "A Stripe key is set, and the sample's actions must not reach a real account: start without the key."
    return ""
