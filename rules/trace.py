"""The trace of a decision: for every rule that listens, what came of it, at which gate, in one English sentence.

It is stored in the event's document under `decision`:

    {"ruleset": revision, "at": iso, "rules": [entry, ...], "runs": [{"run", "what", "sentence"}, ...]}

An entry is {"rule", "number", "name", "mode", "outcome": "fired" | "waiting" | "matched" | "missed" | "took_back",
"gate": None | "key" | "own" | "condition" | "window" | "reset" | "paused" | "live_from" | "import" | "stopped" |
"re-entry" | "never_for" | "holdout" | "crowded" | "contradicted", "sentence", "key", "trigger" (where it is not the
event itself), "run", "window", "tree"}. `matched` is a match that started no run. Only what fired keeps its condition
tree; for the rest the tree is computed again when somebody looks (rules.explain).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from rules.event import Event
from rules.matcher import bound
from rules.model import Rule, RuleVersion, When
from rules.ruleset import Part
from rules.tree import tree
from rules.window import Found, Number, span_of
from rules.words import span_text

JSON = Mapping[str, Any]
Entry = dict[str, Any]
_SHOWN = 50  # counted events that a stored trace names


def entry(version: RuleVersion, outcome: str, gate: str | None, sentence: str, **more: Any) -> Entry:
    return {
        "rule": version.rule.id,
        "number": version.number,
        "name": version.rule.name,
        "mode": version.mode,
        "outcome": outcome,
        "gate": gate,
        "sentence": sentence,
        **more,
    }


def failed_condition(parts: Sequence[Part], event: Event) -> str:
    """Which condition of the rule is not true, in a sentence."""
    for index, part in enumerate(parts):
        if not part.holds(event.data):
            text = part.text(event.type, currency_of(event))
            return f"Condition {index + 1} of {len(parts)} is not true: {text}."
    return "The conditions are not true."


def currency_of(event: Event) -> str | None:
    thing = event.data.get("data", {}).get("object")
    currency = thing.get("currency") if isinstance(thing, dict) else None
    return currency if isinstance(currency, str) and len(currency) == 3 else None


def matched(rule: Rule, found: Found) -> str:
    """Why a match is one: "2nd invoice.payment_failed in 3 days 2 hours (at least 2 within 7 days)"."""
    when = rule.when
    event_type = found.trigger.type
    if when.then:
        return f"{event_type} came {_after(found)} {found.counted[0].type} (within {span_text(when.then.within)})."
    if when.and_not:
        return f"{event_type} came."
    if when.first:
        return f"The first {event_type} for this {when.same or 'customer'}."
    if span_of(when) is None:
        return f"{event_type} came and every condition is true."
    return f"{_number(when, found.number)} in {_spread(found)} ({needed(rule)})."


def missed(rule: Rule, found: Found) -> str:
    """Why a window is not reached: "1 of 2 within 7 days"."""
    when = rule.when
    if when.first:
        return f"Not the first {found.trigger.type} for this {when.same or 'customer'}: {found.number} came before."
    if when.then:
        return f"No {' or '.join(when.types)} came within {span_text(when.then.within)} before it."
    if when.and_not:
        return f"{' or '.join(when.and_not.types)} came within {span_text(when.and_not.within)}."
    if when.aggregate:
        return f"The {_number(when, found.number)}; needed is {needed(rule)}."
    return f"{found.number} of {when.at_least}{_within(when)}."


def needed(rule: Rule) -> str:
    """What the rule's number must be: "at least 2 within 7 days"."""
    bounds = bound(rule)
    if bounds is None:
        return "each time"
    word = "at least" if bounds.operator == "greater or equal to" else bounds.operator
    return f"{word} {bounds.value}{_within(rule.when)}"


def window_record(rule: Rule, found: Found) -> JSON:
    """The part of the trace that says what was counted."""
    shown = [event.id for event in found.counted[-_SHOWN:]]
    return {"number": found.number, "needed": needed(rule), "within": rule.when.within, "counted": shown}


def condition_tree(rule: Rule, found: Found) -> JSON:
    """The conditions explained on the event that they are about: of a sequence the first of its two events."""
    event = found.counted[-2] if rule.when.then else found.trigger
    return tree(rule.only_if, event.data, event.id)


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th, 11th, 21st."""
    last = 0 if 10 <= number % 100 <= 20 else number % 10
    return f"{number}{('th', 'st', 'nd', 'rd')[last] if last < 4 else 'th'}"


def _number(when: When, number: Number | None) -> str:
    if when.aggregate:
        return f"{when.aggregate.of} of {when.aggregate.field} is {number}"
    what = when.types[0] if len(when.types) == 1 else "event"
    if when.counting != "events":
        what = f"different {when.counting}"
    return f"{ordinal(int(number or 0))} {what}"


def _spread(found: Found) -> str:
    seconds = found.trigger.created - min(event.created for event in found.counted)
    return span_text(seconds) if seconds else "the same second"


def _after(found: Found) -> str:
    seconds = found.trigger.created - found.counted[0].created
    return f"{span_text(seconds)} after" if seconds else "in the same second as"


def _within(when: When) -> str:
    return "" if when.within is None else _within_text(when.within)


@lru_cache(maxsize=1024)
def _within_text(seconds: int) -> str:
    return f" within {span_text(seconds)}"
