"""Cases: who looks after a thing that waits for a person, by when, and what they noted.

A case is a document beside the run, action, event or connection it is about, and changes nothing about it. It is made
with the first note and stays for the record; whether the matter is open is told by the thing itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from app.audit import entry
from app.numbers import whole
from rules.event import instant, iso
from rules.ports import ABSENT, Put, Store
from rules.rule import Problem, RuleError

ABOUT = ("run", "command", "event", "connection", "rule", "review", "proposal", "quarantine")
LONGEST = {"owner": 100, "note": 2000}
MOST = 500
JSON = Mapping[str, Any]


def case_id(kind: str, id: str) -> str:
    return f"{kind}:{id}"


def assign(
    store: Store, tenant: str, about: Sequence[str], given: Mapping[str, Any], actor: str, now: datetime
) -> list[dict[str, Any]]:
    """Set owner, note and due (iso text, or empty) of several things, `run:run_1`; what is not given stays. RuleError
    with every problem."""
    wrong = [*_given_problems(given), *(problem for one in about for problem in _about_problems(one))]
    if wrong:
        raise RuleError(wrong)
    return [_assign(store, tenant, one, given, actor, now) for one in about]


def _assign(
    store: Store, tenant: str, about: str, given: Mapping[str, Any], actor: str, now: datetime
) -> dict[str, Any]:
    found = store.get(tenant, "case", about)
    before: JSON = found.body if found else {"id": about, "owner": "", "note": "", "due": ""}
    after = {**before, **_settled(given), "by": actor, "updated_at": iso(now)}
    shown = ("owner", "note", "due")
    change = entry(
        now, actor, "assign", about, {name: before[name] for name in shown}, {name: after[name] for name in shown}
    )
    store.commit(tenant, None, [Put("case", about, after, found.version if found else ABSENT), change])
    return after


def case_of(store: Store, tenant: str, about: str) -> dict[str, Any] | None:
    found = store.get(tenant, "case", about)
    return dict(found.body) if found else None


def is_overdue(case: JSON | None, now: datetime) -> bool:
    return bool(case and case["due"] and case["due"] <= iso(now))


def read_due(text: str, now: datetime) -> str:
    """`2026-11-30` (its end, UTC), `2026-11-30T17:00` (UTC), `3d` or `4h` from now; as iso text. ValueError."""
    text = text.strip()
    if not text:
        return ""
    count = whole(text[:-1], 4)
    if count is not None and text[-1] in "dh":
        span = timedelta(days=count) if text[-1] == "d" else timedelta(hours=count)
        return iso(now + span)
    if len(text) == len("2026-11-30"):
        text += "T23:59:59"
    moment = instant(text)
    return iso(moment if moment.tzinfo else moment.replace(tzinfo=now.tzinfo))


def _settled(given: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(given[name]).strip() for name in ("owner", "note", "due") if name in given}


def _given_problems(given: Mapping[str, Any]) -> list[Problem]:
    wrong = [Problem(name, f"unknown key {name!r}") for name in given if name not in ("owner", "note", "due")]
    for name, most in LONGEST.items():
        if len(str(given.get(name, ""))) > most:
            wrong.append(Problem(name, f"it is longer than {most:,} characters"))
    if given.get("due"):
        try:
            instant(str(given["due"]))
        except ValueError:
            wrong.append(Problem("due", "write a date such as 2026-11-30, or 3d from now"))
    return wrong


def _about_problems(about: str) -> list[Problem]:
    kind, _, id = about.partition(":")
    return [] if kind in ABOUT and id else [Problem("about", f"{about!r} names nothing that can be assigned")]
