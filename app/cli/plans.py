"""Commands on plans: `rules publish --at`, `rules plan` and `rules withdraw`; app.cli.rules registers them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from app import tenant_settings
from app.approvals import Change
from app.author import planned, timetable
from app.cli.commands import ACTOR, CommandError, show, tenant_of

if TYPE_CHECKING:
    from app.services import Services


def wanted(given: argparse.Namespace, services: Services) -> Change:
    """The plan that was asked for; times without an offset are in the office's zone. RuleError."""
    zone = tenant_settings.read(services.store, tenant_of(given, services)).zone
    begin = timetable.local(given.at, zone) if given.at else None
    shares = timetable.shares(given.phases) if given.phases else [timetable.ALL]
    phases = timetable.evenly(begin, shares, timetable.every(given.every), services.clock.now())
    return Change("plan", given.rule, {"steps": timetable.written(phases), "mode": "watch" if given.watch else "live"})


def show_plan(given: argparse.Namespace, services: Services) -> None:
    found = planned.row(services.store, tenant_of(given, services), given.rule)
    if found is None:
        raise CommandError(f"The rule {given.rule!r} has no plan.")
    say_plan(given, found)


def withdraw_plan(given: argparse.Namespace, services: Services) -> None:
    tenant, now = tenant_of(given, services), services.clock.now()
    say_plan(given, planned.withdraw(services.store, tenant, given.rule, ACTOR, given.note, now))


def say_plan(given: argparse.Namespace, found: Mapping[str, Any]) -> None:
    def lines() -> Iterator[str]:
        why = f": {found['why']}" if found["why"] else ""
        yield f"{found['rule_id']}: the plan of {found['by']} is {found['state']}{why}"
        yield from (f"  {step['says']}{_done(step)}" for step in found["steps"])

    show(given, found, lines)


def _done(step: Mapping[str, Any]) -> str:
    if step["version"]:
        return f": done, version {step['version']}"
    return ": passed over" if step["passed"] else ""
