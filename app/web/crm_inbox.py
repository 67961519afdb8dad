"""The built-in CRM inbox: takes signed notices as any receiver would, and shows the way back to their cause."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, request

from app import crm_inbox
from app.web.addresses import cursor, pages
from app.web.pages import now, page, services, tenant
from rules.ports import Refused

blueprint = Blueprint("crm_inbox", __name__)


@blueprint.post("/crm-inbox")
def receive() -> tuple[Response, int]:
    """A machine's endpoint: the signature is the only credential."""
    s = services()
    if (request.content_length or 0) > crm_inbox.LARGEST:
        return _refused(413, f"A notice has at most {crm_inbox.LARGEST} bytes.")
    try:
        kept = crm_inbox.receive(s.store, s.secrets, tenant(), dict(request.headers), request.get_data(), now())
    except Refused as refused:
        return _refused(400, str(refused))
    return jsonify({"id": kept.id, "new": kept.new, "deliveries": kept.deliveries}), 200


@blueprint.get("/crm-inbox")
def look() -> Response:
    found = crm_inbox.notices(services().store, tenant(), after=cursor())
    return page("crm_inbox.html", "list", found=found, moment=now(), **pages("/crm-inbox", found["next"]))


@blueprint.get("/crm-inbox/<path:id>")
def one(id: str) -> Response:
    return page("notice.html", notice=crm_inbox.notice(services().store, tenant(), id), moment=now())


def _refused(status: int, detail: str) -> tuple[Response, int]:
    answer = jsonify({"type": "about:blank", "title": "Notice refused", "status": status, "detail": detail})
    answer.content_type = "application/problem+json"
    return answer, status
