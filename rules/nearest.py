"""How near a rule came to firing, and the smallest edit of it that would have made it fire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rules.event import Event
from rules.expr import compile_condition
from rules.fields import MISSING, read
from rules.matcher import bound
from rules.model import All, Condition, Rule, Test, duration
from rules.window import Ledger
from rules.words import span_text

JSON = Mapping[str, Any]


def nearest(rule: Rule, ledger: Ledger, trigger: Event) -> JSON | None:
    """{"sentence", "edit": {"path", "value", "sentence"} | None}; None when nothing was near. Edits are tried: the one
    that is named makes the part that failed true."""
    condition = _condition(rule, trigger)
    if condition is not None:
        return condition
    when = rule.when
    if when.then:
        return _sequence(rule, ledger, trigger)
    if when.aggregate:
        return _aggregate(rule, ledger, trigger)
    return _count(rule, ledger, trigger) if when.at_least is not None and when.within is not None else None


# ---- conditions -----------------------------------------------------------------------------------------------------
def _condition(rule: Rule, trigger: Event) -> JSON | None:
    if trigger.type not in rule.when.types:
        return None
    parts = rule.only_if.parts if isinstance(rule.only_if, All) else (rule.only_if,)
    failed = [index for index, part in enumerate(parts) if not compile_condition(part)(trigger.data)]
    if not failed:
        return None
    sentence = f"{len(parts) - len(failed)} of {len(parts)} conditions are true."
    if len(failed) > 1:
        return {"sentence": sentence, "edit": None}
    several = isinstance(rule.only_if, All)
    return {"sentence": sentence, "edit": _other_value(parts[failed[0]], failed[0], several, trigger)}


def _other_value(part: Condition, index: int, several: bool, trigger: Event) -> JSON | None:
    """The constant with which this comparison would have been true."""
    path = f"only_if.all[{index}]" if several else "only_if"
    without = {"path": path, "value": None, "sentence": f"Without condition {index + 1} it would have gone on."}
    if not isinstance(part, Test) or part.other is not None:
        return without
    actual = read(trigger.data, part.path)
    if actual is MISSING or isinstance(actual, bool) or not isinstance(actual, (int, float)):
        return without
    value = {"greater than": actual - 1, "less than": actual + 1}.get(part.operator, actual)
    changed = Test(part.field, part.path, part.operator, value)
    if part.operator not in _COMPARED or not compile_condition(changed)(trigger.data):
        return without
    sentence = f"With {part.operator} {value} it would have been true."
    return {"path": f"{path}.value", "value": value, "sentence": sentence}


_COMPARED = frozenset({"greater than", "greater or equal to", "less than", "less or equal to", "equal to"})


# ---- windows --------------------------------------------------------------------------------------------------------
def _count(rule: Rule, ledger: Ledger, trigger: Event) -> JSON | None:
    """The narrowest stretch that holds enough events; with too few at all, how many there were."""
    when = rule.when
    assert when.at_least is not None
    assert when.within is not None
    have = ledger.number(trigger) if ledger.is_trigger(trigger) else 0
    stretches = _stretches(ledger, when.at_least) if when.counting == "events" else []
    if not stretches:
        return _too_few(rule, ledger, have)
    spread, late = min(stretches)
    beyond = span_text(late)
    sentence = f"{have} of {when.at_least}; {_nth(when.at_least)} came {beyond} later."
    value = duration_text(spread)
    edit = {
        "path": "when.within",
        "value": value,
        "sentence": f"Within {span_text(_seconds_of(value))} it would have fired.",
    }
    return {"sentence": sentence, "edit": edit}


def _stretches(ledger: Ledger, needed: int) -> list[tuple[int, int]]:
    """For each run of `needed` counted events without a reset between: (its length, the gap before its last)."""
    found = []
    events = ledger.counted
    for first in range(len(events) - needed + 1):
        last = first + needed - 1
        if ledger.last_reset(events[last].created) >= events[first].created:
            continue
        gap = events[last].created - events[last - 1].created if last else 0
        found.append((events[last].created - events[first].created, gap))
    return found


def _too_few(rule: Rule, ledger: Ledger, have: Any) -> JSON | None:
    most = max((ledger.number(one) or 0 for one in ledger.counted), default=0)
    sentence = f"{have} of {rule.when.at_least}; there were never more than {most} at once."
    if not most:
        return {"sentence": sentence, "edit": None}
    edit = {"path": "when.at_least", "value": most, "sentence": f"With at least {most} it would have fired."}
    return {"sentence": sentence, "edit": edit}


def _sequence(rule: Rule, ledger: Ledger, trigger: Event) -> JSON | None:
    assert rule.when.then is not None
    before = [one for one in ledger.counted if one.created <= trigger.created and one.id != trigger.id]
    before = [one for one in before if one.created > ledger.last_reset(trigger.created)]
    if not before:
        return None
    distance = trigger.created - before[-1].created
    value = duration_text(distance)
    edit = {
        "path": "when.then.within",
        "value": value,
        "sentence": f"Within {span_text(_seconds_of(value))} it would have fired.",
    }
    return {"sentence": f"{before[-1].type} came {span_text(distance)} before it.", "edit": edit}


def _aggregate(rule: Rule, ledger: Ledger, trigger: Event) -> JSON | None:
    needed = bound(rule)
    number = ledger.number(trigger) if ledger.is_trigger(trigger) else None
    if needed is None or number is None:
        return None
    sentence = f"It was {number}; needed was {needed.operator} {needed.value}."
    if needed.operator not in ("greater or equal to", "less or equal to"):
        return {"sentence": sentence, "edit": None}
    edit = {
        "path": "when.aggregate.value",
        "value": number,
        "sentence": f"With {needed.operator} {number} it would have fired.",
    }
    return {"sentence": sentence, "edit": edit}


def _nth(number: int) -> str:
    names: Sequence[str] = ("", "the first", "the second", "the third")
    return names[number] if number < len(names) else f"number {number}"


# ---- spans ----------------------------------------------------------------------------------------------------------
def duration_text(length: int) -> str:
    """The next round ISO 8601 duration that is no shorter: `P10D`, `PT5H`, `PT3M`."""
    for size, form in ((86400, "P{}D"), (3600, "PT{}H"), (60, "PT{}M")):
        if length > 2 * size or (length and length % size == 0):
            return form.format(-(-length // size))
    return f"PT{max(1, length)}S"


def _seconds_of(text: str) -> int:
    return int(duration(text).total_seconds())
