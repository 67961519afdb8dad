"""Gates that keep a match from becoming a run, each with the sentence that says so; None means open."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from rules.event import Event
from rules.memory import Memory
from rules.model import EXCLUDED, Rule
from rules.steps import subjects_of
from rules.words import span_text

Closed = tuple[str, str]  # the gate's name, a sentence
_PERSONAL = ("email", "customer_email", "receipt_email")


def too_soon(rule: Rule, created: int, past: Sequence[tuple[int, str]]) -> Closed | None:
    """The re-entry gate: whether a run of this rule and key has its trigger too near."""
    after = rule.again.after
    for at, run in reversed(past):
        if after is None:
            return "re-entry", f"Once only, and {run} was it."
        if abs(created - at) < after:
            distance = span_text(abs(created - at))
            where = "in the same second" if at == created else f"{distance} {'before' if at < created else 'after'}"
            return "re-entry", f"Not again within {span_text(after)}: the trigger of {run} was {where}."
    return None


def suppressed(rule: Rule, trigger: Event, memory: Memory) -> Closed | None:
    """The suppression gate: members of a list are bare ids, keys, or the reference token of a person's e-mail."""
    subjects = subjects_named(trigger)
    for name in rule.lists:
        if subjects & memory.members(name):
            whom = "no rule runs" if name == EXCLUDED else "the rule never runs"
            return "never_for", f"On the list {name!r}, for which {whom}."
    return None


def subjects_named(trigger: Event) -> set[str]:
    """What a member of a list may be called by: bare ids, keys, and the reference tokens of people."""
    return {*subjects_of(trigger).values(), *trigger.keys, *_tokens(trigger)}


def held_out(rule: Rule, key: str) -> Closed | None:
    """The holdout gate: a fixed share of the subjects, chosen by hash."""
    if not rule.holdout:
        return None
    share = int(hashlib.sha256(f"{rule.id}\n{key}".encode()).hexdigest()[:13], 16) / 16**13
    return ("holdout", f"In the {rule.holdout:.0%} left untouched.") if share < rule.holdout else None


def _tokens(event: Event) -> list[str]:
    """The reference tokens of the people in the event, which a list may hold."""
    data = event.data.get("data")
    thing = data.get("object") if isinstance(data, dict) else None
    if not isinstance(thing, dict):
        return []
    return [thing[name] for name in _PERSONAL if isinstance(thing.get(name), str)]
