"""A route forwards events as they are to one receiver: which event types, under which condition of the rule language.

Pure. An event that a route takes becomes a command in the event's own commit, so it is as durable as the event; the
command belongs to no run. Events of imported history are forwarded by nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rules.event import JSON, Event, iso
from rules.expr import compile_condition
from rules.fields import Catalogue
from rules.matcher import Predicate
from rules.model import Problem
from rules.rule import check, parse
from rules.run import Command
from rules.steps import bare, subjects_of
from rules.wanted import wanted_by

ACTION = "route.forward"
EVERY = "*"
MOST = 20  # routes of one tenant: each may add a write to an event's commit
ByType = Mapping[str, tuple["Route", ...]]


@dataclass(frozen=True, slots=True)
class Route:
    """types: event types, or EVERY. holds: its condition, of an event's envelope."""

    name: str
    types: tuple[str, ...]
    holds: Predicate


def problems_of(types: Any, only_if: Any, catalogue: Catalogue | None = None) -> list[Problem]:
    """Everything that is wrong with a filter."""
    if types == [EVERY]:
        types, catalogue = ["any.event"], None
    found = [one for one in check(as_rule(types, only_if), catalogue, None) if one.severity == "error"]
    if found:
        return [Problem(one.path.replace("when.event", "types", 1), one.message, one.suggestion) for one in found]
    if wanted_by(parse(as_rule(types, only_if)).only_if):
        return [Problem("only_if", "a route looks at the event alone: facts, scores and lists belong into a rule")]
    return []


def route(name: str, types: Sequence[str], only_if: JSON | None) -> Route:
    """Raises RuleError."""
    shown = ["any.event"] if list(types) == [EVERY] else list(types)
    return Route(name, tuple(types), compile_condition(parse(as_rule(shown, only_if)).only_if))


def as_rule(types: Any, only_if: Any) -> dict[str, Any]:
    """The filter as the smallest rule, so that it is read as conditions of rules are."""
    body = {"id": "route", "name": "A route", "when": {"event": types}, "steps": [{"name": "end", "stop": "never"}]}
    return {**body, "only_if": only_if} if only_if else body


def by_type(routes: Iterable[Route]) -> dict[str, tuple[Route, ...]]:
    """The routes that listen to each event type, in their order."""
    found: dict[str, list[Route]] = {}
    for one in routes:
        for event_type in one.types:
            found.setdefault(event_type, []).append(one)
    return {event_type: tuple(them) for event_type, them in found.items()}


def taking(routes: ByType, event: Event) -> list[Route]:
    """The routes that take an event."""
    if not routes or event.source == "import":
        return []
    return [one for key in (event.type, EVERY) for one in routes.get(key, ()) if one.holds(event.data)]


def command(route: Route, event: Event, now: datetime) -> Command:
    """What forwards the event, under one id for ever."""
    return Command(
        id=f"route/{route.name}/{event.id}",
        tenant=event.tenant,
        run_id="",
        step=route.name,
        rule_id="",
        version=0,
        action=ACTION,
        connection=route.name,
        params={"connection": route.name},
        state="due",
        customer=bare(event.key("cus")),
        correlation=event.correlation,
        created_at=iso(now),
        due_at=iso(now),
        trigger=event.id,
        subjects=subjects_of(event),
    )
