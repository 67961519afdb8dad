"""Needs you: what waits for a person, and the answers to it, one by one or several at once after the count is shown."""

from __future__ import annotations

from flask import Blueprint, Response, abort, request

from app import browse, operate
from app.operate import cases, reviews
from app.web import naming
from app.web.addresses import chosen
from app.web.pages import actor, go, now, page, services, tenant
from rules.rule import RuleError

blueprint = Blueprint("needs_you", __name__)

MOST = 100  # things that one answer is given to
SHOW = ("mine", "nobodys", "overdue")
# verb: (what it is called, what it means for each)
VERBS: dict[str, tuple[str, str]] = {
    "release": ("Release", "Each goes on past the limit that held it back, and acts. The limit itself stays."),
    "cancel": ("Cancel", "Each ends now. What was done stays done; what is still due is not done any more."),
    "replay": ("Replay", "Each is tried again under the id it had, so a receiver that has done it does not repeat it."),
    "discard": ("Discard", "Each is given up for good. It stays in the audit log and is never tried again."),
    "close": ("Close", "Somebody has looked at it. The entry leaves the list, and is kept with who closed it and why."),
    "resume": ("Resume", "Actions that waited for the connection go out at once, the oldest first."),
}
NOUNS = {"replay": "dead letter", "discard": "dead letter", "resume": "connection", "close": "review"}


@blueprint.get("/needs-you")
def look() -> Response:
    show = chosen("show", SHOW)
    owner = {"mine": actor(), "nobodys": ""}.get(show or "")
    found = browse.needs_you(services().store, services().inbox, tenant(), now(), owner, show == "overdue")
    naming.name(row for group in found["groups"] for row in group["items"])
    return page("needs_you.html", "list", needs=found, moment=now(), show=show)


# ---- whose it is ----------------------------------------------------------------------------------------------------
@blueprint.get("/needs-you/assign")
def ask_whose() -> Response:
    about = request.args.getlist("about")[:MOST]
    if not about:
        return go("/needs-you", "Nothing was marked.", "warn")
    return _assigning(about, cases.case_of(services().store, tenant(), about[0]) or {})


@blueprint.post("/needs-you/assign")
def assign() -> Response:
    about = request.form.get("about", "").split()[:MOST]
    given = {name: request.form.get(name, "").strip() for name in ("owner", "note", "due")}
    if request.form.get("owner_me"):
        given["owner"] = actor()
    try:
        kept = {**given, "due": cases.read_due(given["due"], now())}
    except ValueError:
        return _assigning(about, given, {"due": "Write a date such as 2026-11-30, or 3d from now."})
    try:
        cases.assign(services().store, tenant(), about, kept, actor(), now())
    except RuleError as error:
        return _assigning(about, given, {one.path: one.message for one in error.problems})
    whose = f"{given['owner']} looks after it." if given["owner"] else "It is nobody's."
    return go("/needs-you", whose)


def _assigning(about: list[str], case: dict[str, str], wrong: dict[str, str] | None = None) -> Response:
    return page("assign.html", status=422 if wrong else 200, about=about, case=case, wrong=wrong or {}, me=actor())


# ---- the answers ----------------------------------------------------------------------------------------------------


@blueprint.get("/needs-you/<verb>")
def ask(verb: str) -> Response:
    return _asking(verb, request.args.getlist("id"))


@blueprint.post("/needs-you/<verb>")
def act(verb: str) -> Response:
    ids, why = request.form.get("ids", "").split(), request.form.get("reason", "").strip()
    if not why or not ids or verb not in VERBS:
        return _asking(verb, ids, "Say why: it is kept in the audit log.")
    said, refused = _done(verb, ids[:MOST], why)
    for one in refused:
        said += f" Not {one['id']}: {one['why']}."
    return go("/needs-you", said, "warn" if refused else "good")


def _done(verb: str, ids: list[str], why: str) -> tuple[str, list[dict[str, str]]]:
    """What was done in a sentence, and what was refused."""
    s, mine, who = services(), tenant(), actor()
    if verb == "replay":
        came = operate.replay(s.store, s.inbox, mine, ids, who, why, now())
        return f"{came['events']} events and {came['actions']} actions are tried again.", came["refused"]
    if verb == "discard":
        came = operate.discard(s.store, s.inbox, mine, ids, who, why, now())
        return f"{came['events']} events and {came['actions']} actions were given up.", []
    if verb == "close":
        for id in ids:
            reviews.close(s.store, mine, id, who, why, now())
        return f"{len(ids)} review{'' if len(ids) == 1 else 's'} closed.", []
    if verb == "resume":
        for name in ids:
            operate.resume_connection(s.store, mine, name, who, why, now())
        return f"{', '.join(ids)}: sending again.", []
    came = operate.act_on_many(s.store, mine, ids, verb, who, why, now())
    return f"{VERBS[verb][0]}: {came['done']} of {len(ids)} runs.", came["refused"]


def _asking(verb: str, ids: list[str], error: str | None = None) -> Response:
    if verb not in VERBS:
        abort(404)
    if not ids:
        return go("/needs-you", "Nothing was marked.", "warn")
    name, means = VERBS[verb]
    noun = NOUNS.get(verb, "run")
    count = f"{len(ids)} {noun}{'' if len(ids) == 1 else 's'}"
    return page(
        "confirm.html",
        status=422 if error else 200,
        title=f"{name} {count}",
        verb=f"{name} {count}",
        action=f"/needs-you/{verb}",
        back="/needs-you",
        means=[means],
        fields={"ids": " ".join(ids[:MOST])},
        kind="danger" if verb in ("cancel", "discard") else "primary",
        error=error,
    )
