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

from rules import paths
from rules.event import Event
from rules.knowing import Known
from rules.labels import label
from rules.matcher import bound
from rules.model import Aggregate, Rule, RuleVersion, When
from rules.money import currency_of, is_money
from rules.ruleset import Part
from rules.tree import tree
from rules.window import Found, Number, span_of
from rules.words import amount, event_text, number_text, roughly, span_text

JSON = Mapping[str, Any]
Entry = dict[str, Any]
_BOUNDS = {
    "greater or equal to": "at least",
    "greater than": "more than",
    "less or equal to": "at most",
    "less than": "less than",
    "equal to": "exactly",
    "not equal to": "other than",
}
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


def shortened(trace: Mapping[str, Any]) -> dict[str, Any]:
    """What came of each rule, without the trees and what was read for them: these can be worked out again."""
    bulky = (Mapping, list, tuple)
    rules = [{name: said for name, said in one.items() if not isinstance(said, bulky)} for one in trace["rules"]]
    return {**trace, "rules": rules, "shortened": True}


def failed_condition(parts: Sequence[Part], index: int, event_type: str, currency: str | None) -> str:
    """Which part of the rule's condition is the first that is not true, in a sentence; -1 where none is said to be.
    currency: the event's (`currency_of`)."""
    if index < 0:
        return "The conditions are not true."
    return f"Condition {index + 1} of {len(parts)} is not true: {parts[index].text(event_type, currency)}."


def matched(rule: Rule, found: Found) -> str:
    """Why a match is one: "An invoice payment fails for the 2nd time in 3 days (at least 2 within 7 days)."."""
    when = rule.when
    happened = _capital(_events((found.trigger.type,)))
    if when.then:
        first = _events((found.counted[0].type,))
        return f"{happened} {_after(found)} {first} (within {span_text(when.then.within)})."
    if when.and_not:
        later = _events(when.and_not.types)
        return f"{happened}, and for {span_text(when.and_not.within)} afterwards it did not happen that {later}."
    if when.first:
        return f"The first time that {_events((found.trigger.type,))} for this {when.same or 'customer'}."
    if span_of(when) is None:
        return f"{happened}, and every condition is true."
    return f"{_counting(when, found, happened)} in {_spread(found)} ({needed(rule, found)}){_aside(found)}."


def missed(rule: Rule, found: Found) -> str:
    """Why a window is not reached: "1 of 2 within 7 days"."""
    when = rule.when
    if when.first:
        return f"Not the first time for this {when.same or 'customer'}: it happened {_times(found.number)} before."
    if when.then:
        return f"It did not happen within {span_text(when.then.within)} before it that {_events(when.types)}."
    if when.and_not:
        return f"It happened within {span_text(when.and_not.within)} that {_events(when.and_not.types)}."
    if when.aggregate:
        return f"The {_aggregate(when, found)}; needed is {needed(rule, found)}{_aside(found)}."
    return f"{found.number} of {when.at_least}{_within(when)}."


def needed(rule: Rule, found: Found | None = None) -> str:
    """What the rule's number must be: "at least 2 within 7 days". found: says in which currency an amount is."""
    bounds = bound(rule)
    if bounds is None:
        return "each time"
    word = bound_word(bounds.operator)
    value = bound_text(rule.when.aggregate, bounds.value, found) if rule.when.aggregate else str(bounds.value)
    return f"{word} {value}{_within(rule.when)}"


def bound_word(operator: str) -> str:
    """An operator before its number: `at least 5`, `more than 5`."""
    return _BOUNDS.get(operator, operator)


def bound_text(aggregate: Aggregate, number: Number, found: Found | None) -> str:
    """A number of an aggregate as people write it: money in the currency of the trigger."""
    currency = currency_of(found.trigger) if found and aggregate.of != "distinct" and is_money(aggregate.path) else None
    return amount(number, currency) if currency and isinstance(number, int) else number_text(number)


def window_record(rule: Rule, found: Found) -> JSON:
    """The part of the trace that says what was counted."""
    shown = [event.id for event in found.counted[-_SHOWN:]]
    record = {"number": found.number, "needed": needed(rule), "within": rule.when.within, "counted": shown}
    return {**record, "aside": [event.id for event in found.aside[-_SHOWN:]]} if found.aside else record


def condition_tree(rule: Rule, found: Found, known: Known | None = None) -> JSON:
    """The conditions explained on the event that they are about, with what is known beyond it."""
    event = asked_of(rule, found)
    if known is None:
        return tree(rule.only_if, event.data, event.id)
    return tree(rule.only_if, known.beside(event.data), event.id, known.values)


def asked_of(rule: Rule, found: Found) -> Event:
    """The event that the conditions are about: of a sequence the first of its two events."""
    return found.counted[-2] if rule.when.then else found.trigger


def nth(number: int) -> str:
    """The second, the third, the 4th: without its article."""
    return {1: "first", 2: "second", 3: "third"}.get(number) or ordinal(number)


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th, 11th, 21st.

    >>> [ordinal(number) for number in (1, 2, 3, 11, 21)]
    ['1st', '2nd', '3rd', '11th', '21st']
    """
    last = 0 if 10 <= number % 100 <= 20 else number % 10
    return f"{number}{('th', 'st', 'nd', 'rd')[last] if last < 4 else 'th'}"


_OF = {"distinct": "number of different values of", "min": "smallest value of", "max": "largest value of"}


def _counting(when: When, found: Found, happened: str) -> str:
    if when.aggregate:
        return _capital(_aggregate(when, found))
    nth = ordinal(int(found.number or 0))
    if when.counting != "events":
        return f"{happened}, the {nth} different {field_text(when.counting)}"
    return f"{happened} for the {nth} time" if len(when.types) == 1 else f"{happened}, the {nth} such event"


def _aggregate(when: When, found: Found) -> str:
    assert when.aggregate is not None
    number = "nothing" if found.number is None else bound_text(when.aggregate, found.number, found)
    of, field = _OF.get(when.aggregate.of, f"{when.aggregate.of} of"), field_text(when.aggregate.field)
    return f"{of} the {field} is {number}"


def _aside(found: Found) -> str:
    """What was left out for its currency: "; 2 in eur not counted"."""
    named = [currency_of(event) or "no currency" for event in found.aside]
    parts = [f"{named.count(one)} in {one}" for one in sorted(set(named))]
    return f"; {' and '.join(parts)} not counted" if parts else ""


def field_text(text: str) -> str:
    """What people call the field at this path: `amount remaining`."""
    path = paths.split(text)
    return label(path[2:] if path[:2] == ("data", "object") and path[2:] else path)


def _times(number: Number | None) -> str:
    return "once" if number == 1 else f"{number} times"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


@lru_cache(maxsize=1024)
def _events(types: tuple[str, ...]) -> str:
    return event_text(types)


def _spread(found: Found) -> str:
    seconds = found.trigger.created - min(event.created for event in found.counted)
    return roughly(seconds) if seconds else "the same second"


def _after(found: Found) -> str:
    seconds = found.trigger.created - found.counted[0].created
    return f"{roughly(seconds)} after" if seconds else "in the same second as"


def _within(when: When) -> str:
    return "" if when.within is None else _within_text(when.within)


@lru_cache(maxsize=1024)
def _within_text(seconds: int) -> str:
    return f" within {span_text(seconds)}"
