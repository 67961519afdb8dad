"""The page behind the link in every e-mail: it shows a button, and the button keeps the reader from getting more.

Mail programs press the button themselves (RFC 8058); programs that only look at links change nothing.
"""

from __future__ import annotations

from flask import Blueprint, Response, make_response, render_template

from app import suppressions, unsubscribe
from app.web.pages import now, services
from rules.ports import Refused

blueprint = Blueprint("unsubscribe", __name__)
ACTOR = "the reader"


@blueprint.get(unsubscribe.PATH + "<text>")
def ask(text: str) -> Response:
    try:
        unsubscribe.opened(services().secrets, text)
    except Refused as refused:
        return _page(400, "refused", str(refused))
    return _page(200, "ask")


@blueprint.post(unsubscribe.PATH + "<text>")
def leave(text: str) -> Response:
    try:
        tenant, token = unsubscribe.opened(services().secrets, text)
    except Refused as refused:
        return _page(400, "refused", str(refused))
    suppressions.suppress(services().store, tenant, token, "unsubscribed", ACTOR, now())
    return _page(200, "done")


def _page(status: int, state: str, why: str = "") -> Response:
    """A page for strangers: nothing of this installation stands on it."""
    return make_response(render_template("unsubscribe.html", state=state, why=why), status)
