"""Caps: how often the actions of all rules may reach one customer. Pure; app.perform.capped keeps the count.

A cap `{tag, at_most, per}` speaks of a rule's own actions that carry the tag: those that go by that name
(rules.channels: `email`, `crm`, `stripe.change_plan`), or all of them when it is one of the rule's `tags`. An e-mail of
a rule that says no cap for e-mail has the usual one: a customer gets one a day, over all rules. What counts
against it is every action with the tag that reached for the same customer within `per`, of whatever rule; an action
whose first try failed counts from its latest try, because its receiver may have had it.

An action that would pass a cap waits until the cap has room again. One that is a whole `per` old by then, and meets no
room again, is left out and the run goes on: what it would say is news no more, and a queue must not reach a customer
for weeks. One that was tried before waits on, because its receiver may be half through with it. An action about no
customer is not capped. A backtest counts the same over all its rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from rules.channels import channels_of
from rules.event import instant, iso
from rules.model import Cap, Rule
from rules.words import moment, span_text

JSON = Mapping[str, Any]
MAIL = "mail.send"
USUAL = Cap("email", 1, 86400)  # for e-mail of ours, where its rule says no cap that speaks of it
_KEPT = 500  # entries of one customer; beyond, the oldest is forgotten


@dataclass(frozen=True, slots=True)
class Room:
    """No room now: the cap that is full, and when it has room again."""

    cap: Cap
    at: datetime

    @property
    def why(self) -> str:
        actions = "1 action" if self.cap.at_most == 1 else f"{self.cap.at_most} actions"
        return f"the customer has had {actions} tagged “{self.cap.tag}” within {span_text(self.cap.per)}"

    @property
    def waits(self) -> str:
        return f"waits until {moment(self.at)}, because {self.why}"

    @property
    def left_out(self) -> str:
        return f"left out, because {self.why}, and it has waited that long already"


def tags_of(rule: Rule, action: str) -> frozenset[str]:
    """Every tag that the action carries when this rule does it."""
    return channels_of(action) | set(rule.tags)


def caps_of(rule: Rule, action: str) -> tuple[Cap, ...]:
    """The caps that the action is held to: its rule's, and the usual one for e-mail where its rule says none."""
    told = any(cap.tag in channels_of(action) for cap in rule.caps)
    return rule.caps if told or action != MAIL else (*rule.caps, USUAL)


def spans(rules: Iterable[Rule]) -> dict[str, int]:
    """The tags that some cap counts, each with the longest span that looks back at it, in seconds."""
    found: dict[str, int] = {}
    for rule in rules:
        for cap in (*rule.caps, USUAL):
            found[cap.tag] = max(cap.per, found.get(cap.tag, 0))
    return found


def room(rule: Rule, action: str, command: str, used: Sequence[JSON], now: datetime) -> Room | None:
    """The cap that is full for longest, of those of the rule that speak of this action; None when there is room."""
    tags = tags_of(rule, action)
    full = [
        Room(cap, at)
        for cap in caps_of(rule, action)
        if cap.tag in tags and (at := _free_at(cap, command, used, now)) is not None
    ]
    return max(full, key=lambda one: one.at, default=None)


def too_old(found: Room, created: str, now: datetime) -> bool:
    """Whether an action of this age is left out instead of waiting on."""
    return now - instant(created) >= timedelta(seconds=found.cap.per)


def counted(
    used: Sequence[JSON], command: str, tags: Iterable[str], longest: Mapping[str, int], now: datetime
) -> list[JSON]:
    """The entries with this action tried now, without those that no cap looks back at any more. longest: of `spans`."""
    mine = {"command": command, "tags": sorted(set(tags) & set(longest)), "at": iso(now)}
    others = [entry for entry in used if entry["command"] != command and _matters(entry, longest, now)]
    return [*others, mine][-_KEPT:]


def _free_at(cap: Cap, command: str, used: Sequence[JSON], now: datetime) -> datetime | None:
    since = iso(now - timedelta(seconds=cap.per))
    times = sorted(
        entry["at"]
        for entry in used
        if cap.tag in entry["tags"] and entry["command"] != command and entry["at"] > since
    )
    if len(times) < cap.at_most:
        return None
    return instant(times[-cap.at_most]) + timedelta(seconds=cap.per)


def _matters(entry: JSON, longest: Mapping[str, int], now: datetime) -> bool:
    span = max((longest.get(tag, 0) for tag in entry["tags"]), default=0)
    return instant(entry["at"]) > now - timedelta(seconds=span)
