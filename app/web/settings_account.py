"""Settings of the account: its time zone, and where and when Signalbox itself speaks up."""

from __future__ import annotations

import re
from typing import Any
from zoneinfo import available_timezones

from flask import Blueprint, Response, request

from app import author, tenant_settings
from app.approvals import Change
from app.numbers import whole
from app.tenant_settings import DEFAULTS, SPEAKING
from app.web import second
from app.web.pages import go, page, services, tenant
from rules.ports import Conflict
from rules.rule import RuleError

blueprint = Blueprint("settings_account", __name__)
Row = dict[str, Any]


@blueprint.get("/settings/account")
def look() -> Response:
    found = tenant_settings.read(services().store, tenant())
    return _form({**found.body(), "version": found.version}, {})


@blueprint.post("/settings/account")
def save() -> Response:
    given: Row = {name: request.form.get(name, "").strip() for name in DEFAULTS.body()}
    numbers = [
        name for name, value in DEFAULTS.body().items() if isinstance(value, int) and not isinstance(value, bool)
    ]
    given |= {name: number for name in numbers if (number := whole(given[name])) is not None}
    given["second_person"] = request.form.get("second_person") == "on"
    given["not_on"] = sorted({day for day in re.split(r"[,\s]+", request.form.get("not_on", "")) if day})
    expect = request.form.get("expect") or None
    try:
        came = second.change(Change("settings", tenant_settings.ID, given), second.reason(), expect)
    except RuleError as error:
        return _form({**given, "version": expect}, {one.path: one.message for one in error.problems}, 422)
    except Conflict as error:
        return _form({**given, "version": expect}, {"expect": str(error)}, 409)
    return go("/settings#account", *second.said(came, "The settings are saved."))


def _form(given: Row, wrong: Row, status: int = 200) -> Response:
    known = author.connections(services().store, tenant())
    speaking = [(row["name"], f"{row['name']} ({row['type']})") for row in known if row["type"] in SPEAKING]
    return page(
        "settings_account.html",
        status=status,
        given=given,
        wrong=wrong,
        speaking=speaking,
        second=second.is_needed(),
        production=services().settings.environment == "production",
        zones=sorted(zone for zone in available_timezones() if "/" in zone),
    )
