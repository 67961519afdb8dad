"""Business hours: when an action may reach somebody, and when the next opening is. Pure, and right on odd days too.

A moment is within the hours when the wall clock of the zone shows one of the days and a time from `start` up to, but
not at, `end`. So an hour that the clock shows twice is open twice, and a time that it skips opens once the clock is
past it. On a day of pause (`not_on`) it is never open, nor on one of the account's. The zone `account` is what the
account has set (`of_account`), and UTC where nothing was put in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from rules.channels import channels_of
from rules.model import Hours, Rule
from rules.words import moment

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MINUTE = timedelta(minutes=1)
_LOOKED_AT = 22  # days: an opening a week, and twice in a row a day that the clock skips


def opening(rule: Rule, action: str, instant: datetime) -> datetime:
    """When the rule may do this action: now, or at the next opening of its hours."""
    hours = rule.hours
    if hours is None or not channels_of(action) & set(hours.applies_to):
        return instant
    return next_open(hours, instant)


def of_account(rule: Rule, settings: Callable[[], tuple[str, Sequence[str]]]) -> Rule:
    """The rule with the account's zone in place of `account`, and with its days of pause beside the rule's own.
    settings: (zone, days of pause), asked for only where they are needed."""
    if rule.hours is None:
        return rule
    zone, pauses = settings()
    own = rule.hours.zone if rule.hours.zone != "account" else zone
    not_on = tuple(dict.fromkeys((*rule.hours.not_on, *pauses)))
    return replace(rule, hours=replace(rule.hours, zone=own, not_on=not_on))


def next_open(hours: Hours, instant: datetime) -> datetime:
    """The instant itself when it is within the hours, otherwise the first one after it that is."""
    zone = _zone(hours)
    if _is_open(hours, instant, zone):
        return instant
    first = instant.astimezone(zone).date()
    for ahead in range(_LOOKED_AT + len(hours.not_on)):
        for start in _starts(hours, first + timedelta(days=ahead), zone):
            if start > instant and _is_open(hours, start, zone):
                return start
    raise ValueError(f"{hours} never opens")


def waits_for(hours: Hours, opens: datetime) -> str:
    """What a run's story says of an action that is put off."""
    return f"waits for business hours until {moment(opens, _zone(hours))}"


def _zone(hours: Hours) -> ZoneInfo:
    return ZoneInfo("UTC" if hours.zone == "account" else hours.zone)


def _is_open(hours: Hours, instant: datetime, zone: ZoneInfo) -> bool:
    local = instant.astimezone(zone)
    if f"{local:%Y-%m-%d}" in hours.not_on:
        return False
    return _DAYS[local.weekday()] in hours.days and hours.start <= f"{local:%H:%M}" < hours.end


def _starts(hours: Hours, day: date, zone: ZoneInfo) -> Iterator[datetime]:
    """Where the hours of a day may begin, in UTC: at `start`; on a day on which the clock is moved, at any minute."""
    begins, ends = _at(day, "00:00", zone), _at(day + timedelta(days=1), "00:00", zone)
    if ends - begins == timedelta(days=1):
        yield _at(day, hours.start, zone)
        return
    while begins < ends:
        yield begins
        begins += _MINUTE


def _at(day: date, clock: str, zone: ZoneInfo) -> datetime:
    return datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=zone).astimezone(UTC)
