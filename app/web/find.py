"""Find: one box for every id; straight to the page when there is one, else the choices, else what to try."""

from __future__ import annotations

from flask import Blueprint, Response, redirect
from werkzeug.wrappers import Response as Answer

from app import browse
from app.web.addresses import asked
from app.web.pages import now, page, services, tenant

blueprint = Blueprint("find", __name__)


@blueprint.get("/find")
def find() -> Response | Answer:
    found = browse.find(services().store, tenant(), asked("q") or "")
    if found["to"]:
        return redirect(found["to"], 303)
    return page("find.html", found=found, moment=now())
