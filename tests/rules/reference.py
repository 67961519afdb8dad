"""The naive reference for windows: slow, and written from RULE.md alone. It looks at every pair of events."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rules.event import Event
from rules.model import When

Passes = Callable[[Event], bool]


def matches(
    when: When, events: Sequence[Event], prefix: str, passes: Passes, path: str = "amount"
) -> set[tuple[str, str]]:
    """(key, trigger id) of every match in this set of events. path: the object's field that is counted or summed."""
    unique = list({event.id: event for event in events}.values())
    found = set()
    for trigger in unique:
        key = next((key for key in trigger.keys if key.startswith(prefix + ":")), None)
        same = [event for event in unique if key in event.keys]
        if key and _matches(when, trigger, same, passes, path):
            found.add((key, trigger.id))
    return found


def _matches(when: When, trigger: Event, same: list[Event], passes: Passes, path: str) -> bool:
    def ours(event: Event) -> bool:
        return when.ignore_own and event.causation is not None

    def counts(event: Event) -> bool:
        return event.type in when.types and not ours(event) and passes(event) and _has(when, event, path)

    if when.then:
        if trigger.type not in when.then.types or ours(trigger):
            return False
        span = when.then.within
        before = [e for e in same if counts(e) and e.id != trigger.id and 0 <= trigger.created - e.created <= span]
        return any(_since_reset(when, e, trigger, same) for e in before)
    if not counts(trigger):
        return False
    if when.and_not:
        span = when.and_not.within
        return not any(
            e.type in when.and_not.types and e.id != trigger.id and 0 <= e.created - trigger.created <= span
            for e in same
        )
    if when.first:
        earlier = [e for e in same if e.type in when.types and not ours(e)]
        return not any((e.created, e.id) < (trigger.created, trigger.id) for e in earlier)
    if when.at_least is None and when.aggregate is None:
        return True
    assert when.within is not None
    window = [e for e in same if counts(e) and 0 <= trigger.created - e.created <= when.within]
    window = [e for e in window if _since_reset(when, e, trigger, same)]
    if trigger not in window:
        window = []
    if when.aggregate and path == "amount":  # the currencies of money are never mixed
        window = [e for e in window if _value(e, "currency") == _value(trigger, "currency")]
    return _enough(when, window, path)


def _since_reset(when: When, event: Event, trigger: Event, same: list[Event]) -> bool:
    """Whether no reset came at or after the event, up to the trigger. A reset wins its second."""
    return not any(e.type in when.start_again_after and event.created <= e.created <= trigger.created for e in same)


def _enough(when: When, window: list[Event], path: str) -> bool:
    values = [_value(event, path) for event in window]
    if when.aggregate is None:
        number: float = len(window) if when.counting == "events" else len(set(values))
        return number >= (when.at_least or 0)
    if not values:
        return False
    by_name = {
        "sum": sum,
        "average": lambda v: sum(v) / len(v),
        "min": min,
        "max": max,
        "distinct": lambda v: len(set(v)),
    }
    number = by_name[when.aggregate.of](values)
    needed = when.aggregate.value
    return {"greater or equal to": number >= needed, "less than": number < needed}[when.aggregate.operator]


def _has(when: When, event: Event, path: str) -> bool:
    return _value(event, path) is not None or (when.aggregate is None and when.counting == "events")


def _value(event: Event, path: str) -> float | str:
    return event.data["data"]["object"].get(path)  # type: ignore[no-any-return]
