"""Settings that a tenant owns: connections to the outside, and lists of those whom rules leave alone."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request

from app import author, operate, suppressions
from app.approvals import Change
from app.connections import trial
from app.connections.types import PACE, STRIPE, TYPES, type_of
from app.numbers import whole
from app.web import second
from app.web.gate import access, roles
from app.web.pages import actor, go, is_dry, now, page, services, tenant
from rules.event import iso
from rules.ports import ABSENT, Conflict
from rules.rule import RuleError

blueprint = Blueprint("settings_parts", __name__)
Row = dict[str, Any]
NEW = "new"


# ---- connections ----------------------------------------------------------------------------------------------------
@blueprint.get("/settings/connections/<name>")
def connection(name: str) -> Response:
    if name == NEW:
        type = request.args.get("type", "webhook")
        if type == "route":
            return go("/settings/routes/new")
        free = type == "webhook" and not author.connections(services().store, tenant())
        return _connection_form(NEW, {"type": type if type in TYPES else "webhook", "name": "crm" if free else ""})
    if name == STRIPE.name and services().store.get(tenant(), "connection", name) is None:
        return _connection_form(name, {"type": STRIPE.name, "name": name})
    kept = author.connection(services().store, tenant(), name)
    return go(f"/settings/routes/{name}") if kept["type"] == "route" else _connection_form(name, kept)


@blueprint.post("/settings/connections/<name>")
def save_connection(name: str) -> Response:
    body = _connection_given(name)
    expect = ABSENT if name == NEW else request.form.get("expect") or None
    try:
        came = second.change(Change("connection", str(body["name"]), body), second.reason(), expect)
    except RuleError as error:
        wrong = {one.path: one.message for one in error.problems}
        return _connection_form(name, {**body, "version": expect}, wrong, 422)
    except Conflict as error:
        return _connection_form(name, {**body, "version": expect}, {"name": str(error)}, 409)
    if came.done and came.done.get("secret"):  # shown this once, so it is no redirect
        return page("connection_made.html", connection=came.done)
    return go(f"/settings/connections/{body['name']}", *second.said(came, "The connection is saved."))


def _connection_given(name: str) -> Row:
    """What the form says, by the fields of its type; what the form does not show stays as it is."""
    form = request.form
    type = type_of(form)
    body: Row = {"name": form.get("name", "").strip() if name == NEW else name, "type": type.name}
    body.update({one.name: form.get(one.name, "").strip() or one.default or "" for one in type.fields})
    body.update({one.name: form[one.name].strip() for one in PACE if one.name in form})
    body.update({one.name: given for one in type.more if (given := form.get(one.name, "").strip())})
    return {**body, "secret": form["secret"].strip()} if form.get("secret", "").strip() else body


def _connection_form(name: str, body: Row, wrong: Row | None = None, status: int = 200) -> Response:
    return page(
        "connection.html",
        status=status,
        name=name,
        connection=body,
        type=type_of(body),
        types=list(TYPES.values()),
        pace=PACE,
        both_until=until if (until := body.get("both_until") or "") > iso(now()) else None,
        wrong=wrong or {},
        development=services().settings.development,
        second=second.is_needed(),
        used_by=_users(name),
    )


def _users(name: str) -> list[Row]:
    """The rules whose document names the connection."""
    found = []
    for row in author.rules(services().store, tenant()):
        document = author.rule(services().store, tenant(), row["id"])["document"] or {}
        if name in [one for _, one in author.connections_of(document.get("steps"), "steps")]:
            found.append(row)
    return found


@blueprint.post("/settings/connections/<name>/test")
def test_connection(name: str) -> Response:
    s = services()
    outcome = trial.send_test_notice(s.store, s.connectors, tenant(), name, actor(), now(), is_dry())
    tone = "good" if outcome.kind == "done" else "bad"
    return go(f"/settings/connections/{name}", f"Test notice: {outcome.message}", tone)


@blueprint.get("/settings/connections/<name>/secret")
def ask_secret(name: str) -> Response:
    return _secret_form(name)


@blueprint.post("/settings/connections/<name>/secret")
def replace_secret(name: str) -> Response:
    ports, why = services(), request.form.get("reason", "").strip()[:2000]
    hours = whole(request.form.get("hours", "24"), 6)
    if not why:
        return _secret_form(name, {"reason": "A few words are enough."})
    try:
        kept = author.replace_secret(
            ports.store, ports.secrets, tenant(), name, -1 if hours is None else hours, actor(), why, now()
        )
    except RuleError as error:
        return _secret_form(name, {one.path: one.message for one in error.problems})
    return page("connection_made.html", connection=kept)  # shown this once, so it is no redirect


def _secret_form(name: str, wrong: Row | None = None) -> Response:
    kept = author.connection(services().store, tenant(), name)
    typed = {"hours": request.form.get("hours", "24"), "reason": request.form.get("reason", "")}
    return page("connection_secret.html", status=422 if wrong else 200, connection=kept, wrong=wrong or {}, **typed)


@blueprint.get("/settings/connections/<name>/<any(pause, resume):verb>")
def ask_connection(name: str, verb: str) -> Response:
    return _confirm_connection(name, verb)


@blueprint.post("/settings/connections/<name>/<any(pause, resume):verb>")
def set_connection(name: str, verb: str) -> Response:
    why = request.form.get("reason", "").strip()[:2000]
    if not why:
        return _confirm_connection(name, verb, "A few words are enough.", 422)
    change = operate.pause_connection if verb == "pause" else operate.resume_connection
    change(services().store, tenant(), name, actor(), why, now())
    said = "Nothing is sent over it until you resume it." if verb == "pause" else "It sends again."
    return go(f"/settings/connections/{name}", said, "warn" if verb == "pause" else "good")


def _confirm_connection(name: str, verb: str, error: str | None = None, status: int = 200) -> Response:
    author.connection(services().store, tenant(), name)
    means = {
        "pause": [
            "Nothing is sent over it; what is due waits.",
            "Rules go on matching, and their runs wait at this step.",
        ],
        "resume": ["What waited goes out, the oldest first, each under the id it had."],
    }[verb]
    return page(
        "confirm.html",
        status=status,
        title=f"{verb.capitalize()} the connection {name}?",
        verb=verb.capitalize(),
        kind="danger" if verb == "pause" else "primary",
        means=means,
        action=f"/settings/connections/{name}/{verb}",
        back=f"/settings/connections/{name}",
        error=error,
    )


# ---- who gets no e-mail ---------------------------------------------------------------------------------------------
@blueprint.get("/settings/no-email")
def no_email() -> Response:
    count, latest = suppressions.suppressed(services().store, tenant())
    return page("no_email.html", count=count, latest=latest)


@blueprint.get("/settings/no-email/<token>/lift")
def ask_lift(token: str) -> Response:
    return _confirm_lift(token)


@blueprint.post("/settings/no-email/<token>/lift")
def lift(token: str) -> Response:
    why = request.form.get("reason", "").strip()[:2000]
    if not why:
        return _confirm_lift(token, "Say who asked for it.", 422)
    suppressions.lift(services().store, tenant(), token, why, actor(), now())
    return go("/settings/no-email", "The address gets e-mail again.", "warn")


def _confirm_lift(token: str, error: str | None = None, status: int = 200) -> Response:
    return page(
        "confirm.html",
        status=status,
        title=f"Send e-mail to {token} again?",
        verb="Send again",
        kind="danger",
        means=["Only who asked for it may be written to again after having unsubscribed."],
        action=f"/settings/no-email/{token}/lift",
        back="/settings/no-email",
        error=error,
    )


# ---- lists ----------------------------------------------------------------------------------------------------------
@blueprint.get("/settings/lists/<name>")
def look_at_list(name: str) -> Response:
    if name == NEW:
        return _list_form(NEW, {"name": "", "members": [], "version": ABSENT})
    return _list_form(name, _list(name))


@blueprint.post("/settings/lists/<name>")
def save_list(name: str) -> Response:
    own = request.form.get("name", "").strip() if name == NEW else name
    access.require(roles.list_rule({"name": own}))
    members = request.form.get("members", "").replace(",", "\n").split()
    expect = ABSENT if name == NEW else request.form.get("expect") or None
    body = {"name": own, "members": members, "version": expect}
    try:
        came = second.change(Change("list", own, {"members": members}), second.reason(), expect)
    except RuleError as error:
        return _list_form(name, body, {one.path: one.message for one in error.problems}, 422)
    except Conflict as error:
        return _list_form(name, body, {"name": str(error)}, 409)
    done = f"The list {own} has {len(set(members)):,} members. It is in force at once."
    return go("/settings#lists", *second.said(came, done))


@blueprint.get("/settings/lists/<name>/delete")
def ask_delete(name: str) -> Response:
    return _confirm_delete(name)


@blueprint.post("/settings/lists/<name>/delete")
def delete_list(name: str) -> Response:
    why = request.form.get("reason", "").strip()[:2000]
    if not why:
        return _confirm_delete(name, "A few words are enough.", 422)
    expect = request.form.get("expect") or None
    came = second.change(Change("delete list", name, {}), why, expect, second.is_emergency())
    return go("/settings#lists", *second.said(came, f"The list {name} is gone."))


def _confirm_delete(name: str, error: str | None = None, status: int = 200) -> Response:
    row = _list(name)
    return page(
        "confirm.html",
        status=status,
        title=f"Delete the list {name}?",
        verb="Delete the list",
        kind="danger",
        means=[f"Rules that leave its {len(row['members']):,} members alone act on them from then on."],
        action=f"/settings/lists/{name}/delete",
        back=f"/settings/lists/{name}",
        fields={"expect": row["version"]},
        error=error,
    )


def _list(name: str) -> Row:
    found = next((one for one in author.lists(services().store, tenant()) if one["name"] == name), None)
    if found is None:
        raise LookupError(f"There is no list {name!r}.")
    return found


def _list_form(name: str, body: Row, wrong: Row | None = None, status: int = 200) -> Response:
    needed = second.is_needed()
    return page("list.html", status=status, name=name, list=body, wrong=wrong or {}, second=needed)
