"""Which events of a window were counted at a trigger, and why each of the others was not."""

from __future__ import annotations

from typing import Any

from rules import trace
from rules.case import Case
from rules.event import Event, iso, seconds
from rules.failing import failed_condition
from rules.money import currency_of, is_money
from rules.paths import split
from rules.window import Found, Ledger, has_value, value_of
from rules.words import event_text, moment, roughly

_SHOWN = 100  # events of a window that an explanation names


def window(case: Case, ledger: Ledger, trigger: Event) -> dict[str, Any]:
    """Every event of the key up to the trigger (for an absence also those after it), newest last: counted, or why not.
    A second delivery of one event is one event: the log has it once."""
    rule = case.rule
    found = ledger.at(trigger)
    repeats = _repeats(case, found)
    counted = {one.id for one in found.counted} - repeats.keys()
    listed = [one for one in ledger.everything if one.created <= trigger.created or rule.when.and_not]
    events = [
        {
            "event": one.id,
            "type": one.type,
            "created": iso(seconds(one.created)),
            "counted": one.id in counted,
            "why": None if one.id in counted else repeats.get(one.id) or why_not(case, ledger, trigger, one),
        }
        for one in listed[-_SHOWN:]
    ]
    return {
        "number": found.number,
        "needed": trace.needed(rule, found),
        "within": rule.when.within,
        "events": events,
        "more": max(0, len(listed) - _SHOWN),
    }


def _repeats(case: Case, found: Found) -> dict[str, str]:
    """Of a rule that counts different values: the events whose value a later one of the window says as well."""
    when = case.rule.when
    if when.counting == "events" or when.at_least is None:
        return {}
    last: dict[str, str] = {}
    repeated = {}
    for one in reversed(found.counted):
        value = repr(value_of(one, split(when.counting)))
        if value in last:
            repeated[one.id] = f"the same {trace.field_text(when.counting)} as {last[value]}, and each counts once"
        last.setdefault(value, one.id)
    return repeated


def why_not(case: Case, ledger: Ledger, trigger: Event, one: Event) -> str:
    """Why an event of the key was not counted at the trigger: the first reason there is."""
    when = case.rule.when
    if one.type not in when.types:
        return _other_kind(case, trigger, one)
    if when.ignore_own and one.causation:
        return f"it was caused by our own action {one.causation}"
    if not has_value(when, one):
        return f"it has no {trace.field_text(when.aggregate.field if when.aggregate else when.counting)}"
    if not case.passes(one):
        return failed_condition(case.rule.only_if, one) or "a condition is not true"
    return _by_time(case, ledger, trigger, one) or _by_value(case, ledger, trigger, one)


def _other_kind(case: Case, trigger: Event, one: Event) -> str:
    when = case.rule.when
    if one.type in when.start_again_after:
        return "counting starts again after it"
    if when.and_not and one.type in when.and_not.types:
        distance = one.created - trigger.created
        if distance < 0:
            return "it came before, and only what comes afterwards matters"
        if distance > when.and_not.within:
            return f"it came too late to matter, by {roughly(distance - when.and_not.within)}"
        return f"this is what must not come; it came {roughly(distance)} afterwards"
    return f"the rule waits for it and does not count it: {event_text((one.type,))}"


def _by_time(case: Case, ledger: Ledger, trigger: Event, one: Event) -> str | None:
    when = case.rule.when
    if one.created > trigger.created:
        return "it came after"
    if when.and_not or (when.first and one.id != trigger.id):
        return "each is judged by itself" if when.and_not else "it came before, so this was not the first"
    reset = ledger.last_reset(trigger.created)
    if one.created <= reset:
        return f"it came before counting started again {moment(seconds(reset))}"
    span = when.then.within if when.then else when.within
    if span is not None and trigger.created - one.created > span:
        return f"too old by {roughly(trigger.created - one.created - span)}"
    return None


def _by_value(case: Case, ledger: Ledger, trigger: Event, one: Event) -> str:
    aggregate = case.rule.when.aggregate
    if aggregate and is_money(aggregate.path) and currency_of(one) != currency_of(trigger):
        mine, others = currency_of(trigger), currency_of(one)
        theirs, here = (code.upper() if code else "no currency" for code in (others, mine))
        return f"it is in {theirs}, and only {here} is added up here"
    return "it does not count for this rule"
