"""A window drawn: the events of one key before a trigger, which of them counted, and why the others did not."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from app.browse.rows import Row
from rules.event import Event, instant, iso, seconds
from rules.expr import compile_condition
from rules.model import All, Condition, Rule, When
from rules.ports import Store
from rules.window import Ledger, has_value, span_of, takes_part
from rules.words import condition_text, span_text

LONGEST = 400 * 86400  # seconds; a window without an end is drawn as long as this
SHOWN = 60  # events in one picture, the newest
LEFT, RIGHT = 20.0, 980.0  # where the first and the last event are drawn on a scale of 0..1000

Why = Callable[[Event], str]


def picture(
    store: Store, tenant: str, rule: Rule, key: str, trigger: Event, decided: str, kept: Sequence[str] | None
) -> Row | None:
    """The window that ended at the trigger, and as long a time before it; None for a rule that counts nothing.
    kept: the ids that the decision recorded as counted, where it did."""
    span = _span(rule.when)
    if span is None:
        return None
    since = trigger.created - span
    found = store.window(tenant, key, sorted(takes_part(rule.when)), max(0, since - span), trigger.created)
    known = [event for event in found if event.recorded <= instant(decided)]
    ledger = Ledger(rule.when, known, compile_passes(rule.only_if))
    counted = set(kept if kept is not None else _counted(ledger, trigger))
    why = _reasons(rule, ledger, since, decided)
    dots = [_dot(event, event.id in counted, why) for event in [*found, trigger] if event is not trigger]
    if all(dot["event"] != trigger.id for dot in dots):
        dots.append(_dot(trigger, trigger.id in counted, why))
    return {
        "key": key,
        "seconds": span,
        "needed": rule.when.at_least,
        "counted": len(counted),
        **_placed(dots[-SHOWN:], since, trigger.created),
    }


def compile_passes(condition: Condition) -> Callable[[Event], bool]:
    holds = compile_condition(condition)
    return lambda event: holds(event.data)


def _span(when: When) -> int | None:
    """Seconds that the picture's window covers, ending at the trigger."""
    if when.then:
        return when.then.within
    if when.and_not:  # what must not come comes after the trigger, so there is no window before it
        return None
    span = span_of(when)
    return None if span is None else min(span, LONGEST)


def _counted(ledger: Ledger, trigger: Event) -> list[str]:
    if not any(event.id == trigger.id for event in ledger.triggers(trigger.created, trigger.created)):
        return [event.id for event in ledger.counted]
    return [event.id for event in ledger.at(trigger).counted]


def _reasons(rule: Rule, ledger: Ledger, since: int, decided: str) -> Why:
    """Why an event was not counted, in a few words."""
    when, reset = rule.when, ledger.last_reset(1 << 40)

    def why(event: Event) -> str:
        if event.type in when.start_again_after:
            return "counting starts again after it"
        if event.recorded > instant(decided):
            return "it was heard of only after this decision"
        if event.causation and when.ignore_own:
            return f"it was caused by our own action {event.causation}"
        if event.created < since:
            return f"too old by {span_text(since - event.created)}"
        if not has_value(when, event):
            return "it does not have the field that is counted"
        if failing := failing_part(rule.only_if, event):
            return f"not true: {failing}"
        return "counting started again after it" if event.created <= reset else "it does not make the match"

    return why


def failing_part(condition: Condition, event: Event) -> str | None:
    """The first top-level part of a condition that the event does not meet, in words."""
    parts = condition.parts if isinstance(condition, All) else (condition,)
    return next((condition_text(part) for part in parts if not compile_condition(part)(event.data)), None)


def _dot(event: Event, counted: bool, why: Why) -> Row:
    return {
        "event": event.id,
        "type": event.type,
        "created": event.created,
        "at": iso(seconds(event.created)),
        "counted": counted,
        "why": "" if counted else why(event),
    }


def _placed(dots: list[Row], since: int, until: int) -> Row:
    """The dots and the window's bar, placed on a scale from the earliest of them to the trigger."""
    first = min([since, *(dot["created"] for dot in dots)])
    length = max(until - first, 1)

    def x(created: int) -> float:
        return float(round(LEFT + (created - first) / length * (RIGHT - LEFT), 1))

    left = x(since)
    return {
        "left": left,
        "width": round(RIGHT - left, 1),
        "dots": [{**dot, "x": x(dot["created"])} for dot in dots],
    }
