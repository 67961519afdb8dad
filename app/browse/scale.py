"""A scale of time that a person can read: busy stretches keep their proportions, idle ones shrink to a labelled gap."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

WIDTH = 1000.0
GAP = 70.0  # units of an idle stretch, whatever its length
MOST_IDLE = 0.5  # of the width at most, however many gaps there are
THIN = 8.0  # the least width of a bar, so that a microsecond can still be seen


@dataclass(frozen=True, slots=True)
class Stretch:
    start: int
    end: int
    left: float
    right: float
    idle: bool


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps nanoseconds onto 0..1000. stretches: in order, without holes, each busy or idle."""

    stretches: tuple[Stretch, ...]

    def at(self, moment: int) -> float:
        for stretch in self.stretches:
            if moment <= stretch.end:
                return _within(stretch, moment)
        return WIDTH

    def bar(self, start: int, end: int) -> dict[str, float]:
        """Where a bar begins and how wide it is, wide enough to be seen and never beyond the edge."""
        left = self.at(start)
        width = max(self.at(end) - left, THIN)
        return {"left": round(min(left, WIDTH - width), 1), "width": round(width, 1)}

    def gaps(self) -> list[dict[str, float]]:
        return [
            {
                "left": round(s.left, 1),
                "width": round(s.right - s.left, 1),
                "seconds": (s.end - s.start) / 1e9,
            }
            for s in self.stretches
            if s.idle
        ]


def scale(intervals: Iterable[tuple[int, int]]) -> Scale:
    """The scale on which these (start, end) intervals in nanoseconds are drawn. A pause between them counts as idle
    when it is longer than half of all the busy time together."""
    merged = _merged(sorted(intervals))
    busy = sum(end - start for start, end in merged)
    pieces: list[tuple[int, int, bool]] = []
    for start, end in merged:
        if pieces:
            before = pieces[-1][1]
            pieces.append((before, start, start - before > busy / 2))
        pieces.append((start, end, False))
    return Scale(_laid_out(pieces))


def _merged(intervals: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in intervals:
        end = max(end, start)
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def _laid_out(pieces: Sequence[tuple[int, int, bool]]) -> tuple[Stretch, ...]:
    idle = sum(1 for *_, is_idle in pieces if is_idle)
    gap = min(GAP, WIDTH * MOST_IDLE / idle) if idle else 0.0
    linear = sum(end - start for start, end, is_idle in pieces if not is_idle)
    room = WIDTH - gap * idle
    left, stretches = 0.0, []
    for start, end, is_idle in pieces:
        share = (end - start) / linear if linear else 1 / max(len(pieces) - idle, 1)
        right = left + (gap if is_idle else room * share)
        stretches.append(Stretch(start, end, left, right, is_idle))
        left = right
    return tuple(stretches)


def _within(stretch: Stretch, moment: int) -> float:
    length = stretch.end - stretch.start
    share = max(moment - stretch.start, 0) / length if length else 0.0
    return stretch.left + share * (stretch.right - stretch.left)
