"""The switches of safety: the dry run of the whole system, and live actions over one connection."""

from __future__ import annotations

from flask import Blueprint, Response, request

from app.approvals import Change
from app.perform import dry_run
from app.web import second
from app.web.pages import actor, go, is_dry, now, page, services, tenant
from rules.ports import Conflict

blueprint = Blueprint("safety", __name__)
LONGEST = 2000
BEGINS = [
    "Rules decide on live events, and their runs say what they would have done.",
    "Nothing is sent from the next second on, for every account: no call to Stripe, no e-mail, no notice, no alert.",
    "What is due already waits, and goes out when the dry run ends.",
]
ENDS = [
    "Runs that begin from then on act. Those that began as simulated ones stay so to their end.",
    "What waited from before goes out, the oldest first, each under the id it had.",
]
ALLOWS = [
    "Actions over it reach the real receiver in live mode.",
    "What waits for it goes out now, the oldest first, each under the id it had.",
    "Your name, the time and the reason are kept with the connection and in the audit log.",
]
FORBIDS = ["Nothing of a rule goes over it any more; what is due waits and asks under Needs you."]


# ---- the dry run ----------------------------------------------------------------------------------------------------
@blueprint.get("/settings/dry-run")
def ask_dry_run() -> Response:
    return _ask_dry_run(request.args.get("on", "1") == "1")


@blueprint.post("/settings/dry-run")
def set_dry_run() -> Response:
    on, why = request.form.get("on") == "1", request.form.get("reason", "").strip()[:LONGEST]
    if not why:
        return _ask_dry_run(on, "A few words are enough.", 422)
    if not on and services().settings.dry_run:
        raise Conflict("SIGNALBOX_DRY_RUN is set where Signalbox is started; only there can the dry run end.")
    dry_run.switch(services().store, tenant(), on, actor(), why, now())
    return go("/settings#dry-run", "The dry run has begun." if on else "The dry run is over.", "warn" if on else "good")


def _ask_dry_run(on: bool, error: str | None = None, status: int = 200) -> Response:
    return page(
        "confirm.html",
        status=status,
        title="Begin a dry run of everything?" if on else "End the dry run?",
        verb="Begin the dry run" if on else "End it: act for real",
        kind="primary" if on else "danger",
        means=BEGINS if on else ENDS,
        action="/settings/dry-run",
        back="/settings#dry-run",
        fields={"on": "1" if on else "0"},
        error=error,
    )


def dry_run_row() -> dict[str, object]:
    """The switch for the settings page. always: set where Signalbox is started."""
    return {**dry_run.read(services().store), "is_on": is_dry(), "always": services().settings.dry_run}


# ---- live actions ---------------------------------------------------------------------------------------------------
@blueprint.get("/settings/connections/<name>/live")
def ask_live(name: str) -> Response:
    return _ask_live(name, request.args.get("on", "1") == "1")


@blueprint.post("/settings/connections/<name>/live")
def set_live(name: str) -> Response:
    on, why = request.form.get("on") == "1", request.form.get("reason", "").strip()[:LONGEST]
    if not why:
        return _ask_live(name, on, "Say why: a reviewer will ask.", 422)
    came = second.change(Change("live actions", name, {"on": on}), why, emergency=second.is_emergency())
    done = "Live actions go over it from now on." if on else "No live action goes over it."
    said, tone = second.said(came, done)
    return go(f"/settings/connections/{name}", said, tone if on else "warn")


def _ask_live(name: str, on: bool, error: str | None = None, status: int = 200) -> Response:
    return page(
        "confirm.html",
        status=status,
        title=f"Switch live actions over {name} {'on' if on else 'off'}?",
        verb=f"Switch live actions {'on' if on else 'off'}",
        kind="danger",
        means=[*(ALLOWS if on else FORBIDS), f"You do this as {actor()}, for {tenant()}."],
        action=f"/settings/connections/{name}/live",
        back=f"/settings/connections/{name}",
        fields={"on": "1" if on else "0"},
        asks=second.asks("live actions", name, on=on),
        error=error,
    )
