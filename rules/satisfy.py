"""Events made to order: one for which a condition is true, or the knowledge that there is none.

The values of a field fall into finitely many classes that a condition's tests cannot tell apart: each constant, what
lies between two of them, any other text, true, false, nothing. One value of each class is tried with the operators
themselves. "Impossible" is said only where the classes are all there is (not for patterns, list items, spans and other
fields, which count as passable); an event is answered only after the compiled condition held for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, pairwise
from math import inf
from typing import Any, Final

from rules import operators as ops
from rules.aliases import MISSING, Path
from rules.expr import compile_condition
from rules.fields import read
from rules.model import JSON, All, Any_, Condition, Not, Test

CREATED: Final = 1_800_000_000  # of the events that are made
MOST_CHAINS: Final = 64  # ways in which a condition can hold; beyond, nothing is said about it
OTHER: Final = "something else"  # stands for every text that no test names
Literal = tuple[Test, bool]  # a test, and whether it must hold
Chain = tuple[Literal, ...]
Range = tuple[float, float] | frozenset[str]  # numbers from and to, or these texts
Pair = tuple[Any, Any]  # the value at a path, and what stood there before an update
_LISTLIKE: Final = frozenset({*ops.ITEMS, "contains"})
_TEXTLIKE: Final = frozenset({*ops.TEXT, "contains", *ops.TIMES})


@dataclass(frozen=True, slots=True)
class Frame:
    """What is known of every event asked for: the constants of its type, by path."""

    fixed: Mapping[Path, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, event_type: str, object_class: str = "") -> Frame:
        known: dict[Path, Any] = {("type",): event_type}
        if object_class:
            known["data", "object", "object"] = object_class
        return cls(known)


@dataclass(frozen=True, slots=True)
class Answer:
    """event: an envelope for which the condition is true. impossible: there is none. Neither: it is not known."""

    event: JSON | None = None
    impossible: bool = False


def satisfy(condition: Condition, frame: Frame) -> Answer:
    """An event of this frame for which the condition is true."""
    found = chains(condition)
    if found is None:
        return Answer()
    impossible = True
    for literals in found:
        answer = _from_chain(literals, condition, frame)
        if answer.event is not None:
            return answer
        impossible = impossible and answer.impossible
    return Answer(None, impossible)


def together(left: Condition, right: Condition, frame: Frame) -> Answer:
    return satisfy(All((left, right)), frame)


# ---- told apart at a glance -----------------------------------------------------------------------------------------
def ranges(condition: Condition) -> dict[Path, Range]:
    """For each path that a top-level test bounds: the lowest and highest number, or the texts, that it allows."""
    found: dict[Path, Range] = {}
    for part in condition.parts if isinstance(condition, All) else (condition,):
        allowed = _range(part) if isinstance(part, Test) and part.other is None else None
        if allowed is not None and isinstance(part, Test):
            found.setdefault(part.path, allowed)
    return found


def _range(test: Test) -> Range | None:
    value = test.value
    if test.operator == "between":
        return (value[0], value[1])
    if test.operator == "equal to" and isinstance(value, str):
        return frozenset({value})
    if test.operator == "one of" and all(isinstance(one, str) for one in value):
        return frozenset(value)
    if not ops.number(value):
        return None
    return {"equal to": (value, value), "less than": (-inf, value), "less or equal to": (-inf, value),
            "greater than": (value, inf), "greater or equal to": (value, inf)}.get(test.operator)  # fmt: skip


def apart(left: Mapping[Path, Range], right: Mapping[Path, Range]) -> bool:
    """Whether these ranges alone show that no event passes both."""
    return any(_apart(left[path], right[path]) for path in left.keys() & right.keys())


def _apart(left: Range, right: Range) -> bool:
    if isinstance(left, tuple) and isinstance(right, tuple):
        return bool(left[1] < right[0] or right[1] < left[0])
    if isinstance(left, frozenset) and isinstance(right, frozenset):
        return not left & right
    return True  # numbers here, texts there


# ---- ways to hold ---------------------------------------------------------------------------------------------------
def chains(condition: Condition) -> list[Chain] | None:
    """The conjunctions of which one must hold; None when there are too many."""
    try:
        return _chains(condition, True)
    except OverflowError:
        return None


def _chains(condition: Condition, positive: bool) -> list[Chain]:
    match condition:
        case Not(part):
            return _chains(part, not positive)
        case All(parts) | Any_(parts):
            branches = [_chains(part, positive) for part in parts]
            return (
                _product(branches)
                if isinstance(condition, All) is positive
                else _checked([*chain.from_iterable(branches)])
            )
        case _:
            return [((condition, positive),)]


def _product(branches: list[list[Chain]]) -> list[Chain]:
    found: list[Chain] = [()]
    for branch in branches:
        found = _checked([left + right for left in found for right in branch])
    return found


def _checked(found: list[Chain]) -> list[Chain]:
    if len(found) > MOST_CHAINS:
        raise OverflowError
    return found


def _from_chain(literals_of: Chain, condition: Condition, frame: Frame) -> Answer:
    groups: dict[Path, list[Literal]] = {}
    for test, positive in literals_of:
        groups.setdefault(test.path, []).append((test, positive))
    for path, literals in groups.items():
        if _contradict(path, literals, frame):
            return Answer(impossible=True)
    event = _made(groups, frame)
    return Answer(event if event is not None and compile_condition(condition)(event) else None)


def _contradict(path: Path, literals: list[Literal], frame: Frame) -> bool:
    """Whether no value at all passes these tests on one path."""
    closed = [(test, positive) for test, positive in literals if _is_closed(test)]
    if path in frame.fixed:
        return not _passes(path, (frame.fixed[path], MISSING), closed)
    if any(_passes(path, pair, closed) for pair in _pairs(closed)):
        return False
    return not (_open(path, closed, _TEXTLIKE, [OTHER]) or _open(path, closed, _LISTLIKE, [[OTHER], []]))


def _is_closed(test: Test) -> bool:
    """Whether only the value decides, and whether its classes can be told."""
    return test.other is None and test.operator not in ops.SPANS and test.operator not in ops.ITEMS


def _open(path: Path, literals: list[Literal], like: frozenset[str], samples: list[Any]) -> bool:
    """Whether a test may tell values apart that stand for one class here, and no other test forbids the kind."""
    rest = [(test, positive) for test, positive in literals if test.operator not in like]
    return len(rest) < len(literals) and any(
        _passes(path, (sample, prior), rest) for sample in samples for prior in _priors(literals)
    )


# ---- values ---------------------------------------------------------------------------------------------------------
def _passes(path: Path, pair: Pair, literals: Iterable[Literal]) -> bool:
    return all(_holds(path, pair, test) is positive for test, positive in literals)


def _holds(path: Path, pair: Pair, test: Test) -> bool:
    value = None if pair[0] is MISSING else pair[0]
    if test.operator in ops.UNARY:
        return ops.UNARY[test.operator](value)
    if test.operator in ops.BINARY:
        return ops.BINARY[test.operator](value, test.value)
    if test.operator == "changed":
        return pair[1] is not MISSING
    if test.operator == "changed from":
        return pair[1] is not MISSING and ops.same(pair[1], test.value)
    if test.operator == "changed to":
        return pair[1] is not MISSING and ops.same(value, test.value)
    return compile_condition(test)(_envelope({path: pair}, Frame()))


def _pairs(literals: list[Literal], more: Iterable[Any] = ()) -> Iterator[Pair]:
    priors = _priors(literals)
    for value in _values(literals, more):
        for prior in priors:
            yield value, prior


def _priors(literals: list[Literal]) -> list[Any]:
    """What may have stood there before: nothing changed, or one value of each class."""
    changes = [test for test, _ in literals if test.operator in ops.CHANGES]
    if not changes:
        return [MISSING]
    return [MISSING, *(test.value for test in changes if test.operator == "changed from"), "something before", None]


def _values(literals: list[Literal], more: Iterable[Any] = ()) -> Iterator[Any]:
    """One value of each class, the likeliest first."""
    constants = [one for test, _ in literals for one in _constants(test)] + list(more)
    yield from (one for one in constants if isinstance(one, str))
    yield from _numbers([one for one in constants if ops.number(one)])
    yield from _texts(literals)
    yield from (OTHER, True, False, MISSING, None, [OTHER], [], {"key": OTHER}, {})
    yield from ([one] for one in constants)
    yield from (made for test, _ in literals if test.where is not None for made in _lists(test.where))


def _constants(test: Test) -> Iterator[Any]:
    value = test.value
    for one in value if isinstance(value, (tuple, list)) else (value,):
        yield one
        if test.operator in ops.TIMES and (moment := ops.clock(one)) is not None:
            yield moment
        if test.operator in ops.SPANS and ops.number(one):
            yield from (CREATED, CREATED - one, CREATED + one)


def _numbers(constants: list[Any]) -> Iterator[Any]:
    """Each constant, something between each two, and something beyond."""
    known = sorted(set(constants)) or [0]
    yield from constants
    yield known[-1] + max(1, abs(known[-1]))
    yield known[0] - max(1, abs(known[0]))
    for low, high in pairwise(known):
        yield from (one for one in _between(low, high) if low < one < high)


def _between(low: Any, high: Any) -> Iterator[Any]:
    try:
        yield int(low // 1) + 1
        yield low / 2 + high / 2
    except (OverflowError, ValueError):  # numbers beyond what a float holds
        return


def _texts(literals: list[Literal]) -> Iterator[str]:
    """Texts that patterns may like: beginning, middle and end put together."""
    part = {word: "" for word in ("starts with", "contains", "ends with", "matches")}
    for test, positive in literals:
        if positive and test.operator in part and isinstance(test.value, str):
            part[test.operator] += test.value.strip("^$") if test.operator == "matches" else test.value
            yield part[test.operator]
    yield part["starts with"] + part["contains"] + part["matches"] + part["ends with"]


def _lists(where: Condition) -> Iterator[Any]:
    """Lists of one item: one for which the condition is true, and one for which it is not."""
    for wanted in (where, Not(where)):
        made = satisfy(wanted, Frame()).event
        if made is not None:
            yield [{key: value for key, value in made.items() if key != "created"}]


# ---- events ---------------------------------------------------------------------------------------------------------
def _made(groups: Mapping[Path, list[Literal]], frame: Frame) -> JSON | None:
    """An envelope with a value at each path that passes its tests; fields compared with others come last."""
    chosen: dict[Path, Pair] = {path: (value, MISSING) for path, value in frame.fixed.items()}
    for path in sorted(groups, key=lambda one: any(test.other for test, _ in groups[one])):
        if path in frame.fixed:
            continue
        others = [test.other for test, _ in groups[path] if test.other]
        for other in others:
            chosen.setdefault(other.path, (1000, MISSING))
        so_far = _envelope(chosen, frame) if others else {}
        more = [ops.reckon(read(so_far, other.path), other.times, other.plus) for other in others]
        near = [one + step for one in more if ops.number(one) for step in (0, 1, -1)]
        literals = groups[path]
        pairs = _pairs(literals, [*near, *(one for one in more if isinstance(one, str))])
        fitting = next((pair for pair in pairs if _fits(path, pair, literals, chosen, frame)), None)
        if fitting is None:
            return None
        chosen[path] = fitting
    return _envelope(chosen, frame)


def _fits(path: Path, pair: Pair, literals: list[Literal], chosen: Mapping[Path, Pair], frame: Frame) -> bool:
    if all(_is_closed(test) for test, _ in literals):
        return _passes(path, pair, literals)
    event = _envelope({**chosen, path: pair}, frame)
    return all(compile_condition(test)(event) is positive for test, positive in literals)


def _envelope(chosen: Mapping[Path, Pair], frame: Frame) -> dict[str, Any]:
    event: dict[str, Any] = {"created": CREATED}
    for path in sorted(chosen, key=len):
        value, prior = chosen[path]
        if value is not MISSING:
            _put(event, path, value)
        if prior is not MISSING:
            _put(event, ("data", "previous_attributes", *path[2:]), prior)
    return event


def _put(event: dict[str, Any], path: Path, value: Any) -> None:
    into = event
    for key in path[:-1]:
        inner = into.get(key)
        into[key] = into = dict(inner) if isinstance(inner, dict) else {}  # never a list's or a constant's own
    into[path[-1]] = value
