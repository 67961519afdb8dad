"""Guards: what must be true of an event before a condition can hold, cheap to ask, so that whole groups are skipped.

A condition that needs `currency equal to "usd"` or `total between 5 and 9` cannot hold for other currencies or totals.
`grow` arranges conditions by such needs in a tree, like an R-tree over texts and numbers (Guttman, "R-Trees: A Dynamic
Index Structure for Spatial Searching", 1984): rules.expr makes nested `if` of it, rules.rete its handles. A guard only
ever says "impossible" or "perhaps", so it changes no answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from rules import operators as ops
from rules.aliases import Path
from rules.model import All, Any_, Condition, Test

T = TypeVar("T")
_INFINITE = float("inf")
_MOST_VALUES = 4  # an item stands in the branch of each of its texts
_WORTH = 0.7  # a split must leave less than this share of the items to look at


@dataclass(frozen=True, slots=True)
class Texts:
    """The value is one of these texts."""

    values: frozenset[str]


@dataclass(frozen=True, slots=True)
class Range:
    """The value is a number from low to high, both ends inclusive."""

    low: float | int
    high: float | int


Need = Texts | Range
Box = Mapping[Path, Need]


@dataclass(frozen=True, slots=True)
class Group(Generic[T]):
    """Items to look at when the guard may hold, and groups below it. guard: None = always."""

    guard: tuple[Path, Need] | None
    items: tuple[T, ...]
    parts: tuple[Group[T], ...] = ()

    def leaves(self) -> Iterator[tuple[T, ...]]:
        """The items of every group that has some, from the root down."""
        if self.items:
            yield self.items
        for part in self.parts:
            yield from part.leaves()


# ---- what a condition needs -----------------------------------------------------------------------------------------
def box_of(condition: Condition) -> dict[Path, Need]:
    """The needs of a condition by path: wherever it holds, all of them do. Empty when nothing can be said.

    >>> from rules.model import Test
    >>> box_of(Test("total", ("total",), "between", (5, 9)))
    {('total',): Range(low=5, high=9)}
    """
    match condition:
        case All(parts):
            return meet(map(box_of, parts))
        case Any_(parts):
            return hull([box_of(part) for part in parts])
        case Test() if condition.other is None:
            need = _need(condition.operator, condition.value)
            return {condition.path: need} if need else {}
    return {}


def _need(operator: str, value: object) -> Need | None:
    if operator in ("equal to", "one of"):
        values = value if isinstance(value, tuple) else (value,)
        if all(isinstance(one, str) for one in values):
            return Texts(frozenset(values))
        numbers = [one for one in values if ops.number(one)]
        return Range(min(numbers), max(numbers)) if len(numbers) == len(values) > 0 else None
    if operator == "between" and isinstance(value, tuple):
        return Range(value[0], value[1])
    if operator in ops.COMPARE and isinstance(value, (int, float)):
        return Range(value, _INFINITE) if operator.startswith("greater") else Range(-_INFINITE, value)
    return None


def meet(boxes: Iterable[Box]) -> dict[Path, Need]:
    """The needs of several conditions that must all hold."""
    found: dict[Path, Need] = {}
    for box in boxes:
        for path, need in box.items():
            found[path] = _both(found[path], need) if path in found else need
    return found


def hull(boxes: Sequence[Box]) -> dict[Path, Need]:
    """What every one of several conditions needs, wide enough for each."""
    if not boxes:
        return {}
    found = dict(boxes[0])
    for box in boxes[1:]:
        found = {path: wide for path, need in found.items() if path in box and (wide := _either(need, box[path]))}
    return found


def _both(one: Need, other: Need) -> Need:
    if isinstance(one, Texts) and isinstance(other, Texts):
        return Texts(one.values & other.values)
    if isinstance(one, Range) and isinstance(other, Range):
        return Range(max(one.low, other.low), min(one.high, other.high))
    return one  # a text and a number at once: nothing holds


def _either(one: Need, other: Need) -> Need | None:
    if isinstance(one, Texts) and isinstance(other, Texts):
        return Texts(one.values | other.values)
    if isinstance(one, Range) and isinstance(other, Range):
        return Range(min(one.low, other.low), max(one.high, other.high))
    return None


# ---- the tree -------------------------------------------------------------------------------------------------------
Row = tuple[T, Box]


def grow(rows: Sequence[Row[T]], few: int, guard: tuple[Path, Need] | None = None) -> Group[T]:
    """The items in a tree by what they need. few: a group of so many is not split again; splits that would leave
    groups of less than half as many are not made, except at the edges."""
    splits = [] if len(rows) <= few else [split for path in _paths(rows) for split in _splits(rows, path, few)]
    best = min(splits, key=lambda split: split.cost, default=None)
    if best is None or best.cost > len(rows) * _WORTH:
        return Group(guard, tuple(item for item, _ in rows))
    rest = grow(best.rest, few)
    return Group(guard, rest.items, (*best.parts(few), *rest.parts))


def _paths(rows: Sequence[Row[T]]) -> list[Path]:
    return list(dict.fromkeys(path for _, box in rows for path in box))


def _splits(rows: Sequence[Row[T]], path: Path, few: int) -> Iterator[_ByText[T] | _ByNumber[T]]:
    by_text = _ByText(rows, path)
    if len(by_text.branches) > 1 and by_text.usual >= few / 2:
        yield by_text
    by_number = _ByNumber(rows, path, few)
    if len(by_number.mine) > few:
        yield by_number


class _ByText(Generic[T]):
    """A branch for each text; cost: the items that one event is expected to meet."""

    def __init__(self, rows: Sequence[Row[T]], path: Path) -> None:
        self.path = path
        self.branches: dict[str, list[Row[T]]] = {}
        self.rest: list[Row[T]] = []
        for item, box in rows:
            need = box.get(path)
            if not isinstance(need, Texts) or len(need.values) > _MOST_VALUES:
                self.rest.append((item, box))
                continue
            for value in sorted(need.values):
                self.branches.setdefault(value, []).append((item, _without(box, path)))
        self.usual = sum(map(len, self.branches.values())) / max(1, len(self.branches))
        self.cost = len(self.rest) + self.usual

    def parts(self, few: int) -> Iterator[Group[T]]:
        for value, rows in self.branches.items():
            yield grow(rows, few, (self.path, Texts(frozenset({value}))))


class _ByNumber(Generic[T]):
    """Halves of halves by where their ranges begin, each with the range that holds them all."""

    def __init__(self, rows: Sequence[Row[T]], path: Path, few: int) -> None:
        self.path = path
        mine = [(need, item, box) for item, box in rows if isinstance(need := box.get(path), Range)]
        self.mine = sorted(mine, key=lambda one: (one[0].low, one[0].high))
        self.rest = [(item, box) for item, box in rows if not isinstance(box.get(path), Range)]
        runs = [self.mine[start : start + few] for start in range(0, len(self.mine), few)]
        around = [(one[0][0].low, max(need.high for need, _, _ in one), len(one)) for one in runs]
        probes = [max(need.low, -1e18) for need, _, _ in self.mine[:: max(1, len(self.mine) // 32)]]
        met = sum(size for at in probes for low, high, size in around if low <= at <= high)
        self.cost = len(self.rest) + met / max(1, len(probes))

    def parts(self, few: int) -> Iterator[Group[T]]:
        yield self._halves(self.mine, few)

    def _halves(self, mine: Sequence[tuple[Range, T, Box]], few: int) -> Group[T]:
        guard = self.path, Range(mine[0][0].low, max(need.high for need, _, _ in mine))
        if len(mine) <= few:
            return Group(guard, tuple(item for _, item, _ in mine))
        middle = few * -(-len(mine) // few // 2)  # whole groups to the left
        return Group(guard, (), (self._halves(mine[:middle], few), self._halves(mine[middle:], few)))


def _without(box: Box, path: Path) -> dict[Path, Need]:
    return {known: need for known, need in box.items() if known != path}
