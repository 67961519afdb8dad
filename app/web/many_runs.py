"""Many runs at once: choose by the list's filters, see how many and how much, name it, say why; then watch it done.
Also a customer who is left alone from now on."""

from __future__ import annotations

from typing import get_args

from flask import Blueprint, Response, request

from app import author, browse
from app.operate import bulk
from app.web.gate import access, roles
from app.web.pages import actor, go, now, page, services, tenant
from rules.model import EXCLUDED
from rules.run import RunState
from rules.steps import NotPossible

blueprint = Blueprint("many_runs", __name__)

# verb: (what the button says, what it means for each)
VERBS: dict[str, tuple[str, str]] = {
    "cancel": ("Cancel", "Each ends now. What was done stays done; what is still due is not done any more."),
    "skip": (
        "Skip the step of",
        "Each leaves out the step it stands at, or the rest of its wait, and goes on behind it.",
    ),
    "retry": ("Try the failed step again of", "Each tries its failed step once more, under the same key."),
    "approve": ("Approve", "Each that waits for an approval goes on."),
    "decline": ("Decline", "Each that waits for an approval stops."),
    "release": ("Release", "Each goes on past the limit that held it back, and acts."),
    "start": ("Start", "Each that stood in line or was held back asks its rule’s limits again."),
    "discard": ("Discard", "Each that was held back ends without having begun."),
    "undo": ("Undo", "Each is stopped, and what it did is taken back, the newest step first."),
}
STATES = get_args(RunState)


def _chosen() -> bulk.Chosen:
    form = request.values
    state = form.get("state", "")
    return bulk.Chosen(
        state=state if state in STATES else "",
        rule=form.get("rule", "")[:200],
        customer=form.get("customer", "")[:200],
        queued=form.get("queued") == "yes",
    )


@blueprint.get("/runs/many")
def ask() -> Response:
    return _asking()


def _asking(error: str | None = None, status: int = 200) -> Response:
    verb = request.values.get("verb", "")
    which = _chosen()
    return page(
        "runs_many.html",
        status=status,
        verbs=VERBS,
        verb=verb if verb in VERBS else "",
        chosen=which,
        counted=bulk.counted(services().store, tenant(), which),
        states=STATES,
        rules=browse.rule_names(services().store, tenant()),
        name=request.form.get("name", ""),
        reason=request.form.get("reason", ""),
        error=error,
    )


@blueprint.post("/runs/many")
def act() -> Response:
    verb, why, name = (request.form.get(key, "").strip()[:200] for key in ("verb", "reason", "name"))
    if verb not in VERBS:
        return _asking("Choose what is to be done.", 422)
    access.require(roles.run_verb({"verb": verb}))
    if not why:
        return _asking("Say why: it is kept in the audit log of each run.", 422)
    try:
        came = bulk.act(services().store, tenant(), _chosen(), verb, actor(), why, name, now())
    except NotPossible as refused:
        return _asking(f"Not possible: {refused}.", 409)
    if came["job"]:
        return go(f"/runs/many/{came['job']}", f"{VERBS[verb][0]} {came['count']:,} runs: begun.")
    told = f" {len(came['refused'])} refused: {came['refused'][0]['why']}." if came["refused"] else ""
    said = f"{VERBS[verb][0]} {came['done']:,} of {came['count']:,} runs: done.{told}"
    return go("/runs", said, "warn" if came["refused"] else "good")


@blueprint.get("/runs/many/<id>")
def watch(id: str) -> Response:
    found = services().store.get(tenant(), "job", id)
    if found is None or found.body["type"] != bulk.JOB:
        raise LookupError(f"There is no such work as {id!r}.")
    return page("runs_many_job.html", "progress", job=found.body, verbs=VERBS)


# ---- a customer who is left alone -----------------------------------------------------------------------------------
@blueprint.get("/customers/<id>/exclude")
def ask_exclude(id: str) -> Response:
    return _excluding(id)


@blueprint.post("/customers/<id>/exclude")
def exclude(id: str) -> Response:
    why, name = request.form.get("reason", "").strip()[:500], chosen_list()
    if not why:
        return _excluding(id, "Say why: it is kept in the audit log.", 422)
    came = bulk.exclude(services().store, tenant(), id, name, actor(), why, now())
    said = f"{id} is on the list {came['list']}; {came['cancelled']} open runs were cancelled."
    if came["not_by"]:
        said += f" These rules name no such list and go on as before: {', '.join(came['not_by'][:10])}."
    return go(f"/customers/{id}", said, "warn" if came["not_by"] else "good")


def chosen_list() -> str:
    known = [str(row["name"]) for row in author.lists(services().store, tenant())]
    return request.form["list"] if request.form.get("list") in known else EXCLUDED


def _excluding(id: str, error: str | None = None, status: int = 200) -> Response:
    names = [str(row["name"]) for row in author.lists(services().store, tenant())]
    open_runs = browse.runs(services().store, tenant(), customer=id, limit=100)["items"]
    return page(
        "exclude.html",
        status=status,
        customer=id,
        lists=sorted({EXCLUDED, *names}),
        open=sum(1 for run in open_runs if run["open"]),
        reason=request.form.get("reason", ""),
        error=error,
    )
