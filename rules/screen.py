"""The screen: which events of an ordered history change nothing, so that a backtest need not decide about them.

It keeps, by rule and subject, just what says whether an event could make a match or take one back, and calls an event
loud when it might. Loud is always right, quiet has to be proven: among events of one second, and wherever something is
not ordinary, everything is loud. It counts on being fed by (created, id).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rules import paths
from rules.columns import Slim
from rules.fields import MISSING, read
from rules.matcher import bound
from rules.model import RuleVersion, When
from rules.money import is_money
from rules.ruleset import RuleSet
from rules.subjects import PREFIX
from rules.window import EVER, aggregated, span_of

Value = Any
_SWEEP = 20_000  # events after which subjects that nothing looks back at any more are forgotten


class Screen:
    """quiet(slim) is asked of every event once, in order."""

    def __init__(self, ruleset: RuleSet) -> None:
        self._candidates = ruleset.program.candidates
        watches = {version.rule.id: _watch(version) for version in ruleset.versions}
        self._watches = tuple(watches.values())
        self._by_type = {
            type: tuple(watches[version.rule.id] for version in versions) for type, versions in ruleset.by_type.items()
        }
        self._seen = 0

    def quiet(self, slim: Slim) -> bool:
        watching = self._by_type.get(slim.type)
        if not watching:
            return True
        self._seen += 1
        if not self._seen % _SWEEP:
            for watch in self._watches:
                watch.forget(slim.created)
        candidates = self._candidates(slim.type, slim.data)
        loud = False
        for watch in watching:  # every one of them has to see it
            loud = watch.loud(slim, watch.rule_id in candidates) or loud
        return not loud


@dataclass(slots=True)
class _State:
    """Of one rule and subject. last: the second of the last event that mattered. counted: (created, value, currency)
    of those that count. reset: the second up to which nothing counts any more."""

    last: int = -1
    reset: int = -1
    counted: deque[tuple[int, Value, Value]] = field(default_factory=deque)


class _Watch:
    """One rule: each time, or with `also` a form that counts."""

    def __init__(self, version: RuleVersion) -> None:
        self.rule_id = version.rule.id
        self.when = version.rule.when
        self.types = frozenset(self.when.types)
        self.resets = frozenset(self.when.start_again_after)
        self.key = _key_of(self.when.same)
        self.states: dict[str, _State] = {}
        self.span = span_of(self.when)

    def loud(self, slim: Slim, holds: bool) -> bool:
        key = self.key(slim)
        if key is None:
            return False
        own = self.when.ignore_own and slim.causation is not None
        if not self.matters(slim, holds, own):
            return False
        state = self.states.get(key)
        if state is None:
            state = self.states[key] = _State()
        tied, state.last = state.last == slim.created, slim.created
        return self.changes(state, slim, holds, own) or tied

    def matters(self, slim: Slim, holds: bool, own: bool) -> bool:
        return slim.type in self.resets or (not own and holds and slim.type in self.types)

    def changes(self, state: _State, slim: Slim, holds: bool, own: bool) -> bool:
        return True

    def forget(self, now: int) -> None:
        """Drop subjects of which nothing counts any more."""
        if self.span == EVER:
            return
        oldest = now - (self.span or 0)
        self.states = {key: state for key, state in self.states.items() if state.last >= oldest}


class _Counting(_Watch):
    """At least so many, or an aggregate of them, within a window."""

    def __init__(self, version: RuleVersion) -> None:
        super().__init__(version)
        needed = bound(version.rule)
        assert needed is not None
        self.reached = needed.reached
        self.value = _value_of(self.when)
        self.number = _number_of(self.when)
        self.within = self.when.within if self.when.within is not None else EVER

    def changes(self, state: _State, slim: Slim, holds: bool, own: bool) -> bool:
        if slim.type in self.resets:
            state.reset = slim.created
            state.counted.clear()
            return slim.type in self.types
        value, currency = self.value(slim)
        if value is MISSING:
            return False
        counted, since = state.counted, max(slim.created - self.within, state.reset + 1)
        counted.append((slim.created, value, currency))
        while counted and counted[0][0] < since:
            counted.popleft()
        number = self.number(counted, currency)
        return number is not None and self.reached(number)


class _Sequence(_Watch):
    """A, and afterwards B within a span."""

    def __init__(self, version: RuleVersion) -> None:
        super().__init__(version)
        assert self.when.then is not None
        self.second = frozenset(self.when.then.types)
        self.within = self.when.then.within

    def matters(self, slim: Slim, holds: bool, own: bool) -> bool:
        return super().matters(slim, holds, own) or (not own and slim.type in self.second)

    def changes(self, state: _State, slim: Slim, holds: bool, own: bool) -> bool:
        if slim.type in self.resets:
            state.reset = slim.created
            state.counted.clear()
            return slim.type in self.types or slim.type in self.second
        counted, since = state.counted, max(slim.created - self.within, state.reset + 1)
        while counted and counted[0][0] < since:
            counted.popleft()
        follows = slim.type in self.second and bool(counted)
        if slim.type in self.types and holds:
            counted.append((slim.created, 1, None))
        return follows


class _Absence(_Watch):
    """A, and no B for a span: A begins a wait, B after it ends one."""

    def __init__(self, version: RuleVersion) -> None:
        super().__init__(version)
        assert self.when.and_not is not None
        self.against = frozenset(self.when.and_not.types)
        self.within = self.when.and_not.within

    def matters(self, slim: Slim, holds: bool, own: bool) -> bool:
        return super().matters(slim, holds, own) or slim.type in self.against

    def changes(self, state: _State, slim: Slim, holds: bool, own: bool) -> bool:
        counted = state.counted
        while counted and counted[0][0] < slim.created - self.within:
            counted.popleft()
        spoils = slim.type in self.against and bool(counted)
        begins = slim.type in self.types and holds and not own
        if begins:
            counted.append((slim.created, 1, None))
        return begins or spoils


class _First(_Watch):
    """The first of these types that the subject ever had; what fails the conditions was one, too."""

    def matters(self, slim: Slim, holds: bool, own: bool) -> bool:
        return slim.type in self.resets or (not own and slim.type in self.types)

    def changes(self, state: _State, slim: Slim, holds: bool, own: bool) -> bool:
        if slim.type not in self.types:
            return False
        before = bool(state.counted)
        if not before and not own:
            state.counted.append((slim.created, 1, None))
        return holds and not before


def _watch(version: RuleVersion) -> _Watch:
    when = version.rule.when
    if when.first:
        return _First(version)
    if when.then:
        return _Sequence(version)
    if when.and_not:
        return _Absence(version)
    if when.aggregate or when.at_least is not None:
        return _Counting(version)
    return _Watch(version)


# ---- keys and values ------------------------------------------------------------------------------------------------
def _key_of(same: str | None) -> Callable[[Slim], str | None]:
    """What `rules.ruleset.subject_of` says of a whole event."""
    if not same:
        return lambda slim: slim.partition
    if same not in PREFIX:
        path = paths.split(same)
        return lambda slim: _declared(slim, same, path)
    start = f"{PREFIX[same]}:"

    def first(slim: Slim) -> str | None:
        for key in slim.keys:
            if key.startswith(start):
                return key
        return None

    return first


def _declared(slim: Slim, same: str, path: tuple[str, ...]) -> str | None:
    value = read(slim.data, path)
    return None if value is MISSING or value is None or isinstance(value, (dict, list)) else f"path:{same}={value}"


def _value_of(when: When) -> Callable[[Slim], tuple[Value, Value]]:
    """What of an event counts, and in which currency; MISSING where it does not take part."""
    if when.aggregate is None and when.counting == "events":
        return lambda slim: (1, None)
    path = when.aggregate.path if when.aggregate else paths.split(when.counting)
    numbers = when.aggregate is not None and when.aggregate.of != "distinct"
    money = when.aggregate is not None and is_money(path)

    def value(slim: Slim) -> tuple[Value, Value]:
        found = read(slim.data, path)
        kinds = (int, float) if numbers else (str, int, float)
        if not isinstance(found, kinds) or (numbers and isinstance(found, bool)):
            return MISSING, None
        return found, _currency(slim.data) if money else None

    return value


def _number_of(when: When) -> Callable[[deque[tuple[int, Value, Value]], Value], Any]:
    if when.aggregate is not None:
        of = when.aggregate.of
        return lambda counted, currency: aggregated(of, [value for _, value, own in counted if own == currency])
    if when.counting == "events":
        return lambda counted, currency: len(counted)
    return lambda counted, currency: aggregated("distinct", [value for _, value, _ in counted])


def _currency(envelope: Mapping[str, Any]) -> Hashable:
    thing = envelope.get("data", {}).get("object")
    currency = thing.get("currency") if isinstance(thing, dict) else None
    return currency if isinstance(currency, str) and len(currency) == 3 else None
