"""The runs, the page of one run, and what a person may ask of it: what it means first, a reason, then it is done."""

from __future__ import annotations

from typing import get_args

from flask import Blueprint, Response, abort, request

from app import browse, operate
from app.web import naming
from app.web.addresses import asked, chosen, cursor, pages
from app.web.pages import actor, go, now, page, services, tenant
from rules.ports import Conflict
from rules.run import RunState
from rules.steps import NotPossible

blueprint = Blueprint("runs", __name__)

# verb: (what it is called, what it means)
VERBS: dict[str, tuple[str, tuple[str, ...]]] = {
    "release": (
        "Release this run",
        ("It goes on past the limit that held it back, and acts.", "The limit itself stays as it is."),
    ),
    "approve": ("Approve", ("The run goes on with its next step.",)),
    "decline": ("Decline", ("The run stops here. Nothing of what was done is taken back.",)),
    "retry": (
        "Try the step again",
        ("The step is tried once more under the same key, so a receiver that has done it does not do it twice.",),
    ),
    "again": (
        "Do the step anew",
        (
            "The step is done as a new effect under a new key: if the first one did happen, it happens twice.",
            "Choose “Try again” unless you have looked and know that it did not happen.",
        ),
    ),
    "start": (
        "Start this run",
        ("It stood in line while its rule was paused. It starts now; its rule’s limits are asked first.",),
    ),
    "undo": (
        "Undo what this run did",
        ("An open run is stopped first. Then each step is taken back, the newest first, under an id of its own.",),
    ),
    "from": (
        "Go from this step again",
        (
            "The run goes on from this step. Each action from there on is a new effect: Stripe gets a new key.",
            "A receiver that goes by webhook-id has seen the id before, and may pass it over.",
        ),
    ),
    "discard": ("Discard this run", ("It ends here, and nothing of it is done.",)),
    "skip": ("Skip this step", ("The step is left out, or its wait ended, and the run goes on behind it.",)),
    "cancel": (
        "Cancel the run",
        ("It ends now. What was done stays done; what is still due is not done any more.",),
    ),
}


# the same verbs, asked of an undo that needs a person
UNDOING: dict[str, tuple[str, tuple[str, ...]]] = {
    "retry": ("Try the undo again", ("What could not be taken back is tried once more. The state is read first.",)),
    "skip": ("Leave it as it is", ("What could not be taken back stays as it is, and the undo is over.",)),
}


@blueprint.get("/runs")
def many() -> Response:
    state, rule = chosen("state", get_args(RunState)), asked("rule")
    found = browse.runs(services().store, tenant(), state=state, rule=rule, after=cursor())
    naming.name(found["items"])
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


@blueprint.get("/runs/<id>")
def one(id: str) -> Response:
    return page("run.html", run=browse.run(services().store, tenant(), id), moment=now())


@blueprint.get("/runs/<id>/news")
def news(id: str) -> Response:
    """Asked every few seconds by a page of a run that acts: look again when there is something new."""
    found = services().store.get(tenant(), "run", id)
    changed = found is not None and found.body["updated_at"] != asked("seen")
    return Response(status=204, headers={"HX-Refresh": "true"} if changed else {})


@blueprint.get("/runs/<id>/<verb>")
def ask(id: str, verb: str) -> Response:
    return _asking(id, verb)


@blueprint.post("/runs/<id>/<verb>")
def act(id: str, verb: str) -> Response:
    why = request.form.get("reason", "").strip()
    if not why:
        return _asking(id, verb, error="Say why: it is kept in the audit log.", status=422)
    try:
        operate.act(services().store, tenant(), id, verb, actor(), why, now(), request.form.get("step", ""))
    except NotPossible as refused:
        return _asking(id, verb, why, f"Not possible now: {refused}.", 409)
    except Conflict:
        return _asking(id, verb, why, "The run went on meanwhile. Look at it again, then decide.", 409)
    return go(f"/runs/{id}", f"{VERBS[verb][0]}: done.")


def _asking(id: str, verb: str, reason: str = "", error: str | None = None, status: int = 200) -> Response:
    if verb not in VERBS:
        abort(404)
    found = browse.run(services().store, tenant(), id)
    name, means = UNDOING.get(verb, VERBS[verb]) if found["undone"] == "person" else VERBS[verb]
    step = request.values.get("step", "")
    calls = operate.undo_preview(services().store, services().connectors, tenant(), id) if verb == "undo" else None
    about = f"{found['rule_name']}, for {found['customer'] or found['key']}"
    return page(
        "confirm.html",
        status=status,
        title=name,
        verb=name,
        action=f"/runs/{id}/{verb}",
        back=f"/runs/{id}",
        means_title=about,
        means=(*means, f"Step: {step}.") if step else means,
        fields={"step": step} if step else None,
        calls=calls,
        kind="danger" if verb in ("cancel", "again") else "primary",
        reason=reason,
        error=error,
    )
