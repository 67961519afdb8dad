"""API calls of the switches of safety: the dry run of the whole system, and live actions over one connection."""

from __future__ import annotations

from typing import Any

from app import author
from app.approvals import Change
from app.connections.types import shown
from app.perform import dry_run
from app.web import second
from app.web.api.openapi import Answer, Call, Operation, closed, define, record, text
from app.web.api.rules import note
from app.web.api.work import CONNECTION, WHY, without_internals
from rules.ports import Conflict

DRY_RUN = define(
    "DryRun",
    record(
        ("on", "by", "at", "why", "always"),
        "While it is on, rules decide, their runs are simulated, and nothing is sent.",
        on={"type": "boolean"},
        by=text("Who moved the switch last, or empty."),
        at=text("When; an instant, or empty."),
        why=text(),
        always={"type": "boolean", "description": "SIGNALBOX_DRY_RUN is set: the switch cannot end it."},
    ),
)
ON = {"on": {"type": "boolean"}}


def get_dry_run(call: Call) -> Answer:
    return Answer(_told(call, dry_run.read(call.services.store)))


def set_dry_run(call: Call) -> Answer:
    on = call.body["on"]
    if not on and call.services.settings.dry_run:
        raise Conflict("SIGNALBOX_DRY_RUN is set where Signalbox is started; only there can the dry run end.")
    return Answer(_told(call, dry_run.switch(call.services.store, call.tenant, on, call.actor, note(call), call.now)))


def _told(call: Call, switch: dict[str, Any]) -> dict[str, Any]:
    always = call.services.settings.dry_run
    return {**switch, "on": bool(switch["on"]) or always, "always": always}


def set_live(call: Call) -> Answer:
    name = call.path["name"]
    came = second.change(Change("live actions", name, {"on": call.body["on"]}), note(call))
    row = shown(came.done) if came.done else author.connection(call.services.store, call.tenant, name)
    return second.answered(came, without_internals(row))


OPERATIONS = (
    Operation(
        "GET", "/dry-run", "getDryRun", "Whether this is a dry run", "runs", get_dry_run, (200, "The switch.", DRY_RUN)
    ),
    Operation(
        "POST",
        "/dry-run",
        "setDryRun",
        "Begin a dry run of everything, for every account, or end it",
        "runs",
        set_dry_run,
        (200, "The switch as it is then.", DRY_RUN),
        body=closed(("on", "note"), "", **ON, **WHY),
        errors=(409,),
    ),
    Operation(
        "POST",
        "/connections/{name}/live",
        "setLiveActions",
        "Allow live actions over a connection of a live account, or ask again",
        "connections",
        set_live,
        (200, "The connection as it is then.", CONNECTION),
        also=(202,),
        body=closed(("on", "note"), "", **ON, **WHY),
        errors=(404, 409),
    ),
)
