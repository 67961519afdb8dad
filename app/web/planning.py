"""When a rule goes in force, on the page that asks before it does: now, at a time, or in phases. The plan is read back
in words before it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from flask import request

from app import tenant_settings
from app.approvals import Change
from app.author import planned, timetable
from app.author.timetable import Phase
from app.web.pages import now, services, tenant
from rules.rule import Problem, RuleError

Row = dict[str, Any]
MODES = {"publish": "live", "watch": "watch"}  # the controls that can be planned
EVERY = (
    ("15m", "15 minutes"),
    ("1h", "an hour"),
    ("6h", "6 hours"),
    ("12h", "12 hours"),
    ("1d", "a day"),
    ("2d", "2 days"),
    ("3d", "3 days"),
    ("7d", "a week"),
)
USUAL = {"when": "now", "at": "", "phases": "10, 50, 100", "every": "1d"}


def is_later() -> bool:
    """Whether the form asks for a plan."""
    return request.form.get("when", "now") != "now"


def asked(verb: str) -> Row:
    """What the page shows of it: what was entered, and the office's zone."""
    if verb not in MODES:
        return {}
    entered = {name: request.form.get(name, usual) for name, usual in USUAL.items()}
    zone = tenant_settings.read(services().store, tenant()).zone
    return {"later": {**entered, "zone": zone, "everies": EVERY}}


def read() -> list[Phase]:
    """The phases that were entered. RuleError."""
    zone = tenant_settings.read(services().store, tenant()).zone
    text = request.form.get("at", "").strip()
    if request.form.get("when") == "at":
        if not text:
            raise RuleError([Problem("at", "say when")])
        return [Phase(timetable.local(text, zone))]
    apart: timedelta = timetable.every(request.form.get("every", ""))
    shares = timetable.shares(request.form.get("phases", ""))
    return timetable.evenly(timetable.local(text, zone) if text else None, shares, apart, now())


def change(id: str, verb: str, phases: Sequence[Phase]) -> Change:
    """The plan as a change that may take a second person."""
    return Change("plan", id, {"steps": timetable.written(phases), "mode": MODES[verb]})


def read_back(id: str, verb: str, phases: Sequence[Phase]) -> list[str]:
    """The plan in sentences. RuleError or Conflict where it cannot be kept."""
    s = services()
    planned.check(planned.Desk(s.store, s.catalogue, s.connectors), tenant(), id, phases, MODES[verb], now())
    return planned.says(s.store, tenant(), id, phases, MODES[verb])


def entered() -> str:
    """What was entered, to be compared with what was read back."""
    return "|".join(request.form.get(name, "").strip() for name in USUAL)


def was_read_back() -> bool:
    return request.form.get("read") == entered()
