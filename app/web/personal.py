"""Personal values on pages: one shown for a reason, a customer erased, how long values are kept."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, abort, request

from app.personal import erasing, retention, revealing, rotating
from app.personal.revealing import ON, On
from app.web.pages import actor, go, now, page, services, tenant
from rules.personal_sorts import SORTS
from rules.ports import Conflict, Refused
from rules.rule import RuleError

blueprint = Blueprint("personal", __name__)
ONE = {  # what one value of a sort is called; the others are called as the sort is
    "email": "E-mail address",
    "name": "Name",
    "phone": "Phone number",
    "address": "Part of a postal address",
    "ip": "IP address or device",
    "identity": "Date of birth, tax or identity number",
    "bank": "Bank account number",
    "secret": "Client secret or sign-in link",
    "payload": "Payload in quarantine",
    "other": "Another value",
}
BACK = {"event": "/events/", "customer": "/customers/", "run": "/runs/"}
Row = dict[str, Any]


# ---- one value, shown once ------------------------------------------------------------------------------------------
@blueprint.get("/reveal/<on>/<path:id>")
def ask_reveal(on: str, id: str) -> Response:
    return _offered(_on(on), id)


@blueprint.post("/reveal/<on>/<path:id>")
def reveal(on: str, id: str) -> Response:
    s, where, token = services(), _on(on), request.form.get("token", "")
    if not token:
        return _offered(where, id, {"token": "Choose one."})
    try:
        reason = request.form.get("reason", "")
        shown = revealing.show(s.store, s.vault, tenant(), where, id, token, actor(), reason, now())
    except Refused as error:
        return _offered(where, id, {"reason": str(error)})
    return _unkept(page("reveal.html", on=on, id=id, back=BACK[on] + id, shown=shown, wrong={}))


def _offered(on: On, id: str, wrong: Row | None = None) -> Response:
    offered = revealing.held(services().store, tenant(), on, id)
    typed = {"token": request.form.get("token", ""), "reason": request.form.get("reason", "")}
    return _unkept(
        page(
            "reveal.html",
            status=422 if wrong else 200,
            on=on,
            id=id,
            back=BACK[on] + id,
            offered=offered,
            sorts={**SORTS, **ONE},
            given=typed,
            wrong=wrong or {},
        )
    )


def _unkept(response: Response) -> Response:
    """No cache, and no page that the browser brings back."""
    response.headers["Cache-Control"] = "no-store"
    return response


def _on(on: str) -> On:
    return next((known for known in ON if known == on), None) or abort(404)


# ---- a customer erased ----------------------------------------------------------------------------------------------
@blueprint.get("/customers/<id>/erase")
def ask_erase(id: str) -> Response:
    return _erasing(id)


@blueprint.post("/customers/<id>/erase")
def erase(id: str) -> Response:
    s, typed, reason = services(), request.form.get("confirm", "").strip(), request.form.get("reason", "")
    if typed != id:
        return _erasing(id, {"confirm": f"Write {id} to confirm."})
    try:
        erasing.start(s.store, s.vault, tenant(), id, actor(), reason, now())
    except Refused as error:
        return _erasing(id, {"reason": str(error)})
    return go(f"/customers/{id}/erase", "The erasure has begun.")


@blueprint.post("/customers/<id>/erase/lift")
def lift(id: str) -> Response:
    s = services()
    try:
        erasing.lift(s.store, s.vault, tenant(), id, actor(), request.form.get("reason", ""), now())
    except Refused as error:
        return _erasing(id, {"reason": str(error)})
    return go(f"/customers/{id}/erase", "What is heard of this customer from now on is kept again.", "warn")


def _erasing(id: str, wrong: Row | None = None) -> Response:
    found = erasing.preview(services().store, services().vault, tenant(), id)
    typed = {"confirm": request.form.get("confirm", ""), "reason": request.form.get("reason", "")}
    return page(
        "erase.html",
        None if wrong else "progress",
        422 if wrong else 200,
        found=found,
        given=typed,
        wrong=wrong or {},
        moment=now(),
    )


# ---- how long values are kept ---------------------------------------------------------------------------------------
@blueprint.get("/settings/personal")
def look() -> Response:
    return _settings()


@blueprint.post("/settings/personal")
def save() -> Response:
    typed = {sort: request.form.get(sort, "").strip() for sort in SORTS}
    days = {sort: int(text) if text.isdecimal() else text or None for sort, text in typed.items()}
    try:
        retention.save(services().store, tenant(), days, actor(), now(), request.form.get("expect") or None)
    except RuleError as error:
        return _settings(typed, {one.path: one.message for one in error.problems}, 422)
    except Conflict as error:
        return _settings(typed, {"expect": str(error)}, 409)
    return go("/settings/personal", "Saved. What is older is removed once a day.")


@blueprint.post("/settings/personal/remove")
def remove() -> Response:
    retention.start(services().store, tenant(), now(), actor())
    return go("/settings/personal", "The removal has begun.")


def _settings(typed: Row | None = None, wrong: Row | None = None, status: int = 200) -> Response:
    s = services()
    return page(
        "settings_personal.html",
        status=status,
        found=retention.look(s.store, s.vault, tenant(), now()),
        typed=typed,
        wrong=wrong or {},
        suggested=retention.SUGGESTED,
        keys=rotating.status(s.store, s.rotation) if s.rotation else None,
        erased=erasing.erased(s.store, tenant(), 20),
        moment=now(),
    )
