"""Deliveries: what goes out to Stripe, the CRM and the rest, how each connection is doing, and what is tried again."""

from __future__ import annotations

from typing import get_args

from flask import Blueprint, Response

from app import browse
from app.web import naming
from app.web.addresses import asked, chosen, cursor, pages
from app.web.pages import now, page, services, tenant
from rules.run import CommandState

blueprint = Blueprint("deliveries", __name__)


@blueprint.app_template_global()
def action_title(name: str) -> str:
    """What an action is called, or its name where its connector is gone."""
    known = services().connectors.get(name)
    return known.title if known else name


@blueprint.get("/deliveries")
def many() -> Response:
    store, mine = services().store, tenant()
    state, connection = chosen("state", get_args(CommandState)), asked("connection")
    found = browse.commands(store, mine, state=state, connection=connection, after=cursor())
    naming.name(found["items"])
    return page(
        "deliveries.html",
        "list",
        found=found,
        filters={"state": state, "connection": connection},
        connections=browse.connections(store, mine),
        states=get_args(CommandState),
        moment=now(),
        **pages("/deliveries", found["next"], state=state, connection=connection),
    )
