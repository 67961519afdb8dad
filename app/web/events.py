"""The event log and the page of one event: what it carried, what each rule decided, and where it led."""

from __future__ import annotations

from flask import Blueprint, Response

from app import browse
from app.author import real_examples
from app.web import naming
from app.web.addresses import asked, chosen, cursor, end_of_day, pages
from app.web.pages import go, now, page, services, tenant

blueprint = Blueprint("events", __name__)

FIRED = {"yes": True, "no": False}


@blueprint.app_template_global()
def event_title(type: str) -> str:
    """The event type in plain words, or itself where the catalogue does not know it."""
    known = services().catalogue.event_type(type)
    return known.title if known else type


@blueprint.get("/events")
def log() -> Response:
    store, mine = services().store, tenant()
    q, type, fired, day = asked("q"), asked("type"), chosen("fired", tuple(FIRED)), asked("day")
    if q and q.startswith("evt_") and store.get(mine, "event", q):
        return go(f"/events/{q}")
    found = browse.events(
        store,
        mine,
        type=type,
        key=q,
        fired=FIRED[fired] if fired else None,
        before=end_of_day(day),
        after=cursor(),
    )
    naming.name(found["items"])
    return page(
        "events.html",
        "log",
        found=found,
        filters={"q": q, "type": type, "fired": fired, "day": day},
        filtered=bool(q or type or fired or day),
        types=services().catalogue.event_types(),
        moment=now(),
        **pages("/events", found["next"], q=q, type=type, fired=fired, day=day),
    )


@blueprint.get("/events/<id>")
def one(id: str) -> Response:
    found = browse.event(services().store, tenant(), id, rule=asked("rule"))
    drafts = real_examples.drafts_for(services().store, tenant(), found["type"])
    listening = {**dict(drafts), **{one["rule_id"]: one["rule_name"] for one in found["verdicts"]}}
    return page("event.html", event=found, moment=now(), listening=list(listening.items()))
