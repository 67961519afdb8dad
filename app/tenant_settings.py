"""What one tenant has set: the time zone of its office, and where and when Signalbox itself speaks up.

One document, read where it is needed. A new zone is in force as a new rule would be: the revision pointer moves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from app.audit import entry
from app.connections.checks import ADDRESS
from rules.event import iso
from rules.ports import ABSENT, Conflict, Document, Put, Store, Write
from rules.rule import Problem, RuleError

ID = "tenant"
SPEAKING = ("slack", "smtp", "webhook")  # types of connections that can carry an alert
LONGEST_AGE = 24 * 60  # minutes
MOST_PAUSES = 100  # days; rules.hours looks so far ahead and further


@dataclass(frozen=True, slots=True)
class TenantSettings:
    """zone: what `account` means in business hours. not_on: days of pause, `2026-12-25`, on which no rule's hours are
    open. alert_connection: where alerts go, empty for nowhere; alert_to:
    the address, where that is e-mail. oldest_minutes: age of the oldest event or action that is not done which is
    worth an alert. dead_letters, needs_you: how many of them are. second_person: whether what lets more happen takes
    somebody else's approval (app.approvals); in production it always does."""

    zone: str = "UTC"
    not_on: tuple[str, ...] = ()
    alert_connection: str = ""
    alert_to: str = ""
    oldest_minutes: int = 5
    dead_letters: int = 1
    needs_you: int = 1
    second_person: bool = False
    version: str = ABSENT

    @property
    def zone_chosen(self) -> bool:
        """Whether a person has said it; UTC is what is taken otherwise."""
        return self.version != ABSENT

    def body(self) -> dict[str, Any]:
        kept = asdict(self)
        del kept["version"]
        return {**kept, "not_on": list(self.not_on)}


DEFAULTS = TenantSettings()
_NUMBERS = {"oldest_minutes": LONGEST_AGE, "dead_letters": 10_000, "needs_you": 10_000}


def read(store: Store, tenant: str) -> TenantSettings:
    found = store.get(tenant, "setting", ID)
    if found is None:
        return DEFAULTS
    known = {name: found.body[name] for name in DEFAULTS.body() if name in found.body}
    return TenantSettings(**{**known, "not_on": tuple(known.get("not_on", ()))}, version=found.version)


def hours_of(store: Store, tenant: str) -> tuple[str, tuple[str, ...]]:
    """The zone and the days of pause."""
    found = read(store, tenant)
    return found.zone, found.not_on


def save(
    store: Store,
    tenant: str,
    given: Mapping[str, Any],
    actor: str,
    now: datetime,
    expect: str | None = None,
    also: Sequence[Write] = (),
) -> TenantSettings:
    """Change what is given and keep the rest. RuleError with every problem; Conflict when `expect` is not there."""
    before = read(store, tenant)
    if expect is not None and expect != before.version:
        raise Conflict("Someone else changed these settings after you opened them. Open them again.")
    wrong = [Problem(name, f"unknown setting {name!r}") for name in given if name not in DEFAULTS.body()]
    after = {**before.body(), **{name: value for name, value in given.items() if name in DEFAULTS.body()}}
    if not isinstance(after["second_person"], bool):
        wrong.append(Problem("second_person", "write true or false"))
    wrong += [*_zone_problem(after), *_pause_problems(after)]
    wrong += [*_alert_problems(store, tenant, after), *_number_problems(after)]
    if wrong:
        raise RuleError(wrong)
    writes: list[Write] = [
        Put("setting", ID, {**after, "updated_at": iso(now)}, before.version),
        entry(now, actor, "change settings", "settings", before.body(), after),
        *also,
    ]
    if (after["zone"], tuple(after["not_on"])) != (before.zone, before.not_on):
        writes.append(_bump(store.get(tenant, "ruleset", "current"), now))
    store.commit(tenant, None, writes)
    return read(store, tenant)


def _bump(pointer: Document | None, now: datetime) -> Put:
    """Rules that speak of the account's hours are read again."""
    revision = int(pointer.body["revision"]) + 1 if pointer else 1
    body = {"revision": revision, "changed_at": iso(now)}
    return Put("ruleset", "current", body, pointer.version if pointer else ABSENT)


def _zone_problem(given: Mapping[str, Any]) -> list[Problem]:
    try:
        ZoneInfo(str(given["zone"]))
    except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        return [Problem("zone", f"there is no time zone {given['zone']!r}; write one such as Europe/Berlin", "UTC")]
    return []


def _pause_problems(given: Mapping[str, Any]) -> list[Problem]:
    days = given["not_on"]
    if not isinstance(days, list | tuple) or len(days) > MOST_PAUSES or not all(map(_is_day, days)):
        return [Problem("not_on", f"write up to {MOST_PAUSES} days such as 2026-12-25")]
    return []


def _is_day(text: Any) -> bool:
    try:
        return date.fromisoformat(str(text)).isoformat() == str(text)
    except (TypeError, ValueError):
        return False


def _alert_problems(store: Store, tenant: str, given: Mapping[str, Any]) -> list[Problem]:
    name, to = given["alert_connection"], given["alert_to"]
    if not name:
        return []
    found = store.get(tenant, "connection", str(name))
    if found is None:
        return [Problem("alert_connection", f"there is no connection {name!r}")]
    type = found.body.get("type", "webhook")
    if type not in SPEAKING:
        return [Problem("alert_connection", f"{name!r} is of type {type}; alerts go by {', '.join(SPEAKING)}")]
    if type == "smtp" and not ADDRESS.fullmatch(str(to)):
        return [Problem("alert_to", "write the address that alerts are sent to, such as ops@example.com")]
    return []


def _number_problems(given: Mapping[str, Any]) -> list[Problem]:
    return [
        Problem(name, f"write a whole number from 1 to {most:,}")
        for name, most in _NUMBERS.items()
        if not (isinstance(given[name], int) and not isinstance(given[name], bool) and 1 <= given[name] <= most)
    ]
