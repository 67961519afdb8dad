"""The first page: is it healthy, what happened today, what needs me; and how to begin when nothing has happened."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from app import author, browse
from app.inquire import first_look
from app.web import naming
from app.web.pages import now, page, services, tenant
from app.web.sample import refusal
from app.web.settings import stripe_status
from app.web.show import moneys

blueprint = Blueprint("home", __name__)
Row = dict[str, Any]


@blueprint.get("/")
def overview() -> Response:
    store, mine = services().store, tenant()
    found = browse.overview(store, services().inbox, mine, now())
    naming.name(found["latest"])
    return page(
        "home.html",
        "now",
        found=found,
        worst=worst(found["health"]),
        steps=first_steps(mine),
        sample=not refusal(),
        moment=now(),
    )


def _ready_rules(mine: str) -> str:
    """What a ready rule would have done here, where that is known."""
    look = first_look.found(services().store, mine)
    if look is None or look["state"] != "done" or not look["best"]:
        return "Start from a ready one, such as two failed payments in seven days."
    names, money = "; ".join(row["name"] for row in look["best"]), moneys(look["amount"])
    about = f", about {money}" if look["amount"] else ""
    return f"In your last 30 days ready rules would have run {look['runs']:,} times{about}: {names}."


def worst(health: list[Row]) -> str:
    """The state of the whole: the worst of its parts."""
    states = {part["state"] for part in health}
    return next((state for state in ("bad", "warn") if state in states), "good")


def first_steps(mine: str) -> list[Row]:
    """What makes it useful, in order, each with whether it is done; empty when all of it is."""
    stripe = stripe_status()
    rules = author.rules(services().store, mine)
    steps = [
        {
            "name": "Connect Stripe",
            "text": "Point a webhook at this address and put its signing secret here.",
            "to": "/settings/stripe",
            "action": "Put the signing secret",
            "done": bool(stripe["secrets_environment"] or stripe["secrets_stored"] or stripe["last_event"]),
        },
        {
            "name": "Connect the CRM",
            "text": "Give the address that takes signed notices.",
            "to": "/settings/connections/new",
            "action": "Add a connection",
            "done": bool(author.connections(services().store, mine)),
        },
        {
            "name": "Write a rule",
            "text": _ready_rules(mine),
            "to": "/rules/new",
            "action": "Write the first rule",
            "done": any(row["state"] in ("live", "watch", "paused") for row in rules),
        },
    ]
    return [] if all(step["done"] for step in steps) else steps
