"""Why a rule did, or did not, fire for a subject: one sentence, the first closed gate, and what was nearest."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from app import browse
from app.inquire import explaining
from app.numbers import whole
from app.web.addresses import asked, end_of_day
from app.web.pages import now, page, services, tenant
from rules.explain import GATES

blueprint = Blueprint("why", __name__)


@blueprint.get("/why")
def look() -> Response:
    rule, subject, event, day = asked("rule"), asked("subject"), asked("event"), asked("at")
    number = asked("version")
    if subject and subject.startswith("evt_"):
        subject, event = None, subject
    found = _explained(rule, subject, event, day, number) if rule and (subject or event) else None
    return page(
        "why.html",
        "answer",
        found=found,
        asked={"rule": rule, "subject": subject, "event": event, "at": day, "version": number},
        rules=browse.rule_names(services().store, tenant()),
        gates=_gates(found) if found else [],
        moment=now(),
    )


def _explained(
    rule: str, subject: str | None, event: str | None, day: str | None, version: str | None
) -> dict[str, Any]:
    s = services()
    number = whole(version)
    found = explaining.explain(
        s.store,
        s.vault,
        s.catalogue,
        s.connectors,
        tenant(),
        rule,
        now(),
        subject=subject,
        event=event,
        at=end_of_day(day),
        number=number,
    )
    return {**found, **browse.shown_at(s.store, tenant(), rule, found, number)}


def _gates(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Each gate's question in order, with `open`, `closed` or `unasked`."""
    names, closed = list(GATES), found["gate"]
    at = names.index(closed) if closed in GATES else len(names)
    states = ["open" if n < at else "closed" if n == at else "unasked" for n in range(len(names))]
    return list(zip(GATES.values(), states, strict=True))
