"""Windows: which recorded events of one key count for a trigger, and which matches an event makes or takes back.

Everything is by Stripe's `created` in whole seconds, both ends inclusive, on distinct event ids. A match is a function
of the set of events alone, so a late event is looked at from both sides: it may complete windows of later events.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from dataclasses import dataclass
from math import fsum
from typing import Any

from rules import paths
from rules.event import Event
from rules.fields import MISSING, read
from rules.model import When
from rules.money import currency_of, is_money

Number = int | float
Passes = Callable[[Event], bool]
Reached = Callable[[Number], bool]
EVER = 1 << 40  # seconds; later than any event


@dataclass(frozen=True, slots=True)
class Found:
    """What stands at a trigger. number: the count or aggregate, None when there is none. counted: the events that
    made it, the trigger last. aside: events of the window in another currency, which are not added up with it."""

    trigger: Event
    number: Number | None
    counted: tuple[Event, ...]
    aside: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True)
class Changes:
    """What one event does to the matches of one rule and key. here: what stands at the event itself, None when it is
    no trigger. made: matches that are there since this event. gone: triggers that no longer match because of it."""

    here: Found | None
    made: tuple[Found, ...]
    gone: tuple[Event, ...]


def takes_part(when: When) -> frozenset[str]:
    """Every event type that can change the matches of this `when`."""
    return answers_alone(when).union(when.types)


def answers_alone(when: When) -> frozenset[str]:
    """The event types that do so whatever the rule's conditions say of the event: B of a pair, and resets."""
    found = set(when.start_again_after)
    for span in (when.then, when.and_not):
        found.update(span.types if span else ())
    return frozenset(found)


def span_of(when: When) -> int | None:
    """Seconds over which events of this `when` reach each other, either way: what must be read around an event. None
    for "each time", EVER for "first"."""
    if when.first:
        return EVER
    if when.then or when.and_not:
        return max(span.within for span in (when.then, when.and_not) if span)
    if when.at_least is None and when.aggregate is None:
        return None
    return EVER if when.within is None else when.within


class Ledger:
    """The events of one rule and key that count, in order, ready to be asked about any trigger.

    passes: whether an event of `when.types` passes the rule's `only_if`.
    """

    def __init__(self, when: When, events: Iterable[Event], passes: Passes) -> None:
        self.when = when
        unique = sorted({event.id: event for event in events}.values(), key=_order)
        self.everything = unique
        mine = [event for event in unique if not (when.ignore_own and event.causation)]
        self.seen = [event for event in mine if event.type in when.types]
        self.counted = [event for event in self.seen if passes(event) and has_value(when, event)]
        self.resets = [event.created for event in unique if event.type in when.start_again_after]
        self.second = [event for event in mine if when.then and event.type in when.then.types]
        self.against = [event for event in unique if when.and_not and event.type in when.and_not.types]
        self._times = [event.created for event in self.counted]
        self._triggers = self.second if when.then else self.counted
        self._trigger_times = [event.created for event in self._triggers]

    def under(self, when: When) -> Ledger:
        """The same events under a `when` that differs in its spans and bounds alone."""
        other = copy(self)
        other.when = when
        return other

    def triggers(self, since: int, until: int) -> list[Event]:
        times = self._trigger_times
        return self._triggers[bisect_left(times, since) : bisect_right(times, until)]

    def is_trigger(self, event: Event) -> bool:
        return any(one.id == event.id for one in self.triggers(event.created, event.created))

    def at(self, trigger: Event) -> Found:
        """What stands at this trigger, which must be one of `triggers`."""
        if not self._windowed:
            return Found(trigger, self.number(trigger), (trigger,))
        window = self._in(self._window(trigger))
        alike = self.alike(window, trigger)
        counted = (*(event for event in alike if event.id != trigger.id), trigger)
        known = {event.id for event in counted}
        return Found(trigger, self.number(trigger), counted, tuple(e for e in window if e.id not in known))

    def number(self, trigger: Event) -> Number | None:
        """The number that stands at this trigger: a count, an aggregate (None of nothing), or how many spoil it."""
        when = self.when
        if when.first:
            return bisect_left(self.seen, _order(trigger), key=_order)
        if when.and_not:
            return len(self._spoilers(trigger))
        if not self._windowed:
            return 1
        window = self._window(trigger)
        if when.then:
            found = self._in(window)
            return sum(1 for event in found if event.id != trigger.id)
        if when.aggregate:
            alike = self.alike(self._in(window), trigger)
            values = [value_of(event, when.aggregate.path) for event in alike]
            return aggregated(when.aggregate.of, values)
        if when.counting != "events":
            path = paths.split(when.counting)
            return len({_distinct(value_of(event, path)) for event in self._in(window)})
        return len(window)

    def last_reset(self, until: int) -> int:
        """When counting last started again, seen from this second; -1 if never."""
        index = bisect_right(self.resets, until)
        return self.resets[index - 1] if index else -1

    @property
    def _windowed(self) -> bool:
        when = self.when
        return bool(when.then or when.aggregate or when.at_least is not None)

    def _window(self, trigger: Event) -> range:
        """Counted events in the window that ends at the trigger, after the last reset (which wins its second)."""
        span = self.when.then.within if self.when.then else self.when.within
        since = 0 if span is None else trigger.created - span
        since = max(since, self.last_reset(trigger.created) + 1)
        return range(bisect_left(self._times, since), bisect_right(self._times, trigger.created))

    def _in(self, window: range) -> list[Event]:
        return self.counted[window.start : window.stop]

    def alike(self, window: list[Event], trigger: Event) -> list[Event]:
        """Those that may be aggregated together: of money only what is in the trigger's currency."""
        if self.when.aggregate is None or not is_money(self.when.aggregate.path):
            return window
        currency = currency_of(trigger)
        return [event for event in window if currency_of(event) == currency]

    def _spoilers(self, trigger: Event) -> list[Event]:
        assert self.when.and_not is not None
        until = trigger.created + self.when.and_not.within
        return [e for e in self.against if trigger.created <= e.created <= until and e.id != trigger.id]


def changes(when: When, event: Event, events: Iterable[Event], passes: Passes, reached: Reached) -> Changes:
    """What the event does to the matches of this `when` for one key. events: the recorded ones of the key within
    `span_of`, with or without the event itself. reached: whether a number reaches the rule's bound."""
    others = [other for other in events if other.id != event.id]
    after = Ledger(when, [*others, event], passes)
    span = span_of(when) or 0
    near = after.triggers(event.created - (span if when.and_not else 0), event.created + span)
    here = after.at(event) if after.is_trigger(event) else None
    made, gone = [], []
    before = Ledger(when, others, passes) if len(near) > (here is not None) else None
    for trigger in near:
        now = here if here is not None and trigger.id == event.id else after.at(trigger)
        was = before is not None and trigger.id != event.id and _holds(when, before.number(trigger), reached)
        holds = _holds(when, now.number, reached)
        if holds and not was:
            made.append(now)
        if was and not holds:
            gone.append(trigger)
    return Changes(here, tuple(made), tuple(gone))


def _holds(when: When, number: Number | None, reached: Reached) -> bool:
    if when.and_not:
        return number == 0
    if span_of(when) is None:
        return True
    return number is not None and reached(number)


# ---- values ---------------------------------------------------------------------------------------------------------
def value_of(event: Event, path: tuple[str, ...]) -> Any:
    """The event's value at a path; None for missing."""
    value = read(event.data, path)
    return None if value is MISSING else value


def has_value(when: When, event: Event) -> bool:
    """Whether the event has what is counted or aggregated; one that has not does not take part."""
    if when.aggregate:
        value = value_of(event, when.aggregate.path)
        return _scalar(value) if when.aggregate.of == "distinct" else _is_number(value)
    return when.counting == "events" or _scalar(value_of(event, paths.split(when.counting)))


def aggregated(of: str, values: Sequence[Any]) -> Number | None:
    """sum | average | min | max | distinct of the values; None when there are none. A sum is rounded once, so that
    neither the order of the events nor the version of Python changes it.

    >>> aggregated("sum", [0.1] * 10), aggregated("average", [1, 2]), aggregated("distinct", [1, 1.0, "1", True])
    (1.0, 1.5, 3)
    """
    if not values:
        return None
    if of == "distinct":
        return len({_distinct(value) for value in values})
    if of in ("min", "max"):
        least: Number = min(values) if of == "min" else max(values)
        return least
    try:
        total = sum(values) if all(type(value) is int for value in values) else fsum(values)
        return float(total / len(values)) if of == "average" else total
    except (OverflowError, ValueError):
        return None  # beyond what a number can hold


def _order(event: Event) -> tuple[int, str]:
    return event.created, event.id


def _scalar(value: Any) -> bool:
    return isinstance(value, (str, int, float))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _distinct(value: Any) -> tuple[str, Any]:
    """A value as a set may hold it: 1, true and "1" differ, 1 and 1.0 do not."""
    return ("number" if _is_number(value) else type(value).__name__), value
