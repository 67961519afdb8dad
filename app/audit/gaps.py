"""What is missing among the numbers that writers gave their entries (app.audit.writers), whether sealed or not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

JSON = Mapping[str, Any]


@dataclass(slots=True)
class _Seen:
    """Of one writer. until: every number up to this one was seen, or was there before the walk began."""

    until: int = 0
    newest: int = 0
    beyond: set[int] = field(default_factory=set)
    unsure: list[tuple[int, int]] = field(default_factory=list)  # numbers between these may never have been written

    def add(self, number: int, after: int | None) -> None:
        self.newest = max(self.newest, number)
        if after is not None:
            self.unsure.append((after, number))
        if number > self.until:
            self.beyond.add(number)
        self._close()

    def begin(self, number: int) -> None:
        """Those before this one are not looked at."""
        self.until = max(self.until, number)
        self._close()

    def _close(self) -> None:
        while self.until + 1 in self.beyond:
            self.until += 1
            self.beyond.discard(self.until)
        if self.beyond and self.until >= min(self.beyond):
            self.beyond = {one for one in self.beyond if one > self.until}

    def missing(self) -> Iterator[int]:
        for number in range(self.until + 1, self.newest):
            if number not in self.beyond and not any(low < number < high for low, high in self.unsure):
                yield number


@dataclass(slots=True)
class Numbers:
    """whole: whether the walk began at the first entry; else numbers count from where every later one must have
    arrived."""

    whole: bool = True
    _writers: dict[str, _Seen] = field(default_factory=dict)

    def add(self, body: JSON, settling: bool = False) -> None:
        """An entry. settling: one so near to where the walk began that an earlier one may bear a time before that."""
        writer, number, after = body.get("writer"), body.get("number"), body.get("after")
        if not isinstance(writer, str) or not isinstance(number, int):
            return  # written before there were numbers, or moved by hand: its hash or its seal holds it
        seen = self._writers.setdefault(writer, _Seen())
        seen.add(number, after if isinstance(after, int) else None)
        if settling and not self.whole:
            seen.begin(number)

    def missing(self, again: Iterable[JSON]) -> Iterator[tuple[str, int, int]]:
        """Writer, first and last number of what is not there; where these differ, those before the last may have been
        given to commits of which nobody knew what became, as the one that is gone had said. again: the entries once
        more, read only where something seems to be missing: one that was late may have come in behind the walk."""
        known = {(name, number) for name, seen in self._writers.items() for number in seen.missing()}
        if known:
            known -= {(body.get("writer"), body.get("number")) for body in again}
        runs: list[tuple[str, int, int]] = []
        for name, number in sorted(known):
            if runs and runs[-1][0] == name and runs[-1][2] == number - 1:
                runs[-1] = (name, runs[-1][1], number)
            else:
                runs.append((name, number, number))
        yield from runs
