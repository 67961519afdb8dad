"""The runs, the page of one run, and what a person may do about it: asked with its meaning first, then done."""

from __future__ import annotations

from typing import get_args

from flask import Blueprint, Response

from app import browse
from app.web.addresses import asked, chosen, cursor, pages
from app.web.pages import now, page, services, tenant
from rules.run import RunState

blueprint = Blueprint("runs", __name__)


@blueprint.get("/runs")
def many() -> Response:
    state, rule = chosen("state", get_args(RunState)), asked("rule")
    found = browse.runs(services().store, tenant(), state=state, rule=rule, after=cursor())
    return page(
        "runs.html",
        "list",
        found=found,
        filters={"state": state, "rule": rule},
        rules=browse.rule_names(services().store, tenant()),
        states=get_args(RunState),
        moment=now(),
        **pages("/runs", found["next"], state=state, rule=rule),
    )
