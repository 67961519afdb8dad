"""When the phases of a plan come and for which share of the subjects: read, checked, and said in words. Pure.

A share is made with the rule language's own `holdout`, which draws by the subject's id and the same every time. So each
phase is an ordinary version of the same document, and who is in one phase is in every later one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from app.numbers import whole
from rules.event import instant, iso
from rules.rule import Problem, RuleError
from rules.words import moment

APART = timedelta(minutes=15)  # at least, from phase to phase
LONGEST = timedelta(days=90)  # from now to the last phase
MOST = 10  # phases
ALL = 100
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_NOUNS = {
    "customer": "customers",
    "subscription": "subscriptions",
    "invoice": "invoices",
    "payment_intent": "payments",
    "charge": "charges",
    "card": "cards",
    "account": "accounts",
}
JSON = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Phase:
    """at: None for at once. share: percent of the subjects; the last phase has all."""

    at: datetime | None
    share: int = ALL


# ---- from what people write -----------------------------------------------------------------------------------------
def local(text: str, zone: str) -> datetime:
    """The instant of a wall clock: `2026-12-01T09:00` in the zone; a text with an offset is an instant already.
    RuleError for what is no time, or one that the clock skips there."""
    try:
        found = datetime.fromisoformat(text.strip())
        if found.tzinfo:
            return found.astimezone(UTC)
        there = found.replace(tzinfo=ZoneInfo(zone))
        at = there.astimezone(UTC)
    except (ValueError, OverflowError):
        raise RuleError([Problem("at", "write a time such as 2026-12-01T09:00")]) from None
    if at.astimezone(ZoneInfo(zone)).replace(tzinfo=None) != found:
        raise RuleError([Problem("at", f"the clock in {zone} skips that time: choose another")])
    return at


def every(text: str) -> timedelta:
    """A span such as `1d`, `6h` or `15m`. RuleError."""
    count = whole(text.strip()[:-1], 4)
    if count is None or text.strip()[-1:] not in _UNITS:
        raise RuleError([Problem("every", "write a span such as 1d, 6h or 15m")])
    return timedelta(**{_UNITS[text.strip()[-1]]: count})


def shares(text: str) -> list[int]:
    """`10, 50, 100` as numbers. RuleError."""
    parts = [whole(part.strip().removesuffix("%").strip(), 3) for part in text.split(",")]
    found = [part for part in parts if part is not None]
    if len(found) != len(parts):
        raise RuleError([Problem("phases", "write the percents of the phases, such as 10, 50, 100")])
    return found


def evenly(at: datetime | None, percents: Sequence[int], apart: timedelta, now: datetime) -> list[Phase]:
    """Phases at the same distance from each other, the first at that time or at once."""
    begin = at or now
    return [Phase(at if not place else begin + place * apart, share) for place, share in enumerate(percents)]


def read(given: Sequence[JSON]) -> list[Phase]:
    """Of the API's and a proposal's `[{"at": time or null, "share": 10}]`. RuleError."""
    try:
        return [Phase(_time(one.get("at")), one.get("share", ALL)) for one in given]
    except (ValueError, OverflowError):
        raise RuleError([Problem("steps", "write each time as 2026-12-01T09:00:00Z")]) from None


def written(phases: Sequence[Phase]) -> list[dict[str, Any]]:
    """The same the other way."""
    return [{"at": iso(one.at) if one.at else None, "share": one.share} for one in phases]


def _time(given: str | None) -> datetime | None:
    if not given:
        return None
    found = instant(given)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)


# ---- checked --------------------------------------------------------------------------------------------------------
def refuse(phases: Sequence[Phase], document: JSON, now: datetime) -> None:
    """Raises RuleError with everything that is wrong with the phases of this document, planned now."""
    wrong = [*_time_problems(phases, now), *_share_problems(phases, _own(document))]
    if wrong:
        raise RuleError(wrong)


def _time_problems(phases: Sequence[Phase], now: datetime) -> Iterator[Problem]:
    if not 1 <= len(phases) <= MOST:
        yield Problem("steps", f"a plan has 1 to {MOST} phases")
        return
    if any(phase.at is None for phase in phases[1:]):
        yield Problem("steps", "only the first phase can be at once")
        return
    times = [phase.at or now for phase in phases]
    if phases[0].at is not None and phases[0].at <= now:
        yield Problem("steps[0].at", "the time is past: choose a later one")
    if any(later - sooner < APART for sooner, later in pairwise(times)):
        yield Problem("steps", "phases are at least 15 minutes apart, one after the other")
    if times[-1] - now > LONGEST:
        yield Problem("steps", f"the last phase is within {LONGEST.days} days")


def _share_problems(phases: Sequence[Phase], own: float) -> Iterator[Problem]:
    percents = [phase.share for phase in phases]
    most = _reached(own)
    if any(not isinstance(share, int) or isinstance(share, bool) or not 1 <= share <= ALL for share in percents):
        yield Problem("steps", "a share is a whole number of percent, 1 to 100")
    elif percents[-1:] != [ALL]:
        yield Problem("steps", "the last phase is for 100 %: without it the rule would stay for a part for ever")
    elif any(later <= sooner for sooner, later in pairwise(percents)):
        yield Problem("steps", "each phase is for more than the one before")
    elif any(share >= most for share in percents[:-1]):
        yield Problem("steps", f"the rule itself leaves all but {most:g} % untouched: an earlier phase is for less")


# ---- made and said --------------------------------------------------------------------------------------------------
def phased(document: JSON, share: int) -> dict[str, Any]:
    """The document as it is in force in a phase: at least so many are held out that the share is left."""
    held_out = round(1 - share / ALL, 6)
    return {**document, "holdout": held_out} if held_out > _own(document) else dict(document)


def says(phases: Sequence[Phase], document: JSON, zone: str, mode: str, others: bool) -> list[str]:
    """The plan in plain English. zone: the office's. others: whether a version acts already, for the others too."""
    what = "goes live" if mode == "live" else "begins to watch"
    told = [f"{clock(phase.at, zone)} it {what} {for_whom(phase.share, document)}." for phase in phases]
    if len(phases) > 1:
        told.append("Who is in a phase is drawn by the id, the same every time, and is in every later one.")
    if len(phases) > 1 and others:
        told.append("Until the last phase the others are left alone: the first one ends the version in force now.")
    told.append(
        "Instead of going on it halts and asks when somebody has changed what is in force of this rule, a limit holds "
        "runs of a phase back, the rule has errors by then, or there is an emergency stop."
    )
    return told


def clock(at: datetime | None, zone: str) -> str:
    """`On Tue 1 Dec 2026 09:00 CET (Europe/Vienna)`, or `At once`."""
    if at is None:
        return "At once"
    return f"On {moment(at, zone)}" + ("" if zone == "UTC" else f" ({zone})")


def for_whom(share: int, document: JSON) -> str:
    """`for 10 % of subscriptions`."""
    most = _reached(_own(document))
    noun = _NOUNS.get(str((document.get("when") or {}).get("same", "")), "subjects")
    if share < most:
        return f"for {share} % of {noun}"
    return f"for all {noun}" if most == ALL else f"for the {most:g} % of {noun} that the rule does not leave untouched"


def _own(document: JSON) -> float:
    return float(document.get("holdout") or 0)


def _reached(own: float) -> float:
    """The percents that the rule itself does not leave untouched."""
    return round((1 - own) * ALL, 4)
